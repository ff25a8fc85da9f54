/* legacy.c - blocks of 32 with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
 *
 *   Q4_0  f16 d            16 bytes: low nibbles values 0..15, high nibbles 16..31    x = d * (q - 8)
 *   Q4_1  f16 d, f16 m     the same nibbles                                            x = d * q + m
 *   Q5_0  f16 d, u32 high  bit i of high is bit 4 of value i, then nibbles             x = d * (q - 16)
 *   Q5_1  f16 d, f16 m, u32 high, nibbles                                              x = d * q + m
 *   Q8_0  f16 d, int8[32]                                                              x = q * d
 *
 * Encoding follows PyPI gguf's quantize to the bit: the scale is used before it is rounded to f16, and values are
 * rounded by adding a half and truncating.
 */
#include <math.h>

#include "quant/block.h"

enum { N = 32 };

static uint32_t get_u32(const uint8_t *p)
{
    uint32_t u;
    memcpy(&u, p, 4);
    return u;
}

static int nibble(const uint8_t *q, int i) { return i < 16 ? q[i] & 15 : q[i - 16] >> 4; }

void rf_q4_0_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 18, dst += N) {
        float d = rf_quant_get_f16(p);
        for (int i = 0; i < N; i++) dst[i] = d * (float)(nibble(p + 2, i) - 8);
    }
}

void rf_q4_1_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 20, dst += N) {
        float d = rf_quant_get_f16(p), m = rf_quant_get_f16(p + 2);
        for (int i = 0; i < N; i++) dst[i] = d * (float)nibble(p + 4, i) + m;
    }
}

void rf_q5_0_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 22, dst += N) {
        float d = rf_quant_get_f16(p);
        uint32_t high = get_u32(p + 2);
        for (int i = 0; i < N; i++) dst[i] = d * (float)((nibble(p + 6, i) | (int)(high >> i & 1) << 4) - 16);
    }
}

void rf_q5_1_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 24, dst += N) {
        float d = rf_quant_get_f16(p), m = rf_quant_get_f16(p + 2);
        uint32_t high = get_u32(p + 4);
        for (int i = 0; i < N; i++) dst[i] = d * (float)(nibble(p + 8, i) | (int)(high >> i & 1) << 4) + m;
    }
}

void rf_q8_0_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += 34, dst += N) {
        float d = rf_quant_get_f16(p);
        for (int i = 0; i < N; i++) dst[i] = (float)(int8_t)p[2 + i] * d;
    }
}

/* The value with the largest magnitude, sign kept; the first of equals. */
static float extreme(const float *x)
{
    float best = x[0];
    for (int i = 1; i < N; i++)
        if (fabsf(x[i]) > fabsf(best)) best = x[i];
    return best;
}

static void range(const float *x, float *min, float *max)
{
    *min = *max = x[0];
    for (int i = 1; i < N; i++) {
        if (x[i] < *min) *min = x[i];
        if (x[i] > *max) *max = x[i];
    }
}

/* Codes 0..hi of 4 or 5 bits; the fifth bits go to high (NULL: there is none). */
static void put_codes(const int *q, uint8_t *nibbles, uint8_t *high)
{
    uint32_t h = 0;
    for (int i = 0; i < 16; i++) nibbles[i] = (uint8_t)((q[i] & 15) | (q[i + 16] & 15) << 4);
    for (int i = 0; i < N; i++) h |= (uint32_t)(q[i] >> 4 & 1) << i;
    if (high) memcpy(high, &h, 4);
}

static float codes_symmetric(const float *x, int *q, int hi)
{
    int half = (hi + 1) / 2;
    float d = extreme(x) / (float)-half, inv = rf_quant_inverse(d);
    for (int i = 0; i < N; i++) q[i] = rf_quant_clip(x[i] * inv + ((float)half + 0.5f), 0, hi);
    return d;
}

static float codes_affine(const float *x, int *q, int hi, float *min)
{
    float max;
    range(x, min, &max);
    float d = (max - *min) / (float)hi, inv = rf_quant_inverse(d);
    for (int i = 0; i < N; i++) q[i] = rf_quant_clip((x[i] - *min) * inv + 0.5f, 0, hi);
    return d;
}

void rf_q4_0_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N];
    for (size_t b = 0; b < n / N; b++, p += 18, src += N) {
        rf_quant_put_f16(p, codes_symmetric(src, q, 15));
        put_codes(q, p + 2, NULL);
    }
}

void rf_q4_1_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N];
    float min;
    for (size_t b = 0; b < n / N; b++, p += 20, src += N) {
        rf_quant_put_f16(p, codes_affine(src, q, 15, &min));
        rf_quant_put_f16(p + 2, min);
        put_codes(q, p + 4, NULL);
    }
}

void rf_q5_0_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N];
    for (size_t b = 0; b < n / N; b++, p += 22, src += N) {
        rf_quant_put_f16(p, codes_symmetric(src, q, 31));
        put_codes(q, p + 6, p + 2);
    }
}

void rf_q5_1_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    int q[N];
    float min;
    for (size_t b = 0; b < n / N; b++, p += 24, src += N) {
        rf_quant_put_f16(p, codes_affine(src, q, 31, &min));
        rf_quant_put_f16(p + 2, min);
        put_codes(q, p + 8, p + 4);
    }
}

void rf_q8_0_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    for (size_t b = 0; b < n / N; b++, p += 34, src += N) {
        float d = fabsf(extreme(src)) / 127.0f, inv = rf_quant_inverse(d);
        rf_quant_put_f16(p, d);
        for (int i = 0; i < N; i++) p[2 + i] = (uint8_t)(int8_t)rf_quant_clip(roundf(src[i] * inv), -128, 127);
    }
}
