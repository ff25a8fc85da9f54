/* gemm.c - products of many rows: how a call is cut into pieces that fit the scratch memory, and launched (kernels/gemm.gpu).
 *
 * The packed weights stay the only resident copy: a matrix, or as much of it as the scratch holds, is expanded to bf16 tiles, multiplied,
 * and forgotten. That costs about 4.6 bytes of traffic a weight (Q4_K) once per call, little beside the product from some hundred rows on.
 */
#include "backend/gpu/weights.h"
#include "base/mem.h"

enum { GEMM_PAD = 256 }; /* both sides' tiles come in pairs */
/* Up to so many rows (where no weights are expanded: twice as many) k is cut where pieces leave the chip idle; by what is the same for all numbers of rows up to
 * 256, and for those above, and the same way for the first 256 rows and the next. In steps of k (0.7 us on an H200): the fewest of a run, and what adding runs costs, and
 * what it costs more where they do not end with their pieces. */
enum { SPLIT_ROWS = 256, SPLIT_STEPS = 8, SUM_STEPS = 7, UNEVEN_STEPS = 16 };
#define W_SCRATCH ((uint64_t)64 << 20)
#define X_SCRATCH ((uint64_t)128 << 20)
#define PART_SCRATCH ((uint64_t)36 << 20) /* runs go as far as there are processors: this is more than they take */

/* A piece of a weight: rows from..from+n, column tiles of the product from `first` on. hi: where it is expanded to (lo: with what rounding leaves), 0: it lies ready. */
struct piece { uint32_t w, from, n, first; rf_dev hi, lo; };
/* Memory that takes so many tiles of expanded weights. */
struct room { rf_dev hi, lo; uint32_t tiles; };

static uint32_t pairs_of(uint32_t n) { return (n + GEMM_PAD - 1) / GEMM_PAD; }
static uint32_t tiles_of(uint32_t n) { return pairs_of(n) * 2; }
/* bf16 lies as the product wants it; with rests wanted it is expanded as the others are. */
static bool resident(const struct rf_gpu_weight *w, bool rest) { return w->type == RF_TYPE_BF16 && !rest; }

/* The kernel's own numbers, asked once. */
static rf_status shape_get(struct rf_gpu *g, struct rf_stream *s)
{
    struct gemm_shape *shape = &g->gemm.shape;
    if (shape->threads) return RF_OK;
    rf_dev p;
    RF_TRY(rf_gpu_alloc(g, sizeof *shape, "the shape of products", &p, NULL));
    rf_status st = rf_gpu_launch(g, s, RF_GPU_K_gemm_shape, 1, 1, 1, 32, &(struct gemm_shape_args){.out = p});
    int rc = st ? 0 : g->dev.api.download(shape, p, sizeof *shape, rf_gpu_stream(g, s));
    if (!st && !rc) rc = g->dev.api.stream_sync(rf_gpu_stream(g, s));
    if (!st) st = rf_gpu_slot(g, rc, "reading the shape of products");
    if (st) *shape = (struct gemm_shape){0};
    rf_gpu_free(g, p, sizeof *shape);
    return st;
}

rf_status rf_gpu_scratch_need(struct rf_gpu *g, struct rf_gpu_scratch *s, uint64_t bytes, const char *what)
{
    if (bytes <= s->bytes) return RF_OK;
    rf_gpu_scratch_release(g, s);
    RF_TRY(rf_gpu_alloc(g, bytes, what, &s->dev, NULL));
    s->bytes = bytes;
    return RF_OK;
}

void rf_gpu_scratch_release(struct rf_gpu *g, struct rf_gpu_scratch *s)
{
    rf_gpu_free(g, s->dev, s->bytes);
    *s = (struct rf_gpu_scratch){0};
}

