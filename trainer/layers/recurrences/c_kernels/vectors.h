/* Vectors of single-precision numbers, as wide as the processor that compiles them has. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define SWAPPED 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#elif defined(__AVX__)
#define LANES 8
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#define SWAPPED 1, 0, 3, 2, 5, 4, 7, 6
#else
#define LANES 4
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#define SWAPPED 1, 0, 3, 2
#endif

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ints){__VA_ARGS__})
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Blocks of LANES columns that cover a number of columns. */
static inline int64_t blocks_of(int64_t columns) { return (columns + LANES - 1) / LANES; }

/* The columns of a block: all lanes, or fewer in the last block, whose other lanes are 0. */
static inline vec load(const float *from, int64_t columns) {
    vec v = {0};
    if (columns >= LANES) memcpy(&v, from, sizeof v);
    else for (int64_t i = 0; i < columns; i++) v[i] = from[i];
    return v;
}

static inline void store(float *to, vec v, int64_t columns) {
    if (columns >= LANES) memcpy(to, &v, sizeof v);
    else for (int64_t i = 0; i < columns; i++) to[i] = v[i];
}

/* Sums of neighbours: a0 + a1, a2 + a3, ..., b0 + b1, ... */
static inline vec neighbours(vec a, vec b) { return SHUFFLE(a, b, EVEN) + SHUFFLE(a, b, ODD); }

/* The sum over the lanes of each row, always in the same order; four rows at once. */
static inline void row_sums(const vec *rows, int64_t n, float *sums) {
    for (int64_t i = 0; i < n; i += 4) {
        vec r[4] = {{0}};
        int64_t here = least(4, n - i);
        for (int64_t j = 0; j < here; j++) r[j] = rows[i + j];
        vec sum = neighbours(neighbours(r[0], r[1]), neighbours(r[2], r[3]));
        for (int width = LANES; width > 4; width /= 2) sum = neighbours(sum, sum);
        for (int64_t j = 0; j < here; j++) sums[i + j] = sum[j];
    }
}

static inline float sum_of(vec v) {
    float sum;
    row_sums(&v, 1, &sum);
    return sum;
}

/* Memory for a number of vectors, of one call; NULL where there is none left. */
static inline vec *vectors(int64_t count) { return aligned_alloc(64, (count * sizeof(vec) + 63) / 64 * 64); }
