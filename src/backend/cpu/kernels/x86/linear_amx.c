/* linear_amx.c - AMX int8 tiles for many activation rows: 16 rows x 16 outputs x one weight scale's values per instruction.
 *
 * The tile unit gives exact int32 sums of a block, which AVX-512 then scales and adds in the order of linear_tile.h, so the bits are those of
 * the other AVX-512 kernels. Results reach the vector registers through L1; two tiles take turns, so that the next block is
 * multiplied while the last one is scaled. Weights are expanded to signed bytes here: no bias to make up for.
 */
#include "backend/cpu/kernels/linear_expand.h"

enum { C0, C1, C2, C3, A0, A1, B0, B1 }; /* tile registers */

struct amx_in {
    const struct rf_lin_slab *slab;
    int nb;
    const int8_t *q;     /* rows 256 apart */
    const float *scale;  /* rows 8 apart */
    const float *aux;    /* rows 8 or 16 apart: sums, for types with minimums */
    float *c;            /* rows 32 apart */
    int32_t (*tile)[16 * 16];
    bool first;
    const uint8_t *next; /* the next slab's bytes, to be on their way */
    int n_next;          /* lines of it for each block here */
};

/* Tile shapes for n activation rows (Intel SDM, LDTILECFG). */
static void configure(int n, int sub)
{
    struct { uint8_t palette, start, reserved[14]; uint16_t colsb[16]; uint8_t rows[16]; } c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.rows[i] = (uint8_t)(i >= B0 ? sub / 4 : n);
        c.colsb[i] = (uint16_t)(i >= A0 && i < B0 ? sub : 64);
    }
    _tile_loadconfig(&c);
}

/* Block b's products of one vector of outputs into in->tile; h: which 16 values. */
#define MULTIPLY(in, C, A, B, at, v)                                                           \
    do {                                                                                       \
        _tile_zero(C);                                                                         \
        _tile_loadd(A, (in)->q + (at) * sub, RF_LIN_SLAB);                                     \
        _tile_loadd(B, (in)->slab->w + (at) * sub * RF_LIN_PANEL + (v) * 64, 128);              \
        _tile_dpbssd(C, A, B);                                                                 \
        _tile_stored(C, (in)->tile[C], 64);                                                    \
    } while (0)

INL void scale_block(int R, int sub, int min, const struct amx_in *in, int b, int v, const int32_t *t0, const int32_t *t1, vf *f)
{
    const int H = 32 / sub, naux = 8 * H;
    vf s[2], m[2];
    UNROLL for (int h = 0; h < H; h++) {
        s[h] = vf_load(in->slab->s + (b * H + h) * 32 + v * VL);
        if (min) m[h] = vf_load(in->slab->m + (b * H + h) * 32 + v * VL);
    }
    UNROLL for (int r = 0; r < R; r++) {
        vf t = vf_mul(vi_cvt(vi_load(t0 + r * 16)), s[0]);
        if (H == 2) t = vf_fma(vi_cvt(vi_load(t1 + r * 16)), s[1], t);
        if (min) UNROLL for (int h = 0; h < H; h++) t = vf_fnma(m[h], vf_set1(in->aux[r * naux + b * H + h]), t);
        f[r] = vf_fma(t, vf_set1(in->scale[r * 8 + b]), f[r]);
    }
}

INL void amx_tile(int R, int sub, int min, const struct amx_in *in)
{
    const uint8_t *next = in->next;
    for (int v = 0; v < NV; v++) {
        vf f[16];
        UNROLL for (int r = 0; r < R; r++) f[r] = in->first ? vf_set1(0) : vf_load(in->c + r * 32 + v * VL);
        if (sub == 32) {
            MULTIPLY(in, C0, A0, B0, 0, v);
            NO_UNROLL for (int b = 0; b < in->nb; b += 2) {
                if (b + 1 < in->nb) MULTIPLY(in, C1, A1, B1, b + 1, v);
                for (int i = 0; i < in->n_next; i++, next += 64) PREFETCH(next);
                scale_block(R, sub, min, in, b, v, in->tile[C0], NULL, f);
                if (b + 2 < in->nb) MULTIPLY(in, C0, A0, B0, b + 2, v);
                for (int i = 0; i < in->n_next; i++, next += 64) PREFETCH(next);
                if (b + 1 < in->nb) scale_block(R, sub, min, in, b + 1, v, in->tile[C1], NULL, f);
            }
        } else { /* K types with 16 values a scale: always 8 blocks */
            MULTIPLY(in, C0, A0, B0, 0, v);
            MULTIPLY(in, C1, A1, B1, 1, v);
            NO_UNROLL for (int b = 0; b < 8; b += 2) {
                MULTIPLY(in, C2, A0, B0, 2 * b + 2, v);
                MULTIPLY(in, C3, A1, B1, 2 * b + 3, v);
                for (int i = 0; i < in->n_next; i++, next += 64) PREFETCH(next);
                scale_block(R, sub, min, in, b, v, in->tile[C0], in->tile[C1], f);
                if (b < 6) {
                    MULTIPLY(in, C0, A0, B0, 2 * b + 4, v);
                    MULTIPLY(in, C1, A1, B1, 2 * b + 5, v);
                }
                for (int i = 0; i < in->n_next; i++, next += 64) PREFETCH(next);
                scale_block(R, sub, min, in, b + 1, v, in->tile[C2], in->tile[C3], f);
            }
        }
        UNROLL for (int r = 0; r < R; r++) vf_store(in->c + r * 32 + v * VL, f[r]);
    }
}