/* Which roundings' rests are multiplied too: x's where the call is precise; w's where bf16 is coarser than the type and it matters. */
static void rests(const struct rf_matmul_args *a, bool *x, bool *w)
{
    *x = a->precise;
    *w = false;
    for (uint32_t i = 0; i < a->n_w; i++) {
        uint32_t type = rf_gpu_weight_of(a->w[i])->type;
        if (type == RF_TYPE_F32) *x = true;
        if (type == RF_TYPE_F32 || type == RF_TYPE_F16 || (a->precise && type != RF_TYPE_BF16)) *w = true;
    }
}

static rf_status expand(struct rf_gpu *g, struct rf_stream *s, const struct rf_gpu_weight *w, const struct piece *p, uint32_t k_tiles)
{
    struct gemm_w_args e = {.w = w->dev, .hi = p->hi, .lo = p->lo, .tile0 = p->from / 16, .chunks = w->n_chunk, .k_tiles = k_tiles};
    return rf_gpu_launch_early(g, s, RF_GPU_K_gemm_w_f32 + rf_gpu_weight_number(w), (k_tiles + 3) / 4,
                         (p->n + 15) / 16, 1, 256, 0, &e);
}

/* Who does what of a product of `pieces` pieces a group: gemm_args.h. clusters: of a group, at work at once. */
static void share_out(struct gemm_args *m, uint32_t pieces, uint32_t clusters)
{
    const uint32_t steps = m->k_tiles * m->terms, rest = pieces % clusters, times = rest ? RF_MIN(clusters / rest, steps / SPLIT_STEPS) : 0;
    m->whole = pieces;
    m->shares = 0;
    if (!rest || (uint64_t)rest * steps * clusters > UINT32_MAX) return; /* the kernel counts in 32 bits */
    const uint32_t all = RF_MIN(clusters, rest * steps / SPLIT_STEPS);
    uint32_t best = steps;
    if (times > 1 && (steps + times - 1) / times + SUM_STEPS < best) {
        best = (steps + times - 1) / times + SUM_STEPS;
        m->shares = rest * times;
    }
    if (all > rest && (rest * steps + all - 1) / all + SUM_STEPS + UNEVEN_STEPS < best) m->shares = all;
    if (m->shares) m->whole = pieces - rest;
}

/* Most rows for which k is cut: pieces of what is expanded must not go by rows. */
static uint32_t most_split(bool expands) { return expands ? SPLIT_ROWS : 2 * SPLIT_ROWS; }

