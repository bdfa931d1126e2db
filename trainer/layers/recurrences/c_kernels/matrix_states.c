/* Linear attention with a decay per head, or per key channel, and its gradients; values in lanes.

       S[t] = a[t] S[t-1] + k[t] v[t]',   S[-1] = 0,   o[t] = S[t]' q[t]

   q, k are (batch, L, groups, N), v and o (batch, L, heads, P), heads a multiple of groups. a is
   (batch, L, heads), or (batch, L, heads, N) where it is per channel: a number that is inlined as a constant.
   `begins` takes the states before each stretch of `every` steps: (batch, heads, blocks, stretches, N) vectors. */
#include "vectors.h"

static inline __attribute__((always_inline)) int forward(
    int64_t first, int64_t last, int64_t length, int64_t groups, int64_t heads, int64_t N, int64_t P, int64_t every,
    const float *q, const float *k, const float *v, const float *a, float *o, float *begins, const int per_channel
) {
    const int64_t blocks = blocks_of(P), stretches = (length + every - 1) / every;
    vec *S = vectors(N);
    if (!S) return 1;
    for (int64_t task = first; task < last; task++) {
        const int64_t head = task / blocks % heads, row = task / blocks / heads * length;
        const int64_t group = head / (heads / groups), from = task % blocks * LANES, wide = P - from;
        memset(S, 0, N * sizeof(vec));
        for (int64_t t = 0; t < length; t++) {
            const int64_t at = (row + t) * heads + head, shared = ((row + t) * groups + group) * N;
            const float *key = k + shared, *query = q + shared, *decay = a + (per_channel ? at * N : at);
            if (begins && t % every == 0)
                memcpy(begins + (task * stretches + t / every) * N * LANES, S, N * sizeof(vec));
            const vec value = load(v + at * P + from, wide);
            vec sum = {0};
            for (int64_t n = 0; n < N; n++) {
                S[n] = S[n] * decay[per_channel ? n : 0] + value * key[n];
                sum += S[n] * query[n];
            }
            store(o + at * P + from, sum, wide);
        }
    }
    free(S);
    return 0;
}

/* G[t] = q[t] do[t]' + a[t+1] G[t+1], from the end: then, with d log a = a da,

       dq = S do,   dk = G v (sums over values, and over the heads of a group),   dv = G' k,
       d log a[t] = a[t] sum of G[t] S[t-1], over values and, where it is per head, keys.

   `d_log` may be NULL where it is per head. Tasks: sequences times groups. */
