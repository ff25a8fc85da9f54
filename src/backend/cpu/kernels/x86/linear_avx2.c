/* linear_avx2.c - AVX2, FMA, F16C: 16 rows at a time, up to 4 activation rows, products in 16 bits (vpmaddubsw). */
#define TILE_V 2
#define TILE_R32 4
#define TILE_R16 4
#define TILE_RF 4
#define FUSED_MOST 1
#define FUSED_PASSES 1
#include "backend/cpu/kernels/linear_fused.h"

void rf_lin_kern_init_avx2(struct rf_lin_kern *k)
{
    init_all(k, "avx2");
}
