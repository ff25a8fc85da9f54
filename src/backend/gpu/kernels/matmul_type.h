/* matmul_type.h - included once per weight type T (MATRIX: it has a matrix form): lookup of rows, and the products for up to 1, 4 and 8 rows of x. */
G_KERNEL(64) EMBED_NAME(T)(struct embed_args p) /* a block per token; four threads hold a row's block of 32 */
{
    g_pdl_launch();
    g_pdl_wait();
    const g_u32 row = (g_u32)((const int *)p.token)[g_bx()], lane = (row & 7) * 4 + (g_tid() & 3);
    float *out = (float *)p.out + (g_u64)g_bx() * p.cols;
    for (g_u32 b = g_tid() / 4; b < (p.cols + 31) / 32; b += 16) {
        const g_u32 c = b / (CHUNK_VALUES / 32), j = b % (CHUNK_VALUES / 32);
        float d[8];
        OCTET(T)(CHUNK(T)(p.w, row / 16, c, p.n_chunk, CHUNK_BYTES), j, lane, row / 8 % 2, d);
        for (g_u32 h = 0; h < 2; h++) {
            const g_u32 k = b * 32 + OCTET_K(T)(lane, h);
            for (g_u32 e = 0; e < 4 && k < p.cols; e++) out[k + e] = d[4 * h + e] * p.scale;
        }
    }
}
#define MM_DENSE 2
#define M 1
#if defined(G_MAT_NV) && MATRIX
#define ONE_NAME MM_NAME(T, M)
#include "matmul_one_type.h"
#define MM_ROW "matmul_mma_row.h"
#else
#define MM_ROW "matmul_row.h"
#include MM_ROW
#endif
#undef M
#define M 4
#include MM_ROW
#undef M
#define M 8
#include MM_ROW
#undef M
#undef MM_ROW
#undef MM_DENSE
