/* linear_layout.c - the panel layout of every type as a table of planes, and the plain pack and unpack that walk it.
 *
 * Planes stand in the order in which the kernels read them: factors first, then scales, then values. The block structures
 * are GGML's, described beside the decoders in src/quant.
 */
#include "backend/cpu/kernels/linear_kern.h"

#include <string.h>

#include "backend/cpu/isa.h"
#include "base/mem.h"
#include "quant/type.h"

#define H(o) {RF_LIN_U16, o}
#define D(o) {RF_LIN_U32, o}
#define D4(o) D(o), D((o) + 4), D((o) + 8), D((o) + 12)
#define D8(o) D4(o), D4((o) + 16)
#define H8(o) H(o), H((o) + 2), H((o) + 4), H((o) + 6), H((o) + 8), H((o) + 10), H((o) + 12), H((o) + 14) /* pairs of bytes */
#define S(o) {RF_LIN_U32_SIGN, o}
#define B(o) {RF_LIN_U32_BITS, o}
#define Q6_GROUP(h, g) D((h) * 64 + (g) * 4), D((h) * 64 + 32 + (g) * 4), D(128 + (h) * 32 + (g) * 4)
#define Q6_HALF(h)                                                                                          \
    D(192 + (h) * 8), D(196 + (h) * 8), Q6_GROUP(h, 0), Q6_GROUP(h, 1), Q6_GROUP(h, 2), Q6_GROUP(h, 3),      \
        Q6_GROUP(h, 4), Q6_GROUP(h, 5), Q6_GROUP(h, 6), Q6_GROUP(h, 7)

static const struct rf_lin_plane f32[] = {D(0)};
static const struct rf_lin_plane half[] = {H(0), H(2)};
static const struct rf_lin_plane q8_0[] = {H(0), S(2), S(6), S(10), S(14), S(18), S(22), S(26), S(30)};
static const struct rf_lin_plane q4_0[] = {H(0), D4(2)};
static const struct rf_lin_plane q4_1[] = {H(0), H(2), D4(4)};
static const struct rf_lin_plane q5_0[] = {H(0), B(2), D4(6)};
static const struct rf_lin_plane q5_1[] = {H(0), H(2), B(4), D4(8)};
static const struct rf_lin_plane q2_k[] = {H(80), H(82), D4(0), D8(16), D8(48)};
static const struct rf_lin_plane q3_k[] = {H(108), D(96), D(100), D(104), D8(0), D8(32), D8(64)};
static const struct rf_lin_plane q4_k[] = {H(0), H(2), D(4), D(8), D(12), D8(16), D8(48), D8(80), D8(112)};
static const struct rf_lin_plane q5_k[] = {H(0), H(2), D(4), D(8), D(12), D8(16), D8(48), D8(80), D8(112), D8(144)};
static const struct rf_lin_plane q6_k[] = {H(208), Q6_HALF(0), Q6_HALF(1)};
static const struct rf_lin_plane f8[] = {D(0), H8(4), H8(20)};

#define PLANES(p) RF_COUNT(p), p
static const struct rf_lin_layout layouts[RF_LIN_N_LAYOUT] = {
    /* type      block bytes sub bias min */
    {RF_TYPE_F32, 1, 4, 0, 0, false, PLANES(f32)},
    {RF_TYPE_F16, 2, 4, 0, 0, false, PLANES(half)},
    {RF_TYPE_BF16, 2, 4, 0, 0, false, PLANES(f32)}, /* pairs of k stay side by side */
    {RF_TYPE_Q8_0, 32, 34, 32, 128, false, PLANES(q8_0)},
    {RF_TYPE_Q4_0, 32, 18, 32, 8, false, PLANES(q4_0)},
    {RF_TYPE_Q4_1, 32, 20, 32, 0, true, PLANES(q4_1)},
    {RF_TYPE_Q5_0, 32, 22, 32, 16, false, PLANES(q5_0)},
    {RF_TYPE_Q5_1, 32, 24, 32, 0, true, PLANES(q5_1)},
    {RF_TYPE_Q2_K, 256, 84, 16, 0, true, PLANES(q2_k)},
    {RF_TYPE_Q3_K, 256, 110, 16, 4, false, PLANES(q3_k)},
    {RF_TYPE_Q4_K, 256, 144, 32, 0, true, PLANES(q4_k)},
    {RF_TYPE_Q5_K, 256, 176, 32, 0, true, PLANES(q5_k)},
    {RF_TYPE_Q6_K, 256, 210, 16, 32, false, PLANES(q6_k)},
    {RF_TYPE_F8_E4M3, 32, 36, 0, 0, false, PLANES(f8)},
};

