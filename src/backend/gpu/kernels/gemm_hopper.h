/* gemm_hopper.h - the large product on Hopper: wgmma fed by bulk copies. Part of gemm.gpu.
 *
 * Two blocks (a cluster) make 256 x 256 results: each its own 128 rows and both the same 256 columns, so each fetches its tile of x and half
 * of the tiles of w, which the copy engine delivers to both. In a block one thread feeds a ring of four stages; two warp groups take
 * 64 rows each. Blocks stay: while results are stored, the next tiles come in.
 * Pieces that do not fill the chip once more share their steps of k among all clusters (gemm_args.h);
 * a cluster's part of a piece goes to memory as the groups hold it, [part][block of the cluster][group][32 times 8 columns][128 threads][4], and gemm_sum adds parts in the
 * order of k.
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

/* What a cluster has before it: its group, the next piece of the group that it takes whole, the steps at..end of those that are shared, its own number there. */
struct hop_turn { g_u32 group, piece, at, end, cluster; };
/* Steps of all pieces of a group that are shared; where cluster i's run of them begins, and which cluster's run has step `at`. Runs end with a piece wherever they can. */
G_FN g_u32 hop_shared(const struct gemm_args *p) { return (p->col_tiles / 2 - p->whole) * p->k_tiles * p->terms; }
G_FN g_u32 hop_run(const struct gemm_args *p, g_u32 i) { return hop_shared(p) * i / p->shares; }
G_FN g_u32 hop_run_of(const struct gemm_args *p, g_u32 at) { return ((at + 1) * p->shares - 1) / hop_shared(p); }
G_FN struct hop_turn hop_begin(const struct gemm_args *p)
{
    const g_u32 c = g_bx() / 2, i = c / p->groups;
    struct hop_turn t = {c % p->groups, i, 0, 0, i};
    if (i < p->shares) t.at = hop_run(p, i), t.end = hop_run(p, i + 1);
    return t;
}
/* A piece's tiles, and steps from..to of its sum; part: 1 + where they go, 0 where they are all. */
struct hop_work { g_u32 row_tile, col_tile, part, from, to; };
G_FN struct hop_work hop_piece(const struct gemm_args *p, g_u32 group, g_u32 piece)
{
    const g_u32 pairs = (p->row_tiles + 1) / 2, i = piece * p->groups + group;
    struct hop_work w = {i % pairs * 2, i / pairs * 2, 0, 0, p->k_tiles * p->terms};
    return w;
}
/* Parts in the order of clusters and pieces: of two successive ones the cluster, the piece or both are the next. */
G_FN g_u32 hop_part(const struct gemm_args *p, g_u32 group, g_u32 cluster, g_u32 shared) { return (cluster + shared) * p->groups + group; }
G_FN g_u32 hop_next_work(const struct gemm_args *p, struct hop_turn *t, struct hop_work *w)
{
    if (t->piece < p->whole) {
        *w = hop_piece(p, t->group, t->piece);
        t->piece += g_grid_x() / 2 / p->groups;
        return 1;
    }
    if (t->at >= t->end) return 0;
    const g_u32 steps = p->k_tiles * p->terms, shared = t->at / steps;
    *w = hop_piece(p, t->group, p->whole + shared);
    w->part = 1 + hop_part(p, t->group, t->cluster, shared);
    w->from = t->at - shared * steps;
    w->to = t->end - shared * steps < steps ? t->end - shared * steps : steps;
    t->at += w->to - w->from;
    return 1;
}

G_FN void hop_produce(const struct gemm_args *p, struct hop_ring r, g_u32 rank)
{
    struct hop_turn t = hop_begin(p);
    struct hop_work work;
    g_pdl_wait();
    while (hop_next_work(p, &t, &work)) {
        const struct gemm_col c = gemm_col_of(p, work.col_tile + rank);
        const g_u32 row_tile = work.row_tile + rank < p->row_tiles ? work.row_tile + rank : p->row_tiles - 1; /* tiles come in pairs: the second may not be there */
        for (g_u32 i = work.from; i < work.to; i++, hop_next(&r)) {
            const g_u32 to = r.mem + r.stage * HOP_STAGE_BYTES, full = r.full + 8 * r.stage;
            const struct gemm_step s = gemm_step_at(p, row_tile, &c, i);
            g_bar_wait(r.empty + 8 * r.stage, r.phase ^ 1);
            g_bar_expect(full, HOP_STAGE_BYTES);
            g_bulk_load(to, s.x, RF_GPU_GEMM_TILE, full);
            g_bulk_load_all(to + (1 + rank) * RF_GPU_GEMM_TILE, s.w, RF_GPU_GEMM_TILE, full, 3);
        }
    }
}

