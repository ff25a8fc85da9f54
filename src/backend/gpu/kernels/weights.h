/* weights.h - how weights lie in device memory, and one octet of them as floats, for every type. pack.gpu makes this order from
 * file rows; formulas: src/quant. w = scale * q - min is one rounding here (g_fma), two on the CPU.
 *
 * A matrix is row tiles of 16 rows; a row tile is chunks of KC values along k (args.h: 256 for super-block types, else 128), rows and k padded with
 * zeros; a chunk is planes behind each other: codes, high bits, scales, mins, super-block factors (of F8_E4M3 its scales, f32, one a row). A tile is its
 * chunks behind each other, but for super-block factors: those of all its chunks come last, so that every chunk begins with a whole line of 128 bytes
 * (half lines cost a fifth of memory's speed).
 *
 * Lane l of 32 (g = l / 4, t = l % 4) owns rows g (r = 0) and g + 8 (r = 1). Of block j of 32 values it owns an octet:
 * value v = 4h + e (h = 0, 1; e = 0..3) is k = 32j + 16h + 4t + e. So its codes are successive words, and pairs of values
 * (e = 0, 1 and 2, 3) of half h are the operands of matrix step h of m16n8k16, with x in the same order of k.
 * bf16 alone lies as gemm.gpu's operand blobs (matrix.h): [128 rows][64 values] of 16 KiB, so that it needs no second copy; its octet is k = 32j + 8t + v.
 * Bit and byte places below put a pair's two values 16 bits apart (halves) or a half's four values into four bytes.
 */
#ifndef RF_GPU_WEIGHTS_H
#define RF_GPU_WEIGHTS_H

#include "dialect.h"

#define CHUNK_LINES(bytes) ((bytes) & ~127u) /* of a chunk, without super-block factors */

G_FN float half_at(const g_u8 *p) { return g_h2f(*(const g_u16 *)p); }
G_FN float low_half(g_u32 u) { return g_h2f((g_u16)(u & 0xffffu)); }
G_FN float high_half(g_u32 u) { return g_h2f((g_u16)(u >> 16)); }
G_FN float byte_of(g_u32 u, g_u32 i) { return g_small((u >> (8 * i)) & 255u); }
G_FN float signed_byte(g_u8 u) { return g_small((g_u32)u ^ 128u) - 128.0f; }

/* A chunk: its planes but the last, and its super-block factors. */
struct chunk { const g_u8 *p, *super; };
/* Chunk c of row tile i. */
G_FN struct chunk chunk_at(g_u64 w, g_u32 tile, g_u32 c, g_u32 n_chunk, g_u32 bytes)
{
    const g_u32 whole = CHUNK_LINES(bytes);
    const g_u8 *t = (const g_u8 *)w + (g_u64)tile * n_chunk * bytes;
    return (struct chunk){t + c * whole, t + n_chunk * whole + c * (bytes - whole)};
}
G_FN struct chunk chunk_at_bf16(g_u64 w, g_u32 tile, g_u32 c, g_u32 n_chunk, g_u32 bytes)
{
    (void)bytes;
    return (struct chunk){(const g_u8 *)w + ((g_u64)(tile >> 3) * n_chunk + c) * 16384 + (tile & 7) * 2048, 0};
}
#define CHUNK_f32 chunk_at
#define CHUNK_f16 chunk_at
#define CHUNK_bf16 chunk_at_bf16
#define CHUNK_q4_0 chunk_at
#define CHUNK_q4_1 chunk_at
#define CHUNK_q5_0 chunk_at
#define CHUNK_q5_1 chunk_at
#define CHUNK_q8_0 chunk_at
#define CHUNK_q2_k chunk_at
#define CHUNK_q3_k chunk_at
#define CHUNK_q4_k chunk_at
#define CHUNK_q5_k chunk_at
#define CHUNK_q6_k chunk_at
#define CHUNK_f8 chunk_at
/* First k of an octet's halves, within its block of 32. */
G_FN g_u32 octet_k(g_u32 lane, g_u32 h) { return 16 * h + 4 * (lane & 3); }
G_FN g_u32 octet_k_bf16(g_u32 lane, g_u32 h) { return 8 * (lane & 3) + 4 * h; }

