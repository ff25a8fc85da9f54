/* linear_pack.h - packing weights and rounding activations, in the words of linear_vec.h; included by a file per instruction set. */
#include "backend/cpu/kernels/linear_kern.h"
#include "backend/cpu/kernels/linear_vec.h"
#include "base/mem.h"
#include "quant/type.h"

/* ---- packing ---- */

/* Bits 4g + j of every dword to bit g of byte j: squeezes every fourth bit together. */
INL vi bits_transpose(vi x)
{
    vi y = vi_set1(0);
    UNROLL for (int j = 0; j < 4; j++) {
        vi z = vi_and(vi_shr32(x, j), vi_set1(0x11111111));
        z = vi_and(vi_or(z, vi_shr32(z, 3)), vi_set1(0x03030303));
        z = vi_and(vi_or(z, vi_shr32(z, 6)), vi_set1(0x000f000f));
        z = vi_and(vi_or(z, vi_shr32(z, 12)), vi_set1(0x000000ff));
        y = vi_or(y, vi_shl32(z, 8 * j));
    }
    return y;
}

static void pack(const struct rf_lin_layout *l, const uint8_t *src, size_t stride, size_t n_unit, uint8_t *dst)
{
    for (size_t u = 0; u < n_unit; u++, src += l->file_bytes) {
        for (unsigned i = 0; i < l->n_plane; i++) {
            unsigned kind = l->plane[i].kind, at = l->plane[i].offset;
            if (kind == RF_LIN_U16) { /* taken as the upper or lower half of a dword inside the block */
                unsigned shift = at + 4u > l->file_bytes ? 2 : 0;
                UNROLL for (int v = 0; v < NV; v++, dst += 2 * VL) {
                    vi x = vi_gather(src + (size_t)(v * VL) * stride + at - shift, stride);
                    vi_store16(dst, shift ? vi_shr32(x, 16) : x);
                }
                continue;
            }
            UNROLL for (int v = 0; v < NV; v++, dst += VB) {
                vi x = vi_gather(src + (size_t)(v * VL) * stride + at, stride);
                if (kind == RF_LIN_U32_SIGN) x = vi_xor(x, vi_set1_8(0x80));
                if (kind == RF_LIN_U32_BITS) x = bits_transpose(x);
                vi_store(dst, x);
            }
        }
    }
}

/* ---- activations ---- */

/* 32 values to int8, their scale and the sums of both halves. */
INL void act_block(const float *x, int8_t *q, float *scale, int16_t *sum)
{
    vi top = vi_set1(0);
    UNROLL for (int i = 0; i < NV; i++)
        top = vi_max32(top, vi_and(vf_bits(vf_load(x + i * VL)), vi_set1(0x7fffffff)));
    int32_t bits = vi_hmax32(top);
    if (bits >= 0x7f800000 || bits < 0x0d800000) { /* NaN or Inf; below 2^-100 */
        memset(q, 0, 32);
        sum[0] = sum[1] = 0;
        *scale = bits >= 0x7f800000 ? __builtin_nanf("") : 0.0f;
        return;
    }
    float most;
    memcpy(&most, &bits, sizeof most);
    *scale = most * (1.0f / 127.0f);
    vf inv = vf_set1(127.0f / most);
    UNROLL for (int h = 0; h < 2; h++) {
        int32_t n = 0;
        UNROLL for (int i = 0; i < NV / 2; i++) {
            vi z = vf_round(vf_mul(vf_load(x + h * 16 + i * VL), inv));
            n += vi_hsum(z);
            vi_store8(q + h * 16 + i * VL, z);
        }
        sum[h] = (int16_t)n;
    }
}

static void act(const struct rf_lin_act *a, size_t slab0, size_t slab1, size_t m0, size_t m1)
{
    for (size_t s = slab0; s < slab1; s++) {
        size_t nb = RF_MIN((a->cols - s * RF_LIN_SLAB) / 32, (size_t)8);
        for (size_t m = m0; m < m1; m++) {
            const float *x = a->x + rf_lin_row(a, m) * a->cols + s * RF_LIN_SLAB;
            size_t i = s * a->rows + m;
            for (size_t b = 0; b < nb; b++)
                act_block(x + b * 32, a->q + i * RF_LIN_SLAB + b * 32, a->scale + i * 8 + b, a->sum + i * 16 + b * 2);
            memset(a->q + i * RF_LIN_SLAB + nb * 32, 0, (8 - nb) * 32);
            memset(a->scale + i * 8 + nb, 0, (8 - nb) * sizeof(float));
            memset(a->sum + i * 16 + nb * 2, 0, (8 - nb) * 2 * sizeof(int16_t));
        }
    }
}
