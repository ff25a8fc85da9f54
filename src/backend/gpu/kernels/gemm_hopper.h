/* gemm_hopper.h - the large product on Hopper: wgmma fed by bulk copies. Part of gemm.gpu.
 *
 * Two blocks (a cluster) make 256 x 256 results: each its own 128 rows and both the same 256 columns, so each fetches its tile of x and half
 * of the tiles of w, which the copy engine delivers to both. In a block one thread feeds a ring of four stages; two warp groups take
 * 64 rows each. Blocks stay: while results are stored, the next tiles come in.
 */
#define HOP_STAGES 4
#define HOP_STAGE_BYTES (3 * RF_GPU_GEMM_TILE) /* x: 128 rows, w: 256 rows */
#define HOP_THREADS 384

G_KERNEL(32) gemm_shape(struct gemm_shape_args p)
{
    if (g_tid()) return;
    *(struct gemm_shape *)p.out = (struct gemm_shape){HOP_THREADS, HOP_STAGES * HOP_STAGE_BYTES, 2, 1, g_processors()};
}

/* The ring: full[s] counts the bytes of stage s, empty[s] the warp groups of both blocks that are done with it. */
struct hop_ring { g_u32 mem, full, empty, stage, phase; };
G_FN void hop_next(struct hop_ring *r)
{
    if (++r->stage < HOP_STAGES) return;
    r->stage = 0;
    r->phase ^= 1;
}

/* Piece of work i: splits run fastest, then pairs of row tiles. Steps from..to of the sum. */
struct hop_work { g_u32 row_tile, col_tile, split, from, to; };
G_FN struct hop_work hop_work_at(const struct gemm_args *p, g_u32 i, g_u32 rank)
{
    const g_u32 pairs = (p->row_tiles + 1) / 2, tile = i / p->splits, split = i % p->splits, steps = p->k_tiles * p->terms;
    struct hop_work w = {tile % pairs * 2 + rank, tile / pairs * 2, split, steps * split / p->splits, steps * (split + 1) / p->splits};
    return w;
}

G_FN void hop_produce(const struct gemm_args *p, struct hop_ring r, g_u32 rank, g_u32 n_tile)
{
    g_pdl_wait();
    for (g_u32 t = g_bx() / 2; t < n_tile; t += g_grid_x() / 2) {
        const struct hop_work work = hop_work_at(p, t, rank);
        const struct gemm_col c = gemm_col_of(p, work.col_tile + rank);
        for (g_u32 i = work.from; i < work.to; i++, hop_next(&r)) {
            const g_u32 to = r.mem + r.stage * HOP_STAGE_BYTES, full = r.full + 8 * r.stage;
            const struct gemm_step s = gemm_step_at(p, work.row_tile, &c, i);
            g_bar_wait(r.empty + 8 * r.stage, r.phase ^ 1);
            g_bar_expect(full, HOP_STAGE_BYTES);
            g_bulk_load(to, s.x, RF_GPU_GEMM_TILE, full);
            g_bulk_load_all(to + (1 + rank) * RF_GPU_GEMM_TILE, s.w, RF_GPU_GEMM_TILE, full, 3);
        }
    }
}

