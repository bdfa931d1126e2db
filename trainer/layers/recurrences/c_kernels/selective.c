/* The selective scan of Mamba-1, and its gradients; time in steps t, channels in lanes.

       h[t] = exp(D[t] A) h[t-1] + D[t] x[t] B[t],   h[-1] = 0,   y[t] = sum over n of h[t] C[t]

   x, D (Delta), y are (batch, L, channels), B and C (batch, L, N), A is (N, channels), that is transposed.
   `begins` takes the states before each stretch of `every` steps, from which the others are computed again:
   (batch, blocks, stretches, N) vectors. */
#include "vectors.h"

/* e to the x, to 1e-7; 0 below the smallest normal number, infinite above the largest; NaN stays NaN. */
static inline vec exponential(vec x) {
    const float round = 12582912.0f; /* 1.5 2^23: a sum with it has no digits behind the point */
    vec shifted = x * 1.44269504f + round;
    vec twos = shifted - round;
    vec r = x - twos * 0.693359375f + twos * 2.12194440e-4f; /* x less that many times the logarithm of 2 */
    vec p = r * 1.383683681e-3f + 8.374824087e-3f;
    p = p * r + 4.166822617e-2f;
    p = p * r + 1.666642007e-1f;
    p = p * r + 4.999999208e-1f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    ints power = ((ints)shifted << 23) + 0x3f800000; /* 2 to the twos */
    ints small = x < -87.3f, large = x > 88.7f;
    vec result = p * (vec)power;
    return (vec)(((ints)result & ~small & ~large) | (large & 0x7f800000));
}

/* Tasks: sequences times blocks of channels. Return 1 where memory is missing. */
int selective_forward(
    int64_t first, int64_t last, int64_t length, int64_t channels, int64_t N, int64_t every,
    const float *x, const float *delta, const float *A, const float *B, const float *C, float *y, float *begins
) {
    const int64_t blocks = blocks_of(channels), stretches = (length + every - 1) / every;
    vec *h = vectors(2 * N), *rate = h + N;
    if (!h) return 1;
    for (int64_t task = first; task < last; task++) {
        const int64_t row = task / blocks * length, from = task % blocks * LANES, wide = channels - from;
        for (int64_t n = 0; n < N; n++) {
            h[n] = (vec){0};
            rate[n] = load(A + n * channels + from, wide);
        }
        for (int64_t t = 0; t < length; t++) {
            const int64_t at = (row + t) * channels + from;
            const float *b = B + (row + t) * N, *c = C + (row + t) * N;
            if (begins && t % every == 0)
                memcpy(begins + (task * stretches + t / every) * N * LANES, h, N * sizeof(vec));
            vec d = load(delta + at, wide), driven = d * load(x + at, wide), sum = {0};
            for (int64_t n = 0; n < N; n++) {
                h[n] = exponential(d * rate[n]) * h[n] + driven * b[n];
                sum += h[n] * c[n];
            }
            store(y + at, sum, wide);
        }
    }
    free(h);
    return 0;
}

/* g[t] = C[t] dy[t] + a[t+1] g[t+1] with a = exp(D A), from the end, stretch by stretch: then

       dC = dy h,  dB = D x g (sums over channels),  dx = D sum B g,
       dA = sum D a g h[t-1],  dD = sum A a g h[t-1] + x sum B g.

   Tasks: sequences. dA is (batch, N, channels), so that sums do not depend on who computes which sequence. */
int selective_backward(
    int64_t first, int64_t last, int64_t length, int64_t channels, int64_t N, int64_t every,
    const float *x, const float *delta, const float *A, const float *B, const float *C, const float *begins,
    const float *dy, float *dx, float *d_delta, float *dA, float *dB, float *dC
) {
    const int64_t blocks = blocks_of(channels), stretches = (length + every - 1) / every;
    vec *memory = vectors(N * (blocks * (2 * every + 4) + 2));
    if (!memory) return 1;
    vec *rates = memory, *gs = rates + blocks * N, *d_rates = gs + blocks * N;
    vec *states = d_rates + blocks * N, *decays = states + blocks * (every + 1) * N;
    vec *sums_B = decays + blocks * every * N, *sums_C = sums_B + N;
    for (int64_t j = 0; j < blocks; j++)
        for (int64_t n = 0; n < N; n++)
            rates[j * N + n] = load(A + n * channels + j * LANES, channels - j * LANES);
    for (int64_t sequence = first; sequence < last; sequence++) {
        memset(gs, 0, 2 * blocks * N * sizeof(vec)); /* those of A behind them, too */
        for (int64_t stretch = stretches - 1; stretch >= 0; stretch--) {
            const int64_t row = sequence * length + stretch * every;
            const int64_t steps = least(every, length - stretch * every);
            for (int64_t j = 0; j < blocks; j++) {
                const int64_t from = j * LANES, wide = channels - from;
                const vec *rate = rates + j * N;
                vec *h = states + j * (every + 1) * N, *decay = decays + j * every * N;
                memcpy(h, begins + ((sequence * blocks + j) * stretches + stretch) * N * LANES, N * sizeof(vec));
                for (int64_t s = 0; s < steps; s++, h += N, decay += N) {
                    const int64_t at = (row + s) * channels + from;
                    const vec d = load(delta + at, wide), driven = d * load(x + at, wide);
                    const float *b = B + (row + s) * N;
                    for (int64_t n = 0; n < N; n++) {
                        decay[n] = exponential(d * rate[n]);
                        h[n + N] = decay[n] * h[n] + driven * b[n];
                    }
                }
            }
            for (int64_t s = steps - 1; s >= 0; s--) {
                const float *b = B + (row + s) * N, *c = C + (row + s) * N;
                memset(sums_B, 0, 2 * N * sizeof(vec)); /* those of C behind them, too */
                for (int64_t j = 0; j < blocks; j++) {
                    const int64_t from = j * LANES, wide = channels - from, at = (row + s) * channels + from;
                    const vec d = load(delta + at, wide), u = load(x + at, wide), out = load(dy + at, wide);
                    const vec driven = d * u, *rate = rates + j * N, *decay = decays + (j * every + s) * N;
                    const vec *before = states + (j * (every + 1) + s) * N, *now = before + N;
                    vec *g = gs + j * N, *d_rate = d_rates + j * N, by_driven = {0}, by_delta = {0};
                    for (int64_t n = 0; n < N; n++) {
                        const vec gn = g[n] + out * c[n];
                        sums_C[n] += out * now[n];
                        sums_B[n] += driven * gn;
                        by_driven += gn * b[n];
                        g[n] = decay[n] * gn;
                        const vec by_exponent = g[n] * before[n];
                        d_rate[n] += by_exponent * d;
                        by_delta += by_exponent * rate[n];
                    }
                    store(dx + at, by_driven * d, wide);
                    store(d_delta + at, by_delta + by_driven * u, wide);
                }
                row_sums(sums_B, N, dB + (row + s) * N);
                row_sums(sums_C, N, dC + (row + s) * N);
            }
        }
        for (int64_t j = 0; j < blocks; j++)
            for (int64_t n = 0; n < N; n++)
                store(dA + (sequence * N + n) * channels + j * LANES, d_rates[j * N + n], channels - j * LANES);
    }
    free(memory);
    return 0;
}