/* Rows m and m + 8 of columns n and n + 1. */
G_FN void hop_put(const struct gemm_args *p, const struct gemm_col *o, const float *v, g_u32 m, g_u32 n)
{
    if (n >= o->n) return;
    const float b0 = o->bias ? o->bias[n] : 0.0f, b1 = o->bias && n + 1 < o->n ? o->bias[n + 1] : 0.0f;
    G_UNROLL(2)
    for (g_u32 r = 0; r < 2; r++) {
        if (m + 8 * r >= p->rows) continue;
        float *to = o->out + (g_u64)(m + 8 * r) * o->stride + n;
        if (((o->stride | o->n) & 1) == 0) *(struct g_f2 *)to = (struct g_f2){{v[2 * r] + b0, v[2 * r + 1] + b1}};
        else {
            to[0] = v[2 * r] + b0;
            if (n + 1 < o->n) to[1] = v[2 * r + 1] + b1;
        }
    }
}
/* act(gate) * up, rounded: SiLU or GELU (tanh) as in rows.h, but for a reciprocal that may be off by 2^-23. */
G_FN g_u32 hop_glu2(const float *v, const float *u, g_u32 gelu)
{
    float x[2];
    G_UNROLL(2)
    for (g_u32 i = 0; i < 2; i++) x[i] = v[i] * g_rcp(1.0f + g_exp(-(gelu ? 1.5957691f * (v[i] + 0.044715f * v[i] * v[i] * v[i]) : v[i]))) * u[i];
    return g_f2bf2(x[0], x[1]);
}
/* Where row m's values of a tile's first columns go, to the next product's tiles, which begin at gate->out; its inputs, gate->stride, are whole blobs. */
G_FN g_u8 *hop_glu_row(const struct gemm_col *gate, g_u32 m)
{
    return (g_u8 *)gate->out + ((g_u64)(m / 128) * (gate->stride / 64) + gate->col / 64) * RF_GPU_GEMM_TILE + m % 128 * 128 + g_lane() % 4 * 4;
}
/* Column pairs j, j + 1, .. (of 8 columns) of rows m and m + 8 = m mod 8. */
G_FN void hop_put_glu(const struct gemm_args *p, const struct gemm_col *gate, const float *v, const float *u, g_u32 m, g_u32 j, g_u32 n_j, g_u32 gelu)
{
    g_u8 *row = hop_glu_row(gate, m);
    const g_u32 n = gate->n - gate->col; /* of this tile or more */
    G_UNROLL(16)
    for (g_u32 i = 0; i < n_j; i++) {
        g_u8 *to = row + (j + i) / 8 * RF_GPU_GEMM_TILE + ((((j + i) ^ m) & 7) << 4);
        if (8 * (j + i) >= n) continue;
        if (m < p->rows) *(g_u32 *)to = hop_glu2(v + 4 * i, u + 4 * i, gelu);
        if (m + 8 < p->rows) *(g_u32 *)(to + 1024) = hop_glu2(v + 4 * i + 2, u + 4 * i + 2, gelu);
    }
}
G_FN g_u32 hop_row(g_u32 m0) { return m0 + g_tid() % 128 / 32 * 16 + g_lane() / 4; }
/* Where a thread's quads of a part begin. */
G_FN struct g_f4 *hop_part_at(const struct gemm_args *p, g_u32 part, g_u32 rank, g_u32 group)
{
    return (struct g_f4 *)p->part + (((g_u64)part * 2 + rank) * 2 + group) * 32 * 128 + g_tid() % 128;
}

