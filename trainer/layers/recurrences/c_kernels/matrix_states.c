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
    const int64_t blocks = blocks_of(P), stretches = (length + every - 1) / every, of_group = heads / groups;
    vec *memory = vectors(N * (of_group * blocks + 4 * every + 1) + every);
    if (!memory) return 1;
    vec *S = memory, *sums_q = S + (every + 1) * N, *sums_k = sums_q + every * N, *sums_a = sums_k + every * N;
    vec *Gs = sums_a + every * N + every; /* those of a are one to a step where it is per head */
    for (int64_t task = first; task < last; task++) {
        const int64_t group = task % groups, first_head = group * of_group;
        memset(Gs, 0, of_group * blocks * N * sizeof(vec));
        for (int64_t stretch = stretches - 1; stretch >= 0; stretch--) {
            const int64_t row = task / groups * length + stretch * every;
            const int64_t steps = least(every, length - stretch * every);
            memset(sums_q, 0, 2 * every * N * sizeof(vec)); /* those of k behind them, too */
            for (int64_t head = first_head; head < first_head + of_group; head++) {
                memset(sums_a, 0, every * (per_channel ? N : 1) * sizeof(vec));
                for (int64_t j = 0; j < blocks; j++) {
                    const int64_t from = j * LANES, wide = P - from;
                    const int64_t place = (task / groups * heads + head) * blocks + j;
                    vec *G = Gs + ((head - first_head) * blocks + j) * N;
                    memcpy(S, begins + (place * stretches + stretch) * N * LANES, N * sizeof(vec));
                    for (int64_t s = 0; s < steps; s++) {
                        const int64_t at = (row + s) * heads + head;
                        const float *key = k + ((row + s) * groups + group) * N;
                        const float *decay = a + (per_channel ? at * N : at);
                        const vec value = load(v + at * P + from, wide);
                        const vec *before = S + s * N;
                        vec *now = S + (s + 1) * N;
                        for (int64_t n = 0; n < N; n++)
                            now[n] = before[n] * decay[per_channel ? n : 0] + value * key[n];
                    }
                    for (int64_t s = steps - 1; s >= 0; s--) {
                        const int64_t at = (row + s) * heads + head, shared = ((row + s) * groups + group) * N;
                        const float *key = k + shared, *query = q + shared, *decay = a + (per_channel ? at * N : at);
                        const vec value = load(v + at * P + from, wide), out = load(d_o + at * P + from, wide);
                        const vec *before = S + s * N, *now = before + N;
                        vec *sum_q = sums_q + s * N, *sum_k = sums_k + s * N, *sum_a = sums_a + s * N;
                        vec by_value = {0}, by_decay = {0};
                        for (int64_t n = 0; n < N; n++) {
                            const vec g = G[n] + out * query[n];
                            sum_q[n] += now[n] * out;
                            sum_k[n] += g * value;
                            by_value += g * key[n];
                            G[n] = g * decay[per_channel ? n : 0];
                            if (per_channel) sum_a[n] += G[n] * before[n];
                            else if (decays) by_decay += G[n] * before[n];
                        }
                        if (!per_channel) sums_a[s] += by_decay;
                        store(dv + at * P + from, by_value, wide);
                    }
                }
                if (decays)
                    for (int64_t s = 0; s < steps; s++) {
                        const int64_t at = (row + s) * heads + head;
                        if (per_channel) row_sums(sums_a + s * N, N, d_log + at * N);
                        else d_log[at] = sum_of(sums_a[s]);
                    }
            }
            for (int64_t s = 0; s < steps; s++) {
                const int64_t shared = ((row + s) * groups + group) * N;
                row_sums(sums_q + s * N, N, dq + shared);
                row_sums(sums_k + s * N, N, dk + shared);
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
