/* block.h - inside the quant room: the decoders and encoders that the type table points to.
 *
 * All take whole blocks (n a multiple of the type's block) and need no alignment: tensor data of old files stands on odd
 * addresses. Arithmetic is f32 in the order written beside each decoder, so that results are bit-equal to PyPI gguf's.
 * Encoding never traps: NaN becomes the smallest code, Inf the clamped one.
 */
#ifndef RF_QUANT_BLOCK_H
#define RF_QUANT_BLOCK_H

#include <string.h>

#include "quant/type.h"

#define RF_QUANT_CODEC(name)                                    \
    void rf_##name##_decode(const void *src, float *dst, size_t n); \
    void rf_##name##_encode(const float *src, void *dst, size_t n);
RF_QUANT_CODEC(f32)
RF_QUANT_CODEC(f16)
RF_QUANT_CODEC(bf16)
RF_QUANT_CODEC(q4_0)
RF_QUANT_CODEC(q4_1)
RF_QUANT_CODEC(q5_0)
RF_QUANT_CODEC(q5_1)
RF_QUANT_CODEC(q8_0)
RF_QUANT_CODEC(q2_k)
RF_QUANT_CODEC(q3_k)
RF_QUANT_CODEC(q4_k)
RF_QUANT_CODEC(q5_k)
RF_QUANT_CODEC(q6_k)
RF_QUANT_CODEC(f8_e4m3)
#undef RF_QUANT_CODEC

static inline float rf_quant_get_f16(const uint8_t *p) /* little-endian, any address */
{
    return rf_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static inline void rf_quant_put_f16(uint8_t *p, float f)
{
    uint16_t h = rf_f32_to_f16(f);
    p[0] = (uint8_t)(h & 255);
    p[1] = (uint8_t)(h >> 8);
}

/* x cut to [lo, hi] and truncated; NaN gives lo. */
static inline int rf_quant_clip(float x, int lo, int hi)
{
    if (!(x > (float)lo)) return lo;
    return x >= (float)hi ? hi : (int)x;
}

/* 1/d, or 0 where the block has no range. */
static inline float rf_quant_inverse(float d) { return d == 0 ? 0.0f : 1.0f / d; }

#endif
