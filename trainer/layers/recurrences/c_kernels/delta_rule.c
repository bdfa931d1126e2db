/* The gated delta rule and its gradients: erase, then write; values in lanes.

       R[t] = a[t] S[t-1],   e[t] = v[t] - R[t]' k[t],   S[t] = R[t] + b[t] k[t] e[t]',   o[t] = S[t]' q[t]

   that is S[t] = a (I - b k k') S[t-1] + b k v'. q, k are (batch, L, heads, N), v, o (batch, L, heads, P),
   strengths b and decays a (batch, L, heads). `begins` takes the states before each stretch of `every` steps:
   (batch, heads, blocks, stretches, N) vectors. Tasks: sequences times heads. */
#include "vectors.h"

/* Write S[t] of a step, from S[t-1]; return e[t]. Both may be the same memory. */
static inline vec step(vec *now, const vec *before, const float *key, vec value, float strength, float decay, int64_t N) {
    vec read = {0};
    for (int64_t n = 0; n < N; n++) {
        now[n] = before[n] * decay;
        read += now[n] * key[n];
    }
    const vec error = value - read, written = error * strength;
    for (int64_t n = 0; n < N; n++) now[n] += written * key[n];
    return error;
}

int delta_rule_forward(
    int64_t first, int64_t last, int64_t length, int64_t heads, int64_t N, int64_t P, int64_t every,
    const float *q, const float *k, const float *v, const float *b, const float *a, float *o, float *begins
) {
    const int64_t blocks = blocks_of(P), stretches = (length + every - 1) / every;
    vec *S = vectors(N);
    if (!S) return 1;
    for (int64_t task = first; task < last; task++)
        for (int64_t j = 0; j < blocks; j++) {
            const int64_t row = task / heads * length, from = j * LANES, wide = P - from;
            memset(S, 0, N * sizeof(vec));
            for (int64_t t = 0; t < length; t++) {
                const int64_t at = (row + t) * heads + task % heads;
                const float *query = q + at * N;
                if (begins && t % every == 0)
                    memcpy(begins + ((task * blocks + j) * stretches + t / every) * N * LANES, S, N * sizeof(vec));
                step(S, S, k + at * N, load(v + at * P + from, wide), b[at], a[at], N);
                vec sum = {0};
                for (int64_t n = 0; n < N; n++) sum += S[n] * query[n];
                store(o + at * P + from, sum, wide);
            }
        }
    free(S);
    return 0;
}

/* G[t] = q[t] do[t]' + what comes from later. With w = b e, dw = G' k and dR = G - k (b dw)', backwards:

       dq = S do,   dk = G w - R (b dw) (sums over values),   dv = b dw,   db = sum of e dw,
       d log a = sum of dR R,   and to the step before goes a dR. */
int delta_rule_backward(
    int64_t first, int64_t last, int64_t length, int64_t heads, int64_t N, int64_t P, int64_t every,
    const float *q, const float *k, const float *v, const float *b, const float *a, const float *begins,
    const float *d_o, float *dq, float *dk, float *dv, float *db, float *d_log
) {
    const int64_t blocks = blocks_of(P), stretches = (length + every - 1) / every;
    vec *memory = vectors(N * (blocks * (every + 2) + 2) + blocks * every);
    if (!memory) return 1;
    vec *Gs = memory, *states = Gs + blocks * N, *sums_q = states + blocks * (every + 1) * N, *sums_k = sums_q + N;
    vec *errors = sums_k + N; /* (blocks, every) */
    for (int64_t task = first; task < last; task++) {
        memset(Gs, 0, blocks * N * sizeof(vec));
        for (int64_t stretch = stretches - 1; stretch >= 0; stretch--) {
            const int64_t row = task / heads * length + stretch * every;
            const int64_t steps = least(every, length - stretch * every);
            for (int64_t j = 0; j < blocks; j++) {
                vec *S = states + j * (every + 1) * N;
                memcpy(S, begins + ((task * blocks + j) * stretches + stretch) * N * LANES, N * sizeof(vec));
                for (int64_t s = 0; s < steps; s++, S += N) {
                    const int64_t at = (row + s) * heads + task % heads;
                    const vec value = load(v + at * P + j * LANES, P - j * LANES);
                    errors[j * every + s] = step(S + N, S, k + at * N, value, b[at], a[at], N);
                }
            }
            for (int64_t s = steps - 1; s >= 0; s--) {
                const int64_t at = (row + s) * heads + task % heads;
                const float *query = q + at * N, *key = k + at * N, strength = b[at], decay = a[at];
                vec sum_b = {0}, sum_a = {0};
                memset(sums_q, 0, 2 * N * sizeof(vec)); /* those of k behind them, too */
                for (int64_t j = 0; j < blocks; j++) {
                    const int64_t from = j * LANES, wide = P - from;
                    const vec out = load(d_o + at * P + from, wide), error = errors[j * every + s];
                    const vec *before = states + (j * (every + 1) + s) * N, *now = before + N;
                    vec *G = Gs + j * N, by_written = {0};
                    for (int64_t n = 0; n < N; n++) {
                        G[n] += out * query[n];
                        by_written += G[n] * key[n];
                    }
                    const vec by_value = by_written * strength, written = error * strength;
                    for (int64_t n = 0; n < N; n++) {
                        const vec kept = before[n] * decay, g = G[n] - by_value * key[n];
                        sums_q[n] += now[n] * out;
                        sums_k[n] += G[n] * written - kept * by_value;
                        sum_a += g * kept;
                        G[n] = g * decay;
                    }
                    sum_b += error * by_written;
                    store(dv + at * P + from, by_value, wide);
                }
                row_sums(sums_q, N, dq + at * N);
                row_sums(sums_k, N, dk + at * N);
                db[at] = sum_of(sum_b);
                d_log[at] = sum_of(sum_a);
            }
        }
    }
    free(memory);
    return 0;
}
