/* matmul_type.h - included once per weight type T: lookup of a row, and the products for 1, 4 and 8 activation rows. */
G_KERNEL(64) EMBED_NAME(T)(struct embed_args p)
{
    const g_u8 *w = (const g_u8 *)p.w + (g_u64)((const int *)p.token)[g_bx()] * p.row_bytes;
    float *out = (float *)p.out + (g_u64)g_bx() * p.cols;
    for (g_u32 oct = g_tid(); oct < p.cols / 8; oct += 64) {
        g_u32 at = OCT_AT(oct);
        float d[8];
        OCTET(T)(w, oct, p.cols, d);
        for (int i = 0; i < 4; i++) {
            out[at + i] = d[i] * p.scale;
            out[at + OCT_GAP + i] = d[4 + i] * p.scale;
        }
    }
}
#define M 1
#define R 2
#include "matmul_row.h"
#undef M
#undef R
#define M 4
#define R 4
#include "matmul_row.h"
#undef M
#define M 8
#include "matmul_row.h"
#undef M
#undef R
