/* gemm_stream.h - products of 9 to 64 rows on Hopper: weights stream through shared memory into warp groups' products. Part of gemm_few.gpu.
 *
 * A block takes 256 weight rows, 64 for each of four groups of 128 threads; D is weights by rows of x. A ring of stages holds a chunk of 16 row tiles and the blobs of x
 * that belong to it, brought by the copy engine: a warp fetches its own row tile's chunks, one more warp fetches x (and the blobs of bf16 weights). Codes become f16 in
 * the registers that wgmma takes as its first operand, times their scale (minus their minimum), rounded to 2^-11. bf16 goes from shared memory as it is. Where so many
 * tiles leave the chip idle, a tile's k is cut among the blocks of a cluster; their sums meet in shared memory and are added in order. So a row's bits depend on weights
 * alone.
 */
#define STREAM_THREADS RF_GPU_STREAM_THREADS /* four groups that multiply, and one of which a thread orders copies */
#define STREAM_PITCH 260   /* floats between rows of x in the block's sums: lanes of a store fall into different banks */

/* Places where all threads of a block, and of a cluster, meet: those that multiply, and those that copy. */
G_FN void stream_meet(void) { g_sync(); }
G_FN void stream_meet_all(void) { g_cluster_sync(); }

/* ---- codes to f16 operands: a[4 half + 2 (k + 8) + r], r: row g + 8 r ---- */

/* Row g's half of a pair {g, g + 8} twice, and row g + 8's. */
G_FN void stream_rows(g_u32 pair, g_u32 *both)
{
    both[0] = g_perm(pair, pair, 0x1010u);
    both[1] = g_perm(pair, pair, 0x3232u);
}
G_FN void stream_scale(g_u32 *a, g_u32 pair)
{
    g_u32 s[2];
    stream_rows(pair, s);
    for (int i = 0; i < 8; i++) a[i] = g_mul2(a[i], s[i & 1]);
}
/* Byte i of u and of v as halves: small integers, less `zero` (minus 1024, and what the codes' zero is). */
G_FN g_u32 stream_bytes(g_u32 u, g_u32 v, g_u32 i, g_u32 zero) { return g_add2(g_and_or(g_perm(u, v, i | 0x40u << 4 | (4 + i) << 8 | 0x4000u), 0x00ff00ffu, ONES), zero); }

