/* gemm.c - products of many rows: how a call is cut into slices that fit the scratch memory, and launched (kernels/gemm.gpu).
 *
 * The packed weights stay the only resident copy: a matrix, or as much of it as the scratch holds, is expanded to bf16 tiles, multiplied,
 * and forgotten. That costs about 4.6 bytes of traffic a weight (Q4_K) once per call, little beside the product from some hundred rows on.
 */
#include "backend/gpu/weights.h"
#include "base/mem.h"

enum { GEMM_PAD = 256 }; /* both sides' tiles come in pairs */
/* Up to so many rows k is cut where column tiles leave the chip idle; by what is the same for all numbers of rows. */
enum { SPLIT_ROWS = 256, SPLIT_STEPS = 8, MOST_SPLITS = 8 };
#define W_SCRATCH ((uint64_t)128 << 20)
#define X_SCRATCH ((uint64_t)128 << 20)
#define PART_SCRATCH ((uint64_t)32 << 20) /* splits go as far as there are processors: this is more than they take */

/* A piece of a weight: rows from..from+n, column tiles of the product from `first` on, expanded to scratch tiles from `at` on. */
struct piece { uint32_t w, from, n, first, at; };

static uint32_t tiles_of(uint32_t n) { return (n + GEMM_PAD - 1) / GEMM_PAD * 2; }
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

static rf_status expand(struct rf_gpu *g, struct rf_stream *s, const struct rf_gpu_weight *w, const struct piece *p, uint32_t k_tiles, rf_dev hi, rf_dev lo)
{
    struct gemm_w_args e = {.w = w->dev, .hi = hi, .lo = lo, .tile0 = p->from / 16, .chunks = w->n_chunk, .k_tiles = k_tiles};
    return rf_gpu_launch(g, s, RF_GPU_K_gemm_w_f32 + rf_gpu_weight_number(w), (k_tiles + 3) / 4,
                         (p->n + 15) / 16, 1, 256, &e);
}

/* One product of all pieces; x is in its tiles. */
static rf_status multiply(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t row0, const struct piece *p, uint32_t n_piece,
                          rf_dev w_lo, struct gemm_args *m)
{
    const uint32_t whole_rows = a->rows; /* not those of a slice: the number of splits goes with the call */
    const struct gemm_shape *shape = &g->gemm.shape;
    m->n_w = n_piece;
    for (uint32_t i = 0; i < n_piece; i++) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[p[i].w]);
        uint64_t at = (uint64_t)p[i].at * m->k_tiles * RF_GPU_GEMM_TILE;
        m->w[i] = g->gemm.w.dev + at;
        m->w_lo[i] = w_lo ? w_lo + at : 0;
        if (resident(w, w_lo)) m->w[i] = w->dev;
        else RF_TRY(expand(g, s, w, &p[i], m->k_tiles, m->w[i], m->w_lo[i]));
        m->out[i] = a->out[p[i].w] + ((uint64_t)row0 * a->out_stride[p[i].w] + p[i].from) * sizeof(float);
        m->bias[i] = a->bias[p[i].w] ? a->bias[p[i].w] + (uint64_t)p[i].from * sizeof(float) : 0;
        m->n[i] = p[i].n;
        m->stride[i] = a->out_stride[p[i].w];
        m->first[i] = p[i].first;
        m->col_tiles = p[i].first + tiles_of(p[i].n);
    }
    uint64_t blocks = (uint64_t)m->row_tiles * m->col_tiles;
    m->splits = 1;
    if (shape->persistent) {
        if (whole_rows <= SPLIT_ROWS) m->splits = RF_MAX(RF_MIN(RF_MIN(shape->processors / m->col_tiles, m->k_tiles * m->terms / SPLIT_STEPS), (uint32_t)MOST_SPLITS), 1u);
        blocks = RF_MIN((m->row_tiles + 1) / 2 * (uint64_t)m->col_tiles * m->splits, (uint64_t)(shape->processors & ~1u));
    }
    if (m->splits > 1)
        RF_TRY(rf_gpu_scratch_need(g, &g->gemm.part, (uint64_t)m->splits * SPLIT_ROWS * m->col_tiles * RF_GPU_GEMM_ROWS * sizeof(float), "sums of splits"));
    m->part = g->gemm.part.dev;
    RF_TRY(rf_gpu_launch_shared(g, s, RF_GPU_K_gemm, blocks, 1, 1, shape->threads, shape->shared, m));
    return m->splits > 1 ? rf_gpu_launch(g, s, RF_GPU_K_gemm_sum, m->col_tiles, m->rows, 1, RF_GPU_GEMM_ROWS, m) : g->fault;
}

