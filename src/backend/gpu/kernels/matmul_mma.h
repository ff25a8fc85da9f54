/* matmul_mma.h - the types that the matrix unit multiplies (m16n8k16: 16 weight rows, 8 columns of x), see matmul.gpu.
 *
 * Codes become small integers in f16, exactly: or-ed into the last bits of 1024.0 (0x6400), from which 1024 is taken off again. Scales
 * multiply sums in f32.
 * For each type: struct raw_T, what a lane holds of a chunk; raw_load_T; and step_T, which adds the chunk's products to acc.
 */
#ifndef RF_GPU_MATMUL_MMA_H
#define RF_GPU_MATMUL_MMA_H

/* A lane's columns of x (act.h), high parts first; has it sums? rows: that lie together, 8, or 1 (matmul_one.h); a constant after inlining. turn: MMA_TURN bytes of
 * shared memory of the warp's own, for bf16. */
struct mma_x { const g_u8 *data, *sum; int sums; g_u32 rows; g_u8 *turn; };
#define MMA_TURN 2048
#define ONES 0x64006400u   /* 1024, 1024 */
#define MINUS_1024 0xe400e400u
#define SIXTEENTH 0x2c002c00u
#define NIBBLE0 0x000f000fu
#define NIBBLE1 0x00f000f0u
G_FN void mma_step(float *c, const g_u32 *a, g_u32 b0, g_u32 b1, int f16)
{
    const g_u32 b[2] = {b0, b1};
    if (f16) g_mma_f16(c, a, b);
    else g_mma_bf16(c, a, b);
}
/* Chunk c of blocks of 32; and the lane's values of a block in it, set 1 the low parts. */
G_FN const g_u8 *x_chunk(const struct mma_x *x, g_u32 c, g_u32 blocks) { return x->data + (g_u64)c * blocks * 128 * x->rows; }
G_FN struct g_u4 x_load(const struct mma_x *x, const g_u8 *chunk, int block, int set)
{
    return *(const struct g_u4 *)(chunk + ((g_u32)block * 128 + (g_u32)set * 64) * x->rows);
}
/* Both halves of block `block`: a[0..3] and a[4..7] are the operands of steps 0 and 1. */
#define BLOCK_STEPS(acc, sets, a, block, f16)                         \
    for (int s_ = 0; s_ < (sets); s_++) {                             \
        struct g_u4 b_ = x_load(x, xc, block, s_);                    \
        mma_step((acc) + 4 * s_, a, b_.v[0], b_.v[1], f16);           \
        mma_step((acc) + 4 * s_, (a) + 4, b_.v[2], b_.v[3], f16);     \
    }
G_FN void scale_add(float *total, const float *acc, float s0, float s1)
{
    total[0] = g_fma(s0, acc[0], total[0]);
    total[1] = g_fma(s0, acc[1], total[1]);
    total[2] = g_fma(s1, acc[2], total[2]);
    total[3] = g_fma(s1, acc[3], total[3]);
}

/* zero, zero16: minus 1024 and the code's zero, for codes in place and for those that stand 16 times higher */
G_FN void q45_expand(g_u32 u, int has_bits, g_u32 bits, g_u32 zero, g_u32 zero16, g_u32 *a, int r)
{
    for (int h = 0; h < 2; h++) {
        g_u32 w = h ? u >> 8 : u, low = g_and_or(w, NIBBLE0, ONES), high = g_and_or(w, NIBBLE1, ONES);
        if (has_bits) {
            low |= ((bits >> (2 * h)) << 4) & 0x00100010u;
            high |= ((bits >> (2 * h)) << 7) & 0x01000100u;
        }
        a[4 * h + r] = g_add2(low, zero);
        a[4 * h + 2 + r] = g_fma2(high, SIXTEENTH, zero16);
    }
}
G_FN float small_byte(g_u32 u, g_u32 i) { return g_asf(g_perm(u, 0x4b000000u, 0x7440u | i)) - 8388608.0f; }

