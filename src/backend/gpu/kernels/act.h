/* act.h - rows of x as the matrix unit takes them in matmul.gpu: split into two parts of 16 bits, high and low, in the order of the weights'
 * octets (weights.h), so that the product is nearly that of the floats.
 *
 * For each 8 rows and each block of 32 values, 1 KiB: high parts [8 rows][4 lanes t][8 values], then low parts. half: values times a power of
 * two that puts the row's largest into 512 .. 1024; sum: the scaled sums of blocks, [blocks / 8][8 rows][4 lanes t]{high parts of blocks
 * 2t and 2t + 1, low parts}, f16; scale: [rows] what results are multiplied by. bf16: not scaled. Blocks behind the row are zeros.
 */
#ifndef RF_GPU_ACT_H
#define RF_GPU_ACT_H

#include "dialect.h"
#include "args.h"

G_FN g_u64 act_at(g_u32 blocks, g_u32 row, g_u32 block, g_u32 t) { return ((g_u64)(row >> 3) * blocks + block) * 1024 + (row & 7) * 64 + t * 16; }
G_FN g_u64 act_sum_at(g_u32 blocks, g_u32 row, g_u32 block) { return ((g_u64)(row >> 3) * (blocks >> 3) + (block >> 3)) * 256 + (row & 7) * 32 + ((block & 7) >> 1) * 8 + (block & 1) * 2; }

/* A power of two that brings max into 512 .. 1024; 1 for 0, NaN and Inf. */
G_FN float act_factor(float max)
{
    g_u32 e = (g_asu(max) >> 23) & 255u;
    if (e == 0 || e == 255) return 1.0f;
    return g_asf((e < 9 ? 254u : e > 262 ? 1u : 263u - e) << 23);
}
G_FN float magnitude_max(float max, float x)
{
    float a = x < 0 ? -x : x;
    return a > max || a != a ? a : max;
}
G_FN void act_load4(const float *x, g_u32 k, g_u32 cols, float *v)
{
    struct g_f4 a = {{0, 0, 0, 0}};
    if (k < cols) a = *(const struct g_f4 *)(x + k);
    for (int e = 0; e < 4; e++) v[e] = a.v[e];
}
/* One row of cols values by a block of `threads` threads (whole warps); max: the largest magnitude. What x holds must be visible to the block. */
G_FN void act_row(const struct act_args *a, const float *x, g_u32 row, g_u32 cols, float max, g_u32 threads)
{
    const float factor = act_factor(max);
    if (a->half && g_tid() == 0) ((float *)a->scale)[row] = 1.0f / factor;
    for (g_u32 o = g_tid(); o < a->blocks * 4; o += threads) {
        const g_u32 block = o >> 2, t = o & 3;
        float v[8], s = 0;
        struct g_u4 high, low;
        if (a->half) {
            act_load4(x, block * 32 + 4 * t, cols, v);
            act_load4(x, block * 32 + 16 + 4 * t, cols, v + 4);
            for (int i = 0; i < 4; i++) {
                g_u16 h[2], l[2];
                for (int e = 0; e < 2; e++) {
                    float f = v[2 * i + e] * factor;
                    h[e] = g_f2h(f);
                    l[e] = g_f2h(f - g_h2f(h[e]));
                    s += f;
                }
                high.v[i] = h[0] | (g_u32)h[1] << 16;
                low.v[i] = l[0] | (g_u32)l[1] << 16;
            }
            g_u8 *to = (g_u8 *)a->half + act_at(a->blocks, row, block, t);
            *(struct g_u4 *)to = high;
            *(struct g_u4 *)(to + 512) = low;
            s += g_shfl_xor(s, 1);
            s += g_shfl_xor(s, 2);
            if (t == 0) {
                g_u16 *sum = (g_u16 *)(a->sum + act_sum_at(a->blocks, row, block));
                sum[0] = g_f2h(s);
                sum[2] = g_f2h(s - g_h2f(sum[0]));
            }
        }
        if (a->bf16) {
            act_load4(x, block * 32 + 8 * t, cols, v);
            act_load4(x, block * 32 + 8 * t + 4, cols, v + 4);
            for (int i = 0; i < 4; i++) {
                g_u16 h0 = g_f2bf(v[2 * i]), h1 = g_f2bf(v[2 * i + 1]);
                high.v[i] = h0 | (g_u32)h1 << 16;
                low.v[i] = g_f2bf(v[2 * i] - g_bf2f(h0)) | (g_u32)g_f2bf(v[2 * i + 1] - g_bf2f(h1)) << 16;
            }
            g_u8 *to = (g_u8 *)a->bf16 + act_at(a->blocks, row, block, t);
            *(struct g_u4 *)to = high;
            *(struct g_u4 *)(to + 512) = low;
        }
    }
}
#endif