/* One product of all pieces; x is in its tiles. */
static rf_status multiply(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t row0, const struct piece *p, uint32_t n_piece, struct gemm_args *m)
{
    const struct gemm_shape *shape = &g->gemm.shape;
    bool expands = false;
    m->n_w = n_piece;
    m->glu = a->glu ? 1 + (unsigned)a->glu->act : 0;
    for (uint32_t i = 0; i < a->n_w; i++) expands |= !resident(rf_gpu_weight_of(a->w[i]), m->w_terms);
    for (uint32_t i = 0; i < n_piece; i++) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[p[i].w]);
        m->w[i] = p[i].hi ? p[i].hi : w->dev + (uint64_t)(p[i].from / RF_GPU_GEMM_ROWS) * m->k_tiles * RF_GPU_GEMM_TILE;
        m->w_lo[i] = p[i].lo;
        if (p[i].hi) RF_TRY(expand(g, s, w, &p[i], m->k_tiles));
        m->out[i] = a->out[p[i].w] + ((uint64_t)row0 * a->out_stride[p[i].w] + p[i].from) * sizeof(float);
        m->bias[i] = a->bias[p[i].w] ? a->bias[p[i].w] + (uint64_t)p[i].from * sizeof(float) : 0;
        m->n[i] = p[i].n;
        m->stride[i] = a->out_stride[p[i].w];
        m->first[i] = p[i].first;
        m->col_tiles = p[i].first + tiles_of(p[i].n);
    }
    if (a->glu) { /* tiles of the two take turns; 64 columns of the result are a k tile of the next product */
        const uint64_t at = (uint64_t)row0 / RF_GPU_GEMM_ROWS * (a->glu->cols / RF_GPU_GEMM_K) + p->from / RF_GPU_GEMM_K;
        m->out[0] = a->glu->out + at * RF_GPU_GEMM_TILE;
        m->stride[0] = a->glu->cols;
        m->col_tiles = 2 * rf_gpu_row_tiles(p->n);
    }
    if (!shape->persistent) return rf_gpu_launch_early(g, s, RF_GPU_K_gemm, (uint64_t)m->row_tiles * m->col_tiles, 1, 1, shape->threads, shape->shared, m);
    const uint32_t pairs = (m->row_tiles + 1) / 2, col_pairs = m->col_tiles / 2;
    uint32_t clusters = RF_MAX(shape->processors / 2, 1u);
    if (a->rows <= most_split(expands)) { /* by the call's rows, not those of a slice */
        m->groups = pairs;
        clusters = RF_MAX(clusters / pairs_of(a->rows), 1u);
        share_out(m, col_pairs, clusters);
        clusters = pairs * (m->whole ? RF_MIN(clusters, RF_MAX(m->whole, m->shares)) : m->shares);
    } else {
        m->groups = 1;
        m->whole = pairs * col_pairs;
        m->shares = 0;
        clusters = RF_MIN(clusters, m->whole);
    }
    RF_TRY(rf_gpu_launch_early(g, s, RF_GPU_K_gemm, 2 * (uint64_t)clusters, 1, 1, shape->threads, shape->shared, m));
    const uint32_t slices = (RF_MIN(m->rows, (uint32_t)GEMM_PAD) + 63) / 64 * (32 / RF_GPU_SUM_QUADS);
    return m->shares ? rf_gpu_launch_early(g, s, RF_GPU_K_gemm_sum, slices, pairs * (col_pairs - m->whole), 1, 128, 0, m) : g->fault;
}

/* Parts of sums: two a cluster at most, and as many as runs and pieces allow. */
static uint64_t part_bytes(const struct gemm_shape *shape, uint32_t rows, uint64_t col_tiles, uint64_t steps, bool expands)
{
    if (!shape->persistent || rows > most_split(expands)) return 0;
    return RF_MIN((uint64_t)shape->processors, pairs_of(rows) * (col_tiles / 2) * (1 + steps / SPLIT_STEPS)) * RF_GPU_GEMM_PART;
}

uint32_t rf_gpu_gemm_share(const struct gemm_shape *shape, uint32_t rows, uint32_t left, uint32_t room)
{
    const uint64_t pairs = pairs_of(rows), chip = shape->processors / 2; /* blocks work in pairs, on 256 x 256 results at a time */
    uint32_t best = RF_MIN(left, room);
    uint64_t best_work = 0, best_turns = 1;
    if (left <= room || !shape->persistent || rows <= SPLIT_ROWS || !chip) return best; /* splits go by pieces, and must not go by rows */
    for (uint32_t t = room; t > room / 2; t -= 2) {
        const uint64_t work = pairs * (t / 2), turns = (work + chip - 1) / chip;
        if (work * best_turns <= best_work * turns) continue;
        best = t;
        best_work = work;
        best_turns = turns;
    }
    return best;
}