/* ---- Q4_K, Q5_K: a code alone is f16's q * 2^-24, which the unit multiplies exactly; the super-block's factor makes up for it ---- */
#define TWO_24 16777216.0f
G_FN void k45_expand(g_u32 u, int has_bits, g_u32 bits, g_u32 *a, int r)
{
    for (int h = 0; h < 2; h++) {
        a[4 * h + r] = (u >> (8 * h)) & NIBBLE0;
        a[4 * h + 2 + r] = (u >> (8 * h + 4)) & NIBBLE0;
        if (has_bits) {
            a[4 * h + r] |= ((bits >> (2 * h)) << 4) & 0x00100010u;
            a[4 * h + 2 + r] |= ((bits >> (2 * h)) << 3) & 0x00100010u;
        }
    }
}
struct raw_q4_k { struct g_u4 q[4], scale; g_u32 min; struct g_u2 super; };
struct raw_q5_k { struct raw_q4_k k; g_u32 bit[4]; };
G_FN void raw_k_load(struct raw_q4_k *r, struct chunk k, g_u32 lane, g_u32 scales)
{
    for (int i = 0; i < 4; i++) r->q[i] = g_stream16(k.p + i * 512 + lane * 16);
    r->scale = g_stream16(k.p + scales + (lane >> 2) * 16);
    r->min = *(const g_u32 *)(k.p + scales + 128 + lane * 4);
    r->super = *(const struct g_u2 *)(k.super + (lane >> 2) * 8);
}
G_FN void raw_load_q4_k(struct raw_q4_k *r, struct chunk k, g_u32 lane) { raw_k_load(r, k, lane, 2048); }
G_FN void raw_load_q5_k(struct raw_q5_k *r, struct chunk k, g_u32 lane)
{
    raw_k_load(&r->k, k, lane, 2560);
    for (int i = 0; i < 4; i++) r->bit[i] = *(const g_u32 *)(k.p + 2048 + i * 128 + lane * 4);
}
G_FN void step_k(const struct raw_q4_k *k, int has_bits, const g_u32 *bit, const struct mma_x *x, g_u32 c, float *total, int sets)
{
    const g_u8 *xc = x_chunk(x, c, 8);
    float sum[8], min[4];
    g_u32 a[8];
    for (int i = 0; i < 8; i++) sum[i] = 0;
    for (int i = 0; i < 4; i++) min[i] = 0;
    G_UNROLL(8)
    for (int j = 0; j < 8; j++) {
        float acc[8];
        for (int i = 0; i < 8; i++) acc[i] = 0;
        for (int r = 0; r < 2; r++)
            k45_expand(k->q[j >> 1].v[(j & 1) * 2 + r], has_bits, has_bits ? bit[j >> 1] >> (8 * (j & 1) + 4 * r) : 0, a, r);
        BLOCK_STEPS(acc, sets, a, j, 1)
        const float s0 = small_byte(k->scale.v[j >> 2], (g_u32)(j & 3)), s1 = small_byte(k->scale.v[2 + (j >> 2)], (g_u32)(j & 3));
        for (int i = 0; i < sets; i++) scale_add(sum + 4 * i, acc + 4 * i, s0, s1);
    }
    a[0] = a[2] = g_add2(g_perm(k->min, 0x64646464u, 0x4140u), MINUS_1024);
    a[1] = a[3] = g_add2(g_perm(k->min, 0x64646464u, 0x4342u), MINUS_1024);
    struct g_u2 s = {{0, 0}};
    if (x->sums) s = *(const struct g_u2 *)(x->sum + (g_u64)c * 32 * x->rows);
    mma_step(min, a, s.v[0], s.v[1], 1);
    const float d0 = low_half(k->super.v[0]), d1 = low_half(k->super.v[1]);
    for (int i = 0; i < sets; i++) scale_add(total + 4 * i, sum + 4 * i, d0 * TWO_24, d1 * TWO_24);
    scale_add(total, min, -high_half(k->super.v[0]), -high_half(k->super.v[1]));
}
G_FN void step_q4_k(const struct raw_q4_k *r, const struct mma_x *x, g_u32 c, float *total, int sets) { step_k(r, 0, 0, x, c, total, sets); }
G_FN void step_q5_k(const struct raw_q5_k *r, const struct mma_x *x, g_u32 c, float *total, int sets) { step_k(&r->k, 1, r->bit, x, c, total, sets); }

