/* gemm_few_type.h - included once per weight type T with its chunks' CHUNK_VALUES and CHUNK_BYTES; undefines them. See gemm_few.gpu. */
#define FEW_CHUNKS (CHUNK_VALUES < 128 ? 2 : 1) /* of a stage */
#define FEW_K (FEW_CHUNKS * CHUNK_VALUES)
#define FEW_W_BYTES (FEW_CHUNKS * CHUNK_BYTES)
#define FEW_CHUNK(i) ((struct chunk){w + (i) * CHUNK_BYTES, w + (i) * CHUNK_BYTES + CHUNK_LINES(CHUNK_BYTES)})
G_KERNEL_SHARING(256, 3) FEW_NAME(struct gemm_few_args p) /* grid: row tiles by warps of a block, 1, splits. shared: chunks of each warp, x, its rests */
{
    G_DYNAMIC(g_u8, mem);
    const g_u32 warp = g_tid() / G_WARP, tile = g_bx() * FEW_WARPS + warp, tiles = few_tiles(&p), lane = g_lane() & 31;
    const g_u32 steps = (p.n_chunk + FEW_CHUNKS - 1) / FEW_CHUNKS, from = steps * g_bz() / p.splits, to = steps * (g_bz() + 1) / p.splits;
    const g_u32 x_bytes = FEW_K * 2 * p.pad_rows;
    const struct few_tile t = few_tile_of(&p, tile < tiles ? tile : tiles - 1);
    struct few_sum s;
    G_UNROLL(4)
    for (int m = 0; m < RF_GPU_FEW_MOST / 16; m++)
        for (int i = 0; i < G_MAT_ACC; i++) s.acc[m].v[i] = 0;
    g_pdl_launch();
    g_pdl_wait();
    for (g_u32 step = from; step < to; step++) {
        g_u8 *w = mem + warp * FEW_W_BYTES, *x = mem + FEW_WARPS * FEW_W_BYTES;
        g_sync(); /* what is there was read to its end */
        for (g_u32 c = 0; c < FEW_CHUNKS && step * FEW_CHUNKS + c < p.n_chunk; c++) {
            const struct chunk k = CHUNK(T)(t.w, t.tile, step * FEW_CHUNKS + c, p.n_chunk, CHUNK_BYTES);
            few_copy(w + c * CHUNK_BYTES, k.p, CHUNK_LINES(CHUNK_BYTES), g_lane(), G_WARP);
            few_copy(w + c * CHUNK_BYTES + CHUNK_LINES(CHUNK_BYTES), k.super, CHUNK_BYTES - CHUNK_LINES(CHUNK_BYTES), g_lane(), G_WARP);
        }
        few_copy(x, (const g_u8 *)p.x + (g_u64)step * x_bytes, x_bytes, g_tid(), 256);
        if (p.x_lo) few_copy(x + x_bytes, (const g_u8 *)p.x_lo + (g_u64)step * x_bytes, x_bytes, g_tid(), 256);
        g_copy_commit();
        g_copy_wait(0);
        g_sync();
#if defined(G_MAT_NV)
        G_UNROLL(2)
        for (g_u32 j = 0; j < FEW_K / 32; j++) {
            const g_u32 chunk = j / (CHUNK_VALUES / 32);
            if (FEW_CHUNKS > 1 && step * FEW_CHUNKS + chunk >= p.n_chunk) break;
#if CHUNK_VALUES == 64 /* bf16: the words themselves */
            const struct g_u4 u[2] = {*(const struct g_u4 *)(w + chunk * CHUNK_BYTES + bf16_at(j % 2, lane & 3, row_of(lane, 0))),
                                      *(const struct g_u4 *)(w + chunk * CHUNK_BYTES + bf16_at(j % 2, lane & 3, row_of(lane, 1)))};
#else
            float v[2][8];
            G_UNROLL(2)
            for (g_u32 r = 0; r < 2; r++) OCTET(T)(FEW_CHUNK(chunk), j % (CHUNK_VALUES / 32), lane, r, v[r]);
#endif
            G_UNROLL(2)
            for (g_u32 h = 0; h < 2; h++) {
                struct g_mat a, rest;
                G_UNROLL(4)
                for (g_u32 i = 0; i < 4; i++) {
#if CHUNK_VALUES == 64
                    a.v[i] = u[i & 1].v[2 * h + (i >> 1)];
                    rest.v[i] = 0;
#else
                    const float *pair = v[i & 1] + 4 * h + 2 * (i >> 1);
                    a.v[i] = g_f2bf2(pair[0], pair[1]);
                    rest.v[i] = p.w_rest ? g_f2bf2(few_rest(pair[0]), few_rest(pair[1])) : 0;
#endif
                }
                const g_u32 at = j / 2 * 128 * p.pad_rows;
                few_step(&s, &p, &a, &rest, x + at, x + x_bytes + at, j % 2 * 4 + 2 * h);
            }
        }
#else
        g_u8 *blob = mem + FEW_WARPS * FEW_W_BYTES + x_bytes * (p.x_lo ? 2 : 1) + warp * (p.w_rest ? 4096 : 2048);
        for (g_u32 pair = 0; pair < FEW_K / 64; pair++) { /* 64 values of k */
            g_warp_join();
            if (step * FEW_CHUNKS + pair * 64 / CHUNK_VALUES >= p.n_chunk) break;
            for (g_u32 b = g_lane() / 32; b < 2; b += G_WARP / 32)
                for (g_u32 r = 0; r < 2; r++) {
                    const g_u32 j = 2 * pair + b, chunk = j / (CHUNK_VALUES / 32);
                    float v[8];
                    OCTET(T)(FEW_CHUNK(chunk), j % (CHUNK_VALUES / 32), lane, r, v);
                    for (g_u32 h = 0; h < 2; h++) few_put(blob, row_of(lane, r), 32 * b + OCTET_K(T)(lane, h), v + 4 * h, p.w_rest);
                }
            g_warp_join();
            for (g_u32 c = 0; c < 8; c += G_MAT_CHUNKS) {
                struct g_mat a, rest;
                g_mat_load(&a, blob, 0, c);
                g_mat_load(&rest, p.w_rest ? blob + 2048 : blob, 0, c);
                few_step(&s, &p, &a, &rest, x + pair * 128 * p.pad_rows, x + x_bytes + pair * 128 * p.pad_rows, c);
            }
        }
#endif
    }
    if (tile >= tiles) return;
    G_UNROLL(4)
    for (g_u32 m = 0; m < RF_GPU_FEW_MOST / 16; m++)
        G_UNROLL(8)
        for (g_u32 i = 0; i < G_MAT_ACC; i++) {
            const g_u32 row = 16 * m + g_mat_col(i), r = g_mat_row(i), n = t.tile * 16 + r;
            if (row >= p.rows) continue;
            if (p.splits > 1) ((float *)p.part)[((g_u64)g_bz() * p.rows + row) * tiles * 16 + tile * 16 + r] = s.acc[m].v[i];
            else if (n < t.n) ((float *)t.out)[(g_u64)row * t.stride + n] = t.bias ? s.acc[m].v[i] + ((const float *)t.bias)[n] : s.acc[m].v[i];
        }
}
#undef FEW_CHUNKS
#undef FEW_K
#undef FEW_W_BYTES
#undef FEW_CHUNK
#undef T
#undef CHUNK_VALUES
#undef CHUNK_BYTES
#undef SCALED
#undef ALIKE
#undef MINIMA
#undef AHEAD