/* Gate and up by columns: as many of both as have room. */
static rf_status glu_run(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t row0, uint32_t left, const struct room room[2], struct gemm_args *m)
{
    const bool whole[2] = {resident(rf_gpu_weight_of(a->w[0]), room[0].lo), resident(rf_gpu_weight_of(a->w[1]), room[0].lo)};
    const uint32_t n = (uint32_t)rf_gpu_weight_of(a->w[0])->rows, expanded = !whole[0] + !whole[1], r0 = room[0].tiles, r1 = room[1].tiles, each = RF_MIN(r0, r1);
    const uint32_t most = expanded == 0 ? rf_gpu_row_tiles(n) : expanded == 1 ? RF_MAX(r0, r1) : RF_MAX(each, RF_MAX(r0, r1) / 2);
    const struct room *large = &room[r1 > r0];
    for (uint32_t from = 0, take; from < n; from += take) {
        uint32_t tiles = RF_MIN(most, rf_gpu_row_tiles(n - from)), used = 0;
        if (expanded) tiles = RF_MAX(RF_MIN(tiles, rf_gpu_gemm_share(&g->gemm.shape, m->rows, left, expanded * most) / expanded), 1u);
        take = RF_MIN(n - from, tiles * RF_GPU_GEMM_ROWS);
        struct piece p[2];
        for (uint32_t i = 0; i < 2; i++) {
            p[i] = (struct piece){.w = i, .from = from, .n = take};
            if (whole[i]) continue;
            const struct room *r = used && most == each ? &room[large == room] : large;
            const uint64_t at = r == large ? used : 0;
            p[i].hi = r->hi + at * m->k_tiles * RF_GPU_GEMM_TILE;
            p[i].lo = r->lo ? r->lo + at * m->k_tiles * RF_GPU_GEMM_TILE : 0;
            used += tiles;
        }
        RF_TRY(multiply(g, s, a, row0, p, 2, m));
        left -= RF_MIN(left, used);
    }
    return g->fault;
}

/* `rows` rows of x from row0 on times all weights, in as few products as room and the chip make worth it. made: x is in its tiles. */
static rf_status rows_run(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t row0, uint32_t rows, uint32_t left, const struct room room[2],
                          bool made, struct gemm_args *m)
{
    const uint32_t cols = (uint32_t)rf_gpu_weight_of(a->w[0])->cols, all = room[0].tiles + room[1].tiles;
    const uint64_t tile_row = (uint64_t)m->k_tiles * RF_GPU_GEMM_TILE;
    struct gemm_x_args x = {.x = a->x + (uint64_t)row0 * cols * sizeof(float), .hi = m->x, .lo = m->x_lo, .rows = rows, .cols = cols,
                            .k_tiles = m->k_tiles, .tile_rows = RF_GPU_GEMM_ROWS};
    if (!made) RF_TRY(rf_gpu_launch_early(g, s, RF_GPU_K_gemm_x, (m->k_tiles * 8 + 127) / 128, RF_MIN(rf_gpu_row_tiles(rows) * RF_GPU_GEMM_ROWS, 32768u), 1, 128, 0, &x));
    m->rows = rows;
    m->row_tiles = rf_gpu_row_tiles(rows);
    if (a->glu) return glu_run(g, s, a, row0, left, room, m);
    struct piece p[RF_GPU_GEMM_W];
    uint32_t n = 0, used = 0, filled = 0, most = rf_gpu_gemm_share(&g->gemm.shape, rows, left, all); /* tiles of the product, and those of them that need room */
    for (uint32_t i = 0; i < a->n_w; i++) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[i]);
        const bool whole = resident(w, room[0].lo);
        for (uint32_t from = 0, take; from < w->rows; from += take) {
            if (n == RF_GPU_GEMM_W || (!whole && filled >= most)) {
                RF_TRY(multiply(g, s, a, row0, p, n, m));
                left -= filled;
                n = used = filled = 0;
                most = rf_gpu_gemm_share(&g->gemm.shape, rows, left, all);
            }
            take = (uint32_t)w->rows - from;
            p[n] = (struct piece){.w = i, .from = from, .first = used};
            if (!whole) {
                const struct room *r = &room[filled >= room[0].tiles];
                const uint32_t at = r == room ? filled : filled - room[0].tiles;
                take = RF_MIN(take, RF_MIN(most - filled, r->tiles - at) * RF_GPU_GEMM_ROWS);
                p[n].hi = r->hi + at * tile_row;
                p[n].lo = r->lo ? r->lo + at * tile_row : 0;
                filled += tiles_of(take);
            }
            used += tiles_of(take);
            p[n++].n = take;
        }
    }
    return n ? multiply(g, s, a, row0, p, n, m) : g->fault;
}

