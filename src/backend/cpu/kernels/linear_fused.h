/* linear_fused.h - few activation rows: weights go from memory through registers straight into the products, never through
 * a slab in L1. Included after FUSED_MOST and FUSED_PASSES are defined; the arithmetic, and so the bits, are those of tile().
 *
 * Panels are read strictly forwards, with a prefetch of every line PREFETCH_AHEAD bytes ahead. FUSED_MOST rows at a time.
 */
#include "backend/cpu/kernels/linear_tile.h"

enum { PREFETCH_AHEAD = 6144 };

struct fused_in {
    const uint8_t *w; /* a panel */
    const struct rf_lin_task *t;
    size_t m;
    struct rf_lin_slab *slab; /* for the factors of K types */
    float *c;
};

/* Vectors of rows at a time: more than 4 activation rows leave registers for one. */
#define FUSED_STEP(R) ((R) > 4 ? 1 : NV)

/* Pointers to slab s of the activations. */
INL const int8_t *fused_q(const struct fused_in *in, size_t s)
{
    return in->t->act->q + (s * in->t->act->rows + in->m) * RF_LIN_SLAB;
}
INL const float *fused_scale(const struct fused_in *in, size_t s) { return in->t->act->scale + (s * in->t->act->rows + in->m) * 8; }
INL const uint8_t *fused_aux(const struct fused_in *in, size_t s, size_t n)
{
    return (const uint8_t *)in->t->aux + (s * in->t->act->rows + in->m) * n * 4;
}
INL void prefetch_lines(const uint8_t *p, int n)
{
    UNROLL for (int i = 0; i < n; i++) PREFETCH(p + PREFETCH_AHEAD + i * 64);
}

/* Q8_0, and 4 or 5 bits without minimum: bits = 8, 4, 5. */
INL void fused_legacy(int R, int bits, const struct fused_in *in)
{
    const struct rf_lin_act *a = in->t->act;
    const int head = 64 + (bits == 5) * 128, size = head + (bits == 8 ? 1024 : 512), step = FUSED_STEP(R);
    const uint8_t *p = in->w;
    vf f[FUSED_MOST][NV];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < NV; v++) f[r][v] = vf_set1(0);
    for (size_t s = 0; s < a->n_slab; s++) {
        const int8_t *q = fused_q(in, s);
        const float *scale = fused_scale(in, s);
        const uint8_t *aux = fused_aux(in, s, 8);
        size_t nb = RF_MIN((a->cols - s * RF_LIN_SLAB) / 32, (size_t)8);
        NO_UNROLL for (size_t b = 0; b < nb; b++, p += size, q += 32, scale++, aux += 4) {
            prefetch_lines(p, size / 64);
            UNROLL for (int v0 = 0; v0 < NV; v0 += step) {
                vi c[FUSED_MOST][NV];
                UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = v0; v < v0 + step; v++)
                    c[r][v] = vi_set1((int32_t)load_u32(aux + r * 32));
                if (bits == 8) {
                    UNROLL for (int g = 0; g < 8; g++) UNROLL for (int v = v0; v < v0 + step; v++) {
                        vi y = vi_load(p + 64 + g * 128 + v * VB);
                        UNROLL for (int r = 0; r < R; r++)
                            c[r][v] = vi_dot(c[r][v], y, vi_set1((int32_t)load_u32(q + r * RF_LIN_SLAB + g * 4)));
                    }
                } else {
                    UNROLL for (int g = 0; g < 4; g++) UNROLL for (int v = v0; v < v0 + step; v++) {
                        vi lo, hi;
                        legacy_values(p + head + g * 128 + v * VB, p + 64 + v * VB, g, bits == 5, &lo, &hi);
                        UNROLL for (int r = 0; r < R; r++) {
                            c[r][v] = vi_dot(c[r][v], lo, vi_set1((int32_t)load_u32(q + r * RF_LIN_SLAB + g * 4)));
                            c[r][v] = vi_dot(c[r][v], hi, vi_set1((int32_t)load_u32(q + r * RF_LIN_SLAB + g * 4 + 16)));
                        }
                    }
                }
                UNROLL for (int v = v0; v < v0 + step; v++) {
                    vf d = vf_f16(p + v * VL * 2);
                    UNROLL for (int r = 0; r < R; r++) f[r][v] = vf_fma(vf_mul(vi_cvt(c[r][v]), d), vf_set1(scale[r * 8]), f[r][v]);
                }
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < NV; v++) vf_store(in->c + r * 32 + v * VL, f[r][v]);
}