G_FN void hop_store(const struct gemm_args *p, const float *d, g_u32 m0, g_u32 col_tile, g_u32 split)
{
    const g_u32 m = m0 + g_tid() % 128 / 32 * 16 + g_lane() / 4;
    G_UNROLL(2)
    for (g_u32 half = 0; half < 2; half++) { /* columns of the first and of the second tile of w */
        struct gemm_col o = gemm_col_of(p, col_tile + half);
        if (p->splits > 1) {
            o.n = o.stride = p->col_tiles * 128;
            o.out = (float *)p->part + (g_u64)split * p->rows * o.stride;
            o.bias = 0;
            o.col = (col_tile + half) * 128;
        }
        const g_u32 col = o.col + g_lane() % 4 * 2;
        const bool pairs = ((o.stride | o.n) & 1) == 0;
        if (pairs && !o.bias && col + 121 < o.n && m + 8 < p->rows) { /* nothing to look at */
            float *to = o.out + (g_u64)m * o.stride + col;
            G_UNROLL(16)
            for (g_u32 j = 0; j < 16; j++) {
                const float *v = d + 4 * (16 * half + j);
                *(struct g_f2 *)(to + 8 * j) = (struct g_f2){{v[0], v[1]}};
                *(struct g_f2 *)(to + 8 * (g_u64)o.stride + 8 * j) = (struct g_f2){{v[2], v[3]}};
            }
            continue;
        }
        G_UNROLL(16)
        for (g_u32 j = 0; j < 16; j++) {
            const float *v = d + 4 * (16 * half + j);
            const g_u32 n = col + 8 * j;
            if (n >= o.n) continue;
            const float b0 = o.bias ? o.bias[n] : 0.0f, b1 = o.bias && n + 1 < o.n ? o.bias[n + 1] : 0.0f;
            G_UNROLL(2)
            for (g_u32 r = 0; r < 2; r++) {
                if (m + 8 * r >= p->rows) continue;
                float *to = o.out + (g_u64)(m + 8 * r) * o.stride + n;
                if (pairs) *(struct g_f2 *)to = (struct g_f2){{v[2 * r] + b0, v[2 * r + 1] + b1}};
                else {
                    to[0] = v[2 * r] + b0;
                    if (n + 1 < o.n) to[1] = v[2 * r + 1] + b1;
                }
            }
        }
    }
}

G_FN void hop_consume(const struct gemm_args *p, struct hop_ring r, g_u32 rank, g_u32 n_tile, g_u32 group)
{
    float d[128];
    for (g_u32 t = g_bx() / 2; t < n_tile; t += g_grid_x() / 2) {
        const struct hop_work work = hop_work_at(p, t, rank);
        const g_u32 steps = work.to - work.from;
        g_u32 before = 0;
        for (g_u32 i = 0; i < steps; i++) {
            const g_u32 at = r.mem + r.stage * HOP_STAGE_BYTES;
            const g_u64 x = g_wgmma_rows(at + group * (RF_GPU_GEMM_TILE / 2)), w = g_wgmma_rows(at + RF_GPU_GEMM_TILE);
            g_bar_wait(r.full + 8 * r.stage, r.phase);
            g_wgmma_begin();
            G_UNROLL(4)
            for (int k = 0; k < 4; k++) g_wgmma_64x256(d, x + 2 * k, w + 2 * k, i || k); /* 16 values of k are 32 bytes */
            g_wgmma_commit();
            g_wgmma_wait(1); /* the step before this one is through */
            if (i && g_tid() % 128 < 2) g_bar_arrive_at(r.empty + 8 * before, g_tid() % 128);
            before = r.stage;
            hop_next(&r);
        }
        g_wgmma_wait(0);
        if (g_tid() % 128 < 2) g_bar_arrive_at(r.empty + 8 * before, g_tid() % 128);
        hop_store(p, d, work.row_tile * 128 + group * 64, work.col_tile, work.split);
    }
}

G_KERNEL_CLUSTER(HOP_THREADS, 2) gemm(struct gemm_args p)
{
    G_DYNAMIC(g_u8, mem);
    G_SHARED(g_u64, bar, 2 * HOP_STAGES);
    const g_u32 rank = g_cluster_rank(), n_tile = (p.row_tiles + 1) / 2 * (p.col_tiles / 2) * p.splits, group = g_tid() / 128;
    struct hop_ring r = {g_shared_at(mem), g_shared_at(bar), g_shared_at(bar + HOP_STAGES), 0, 0};
    g_pdl_launch();
    if (g_tid() == 0) {
        for (g_u32 s = 0; s < HOP_STAGES; s++) {
            g_bar_init(r.full + 8 * s, 1);
            g_bar_init(r.empty + 8 * s, 4);
        }
        g_bar_init_done();
    }
    g_cluster_sync();
    if (group == 0) {
        g_registers_less(40);
        if (g_tid() == 0) hop_produce(&p, r, rank, n_tile);
    } else {
        g_registers_more(232);
        hop_consume(&p, r, rank, n_tile, group - 1);
    }
    g_cluster_sync(); /* a block must not leave while the other still delivers into it */
}
