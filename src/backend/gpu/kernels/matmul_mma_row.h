/* matmul_mma_row.h - included once per (type T, up to M rows of x) for the matrix unit; see matmul.gpu. Up to 4 rows, columns 0..3 are high parts and 4..7
 * low parts of x; for 8 they are two sets of columns. Sums are the same. */
#define SETS (M == 8 ? 2 : 1)
#define COLS (M == 8 ? 8 : M)
G_KERNEL_DENSE(32 * RF_GPU_MM_GROUPS, MM_DENSE) MM_NAME(T, M)(struct matmul_args p)
{
    G_SHARED(float, part, RF_GPU_MM_TILES * RF_GPU_MM_GROUPS * 16 * COLS);
    const g_u32 group = g_tid() / 32, lane = g_tid() % 32, g = lane >> 2, t = lane & 3, m0 = M == 8 ? g_by() * M : 0, first = g_bx() * p.tiles;
    const g_u32 all = p.w[p.n_w - 1].tile_end, n_tile = all - first < p.tiles ? all - first : p.tiles, n_unit = n_tile * p.n_chunk;
    const g_u32 m = p.m - m0 < M ? p.m - m0 : M;
    struct RAW(T) next;
    struct matmul_weight w;
    g_u32 unit = group, i = group / p.n_chunk, c = group % p.n_chunk;
    g_pdl_launch();
    for (g_u32 k = 0; k < n_tile; k++) /* what this thread may leave unset: groups without work in a tile */
        matmul_part(part, k, group, lane, COLS, (const float *)0);
    if (unit < n_unit) {
        const g_u32 tile = matmul_find(&p, first + i, &w);
        RAW_LOAD(T)(&next, CHUNK(T)(w.w, tile, c, p.n_chunk, CHUNK_BYTES), lane);
    }
    g_pdl_wait();
    struct mma_x x = {0, 0, p.act.blocks, {0, 0}, 0};
    const g_u64 data = (CHUNK_VALUES == 64) ? p.act.bf16 : p.act.half;
    if (M == 8) {
        x.data = (const g_u8 *)data + act_at(p.act.blocks, m0 + g, 0, t);
        x.here[0] = x.here[1] = g < m;
    } else {
        x.data = (const g_u8 *)data + act_at(p.act.blocks, g & 3, 0, t) + (g >> 2) * 512;
        x.here[0] = (g & 3) < m;
    }
    x.sum = (const g_u8 *)p.act.sum + act_sum_at(p.act.blocks, m0 + g, 0) + t * 8;
    x.sums = g < m;
    float total[4 * SETS];
    for (int e = 0; e < 4 * SETS; e++) total[e] = 0;
    while (unit < n_unit) {
        struct RAW(T) now = next;
        const g_u32 at = c, tile_now = i;
        unit += RF_GPU_MM_GROUPS;
        for (c += RF_GPU_MM_GROUPS; c >= p.n_chunk; c -= p.n_chunk) i++;
        if (unit < n_unit) {
            const g_u32 tile = matmul_find(&p, first + i, &w);
            RAW_LOAD(T)(&next, CHUNK(T)(w.w, tile, c, p.n_chunk, CHUNK_BYTES), lane);
        }
        CHUNK_STEP(T)(&now, &x, at, total, SETS);
        if (i != tile_now || unit >= n_unit) {
            matmul_part(part, tile_now, group, lane, COLS, total);
            for (int e = 0; e < 4 * SETS; e++) total[e] = 0;
        }
    }
    g_sync();
    for (g_u32 e = g_tid(); e < n_tile * 16 * COLS; e += 32 * RF_GPU_MM_GROUPS) {
        const g_u32 k = e / (16 * COLS), row16 = e % 16, col = e / 16 % COLS, row = matmul_find(&p, first + k, &w) * 16 + row16;
        float s = 0;
        for (g_u32 j = 0; j < RF_GPU_MM_GROUPS; j++) s += part[((k * RF_GPU_MM_GROUPS + j) * 16 + row16) * COLS + col];
        if (!(CHUNK_VALUES == 64)) s *= ((const float *)p.act.scale)[m0 + (col < m ? col : 0)];
        if (row < w.rows && col < m) matmul_put(&w, m0 + col, row, s);
    }
}
#undef SETS
#undef COLS