#define OCTET_K_f32 octet_k
#define OCTET_K_f16 octet_k
#define OCTET_K_bf16 octet_k_bf16
#define OCTET_K_q4_0 octet_k
#define OCTET_K_q4_1 octet_k
#define OCTET_K_q5_0 octet_k
#define OCTET_K_q5_1 octet_k
#define OCTET_K_q8_0 octet_k
#define OCTET_K_q2_k octet_k
#define OCTET_K_q3_k octet_k
#define OCTET_K_q4_k octet_k
#define OCTET_K_q5_k octet_k
#define OCTET_K_q6_k octet_k
#define OCTET_K_f8 octet_k

/* ---- places of codes ---- */

/* 4 bits (Q4, Q5): nibble 2h + e/2 + 4 (e % 2). */
G_FN g_u32 code_word(const g_u8 *p, g_u32 j, g_u32 lane, g_u32 r) { return ((const g_u32 *)p)[(j >> 1) * 128 + lane * 4 + (j & 1) * 2 + r]; }
G_FN g_u32 pair_bit(g_u32 v) { return (v >> 1) + 16 * (v & 1); } /* place of value v where a pair number takes one bit */
G_FN g_u32 code4(g_u32 word, g_u32 v) { return (word >> (4 * (v >> 1) + 16 * (v & 1))) & 15u; }
/* One high bit (Q5, Q3_K): two blocks to a word, a row's 4 bits of pairs 4 bits apart. */
G_FN g_u32 bits1_word(const g_u8 *p, g_u32 j, g_u32 lane, g_u32 r) { return ((const g_u32 *)p)[(j >> 1) * 32 + lane] >> (8 * (j & 1) + 4 * r); }
G_FN g_u32 bit1(g_u32 word, g_u32 v) { return (word >> pair_bit(v)) & 1u; }
/* Two bits (Q2_K, Q3_K). */
G_FN g_u32 bits2_word(const g_u8 *p, g_u32 j, g_u32 lane, g_u32 r) { return ((const g_u32 *)p)[(j >> 2) * 128 + lane * 4 + (j & 3)] >> (8 * r); }
G_FN g_u32 bits2(g_u32 word, g_u32 v) { return (word >> (2 * (v >> 1) + 16 * (v & 1))) & 3u; }
/* Q6_K: byte e of the code word holds both halves' nibbles; of the high word, bits 2 (2h + r). */
G_FN g_u32 code6(g_u32 low, g_u32 high, g_u32 r, g_u32 v)
{
    g_u32 h = v >> 2, e = v & 3;
    return ((low >> (8 * e + 4 * h)) & 15u) | ((high >> (8 * e + 4 * h + 2 * r)) & 3u) << 4;
}

/* E4M3: value e of a word is its byte e / 2 + 2 (e % 2), so that a pair stands 16 bits apart. The same bits in a half, whose bias is 8 more, are the value
 * over 256: exactly, also where the half is subnormal. NaN is not among them (src/format/fp8.h). */
G_FN g_u32 f8_low(g_u32 word) { return (word << 8 & 0x80008000u) | (word << 7 & 0x3f803f80u); }  /* values 0, 1 as halves */
G_FN g_u32 f8_high(g_u32 word) { return (word & 0x80008000u) | (word >> 1 & 0x3f803f80u); }      /* 2, 3 */
#define F8_UNIT 256.0f

