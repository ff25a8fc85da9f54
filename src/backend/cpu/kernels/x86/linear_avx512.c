/* linear_avx512.c - AVX-512 with VNNI: 2 vectors of 16 rows, up to 6 activation rows in 12 + 12 accumulators. */
#define TILE_V 2
#define TILE_R32 6
#define TILE_R16 4
#define TILE_RF 6
#define FUSED_MOST 8
#define FUSED_PASSES 2
#include "backend/cpu/kernels/linear_fused.h"

void rf_lin_kern_init_avx512(struct rf_lin_kern *k)
{
    init_all(k, "avx512");
}
