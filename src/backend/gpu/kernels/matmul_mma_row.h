/* matmul_mma_row.h - included once per (type T, up to M rows of x) for the matrix unit; see matmul.gpu. Up to 4 rows, columns 0..3 are high parts and 4..7
 * low parts of x; for 8 they are two sets of columns. Sums are the same. */
#define SETS (M == 8 ? 2 : 1)
#define COLS (M == 8 ? 8 : M)
#define LOAD_UNIT(to, i, c) RAW_LOAD(T)(&to, CHUNK(T)(w.w, tile0 + (i), c, p.n_chunk, CHUNK_BYTES), lane)
#define DO_UNIT(from)                                                       \
    {                                                                       \
        const g_u32 c_now = c, i_now = i;                                   \
        CHUNK_STEP(T)(&from, &x, c_now, total, SETS);                       \
        for (c += RF_GPU_MM_GROUPS; c >= p.n_chunk; c -= p.n_chunk) i++;    \
        unit += RF_GPU_MM_GROUPS;                                           \
        for (c2 += RF_GPU_MM_GROUPS; c2 >= p.n_chunk; c2 -= p.n_chunk) i2++; \
        if (unit + RF_GPU_MM_GROUPS < n_unit) LOAD_UNIT(from, i2, c2);      \
        if (i != i_now || unit >= n_unit) {                                 \
            matmul_part(part, i_now, group, lane, COLS, total);             \
            for (int e = 0; e < 4 * SETS; e++) total[e] = 0;                \
        }                                                                   \
    }
G_KERNEL_DENSE(32 * RF_GPU_MM_GROUPS, MM_DENSE) MM_NAME(T, M)(struct matmul_args p)
{
    G_SHARED(float, part, RF_GPU_MM_TILES * RF_GPU_MM_GROUPS * 16 * COLS);
    G_SHARED(struct g_u4, turn, CHUNK_VALUES == 64 ? RF_GPU_MM_GROUPS * MMA_TURN / 16 : 1);
    const g_u32 group = g_tid() / 32, lane = g_tid() % 32, g = lane >> 2, t = lane & 3, m0 = M == 8 ? g_by() * M : 0;
    const g_u32 m = p.m - m0 < M ? p.m - m0 : M;
    struct matmul_weight w;
    const g_u32 tile0 = matmul_find(&p, &w), n_tile = matmul_tiles(&p, &w, tile0), n_unit = n_tile * p.n_chunk;
    struct RAW(T) even, odd; /* units come two ahead */
    g_u32 unit = matmul_first(tile0, group, p.n_chunk), i = unit / p.n_chunk, c = unit % p.n_chunk, i2 = i, c2 = c;
    g_pdl_launch();
    if (unit < n_unit) LOAD_UNIT(even, i2, c2);
    for (c2 += RF_GPU_MM_GROUPS; c2 >= p.n_chunk; c2 -= p.n_chunk) i2++;
    if (unit + RF_GPU_MM_GROUPS < n_unit) LOAD_UNIT(odd, i2, c2);
    if (p.n_chunk < RF_GPU_MM_GROUPS) /* groups without work in a tile */
        for (g_u32 k = 0; k < n_tile; k++) matmul_part(part, k, group, lane, COLS, (const float *)0);
    g_pdl_wait();
    /* rows that are not there: any row will do, columns do not touch each other */
    const g_u64 data = CHUNK_VALUES == 64 ? p.act.bf16 : p.act.half;
    const g_u32 row = M == 8 ? (g < m ? g : 0) : (g & 3) < m ? g & 3 : 0;
    struct mma_x x = {(const g_u8 *)data + act_at(p.act.blocks, m0 + row, 0, t) + (M == 8 ? 0 : (g >> 2) * 512),
                      (const g_u8 *)p.act.sum + act_sum_at(p.act.blocks, m0 + row, 0) + t * 8, M == 8 || g < 4, 8,
                      (g_u8 *)(turn + (CHUNK_VALUES == 64 ? group * (MMA_TURN / 16) : 0))};
    float total[4 * SETS];
    for (int e = 0; e < 4 * SETS; e++) total[e] = 0;
    while (unit < n_unit) {
        DO_UNIT(even)
        if (unit >= n_unit) break;
        DO_UNIT(odd)
    }
    g_sync();
    for (g_u32 e = g_tid(); e < n_tile * 16 * COLS; e += 32 * RF_GPU_MM_GROUPS) {
        const g_u32 k = e / (16 * COLS), row16 = e % 16, col = e / 16 % COLS, out = (tile0 + k) * 16 + row16;
        float s = 0;
        for (g_u32 j = 0; j < RF_GPU_MM_GROUPS; j++) s += part[((k * RF_GPU_MM_GROUPS + j) * 16 + row16) * COLS + col];
        if (CHUNK_VALUES != 64) s *= 1.0f / p.act.factor; /* a power of two */
        if (out < w.rows && col < m) matmul_put(&w, m0 + col, out, s);
    }
}
#undef SETS
#undef COLS
#undef LOAD_UNIT
#undef DO_UNIT