/* ---- places of scales ---- */
G_FN float scale32(const g_u8 *plane, g_u32 j, g_u32 lane, g_u32 r) { return g_h2f(((const g_u16 *)plane)[((lane >> 2) * 4 + j) * 2 + r]); }
G_FN g_u32 scale_min32(const g_u8 *plane, g_u32 j, g_u32 lane, g_u32 r) { return ((const g_u32 *)plane)[((j >> 1) * 8 + (lane >> 2)) * 4 + (j & 1) * 2 + r]; }
G_FN g_u32 k_scale_at(g_u32 j, g_u32 row) { return (row & 7) * 16 + (row >> 3) * 8 + j; }                                   /* Q4_K, Q5_K: bytes */
G_FN g_u32 k_min_at(g_u32 j, g_u32 row) { return ((row & 7) * 4 + (j >> 1)) * 4 + (row >> 3) * 2 + (j & 1); }
G_FN g_u32 scale16_at(g_u32 i, g_u32 row) { return ((i >> 3) * 8 + (row & 7)) * 16 + (row >> 3) * 8 + (i & 7); } /* of 16 values: bytes */
G_FN g_u32 super_at(g_u32 row) { return (row & 7) * 2 + (row >> 3); }                                                 /* words or halves */
G_FN g_u32 row_of(g_u32 lane, g_u32 r) { return (lane >> 2) + 8 * r; }

/* ---- octets: w[v] = value v of row g + 8r in block j of the chunk at p ---- */

