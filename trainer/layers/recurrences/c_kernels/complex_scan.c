/* A diagonal complex scan in place, forwards or from the end.

       x[t] += decay x[t-1],   x[-1] = before (0 where it is NULL)

   x is (L, columns) of pairs (real, imaginary), `stride` floats from step to step; decay and before are
   (columns,). Tasks: strips of columns, whose states stay in the innermost cache. */
#include "vectors.h"

#define STRIP 64 /* vectors of LANES / 2 complex numbers */


int complex_scan(
    int64_t first, int64_t last, int64_t length, int64_t columns, int64_t stride, int64_t reverse,
    float *x, const float *decay, const float *before
) {
    vec state[STRIP], real[STRIP], imaginary[STRIP]; /* of decays: real parts twice; minus, plus imaginary */
    for (int64_t strip = first; strip < last; strip++) {
        const int64_t from = strip * STRIP * LANES, floats = least(STRIP * LANES, 2 * columns - from);
        for (int64_t i = 0; i < STRIP; i++) {
            const int64_t here = from + i * LANES, wide = floats - i * LANES;
            if (wide <= 0) break;
            state[i] = before ? load(before + here, wide) : (vec){0};
            const vec pairs = load(decay + here, wide);
            for (int lane = 0; lane < LANES; lane += 2) {
                real[i][lane] = real[i][lane + 1] = pairs[lane];
                imaginary[i][lane] = -pairs[lane + 1];
                imaginary[i][lane + 1] = pairs[lane + 1];
            }
        }
        for (int64_t t = 0; t < length; t++) {
            float *row = x + (reverse ? length - 1 - t : t) * stride + from;
            const int64_t whole = floats / LANES;
            for (int64_t i = 0; i < whole; i++) {
                vec old = state[i], swapped = SHUFFLE(old, old, SWAPPED);
                state[i] = load(row + i * LANES, LANES) + real[i] * old + imaginary[i] * swapped;
                store(row + i * LANES, state[i], LANES);
            }
            if (floats % LANES) {
                vec old = state[whole], swapped = SHUFFLE(old, old, SWAPPED);
                vec now = load(row + whole * LANES, floats % LANES) + real[whole] * old + imaginary[whole] * swapped;
                state[whole] = now;
                store(row + whole * LANES, now, floats % LANES);
            }
        }
    }
    return 0;
}