static inline __attribute__((always_inline)) int backward(
    int64_t first, int64_t last, int64_t length, int64_t groups, int64_t heads, int64_t N, int64_t P, int64_t every,
    const float *q, const float *k, const float *v, const float *a, const float *begins, const float *d_o,
    float *dq, float *dk, float *dv, float *d_log, const int per_channel, const int decays
) {
    const int64_t blocks = blocks_of(P), stretches = (length + every - 1) / every;
    const int64_t of_group = heads / groups, parts = of_group * blocks;
    vec *memory = vectors(N * (parts * (every + 2) + 3));
    if (!memory) return 1;
    vec *Gs = memory, *states = Gs + parts * N; /* of each head and block; the states of each step */
    vec *sums_q = states + parts * (every + 1) * N, *sums_k = sums_q + N, *sums_a = sums_k + N;
    for (int64_t task = first; task < last; task++) {
        const int64_t sequence = task / groups, group = task % groups, first_head = group * of_group;
        memset(Gs, 0, parts * N * sizeof(vec));
        for (int64_t stretch = stretches - 1; stretch >= 0; stretch--) {
            const int64_t row = sequence * length + stretch * every;
            const int64_t steps = least(every, length - stretch * every);
            for (int64_t part = 0; part < parts; part++) {
                const int64_t head = first_head + part / blocks, from = part % blocks * LANES, wide = P - from;
                const int64_t place = (sequence * heads + first_head) * blocks + part;
                vec *S = states + part * (every + 1) * N;
                memcpy(S, begins + (place * stretches + stretch) * N * LANES, N * sizeof(vec));
                for (int64_t s = 0; s < steps; s++, S += N) {
                    const int64_t at = (row + s) * heads + head;
                    const float *key = k + ((row + s) * groups + group) * N, *decay = a + (per_channel ? at * N : at);
                    const vec value = load(v + at * P + from, wide);
                    for (int64_t n = 0; n < N; n++)
                        S[n + N] = S[n] * decay[per_channel ? n : 0] + value * key[n];
                }
            }
            for (int64_t s = steps - 1; s >= 0; s--) {
                const int64_t shared = ((row + s) * groups + group) * N;
                const float *key = k + shared, *query = q + shared;
                memset(sums_q, 0, 2 * N * sizeof(vec)); /* those of k behind them, too */
                for (int64_t head = first_head; head < first_head + of_group; head++) {
                    const int64_t at = (row + s) * heads + head;
                    const float *decay = a + (per_channel ? at * N : at);
                    vec by_decay = {0};
                    if (per_channel) memset(sums_a, 0, N * sizeof(vec));
                    for (int64_t j = 0; j < blocks; j++) {
                        const int64_t from = j * LANES, wide = P - from, part = (head - first_head) * blocks + j;
                        const vec value = load(v + at * P + from, wide), out = load(d_o + at * P + from, wide);
                        const vec *before = states + (part * (every + 1) + s) * N, *now = before + N;
                        vec *G = Gs + part * N, by_value = {0};
                        for (int64_t n = 0; n < N; n++) {
                            const vec g = G[n] + out * query[n];
                            sums_q[n] += now[n] * out;
                            sums_k[n] += g * value;
                            by_value += g * key[n];
                            G[n] = g * decay[per_channel ? n : 0];
                            if (per_channel) sums_a[n] += G[n] * before[n];
                            else if (decays) by_decay += G[n] * before[n];
                        }
                        store(dv + at * P + from, by_value, wide);
                    }
                    if (per_channel) row_sums(sums_a, N, d_log + at * N);
                    else if (decays) d_log[at] = sum_of(by_decay);
                }
                row_sums(sums_q, N, dq + shared);
                row_sums(sums_k, N, dk + shared);
            }
        }
    }
    free(memory);
    return 0;
}

int scalar_decay_forward(
    int64_t first, int64_t last, int64_t length, int64_t groups, int64_t heads, int64_t N, int64_t P, int64_t every,
    const float *q, const float *k, const float *v, const float *a, float *o, float *begins
) {
    return forward(first, last, length, groups, heads, N, P, every, q, k, v, a, o, begins, 0);
}

int channel_decay_forward(
    int64_t first, int64_t last, int64_t length, int64_t heads, int64_t N, int64_t P, int64_t every,
    const float *q, const float *k, const float *v, const float *a, float *o, float *begins
) {
    return forward(first, last, length, heads, heads, N, P, every, q, k, v, a, o, begins, 1);
}

int scalar_decay_backward(
    int64_t first, int64_t last, int64_t length, int64_t groups, int64_t heads, int64_t N, int64_t P, int64_t every,
    const float *q, const float *k, const float *v, const float *a, const float *begins, const float *d_o,
    float *dq, float *dk, float *dv, float *d_log
) {
    if (d_log)
        return backward(
            first, last, length, groups, heads, N, P, every, q, k, v, a, begins, d_o, dq, dk, dv, d_log, 0, 1);
    return backward(
        first, last, length, groups, heads, N, P, every, q, k, v, a, begins, d_o, dq, dk, dv, d_log, 0, 0);
}

int channel_decay_backward(
    int64_t first, int64_t last, int64_t length, int64_t heads, int64_t N, int64_t P, int64_t every,
    const float *q, const float *k, const float *v, const float *a, const float *begins, const float *d_o,
    float *dq, float *dk, float *dv, float *d_log
) {
    return backward(
        first, last, length, heads, heads, N, P, every, q, k, v, a, begins, d_o, dq, dk, dv, d_log, 1, 1);
}
