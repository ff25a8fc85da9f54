/* gemm_few.c - products of 9 to 64 rows straight from packed weights (kernels/gemm_few.gpu): what fits, how k is cut, launches. */
#include <string.h>

#include "backend/gpu/weights.h"
#include "base/mem.h"

enum { MOST_SPLITS = 8, STEPS_A_SPLIT = 2, PROCESSORS = 96 /* where the device does not say */ };
enum { BLOCKS = 3, BLOCKS_MMA = 2 }; /* of a processor */

/* By number of type (kernels/args.h): values and bytes of a stage of one row tile: a chunk, or two of 64 values. */
static const struct { uint32_t values, bytes, chunks; } stages[] = {
#define X(t, values, bytes) {(values) < 128 ? 128 : (values), (values) < 128 ? 2 * (bytes) : (bytes), (values) < 128 ? 2 : 1},
    RF_GPU_TYPES(X)
#undef X
};

/* Goes the way of kernels/gemm_few_mma.h. */
static bool is_mma(const struct rf_gpu *g, uint32_t type) { return g->has_mma && type != RF_TYPE_BF16 && rf_gpu_is_matrix_type(type); }
static bool turns(const struct rf_gpu *g) { return g->dev.vendor->operands_shared; }
static uint32_t warps_of(const struct rf_gpu *g) { return 256 / g->warp; }

static uint32_t shared_of(const struct rf_gpu *g, uint32_t type, uint32_t pad_rows, bool x_rest, bool w_rest)
{
    uint32_t stage = warps_of(g) * stages[type].bytes + stages[type].values * 2 * pad_rows * (x_rest ? 2 : 1);
    return turns(g) ? stage + warps_of(g) * (w_rest ? 4096 : 2048) : stage;
}
static uint32_t pad_of(uint32_t rows) { return (rows + 15) / 16 * 16; }

/* The same for the types of is_mma, with room for the most rows: a chunk's values of x, 16 bits each, and sums of their blocks. */
static uint32_t stage_mma(uint32_t type, bool x_rest) { return RF_GPU_FEW_MOST * (stages[type].values * 2 * (x_rest ? 2 : 1) + 32); }

bool rf_gpu_gemm_few_takes(const struct rf_gpu *g, const struct rf_matmul_args *a)
{
    if (a->rows > RF_GPU_FEW_MOST) return false;
    for (uint32_t i = 0; i < a->n_w; i++) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[i]);
        const uint32_t type = rf_gpu_weight_number(w);
        if (g->gemm.shape.persistent && w->type == RF_TYPE_BF16) return false; /* the large product is faster */
        const uint32_t shared = is_mma(g, w->type) ? 2 * stage_mma(type, a->precise) : shared_of(g, type, RF_GPU_FEW_MOST, a->precise, true);
        if (!type || shared > g->dev.shared_max) return false;
    }
    return true;
}

/* Weights from `first` on that one launch takes: of one type. */
static uint32_t run_of(const struct rf_matmul_args *a, uint32_t first)
{
    uint32_t n = 1;
    while (first + n < a->n_w && n < RF_GPU_GEMM_W && rf_gpu_weight_of(a->w[first + n])->type == rf_gpu_weight_of(a->w[first])->type) n++;
    return n;
}

/* Row tiles of a launch, blocks across them, and into how many k is cut: by weights alone, nothing here depends on rows. */
struct cut { uint32_t tiles, groups, splits; };
static struct cut cut_of(const struct rf_gpu *g, const struct rf_matmul_args *a, uint32_t first, uint32_t n)
{
    const struct rf_gpu_weight *w0 = rf_gpu_weight_of(a->w[first]);
    const uint32_t type = rf_gpu_weight_number(w0), steps = (w0->n_chunk + stages[type].chunks - 1) / stages[type].chunks;
    const bool mma = is_mma(g, w0->type);
    const uint32_t warps = mma ? 8 : warps_of(g), chip = g->gemm.shape.processors ? g->gemm.shape.processors : PROCESSORS;
    struct cut c = {0};
    for (uint32_t i = 0; i < n; i++) c.tiles += (uint32_t)((rf_gpu_weight_of(a->w[first + i])->rows + 15) / 16);
    c.groups = (c.tiles + warps - 1) / warps;
    const uint32_t blocks = mma ? BLOCKS_MMA * chip : BLOCKS * chip + c.groups / 2; /* mma: all at once, never a few more */
    c.splits = RF_MAX(RF_MIN(RF_MIN(blocks / c.groups, steps / STEPS_A_SPLIT), (uint32_t)MOST_SPLITS), 1u);
    return c;
}