struct stream_q8_0 { struct g_u4 scale; };
G_FN void stream_open_q8_0(struct stream_q8_0 *s, const g_u8 *p, const g_u8 *super, g_u32 lane)
{
    (void)super;
    s->scale = *(const struct g_u4 *)(p + 2048 + (lane >> 2) * 16);
}
G_FN void stream_block_q8_0(const struct stream_q8_0 *s, const g_u8 *p, int j, g_u32 lane, g_u32 *a)
{
    const struct g_u4 q = *(const struct g_u4 *)(p + j * 512 + lane * 16);
    q8_expand(&q, a);
    stream_scale(a, s->scale.v[j]);
}
struct stream_q4_0 { struct g_u4 scale; };
G_FN void stream_open_q4_0(struct stream_q4_0 *s, const g_u8 *p, const g_u8 *super, g_u32 lane)
{
    (void)super;
    s->scale = *(const struct g_u4 *)(p + 1024 + (lane >> 2) * 16);
}
G_FN void stream_block_q4_0(const struct stream_q4_0 *s, const g_u8 *p, int j, g_u32 lane, g_u32 *a)
{
    const struct g_u2 q = *(const struct g_u2 *)(p + (j >> 1) * 512 + lane * 16 + (j & 1) * 8);
    for (int r = 0; r < 2; r++) q45_expand(q.v[r], 0, 0, 0xe408e408u, 0xd480d480u, a, r); /* -1032, -72 */
    stream_scale(a, s->scale.v[j]);
}
struct stream_q5_0 { struct g_u4 scale; };
G_FN void stream_open_q5_0(struct stream_q5_0 *s, const g_u8 *p, const g_u8 *super, g_u32 lane)
{
    (void)super;
    s->scale = *(const struct g_u4 *)(p + 1280 + (lane >> 2) * 16);
}
G_FN void stream_block_q5_0(const struct stream_q5_0 *s, const g_u8 *p, int j, g_u32 lane, g_u32 *a)
{
    const struct g_u2 q = *(const struct g_u2 *)(p + (j >> 1) * 512 + lane * 16 + (j & 1) * 8);
    const g_u32 bit = *(const g_u32 *)(p + 1024 + (j >> 1) * 128 + lane * 4) >> (8 * (j & 1));
    for (int r = 0; r < 2; r++) q45_expand(q.v[r], 1, bit >> (4 * r), 0xe410e410u, 0xd500d500u, a, r); /* -1040, -80 */
    stream_scale(a, s->scale.v[j]);
}
/* d, m: the super-block's factors of rows {g, g + 8}, m negative; scale, min: bytes of 8 blocks (weights.h). */
struct stream_k { struct g_u4 scale, min; g_u32 d, m; };
#define stream_q4_k stream_k
#define stream_q5_k stream_k
G_FN void stream_open_k(struct stream_k *s, const g_u8 *p, const g_u8 *super, g_u32 lane, g_u32 scales)
{
    const struct g_u2 d = *(const struct g_u2 *)(super + (lane >> 2) * 8);
    s->scale = *(const struct g_u4 *)(p + scales + (lane >> 2) * 16);
    s->min = *(const struct g_u4 *)(p + scales + 128 + (lane >> 2) * 16);
    s->d = g_perm(d.v[0], d.v[1], 0x5410u);
    s->m = g_perm(d.v[0], d.v[1], 0x7632u) ^ 0x80008000u;
}
G_FN void stream_block_k(const struct stream_k *s, const g_u8 *p, int j, g_u32 lane, int has_bits, g_u32 bit, g_u32 *a)
{
    const struct g_u2 q = *(const struct g_u2 *)(p + (j >> 1) * 512 + lane * 16 + (j & 1) * 8);
    const g_u32 min = s->min.v[j >> 1] >> (8 * (j & 1)); /* row g in byte 0, row g + 8 in byte 2 */
    g_u32 scale[2], off[2];
    stream_rows(g_mul2(s->d, stream_bytes(s->scale.v[j >> 2], s->scale.v[2 + (j >> 2)], (g_u32)(j & 3), MINUS_1024)), scale);
    stream_rows(g_mul2(s->m, g_add2(g_and_or(min, 0x00ff00ffu, ONES), MINUS_1024)), off);
    for (int r = 0; r < 2; r++) q45_expand(q.v[r], has_bits, bit >> (4 * r), MINUS_1024, 0xd400d400u, a, r); /* -64 */
    for (int i = 0; i < 8; i++) a[i] = g_fma2(a[i], scale[i & 1], off[i & 1]);
}
G_FN void stream_open_q4_k(struct stream_k *s, const g_u8 *p, const g_u8 *super, g_u32 lane) { stream_open_k(s, p, super, lane, 2048); }
G_FN void stream_open_q5_k(struct stream_k *s, const g_u8 *p, const g_u8 *super, g_u32 lane) { stream_open_k(s, p, super, lane, 2560); }
G_FN void stream_block_q4_k(const struct stream_k *s, const g_u8 *p, int j, g_u32 lane, g_u32 *a) { stream_block_k(s, p, j, lane, 0, 0, a); }
G_FN void stream_block_q5_k(const struct stream_k *s, const g_u8 *p, int j, g_u32 lane, g_u32 *a)
{
    stream_block_k(s, p, j, lane, 1, *(const g_u32 *)(p + 2048 + (j >> 1) * 128 + lane * 4) >> (8 * (j & 1)), a);
}
struct stream_q6_k { struct g_u4 scale[2]; g_u32 d; };
G_FN void stream_open_q6_k(struct stream_q6_k *s, const g_u8 *p, const g_u8 *super, g_u32 lane)
{
    s->d = *(const g_u32 *)(super + (lane >> 2) * 4);
    for (int i = 0; i < 2; i++) {
        s->scale[i] = *(const struct g_u4 *)(p + 3072 + i * 128 + (lane >> 2) * 16);
        for (int k = 0; k < 4; k++) s->scale[i].v[k] ^= 0x80808080u;
    }
}
G_FN void stream_block_q6_k(const struct stream_q6_k *s, const g_u8 *p, int j, g_u32 lane, g_u32 *a)
{
    const struct g_u2 q = *(const struct g_u2 *)(p + (j >> 1) * 512 + lane * 16 + (j & 1) * 8);
    const g_u32 high = *(const g_u32 *)(p + 2048 + (j >> 2) * 512 + lane * 16 + (j & 3) * 4);
    for (int h = 0; h < 2; h++) {
        const g_u32 i = (2 * (g_u32)j + (g_u32)h) & 7;
        const struct g_u4 *c = &s->scale[j >> 2];
        g_u32 scale[2];
        stream_rows(g_mul2(s->d, stream_bytes(c->v[i >> 2], c->v[2 + (i >> 2)], i & 3, 0xe480e480u)), scale); /* -1152 */
        for (int r = 0; r < 2; r++) q6_expand(q.v[r], high, h, r, a + 4 * h);
        for (int k = 0; k < 4; k++) a[4 * h + k] = g_mul2(a[4 * h + k], scale[k & 1]);
    }
}
struct stream_f8 { g_u32 scale[2]; }; /* of rows g and g + 8, times what f8_expand leaves out */
G_FN void stream_open_f8(struct stream_f8 *s, const g_u8 *p, const g_u8 *super, g_u32 lane)
{
    const struct g_u2 d = *(const struct g_u2 *)(super + (lane >> 2) * 8);
    (void)p;
    for (int r = 0; r < 2; r++) s->scale[r] = g_f2h(g_asf(d.v[r]) * 256.0f) * 0x10001u;
}
G_FN void stream_block_f8(const struct stream_f8 *s, const g_u8 *p, int j, g_u32 lane, g_u32 *a)
{
    const struct g_u4 q = *(const struct g_u4 *)(p + j * 512 + lane * 16);
    f8_expand(&q, a);
    for (int i = 0; i < 8; i++) a[i] = g_mul2(a[i], s->scale[i & 1]);
}
struct stream_f16 { g_u32 none; };
G_FN void stream_open_f16(struct stream_f16 *s, const g_u8 *p, const g_u8 *super, g_u32 lane) { (void)p, (void)super, (void)lane, s->none = 0; }
G_FN void stream_block_f16(const struct stream_f16 *s, const g_u8 *p, int j, g_u32 lane, g_u32 *a)
{
    (void)s;
    for (int i = 0; i < 2; i++) {
        const struct g_u4 q = *(const struct g_u4 *)(p + (2 * j + i) * 512 + lane * 16);
        for (int k = 0; k < 4; k++) a[4 * i + k] = q.v[k];
    }
}

