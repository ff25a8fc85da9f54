/* linear_impl.h - pack, activations, expansion and tiles, written once in the words of linear_vec.h.
 *
 * Included by one file per instruction set, which defines TILE_V (vectors of rows that a tile handles at a time), TILE_R32,
 * TILE_R16 and TILE_RF (most activation rows of a tile with scales per 32, per 16, and of float types).
 *
 * A product walks the slabs of a panel: the slab is expanded once to bytes and f32 scales in L1, then every tile of
 * activation rows passes over it; sums rest in a dense scratch between slabs, because rows of the output lie at strides that
 * often fall into the same cache sets.
 */
#include "backend/cpu/kernels/linear_kern.h"
#include "backend/cpu/kernels/linear_vec.h"
#include "base/mem.h"

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
            const float *x = a->x + m * a->cols + s * RF_LIN_SLAB;
            size_t i = s * a->rows + m;
            for (size_t b = 0; b < nb; b++)
                act_block(x + b * 32, a->q + i * RF_LIN_SLAB + b * 32, a->scale + i * 8 + b, a->sum + i * 16 + b * 2);
            memset(a->q + i * RF_LIN_SLAB + nb * 32, 0, (8 - nb) * 32);
            memset(a->scale + i * 8 + nb, 0, (8 - nb) * sizeof(float));
            memset(a->sum + i * 16 + nb * 2, 0, (8 - nb) * 2 * sizeof(int16_t));
        }
    }
}

/* ---- expansion of a slab: nb blocks of 32 values to bytes, scales, mins ---- */

/* How the integer product is brought to the true one. */
enum tile_mode {
    MODE_BIAS,   /* sums start at -bias * sum of the activations */
    MODE_MIN,    /* a minimum times the activations' sum is taken off */
    MODE_SIGNED, /* weights are signed bytes already */
};

INL vi lo4(vi x) { return vi_and(x, vi_set1_8(15)); }
INL vi hi4(vi x) { return vi_and(vi_shr16(x, 4), vi_set1_8(15)); }
/* Byte i of each of VL dwords as float. */
INL vf byte_u(vi x, int i) { return vi_cvt(i == 3 ? vi_shr32(x, 24) : vi_and(vi_shr32(x, 8 * i), vi_set1(255))); }
INL vf byte_s(vi x, int i) { return vi_cvt(vi_sar32(vi_shl32(x, 24 - 8 * i), 24)); }
/* Bit n of every byte moved to bit `to`, the others cleared. */
INL vi bit_to(vi x, int n, int to)
{
    vi y = n < to ? vi_shl16(x, to - n) : n > to ? vi_shr16(x, n - to) : x;
    return vi_and(y, vi_set1_8(1 << to));
}
/* Bits n, n+1 of every byte moved to bits `to`, to+1. */
INL vi pair_to(vi x, int n, int to)
{
    vi y = n < to ? vi_shl16(x, to - n) : n > to ? vi_shr16(x, n - to) : x;
    return vi_and(y, vi_set1_8(3 << to));
}
INL void f16_rows(const uint8_t *p, float *o) { UNROLL for (int v = 0; v < NV; v++) vf_store(o + v * VL, vf_f16(p + v * VL * 2)); }

INL void expand_q8_0(const uint8_t *p, int nb, struct rf_lin_slab *o, int bias)
{
    for (int b = 0; b < nb; b++, p += 1088) {
        f16_rows(p, o->s + b * 32);
        UNROLL for (int i = 0; i < 8 * NV; i++)
            vi_store(o->w + b * 1024 + i * VB, vi_sub8(vi_load(p + 64 + i * VB), vi_set1_8(bias)));
    }
}

/* 4 or 5-bit blocks of 32: low nibbles are values 0..15, high ones 16..31. */
INL void expand_legacy(const uint8_t *p, int nb, struct rf_lin_slab *o, int bias, int five, int min)
{
    int head = 64 + 64 * min, bits = head + 128 * five;
    for (int b = 0; b < nb; b++, p += bits + 512) {
        f16_rows(p, o->s + b * 32);
        if (min) /* the file's minimum is added */
            UNROLL for (int v = 0; v < NV; v++)
                vf_store(o->m + b * 32 + v * VL, vf_mul(vf_f16(p + 64 + v * VL * 2), vf_set1(-1.0f)));
        UNROLL for (int g = 0; g < 4; g++) UNROLL for (int v = 0; v < NV; v++) {
            vi x = vi_load(p + bits + g * 128 + v * VB), lo = lo4(x), hi = hi4(x);
            if (five) {
                vi h = vi_load(p + head + v * VB);
                lo = vi_or(lo, bit_to(h, g, 4));
                hi = vi_or(hi, bit_to(h, g + 4, 4));
            }
            uint8_t *w = o->w + b * 1024 + g * 128 + v * VB;
            vi_store(w, vi_sub8(lo, vi_set1_8(bias)));
            vi_store(w + 512, vi_sub8(hi, vi_set1_8(bias)));
        }
    }
}

/* Scales and mins of Q4_K and Q5_K: 8 + 8 of 6 bits in 3 dwords a row (GGML's packing, kept as it is). */
struct k4_scales { vi s03, s47, m03, m47; };
INL struct k4_scales k4_scales(const uint8_t *p)
{
    vi a = vi_load(p), b = vi_load(p + 128), c = vi_load(p + 256), six = vi_set1_8(0x3f);
    return (struct k4_scales){
        .s03 = vi_and(a, six), .s47 = vi_or(lo4(c), pair_to(a, 6, 4)),
        .m03 = vi_and(b, six), .m47 = vi_or(hi4(c), pair_to(b, 6, 4))};
}

