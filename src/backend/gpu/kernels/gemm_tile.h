/* gemm_tile.h - the large product on any matrix unit: a block of 8 warps (4 of 64 lanes) makes 128 x 128 results. Part of gemm.gpu.
 *
 * Tiles of x and w come into shared memory in stages, several under way where the device copies by itself. Each warp keeps 16 x 16 accumulators
 * of 64 x 32 (64 x 64) results.
 */
#if defined(G_MAT_NV) && !defined(RF_GPU_EMU)
#define GEMM_STAGES 3
#else
#define GEMM_STAGES 2
#endif
#define GEMM_STAGE_BYTES (2 * RF_GPU_GEMM_TILE)
#define GEMM_THREADS 256
#define GEMM_WARPS (GEMM_THREADS / G_WARP)
#define GEMM_COLS_W (128 / (GEMM_WARPS / 2)) /* columns of a warp */
#define GEMM_NJ (GEMM_COLS_W / 16)

G_KERNEL(32) gemm_shape(struct gemm_shape_args p)
{
    if (g_tid()) return;
    *(struct gemm_shape *)p.out = (struct gemm_shape){GEMM_THREADS, GEMM_STAGES * GEMM_STAGE_BYTES, 1, 0, 0};
}

G_FN void gemm_stage(g_u8 *to, struct gemm_step s)
{
    for (g_u32 i = g_tid() * 16; i < RF_GPU_GEMM_TILE; i += GEMM_THREADS * 16) {
        g_copy16(to + i, (const g_u8 *)s.x + i);
        g_copy16(to + RF_GPU_GEMM_TILE + i, (const g_u8 *)s.w + i);
    }
}

G_KERNEL(GEMM_THREADS) gemm(struct gemm_args p) /* grid: row tiles run fastest, so that blocks at one time share tiles of w */
{
    G_DYNAMIC(g_u8, mem);
    const g_u32 row_tile = g_bx() % p.row_tiles, col_tile = g_bx() / p.row_tiles, steps = p.k_tiles * p.terms;
    const g_u32 warp = g_tid() / G_WARP, m0 = warp % 2 * 64, n0 = warp / 2 * GEMM_COLS_W;
    const struct gemm_col col = gemm_col_of(&p, col_tile);
    g_pdl_launch();
    g_pdl_wait();
    struct g_mat_acc acc[4][GEMM_NJ];
    G_UNROLL(4)
    for (int i = 0; i < 4; i++)
        G_UNROLL(4)
        for (int j = 0; j < GEMM_NJ; j++)
            for (int e = 0; e < G_MAT_ACC; e++) acc[i][j].v[e] = 0;
    for (g_u32 s = 0; s < GEMM_STAGES - 1; s++) {
        if (s < steps) gemm_stage(mem + s * GEMM_STAGE_BYTES, gemm_step_at(&p, row_tile, &col, s));
        g_copy_commit();
    }
    for (g_u32 s = 0; s < steps; s++) {
        g_copy_wait(GEMM_STAGES - 2);
        g_sync();
        const g_u32 next = s + GEMM_STAGES - 1;
        if (next < steps) gemm_stage(mem + next % GEMM_STAGES * GEMM_STAGE_BYTES, gemm_step_at(&p, row_tile, &col, next));
        g_copy_commit();
        const g_u8 *x = mem + s % GEMM_STAGES * GEMM_STAGE_BYTES, *w = x + RF_GPU_GEMM_TILE;
        G_MAT_UNROLL(4)
        for (g_u32 c = 0; c < 8; c += G_MAT_CHUNKS) {
            struct g_mat a[4], b;
            G_UNROLL(4)
            for (g_u32 i = 0; i < 4; i++) g_mat_load(&a[i], x, m0 + 16 * i, c);
            G_UNROLL(4)
            for (g_u32 j = 0; j < GEMM_NJ; j++) {
                g_mat_load(&b, w, n0 + 16 * j, c);
                G_UNROLL(4)
                for (int i = 0; i < 4; i++) g_mat_mma(&acc[i][j], &a[i], &b, 0);
            }
        }
    }
    G_UNROLL(4)
    for (int i = 0; i < 4; i++)
        G_UNROLL(4)
        for (int j = 0; j < GEMM_NJ; j++)
            for (int e = 0; e < G_MAT_ACC; e++) {
                const g_u32 m = row_tile * 128 + m0 + 16 * (g_u32)i + g_mat_row((g_u32)e), n = col.col + n0 + 16 * (g_u32)j + g_mat_col((g_u32)e);
                if (m < p.rows && n < col.n) col.out[(g_u64)m * col.stride + n] = col.bias ? acc[i][j].v[e] + col.bias[n] : acc[i][j].v[e];
            }
}
