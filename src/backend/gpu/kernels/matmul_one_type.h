/* matmul_one_type.h - included once per type T with a matrix form: the product of one row of x; see matmul_one.h. With T2 and CHUNK_BYTES2, shares from p.split on
 * work on a weight of that type: their chunks are not fetched ahead of x, since registers are T's. ONE_NAME: the kernel. Undefines it. */
#define HALF_FORM (CHUNK_VALUES != 64)
#define LOAD_NEXT(T_, bytes, to)                                                                           \
    if (ahead.i < share.n_tile) {                                                                          \
        RAW_LOAD(T_)(&(to), CHUNK(T_)(ahead.w, ahead.tile, ahead.c, p.n_chunk, bytes), lane);              \
        one_next(&p, &share, group, &ahead);                                                               \
    }
#define LOAD_FIRST(T_, bytes, raw, n)                                                                      \
    G_UNROLL(2)                                                                                            \
    for (int k = 0; k < n; k++) LOAD_NEXT(T_, bytes, raw[k])
#define ALL_CHUNKS(T_, bytes, raw, n)                                                                      \
    while (now.i < share.n_tile) {                                                                         \
        G_UNROLL(2)                                                                                        \
        for (int k = 0; k < n; k++) {                                                                      \
            if (now.i >= share.n_tile) G_NO_MORE;                                                          \
            const g_u32 i = now.i;                                                                         \
            CHUNK_STEP(T_)(&raw[k], &x, now.c, total, 1);                                                  \
            one_next(&p, &share, group, &now);                                                             \
            LOAD_NEXT(T_, bytes, raw[k])                                                                   \
            if (now.i != i) {                                                                              \
                matmul_part(part, i, group, lane, 1, total);                                               \
                for (int e = 0; e < 4; e++) total[e] = 0;                                                  \
            }                                                                                              \
        }                                                                                                  \
    }
#ifdef T2
#define IS_PAIR 1
#else
#define IS_PAIR 0
#endif
G_KERNEL_DENSE(ONE_THREADS, 1) ONE_NAME(struct matmul_args p) /* shared: the form of x, a float a warp, turns of bf16, sums [half][p.most tiles][group][16] */
{
    G_DYNAMIC(g_u8, mem);
    const g_u32 group = g_tid() / 32 % RF_GPU_MM_GROUPS, lane = g_tid() % 32, g = lane >> 2, t = lane & 3;
    const struct one_share share = one_share_of(&p, IS_PAIR);
    float *red = (float *)(mem + p.act.blocks * 132), *part = red + 16 + g_tid() / ONE_HALF * p.most * RF_GPU_MM_GROUPS * 16;
    g_u8 *turn = (g_u8 *)(red + 16) + g_tid() / 32 * MMA_TURN;
    if (!HALF_FORM) part += ONE_THREADS / 32 * MMA_TURN / sizeof(float);
    struct one_at now = {0, 0, 0, 0, 0}, ahead;
    struct RAW(T) raw[ONE_AHEAD];
    struct g_f4 norm[ONE_NORM];
    g_pdl_launch();
    one_run(&p, &share, group, &now);
    one_settle(&p, &share, group, &now);
    ahead = now;
#ifdef T2
    const int other = g_tid() / ONE_HALF * p.blocks + g_bx() >= p.split;
    if (!other) LOAD_FIRST(T, CHUNK_BYTES, raw, ONE_AHEAD)
#else
    LOAD_FIRST(T, CHUNK_BYTES, raw, ONE_AHEAD)
#endif
    if (p.n_chunk < RF_GPU_MM_GROUPS) /* groups without work in a tile */
        for (g_u32 k = 0; k < share.n_tile; k++) matmul_part(part, k, group, lane, 1, (const float *)0);
    G_UNROLL(8)
    for (g_u32 k = 0; k < ONE_NORM; k++) {
        const g_u32 i = g_tid() + k * p.norm_threads;
        norm[k] = (struct g_f4){{0, 0, 0, 0}};
        if (p.norm && g_tid() < p.norm_threads && i < p.cols / 4) norm[k] = ((const struct g_f4 *)p.norm)[i];
    }
    g_pdl_wait();
    if (p.norm) one_norm_form(&p, norm, mem, red, HALF_FORM);
    else one_form(&p, mem, HALF_FORM);
    struct matmul_weight w;
    g_u32 row;
    float add = 0, total[4] = {0, 0, 0, 0};
    if (one_out(&p, &share, g_tid() % ONE_HALF, &w, &row) && w.add) add = ((const float *)w.add)[row];
    g_sync();
    /* columns 1..3 and 5..7 repeat 0 and 4, high and low parts; nobody reads them */
    const struct mma_x x = {mem + t * 16 + (g >> 2) * 64, mem + p.act.blocks * 128 + t * 8, g < 4, 1, turn};
#ifdef T2
    if (other) {
        struct RAW(T2) raw2[1];
        LOAD_FIRST(T2, CHUNK_BYTES2, raw2, 1)
        ALL_CHUNKS(T2, CHUNK_BYTES2, raw2, 1)
    } else
#endif
    ALL_CHUNKS(T, CHUNK_BYTES, raw, ONE_AHEAD)
    g_sync();
    one_finish(&p, &share, part, add, HALF_FORM);
}
#undef HALF_FORM
#undef LOAD_NEXT
#undef LOAD_FIRST
#undef ALL_CHUNKS
#undef IS_PAIR
#undef ONE_NAME
