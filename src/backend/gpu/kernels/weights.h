/* weights.h - one octet of a weight row as floats, for every type. p: the row's planes (args.h), oct: index of the octet,
 * cols: values of the row. Formulas: src/quant. w = scale * q - min is one rounding here (g_fma), two on the CPU.
 */
#ifndef RF_GPU_WEIGHTS_H
#define RF_GPU_WEIGHTS_H

#include "dialect.h"

/* First value of an octet's two halves. */
G_FN g_u32 oct_at_quant(g_u32 oct) { return (oct >> 2) * 32 + (oct & 3) * 4; }
G_FN g_u32 oct_at_float(g_u32 oct) { return oct * 8; }
#define OCT_GAP_QUANT 16
#define OCT_GAP_FLOAT 4

G_FN void halves8(const g_u8 *p, g_u32 oct, g_u32 *u) /* 8 values of 16 bits */
{
    struct g_u4 v = *(const struct g_u4 *)(p + (g_u64)oct * 16);
    for (int i = 0; i < 4; i++) {
        u[2 * i] = v.v[i] & 0xffffu;
        u[2 * i + 1] = v.v[i] >> 16;
    }
}
G_FN void octet_f32(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    (void)cols;
    const struct g_f4 *v = (const struct g_f4 *)(p + (g_u64)oct * 32);
    struct g_f4 a = v[0], b = v[1];
    for (int i = 0; i < 4; i++) {
        w[i] = a.v[i];
        w[4 + i] = b.v[i];
    }
}
G_FN void octet_f16(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    (void)cols;
    g_u32 u[8];
    halves8(p, oct, u);
    for (int i = 0; i < 8; i++) w[i] = g_h2f((g_u16)u[i]);
}
G_FN void octet_bf16(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    (void)cols;
    g_u32 u[8];
    halves8(p, oct, u);
    for (int i = 0; i < 8; i++) w[i] = g_bf2f((g_u16)u[i]);
}

/* Codes of 4 bits: low nibbles are the first half. */
G_FN void codes4(const g_u8 *p, g_u32 oct, g_u32 *q)
{
    g_u32 u = *(const g_u32 *)(p + (g_u64)oct * 4);
    for (int i = 0; i < 4; i++) {
        q[i] = (u >> (8 * i)) & 15u;
        q[4 + i] = (u >> (8 * i + 4)) & 15u;
    }
}
G_FN g_u32 load16(const g_u8 *p) { return *(const g_u16 *)p; }
G_FN g_u32 load32(const g_u8 *p) { return *(const g_u32 *)p; }
G_FN float half_at(const g_u8 *p) { return g_h2f(*(const g_u16 *)p); }
G_FN float low_half(g_u32 u) { return g_h2f((g_u16)(u & 0xffffu)); }
G_FN float high_half(g_u32 u) { return g_h2f((g_u16)(u >> 16)); }