INL void expand_k45(const uint8_t *p, struct rf_lin_slab *o, int five)
{
    UNROLL for (int v = 0; v < NV; v++) {
        struct k4_scales z = k4_scales(p + 128 + v * VB);
        vf d = vf_f16(p + v * VL * 2), m = vf_f16(p + 64 + v * VL * 2);
        UNROLL for (int b = 0; b < 8; b++) {
            vf_store(o->s + b * 32 + v * VL, vf_mul(d, byte_u(b < 4 ? z.s03 : z.s47, b & 3)));
            vf_store(o->m + b * 32 + v * VL, vf_mul(m, byte_u(b < 4 ? z.m03 : z.m47, b & 3)));
        }
    }
    const uint8_t *high = p + 512, *q = high + five * 1024;
    UNROLL for (int pr = 0; pr < 4; pr++) NO_UNROLL for (int i = 0; i < 8 * NV; i++) {
        vi x = vi_load(q + pr * 1024 + i * VB), lo = lo4(x), hi = hi4(x);
        if (five) {
            vi h = vi_load(high + i * VB);
            lo = vi_or(lo, bit_to(h, 2 * pr, 4));
            hi = vi_or(hi, bit_to(h, 2 * pr + 1, 4));
        }
        vi_store(o->w + pr * 2048 + i * VB, lo);
        vi_store(o->w + pr * 2048 + 1024 + i * VB, hi);
    }
}

INL void expand_q6_k(const uint8_t *p, struct rf_lin_slab *o, int bias)
{
    UNROLL for (int h = 0; h < 2; h++) {
        const uint8_t *part = p + 64 + h * 3328, *q = part + 256;
        UNROLL for (int v = 0; v < NV; v++) UNROLL for (int i = 0; i < 8; i++) {
            vi s = vi_load(part + (i >> 2) * 128 + v * VB);
            vf_store(o->s + (h * 8 + i) * 32 + v * VL, vf_mul(vf_f16(p + v * VL * 2), byte_s(s, i & 3)));
        }
        NO_UNROLL for (int g = 0; g < 8; g++, q += 384) UNROLL for (int v = 0; v < NV; v++) {
            vi a = vi_load(q + v * VB), b = vi_load(q + 128 + v * VB), x = vi_load(q + 256 + v * VB), o8 = vi_set1_8(bias);
            uint8_t *w = o->w + h * 4096 + g * 128 + v * VB;
            vi_store(w, vi_sub8(vi_or(lo4(a), pair_to(x, 0, 4)), o8));
            vi_store(w + 1024, vi_sub8(vi_or(lo4(b), pair_to(x, 2, 4)), o8));
            vi_store(w + 2048, vi_sub8(vi_or(hi4(a), pair_to(x, 4, 4)), o8));
            vi_store(w + 3072, vi_sub8(vi_or(hi4(b), pair_to(x, 6, 4)), o8));
        }
    }
}

INL void expand_q2_k(const uint8_t *p, struct rf_lin_slab *o)
{
    UNROLL for (int v = 0; v < NV; v++) NO_UNROLL for (int i = 0; i < 4; i++) {
        vf d = vf_f16(p + v * VL * 2), m = vf_f16(p + 64 + v * VL * 2);
        vi s = vi_load(p + 128 + i * 128 + v * VB), lo = lo4(s), hi = hi4(s);
        UNROLL for (int j = 0; j < 4; j++) {
            vf_store(o->s + (i * 4 + j) * 32 + v * VL, vf_mul(d, byte_u(lo, j)));
            vf_store(o->m + (i * 4 + j) * 32 + v * VL, vf_mul(m, byte_u(hi, j)));
        }
    }
    for (int h = 0; h < 2; h++) NO_UNROLL for (int i = 0; i < 8 * NV; i++) {
        vi x = vi_load(p + 640 + h * 1024 + i * VB);
        UNROLL for (int c = 0; c < 4; c++) vi_store(o->w + (h * 4 + c) * 1024 + i * VB, pair_to(x, 2 * c, 0));
    }
}

INL void expand_q3_k(const uint8_t *p, struct rf_lin_slab *o, int bias)
{
    UNROLL for (int v = 0; v < NV; v++) {
        vf d = vf_f16(p + v * VL * 2);
        vi a = vi_load(p + 64 + v * VB), b = vi_load(p + 192 + v * VB), c = vi_load(p + 320 + v * VB), off = vi_set1_8(32);
        UNROLL for (int i = 0; i < 4; i++) { /* 16 scales of 6 bits: low nibbles in a, b; upper pairs in c; 32 too large */
            vi low = i == 0 ? lo4(a) : i == 1 ? lo4(b) : i == 2 ? hi4(a) : hi4(b);
            vi s = vi_sub8(vi_or(low, pair_to(c, 2 * i, 4)), off);
            UNROLL for (int j = 0; j < 4; j++) vf_store(o->s + (i * 4 + j) * 32 + v * VL, vf_mul(d, byte_s(s, j)));
        }
    }
    UNROLL for (int h = 0; h < 2; h++) NO_UNROLL for (int i = 0; i < 8 * NV; i++) {
        vi high = vi_load(p + 448 + i * VB), x = vi_load(p + 1472 + h * 1024 + i * VB);
        UNROLL for (int c = 0; c < 4; c++)
            vi_store(o->w + (h * 4 + c) * 1024 + i * VB,
                     vi_sub8(vi_or(pair_to(x, 2 * c, 0), bit_to(high, h * 4 + c, 2)), vi_set1_8(bias)));
    }
}
