/* linear_tile.h - tiles of several activation rows, and the walk over slabs. Included by a file per instruction set, which
 * defines TILE_V (vectors of rows that a tile handles at a time), TILE_R32, TILE_R16 and TILE_RF (most activation rows of a
 * tile with scales per 32, per 16, and of float types).
 *
 * The slab is expanded once to bytes and f32 scales in L1, then every tile of activation rows passes over it; sums rest in a
 * dense scratch between slabs, because rows of the output lie at strides that often fall into the same cache sets.
 */
#include "backend/cpu/kernels/linear_expand.h"
#include "backend/cpu/kernels/linear_pack.h"

/* ---- integer tiles ---- */

/* How the integer product is brought to the true one. */
enum tile_mode {
    MODE_BIAS,   /* sums start at -bias * sum of the activations */
    MODE_MIN,    /* a minimum times the activations' sum is taken off */
    MODE_SIGNED, /* weights are signed bytes already */
};

enum { TILE_MOST = TILE_R32 > TILE_RF ? TILE_R32 : TILE_RF };

/* c[r][v] += w * x over G groups of 4 values; w advances 128 bytes a group, x rows are 256 bytes apart. */
#if defined(__AVX2__) && !defined(__AVX512F__)
/* 16-bit sums hold `safe` groups; signed weights go through |w| * (x with the sign of w). */
INL void dot(int R, int G, int safe, int mode, const uint8_t *w, const int8_t *q, vi c[][TILE_V])
{
    const vi one = _mm256_set1_epi16(1);
    UNROLL for (int g0 = 0; g0 < G; g0 += safe) {
        vi s[TILE_MOST][TILE_V];
        UNROLL for (int g = g0; g < g0 + safe; g++) {
            vi y[TILE_V], a[TILE_V];
            UNROLL for (int v = 0; v < TILE_V; v++) {
                y[v] = vi_load(w + g * 128 + v * VB);
                a[v] = mode == MODE_SIGNED ? _mm256_abs_epi8(y[v]) : y[v];
            }
            UNROLL for (int r = 0; r < R; r++) {
                vi x = vi_set1((int32_t)load_u32(q + r * RF_LIN_SLAB + g * 4));
                UNROLL for (int v = 0; v < TILE_V; v++) {
                    vi z = _mm256_maddubs_epi16(a[v], mode == MODE_SIGNED ? _mm256_sign_epi8(x, y[v]) : x);
                    s[r][v] = g == g0 ? z : _mm256_add_epi16(s[r][v], z);
                }
            }
        }
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_V; v++)
            c[r][v] = _mm256_add_epi32(c[r][v], _mm256_madd_epi16(s[r][v], one));
    }
}
#else
INL void dot(int R, int G, int safe, int mode, const uint8_t *w, const int8_t *q, vi c[][TILE_V])
{
    (void)safe;
    (void)mode;
    UNROLL for (int g = 0; g < G; g++) {
        vi y[TILE_V];
        UNROLL for (int v = 0; v < TILE_V; v++) y[v] = vi_load(w + g * 128 + v * VB);
        UNROLL for (int r = 0; r < R; r++) {
            vi x = vi_set1((int32_t)load_u32(q + r * RF_LIN_SLAB + g * 4));
            UNROLL for (int v = 0; v < TILE_V; v++) c[r][v] = vi_dot(c[r][v], y[v], x);
        }
    }
}
#endif

struct tile_in {
    const struct rf_lin_slab *slab;
    int nb;
    const int8_t *q;     /* rows 256 apart */
    const float *scale;  /* rows 8 apart */
    const uint8_t *aux;  /* 4-byte entries, rows 8 or 16 entries apart */
    float *c;            /* rows 32 apart */
    bool first;
};

