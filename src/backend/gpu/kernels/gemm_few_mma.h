/* gemm_few_mma.h - products of 9 to 64 rows in the fragments of m16n8k16: what gemm_few_mma_type.h needs for all types. Part of gemm_few.gpu.
 *
 * Codes become small integers in f16, exactly, and scales multiply sums in f32, as in matmul_mma.h; so weights keep all their bits. x comes in the form
 * of act.h: high parts, and low parts where the product is precise. A warp's weights go from memory straight to its registers, two chunks ahead; x goes
 * through shared memory, a chunk a stage, [block][8 rows][512 bytes], then low parts, then sums of blocks: with room for all rows, so that places are constants.
 */
enum { FEW_SETS = RF_GPU_FEW_MOST / 8 };

/* A block of 32 values times all rows: x is the lane's place in it, a[0..3] and a[4..7] the operands of its halves, scale[half][row g, g + 8]. */
G_FN void few_block(float *total, const g_u32 *a, const float *scale, int scaled, int alike, const g_u8 *x, g_u32 groups)
{
    G_UNROLL(4)
    for (g_u32 m = 0; m < FEW_SETS / 2; m++) {
        if (m >= groups) continue;
        G_UNROLL(2)
        for (g_u32 s = 2 * m; s < 2 * m + 2; s++) {
            const struct g_u4 b = *(const struct g_u4 *)(x + s * 512);
            float acc[4] = {0, 0, 0, 0}, *to = scaled ? acc : total + 4 * s;
            mma_step(to, a, b.v[0], b.v[1], 1);
            if (scaled && !alike) {
                scale_add(total + 4 * s, acc, scale[0], scale[1]);
                for (int i = 0; i < 4; i++) acc[i] = 0;
            }
            mma_step(to, a + 4, b.v[2], b.v[3], 1);
            if (scaled) scale_add(total + 4 * s, acc, scale[2], scale[3]);
        }
    }
}
/* What minima take off: x's sums of a chunk of 8 blocks, [8 rows][256 bytes]; sum is the lane's place in it. */
G_FN void few_minima(float *total, g_u32 min, float d0, float d1, const g_u8 *sum, g_u32 groups)
{
    g_u32 a[4];
    a[0] = a[2] = g_add2(g_perm(min, 0x64646464u, 0x4140u), MINUS_1024);
    a[1] = a[3] = g_add2(g_perm(min, 0x64646464u, 0x4342u), MINUS_1024);
    G_UNROLL(4)
    for (g_u32 m = 0; m < FEW_SETS / 2; m++) {
        if (m >= groups) continue;
        G_UNROLL(2)
        for (g_u32 s = 2 * m; s < 2 * m + 2; s++) {
            const struct g_u2 b = *(const struct g_u2 *)(sum + s * 256);
            float acc[4] = {0, 0, 0, 0};
            mma_step(acc, a, b.v[0], b.v[1], 1);
            scale_add(total + 4 * s, acc, -d0, -d1);
        }
    }
}

/* ---- block j of a chunk: its operands and scales ---- */

