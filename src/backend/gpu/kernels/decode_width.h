/* decode_width.h - included once per WIDTH that heads are padded to; see decode.gpu. */
#define NAME__(what, width) what##_##width
#define NAME_(what, width) NAME__(what, width)
/* The dynamic part of shared memory: queries as blobs (later the finished heads as f32), the row's own key and value, a ring for each warp, weights as blobs.
 * A place in a ring: keys, and VALUES bytes behind values. A warp's part of a run: values at the front of its ring, PART floats a head: different banks. */
#define VALUES (WIDTH / 64 * BLOB)
#define RING(p) ((p)->ring / STEP * (2 * VALUES))
#define OWN (WIDTH / 64 * 2048)
#define RINGS (OWN + WIDTH / 64 * 256)
#define PART (WIDTH + 8)

/* Scores of a step's keys: every second product to `more`, so that chains are half as long. f16: whether the operands are, a constant after inlining. */
G_FN void NAME_(decode_scores, WIDTH)(struct g_mat_acc *s, struct g_mat_acc *more, const g_u8 *mem, const g_u8 *k, int f16)
{
    struct g_mat a, x;
    G_MAT_UNROLL(16)
    for (g_u32 c = 0; c < WIDTH / 8; c += 2 * G_MAT_CHUNKS) {
        g_mat_load(&a, mem + c / 8 * 2048, 0, c % 8);
        G_UNROLL(2)
        for (g_u32 j = 0; j < STEP / 16; j++) {
            g_mat_load(&x, k + c / 8 * BLOB, 16 * j, c % 8);
            g_mat_mma(&s[j], &a, &x, f16);
        }
        g_mat_load(&a, mem + c / 8 * 2048, 0, c % 8 + G_MAT_CHUNKS);
        G_UNROLL(2)
        for (g_u32 j = 0; j < STEP / 16; j++) {
            g_mat_load(&x, k + c / 8 * BLOB, 16 * j, c % 8 + G_MAT_CHUNKS);
            g_mat_mma(&more[j], &a, &x, f16);
        }
    }
}
/* out += weights times the step's values. */
G_FN void NAME_(decode_values, WIDTH)(struct g_mat_acc *out, const struct g_mat *a, const g_u8 *v, int f16)
{
    struct g_mat x;
    G_UNROLL(16)
    for (g_u32 n = 0; n < WIDTH / 16; n++) {
        g_mat_load_turned(&x, v + n / 4 * BLOB, 0, 2 * n % 8);
        g_mat_mma(&out[n], a, &x, f16);
    }
}

