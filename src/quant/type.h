/* type.h - the tensor types that exist on disk: block geometry and scalar reference decode and encode.
 *
 * Numbers are GGML's (they stand in GGUF files), but for those of our own from RF_TYPE_OWN on. A block holds `block` values in `bytes` bytes; rows are whole blocks.
 * Layouts: the GGML block structures as documented by PyPI `gguf`, restated beside each decoder in this room.
 */
#ifndef RF_QUANT_TYPE_H
#define RF_QUANT_TYPE_H

#include "base/status.h"

/*      enum          id  name      block bytes */
#define RF_TYPE_LIST(X)                  \
    X(RF_TYPE_F32,     0, "F32",     1,   4)  \
    X(RF_TYPE_F16,     1, "F16",     1,   2)  \
    X(RF_TYPE_Q4_0,    2, "Q4_0",   32,  18)  \
    X(RF_TYPE_Q4_1,    3, "Q4_1",   32,  20)  \
    X(RF_TYPE_Q5_0,    6, "Q5_0",   32,  22)  \
    X(RF_TYPE_Q5_1,    7, "Q5_1",   32,  24)  \
    X(RF_TYPE_Q8_0,    8, "Q8_0",   32,  34)  \
    X(RF_TYPE_Q2_K,   10, "Q2_K",  256,  84)  \
    X(RF_TYPE_Q3_K,   11, "Q3_K",  256, 110)  \
    X(RF_TYPE_Q4_K,   12, "Q4_K",  256, 144)  \
    X(RF_TYPE_Q5_K,   13, "Q5_K",  256, 176)  \
    X(RF_TYPE_Q6_K,   14, "Q6_K",  256, 210)  \
    X(RF_TYPE_BF16,   30, "BF16",    1,   2)  \
    X(RF_TYPE_F8_E4M3, 60, "F8_E4M3", 32, 36)

enum rf_type {
#define X(e, id, name, block, bytes) e = id,
    RF_TYPE_LIST(X)
#undef X
    /* F8_E4M3: within a row, the blocks of each 128 values from a multiple of 128 on have one scale. */
    RF_TYPE_OWN = 56, /* numbers from here on are ours, not GGML's: no file says them, readers make them */
    RF_TYPE_MAX = 64
};

struct rf_type_info {
    const char *name;   /* NULL: this number is no type we compute with */
    uint32_t block;     /* values per block */
    uint32_t bytes;     /* bytes per block */
    /* n a multiple of block. Decode is bit-equal to PyPI gguf's dequantize. Encode is plain round-to-nearest. */
    void (*decode)(const void *src, float *dst, size_t n);
    void (*encode)(const float *src, void *dst, size_t n);
};

const struct rf_type_info *rf_type_get(uint32_t id);     /* NULL if unknown */
const char *rf_type_name(uint32_t id);                   /* also names types we cannot compute, e.g. "IQ2_XS"; "?" else */
/* Bytes of a row of n values; false if n is no multiple of the block or on overflow. */
bool rf_type_row_bytes(uint32_t id, uint64_t n, uint64_t *bytes);

float rf_f16_to_f32(uint16_t h);
uint16_t rf_f32_to_f16(float f);      /* round to nearest even, overflow to Inf */
static inline float rf_bf16_to_f32(uint16_t b)
{
    union { uint32_t u; float f; } v = {.u = (uint32_t)b << 16};
    return v.f;
}
uint16_t rf_f32_to_bf16(float f);     /* round to nearest even, NaN stays NaN */
/* E4M3 of the OCP 8-bit Floating Point Specification, the kind without infinities (float8_e4m3fn): 0x7f and 0xff are NaN. */
float rf_f8_to_f32(uint8_t b);
uint8_t rf_f32_to_f8(float f);        /* round to nearest even; beyond 448 stays 448, NaN becomes 0x7f */
static inline bool rf_f8_is_nan(uint8_t b) { return (b & 0x7f) == 0x7f; }

#endif