/* Weights first..first + n of one type. */
static rf_status product(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t first, uint32_t n, struct gemm_few_args *p)
{
    const struct rf_gpu_weight *w0 = rf_gpu_weight_of(a->w[first]);
    const uint32_t type = rf_gpu_weight_number(w0);
    const struct cut c = cut_of(g, a, first, n);
    uint32_t tiles = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[first + i]);
        tiles += (uint32_t)((w->rows + 15) / 16);
        p->w[i] = w->dev;
        p->bias[i] = a->bias[first + i];
        p->out[i] = a->out[first + i];
        p->n[i] = (uint32_t)w->rows;
        p->stride[i] = a->out_stride[first + i];
        p->end[i] = tiles;
    }
    p->n_w = n;
    p->n_chunk = w0->n_chunk;
    p->splits = c.splits;
    uint32_t shared = shared_of(g, type, p->pad_rows, p->x_lo, p->w_rest);
    if (is_mma(g, w0->type)) {
        const uint32_t stage = stage_mma(type, p->x_lo);
        p->stages = 3 * stage <= g->dev.shared_max ? 3 : 2;
        shared = p->stages * stage;
    }
    RF_TRY(rf_gpu_launch_early(g, s, (enum rf_gpu_kernel)(RF_GPU_K_gemm_few_f16 + type - 1), c.groups, 1, p->splits, 256, shared, p));
    return p->splits > 1 ? rf_gpu_launch_early(g, s, RF_GPU_K_gemm_few_sum, (tiles * 16 + 127) / 128, p->rows, 1, 128, 0, p) : g->fault;
}

static uint32_t stage_tiles(const struct rf_matmul_args *a) { return ((uint32_t)rf_gpu_weight_of(a->w[0])->cols + 255) / 256 * 4; } /* whole stages */

/* Room for x in tiles, where some weights want it so, and behind it for sums of splits: *part is where. */
static rf_status room_make(struct rf_gpu *g, const struct rf_matmul_args *a, bool x_rest, rf_dev *part)
{
    uint64_t x = 0, parts = 0;
    for (uint32_t i = 0, n; i < a->n_w; i += n) {
        n = run_of(a, i);
        const struct cut c = cut_of(g, a, i, n);
        if (c.splits > 1) parts = RF_MAX(parts, (uint64_t)c.splits * RF_GPU_FEW_MOST * c.tiles * 16 * sizeof(float));
        if (!is_mma(g, rf_gpu_weight_of(a->w[i])->type)) x = (uint64_t)stage_tiles(a) * 128 * RF_GPU_FEW_MOST * (x_rest ? 2 : 1);
    }
    RF_TRY(rf_gpu_scratch_need(g, &g->work, x + parts, "rounded activations and sums of splits"));
    *part = g->work.dev + x;
    return RF_OK;
}

/* x in tiles of `pad` rows, its values in the order of the weights. */
static rf_status tiles_make(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, enum gemm_order order, bool rest, struct gemm_few_args *p)
{
    const uint32_t cols = (uint32_t)rf_gpu_weight_of(a->w[0])->cols, k_tiles = stage_tiles(a);
    p->x = g->work.dev;
    p->x_lo = rest ? p->x + (uint64_t)k_tiles * 128 * p->pad_rows : 0;
    struct gemm_x_args x = {.x = a->x, .hi = p->x, .lo = p->x_lo, .rows = a->rows, .cols = cols, .k_tiles = k_tiles, .tile_rows = p->pad_rows, .order = order};
    return rf_gpu_launch_early(g, s, RF_GPU_K_gemm_x, (k_tiles * 8 + 127) / 128, p->pad_rows, 1, 128, 0, &x);
}

rf_status rf_gpu_gemm_few(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, bool x_rest, bool w_rest)
{
    struct gemm_few_args tiles = {.rows = a->rows, .pad_rows = pad_of(a->rows)}; /* with x in tiles, once it is made, in the order `made` */
    enum gemm_order made = RF_GPU_ORDER_PLAIN;
    rf_dev part;
    RF_TRY(room_make(g, a, x_rest, &part));
    for (uint32_t i = 0, n; i < a->n_w; i += n) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[i]);
        const enum gemm_order order = turns(g) ? RF_GPU_ORDER_PLAIN : w->type == RF_TYPE_BF16 ? RF_GPU_ORDER_BF16 : RF_GPU_ORDER_OCTETS;
        struct gemm_few_args p = {.rows = a->rows, .pad_rows = pad_of(a->rows)};
        n = run_of(a, i);
        if (is_mma(g, w->type)) {
            RF_TRY(rf_gpu_act_get(g, s, a->x, a->rows, (uint32_t)w->cols, &p.act));
            p.x_lo = x_rest;
        } else {
            if (!tiles.x || order != made) RF_TRY(tiles_make(g, s, a, order, x_rest, &tiles));
            made = order;
            p = tiles;
            p.w_rest = w_rest && w->type != RF_TYPE_BF16;
        }
        p.part = part;
        RF_TRY(product(g, s, a, i, n, &p));
    }
    return g->fault;
}