/* A warp's part of a run. */
G_FN void NAME_(decode_walk, WIDTH)(const struct decode_args *p, const struct decode_piece *w, struct decode_fetch *f, struct decode_block *b, g_u8 *mem, int f16)
{
    const g_u32 warp = g_tid() / G_WARP, stages = p->ring / STEP;
    g_u8 *ring = mem + RINGS + warp * RING(p);
    struct g_mat_acc out[WIDTH / 16];
    float max[G_MAT_KEPT_SLOTS], sum[G_MAT_KEPT_SLOTS];
    G_UNROLL(8)
    for (int i = 0; i < G_MAT_KEPT_SLOTS; i++) {
        max[i] = G_LOWEST; /* finite: a score of -inf weighs 0 also where no other key is */
        sum[i] = 0;
    }
    G_UNROLL(16)
    for (int n = 0; n < WIDTH / 16; n++)
        G_UNROLL(8)
        for (int i = 0; i < G_MAT_ACC; i++) out[n].v[i] = 0;
    const float inverse = p->softcap != 0 ? 1 / p->softcap : 0;
    g_u32 at = 0;
    for (g_u32 step = w->from + warp; step < w->to; step += p->warps) {
        g_u8 *k = ring + at * (2 * VALUES), *v = k + VALUES;
        struct g_mat_acc s[STEP / 16], more[STEP / 16];
        struct g_mat a;
        at = at + 1 < stages ? at + 1 : 0;
        if (stages > 1) g_copy_wait(1);
        else g_copy_wait(0);
        if (p->append && step == w->pos / STEP) decode_own(p, w, mem + OWN, k, VALUES);
        g_warp_join();
        G_UNROLL(2)
        for (int j = 0; j < STEP / 16; j++)
            G_UNROLL(8)
            for (int i = 0; i < G_MAT_ACC; i++) s[j].v[i] = more[j].v[i] = 0;
        if (f16) NAME_(decode_scores, WIDTH)(s, more, mem, k, 1);
        else NAME_(decode_scores, WIDTH)(s, more, mem, k, 0);
        float e[STEP / 16][G_MAT_KEPT], top[G_MAT_KEPT_SLOTS], scale[G_MAT_KEPT_SLOTS];
        G_UNROLL(8)
        for (int i = 0; i < G_MAT_KEPT_SLOTS; i++) top[i] = max[i];
        const g_u32 masked = step * STEP < w->see || step * STEP + STEP - 1 > w->pos;
        G_UNROLL(2)
        for (g_u32 j = 0; j < STEP / 16; j++)
            G_UNROLL(8)
            for (g_u32 i = 0; i < G_MAT_KEPT; i++) { /* in units of log2, unseen keys at -inf */
                float y = g_mat_fold(&s[j], i) + g_mat_fold(&more[j], i);
                if (p->softcap != 0) y = p->softcap * g_tanh(y * inverse);
                y *= G_LOG2E;
                if (masked) {
                    const g_u32 key = step * STEP + 16 * j + g_mat_kept_col(i);
                    if (key < w->see || key > w->pos) y = -__builtin_inff();
                }
                e[j][i] = y;
                top[G_MAT_KEPT_SLOT(i)] = y > top[G_MAT_KEPT_SLOT(i)] ? y : top[G_MAT_KEPT_SLOT(i)];
            }
        G_UNROLL(8)
        for (int i = 0; i < G_MAT_KEPT_SLOTS; i++) {
            top[i] = g_mat_row_max(top[i]);
            scale[i] = g_exp2(max[i] - top[i]);
            max[i] = top[i];
            sum[i] *= scale[i];
        }
        G_UNROLL(2)
        for (g_u32 j = 0; j < STEP / 16; j++)
            G_UNROLL(8)
            for (g_u32 i = 0; i < G_MAT_KEPT; i++) {
                e[j][i] = g_exp2(e[j][i] - max[G_MAT_KEPT_SLOT(i)]);
                sum[G_MAT_KEPT_SLOT(i)] += e[j][i];
            }
        G_UNROLL(16)
        for (int n = 0; n < WIDTH / 16; n++)
            G_UNROLL(8)
            for (g_u32 i = 0; i < G_MAT_ACC; i++) out[n].v[i] *= scale[G_MAT_KEPT_SLOT(i)];
        /* weights as an operand: rows 0 to 7 what they round to, rows 8 to 15 what that left */
#if defined(G_MAT_NV)
        G_UNROLL(2)
        for (int i = 0; i < 2; i++) {
            a.v[2 * i] = g_mat_pair(e[0][2 * i], e[0][2 * i + 1], f16);
            a.v[2 * i + 1] = g_mat_pair(g_mat_rest(e[0][2 * i], f16), g_mat_rest(e[0][2 * i + 1], f16), f16);
        }
#else /* they change places through shared memory */
        g_u8 *weights = mem + RINGS + p->warps * RING(p) + warp * 2048;
        const g_u32 lane = g_lane_here();
        G_UNROLL(2)
        for (g_u32 j = 0; j < STEP / 16; j++)
            G_UNROLL(8)
            for (g_u32 i = 0; i < G_MAT_KEPT; i++) {
                const g_u32 r = g_mat_row_of(lane, i) & 7, key = 16 * j + g_mat_col_of(lane, i);
                g_u8 *to = weights + g_blob_at(r, key / 8) + 2 * (key % 8); /* 8 rows on the chunks change places the same way */
                *(g_u16 *)to = (g_u16)g_mat_pair(e[j][i], 0, f16);
                *(g_u16 *)(to + 1024) = (g_u16)g_mat_pair(g_mat_rest(e[j][i], f16), 0, f16);
            }
        g_warp_join();
        g_mat_load(&a, weights, 0, 0);
#endif
        if (f16) NAME_(decode_values, WIDTH)(out, &a, v, 1);
        else NAME_(decode_values, WIDTH)(out, &a, v, 0);
        g_warp_join(); /* all have read */
        decode_get(f, p, w, k, WIDTH, VALUES);
    }
    float *part = (float *)ring;
    G_UNROLL(16)
    for (g_u32 n = 0; n < WIDTH / 16; n++) {
        G_UNROLL(8)
        for (g_u32 i = 0; i < G_MAT_KEPT; i++) part[g_mat_kept_row(i) * PART + 16 * n + g_mat_kept_col(i)] = g_mat_fold(&out[n], i);
    }
    G_UNROLL(8)
    for (g_u32 i = 0; i < G_MAT_KEPT_SLOTS; i++) {
        sum[i] = g_mat_row_sum(sum[i]);
        if (g_lane() % G_MAT_SHARE) continue;
        b->stat[g_mat_kept_row(i)][2 * warp] = max[i] * (1 / G_LOG2E);
        b->stat[g_mat_kept_row(i)][2 * warp + 1] = sum[i];
    }
}

