/* flash_width.h - included once per (TYPE of the cache, F16 whether that is f16, WIDTH that head sizes are padded to); see flash.gpu. */
G_KERNEL(FLASH_THREADS) FLASH_NAME(struct flash_args p) /* grid: tile, KV head; shared: queries, keys, values, a blob per 64 columns each */
{
    G_DYNAMIC(g_u8, mem);
    const struct attn_tile tile = ((const struct attn_tile *)p.tile)[g_bx()];
    const g_u32 group = p.n_head / p.n_kv_head, kvh = g_by(), warp = g_tid() / G_WARP;
    const int *table = (const int *)p.block + (g_u64)tile.seq * p.table_stride, *pos = (const int *)p.pos + tile.tok;
    const g_u32 first_pos = (g_u32)pos[tile.row / group], last_pos = (g_u32)pos[(tile.row + tile.n_row - 1) / group];
    const g_u32 lo = flash_first_key(first_pos, p.window), all_lo = flash_first_key(last_pos, p.window);
    g_u8 *q = mem, *k = mem + WIDTH / 64 * FLASH_BLOB, *v = mem + WIDTH / 32 * FLASH_BLOB;
    struct g_mat_acc out[WIDTH / 16];
    float max[G_MAT_SLOTS], sum[G_MAT_SLOTS];
    g_u32 row_hi[G_MAT_SLOTS]; /* last key that is seen; of it and those before it so many as see says. Positions are below 2^31 */
    const g_u32 see = p.window && p.window < 1u << 31 ? p.window : 1u << 31;
    G_UNROLL(8)
    for (g_u32 i = 0; i < G_MAT_SLOTS; i++) {
        const g_u32 r = warp * 16 + g_mat_slot_row(i);
        row_hi[i] = (g_u32)pos[(tile.row + (r < tile.n_row ? r : tile.n_row - 1)) / group];
        max[i] = G_LOWEST; /* finite: a row that has seen nothing yet stays as it is */
        sum[i] = 0;
    }
    G_UNROLL(16)
    for (int n = 0; n < WIDTH / 16; n++)
        for (int i = 0; i < G_MAT_ACC; i++) out[n].v[i] = 0;
    flash_load(&p, table, k, lo / 64 * 64, kvh, 0, lo, last_pos + 1, WIDTH);
    flash_load(&p, table, v, lo / 64 * 64, kvh, 16, lo, last_pos + 1, WIDTH);
    flash_queries(&p, &tile, q, kvh, WIDTH, F16);
    for (g_u32 base = lo / 64 * 64; base <= last_pos; base += 64) {
        struct g_mat_acc s[4];
        g_copy_wait(1); /* the keys; the values may still be coming */
        g_sync();
        G_UNROLL(4)
        for (int j = 0; j < 4; j++)
            for (int i = 0; i < G_MAT_ACC; i++) s[j].v[i] = 0;
        G_MAT_UNROLL(16)
        for (g_u32 c = 0; c < WIDTH / 8; c += G_MAT_CHUNKS) {
            struct g_mat a, b;
            g_mat_load(&a, q + c / 8 * FLASH_BLOB, warp * 16, c % 8);
            G_UNROLL(4)
            for (g_u32 j = 0; j < 4; j++) {
                g_mat_load(&b, k + c / 8 * FLASH_BLOB, 16 * j, c % 8);
                g_mat_mma(&s[j], &a, &b, F16);
            }
        }
        g_sync();
        flash_load(&p, table, k, base + 64, kvh, 0, lo, last_pos + 1, WIDTH); /* the next keys; behind the last chunk zeros */
        const g_u32 masked = base + 63 > first_pos || base < all_lo; /* scores in units of log2, unseen keys at -inf */
        G_UNROLL(4)
        for (g_u32 j = 0; j < 4; j++)
            G_UNROLL(8)
            for (g_u32 i = 0; i < G_MAT_ACC; i++) {
                float x = s[j].v[i];
                if (p.softcap != 0) x = p.softcap * g_tanh(x / p.softcap);
                x *= G_LOG2E;
                if (masked) {
                    const g_u32 key = base + 16 * j + g_mat_col(i);
                    if (row_hi[G_MAT_SLOT(i)] - key >= see) x = -__builtin_inff(); /* a key behind wraps around */
                }
                s[j].v[i] = x;
            }
        float top[G_MAT_SLOTS], scale[G_MAT_SLOTS];
        G_UNROLL(8)
        for (g_u32 r = 0; r < G_MAT_SLOTS; r++) top[r] = max[r];
        G_UNROLL(4)
        for (g_u32 j = 0; j < 4; j++)
            G_UNROLL(8)
            for (g_u32 i = 0; i < G_MAT_ACC; i++) top[G_MAT_SLOT(i)] = s[j].v[i] > top[G_MAT_SLOT(i)] ? s[j].v[i] : top[G_MAT_SLOT(i)];
        G_UNROLL(8)
        for (g_u32 r = 0; r < G_MAT_SLOTS; r++) {
            top[r] = g_mat_row_max(top[r]);
            scale[r] = g_exp2(max[r] - top[r]);
            max[r] = top[r];
            sum[r] *= scale[r];
        }
        G_UNROLL(4)
        for (g_u32 j = 0; j < 4; j++)
            G_UNROLL(8)
            for (g_u32 i = 0; i < G_MAT_ACC; i++) {
                s[j].v[i] = g_exp2(s[j].v[i] - max[G_MAT_SLOT(i)]);
                sum[G_MAT_SLOT(i)] += s[j].v[i];
            }
        G_UNROLL(16)
        for (int n = 0; n < WIDTH / 16; n++)
            G_UNROLL(8)
            for (g_u32 i = 0; i < G_MAT_ACC; i++) out[n].v[i] *= scale[G_MAT_SLOT(i)];
#if !defined(G_MAT_NV) /* weights change places through shared memory */
        g_u8 *weights = mem + 3 * (WIDTH / 64) * FLASH_BLOB + warp * 2048;
        const g_u32 lane = g_lane_here();
        G_UNROLL(4)
        for (g_u32 j = 0; j < 4; j++)
            for (g_u32 i = 0; i < G_MAT_ACC; i++) flash_put(weights, g_mat_row_of(lane, i), 16 * j + g_mat_col_of(lane, i), s[j].v[i], F16);
#endif
        g_copy_wait(1); /* the values; the next keys may still be coming */
        g_sync();
        G_MAT_UNROLL(4)
        for (g_u32 c = 0; c < 8; c += G_MAT_CHUNKS) {
            struct g_mat a, b;
#if defined(G_MAT_NV)
            for (int i = 0; i < 4; i++) a.v[i] = g_mat_pair(s[c / 2].v[2 * i], s[c / 2].v[2 * i + 1], F16);
#else
            g_mat_load(&a, weights, 0, c);
#endif
            G_UNROLL(16)
            for (g_u32 n = 0; n < WIDTH / 16; n++) {
                g_mat_load_turned(&b, v + n / 4 * FLASH_BLOB, 8 * c, 2 * n % 8);
                g_mat_mma(&out[n], &a, &b, F16);
            }
        }
        g_sync();
        flash_load(&p, table, v, base + 64, kvh, 16, lo, last_pos + 1, WIDTH);
    }
    G_UNROLL(8)
    for (g_u32 r = 0; r < G_MAT_SLOTS; r++) sum[r] = g_mat_row_sum(sum[r]);
    G_UNROLL(16)
    for (g_u32 n = 0; n < WIDTH / 16; n++)
        G_UNROLL(8)
        for (g_u32 i = 0; i < G_MAT_ACC; i++) {
            const g_u32 r = warp * 16 + g_mat_row(i), d = 16 * n + g_mat_col(i), row = tile.row + r;
            if (r < tile.n_row && d < p.head_dim)
                ((float *)p.out)[(g_u64)(tile.tok + row / group) * p.out_stride + (kvh * group + row % group) * p.head_dim + d] = out[n].v[i] / sum[G_MAT_SLOT(i)];
        }
}
