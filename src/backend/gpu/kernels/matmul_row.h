/* matmul_row.h - included once per (type T, tile of M activation rows, R weight rows a warp); see matmul.gpu. */
G_KERNEL(RF_GPU_MM_WARPS * G_WARP) MM_NAME(T, M)(struct matmul_args p)
{
    const g_u32 row0 = (g_bx() * RF_GPU_MM_WARPS + g_tid() / G_WARP) * R, m0 = g_by() * M;
    if (row0 >= p.rows) return; /* a whole warp leaves: only warp collectives below */
    const g_u8 *w[R];
    const float *x[M];
    float acc[R][M];
    for (int r = 0; r < R; r++) { /* rows behind the end repeat the last one and are not stored */
        g_u32 row = row0 + r < p.rows ? row0 + r : p.rows - 1;
        w[r] = (const g_u8 *)p.w + (g_u64)row * p.row_bytes;
        for (int m = 0; m < M; m++) acc[r][m] = 0;
    }
    for (int m = 0; m < M; m++) x[m] = (const float *)p.x + (g_u64)(m0 + m < p.m ? m0 + m : p.m - 1) * p.cols;
    for (g_u32 oct = g_lane(); oct < p.cols / 8; oct += G_WARP) {
        const g_u32 at = OCT_AT(oct);
        float d[R][8];
        for (int r = 0; r < R; r++) OCTET(T)(w[r], oct, p.cols, d[r]);
        for (int m = 0; m < M; m++) {
            struct g_f4 a = *(const struct g_f4 *)(x[m] + at), b = *(const struct g_f4 *)(x[m] + at + OCT_GAP);
            for (int r = 0; r < R; r++) {
                float s = acc[r][m];
                for (int i = 0; i < 4; i++) s = g_fma(d[r][i], a.v[i], s);
                for (int i = 0; i < 4; i++) s = g_fma(d[r][4 + i], b.v[i], s);
                acc[r][m] = s;
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int m = 0; m < M; m++) {
            float s = g_warp_sum(acc[r][m]);
            if (g_lane() || row0 + r >= p.rows || m0 + m >= p.m) continue;
            if (p.bias) s += ((const float *)p.bias)[row0 + r];
            ((float *)p.out)[(g_u64)(m0 + m) * p.out_stride + row0 + r] = s;
        }
}