G_FN void few_scales(float *scale, float s0, float s1)
{
    scale[0] = scale[2] = s0;
    scale[1] = scale[3] = s1;
}
G_FN void few_k(const struct raw_q4_k *k, int has_bits, const g_u32 *bit, int j, g_u32 *a, float *scale)
{
    for (int r = 0; r < 2; r++)
        q45_expand(k->q[j >> 1].v[(j & 1) * 2 + r], has_bits, has_bits ? bit[j >> 1] >> (8 * (j & 1) + 4 * r) : 0, MINUS_1024, 0xd400d400u, a, r); /* -64 */
    few_scales(scale, low_half(k->super.v[0]) * small_byte(k->scale.v[j >> 2], (g_u32)(j & 3)),
               low_half(k->super.v[1]) * small_byte(k->scale.v[2 + (j >> 2)], (g_u32)(j & 3)));
}
G_FN void few_open_q4_k(const struct raw_q4_k *q, int j, g_u32 *a, float *scale) { few_k(q, 0, 0, j, a, scale); }
G_FN void few_open_q5_k(const struct raw_q5_k *q, int j, g_u32 *a, float *scale) { few_k(&q->k, 1, q->bit, j, a, scale); }
G_FN void few_open_q6_k(const struct raw_q6_k *q, int j, g_u32 *a, float *scale)
{
    const g_u32 high = q->high[j >> 2].v[j & 3];
    for (int h = 0; h < 2; h++) {
        const g_u32 i = (2 * (g_u32)j + (g_u32)h) & 7;
        scale[2 * h] = low_half(q->super) * scale_of_byte(q->scale[j >> 2].v[i >> 2] ^ 0x80808080u, i & 3);
        scale[2 * h + 1] = high_half(q->super) * scale_of_byte(q->scale[j >> 2].v[2 + (i >> 2)] ^ 0x80808080u, i & 3);
        for (int r = 0; r < 2; r++) q6_expand(q->q[j >> 1].v[(j & 1) * 2 + r], high, h, r, a + 4 * h);
    }
}
G_FN void few_open_q8_0(const struct raw_q8_0 *q, int j, g_u32 *a, float *scale)
{
    q8_expand(&q->q[j], a);
    few_scales(scale, low_half(q->scale.v[j]), high_half(q->scale.v[j]));
}
G_FN void few_open_q4_0(const struct raw_q4_0 *q, int j, g_u32 *a, float *scale)
{
    for (int r = 0; r < 2; r++) q45_expand(q->q[j >> 1].v[(j & 1) * 2 + r], 0, 0, 0xe408e408u, 0xd480d480u, a, r); /* -1032, -72 */
    few_scales(scale, low_half(q->scale.v[j]), high_half(q->scale.v[j]));
}
G_FN void few_open_q5_0(const struct raw_q5_0 *q, int j, g_u32 *a, float *scale)
{
    for (int r = 0; r < 2; r++) /* -1040, -80 */
        q45_expand(q->q[j >> 1].v[(j & 1) * 2 + r], 1, q->bit[j >> 1] >> (8 * (j & 1) + 4 * r), 0xe410e410u, 0xd500d500u, a, r);
    few_scales(scale, low_half(q->scale.v[j]), high_half(q->scale.v[j]));
}
G_FN void few_open_f8(const struct raw_f8 *q, int j, g_u32 *a, float *scale)
{
    f8_expand(&q->q[j], a);
    few_scales(scale, g_asf(q->scale.v[0]) * F8_UNIT, g_asf(q->scale.v[1]) * F8_UNIT);
}
G_FN void few_open_f16(const struct raw_f16 *q, int j, g_u32 *a, float *scale)
{
    (void)scale;
    for (int i = 0; i < 8; i++) a[i] = q->q[2 * j + (i >> 2)].v[i & 3];
}
G_FN void few_min_q4_k(const struct raw_q4_k *q, float *total, const g_u8 *sum, g_u32 groups)
{
    few_minima(total, q->min, high_half(q->super.v[0]), high_half(q->super.v[1]), sum, groups);
}
G_FN void few_min_q5_k(const struct raw_q5_k *q, float *total, const g_u8 *sum, g_u32 groups) { few_min_q4_k(&q->k, total, sum, groups); }

/* Chunk c of x (blocks of 32 values, sets of 8 rows) on its way to a stage. */
G_FN void few_x_load(g_u8 *to, const struct gemm_few_args *p, g_u32 c, g_u32 blocks, g_u32 sets, int sums)
{
    const g_u32 plane = blocks * sets * 32; /* pieces of 16 bytes that are there */
    for (g_u32 i = g_tid(); i < plane * (p->x_lo ? 2 : 1); i += 256) {
        const g_u32 low = i >= plane, at = low ? i - plane : i, set = at / (blocks * 32), block = at / 32 % blocks, piece = at % 32;
        g_copy16(to + ((low * blocks + block) * FEW_SETS + set) * 512 + piece * 16,
                 (const g_u8 *)p->act.half + ((g_u64)set * p->act.blocks + c * blocks + block) * 1024 + low * 512 + piece * 16);
    }
    if (!sums) return;
    to += blocks * FEW_SETS * (p->x_lo ? 1024 : 512);
    for (g_u32 i = g_tid(); i < sets * 16; i += 256)
        g_copy16(to + i * 16, (const g_u8 *)p->act.sum + ((g_u64)(i / 16) * (p->act.blocks >> 3) + c) * 256 + i % 16 * 16);
}
