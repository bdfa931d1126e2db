/* Numbers in a vector: what `begins` of all kernels is counted in. */
#include "vectors.h"

int64_t lanes(void) { return LANES; }