INL void tile(int R, int sub, int safe, int mode, const struct tile_in *in)
{
    const int H = 32 / sub, naux = 8 * H;
    for (int v0 = 0; v0 < NV; v0 += TILE_V) {
        const uint8_t *w = in->slab->w + v0 * VB, *aux = in->aux;
        const float *s = in->slab->s + v0 * VL, *mins = in->slab->m + v0 * VL, *scale = in->scale;
        const int8_t *q = in->q;
        vf f[TILE_MOST][TILE_V];
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_V; v++)
            f[r][v] = in->first ? vf_set1(0) : vf_load(in->c + r * 32 + (v0 + v) * VL);
        NO_UNROLL for (int b = 0; b < in->nb; b++, scale++) {
            vf t[TILE_MOST][TILE_V];
            UNROLL for (int h = 0; h < H; h++, w += sub * 32, q += sub, s += 32) {
                vi c[TILE_MOST][TILE_V];
                UNROLL for (int r = 0; r < R; r++) {
                    vi c0 = vi_set1(mode == MODE_BIAS ? (int32_t)load_u32(aux + (r * naux + h) * 4) : 0);
                    UNROLL for (int v = 0; v < TILE_V; v++) c[r][v] = c0;
                }
                dot(R, sub / 4, safe, mode, w, q, c);
                UNROLL for (int v = 0; v < TILE_V; v++) UNROLL for (int r = 0; r < R; r++) {
                    vf y = vi_cvt(c[r][v]), k = vf_load(s + v * VL);
                    t[r][v] = h ? vf_fma(y, k, t[r][v]) : vf_mul(y, k);
                }
            }
            if (mode == MODE_MIN) UNROLL for (int h = 0; h < H; h++, mins += 32) UNROLL for (int v = 0; v < TILE_V; v++) {
                vf m = vf_load(mins + v * VL);
                UNROLL for (int r = 0; r < R; r++)
                    t[r][v] = vf_fnma(m, vf_set1(*(const float *)(aux + (r * naux + h) * 4)), t[r][v]);
            }
            aux += H * 4;
            UNROLL for (int r = 0; r < R; r++) {
                vf a = vf_set1(scale[r * 8]);
                UNROLL for (int v = 0; v < TILE_V; v++) f[r][v] = vf_fma(t[r][v], a, f[r][v]);
            }
        }
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_V; v++)
            vf_store(in->c + r * 32 + (v0 + v) * VL, f[r][v]);
    }
}

/* One function per number of rows and way of scaling. */
typedef void (*tile_fn)(const struct tile_in *in);
#define TILE(name, R, sub, safe, mode) \
    static void name##_##R(const struct tile_in *in) { tile(R, sub, safe, mode, in); }
#define TILES4(name, ...) TILE(name, 1, __VA_ARGS__) TILE(name, 2, __VA_ARGS__) TILE(name, 3, __VA_ARGS__) TILE(name, 4, __VA_ARGS__)
#define TILES6(name, ...) TILES4(name, __VA_ARGS__) TILE(name, 5, __VA_ARGS__) TILE(name, 6, __VA_ARGS__)
#if TILE_R32 == 6
#define TILES32(name, ...)      \
    TILES6(name, __VA_ARGS__)   \
    static const tile_fn name[] = {NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6};