/* ---- what all types share ---- */

/* The ring. Barriers of a stage: x[s] counts bytes that the copying warp ordered, empty[s] the 16 warps that are done with them, w[s] + 8 i those of row tile i. */
struct stream_ring { g_u32 mem, x, empty, w, stage, phase; };
G_FN void stream_next(struct stream_ring *r, g_u32 stages)
{
    if (++r->stage < stages) return;
    r->stage = 0;
    r->phase ^= 1;
}
/* The weight that tile i (256 rows) belongs to: its packed rows, its first tile of 16 rows in this block; its results. */
struct stream_tile { g_u64 w; float *out; const float *bias; g_u32 n, stride, first; };
G_FN struct stream_tile stream_tile_of(const struct gemm_stream_args *p, g_u32 i)
{
    const g_u32 k = p->n_w > 2 && i >= p->end[1] ? 2 : p->n_w > 1 && i >= p->end[0] ? 1 : 0, begin = k == 2 ? p->end[1] : k == 1 ? p->end[0] : 0;
    struct stream_tile t;
    t.w = k == 2 ? p->w[2] : k == 1 ? p->w[1] : p->w[0];
    t.out = (float *)(k == 2 ? p->out[2] : k == 1 ? p->out[1] : p->out[0]);
    t.bias = (const float *)(k == 2 ? p->bias[2] : k == 1 ? p->bias[1] : p->bias[0]);
    t.n = k == 2 ? p->n[2] : k == 1 ? p->n[1] : p->n[0];
    t.stride = k == 2 ? p->stride[2] : k == 1 ? p->stride[1] : p->stride[0];
    t.first = (i - begin) * 16;
    return t;
}
struct stream_shape { g_u32 values, bytes, lines, super, x_room, stage; }; /* of a chunk; a row tile's chunk and its factors; bytes for x, and of a stage in all */

