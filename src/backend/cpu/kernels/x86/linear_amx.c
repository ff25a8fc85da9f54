/* linear_amx.c - BF16 weights by AMX tiles: 32 outputs times up to 32 activation rows in four tiles of sums, which stay there
 * for all of k. A panel is an operand as it lies: 16 pairs of k, 128 bytes apart, of 16 outputs.
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
    ROW = RF_LIN_SLAB * 2,         /* bytes between activation rows */
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

/* Steps i0..i1 (32 k each) of one panel times the rows at m, added to c unless i0 is 0. */
static void tiles(const struct rf_lin_task *t, size_t p, size_t i0, size_t i1, size_t m, bool second, bool ahead, struct rf_lin_tmp *tmp,
                  float *c)
{
    size_t tail = t->n_unit % TILE, slab_bytes = t->act->rows * ROW;
    const uint8_t *w = t->w + p * t->n_unit * 128 + i0 * STEP, *rows = (const uint8_t *)t->act->b + m * ROW;
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
        const uint8_t *x = rows + i / SLAB_STEPS * slab_bytes + i % SLAB_STEPS * 64;
        const uint8_t *b = (i + 1) * TILE > t->n_unit ? last_pairs(w, tail, tmp) : w;
        if (ahead)
            for (int k = 0; k < STEP; k += 64) PREFETCH(w + AHEAD + k);
        _tile_loadd(4, x, ROW);
        _tile_loadd(6, b, 128);
        _tile_loadd(7, b + 64, 128);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (second) {
            _tile_loadd(5, x + TILE * ROW, ROW);
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

/* Whole blocks of 32 rows, BLOCK steps of k at a time: a panel's part stays in L1, the rows' part in L2 for all panels. The other
 * rows take each panel from end to end. */
static void run_amx(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    size_t n_step = (t->n_unit + TILE - 1) / TILE, whole = (m1 - m0) / (2 * TILE) * (2 * TILE), rest = m1 - m0 - whole;
    for (size_t g0 = p0; g0 < p1; g0 += RF_LIN_GROUP) {
        size_t g1 = RF_MIN(g0 + RF_LIN_GROUP, p1);
        if (whole) configure(TILE, TILE);
        for (size_t i = 0; i < n_step && whole; i += BLOCK)
            for (size_t p = g0; p < g1; p++)
                for (size_t m = 0; m < whole; m += 2 * TILE)
                    tiles(t, p, i, RF_MIN(i + BLOCK, n_step), m0 + m, true, m == 0, tmp, tmp->c[p - g0] + m * RF_LIN_PANEL);
        if (rest) configure(RF_MIN(rest, (size_t)TILE), rest > TILE ? rest - TILE : 0);
        for (size_t p = g0; p < g1 && rest; p++)
            tiles(t, p, 0, n_step, m0 + whole, rest > TILE, !whole, tmp, tmp->c[p - g0] + whole * RF_LIN_PANEL);
        store_panels(t, g0, g1, m0, m1, tmp);
    }
    _tile_release();
}

void rf_lin_kern_init_amx(struct rf_lin_kern *k)
{
    k->name = "amx";
    k->run[rf_lin_layout_index(rf_lin_layout_get(RF_TYPE_BF16))] = run_amx;
}