G_FN void hop_store(const struct gemm_args *p, const float *d, g_u32 m0, g_u32 col_tile)
{
    const g_u32 m = hop_row(m0);
    if (p->glu) {
        const struct gemm_col gate = gemm_col_of(p, col_tile);
        if (p->glu == 1) hop_put_glu(p, &gate, d, d + 64, m, 0, 16, 0);
        else hop_put_glu(p, &gate, d, d + 64, m, 0, 16, 1);
        return;
    }
    G_UNROLL(2)
    for (g_u32 half = 0; half < 2; half++) { /* columns of the first and of the second tile of w */
        const struct gemm_col o = gemm_col_of(p, col_tile + half);
        const g_u32 col = o.col + g_lane() % 4 * 2;
        if (((o.stride | o.n) & 1) == 0 && !o.bias && col + 121 < o.n && m + 8 < p->rows) { /* nothing to look at */
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
        for (g_u32 j = 0; j < 16; j++) hop_put(p, &o, d + 4 * (16 * half + j), m, col + 8 * j);
    }
}
G_FN void hop_store_part(const struct gemm_args *p, const float *d, g_u32 part, g_u32 rank, g_u32 group)
{
    struct g_f4 *to = hop_part_at(p, part, rank, group);
    G_UNROLL(32)
    for (g_u32 j = 0; j < 32; j++) to[j * 128] = (struct g_f4){{d[4 * j], d[4 * j + 1], d[4 * j + 2], d[4 * j + 3]}};
}

/* 128 threads: RF_GPU_SUM_QUADS of a group's 32 column pairs, half of them of each column tile. grid: a piece's slices (groups of 64 rows by column pairs), pieces that were shared
 * by groups. */
G_KERNEL(128) gemm_sum(struct gemm_args p)
{
    enum { EACH = RF_GPU_SUM_QUADS / 2, SLICES = 16 / EACH };
    const g_u32 slice = g_bx() % SLICES * EACH, rows = g_bx() / SLICES, shared = g_by() / p.groups, group = g_by() % p.groups;
    const g_u32 steps = p.k_tiles * p.terms, from = hop_run_of(&p, shared * steps), to = hop_run_of(&p, shared * steps + steps - 1);
    const struct hop_work w = hop_piece(&p, group, p.whole + shared);
    const g_u32 m0 = w.row_tile * 128 + rows * 64;
    const struct gemm_col o[2] = {gemm_col_of(&p, w.col_tile), gemm_col_of(&p, w.col_tile + 1)};
    const g_u32 m = hop_row(m0), n = slice * 8 + g_lane() % 4 * 2;
    struct g_f4 s[2][EACH];
    g_pdl_launch();
    if (m0 >= p.rows) return;
    g_pdl_wait();
    G_UNROLL(RF_GPU_SUM_QUADS)
    for (g_u32 i = 0; i < 2 * EACH; i++) s[i / EACH][i % EACH] = (struct g_f4){{0, 0, 0, 0}};
    for (g_u32 c = from; c <= to; c++) {
        const struct g_f4 *v = hop_part_at(&p, hop_part(&p, group, c, shared), rows / 2, rows % 2) + slice * 128;
        G_UNROLL(RF_GPU_SUM_QUADS)
        for (g_u32 i = 0; i < 2 * EACH; i++) {
            const struct g_f4 u = v[(i / EACH * 16 + i % EACH) * 128];
            for (int e = 0; e < 4; e++) s[i / EACH][i % EACH].v[e] += u.v[e];
        }
    }
    if (p.glu) {
        hop_put_glu(&p, &o[0], s[0][0].v, s[1][0].v, m, slice, EACH, p.glu == 2);
        return;
    }
    G_UNROLL(RF_GPU_SUM_QUADS)
    for (g_u32 i = 0; i < 2 * EACH; i++) hop_put(&p, &o[i / EACH], s[i / EACH][i % EACH].v, m, o[i / EACH].col + n + i % EACH * 8);
}

G_FN void hop_consume(const struct gemm_args *p, struct hop_ring r, g_u32 rank, g_u32 group)
{
    struct hop_turn t = hop_begin(p);
    struct hop_work work;
    float d[128];
    while (hop_next_work(p, &t, &work)) {
        const g_u32 m0 = (work.row_tile + rank) * 128 + group * 64;
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
        if (!work.part) hop_store(p, d, m0, work.col_tile);
        else if (m0 < p->rows) hop_store_part(p, d, work.part - 1, rank, group);
    }
}

G_KERNEL_CLUSTER(HOP_THREADS, 2) gemm(struct gemm_args p)
{
    G_DYNAMIC(g_u8, mem);
    G_SHARED(g_u64, bar, 2 * HOP_STAGES);
    const g_u32 rank = g_cluster_rank(), group = g_tid() / 128;
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
        if (g_tid() == 0) hop_produce(&p, r, rank);
    } else {
        g_registers_more(232);
        hop_consume(&p, r, rank, group - 1);
    }
    g_cluster_sync(); /* a block must not leave while the other still delivers into it */
}