/* ---- memory of a call ---- */

/* tile_row: bytes of 128 rows of either side. */
static uint64_t w_most(const struct rf_gpu *g, uint64_t tile_row) { return RF_MAX(g->gemm.w_most ? g->gemm.w_most : W_SCRATCH, 4 * tile_row); }

/* Bytes of rounded activations, `terms` sets of tiles; *step: rows that they hold at a time. */
static uint64_t x_bytes(uint32_t rows, uint64_t tile_row, uint32_t terms, uint32_t *step)
{
    *step = (uint32_t)(X_SCRATCH / terms / tile_row) * RF_GPU_GEMM_ROWS & ~(GEMM_PAD - 1u);
    *step = RF_MIN(RF_MAX(*step, (uint32_t)GEMM_PAD), tiles_of(rows) * RF_GPU_GEMM_ROWS);
    return *step / RF_GPU_GEMM_ROWS * tile_row * terms;
}

static struct room room_of(rf_dev at, uint64_t bytes, uint64_t tile_row, bool w_rest)
{
    const uint64_t tiles = bytes / (w_rest ? 2 : 1) / tile_row & ~1ull;
    return (struct room){.hi = at, .lo = w_rest ? at + tiles * tile_row : 0, .tiles = (uint32_t)tiles};
}

/* The product alone, and what glu says where a->glu is left. */
static rf_status product(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, bool x_rest, bool w_rest)
{
    const uint32_t cols = (uint32_t)rf_gpu_weight_of(a->w[0])->cols, k_tiles = (uint32_t)rf_gpu_k_tiles(cols);
    const uint64_t tile_row = (uint64_t)k_tiles * RF_GPU_GEMM_TILE; /* bytes of 128 rows */
    const rf_dev made = rf_gpu_act_tiles_of(g, a->x, a->rows, cols);
    uint64_t tiles = 0, all = 0; /* of 128 columns: that are expanded, and of all weights */
    uint32_t step;
    if (made && x_rest) return RF_INTERNAL; /* the floats are gone */
    for (uint32_t i = 0; i < a->n_w; i++) {
        if (rf_gpu_weight_of(a->w[i])->cols != cols) return RF_INTERNAL;
        const uint32_t n = tiles_of((uint32_t)rf_gpu_weight_of(a->w[i])->rows);
        all += n;
        tiles += resident(rf_gpu_weight_of(a->w[i]), w_rest) ? 0 : n;
    }
    /* Spare memory takes x if it can, and then weights: not where splits go by pieces, since how much is left goes by rows. */
    const uint64_t x_need = x_bytes(a->rows, tile_row, x_rest ? 2 : 1, &step), x_all = made ? 0 : x_need;
    const uint64_t part = part_bytes(&g->gemm.shape, a->rows, all, (uint64_t)k_tiles * (1u + x_rest + w_rest), tiles);
    const uint64_t w_all = RF_MIN(tiles * tile_row * (w_rest ? 2 : 1), w_most(g, tile_row)), aside = x_all <= a->spare_bytes ? x_all : 0;
    RF_TRY(rf_gpu_scratch_need(g, &g->work, x_all - aside + part + w_all, "expanded weights and rounded activations"));
    const rf_dev work = g->work.dev, x = made ? made : aside ? a->spare : work;
    struct room room[2] = {room_of(work + x_all - aside + part, w_all, tile_row, w_rest)};
    if (a->spare_bytes > aside && (aside || made) && a->rows > SPLIT_ROWS) room[1] = room_of(a->spare + aside, a->spare_bytes - aside, tile_row, w_rest);
    struct gemm_args m = {.x = x, .x_lo = x_rest ? x + x_all / 2 : 0, .part = work + x_all - aside, .k_tiles = k_tiles, .terms = 1u + x_rest + w_rest,
                          .x_terms = x_rest ? 2 : 0, .w_terms = w_rest ? x_rest ? 4 : 2 : 0};
    if (made) step = a->rows;
    for (uint32_t row = 0; row < a->rows; row += step) RF_TRY(rows_run(g, s, a, row, RF_MIN(step, a->rows - row), (uint32_t)tiles, room, made, &m));
    struct act_args none;
    if (a->glu) rf_gpu_act_tiles_make(g, a->glu->out, a->rows, a->glu->cols, &none);
    return g->fault;
}