#else
#define TILES32(name, ...)      \
    TILES4(name, __VA_ARGS__)   \
    static const tile_fn name[] = {NULL, name##_1, name##_2, name##_3, name##_4};
#endif
#define TILES16(name, ...)      \
    TILES4(name, __VA_ARGS__)   \
    static const tile_fn name[] = {NULL, name##_1, name##_2, name##_3, name##_4};
_Static_assert(TILE_R32 == 6 || TILE_R32 == 4, "tiles exist for 4 and 6 rows");
_Static_assert(TILE_R16 == 4, "tiles exist for 4 rows");

/* `safe`: groups whose 16-bit sums cannot overflow, 2 * largest weight * 127 each. */
TILES32(tiles_4bit_bias, 32, 8, MODE_BIAS)
TILES32(tiles_4bit_min, 32, 8, MODE_MIN)
TILES32(tiles_5bit_bias, 32, 4, MODE_BIAS)
TILES32(tiles_5bit_min, 32, 4, MODE_MIN)
TILES16(tiles_2bit_min, 16, 4, MODE_MIN)
TILES16(tiles_3bit_bias, 16, 4, MODE_BIAS)
TILES16(tiles_6bit_bias, 16, 2, MODE_BIAS)
#if defined(__AVX512F__)
TILES32(tiles_8bit, 32, 1, MODE_BIAS)
enum { Q8_BIAS = 0 };
#else
TILES32(tiles_8bit, 32, 1, MODE_SIGNED)
enum { Q8_BIAS = 128 };
#endif

#define EXPAND(name, call) \
    static void name(const uint8_t *p, int nb, struct rf_lin_slab *o) { (void)nb; call; }
EXPAND(slab_q8_0, expand_q8_0(p, nb, o, Q8_BIAS))
EXPAND(slab_q4_0, expand_legacy(p, nb, o, 0, 0, 0))
EXPAND(slab_q4_1, expand_legacy(p, nb, o, 0, 0, 1))
EXPAND(slab_q5_0, expand_legacy(p, nb, o, 0, 1, 0))
EXPAND(slab_q5_1, expand_legacy(p, nb, o, 0, 1, 1))
EXPAND(slab_q2_k, expand_q2_k(p, o))
EXPAND(slab_q3_k, expand_q3_k(p, o, 0))
EXPAND(slab_q4_k, expand_k45(p, o, 0))
EXPAND(slab_q5_k, expand_k45(p, o, 1))
EXPAND(slab_q6_k, expand_q6_k(p, o, 0))

struct quant_row {
    uint32_t type;
    expand_fn expand;
    const tile_fn *tiles;
    int most; /* rows of the largest tile */
};
static const struct quant_row quants[] = {
    {RF_TYPE_Q8_0, slab_q8_0, tiles_8bit, TILE_R32},      {RF_TYPE_Q4_0, slab_q4_0, tiles_4bit_bias, TILE_R32},
    {RF_TYPE_Q4_1, slab_q4_1, tiles_4bit_min, TILE_R32},  {RF_TYPE_Q5_0, slab_q5_0, tiles_5bit_bias, TILE_R32},
    {RF_TYPE_Q5_1, slab_q5_1, tiles_5bit_min, TILE_R32},  {RF_TYPE_Q2_K, slab_q2_k, tiles_2bit_min, TILE_R16},
    {RF_TYPE_Q3_K, slab_q3_k, tiles_3bit_bias, TILE_R16}, {RF_TYPE_Q4_K, slab_q4_k, tiles_4bit_min, TILE_R32},
    {RF_TYPE_Q5_K, slab_q5_k, tiles_5bit_min, TILE_R32},  {RF_TYPE_Q6_K, slab_q6_k, tiles_6bit_bias, TILE_R16},
};

static const struct quant_row *quant_row(uint32_t type)
{
    for (size_t i = 0; i < RF_COUNT(quants); i++)
        if (quants[i].type == type) return &quants[i];
    return NULL;
}

/* Cuts n rows into even tiles of at most `most`: how many rows the tile at `done` gets. */
INL size_t tile_rows(size_t n, size_t done, size_t most)
{
    size_t left = n - done, tiles = (left + most - 1) / most;
    return (left + tiles - 1) / tiles;
}

static void sweep_tiles(const struct slab_in *in, const void *arg)
{
    const struct quant_row *type = arg;
    const struct rf_lin_act *a = in->t->act;
    size_t naux = RF_LIN_SLAB / in->t->l->sub, done = 0;
    for (size_t m = in->m0, r; m < in->m1; m += r) {
        /* The next slab comes nearer in step with the rows. */
        for (size_t end = in->n_next * (m - in->m0 + 1) / (in->m1 - in->m0); done < end; done += 64) PREFETCH(in->next + done);
        size_t i = in->index * a->rows + m;
        struct tile_in tile = {.slab = in->slab, .nb = in->nb, .q = a->q + i * RF_LIN_SLAB, .scale = a->scale + i * 8,
                               .aux = (const uint8_t *)in->t->aux + i * naux * 4, .c = in->c + (m - in->m0) * RF_LIN_PANEL,
                               .first = in->index == 0};
        r = tile_rows(in->m1, m, (size_t)type->most);
        type->tiles[r](&tile);
    }
}

static void run_quant(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    const struct quant_row *type = quant_row(t->l->type);
    walk_slabs(t, p0, p1, m0, m1, tmp, type->expand, sweep_tiles, type);
}

/* ---- float types: f32 fma in rising k ---- */

INL void tile_float(int R, const float *w, size_t n, const float *const *x, float *c, bool first)
{
    for (int v0 = 0; v0 < NV; v0 += TILE_V) {
        vf f[TILE_MOST][TILE_V];
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_V; v++)
            f[r][v] = first ? vf_set1(0) : vf_load(c + r * 32 + (v0 + v) * VL);
        for (size_t k = 0; k < n; k++) UNROLL for (int r = 0; r < R; r++) {
            vf a = vf_set1(x[r][k]);
            UNROLL for (int v = 0; v < TILE_V; v++) f[r][v] = vf_fma(vf_load(w + k * 32 + (v0 + v) * VL), a, f[r][v]);
        }
        UNROLL for (int r = 0; r < R; r++) UNROLL for (int v = 0; v < TILE_V; v++)
            vf_store(c + r * 32 + (v0 + v) * VL, f[r][v]);
    }
}

static void tile_float_rows(size_t R, const float *w, size_t n, const float *const *x, float *c, bool first)
{
    switch (R) {
    case 1: tile_float(1, w, n, x, c, first); return;
    case 2: tile_float(2, w, n, x, c, first); return;
    case 3: tile_float(3, w, n, x, c, first); return;
    case 4: tile_float(4, w, n, x, c, first); return;
#if TILE_RF == 6
    case 5: tile_float(5, w, n, x, c, first); return;
    case 6: tile_float(6, w, n, x, c, first); return;
#endif
    }
}

/* n pairs of k of a BF16 panel to f32, [k][row]. */
INL void bf16_rows(const uint8_t *w, size_t n, float *f)
{
    for (size_t i = 0; i < n; i++, w += 128, f += 64) UNROLL for (int v = 0; v < NV; v++) {
        vi pairs = vi_load(w + v * VB);
        vf_store(f + v * VL, bf16_even(pairs));
        vf_store(f + 32 + v * VL, bf16_odd(pairs));
    }
}

/* A unit of an F8_E4M3 panel to f32, [k][row]. */
INL void f8_rows(const uint8_t *p, float *f)
{
    UNROLL for (int v = 0; v < NV; v++) {
        vf scale = f8_scale(p, v);
        NO_UNROLL for (int i = 0; i < 16; i++) UNROLL for (int odd = 0; odd < 2; odd++)
            vf_store(f + (2 * i + odd) * 32 + v * VL, f8_weight(p, i, odd, v, scale));
    }
}

static void run_float(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    const struct rf_lin_act *a = t->act;
    size_t panel = t->n_unit * t->l->file_bytes * RF_LIN_PANEL;
    for (size_t p = p0; p < p1; p++) {
        for (size_t k = 0; k < a->cols; k += RF_LIN_FSLAB) {
            const uint8_t *w = t->w + p * panel + k / t->l->block * t->l->file_bytes * RF_LIN_PANEL;
            size_t n = RF_MIN(a->cols - k, (size_t)RF_LIN_FSLAB);
            const float *f = t->l->type == RF_TYPE_F32 ? (const float *)w : tmp->f;
            if (t->l->type == RF_TYPE_F16)
                for (size_t i = 0; i < n; i++) f16_rows(w + i * 64, tmp->f + i * 32);
            if (t->l->type == RF_TYPE_BF16)
                bf16_rows(w, (n + 1) / 2, tmp->f);
            if (t->l->type == RF_TYPE_F8_E4M3)
                for (size_t i = 0; i < n; i += 32) f8_rows(w + i / 32 * F8_UNIT, tmp->f + i * 32);
            for (size_t m = m0, r; m < m1; m += r) {
                r = tile_rows(m1, m, TILE_RF);
                const float *x[TILE_MOST];
                for (size_t i = 0; i < r; i++) x[i] = a->x + rf_lin_row(a, m + i) * a->cols + k;
                tile_float_rows(r, f, n, x, tmp->c[0] + (m - m0) * RF_LIN_PANEL, k == 0);
            }
        }
        store_panels(t, p, p + 1, m0, m1, tmp);
    }
}