/* Q4_K: a dword holds a group of two blocks. */
INL void fused_q4_k(int R, const struct fused_in *in)
{
    const struct rf_lin_act *a = in->t->act;
    const uint8_t *p = in->w;
    const int step = FUSED_STEP(R);
    vf f[FUSED_MOST][NV];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < NV; v++) f[r][v] = vf_set1(0);
    for (size_t s = 0; s < a->n_slab; s++, p += 4608) {
        const int8_t *q = fused_q(in, s);
        const float *scale = fused_scale(in, s), *fs = in->slab->s, *fm = in->slab->m;
        const uint8_t *aux = fused_aux(in, s, 8), *w = p + 512;
        prefetch_lines(p, 8);
        k45_factors(p, in->slab);
        NO_UNROLL for (int pr = 0; pr < 4; pr++, q += 64, scale += 2, aux += 8, fs += 64, fm += 64, w += 1024) {
            prefetch_lines(w, 16);
            UNROLL for (int v0 = 0; v0 < NV; v0 += step) {
                vi c[2][FUSED_MOST][NV];
                UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = v0; v < v0 + step; v++) c[0][r][v] = c[1][r][v] = vi_set1(0);
                UNROLL for (int g = 0; g < 8; g++) UNROLL for (int v = v0; v < v0 + step; v++) {
                    vi x = vi_load(w + g * 128 + v * VB), lo = lo4(x), hi = hi4(x);
                    UNROLL for (int r = 0; r < R; r++) {
                        c[0][r][v] = vi_dot(c[0][r][v], lo, vi_set1((int32_t)load_u32(q + r * RF_LIN_SLAB + g * 4)));
                        c[1][r][v] = vi_dot(c[1][r][v], hi, vi_set1((int32_t)load_u32(q + r * RF_LIN_SLAB + g * 4 + 32)));
                    }
                }
                UNROLL for (int h = 0; h < 2; h++) UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = v0; v < v0 + step; v++) {
                    vf t = vf_mul(vi_cvt(c[h][r][v]), vf_load(fs + h * 32 + v * VL));
                    t = vf_fnma(vf_load(fm + h * 32 + v * VL), vf_set1(*(const float *)(aux + r * 32 + h * 4)), t);
                    f[r][v] = vf_fma(t, vf_set1(scale[r * 8 + h]), f[r][v]);
                }
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < NV; v++) vf_store(in->c + r * 32 + v * VL, f[r][v]);
}

/* Q6_K: four blocks share their bytes, so one vector of rows after the other; the sums of the first 16 values wait as floats. */
INL void fused_q6_k(int R, const struct fused_in *in)
{
    const int n = R > 2 ? 2 : 4; /* blocks at a time */
    const struct rf_lin_act *a = in->t->act;
    const uint8_t *p = in->w;
    vf f[FUSED_MOST][NV];
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < NV; v++) f[r][v] = vf_set1(0);
    for (size_t s = 0; s < a->n_slab; s++, p += 6720) {
        prefetch_lines(p, 1);
        q6_factors(p, in->slab);
        NO_UNROLL for (int h = 0; h < 2; h++) {
            const int8_t *q = fused_q(in, s) + h * 128;
            const float *scale = fused_scale(in, s) + h * 4;
            const uint8_t *aux = fused_aux(in, s, 16) + h * 32, *w = p + 64 + h * 3328;
            prefetch_lines(w, 4);
            UNROLL for (int v = 0; v < NV; v++) {
                const float *fs = in->slab->s + h * 256 + v * VL;
                UNROLL for (int b0 = 0; b0 < 4; b0 += n) {
                    vf t[4][FUSED_MOST];
                    UNROLL for (int u = 0; u < 2; u++) {
                        vi c[4][FUSED_MOST];
                        UNROLL for (int i = 0; i < n; i++) UNROLL for (int r = 0; r < R; r++)
                            c[i][r] = vi_set1((int32_t)load_u32(aux + r * 64 + (b0 + i) * 8 + u * 4));
                        UNROLL for (int g = u * 4; g < u * 4 + 4; g++) {
                            vi x[4];
                            if (b0 == 0 && (VL < 16 || v == 0)) prefetch_lines(w + 256 + g * 384 + (v * VB & 64), VL < 16 ? 1 : 6);
                            q6_values(w + 256 + g * 384 + v * VB, x);
                            UNROLL for (int i = 0; i < n; i++) UNROLL for (int r = 0; r < R; r++) {
                                int b = b0 + i;
                                c[i][r] = vi_dot(c[i][r], x[b], vi_set1((int32_t)load_u32(q + r * RF_LIN_SLAB + b * 32 + g * 4)));
                            }
                        }
                        UNROLL for (int i = 0; i < n; i++) UNROLL for (int r = 0; r < R; r++) {
                            vf y = vi_cvt(c[i][r]), k = vf_load(fs + ((b0 + i) * 2 + u) * 32);
                            t[i][r] = u ? vf_fma(y, k, t[i][r]) : vf_mul(y, k);
                        }
                    }
                    UNROLL for (int i = 0; i < n; i++) UNROLL for (int r = 0; r < R; r++)
                        f[r][v] = vf_fma(t[i][r], vf_set1(scale[r * 8 + b0 + i]), f[r][v]);
                }
            }
        }
    }
    UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < NV; v++) vf_store(in->c + r * 32 + v * VL, f[r][v]);
}

