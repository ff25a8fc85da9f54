/* linear_expand.h - a slab of a panel to bytes, scales and mins, one function per type, in the words of linear_vec.h; and
 * the way of finished sums to the output. Included by a file per instruction set.
 *
 * `bias` is taken off every byte: 0 leaves them unsigned.
 */
#include "backend/cpu/kernels/linear_kern.h"
#include "backend/cpu/kernels/linear_vec.h"
#include "base/mem.h"
#include "quant/type.h"

/* ---- expansion of a slab: nb blocks of 32 values to bytes, scales, mins ---- */

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

/* F8_E4M3: 32 scales, then pairs of k. A weight is byte times scale; both powers of two are exact. */
enum { F8_UNIT = 1152, F8_HEAD = 128, F8_PAIR = 64 };
INL vf f8_scale(const uint8_t *p, int v) { return vf_mul(vf_load((const float *)p + v * VL), vf_set1(256.0f)); }
INL vf f8_weight(const uint8_t *p, int i, int odd, int v, vf scale) { return vf_mul(vf_f8(p + F8_HEAD + i * F8_PAIR + v * VL * 2, odd), scale); }

INL void expand_q8_0(const uint8_t *p, int nb, struct rf_lin_slab *o, int bias)
{
    for (int b = 0; b < nb; b++, p += 1088) {
        f16_rows(p, o->s + b * 32);
        UNROLL for (int i = 0; i < 8 * NV; i++)
            vi_store(o->w + b * 1024 + i * VB, vi_sub8(vi_load(p + 64 + i * VB), vi_set1_8(bias)));
    }
}

/* Group g of a 4 or 5-bit block of 32: low nibbles are values 4g.., high ones 16 + 4g... */
INL void legacy_values(const uint8_t *q, const uint8_t *high, int g, int five, vi *lo, vi *hi)
{
    vi x = vi_load(q);
    *lo = lo4(x);
    *hi = hi4(x);
    if (!five) return;
    vi h = vi_load(high);
    *lo = vi_or(*lo, bit_to(h, g, 4));
    *hi = vi_or(*hi, bit_to(h, g + 4, 4));
}

