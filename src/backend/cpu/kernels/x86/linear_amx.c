/* linear_amx.c - BF16 weights by AMX tiles: 32 outputs times up to 32 activation rows in four tiles of sums, which stay there
 * for all of k. A panel is an operand as it lies: 16 pairs of k, 128 bytes apart, of 16 outputs. Quantised panels become
 * such, BLOCK steps at a time, for bulk rows.
 *
 * A row of a tile is computed alone, so one row (decode) has the bits it has among many. Order of the sums: linear_kern.h.
 */
#include "backend/cpu/kernels/linear_expand.h"

enum {
    TILE = 16,
    STEP = TILE * 128,             /* bytes of a panel in 32 k, what a tile product takes */
    SLAB_STEPS = RF_LIN_SLAB / 32,
    BLOCK = 16,                    /* of them at a time for many rows: 32 KB of a panel */
    AHEAD = 6144,
    ROW = 64,                      /* bytes between activation rows: a tile of them lies as it is */
    C_ROW = RF_LIN_PANEL * 4,      /* bytes between rows of sums */
};

/* Palette 1: at most 8 tiles of 16 rows of 64 bytes. */
struct config {
    uint8_t palette, start, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct config) == 64, "what ldtilecfg reads");

/* Sums of activation rows 0..n0 in tiles 0, 1, of the n1 rows behind them in 2, 3; the rows in 4, 5; weights in 6, 7. */
static void configure(size_t n0, size_t n1)
{
    const size_t rows[8] = {n0, n0, n1, n1, n0, n1, TILE, TILE};
    _Alignas(64) struct config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.rows[i] = (uint8_t)RF_MAX(rows[i], (size_t)1);
        c.row_bytes[i] = 64;
    }
    _tile_loadconfig(&c);
}

/* The last pairs of a panel, with zeros behind them: no weight that is not there may be multiplied, not even with 0. */
static const uint8_t *last_pairs(const uint8_t *w, size_t n_pair, struct rf_lin_tmp *tmp)
{
    memcpy(tmp->slab.w, w, n_pair * 128);
    memset(tmp->slab.w + n_pair * 128, 0, STEP - n_pair * 128);
    return tmp->slab.w;
}

