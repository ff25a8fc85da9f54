/* linear_neon.c - ARM with dot product instructions: 16 rows at a time in 4 vectors, up to 4 activation rows. */
#define TILE_V 4
#define TILE_R32 4
#define TILE_R16 4
#define TILE_RF 4
#define FUSED_MOST 1
#define FUSED_PASSES 1
#include "backend/cpu/kernels/linear_fused.h"

void rf_lin_kern_init_neon(struct rf_lin_kern *k)
{
    init_all(k, "neon");
}
