/* fp8.c - 8-bit floats, E4M3 without infinities (OCP 8-bit Floating Point Specification, 2023), and blocks of 32 of them.
 *
 *   byte       sign, 4 bits of exponent (bias 7), 3 of mantissa; 0x7f and 0xff are NaN, largest 448, smallest 2^-9
 *   F8_E4M3    f32 d, 32 bytes                                                       x = q * d
 *
 * Four blocks from the start of a row on, and each four behind them, have the same d (the last of a row may be fewer): a GPU keeps one. Files keep bytes and
 * scales apart; src/format joins them to such blocks. Encoding takes a row, or rows of whole fours.
 */
#include <math.h>

#include "quant/block.h"

enum { N = 32, BYTES = 36, RUN = 128 };

float rf_f8_to_f32(uint8_t b)
{
    if (rf_f8_is_nan(b)) return b >> 7 ? -NAN : NAN;
    float f = rf_f16_to_f32((uint16_t)((b & 0x7f) << 7)) * 256.0f; /* the same bits in a half, whose bias is 8 more: exact */
    return b >> 7 ? -f : f;
}

uint8_t rf_f32_to_f8(float f)
{
    float a = fabsf(f);
    unsigned sign = signbit(f) ? 0x80 : 0;
    if (isnan(f)) return (uint8_t)(sign | 0x7f);
    if (a == 0) return (uint8_t)sign;
    if (a >= 448.0f) return (uint8_t)(sign | 0x7e);
    int e;
    frexpf(a, &e); /* a = 0.5..1 * 2^e */
    int unit = e - 4 < -9 ? -9 : e - 4; /* exponent of the last place */
    int n = (int)rintf(ldexpf(a, -unit)); /* 0..16 of them; below 8 only at the smallest exponent. 16 carries by itself */
    return (uint8_t)(sign | (unsigned)((unit + 9) * 8 + n));
}

void rf_f8_e4m3_decode(const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    for (size_t b = 0; b < n / N; b++, p += BYTES, dst += N) {
        float d;
        memcpy(&d, p, 4);
        for (int i = 0; i < N; i++) dst[i] = rf_f8_to_f32(p[4 + i]) * d;
    }
}

void rf_f8_e4m3_encode(const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    float d = 0, inv = 0;
    for (size_t k = 0; k < n; k++) {
        if (k % RUN == 0) {
            float top = 0;
            for (size_t i = k; i < n && i < k + RUN; i++)
                if (fabsf(src[i]) > top) top = fabsf(src[i]);
            d = top / 448.0f;
            inv = rf_quant_inverse(d);
        }
        if (k % N == 0) memcpy(p + k / N * BYTES, &d, 4);
        p[k / N * BYTES + 4 + k % N] = rf_f32_to_f8(src[k] * inv);
    }
}
