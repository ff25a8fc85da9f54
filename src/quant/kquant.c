/* kquant.c - super-blocks of 256 with two levels of scales: Q2_K .. Q6_K. i is the value's index in the super-block.
 *
 *   Q2_K   84 bytes: u8 sm[16] (scale low nibble, min high), u8 qs[64], f16 d, f16 dmin
 *          i = 128h + 32j + l: q = qs[32h + l] >> 2j & 3, s = i / 16           x = (d * scale) * q - dmin * min
 *   Q3_K  110 bytes: u8 hmask[32], u8 qs[64], u8 sc[12], f16 d
 *          q as above, minus 4 where hmask[l] bit 4h + j is 0; 6-bit scales minus 32    x = (d * scale) * q
 *   Q4_K  144 bytes: f16 d, f16 dmin, u8 sc[12], u8 qs[128]
 *          i = 64p + 32n + l: q = qs[32p + l] >> 4n & 15, s = i / 32           x = (d * scale) * q - dmin * min
 *   Q5_K  176 bytes: f16 d, f16 dmin, u8 sc[12], u8 qh[32], u8 qs[128]: as Q4_K, bit 4 of q is qh[l] bit s
 *   Q6_K  210 bytes: u8 ql[128], u8 qh[64], i8 sc[16], f16 d
 *          i = 128h + 32j + l: q = (ql[64h + 32(j & 1) + l] >> 4(j >> 1) & 15 | (qh[32h + l] >> 2j & 3) << 4) - 32,
 *          s = i / 16                                                           x = (d * scale) * q
 *
 * Encoding is plain: per sub-block the scale that covers the range, scales rounded to their bits, values rounded to the
 * nearest code of the rounded scales. No search for a smaller error.
 */
#include <math.h>

#include "quant/block.h"

enum { N = 256 };

/* ---- packed 6-bit scales ---- */

/* Q4_K and Q5_K: bytes 0..3 scales 0..3 (top bits: upper 2 of scale 4..7), 4..7 the same for mins, 8..11 low nibbles. */
static void get_scale_min(const uint8_t *sc, int j, int *scale, int *min)
{
    if (j < 4) {
        *scale = sc[j] & 63;
        *min = sc[4 + j] & 63;
    } else {
        *scale = (sc[4 + j] & 15) | (sc[j - 4] >> 2 & 0x30);
        *min = sc[4 + j] >> 4 | (sc[j] >> 2 & 0x30);
    }
}

static void put_scale_min(uint8_t *sc, const int *scale, const int *min)
{
    for (int j = 0; j < 4; j++) {
        sc[j] = (uint8_t)(scale[j] | (scale[j + 4] & 0x30) << 2);
        sc[j + 4] = (uint8_t)(min[j] | (min[j + 4] & 0x30) << 2);
        sc[j + 8] = (uint8_t)((scale[j + 4] & 15) | (min[j + 4] & 15) << 4);
    }
}

/* Q3_K: nibble s of the first 8 bytes (low nibbles first), upper 2 bits in bytes 8..11. */
static int q3_scale(const uint8_t *sc, int s)
{
    int low = s < 8 ? sc[s] & 15 : sc[s - 8] >> 4;
    return (low | (sc[8 + s % 4] >> (2 * (s / 4)) & 3) << 4) - 32;
}

/* ---- decode ---- */

void rf_q2_k_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 84, dst += N) {
        float d = rf_quant_get_f16(p + 80), dmin = rf_quant_get_f16(p + 82);
        for (int i = 0; i < N; i++) {
            int h = i / 128, j = i / 32 % 4, l = i % 32, s = i / 16;
            float scale = d * (float)(p[s] & 15), min = dmin * (float)(p[s] >> 4);
            dst[i] = scale * (float)(p[16 + 32 * h + l] >> (2 * j) & 3) - min;
        }
    }
}

void rf_q3_k_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 110, dst += N) {
        float d = rf_quant_get_f16(p + 108);
        for (int i = 0; i < N; i++) {
            int h = i / 128, j = i / 32 % 4, l = i % 32;
            int q = (p[32 + 32 * h + l] >> (2 * j) & 3) - (p[l] >> (4 * h + j) & 1 ? 0 : 4);
            dst[i] = d * (float)q3_scale(p + 96, i / 16) * (float)q;
        }
    }
}