G_KERNEL_DENSE(RF_GPU_DECODE_WARPS * G_WARP, WIDTH > 128 ? 1 : 3) NAME_(attn_decode, WIDTH)(struct decode_args p) /* grid: pieces of work; more are drawn */
{
    G_DYNAMIC(g_u8, mem);
    G_SHARED(struct decode_block, b, 1);
    const g_u32 warp = g_tid() / G_WARP, threads = p.warps * G_WARP, dim = p.head_dim;
    const int *plan = (const int *)p.plan;
    g_u32 item = g_bx();
    if (!G_MAT_DECODES) return; /* never launched there */
    g_pdl_launch();
    struct decode_piece w;
    for (g_u32 waited = 0;; waited = 1) {
        const g_u32 all = decode_find(&p, item, &w);
        if (item >= all) return;
        struct decode_fetch f;
        f.table = plan + plan[RF_GPU_PLAN_TABLE + p.group] + (g_u64)w.row * (g_u32)plan[RF_GPU_PLAN_STRIDE];
        f.head = p.kv + p.slot_offset + (g_u64)w.kvh * 64 * dim;
        f.step = w.from + warp;
        decode_blocks(&f, &p, &w);
        if (!p.append && !waited) g_pdl_wait(); /* the last key is in the cache already, by a kernel of this step */
        G_UNROLL(1)
        for (g_u32 i = 0; i < p.ring / STEP; i++) decode_get(&f, &p, &w, mem + RINGS + warp * RING(&p) + i * (2 * VALUES), WIDTH, VALUES);
        if (p.append && !waited) g_pdl_wait();
        const g_u32 drawn = g_tid() == 0 && all > p.grid ? g_ticket((g_u32 *)p.count) : 0;
        decode_inputs(&p, &w, mem, mem + OWN, WIDTH, threads);
        g_sync();
        NAME_(decode_walk, WIDTH)(&p, &w, &f, b, mem, p.type == 0);
        if (g_tid() == 0) {
            b->next = all > p.grid ? p.grid + drawn : all;
            if (all > p.grid && drawn + 1 == all) *(g_u32 *)p.count = 0; /* the last draw of all: for the next launch */
        }
        g_sync();
        item = b->next;
        const float *value = (const float *)(mem + RINGS);
        g_u64 head = PART, step = RING(&p) / 4;
        g_u32 n = w.runs ? p.warps : 0;
        if (w.runs > 1) {
            for (g_u32 i = g_tid(); i < w.n_head * (dim / 4); i += threads) {
                const g_u32 h = i / (dim / 4), d = i % (dim / 4) * 4;
                float max, sum, *part = decode_part(&p, w.row, w.from_head + h);
                *(struct g_f4 *)(part + w.run * dim + d) = decode_sum(value + h * head + d, step, b->stat[h], n, &max, &sum);
                if (d) continue;
                part[p.splits * dim + 2 * w.run] = max;
                part[p.splits * dim + 2 * w.run + 1] = sum;
            }
            n = decode_last((g_u32 *)p.count + 1 + w.group, w.runs, &b->last) ? w.runs : ~0u;
            if (n != ~0u) decode_stats(&p, w.row, w.from_head, w.n_head, n, b->stat, threads);
            value = decode_part(&p, w.row, w.from_head);
            head = p.splits * (dim + 2);
            step = dim;
        }
        if (n != ~0u) decode_finish(&p, w.row, w.from_head, w.n_head, value, head, step, n, b->stat, (float *)mem, threads);
        g_sync();
    }
}
#undef PART
#undef RINGS
#undef OWN
#undef RING
#undef VALUES
#undef NAME_
#undef NAME__