/* `rows` rows of x from row0 on times all weights, in as few products as the scratch allows. */
static rf_status rows_run(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t row0, uint32_t rows, rf_dev w_lo, struct gemm_args *m)
{
    const uint32_t cols = (uint32_t)rf_gpu_weight_of(a->w[0])->cols;
    const uint32_t room = (uint32_t)(g->gemm.w.bytes / (w_lo ? 2 : 1) / ((uint64_t)m->k_tiles * RF_GPU_GEMM_TILE)) & ~1u; /* in tiles */
    struct gemm_x_args x = {.x = a->x + (uint64_t)row0 * cols * sizeof(float), .hi = m->x, .lo = m->x_lo, .rows = rows, .cols = cols,
                            .k_tiles = m->k_tiles, .tile_rows = RF_GPU_GEMM_ROWS};
    RF_TRY(rf_gpu_launch(g, s, RF_GPU_K_gemm_x, (m->k_tiles * 8 + 127) / 128, RF_MIN(tiles_of(rows) * RF_GPU_GEMM_ROWS, 32768u), 1, 128, &x));
    m->rows = rows;
    m->row_tiles = (rows + RF_GPU_GEMM_ROWS - 1) / RF_GPU_GEMM_ROWS;
    struct piece p[RF_GPU_GEMM_W];
    uint32_t n = 0, used = 0, scratch = 0; /* tiles of the product, and those of them that need scratch */
    for (uint32_t i = 0; i < a->n_w; i++) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[i]);
        const bool whole = resident(w, w_lo);
        for (uint32_t from = 0, take; from < w->rows; from += take) {
            if (n == RF_GPU_GEMM_W || (!whole && scratch >= room)) {
                RF_TRY(multiply(g, s, a, row0, p, n, w_lo, m));
                n = used = scratch = 0;
            }
            take = (uint32_t)w->rows - from;
            if (!whole) take = RF_MIN(take, (room - scratch) * RF_GPU_GEMM_ROWS);
            p[n++] = (struct piece){i, from, take, used, scratch};
            used += tiles_of(take);
            scratch += whole ? 0 : tiles_of(take);
        }
    }
    return n ? multiply(g, s, a, row0, p, n, w_lo, m) : g->fault;
}

rf_status rf_gpu_gemm(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a)
{
    bool x_rest, w_rest;
    const uint32_t k_tiles = (uint32_t)((rf_gpu_weight_of(a->w[0])->cols + RF_GPU_GEMM_K - 1) / RF_GPU_GEMM_K);
    const uint64_t tile_row = (uint64_t)k_tiles * RF_GPU_GEMM_TILE; /* bytes of 128 rows */
    uint64_t tiles = 0;
    RF_TRY(shape_get(g, s));
    rests(a, &x_rest, &w_rest);
    if (rf_gpu_gemm_few_takes(g, a)) return rf_gpu_gemm_few(g, s, a, x_rest, w_rest);
    for (uint32_t i = 0; i < a->n_w; i++) {
        if (rf_gpu_weight_of(a->w[i])->cols != rf_gpu_weight_of(a->w[0])->cols) return RF_INTERNAL;
        if (!resident(rf_gpu_weight_of(a->w[i]), w_rest)) tiles += tiles_of((uint32_t)rf_gpu_weight_of(a->w[i])->rows);
    }
    uint32_t step = (uint32_t)(X_SCRATCH / (x_rest ? 2 : 1) / tile_row) * RF_GPU_GEMM_ROWS & ~(GEMM_PAD - 1u);
    step = RF_MIN(RF_MAX(step, (uint32_t)GEMM_PAD), tiles_of(a->rows) * RF_GPU_GEMM_ROWS);
    const uint64_t x_plane = step / RF_GPU_GEMM_ROWS * tile_row, w_bytes = RF_MIN(tiles * tile_row * (w_rest ? 2 : 1), RF_MAX(W_SCRATCH, 4 * tile_row));
    RF_TRY(rf_gpu_scratch_need(g, &g->gemm.w, w_bytes, "expanded weights"));
    RF_TRY(rf_gpu_scratch_need(g, &g->gemm.x, x_plane * (x_rest ? 2 : 1), "rounded activations"));
    const rf_dev w_lo = w_rest ? g->gemm.w.dev + g->gemm.w.bytes / 2 / tile_row * tile_row : 0;
    struct gemm_args m = {.x = g->gemm.x.dev, .x_lo = x_rest ? g->gemm.x.dev + x_plane : 0, .k_tiles = k_tiles, .terms = 1u + x_rest + w_rest,
                          .x_terms = x_rest ? 2 : 0, .w_terms = w_rest ? x_rest ? 4 : 2 : 0};
    for (uint32_t row = 0; row < a->rows; row += step) RF_TRY(rows_run(g, s, a, row, RF_MIN(step, a->rows - row), w_lo, &m));
    return g->fault;
}

uint64_t rf_gpu_gemm_scratch(const struct rf_scratch_desc *d)
{
    const uint64_t cols = ((uint64_t)d->cols + RF_GPU_GEMM_K - 1) / RF_GPU_GEMM_K * RF_GPU_GEMM_K, terms = 2 * sizeof(uint16_t);
    const uint64_t widest = (uint64_t)tiles_of(d->widest) * RF_GPU_GEMM_ROWS, rows = (uint64_t)tiles_of(d->rows) * RF_GPU_GEMM_ROWS;
    return RF_MIN(W_SCRATCH, widest * cols * terms) + RF_MIN(X_SCRATCH, rows * cols * (d->precise ? terms : terms / 2)) +
           RF_MIN(PART_SCRATCH, MOST_SPLITS * SPLIT_ROWS * widest * sizeof(float));
}
