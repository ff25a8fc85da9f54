/* act.h - rows of x as the matrix unit takes them in matmul.gpu: split into two parts of 16 bits, high and low, in the order of the weights'
 * octets (weights.h), so that the product is nearly that of the floats.
 *
 * For each 8 rows and each block of 32 values, 1 KiB: high parts [8 rows][4 lanes t][8 values], then low parts. half: values times a power of
 * two (factor) that whoever makes the row chooses so that none overflows f16, with 2^-25 of absolute error after it; sum: the scaled sums of blocks,
 * [blocks / 8][8 rows][4 lanes t]{high parts of blocks 2t and 2t + 1, low parts}, f16. bf16: not scaled. Blocks behind the row are zeros.
 *
 * Where Hopper's products of 9 to 64 rows are next (pad_rows), high parts alone go to the blobs that those want: [64 values of k][pad_rows] as matrix.h says,
 * bf16 in k's own order, halves in that of gemm_x (RF_GPU_ORDER_OCTETS). Where products of more rows are next, pad_rows is RF_GPU_GEMM_ROWS: bf16 alone, tiles of so many rows
 * behind each other as gemm.gpu wants them.
 */
#ifndef RF_GPU_ACT_H
#define RF_GPU_ACT_H

#include "dialect.h"
#include "args.h"
#include "matrix.h"

G_FN g_u64 act_at(g_u32 blocks, g_u32 row, g_u32 block, g_u32 t) { return ((g_u64)(row >> 3) * blocks + block) * 1024 + (row & 7) * 64 + t * 16; }
G_FN g_u64 act_sum_at(g_u32 blocks, g_u32 row, g_u32 block)
{
    return ((g_u64)(row >> 3) * (blocks >> 3) + (block >> 3)) * 256 + (row & 7) * 32 + ((block & 7) >> 1) * 8 + (block & 1) * 2;
}

G_FN void act_load4(const float *x, g_u32 k, g_u32 cols, float *v)
{
    struct g_f4 a = {{0, 0, 0, 0}};
    if (k < cols) a = *(const struct g_f4 *)(x + k);
    for (int e = 0; e < 4; e++) v[e] = a.v[e];
}
/* Two values' high and low parts; returns their sum. */
G_FN float act_half2(float a, float b, g_u32 *high, g_u32 *low)
{
    const g_u16 ha = g_f2h(a), hb = g_f2h(b);
    *high = ha | (g_u32)hb << 16;
    *low = g_f2h(a - g_h2f(ha)) | (g_u32)g_f2h(b - g_h2f(hb)) << 16;
    return a + b;
}
G_FN void act_bf16_2(float a, float b, g_u32 *high, g_u32 *low)
{
    const g_u16 ha = g_f2bf(a), hb = g_f2bf(b);
    *high = ha | (g_u32)hb << 16;
    *low = g_f2bf(a - g_bf2f(ha)) | (g_u32)g_f2bf(b - g_bf2f(hb)) << 16;
}
G_FN void act_put_sum(g_u16 *to, float s)
{
    to[0] = g_f2h(s);
    to[2] = g_f2h(s - g_h2f(to[0]));
}
G_FN g_u64 act_blob_at(const struct act_args *a, g_u32 row, g_u32 block, g_u32 chunk)
{
    const g_u32 tile = a->pad_rows == RF_GPU_GEMM_ROWS ? row / RF_GPU_GEMM_ROWS : 0; /* of fewer rows there is one */
    return ((g_u64)tile * (a->blocks >> 1) + (block >> 1)) * a->pad_rows * 128 + g_blob_at(row - tile * RF_GPU_GEMM_ROWS, (block & 1) * 4 + chunk);
}
/* The 8 values of lane t in a block, in the order of octet_k (weights.h); called by whole groups of 4 lanes t, of which those that are not live store nothing. */
G_FN void act_put_half(const struct act_args *a, g_u32 row, g_u32 block, g_u32 t, const float *v, g_u32 live)
{
    struct g_u4 high, low;
    float pair[4];
    if (a->pad_rows) {
        for (g_u32 i = 0; live && i < 4; i++)
            *(g_u32 *)(a->half + act_blob_at(a, row, block, i) + 4 * t) = g_f2h(v[2 * i] * a->factor) | (g_u32)g_f2h(v[2 * i + 1] * a->factor) << 16;
        return;
    }
    for (int i = 0; i < 4; i++) pair[i] = act_half2(v[2 * i] * a->factor, v[2 * i + 1] * a->factor, &high.v[i], &low.v[i]);
    float s = (pair[0] + pair[1]) + (pair[2] + pair[3]); /* halves of the octet first, then lanes: matmul_one.h adds in this order, too */
    g_u8 *to = (g_u8 *)a->half + act_at(a->blocks, row, block, t);
    if (live) {
        *(struct g_u4 *)to = high;
        *(struct g_u4 *)(to + 512) = low;
    }
    s += g_shfl_xor(s, 1);
    s += g_shfl_xor(s, 2);
    if (live && t == 0) act_put_sum((g_u16 *)(a->sum + act_sum_at(a->blocks, row, block)), s);
}
/* The same in the order of octet_k_bf16. */
G_FN void act_put_bf16(const struct act_args *a, g_u32 row, g_u32 block, g_u32 t, const float *v, g_u32 live)
{
    struct g_u4 high, low;
    for (int i = 0; i < 4; i++) act_bf16_2(v[2 * i], v[2 * i + 1], &high.v[i], &low.v[i]);
    g_u8 *to = (g_u8 *)a->bf16 + (a->pad_rows ? act_blob_at(a, row, block, t) : act_at(a->blocks, row, block, t));
    if (live && a->pad_rows) *(struct g_u4 *)to = high;
    else if (live) {
        *(struct g_u4 *)to = high;
        *(struct g_u4 *)(to + 512) = low;
    }
}
/* Octets o, o + step, .. of a row of cols values at x (shared or global memory, visible to the caller); step a multiple of the warp. */
G_FN void act_row(const struct act_args *a, const float *x, g_u32 row, g_u32 cols, g_u32 from, g_u32 step)
{
    for (g_u32 o = from; o < a->blocks * 4; o += step) {
        const g_u32 block = o >> 2, t = o & 3;
        float v[8];
        if (a->half) {
            act_load4(x, block * 32 + 4 * t, cols, v);
            act_load4(x, block * 32 + 16 + 4 * t, cols, v + 4);
            act_put_half(a, row, block, t, v, 1);
        }
        if (a->bf16) {
            act_load4(x, block * 32 + 8 * t, cols, v);
            act_load4(x, block * 32 + 8 * t + 4, cols, v + 4);
            act_put_bf16(a, row, block, t, v, 1);
        }
    }
}
#endif
