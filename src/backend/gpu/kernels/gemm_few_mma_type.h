/* gemm_few_mma_type.h - included once per weight type T with CHUNK_VALUES, CHUNK_BYTES, SCALED (a scale a block), ALIKE (one for both halves),
 * MINIMA and AHEAD (chunks of weights on their way, 1 where registers are short); undefines them. See gemm_few_mma.h. */
#define FEW_BLOCKS (CHUNK_VALUES / 32)
#define FEW_PLANE (FEW_BLOCKS * FEW_SETS * 512)
#define FEW_LOAD(to, c) RAW_LOAD(T)(&to, CHUNK(T)(t.w, t.tile, c, p.n_chunk, CHUNK_BYTES), lane)
#define FEW_STEP(raw)                                                                                                  \
    {                                                                                                                  \
        if (p.stages == 3) g_copy_wait(1);                                                                             \
        else g_copy_wait(0);                                                                                           \
        g_sync(); /* the chunk is there, and all are done with the one before it, whose place is the next to fill */   \
        const g_u32 ahead = c + p.stages - 1, free_ = slot ? slot - 1 : p.stages - 1;                                  \
        if (ahead < to) few_x_load(mem + free_ * stage, &p, ahead, FEW_BLOCKS, sets, MINIMA);                          \
        g_copy_commit();                                                                                               \
        const g_u8 *x = mem + slot * stage;                                                                            \
        G_UNROLL(8)                                                                                                    \
        for (int j = 0; j < FEW_BLOCKS; j++) {                                                                         \
            g_u32 a[8];                                                                                                \
            float scale[4];                                                                                            \
            FEW_OPEN(T)(&raw, j, a, scale);                                                                            \
            few_block(total, a, scale, SCALED, ALIKE, x + (g_u32)j * FEW_SETS * 512 + lane * 16, sets / 2);            \
            if (p.x_lo) few_block(total, a, scale, SCALED, ALIKE, x + FEW_PLANE + (g_u32)j * FEW_SETS * 512 + lane * 16, sets / 2); \
        }                                                                                                              \
        FEW_MINIMA(raw)                                                                                                \
        if (c + AHEAD < to) FEW_LOAD(raw, c + AHEAD);                                                                  \
        slot = slot + 1 == p.stages ? 0 : slot + 1;                                                                    \
        c++;                                                                                                           \
    }
#if MINIMA
#define FEW_MINIMA(raw) FEW_MIN(T)(&raw, total, x + FEW_PLANE * (p.x_lo ? 2 : 1) + lane * 8, sets / 2);
#else
#define FEW_MINIMA(raw)
#endif
G_KERNEL_SHARING(256, 2) FEW_NAME(struct gemm_few_args p) /* grid: row tiles by 8, 1, splits. shared: stages of x */
{
    G_DYNAMIC(g_u8, mem);
    const g_u32 warp = g_tid() / 32, lane = g_tid() % 32, tile = g_bx() * 8 + warp, tiles = few_tiles(&p), sets = p.pad_rows / 8;
    const g_u32 stage = FEW_PLANE * (p.x_lo ? 2 : 1) + FEW_SETS * 256;
    const g_u32 from = p.n_chunk * g_bz() / p.splits, to = p.n_chunk * (g_bz() + 1) / p.splits;
    const struct few_tile t = few_tile_of(&p, tile < tiles ? tile : tiles - 1);
    struct RAW(T) even;
    float total[4 * FEW_SETS];
    g_u32 c = from, slot = 0;
    g_pdl_launch();
    if (from < to) FEW_LOAD(even, from);
#if AHEAD == 2
    struct RAW(T) odd;
    if (from + 1 < to) FEW_LOAD(odd, from + 1);
#endif
    for (int i = 0; i < 4 * FEW_SETS; i++) total[i] = 0;
    g_pdl_wait();
    for (g_u32 i = 0; i + 1 < p.stages; i++) {
        if (from + i < to) few_x_load(mem + i * stage, &p, from + i, FEW_BLOCKS, sets, MINIMA);
        g_copy_commit();
    }
    while (c < to) {
        FEW_STEP(even)
#if AHEAD == 2
        if (c >= to) break;
        FEW_STEP(odd)
#endif
    }
    if (tile >= tiles) return;
    G_UNROLL(8)
    for (g_u32 s = 0; s < FEW_SETS; s++)
        G_UNROLL(4)
        for (g_u32 i = 0; i < 4; i++) {
            const g_u32 row = 8 * s + (lane & 3) * 2 + (i & 1), r = (lane >> 2) + 8 * (i >> 1), n = t.tile * 16 + r;
            const float v = total[4 * s + i] * (1.0f / p.act.factor); /* a power of two */
            if (row >= p.rows) continue;
            if (p.splits > 1) ((float *)p.part)[((g_u64)g_bz() * p.rows + row) * tiles * 16 + tile * 16 + r] = v;
            else if (n < t.n) ((float *)t.out)[(g_u64)row * t.stride + n] = t.bias ? v + ((const float *)t.bias)[n] : v;
        }
}
#undef FEW_BLOCKS
#undef FEW_PLANE
#undef FEW_LOAD
#undef FEW_STEP
#undef FEW_MINIMA
#undef SCALED
#undef ALIKE
#undef MINIMA
#undef AHEAD
#undef T
#undef CHUNK_VALUES
#undef CHUNK_BYTES