/* F16 and F32, one row: two chains are enough to wait for memory only. */
INL void fused_float(uint32_t type, const struct fused_in *in)
{
    const struct rf_lin_act *a = in->t->act;
    const float *x = a->x + rf_lin_row(a, in->m) * a->cols;
    const int size = type == RF_TYPE_F32 ? 128 : 64;
    const uint8_t *p = in->w;
    vf f[NV];
    UNROLL for (int v = 0; v < NV; v++) f[v] = vf_set1(0);
    for (size_t k = 0; k < a->cols; k++, p += size) {
        prefetch_lines(p, size / 64);
        UNROLL for (int v = 0; v < NV; v++) {
            vf w = type == RF_TYPE_F32 ? vf_load((const float *)p + v * VL) : vf_f16(p + v * VL * 2);
            f[v] = vf_fma(w, vf_set1(x[k]), f[v]);
        }
    }
    UNROLL for (int v = 0; v < NV; v++) vf_store(in->c + v * VL, f[v]);
}

/* BF16, one row, pairs of k. */
INL void fused_bf16(const struct fused_in *in)
{
    const struct rf_lin_act *a = in->t->act;
    const float *x = a->x + rf_lin_row(a, in->m) * a->cols;
    const uint8_t *p = in->w;
    vf f[NV];
    UNROLL for (int v = 0; v < NV; v++) f[v] = vf_set1(0);
    for (size_t k = 0; k < a->cols; k += 2, p += 128) {
        prefetch_lines(p, 2);
        UNROLL for (int v = 0; v < NV; v++) f[v] = vf_fma(bf16_even(vi_load(p + v * VB)), vf_set1(x[k]), f[v]);
        if (k + 1 == a->cols) break;
        UNROLL for (int v = 0; v < NV; v++) f[v] = vf_fma(bf16_odd(vi_load(p + v * VB)), vf_set1(x[k + 1]), f[v]);
    }
    UNROLL for (int v = 0; v < NV; v++) vf_store(in->c + v * VL, f[v]);
}

/* F8_E4M3, one row. */
INL void fused_f8(const struct fused_in *in)
{
    const struct rf_lin_act *a = in->t->act;
    const float *x = a->x + rf_lin_row(a, in->m) * a->cols;
    const uint8_t *p = in->w;
    vf f[NV], scale[NV];
    UNROLL for (int v = 0; v < NV; v++) f[v] = vf_set1(0);
    for (size_t k = 0; k < a->cols; k += 32, p += F8_UNIT) {
        prefetch_lines(p, 2);
        UNROLL for (int v = 0; v < NV; v++) scale[v] = f8_scale(p, v);
        NO_UNROLL for (int i = 0; i < 16; i++) {
            PREFETCH(p + PREFETCH_AHEAD + F8_HEAD + i * F8_PAIR);
            UNROLL for (int odd = 0; odd < 2; odd++) UNROLL for (int v = 0; v < NV; v++)
                f[v] = vf_fma(f8_weight(p, i, odd, v, scale[v]), vf_set1(x[k + (size_t)(2 * i + odd)]), f[v]);
        }
    }
    UNROLL for (int v = 0; v < NV; v++) vf_store(in->c + v * VL, f[v]);
}

typedef void (*fused_fn)(const struct fused_in *in);
#define FUSED(name, R, ...) \
    static void name##_##R(const struct fused_in *in) { __VA_ARGS__; }