const struct rf_lin_layout *rf_lin_layout_get(uint32_t type)
{
    for (size_t i = 0; i < RF_COUNT(layouts); i++)
        if (layouts[i].type == type) return &layouts[i];
    return NULL;
}

unsigned rf_lin_layout_index(const struct rf_lin_layout *l)
{
    return (unsigned)(l - layouts);
}

/* 8 x 4 bits: in[4g + j] <-> out[8j + g] */
static uint32_t bits_in(uint32_t x)
{
    uint32_t y = 0;
    for (unsigned i = 0; i < 32; i++) y |= (x >> i & 1) << (i % 4 * 8 + i / 4);
    return y;
}

static uint32_t bits_out(uint32_t y)
{
    uint32_t x = 0;
    for (unsigned i = 0; i < 32; i++) x |= (y >> (i % 4 * 8 + i / 4) & 1) << i;
    return x;
}

void rf_lin_pack_plain(const struct rf_lin_layout *l, const uint8_t *src, size_t stride, size_t n_unit, uint8_t *dst)
{
    for (size_t u = 0; u < n_unit; u++, src += l->file_bytes) {
        for (unsigned i = 0; i < l->n_plane; i++) {
            size_t n = l->plane[i].kind == RF_LIN_U16 ? 2 : 4;
            for (unsigned r = 0; r < RF_LIN_PANEL; r++, dst += n) {
                uint32_t x = 0;
                memcpy(&x, src + r * stride + l->plane[i].offset, n);
                if (l->plane[i].kind == RF_LIN_U32_SIGN) x ^= 0x80808080u;
                if (l->plane[i].kind == RF_LIN_U32_BITS) x = bits_in(x);
                memcpy(dst, &x, n);
            }
        }
    }
}

void rf_lin_unpack_unit(const struct rf_lin_layout *l, const uint8_t *unit, unsigned r, uint8_t *out)
{
    for (unsigned i = 0; i < l->n_plane; i++) {
        size_t n = l->plane[i].kind == RF_LIN_U16 ? 2 : 4;
        uint32_t x = 0;
        memcpy(&x, unit + r * n, n);
        if (l->plane[i].kind == RF_LIN_U32_SIGN) x ^= 0x80808080u;
        if (l->plane[i].kind == RF_LIN_U32_BITS) x = bits_out(x);
        memcpy(out + l->plane[i].offset, &x, n);
        unit += n * RF_LIN_PANEL;
    }
}

void rf_lin_kern_init(struct rf_lin_kern *k, unsigned isa)
{
    rf_lin_kern_init_ref(k);
#if defined(__x86_64__)
    if (isa & RF_ISA_AVX2) rf_lin_kern_init_avx2(k);
    if (isa & RF_ISA_AVX512) rf_lin_kern_init_avx512(k);
    if (isa & (RF_ISA_AVX512BF16 | RF_ISA_AMX)) rf_lin_kern_init_avx512bf16(k);
    if (isa & RF_ISA_AMX) rf_lin_kern_init_amx(k);
#elif defined(__aarch64__)
    if (isa & RF_ISA_DOTPROD) rf_lin_kern_init_neon(k);
#else
    (void)isa;
#endif
}