typedef void (*amx_fn)(const struct amx_in *in);
#define AMX(name, R, ...) \
    static void name##_##R(const struct amx_in *in) { amx_tile(R, __VA_ARGS__, in); }
#define AMX_TILES(name, ...)                                                                                    \
    AMX(name, 4, __VA_ARGS__) AMX(name, 8, __VA_ARGS__) AMX(name, 12, __VA_ARGS__) AMX(name, 16, __VA_ARGS__)   \
    static const amx_fn name[] = {NULL, name##_4, name##_8, name##_12, name##_16};
AMX_TILES(tiles_32, 32, 0)
AMX_TILES(tiles_32_min, 32, 1)
AMX_TILES(tiles_16, 16, 0)
AMX_TILES(tiles_16_min, 16, 1)

#define EXPAND(name, call) \
    static void name(const uint8_t *p, int nb, struct rf_lin_slab *o) { (void)nb; call; }
EXPAND(slab_q8_0, expand_q8_0(p, nb, o, 128))
EXPAND(slab_q4_0, expand_legacy(p, nb, o, 8, 0, 0))
EXPAND(slab_q4_1, expand_legacy(p, nb, o, 0, 0, 1))
EXPAND(slab_q5_0, expand_legacy(p, nb, o, 16, 1, 0))
EXPAND(slab_q5_1, expand_legacy(p, nb, o, 0, 1, 1))
EXPAND(slab_q2_k, expand_q2_k(p, o))
EXPAND(slab_q3_k, expand_q3_k(p, o, 4))
EXPAND(slab_q4_k, expand_k45(p, o, 0))
EXPAND(slab_q5_k, expand_k45(p, o, 1))
EXPAND(slab_q6_k, expand_q6_k(p, o, 32))

static const struct amx_row {
    uint32_t type;
    size_t least; /* fewer rows go faster without AMX, measured with tests/kernels/bench_linear */
    void (*expand)(const uint8_t *p, int nb, struct rf_lin_slab *o);
    const amx_fn *tiles;
} amx_rows[] = {
    {RF_TYPE_Q8_0, 5, slab_q8_0, tiles_32},     {RF_TYPE_Q4_0, 5, slab_q4_0, tiles_32},     {RF_TYPE_Q4_1, 5, slab_q4_1, tiles_32_min},
    {RF_TYPE_Q5_0, 5, slab_q5_0, tiles_32},     {RF_TYPE_Q5_1, 5, slab_q5_1, tiles_32_min}, {RF_TYPE_Q2_K, 5, slab_q2_k, tiles_16_min},
    {RF_TYPE_Q3_K, 5, slab_q3_k, tiles_16},     {RF_TYPE_Q4_K, 5, slab_q4_k, tiles_32_min}, {RF_TYPE_Q5_K, 5, slab_q5_k, tiles_32_min},
    {RF_TYPE_Q6_K, 5, slab_q6_k, tiles_16},
};

static const struct amx_row *amx_row(uint32_t type)
{
    for (size_t i = 0; i < RF_COUNT(amx_rows); i++)
        if (amx_rows[i].type == type) return &amx_rows[i];
    return NULL;
}

static void run_amx(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    const struct amx_row *type = amx_row(t->l->type);
    if (!type || m1 - m0 < type->least) {
        rf_lin_run_avx512(t, p0, p1, m0, m1, tmp);
        return;
    }
    const struct rf_lin_act *a = t->act;
    size_t unit = (size_t)t->l->file_bytes * RF_LIN_PANEL, slab = RF_LIN_SLAB / t->l->block * unit;
    size_t naux = RF_LIN_SLAB / t->l->sub;
    size_t n_tile = (m1 - m0 + 15) / 16, step = ((m1 - m0 + n_tile - 1) / n_tile + 3) / 4 * 4; /* even tiles of 4, 8, 12 or 16 rows */
    size_t blocks = n_tile * 16, per_block = (slab / 64 + blocks - 1) / blocks;
    configure((int)step, t->l->sub);
    for (size_t p = p0; p < p1; p++) {
        const uint8_t *w = t->w + p * t->n_unit * unit;
        for (size_t s = 0; s < a->n_slab; s++, w += slab) {
            struct amx_in in = {.slab = &tmp->slab, .tile = tmp->tile, .first = s == 0, .next = w + slab, .n_next = (int)per_block};
            in.nb = (int)RF_MIN((a->cols - s * RF_LIN_SLAB) / 32, (size_t)8);
            type->expand(w, in.nb, &tmp->slab);
            for (size_t m = m0; m < m1; m += step, in.next += blocks / n_tile * per_block * 64) {
                in.q = a->q + (s * a->rows + m) * RF_LIN_SLAB;
                in.scale = a->scale + (s * a->rows + m) * 8;
                in.aux = (const float *)t->aux + (s * a->rows + m) * naux;
                in.c = tmp->c + (m - m0) * RF_LIN_PANEL;
                type->tiles[step / 4](&in);
            }
        }
        store_panel(t, p, m0, m1, tmp->c);
    }
    _tile_release();
}

void rf_lin_kern_init_amx(struct rf_lin_kern *k)
{
    k->name = "amx";
    for (size_t i = 0; i < RF_COUNT(amx_rows); i++) k->run[rf_lin_layout_index(rf_lin_layout_get(amx_rows[i].type))] = run_amx;
}