G_FN void octet_f32(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    for (int h = 0; h < 2; h++) {
        struct g_f4 v = ((const struct g_f4 *)k.p)[((2 * j + (g_u32)h) * 2 + r) * 32 + lane];
        for (int e = 0; e < 4; e++) w[4 * h + e] = v.v[e];
    }
}
G_FN void octet_f16(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    for (g_u32 i = 0; i < 4; i++) { /* pairs */
        g_u32 u = ((const g_u32 *)k.p)[(2 * j + (i >> 1)) * 128 + lane * 4 + (i & 1) * 2 + r];
        w[2 * i] = low_half(u);
        w[2 * i + 1] = high_half(u);
    }
}
G_FN g_u32 bf16_at(g_u32 j, g_u32 t, g_u32 row) { return row * 128 + (((4 * j + t) ^ (row & 7)) << 4); }
G_FN void octet_bf16(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    struct g_u4 u = *(const struct g_u4 *)(k.p + bf16_at(j, lane & 3, row_of(lane, r)));
    for (g_u32 i = 0; i < 4; i++) {
        w[2 * i] = g_asf(u.v[i] << 16);
        w[2 * i + 1] = g_asf(u.v[i] & 0xffff0000u);
    }
}
G_FN void octet_q4_0(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 u = code_word(k.p, j, lane, r);
    float d = scale32(k.p + 1024, j, lane, r);
    for (g_u32 v = 0; v < 8; v++) w[v] = d * (g_small(code4(u, v)) - 8.0f);
}
G_FN void octet_q4_1(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 u = code_word(k.p, j, lane, r), dm = scale_min32(k.p + 1024, j, lane, r);
    for (g_u32 v = 0; v < 8; v++) w[v] = g_fma(low_half(dm), g_small(code4(u, v)), high_half(dm));
}
G_FN void octet_q5_0(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 u = code_word(k.p, j, lane, r), b = bits1_word(k.p + 1024, j, lane, r);
    float d = scale32(k.p + 1280, j, lane, r);
    for (g_u32 v = 0; v < 8; v++) w[v] = d * (g_small(code4(u, v) | bit1(b, v) << 4) - 16.0f);
}
G_FN void octet_q5_1(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 u = code_word(k.p, j, lane, r), b = bits1_word(k.p + 1024, j, lane, r), dm = scale_min32(k.p + 1280, j, lane, r);
    for (g_u32 v = 0; v < 8; v++) w[v] = g_fma(low_half(dm), g_small(code4(u, v) | bit1(b, v) << 4), high_half(dm));
}
G_FN void octet_q8_0(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    float d = scale32(k.p + 2048, j, lane, r);
    for (g_u32 h = 0; h < 2; h++) {
        g_u32 u = ((const g_u32 *)k.p)[j * 128 + lane * 4 + 2 * h + r] ^ 0x80808080u; /* -128..127 as 0..255 */
        for (g_u32 e = 0; e < 4; e++) w[4 * h + e] = d * (byte_of(u, e) - 128.0f);
    }
}
G_FN void octet_f8(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    const float d = ((const float *)k.super)[super_at(row_of(lane, r))] * F8_UNIT;
    for (g_u32 h = 0; h < 2; h++) {
        const g_u32 u = ((const g_u32 *)k.p)[j * 128 + lane * 4 + 2 * h + r], low = f8_low(u), high = f8_high(u);
        w[4 * h] = d * low_half(low);
        w[4 * h + 1] = d * high_half(low);
        w[4 * h + 2] = d * low_half(high);
        w[4 * h + 3] = d * high_half(high);
    }
}
G_FN void octet_q2_k(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 row = row_of(lane, r), u = bits2_word(k.p, j, lane, r), dd = ((const g_u32 *)k.super)[super_at(row)];
    for (g_u32 h = 0; h < 2; h++) {
        g_u32 sm = (k.p + 1024)[scale16_at(2 * j + h, row)];
        float s = low_half(dd) * g_small(sm & 15u), m = high_half(dd) * g_small(sm >> 4);
        for (g_u32 e = 0; e < 4; e++) w[4 * h + e] = g_fma(s, g_small(bits2(u, 4 * h + e)), -m);
    }
}
G_FN void octet_q3_k(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 row = row_of(lane, r), u = bits2_word(k.p, j, lane, r), b = bits1_word(k.p + 1024, j, lane, r);
    float d = half_at(k.super + 2 * super_at(row));
    for (g_u32 h = 0; h < 2; h++) {
        float s = d * signed_byte((k.p + 1536)[scale16_at(2 * j + h, row)]);
        for (g_u32 e = 0; e < 4; e++) w[4 * h + e] = s * (g_small(bits2(u, 4 * h + e) | bit1(b, 4 * h + e) << 2) - 4.0f);
    }
}
G_FN void octet_q4_k(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 row = row_of(lane, r), u = code_word(k.p, j, lane, r), dd = ((const g_u32 *)k.super)[super_at(row)];
    float s = low_half(dd) * g_small((k.p + 2048)[k_scale_at(j, row)]), m = high_half(dd) * g_small((k.p + 2176)[k_min_at(j, row)]);
    for (g_u32 v = 0; v < 8; v++) w[v] = g_fma(s, g_small(code4(u, v)), -m);
}
G_FN void octet_q5_k(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 row = row_of(lane, r), u = code_word(k.p, j, lane, r), b = bits1_word(k.p + 2048, j, lane, r), dd = ((const g_u32 *)k.super)[super_at(row)];
    float s = low_half(dd) * g_small((k.p + 2560)[k_scale_at(j, row)]), m = high_half(dd) * g_small((k.p + 2688)[k_min_at(j, row)]);
    for (g_u32 v = 0; v < 8; v++) w[v] = g_fma(s, g_small(code4(u, v) | bit1(b, v) << 4), -m);
}
G_FN void octet_q6_k(struct chunk k, g_u32 j, g_u32 lane, g_u32 r, float *w)
{
    g_u32 row = row_of(lane, r), u = code_word(k.p, j, lane, r), high = ((const g_u32 *)(k.p + 2048))[(j >> 2) * 128 + lane * 4 + (j & 3)];
    float d = half_at(k.super + 2 * super_at(row));
    for (g_u32 h = 0; h < 2; h++) {
        float s = d * signed_byte((k.p + 3072)[scale16_at(2 * j + h, row)]);
        for (g_u32 e = 0; e < 4; e++) w[4 * h + e] = s * (g_small(code6(u, high, r, 4 * h + e)) - 32.0f);
    }
}
#endif