void rf_q4_k_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 144) {
        float d = rf_quant_get_f16(p), dmin = rf_quant_get_f16(p + 2);
        for (int s = 0; s < 8; s++, dst += 32) {
            int scale, min;
            get_scale_min(p + 4, s, &scale, &min);
            float ds = d * (float)scale, dm = dmin * (float)min;
            const uint8_t *q = p + 16 + 32 * (s / 2);
            for (int l = 0; l < 32; l++) dst[l] = ds * (float)(q[l] >> (4 * (s % 2)) & 15) - dm;
        }
    }
}

void rf_q5_k_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 176) {
        float d = rf_quant_get_f16(p), dmin = rf_quant_get_f16(p + 2);
        for (int s = 0; s < 8; s++, dst += 32) {
            int scale, min;
            get_scale_min(p + 4, s, &scale, &min);
            float ds = d * (float)scale, dm = dmin * (float)min;
            const uint8_t *qh = p + 16, *q = p + 48 + 32 * (s / 2);
            for (int l = 0; l < 32; l++)
                dst[l] = ds * (float)((q[l] >> (4 * (s % 2)) & 15) | (qh[l] >> s & 1) << 4) - dm;
        }
    }
}

void rf_q6_k_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 210, dst += N) {
        float d = rf_quant_get_f16(p + 208);
        for (int i = 0; i < N; i++) {
            int h = i / 128, j = i / 32 % 4, l = i % 32;
            int low = p[64 * h + 32 * (j & 1) + l] >> (4 * (j >> 1)) & 15, high = p[128 + 32 * h + l] >> (2 * j) & 3;
            dst[i] = d * (float)(int8_t)p[192 + i / 16] * (float)((low | high << 4) - 32);
        }
    }
}

/* ---- encode ---- */

static int nearest(float x, int lo, int hi) { return rf_quant_clip(rintf(x), lo, hi); }

/* Affine codes q[256] in 0..q_max: n_sub sub-blocks with integer scale and min in 0..s_max; d and dmin out. */
static void codes_affine(const float *x, int n_sub, int q_max, int s_max, int *q, int *scale, int *min, float *d,
                         float *dmin)
{
    float range[16], low[16], range_max = 0, low_max = 0;
    int len = N / n_sub;
    for (int s = 0; s < n_sub; s++) {
        float lo = 0, hi = 0; /* the min is subtracted and unsigned: zero is always inside the range */
        for (int i = 0; i < len; i++) {
            lo = fminf(lo, x[s * len + i]);
            hi = fmaxf(hi, x[s * len + i]);
        }
        range[s] = (hi - lo) / (float)q_max;
        low[s] = -lo;
        range_max = fmaxf(range_max, range[s]);
        low_max = fmaxf(low_max, low[s]);
    }
    *d = rf_f16_to_f32(rf_f32_to_f16(range_max / (float)s_max));
    *dmin = rf_f16_to_f32(rf_f32_to_f16(low_max / (float)s_max));
    for (int s = 0; s < n_sub; s++) {
        scale[s] = nearest(range[s] * rf_quant_inverse(*d), 0, s_max);
        min[s] = nearest(low[s] * rf_quant_inverse(*dmin), 0, s_max);
        float inv = rf_quant_inverse(*d * (float)scale[s]), m = *dmin * (float)min[s];
        for (int i = 0; i < len; i++) q[s * len + i] = nearest((x[s * len + i] + m) * inv, 0, q_max);
    }
}

/* Symmetric codes q[256] in -half..half-1: 16 sub-blocks, integer scales in -s_max-1..s_max; d out. The code -half, which
 * has no positive twin, goes to the value of largest magnitude: the scale takes its sign. */