G_FN void octet_q4_0(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    g_u32 q[8];
    float d = half_at(p + cols / 2 + (oct >> 2) * 2);
    codes4(p, oct, q);
    for (int i = 0; i < 8; i++) w[i] = d * (g_small(q[i]) - 8.0f);
}
G_FN void octet_q4_1(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    g_u32 q[8], dm = load32(p + cols / 2 + (oct >> 2) * 4);
    float d = low_half(dm), m = high_half(dm);
    codes4(p, oct, q);
    for (int i = 0; i < 8; i++) w[i] = g_fma(d, g_small(q[i]), m);
}
G_FN void octet_q5_0(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    g_u32 q[8], high = p[cols / 2 + oct];
    float d = half_at(p + cols / 2 + cols / 8 + (oct >> 2) * 2);
    codes4(p, oct, q);
    for (int i = 0; i < 8; i++) w[i] = d * (g_small(q[i] | ((high >> i) & 1u) << 4) - 16.0f);
}
G_FN void octet_q5_1(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    g_u32 q[8], high = p[cols / 2 + oct], dm = load32(p + cols / 2 + cols / 8 + (oct >> 2) * 4);
    float d = low_half(dm), m = high_half(dm);
    codes4(p, oct, q);
    for (int i = 0; i < 8; i++) w[i] = g_fma(d, g_small(q[i] | ((high >> i) & 1u) << 4), m);
}
G_FN void octet_q8_0(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    g_u32 at = oct_at_quant(oct), a = load32(p + at), b = load32(p + at + 16);
    float d = half_at(p + cols + (oct >> 2) * 2);
    a ^= 0x80808080u; /* -128..127 as 0..255 */
    b ^= 0x80808080u;
    for (int i = 0; i < 4; i++) {
        w[i] = d * (g_small((a >> (8 * i)) & 255u) - 128.0f);
        w[4 + i] = d * (g_small((b >> (8 * i)) & 255u) - 128.0f);
    }
}
G_FN void octet_q2_k(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    g_u32 q = load16(p + oct * 2), sm = load16(p + cols / 4 + (oct >> 2) * 2);
    g_u32 dd = load32(p + cols / 4 + cols / 16 + (oct >> 5) * 4);
    float d = low_half(dd), dmin = high_half(dd);
    for (int h = 0; h < 2; h++, sm >>= 8) {
        float s = d * g_small(sm & 15u), m = dmin * g_small((sm >> 4) & 15u);
        for (int i = 0; i < 4; i++) w[4 * h + i] = g_fma(s, g_small((q >> (8 * h + 2 * i)) & 3u), -m);
    }
}
G_FN void octet_q3_k(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    g_u32 q = load16(p + oct * 2), high = p[cols / 4 + oct], sc = load16(p + cols / 4 + cols / 8 + (oct >> 2) * 2);
    float d = half_at(p + cols / 4 + cols / 8 + cols / 16 + (oct >> 5) * 2);
    for (int h = 0; h < 2; h++, sc >>= 8) {
        float s = d * (g_small(sc & 255u) - 32.0f);
        for (int i = 0; i < 4; i++) {
            g_u32 u = ((q >> (8 * h + 2 * i)) & 3u) | ((high >> (4 * h + i)) & 1u) << 2;
            w[4 * h + i] = s * (g_small(u) - 4.0f);
        }
    }
}
G_FN void octet_q4_k(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    g_u32 q[8], sm = load16(p + cols / 2 + (oct >> 2) * 2), dd = load32(p + cols / 2 + cols / 16 + (oct >> 5) * 4);
    float s = low_half(dd) * g_small(sm & 255u), m = high_half(dd) * g_small(sm >> 8);
    codes4(p, oct, q);
    for (int i = 0; i < 8; i++) w[i] = g_fma(s, g_small(q[i]), -m);
}
G_FN void octet_q5_k(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    const g_u8 *tail = p + cols / 2 + cols / 8;
    g_u32 q[8], high = p[cols / 2 + oct], sm = load16(tail + (oct >> 2) * 2), dd = load32(tail + cols / 16 + (oct >> 5) * 4);
    float s = low_half(dd) * g_small(sm & 255u), m = high_half(dd) * g_small(sm >> 8);
    codes4(p, oct, q);
    for (int i = 0; i < 8; i++) w[i] = g_fma(s, g_small(q[i] | ((high >> i) & 1u) << 4), -m);
}
G_FN void octet_q6_k(const g_u8 *p, g_u32 oct, g_u32 cols, float *w)
{
    const g_u8 *tail = p + cols / 2 + cols / 4;
    g_u32 q[8], high = load16(p + cols / 2 + oct * 2), sc = load16(tail + (oct >> 2) * 2) ^ 0x8080u;
    float d = half_at(tail + cols / 16 + (oct >> 5) * 2);
    codes4(p, oct, q);
    for (int h = 0; h < 2; h++, sc >>= 8) {
        float s = d * (g_small(sc & 255u) - 128.0f);
        for (int i = 4 * h; i < 4 * h + 4; i++) w[i] = s * (g_small(q[i] | ((high >> (2 * i)) & 3u) << 4) - 32.0f);
    }
}
#endif