/* ---- Q6_K: a step is a sub-block of 16; its scale multiplies the sum ---- */
struct raw_q6_k { struct g_u4 q[4], high[2], scale[2]; g_u32 super; };
G_FN void raw_load_q6_k(struct raw_q6_k *r, struct chunk k, g_u32 lane)
{
    for (int i = 0; i < 4; i++) r->q[i] = g_stream16(k.p + i * 512 + lane * 16);
    for (int i = 0; i < 2; i++) {
        r->high[i] = g_stream16(k.p + 2048 + i * 512 + lane * 16);
        r->scale[i] = g_stream16(k.p + 3072 + i * 128 + (lane >> 2) * 16);
    }
    r->super = *(const g_u32 *)(k.super + (lane >> 2) * 4);
}
G_FN void q6_expand(g_u32 low, g_u32 high, int h, int row, g_u32 *a)
{
    int shift = 4 * h + 2 * row - 4; /* the two bits go to 4 and 5 of each byte */
    g_u32 q = ((low >> (4 * h)) & 0x0f0f0f0fu) | ((shift < 0 ? high << -shift : high >> shift) & 0x30303030u);
    a[row] = g_add2(g_perm(q, 0x64646464u, 0x4140u), 0xe420e420u); /* -1056 */
    a[2 + row] = g_add2(g_perm(q, 0x64646464u, 0x4342u), 0xe420e420u);
}
G_FN float scale_of_byte(g_u32 flipped, g_u32 i) { return g_asf(g_perm(flipped, 0x4b000000u, 0x7440u | i)) - 8388736.0f; } /* signed byte, top bit flipped */
G_FN void step_q6_k(const struct raw_q6_k *q, const struct mma_x *x, g_u32 c, float *total, int sets)
{
    const g_u8 *xc = x_chunk(x, c, 8);
    float sum[8];
    for (int i = 0; i < 8; i++) sum[i] = 0;
    G_UNROLL(8)
    for (int j = 0; j < 8; j++) {
        const g_u32 high = q->high[j >> 2].v[j & 3];
        struct g_u4 b[2];
        for (int s = 0; s < sets; s++) b[s] = x_load(x, xc, j, s);
        for (int h = 0; h < 2; h++) {
            const g_u32 i = (2 * (g_u32)j + (g_u32)h) & 7;
            const float s0 = scale_of_byte(q->scale[j >> 2].v[i >> 2] ^ 0x80808080u, i & 3), s1 = scale_of_byte(q->scale[j >> 2].v[2 + (i >> 2)] ^ 0x80808080u, i & 3);
            g_u32 a[4];
            for (int r = 0; r < 2; r++) q6_expand(q->q[j >> 1].v[(j & 1) * 2 + r], high, h, r, a);
            for (int s = 0; s < sets; s++) {
                float acc[4] = {0, 0, 0, 0};
                mma_step(acc, a, b[s].v[2 * h], b[s].v[2 * h + 1], 1);
                scale_add(sum + 4 * s, acc, s0, s1);
            }
        }
    }
    for (int s = 0; s < sets; s++) scale_add(total + 4 * s, sum + 4 * s, low_half(q->super), high_half(q->super));
}

/* ---- one scale per 32: Q8_0, Q4_0, Q5_0. scale.v[j]: rows g and g + 8 of block j ---- */
#define STEP_SCALE32(expand)                                                                                       \
    const g_u8 *xc = x_chunk(x, c, 4);                                                                               \
    G_UNROLL(4)                                                                                                    \
    for (int j = 0; j < 4; j++) {                                                                                  \
        float acc[8];                                                                                              \
        g_u32 a[8];                                                                                                \
        for (int i = 0; i < 8; i++) acc[i] = 0;                                                                    \
        expand;                                                                                                    \
        BLOCK_STEPS(acc, sets, a, j, 1)                                                             \
        for (int s = 0; s < sets; s++) scale_add(total + 4 * s, acc + 4 * s, low_half(q->scale.v[j]), high_half(q->scale.v[j])); \
    }
struct raw_q8_0 { struct g_u4 q[4], scale; };
G_FN void raw_load_q8_0(struct raw_q8_0 *r, struct chunk k, g_u32 lane)
{
    for (int i = 0; i < 4; i++) r->q[i] = g_stream16(k.p + i * 512 + lane * 16);
    r->scale = g_stream16(k.p + 2048 + (lane >> 2) * 16);
}
G_FN void q8_expand(const struct g_u4 *q, g_u32 *a)
{
    for (int i = 0; i < 4; i++) { /* half, row */
        g_u32 u = q->v[i] ^ 0x80808080u;
        a[4 * (i >> 1) + (i & 1)] = g_add2(g_perm(u, 0x64646464u, 0x4140u), 0xe480e480u); /* -1152 */
        a[4 * (i >> 1) + 2 + (i & 1)] = g_add2(g_perm(u, 0x64646464u, 0x4342u), 0xe480e480u);
    }
}
G_FN void step_q8_0(const struct raw_q8_0 *q, const struct mma_x *x, g_u32 c, float *total, int sets) { STEP_SCALE32(q8_expand(&q->q[j], a)) }