static float codes_symmetric(const float *x, int half, int s_max, int *q, int *scale)
{
    float raw[16], best = 0;
    for (int s = 0; s < 16; s++) {
        float e = 0;
        for (int i = 0; i < 16; i++)
            if (fabsf(x[16 * s + i]) > fabsf(e)) e = x[16 * s + i];
        raw[s] = e / (float)-half;
        if (fabsf(raw[s]) > fabsf(best)) best = raw[s];
    }
    float d = rf_f16_to_f32(rf_f32_to_f16(best / (float)(-s_max - 1))), inv = rf_quant_inverse(d);
    for (int s = 0; s < 16; s++) {
        scale[s] = nearest(raw[s] * inv, -s_max - 1, s_max);
        float is = rf_quant_inverse(d * (float)scale[s]);
        for (int i = 0; i < 16; i++) q[16 * s + i] = nearest(x[16 * s + i] * is, -half, half - 1);
    }
    return d;
}

void rf_q2_k_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N], scale[16], min[16];
    float d, dmin;
    for (size_t b = 0; b < n / N; b++, p += 84, src += N) {
        codes_affine(src, 16, 3, 15, q, scale, min, &d, &dmin);
        memset(p, 0, 84);
        for (int s = 0; s < 16; s++) p[s] = (uint8_t)(scale[s] | min[s] << 4);
        for (int i = 0; i < N; i++) p[16 + 32 * (i / 128) + i % 32] |= (uint8_t)(q[i] << (2 * (i / 32 % 4)));
        rf_quant_put_f16(p + 80, d);
        rf_quant_put_f16(p + 82, dmin);
    }
}

void rf_q3_k_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N], scale[16];
    for (size_t b = 0; b < n / N; b++, p += 110, src += N) {
        float d = codes_symmetric(src, 4, 31, q, scale);
        memset(p, 0, 110);
        for (int i = 0; i < N; i++) {
            int h = i / 128, j = i / 32 % 4, l = i % 32, u = q[i] + 4;
            p[32 + 32 * h + l] |= (uint8_t)((u & 3) << (2 * j));
            p[l] |= (uint8_t)((u >> 2) << (4 * h + j));
        }
        for (int s = 0; s < 16; s++) {
            int u = scale[s] + 32;
            p[96 + s % 8] |= (uint8_t)((u & 15) << (s < 8 ? 0 : 4));
            p[104 + s % 4] |= (uint8_t)((u >> 4) << (2 * (s / 4)));
        }
        rf_quant_put_f16(p + 108, d);
    }
}

void rf_q4_k_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N], scale[8], min[8];
    float d, dmin;
    for (size_t b = 0; b < n / N; b++, p += 144, src += N) {
        codes_affine(src, 8, 15, 63, q, scale, min, &d, &dmin);
        rf_quant_put_f16(p, d);
        rf_quant_put_f16(p + 2, dmin);
        put_scale_min(p + 4, scale, min);
        for (int i = 0; i < 128; i++) {
            int at = 64 * (i / 32) + i % 32;
            p[16 + i] = (uint8_t)(q[at] | q[at + 32] << 4);
        }
    }
}

void rf_q5_k_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N], scale[8], min[8];
    float d, dmin;
    for (size_t b = 0; b < n / N; b++, p += 176, src += N) {
        codes_affine(src, 8, 31, 63, q, scale, min, &d, &dmin);
        rf_quant_put_f16(p, d);
        rf_quant_put_f16(p + 2, dmin);
        put_scale_min(p + 4, scale, min);
        memset(p + 16, 0, 32);
        for (int i = 0; i < N; i++) p[16 + i % 32] |= (uint8_t)((q[i] >> 4) << (i / 32));
        for (int i = 0; i < 128; i++) {
            int at = 64 * (i / 32) + i % 32;
            p[48 + i] = (uint8_t)((q[at] & 15) | (q[at + 32] & 15) << 4);
        }
    }
}

void rf_q6_k_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N], scale[16];
    for (size_t b = 0; b < n / N; b++, p += 210, src += N) {
        float d = codes_symmetric(src, 32, 127, q, scale);
        memset(p, 0, 210);
        for (int i = 0; i < N; i++) {
            int h = i / 128, j = i / 32 % 4, l = i % 32, u = q[i] + 32;
            p[64 * h + 32 * (j & 1) + l] |= (uint8_t)((u & 15) << (4 * (j >> 1)));
            p[128 + 32 * h + l] |= (uint8_t)((u >> 4) << (2 * j));
        }
        for (int s = 0; s < 16; s++) p[192 + s] = (uint8_t)(int8_t)scale[s];
        rf_quant_put_f16(p + 208, d);
    }
}
