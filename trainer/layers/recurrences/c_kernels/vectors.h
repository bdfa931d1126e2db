/* Vectors of single-precision numbers, as wide as the processor that compiles them has. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Of each four neighbouring lanes of two vectors, as indices into both: the even and odd ones of the first, then of the
   second; and all lanes of one vector with neighbours exchanged. */
#if defined(__AVX512F__)
#define LANES 16
#define EVEN 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30
#define ODD 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31
#define SWAPPED 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#elif defined(__AVX__)
#define LANES 8
#define EVEN 0, 2, 8, 10, 4, 6, 12, 14
#define ODD 1, 3, 9, 11, 5, 7, 13, 15
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
typedef float four __attribute__((vector_size(16)));

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

/* Of each four lanes: a0 + a1, a2 + a3, b0 + b1, b2 + b3. */
static inline vec neighbours(vec a, vec b) { return SHUFFLE(a, b, EVEN) + SHUFFLE(a, b, ODD); }

/* The sums over the lanes of four rows, always in the same order. */
static inline four sums_of_four(vec a, vec b, vec c, vec d) {
    const vec sums = neighbours(neighbours(a, b), neighbours(c, d)); /* one of each row in each four lanes */
    four parts[LANES / 4], sum = {0};
    memcpy(parts, &sums, sizeof sums);
    for (int i = 0; i < LANES / 4; i++) sum += parts[i];
    return sum;
}

/* The sum over the lanes of each row. */
static inline void row_sums(const vec *rows, int64_t n, float *sums) {
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const four sum = sums_of_four(rows[i], rows[i + 1], rows[i + 2], rows[i + 3]);
        memcpy(sums + i, &sum, sizeof sum);
    }
    for (; i < n; i++) sums[i] = sums_of_four(rows[i], rows[i], rows[i], rows[i])[0];
}

static inline float sum_of(vec v) { return sums_of_four(v, v, v, v)[0]; }

/* Memory for a number of vectors, of one call; NULL where there is none left. */
static inline vec *vectors(int64_t count) { return aligned_alloc(64, (count * sizeof(vec) + 63) / 64 * 64); }