/* Whether a norm's y may be tiles alone, and a glu's out. */
static bool norm_takes(const struct rf_gpu *g, const struct rf_rmsnorm_args *n)
{
    return rf_gpu_act_tiles_room(g, n->rows, n->cols) && n->cols % 4 == 0 && n->cols <= RF_GPU_NORM_ROW && n->y_stride == n->cols && n->y != n->x && n->y != n->residual &&
           n->y != n->sum;
}
static bool glu_takes(const struct rf_gpu *g, const struct rf_matmul_args *a)
{
    const uint64_t n = rf_gpu_weight_of(a->w[0])->rows;
    return rf_gpu_act_tiles_room(g, a->rows, a->glu->cols) && !g->act.f32 && a->n_w == 2 && n == a->glu->cols && n == rf_gpu_weight_of(a->w[1])->rows && n % RF_GPU_GEMM_K == 0 &&
           a->glu->out != a->x && a->glu->act <= RF_ACT_GELU_TANH && !a->bias[0] && !a->bias[1];
}

rf_status rf_gpu_gemm(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a)
{
    struct rf_matmul_args p = *a;
    bool x_rest, w_rest;
    RF_TRY(shape_get(g, s));
    rests(a, &x_rest, &w_rest);
    for (uint32_t i = 0; i < a->n_w; i++) rf_gpu_act_drop(g, a->out[i]);
    if (rf_gpu_gemm_stream_takes(g, a)) return rf_gpu_gemm_stream(g, s, a);
    if (rf_gpu_gemm_few_takes(g, a)) return rf_gpu_gemm_few(g, s, a, x_rest, w_rest);
    if (a->norm) RF_TRY(rf_gpu_rmsnorm(g, s, a->norm, !x_rest && norm_takes(g, a->norm)));
    if (a->glu && (x_rest || !glu_takes(g, a))) p.glu = NULL;
    RF_TRY(product(g, s, &p, x_rest, w_rest));
    return a->glu && !p.glu ? rf_gpu_glu(g, s, a->glu) : g->fault;
}

uint64_t rf_gpu_gemm_scratch(const struct rf_gpu *g, const struct rf_scratch_desc *d)
{
    const uint64_t tile_row = rf_gpu_k_tiles(d->cols) * RF_GPU_GEMM_TILE, bare_row = rf_gpu_k_tiles(d->bare_cols) * RF_GPU_GEMM_TILE, widest = tiles_of(d->widest);
    const uint32_t terms = d->precise ? 2 : 1, split_rows = RF_MIN(d->rows, (uint32_t)SPLIT_ROWS);
    uint32_t step;
    uint64_t x = x_bytes(d->rows, tile_row, terms, &step), x_split = x_bytes(split_rows, tile_row, terms, &step);
    if (x <= d->spare) x = x_bytes(d->rows, bare_row, terms, &step);
    if (x_split <= d->spare) x_split = x_bytes(split_rows, bare_row, terms, &step);
    const uint64_t part = RF_MIN(PART_SCRATCH, pairs_of(d->rows) * widest / 2 * (1 + rf_gpu_k_tiles(d->cols) * (d->precise ? 3 : 1) / SPLIT_STEPS) * RF_GPU_GEMM_PART);
    return RF_MIN(w_most(g, tile_row), 2 * widest * tile_row) + RF_MAX(x, x_split + part);
}