INL void expand_legacy(const uint8_t *p, int nb, struct rf_lin_slab *o, int bias, int five, int min)
{
    int head = 64 + 64 * min, bits = head + 128 * five;
    for (int b = 0; b < nb; b++, p += bits + 512) {
        f16_rows(p, o->s + b * 32);
        if (min) /* the file's minimum is added */
            UNROLL for (int v = 0; v < NV; v++)
                vf_store(o->m + b * 32 + v * VL, vf_mul(vf_f16(p + 64 + v * VL * 2), vf_set1(-1.0f)));
        UNROLL for (int g = 0; g < 4; g++) UNROLL for (int v = 0; v < NV; v++) {
            vi lo, hi;
            legacy_values(p + bits + g * 128 + v * VB, p + head + v * VB, g, five, &lo, &hi);
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

INL void k45_factors(const uint8_t *p, struct rf_lin_slab *o)
{
    UNROLL for (int v = 0; v < NV; v++) {
        struct k4_scales z = k4_scales(p + 128 + v * VB);
        vf d = vf_f16(p + v * VL * 2), m = vf_f16(p + 64 + v * VL * 2);
        UNROLL for (int b = 0; b < 8; b++) {
            vf_store(o->s + b * 32 + v * VL, vf_mul(d, byte_u(b < 4 ? z.s03 : z.s47, b & 3)));
            vf_store(o->m + b * 32 + v * VL, vf_mul(m, byte_u(b < 4 ? z.m03 : z.m47, b & 3)));
        }
    }
}

INL void expand_k45(const uint8_t *p, struct rf_lin_slab *o, int five)
{
    k45_factors(p, o);
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

INL void q6_factors(const uint8_t *p, struct rf_lin_slab *o)
{
    UNROLL for (int v = 0; v < NV; v++) UNROLL for (int i = 0; i < 16; i++) {
        vi s = vi_load(p + 64 + (i >> 3) * 3328 + (i >> 2 & 1) * 128 + v * VB);
        vf_store(o->s + i * 32 + v * VL, vf_mul(vf_f16(p + v * VL * 2), byte_s(s, i & 3)));
    }
}

/* The four values of a position: blocks 4h .. 4h+3 of a half. */
INL void q6_values(const uint8_t *q, vi o[4])
{
    vi a = vi_load(q), b = vi_load(q + 128), x = vi_load(q + 256);
    o[0] = vi_or(lo4(a), pair_to(x, 0, 4));
    o[1] = vi_or(lo4(b), pair_to(x, 2, 4));
    o[2] = vi_or(hi4(a), pair_to(x, 4, 4));
    o[3] = vi_or(hi4(b), pair_to(x, 6, 4));
}

INL void expand_q6_k(const uint8_t *p, struct rf_lin_slab *o, int bias)
{
    q6_factors(p, o);
    UNROLL for (int h = 0; h < 2; h++) {
        const uint8_t *q = p + 320 + h * 3328;
        NO_UNROLL for (int g = 0; g < 8; g++, q += 384) UNROLL for (int v = 0; v < NV; v++) {
            vi x[4];
            q6_values(q + v * VB, x);
            UNROLL for (int c = 0; c < 4; c++)
                vi_store(o->w + (h * 4 + c) * 1024 + g * 128 + v * VB, vi_sub8(x[c], vi_set1_8(bias)));
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

/* ---- sums to the output ---- */

INL void store_row(const struct rf_lin_task *t, size_t row, float *y, const float *c)
{
    size_t n = RF_MIN(t->n_row - row, (size_t)RF_LIN_PANEL);
    const float *bias = t->bias ? t->bias + row : NULL;
    if (n == RF_LIN_PANEL) {
        UNROLL for (int v = 0; v < NV; v++) {
            vf x = vf_load(c + v * VL);
            vf_store(y + v * VL, bias ? vf_add(x, vf_load(bias + v * VL)) : x);
        }
    } else {
        for (size_t i = 0; i < n; i++) y[i] = bias ? c[i] + bias[i] : c[i];
    }
}

/* Panels p0..p1, at most RF_LIN_GROUP, side by side: rows of the output are pages apart. */
static void store_panels(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    enum { AHEAD = 12 };
    for (size_t m = m0; m < m1; m++) {
        const float *far = t->out + rf_lin_row(t->act, RF_MIN(m + AHEAD, m1 - 1)) * t->out_stride;
        float *y = t->out + rf_lin_row(t->act, m) * t->out_stride;
        for (size_t p = p0; p < p1; p++) {
            __builtin_prefetch(far + p * RF_LIN_PANEL, 1);
            __builtin_prefetch(far + p * RF_LIN_PANEL + 16, 1);
            store_row(t, p * RF_LIN_PANEL, y + p * RF_LIN_PANEL, tmp->c[p - p0] + (m - m0) * RF_LIN_PANEL);
        }
    }
}

/* ---- the walk over slabs of quantised panels ---- */

struct slab_in {
    const struct rf_lin_task *t;
    const struct rf_lin_slab *slab;
    size_t index;        /* of the slab */
    int nb;              /* blocks of 32 in it */
    size_t m0, m1;       /* activation rows */
    float *c;            /* sums of row m0, rows 32 apart */
    const uint8_t *next; /* the bytes that will be expanded next, n_next of them */
    size_t n_next;
};
typedef void (*expand_fn)(const uint8_t *p, int nb, struct rf_lin_slab *o);
typedef void (*sweep_fn)(const struct slab_in *in, const void *type);

/* Expands every slab once and lets all activation rows sweep over it. */
INL void walk_slabs(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp,
                    expand_fn expand, sweep_fn sweep, const void *type)
{
    size_t unit = (size_t)t->l->file_bytes * RF_LIN_PANEL, slab = RF_LIN_SLAB / t->l->block * unit, panel = t->n_unit * unit;
    size_t group = m1 - m0 > 64 ? RF_LIN_GROUP : 1; /* few rows: read panels from end to end */
    for (size_t g0 = p0; g0 < p1; g0 += group) {
        size_t g1 = RF_MIN(g0 + group, p1);
        for (size_t s = 0; s < t->act->n_slab; s++)
            for (size_t p = g0; p < g1; p++) {
                const uint8_t *w = t->w + p * panel + s * slab;
                struct slab_in in = {.t = t, .slab = &tmp->slab, .index = s, .m0 = m0, .m1 = m1, .c = tmp->c[p - g0], .n_next = slab,
                                     .next = group == 1 ? w + slab : p + 1 < g1 ? w + panel : t->w + g0 * panel + (s + 1) * slab};
                in.nb = (int)RF_MIN((t->act->cols - s * RF_LIN_SLAB) / 32, (size_t)8);
                expand(w, in.nb, &tmp->slab);
                sweep(&in, type);
            }
        store_panels(t, g0, g1, m0, m1, tmp);
    }
}