/* bf16: blob i of chunk c, 128 rows. */
G_FN void stream_blob(const struct gemm_stream_args *p, const struct stream_tile *t, g_u32 to, g_u32 bar, g_u32 c, g_u32 i)
{
    const g_u32 blob = t->first / 8 + i, last = (t->n - 1) / 128; /* the second may not be there */
    g_bulk_load(to + i * 16384, t->w + ((g_u64)(blob < last ? blob : last) * p->n_chunk + c) * 16384, 16384, bar);
}
/* One thread orders x of chunks from..to, and blobs. x is what earlier kernels make, weights are not: the first stages' come while those still run. */
G_FN void stream_produce(const struct gemm_stream_args *p, const struct stream_tile *t, const struct stream_shape *s, struct stream_ring r, g_u32 from, g_u32 to)
{
    const g_u32 x = p->pad_rows * 2 * s->values, blobs = s->values == 64 ? 2 : 0, ahead = to - from < p->stages ? to - from : p->stages;
    for (g_u32 i = 0; i < ahead; i++) {
        g_bar_expect(r.x + 8 * i, x + blobs * 16384);
        for (g_u32 b = 0; b < blobs; b++) stream_blob(p, t, r.mem + i * s->stage + s->x_room, r.x + 8 * i, from + i, b);
    }
    g_pdl_wait();
    for (g_u32 i = 0; i < ahead; i++) g_bulk_load(r.mem + i * s->stage, p->x + (g_u64)(from + i) * x, x, r.x + 8 * i);
    for (g_u32 c = from + ahead; c < to; c++, stream_next(&r, p->stages)) {
        const g_u32 at = r.mem + r.stage * s->stage, bar = r.x + 8 * r.stage;
        g_bar_wait(r.empty + 8 * r.stage, r.phase);
        g_bar_expect(bar, x + blobs * 16384);
        for (g_u32 b = 0; b < blobs; b++) stream_blob(p, t, at + s->x_room, bar, c, b);
        g_bulk_load(at, p->x + (g_u64)c * x, x, bar);
    }
}
/* A warp's row tile: where its chunks and their factors stand in memory, and in a stage. */
struct stream_row { g_u64 lines, super; g_u32 at, super_at, bar; };
G_FN struct stream_row stream_row_of(const struct gemm_stream_args *p, const struct stream_tile *t, const struct stream_shape *s, const struct stream_ring *r, g_u32 warp)
{
    const g_u32 tile = t->first + warp, last = (t->n - 1) / 16;
    const struct chunk k = chunk_at(t->w, tile < last ? tile : last, 0, p->n_chunk, s->bytes);
    struct stream_row w = {(g_u64)k.p, (g_u64)k.super, s->x_room + warp * s->lines, s->x_room + 16 * s->lines + warp * s->super, r->w + 8 * warp};
    return w;
}
G_FN void stream_row_load(const struct stream_row *w, const struct stream_shape *s, const struct stream_ring *r, g_u32 stage, g_u32 c)
{
    const g_u32 at = r->mem + stage * s->stage, bar = w->bar + 128 * stage;
    g_bar_expect(bar, s->lines + s->super);
    g_bulk_load(at + w->at, w->lines + (g_u64)c * s->lines, s->lines, bar);
    if (s->super) g_bulk_load(at + w->super_at, w->super + (g_u64)c * s->super, s->super, bar);
}
/* Sums of the block's groups to shared memory, [row of x][256 weight rows]; then those of the cluster's blocks are added, each block for its share of x's rows. */
G_FN void stream_store(const struct gemm_stream_args *p, const struct stream_tile *t, const float *d, g_u8 *mem, g_u32 rank, g_u32 ranks)
{
    float *sums = (float *)mem;
    const g_u32 warp = g_tid() / 32, lane = g_lane(), row = warp * 16 + lane / 4, m0 = lane % 4 * 2;
    G_UNROLL(8)
    for (g_u32 j = 0; j < 8; j++)
        G_UNROLL(4)
        for (g_u32 i = 0; i < 4; i++) sums[(8 * j + m0 + (i & 1)) * STREAM_PITCH + row + 8 * (i >> 1)] = d[4 * j + i];
    stream_meet_all();
    const g_u32 col = warp % 2 * 128 + lane * 4, n = t->first * 16 + col; /* two warps a row of x */
    const int aligned = ((t->stride | (g_u32)((g_u64)t->out >> 2)) & 3) == 0 && n + 3 < t->n && !t->bias;
    for (g_u32 m = rank + warp / 2 * ranks; m < p->rows; m += 8 * ranks) {
        const g_u32 at = g_shared_at(sums + m * STREAM_PITCH + col);
        float *to = t->out + (g_u64)m * t->stride + n;
        struct g_f4 v = {{0, 0, 0, 0}};
        for (g_u32 z = 0; z < ranks; z++) {
            const struct g_f4 u = g_shared_load4(at, z);
            for (int i = 0; i < 4; i++) v.v[i] += u.v[i];
        }
        for (int i = 0; i < 4; i++) v.v[i] *= p->scale;
        if (aligned) *(struct g_f4 *)to = v;
        else
            for (g_u32 i = 0; i < 4; i++)
                if (n + i < t->n) to[i] = t->bias ? v.v[i] + t->bias[n + i] : v.v[i];
    }
    stream_meet_all(); /* a block must not leave while another still reads its sums */
}