FUSED(fused_f32, 1, fused_float(RF_TYPE_F32, in))
FUSED(fused_f16, 1, fused_float(RF_TYPE_F16, in))
FUSED(fused_bf16, 1, fused_bf16(in))
FUSED(fused_f8, 1, fused_f8(in))
#if FUSED_MOST == 8
#define FUSED_ROWS(name, call)                                                                                          \
    FUSED(name, 1, call(1, in)) FUSED(name, 2, call(2, in)) FUSED(name, 3, call(3, in)) FUSED(name, 4, call(4, in))     \
    FUSED(name, 5, call(5, in)) FUSED(name, 6, call(6, in)) FUSED(name, 7, call(7, in)) FUSED(name, 8, call(8, in))     \
    static const fused_fn name[] = {NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8};
#else
_Static_assert(FUSED_MOST == 1, "fused kernels exist for 1 and 8 rows");
#define FUSED_ROWS(name, call)  \
    FUSED(name, 1, call(1, in)) \
    static const fused_fn name[] = {NULL, name##_1};
#endif
#define FUSED_Q4_0(R, in) fused_legacy(R, 4, in)
#define FUSED_Q5_0(R, in) fused_legacy(R, 5, in)
FUSED_ROWS(fused_rows_q4_0, FUSED_Q4_0)
FUSED_ROWS(fused_rows_q5_0, FUSED_Q5_0)
FUSED_ROWS(fused_rows_q4_k, fused_q4_k)
FUSED_ROWS(fused_rows_q6_k, fused_q6_k)
static const fused_fn fused_rows_f32[] = {NULL, fused_f32_1}, fused_rows_f16[] = {NULL, fused_f16_1},
                      fused_rows_bf16[] = {NULL, fused_bf16_1}, fused_rows_f8[] = {NULL, fused_f8_1};
#if defined(__AVX512F__) /* elsewhere Q8_0 needs signed products */
#define FUSED_Q8_0(R, in) fused_legacy(R, 8, in)
FUSED_ROWS(fused_rows_q8_0, FUSED_Q8_0)
#endif

static const struct fused_row {
    uint32_t type;
    unsigned most;
    unsigned passes;      /* how often a panel (in L2 after the first time) may be walked before expansion to a slab is cheaper */
    const fused_fn *rows; /* by number of activation rows */
} fused[] = {
    {RF_TYPE_F32, 1, 1, fused_rows_f32}, {RF_TYPE_F16, 1, 1, fused_rows_f16}, {RF_TYPE_BF16, 1, 1, fused_rows_bf16},
    {RF_TYPE_F8_E4M3, 1, 1, fused_rows_f8},
    {RF_TYPE_Q4_0, FUSED_MOST, FUSED_PASSES, fused_rows_q4_0}, {RF_TYPE_Q5_0, FUSED_MOST, FUSED_PASSES, fused_rows_q5_0},
    {RF_TYPE_Q4_K, RF_MIN(FUSED_MOST, 6), FUSED_MOST > 1 ? 3 : 1, fused_rows_q4_k}, /* more rows spill registers */
    {RF_TYPE_Q6_K, RF_MIN(FUSED_MOST, 4), 1, fused_rows_q6_k},
#if defined(__AVX512F__)
    {RF_TYPE_Q8_0, FUSED_MOST, FUSED_PASSES, fused_rows_q8_0},
#endif
};

static const struct fused_row *fused_row(uint32_t type)
{
    for (size_t i = 0; i < RF_COUNT(fused); i++)
        if (fused[i].type == type) return &fused[i];
    return NULL;
}

static void run_fused_or_tiles(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    const struct fused_row *row = fused_row(t->l->type);
    if (!row || m1 - m0 > row->passes * row->most) {
        (t->l->sub ? run_quant : run_float)(t, p0, p1, m0, m1, tmp);
        return;
    }
    size_t panel = t->n_unit * t->l->file_bytes * RF_LIN_PANEL;
    for (size_t p = p0; p < p1; p++) {
        for (size_t m = m0, r; m < m1; m += r) {
            struct fused_in in = {.w = t->w + p * panel, .t = t, .m = m, .slab = &tmp->slab, .c = tmp->c[0] + (m - m0) * RF_LIN_PANEL};
            r = tile_rows(m1, m, row->most);
            row->rows[r](&in);
        }
        store_panels(t, p, p + 1, m0, m1, tmp);
    }
}

static void init_all(struct rf_lin_kern *k, const char *name)
{
    k->name = name;
    k->packed = true;
    k->pack = pack;
    k->act = act;
    for (unsigned i = 0; i < RF_LIN_N_LAYOUT; i++) k->run[i] = run_fused_or_tiles;
}