struct raw_q4_0 { struct g_u4 q[2], scale; };
struct raw_q5_0 { struct g_u4 q[2], scale; g_u32 bit[2]; };
G_FN void raw_load_q4_0(struct raw_q4_0 *r, struct chunk k, g_u32 lane)
{
    for (int i = 0; i < 2; i++) r->q[i] = g_stream16(k.p + i * 512 + lane * 16);
    r->scale = g_stream16(k.p + 1024 + (lane >> 2) * 16);
}
G_FN void raw_load_q5_0(struct raw_q5_0 *r, struct chunk k, g_u32 lane)
{
    for (int i = 0; i < 2; i++) {
        r->q[i] = g_stream16(k.p + i * 512 + lane * 16);
        r->bit[i] = *(const g_u32 *)(k.p + 1024 + i * 128 + lane * 4);
    }
    r->scale = g_stream16(k.p + 1280 + (lane >> 2) * 16);
}
G_FN void step_q4_0(const struct raw_q4_0 *q, const struct mma_x *x, g_u32 c, float *total, int sets)
{
    STEP_SCALE32(for (int r = 0; r < 2; r++) q45_expand(q->q[j >> 1].v[(j & 1) * 2 + r], 0, 0, 0xe408e408u, 0xd480d480u, a, r)) /* -1032, -72 */
}
G_FN void step_q5_0(const struct raw_q5_0 *q, const struct mma_x *x, g_u32 c, float *total, int sets)
{
    STEP_SCALE32(for (int r = 0; r < 2; r++) /* -1040, -80 */
                     q45_expand(q->q[j >> 1].v[(j & 1) * 2 + r], 1, q->bit[j >> 1] >> (8 * (j & 1) + 4 * r), 0xe410e410u, 0xd500d500u, a, r))
}

/* ---- F8_E4M3: a scale for all of a chunk ---- */
struct raw_f8 { struct g_u4 q[4]; struct g_u2 scale; };
G_FN void raw_load_f8(struct raw_f8 *r, struct chunk k, g_u32 lane)
{
    for (int i = 0; i < 4; i++) r->q[i] = g_stream16(k.p + i * 512 + lane * 16);
    r->scale = *(const struct g_u2 *)(k.super + (lane >> 2) * 8);
}
G_FN void f8_expand(const struct g_u4 *q, g_u32 *a)
{
    for (int i = 0; i < 4; i++) { /* half, row */
        a[4 * (i >> 1) + (i & 1)] = f8_low(q->v[i]);
        a[4 * (i >> 1) + 2 + (i & 1)] = f8_high(q->v[i]);
    }
}
G_FN void step_f8(const struct raw_f8 *q, const struct mma_x *x, g_u32 c, float *total, int sets)
{
    const g_u8 *xc = x_chunk(x, c, 4);
    const float s0 = g_asf(q->scale.v[0]) * F8_UNIT, s1 = g_asf(q->scale.v[1]) * F8_UNIT;
    float acc[8];
    for (int i = 0; i < 8; i++) acc[i] = 0;
    G_UNROLL(4)
    for (int j = 0; j < 4; j++) {
        g_u32 a[8];
        f8_expand(&q->q[j], a);
        BLOCK_STEPS(acc, sets, a, j, 1)
    }
    for (int s = 0; s < sets; s++) scale_add(total + 4 * s, acc + 4 * s, s0, s1);
}

/* ---- 16-bit floats as they are ---- */
struct raw_f16 { struct g_u4 q[8]; };
G_FN void raw_load_f16(struct raw_f16 *r, struct chunk k, g_u32 lane)
{
    for (int i = 0; i < 8; i++) r->q[i] = g_stream16(k.p + i * 512 + lane * 16);
}
G_FN void step_f16(const struct raw_f16 *q, const struct mma_x *x, g_u32 c, float *total, int sets)
{
    const g_u8 *xc = x_chunk(x, c, 4);
    G_UNROLL(4)
    for (int j = 0; j < 4; j++) {
        g_u32 a[8];
        for (int i = 0; i < 8; i++) a[i] = q->q[2 * j + (i >> 2)].v[i & 3];
        BLOCK_STEPS(total, sets, a, j, 1)
    }
}
/* bf16 lies in rows (weights.h). A lane's own 16 bytes of eight rows would be half lines of 128 bytes, which memory delivers at four fifths of its speed; so a warp loads
 * what lies together, and its lanes change places in shared memory. */
struct raw_bf16 { struct g_u4 q[4]; };
G_FN void raw_load_bf16(struct raw_bf16 *r, struct chunk k, g_u32 lane)
{
    for (int i = 0; i < 4; i++) r->q[i] = g_stream16(k.p + i * 512 + lane * 16);
}
G_FN void step_bf16(const struct raw_bf16 *q, const struct mma_x *x, g_u32 c, float *total, int sets)
{
    const g_u8 *xc = x_chunk(x, c, 2);
    const g_u32 lane = g_lane();
    g_warp_join(); /* all have read the chunk before */
    for (int i = 0; i < 4; i++) *(struct g_u4 *)(x->turn + i * 512 + lane * 16) = q->q[i];
    g_warp_join();
    G_UNROLL(2)
    for (int j = 0; j < 2; j++) {
        g_u32 a[8];
        for (g_u32 r = 0; r < 2; r++) {
            const struct g_u4 w = *(const struct g_u4 *)(x->turn + bf16_at((g_u32)j, lane & 3, row_of(lane, r)));
            for (int i = 0; i < 4; i++) a[2 * i + (int)r] = w.v[i];
        }
        BLOCK_STEPS(total, sets, a, j, 0)
    }
}
#endif