/* Steps i0..i1 (32 k each) of one panel, of n_pair pairs in all, times the rows at m, added to c unless i0 is 0. w: the panel's bytes from i0 on. */
INL void tiles(const struct rf_lin_act *a, const uint8_t *w, size_t n_pair, size_t i0, size_t i1, size_t m, bool second, bool ahead,
               struct rf_lin_tmp *tmp, float *c)
{
    size_t tail = n_pair % TILE;
    float *c2 = c + TILE * RF_LIN_PANEL;
    if (i0) {
        _tile_loadd(0, c, C_ROW);
        _tile_loadd(1, c + TILE, C_ROW);
        if (second) {
            _tile_loadd(2, c2, C_ROW);
            _tile_loadd(3, c2 + TILE, C_ROW);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (size_t i = i0; i < i1; i++, w += STEP) {
        const uint16_t *x = a->b + rf_lin_b(a, i / SLAB_STEPS, m, i % SLAB_STEPS * 32);
        const uint8_t *b = (i + 1) * TILE > n_pair ? last_pairs(w, tail, tmp) : w;
        if (ahead)
            for (int k = 0; k < STEP; k += 64) PREFETCH(w + AHEAD + k);
        _tile_loadd(4, x, ROW);
        _tile_loadd(6, b, 128);
        _tile_loadd(7, b + 64, 128);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (second) {
            _tile_loadd(5, x + TILE * RF_LIN_SLAB, ROW);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, C_ROW);
    _tile_stored(1, c + TILE, C_ROW);
    if (second) {
        _tile_stored(2, c2, C_ROW);
        _tile_stored(3, c2 + TILE, C_ROW);
    }
}

/* ---- BF16 weights ---- */

/* Whole blocks of 32 rows, BLOCK steps of k at a time: a panel's part stays in L1, the rows' part in L2 for all panels. The other
 * rows take each panel from end to end. */
static void run_amx(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    size_t n_step = (t->n_unit + TILE - 1) / TILE, whole = (m1 - m0) / (2 * TILE) * (2 * TILE), rest = m1 - m0 - whole;
    for (size_t g0 = p0; g0 < p1; g0 += RF_LIN_GROUP) {
        size_t g1 = RF_MIN(g0 + RF_LIN_GROUP, p1);
        const uint8_t *w = t->w + g0 * t->n_unit * 128;
        if (whole) configure(TILE, TILE);
        for (size_t i = 0; i < n_step && whole; i += BLOCK)
            for (size_t p = 0; p < g1 - g0; p++)
                for (size_t m = 0; m < whole; m += 2 * TILE)
                    tiles(t->act, w + p * t->n_unit * 128 + i * STEP, t->n_unit, i, RF_MIN(i + BLOCK, n_step), m0 + m, true, m == 0, tmp,
                          tmp->c[p] + m * RF_LIN_PANEL);
        if (rest) configure(RF_MIN(rest, (size_t)TILE), rest > TILE ? rest - TILE : 0);
        for (size_t p = 0; p < g1 - g0 && rest; p++)
            tiles(t->act, w + p * t->n_unit * 128, t->n_unit, 0, n_step, m0 + whole, rest > TILE, !whole, tmp, tmp->c[p] + whole * RF_LIN_PANEL);
        store_panels(t, g0, g1, m0, m1, tmp);
    }
    _tile_release();
}

/* ---- bulk rows: quantised weights ---- */

/* Even and odd k of 16 rows: pairs as bf16. */
INL void store_pairs(vf even, vf odd, uint8_t *out)
{
    static const uint16_t side_by_side[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                              8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    vi_store(out, _mm512_permutexvar_epi16(_mm512_loadu_si512(side_by_side), (vi)_mm512_cvtne2ps_pbh(odd, even)));
}

/* The signed bytes of 16 rows, 4 k of each, times the scale, less the min. */
INL void pairs_of(vi x, vf s, vf m, bool min, uint8_t *out)
{
    vf y[4];
    UNROLL for (int i = 0; i < 4; i++) {
        y[i] = vf_mul(byte_s(x, i), s);
        if (min) y[i] = _mm512_sub_ps(y[i], m);
    }
    UNROLL for (int i = 0; i < 2; i++) store_pairs(y[2 * i], y[2 * i + 1], out + i * 128);
}

/* A slab with signed bytes as a BF16 panel. sub: values of a scale. */
INL void slab_pairs(const struct rf_lin_slab *s, int nb, int sub, bool min, uint8_t *out)
{
    const int n = sub / 4;
    for (int i = 0; i < nb * 32 / sub; i++) UNROLL for (int v = 0; v < 2; v++) {
        vf scale = vf_load(s->s + i * 32 + v * VL), m = min ? vf_load(s->m + i * 32 + v * VL) : scale;
        UNROLL for (int g = 0; g < n; g++)
            pairs_of(vi_load(s->w + (i * n + g) * 128 + v * VB), scale, m, min, out + (i * n + g) * 256 + v * 64);
    }
}

typedef void (*pairs_fn)(const uint8_t *p, int nb, struct rf_lin_slab *s, uint8_t *out);
#define PAIRS(name, expand, sub, min) \
    static void name(const uint8_t *p, int nb, struct rf_lin_slab *s, uint8_t *out) { expand; slab_pairs(s, nb, sub, min, out); }
PAIRS(pairs_q8_0, expand_q8_0(p, nb, s, 128), 32, false)
PAIRS(pairs_q4_0, expand_legacy(p, nb, s, 8, 0, 0), 32, false)
PAIRS(pairs_q4_1, expand_legacy(p, nb, s, 0, 0, 1), 32, true)
PAIRS(pairs_q5_0, expand_legacy(p, nb, s, 16, 1, 0), 32, false)
PAIRS(pairs_q5_1, expand_legacy(p, nb, s, 0, 1, 1), 32, true)
PAIRS(pairs_q2_k, expand_q2_k(p, s), 16, true)
PAIRS(pairs_q3_k, expand_q3_k(p, s, 4), 16, false)
PAIRS(pairs_q4_k, expand_k45(p, s, 0), 32, true)
PAIRS(pairs_q5_k, expand_k45(p, s, 1), 32, true)
PAIRS(pairs_q6_k, expand_q6_k(p, s, 32), 16, false)

/* Bytes times scales, with no slab between. */
static void pairs_f8(const uint8_t *p, int nb, struct rf_lin_slab *s, uint8_t *out)
{
    (void)s;
    for (int b = 0; b < nb; b++, p += F8_UNIT, out += STEP) UNROLL for (int v = 0; v < 2; v++) {
        vf scale = f8_scale(p, v);
        NO_UNROLL for (int i = 0; i < TILE; i++) store_pairs(f8_weight(p, i, 0, v, scale), f8_weight(p, i, 1, v, scale), out + i * 128 + v * 64);
    }
}

static const struct pairs_row { uint32_t type; pairs_fn pairs; } pairs_rows[] = {
    {RF_TYPE_Q8_0, pairs_q8_0}, {RF_TYPE_Q4_0, pairs_q4_0}, {RF_TYPE_Q4_1, pairs_q4_1}, {RF_TYPE_Q5_0, pairs_q5_0}, {RF_TYPE_Q5_1, pairs_q5_1},
    {RF_TYPE_Q2_K, pairs_q2_k}, {RF_TYPE_Q3_K, pairs_q3_k}, {RF_TYPE_Q4_K, pairs_q4_k}, {RF_TYPE_Q5_K, pairs_q5_k}, {RF_TYPE_Q6_K, pairs_q6_k},
    {RF_TYPE_F8_E4M3, pairs_f8},
};

/* The slabs of BLOCK steps from step i on of panel p, to tmp->b. */
static void make_pairs(const struct rf_lin_task *t, pairs_fn pairs, size_t p, size_t i, struct rf_lin_tmp *tmp)
{
    size_t unit = (size_t)t->l->file_bytes * RF_LIN_PANEL, slab = RF_LIN_SLAB / t->l->block * unit, panel = t->n_unit * unit;
    for (size_t s = i / SLAB_STEPS; s < RF_MIN((i + BLOCK) / SLAB_STEPS, t->act->n_slab); s++)
        pairs(t->w + p * panel + s * slab, (int)RF_MIN((t->act->cols - s * RF_LIN_SLAB) / 32, (size_t)8), &tmp->slab,
              (uint8_t *)tmp->b + (s * SLAB_STEPS - i) * STEP);
}

static void run_bulk(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    size_t n_step = t->act->cols / 32, whole = (m1 - m0) / (2 * TILE) * (2 * TILE), rest = m1 - m0 - whole;
    pairs_fn pairs = NULL;
    for (size_t k = 0; k < RF_COUNT(pairs_rows); k++)
        if (pairs_rows[k].type == t->l->type) pairs = pairs_rows[k].pairs;
    for (size_t g0 = p0; g0 < p1; g0 += RF_LIN_GROUP) {
        size_t g1 = RF_MIN(g0 + RF_LIN_GROUP, p1);
        for (size_t i = 0; i < n_step; i += BLOCK)
            for (size_t p = g0; p < g1; p++) {
                make_pairs(t, pairs, p, i, tmp);
                const uint8_t *w = (const uint8_t *)tmp->b;
                size_t end = RF_MIN(i + BLOCK, n_step);
                if (whole) configure(TILE, TILE);
                for (size_t m = 0; m < whole; m += 2 * TILE)
                    tiles(t->act, w, n_step * TILE, i, end, m0 + m, true, false, tmp, tmp->c[p - g0] + m * RF_LIN_PANEL);
                if (!rest) continue;
                configure(RF_MIN(rest, (size_t)TILE), rest > TILE ? rest - TILE : 0);
                tiles(t->act, w, n_step * TILE, i, end, m0 + whole, rest > TILE, false, tmp, tmp->c[p - g0] + whole * RF_LIN_PANEL);
            }
        store_panels(t, g0, g1, m0, m1, tmp);
    }
    _tile_release();
}

void rf_lin_kern_init_amx(struct rf_lin_kern *k)
{
    k->name = "amx";
    unsigned bf16 = rf_lin_layout_index(rf_lin_layout_get(RF_TYPE_BF16));
    k->run[bf16] = k->bulk[bf16] = run_amx;
    for (size_t i = 0; i < RF_COUNT(pairs_rows); i++) k->bulk[rf_lin_layout_index(rf_lin_layout_get(pairs_rows[i].type))] = run_bulk;
}