/* Before the first stage. The block's rank in its cluster decides about its share of k: chunks from..to. */
#define STREAM_BEGIN(VALUES, BYTES, PACKED)                                                                                                                      \
    G_DYNAMIC(g_u8, mem);                                                                                                                                        \
    G_SHARED(g_u64, bar, 18 * RF_GPU_STREAM_MOST);                                                                                                               \
    const g_u32 ranks = g_cluster_size(), rank = g_bx() % ranks, lane = g_lane(), warp = g_tid() / 32;                                                             \
    const g_u32 from = p.n_chunk * rank / ranks, to = p.n_chunk * (rank + 1) / ranks;                                                                            \
    const struct stream_shape s = {VALUES, BYTES, CHUNK_LINES(BYTES), (BYTES) - CHUNK_LINES(BYTES), (VALUES) * 128, RF_GPU_STREAM_STAGE(VALUES, BYTES)};         \
    const struct stream_tile t = stream_tile_of(&p, g_bx() / ranks);                                                                                             \
    struct stream_ring r = {g_shared_at(mem), g_shared_at(bar), g_shared_at(bar + RF_GPU_STREAM_MOST), g_shared_at(bar + 2 * RF_GPU_STREAM_MOST), 0, 0};         \
    float d[32];                                                                                                                                                 \
    g_pdl_launch();                                                                                                                                              \
    if (g_tid() < p.stages) {                                                                                                                                    \
        g_bar_init(r.x + 8 * g_tid(), 1);                                                                                                                        \
        g_bar_init(r.empty + 8 * g_tid(), 16);                                                                                                                   \
    }                                                                                                                                                            \
    if (PACKED && g_tid() < 16 * p.stages) g_bar_init(r.w + 8 * g_tid(), 1);                                                                                     \
    g_bar_init_done();                                                                                                                                           \
    stream_meet_all(); /* no copy of one block before the barriers of all, whatever its place in its own */                                                      \
    if (warp >= 16) {                                                                                                                                            \
        g_registers_less(24);                                                                                                                                    \
        if (g_tid() == 512) stream_produce(&p, &t, &s, r, from, to);                                                                                             \
        g_warp_join();                                                                                                                                            \
        stream_meet();                                                                                                                                           \
        stream_meet_all(); /* as in stream_store */                                                                                                              \
        stream_meet_all();                                                                                                                                       \
        return;                                                                                                                                                  \
    }                                                                                                                                                            \
    g_registers_more(112);                                                                                                                                       \
    for (int i = 0; i < 32; i++) d[i] = 0
