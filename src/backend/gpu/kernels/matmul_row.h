/* matmul_row.h - included once per (type T, M rows of x) for plain arithmetic; see matmul.gpu. */
G_KERNEL(32 * RF_GPU_MM_GROUPS) MM_NAME(T, M)(struct matmul_args p)
{
    G_SHARED(float, part, RF_GPU_MM_TILES * RF_GPU_MM_GROUPS * 16 * M);
    const g_u32 group = g_tid() / 32, lane = g_tid() % 32, m0 = g_by() * M;
    struct matmul_weight w;
    const g_u32 first = matmul_find(&p, &w), n_tile = matmul_tiles(&p, &w, first);
    g_pdl_launch();
    g_pdl_wait();
    for (g_u32 i = 0; i < n_tile; i++) {
        float acc[2][M];
        const g_u32 tile = first + i;
        for (int m = 0; m < M; m++) acc[0][m] = acc[1][m] = 0;
        for (g_u32 c = group; c < p.n_chunk; c += RF_GPU_MM_GROUPS) {
            const struct chunk chunk = CHUNK(T)(w.w, tile, c, p.n_chunk, CHUNK_BYTES);
            G_ROLLED
            for (g_u32 j = 0; j < CHUNK_VALUES / 32; j++) {
                const g_u32 k = c * CHUNK_VALUES + 32 * j, k0 = k + OCTET_K(T)(lane, 0), k1 = k + OCTET_K(T)(lane, 1);
                float d[2][8];
                OCTET(T)(chunk, j, lane, 0, d[0]);
                OCTET(T)(chunk, j, lane, 1, d[1]);
                for (int m = 0; m < M; m++) {
                    const float *x = (const float *)p.x + (g_u64)(m0 + m < p.m ? m0 + m : p.m - 1) * p.cols;
                    struct g_f4 a = {{0, 0, 0, 0}}, b = a;
                    if (k0 < p.cols) a = *(const struct g_f4 *)(x + k0);
                    if (k1 < p.cols) b = *(const struct g_f4 *)(x + k1);
                    for (int r = 0; r < 2; r++) {
                        for (int e = 0; e < 4; e++) acc[r][m] = g_fma(d[r][e], a.v[e], acc[r][m]);
                        for (int e = 0; e < 4; e++) acc[r][m] = g_fma(d[r][4 + e], b.v[e], acc[r][m]);
                    }
                }
            }
        }
        for (int m = 0; m < M; m++)
            for (int r = 0; r < 2; r++) {
                float s = acc[r][m] + g_shfl_xor(acc[r][m], 1);
                s += g_shfl_xor(s, 2);
                if (lane % 4 == 0) part[((i * RF_GPU_MM_GROUPS + group) * 16 + lane / 4 + 8 * r) * M + m] = s;
            }
    }
    g_sync();
    for (g_u32 e = g_tid(); e < n_tile * 16 * M; e += 32 * RF_GPU_MM_GROUPS) {
        const g_u32 i = e / (16 * M), row16 = e % 16, m = e / 16 % M;
        const g_u32 row = (first + i) * 16 + row16;
        float s = 0;
        for (g_u32 g = 0; g < RF_GPU_MM_GROUPS; g++) s += part[((i * RF_GPU_MM_GROUPS + g) * 16 + row16) * M + m];
        if (row < w.rows && m0 + m < p.m) matmul_put(&w, m0 + m, row, s);
    }
}
