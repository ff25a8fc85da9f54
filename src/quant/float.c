/* float.c - IEEE binary16, bfloat16 and binary32 (little-endian on disk). */
#include "quant/block.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensor data is little-endian; this room copies it as it is"
#endif

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

float rf_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 0x3ff;
    if (exp == 31) return from_bits(sign | 0x7f800000u | man << 13);
    if (exp) return from_bits(sign | (exp + 112) << 23 | man << 13);
    float f = (float)man * 0x1p-24f; /* exact: subnormal halves are normal floats */
    return sign ? -f : f;
}

uint16_t rf_f32_to_f16(float f)
{
    uint32_t u = to_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff)); /* NaN, quiet */
    if (a >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                    /* 65520 and more round to Inf */
    if (a >= 0x38800000) {                                                    /* normal: rebias, round to nearest even */
        uint32_t r = a - (112u << 23);
        return (uint16_t)(sign | (r + 0xfff + (r >> 13 & 1)) >> 13);
    }
    /* Subnormal: adding 0.5 puts the unit of the last place at 2^-24 and lets the FPU round. */
    uint32_t s = to_bits(from_bits(a) + 0.5f) - 0x3f000000u;
    return (uint16_t)(sign | s);
}

uint16_t rf_f32_to_bf16(float f)
{
    uint32_t u = to_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

void rf_f32_decode(const void *src, float *dst, size_t n) { memcpy(dst, src, n * 4); }
void rf_f32_encode(const float *src, void *dst, size_t n) { memcpy(dst, src, n * 4); }

void rf_f16_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = rf_quant_get_f16(p + 2 * i);
}

void rf_f16_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    for (size_t i = 0; i < n; i++) rf_quant_put_f16(p + 2 * i, src[i]);
}

void rf_bf16_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = rf_bf16_to_f32((uint16_t)(p[2 * i] | p[2 * i + 1] << 8));
}

void rf_bf16_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = rf_f32_to_bf16(src[i]);
        p[2 * i] = (uint8_t)(h & 255);
        p[2 * i + 1] = (uint8_t)(h >> 8);
    }
}