#define STREAM_RELEASE(stage) if (lane == 0) g_bar_arrive_here(r.empty + 8 * (stage))
#define STREAM_END                       \
    g_wgmma_wait(0);                     \
    stream_meet(); /* all stages were read */ \
    stream_store(&p, &t, d, mem, rank, ranks)

/* Packed types: a blob of x, 64 values of k, at a time; the operands of the one before may still be in use. */
#define X(T, VALUES, BYTES, STAGES)                                                                                         \
    G_KERNEL(STREAM_THREADS) gemm_stream_##T(struct gemm_stream_args p)                                                     \
    {                                                                                                                       \
        STREAM_BEGIN(VALUES, BYTES, 1);                                                                                     \
        const struct stream_row row = stream_row_of(&p, &t, &s, &r, warp);                                                  \
        g_u32 before = 0, a[2][16];                                                                                         \
        for (g_u32 i = 0; lane == 0 && i < p.stages && from + i < to; i++) stream_row_load(&row, &s, &r, i, from + i);      \
        g_u32 c = from;                                                                                                     \
        do { /* there is one at least, and ptxas must see that, or it waits for each product */                             \
            const g_u8 *stage = mem + r.stage * s.stage, *w = stage + row.at;                                               \
            const g_u32 x = r.mem + r.stage * s.stage;                                                                      \
            struct stream_##T open;                                                                                         \
            g_bar_wait(row.bar + 128 * r.stage, r.phase);                                                                   \
            g_bar_wait(r.x + 8 * r.stage, r.phase);                                                                         \
            stream_open_##T(&open, w, stage + row.super_at, lane);                                                          \
            G_UNROLL(4)                                                                                                     \
            for (int u = 0; u < (VALUES) / 64; u++) {                                                                       \
                g_u32 *b = a[u & 1];                                                                                        \
                const g_u32 blob = x + (g_u32)u * p.pad_rows * 128;                                                         \
                stream_block_##T(&open, w, 2 * u, lane, b);                                                                 \
                stream_block_##T(&open, w, 2 * u + 1, lane, b + 8);                                                         \
                g_wgmma_begin();                                                                                            \
                G_UNROLL(4)                                                                                                 \
                for (int k = 0; k < 4; k++) g_wgmma_64x64_f16(d, b + 4 * k, g_wgmma_rows(blob + 32 * (g_u32)k));            \
                g_wgmma_commit();                                                                                           \
                g_wgmma_wait(1);                                                                                            \
                if (u == 0 && c > from) STREAM_RELEASE(before);                                                             \
            }                                                                                                               \
            g_warp_join(); /* all lanes have read the chunk */                                                               \
            if (lane == 0 && c + p.stages < to) stream_row_load(&row, &s, &r, r.stage, c + p.stages);                       \
            before = r.stage;                                                                                               \
            stream_next(&r, p.stages);                                                                                      \
        } while (++c < to);                                                                                                 \
        STREAM_END;                                                                                                         \
    }
RF_GPU_STREAM_TYPES(X)
#undef X

G_KERNEL(STREAM_THREADS) gemm_stream_bf16(struct gemm_stream_args p)
{
    STREAM_BEGIN(64, 2048, 0);
    for (g_u32 c = from, before = 0; c < to; c++) {
        const g_u32 x = r.mem + r.stage * s.stage, w = x + s.x_room + warp / 4 * 8192;
        g_bar_wait(r.x + 8 * r.stage, r.phase);
        g_wgmma_begin();
        G_UNROLL(4)
        for (g_u32 k = 0; k < 4; k++) g_wgmma_64x64_bf16(d, g_wgmma_rows(w + 32 * k), g_wgmma_rows(x + 32 * k));
        g_wgmma_commit();
        g_wgmma_wait(1);
        if (c > from) STREAM_RELEASE(before);
        before = r.stage;
        stream_next(&r, p.stages);
    }
    STREAM_END;
}
