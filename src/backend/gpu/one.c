/* one.c - products of one row on the matrix unit: what fits, how tiles are shared out over the chip, and what goes along (kernels/matmul_one.h). */
#include "backend/gpu/weights.h"
#include "base/mem.h"

/* Tiles of a share at most, so that their sums fit beside x; processors where the driver does not say. */
enum { MOST_TILES = 40, PROCESSORS = 132 };

static uint32_t blocks_of(const struct rf_gpu_weight *w) { return ((uint32_t)w->cols + 255) / 256 * 8; }
static uint32_t tiles_of(const struct rf_gpu_weight *w) { return (uint32_t)((w->rows + 15) / 16); }
/* The form of x, a float a warp, where bf16 changes places, sums. */
static uint32_t shared_of(const struct rf_gpu_weight *w, uint32_t tiles)
{
    const uint32_t turn = w->type == RF_TYPE_BF16 ? RF_GPU_ONE_THREADS / 32 * 2048 : 0; /* matmul_mma.h */
    return blocks_of(w) * 132 + 16 * (uint32_t)sizeof(float) + turn + RF_GPU_ONE_HALVES * tiles * RF_GPU_MM_GROUPS * 16 * (uint32_t)sizeof(float);
}

/* Weights first .. first + n_w - 1 of two types that a kernel takes together: the last one's is another. */
static bool is_pair(const struct rf_matmul_args *a, uint32_t first, uint32_t n_w)
{
    for (uint32_t i = 0; i < n_w; i++)
        if (rf_gpu_weight_of(a->w[first + i])->type != (i + 1 == n_w ? RF_TYPE_Q6_K : RF_TYPE_Q4_K)) return false;
    return n_w > 1;
}

/* Shares of tiles, or of pairs of gate and up: as many as the chip takes at once. Those of a last weight of another type are its own. */
static void share_out(const struct rf_gpu *g, const struct rf_matmul_args *a, uint32_t first, uint32_t n_w, struct matmul_args *p)
{
    const uint32_t chip = g->dev.processors ? g->dev.processors : PROCESSORS, most = RF_GPU_ONE_HALVES * MOST_TILES / (a->glu ? 2 : 1);
    uint32_t all = 0, other = is_pair(a, first, n_w) ? tiles_of(rf_gpu_weight_of(a->w[first + n_w - 1])) : 0;
    for (uint32_t i = 0; i < (a->glu ? 1 : n_w); i++) all += tiles_of(rf_gpu_weight_of(a->w[first + i]));
    p->blocks = RF_MAX(RF_MIN(chip, all), (all + most - 1) / most);
    const uint32_t shares = RF_GPU_ONE_HALVES * p->blocks, own = RF_MIN(other, shares / 2);
    p->split = shares - own;
    p->first2 = all - other;
    p->tiles = p->first2 / p->split;
    p->extra = p->first2 % p->split;
    p->tiles2 = own ? other / own : 0;
    p->extra2 = own ? other % own : 0;
    p->most = RF_MAX(p->tiles + (p->extra > 0), p->tiles2 + (p->extra2 > 0)) * (a->glu ? 2 : 1);
}

bool rf_gpu_one_fits(const struct rf_gpu *g, const struct rf_matmul_args *a, uint32_t first, uint32_t n_w)
{
    const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[first]);
    if (a->rows != 1 || !g->has_mma || !rf_gpu_is_matrix_type(w->type)) return false;
    struct matmul_args p;
    share_out(g, a, first, n_w, &p);
    return shared_of(w, p.most) <= g->dev.shared_max;
}

bool rf_gpu_one_takes(const struct rf_gpu *g, const struct rf_matmul_args *a)
{
    if (!rf_gpu_one_fits(g, a, 0, a->n_w) || (a->norm && (a->norm->residual || a->norm->cols > RF_GPU_NORM_ROW)) || (a->add && a->n_w != 1)) return false;
    if (a->glu && (a->n_w != 2 || rf_gpu_weight_of(a->w[0])->rows != rf_gpu_weight_of(a->w[1])->rows)) return false;
    return rf_gpu_same_type(a, 0) == a->n_w || (!a->glu && is_pair(a, 0, a->n_w));
}

rf_status rf_gpu_one(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t first, uint32_t n_w)
{
    const struct rf_gpu_weight *w0 = rf_gpu_weight_of(a->w[first]);
    struct matmul_args p = {.x = a->norm ? a->norm->x : a->x, .n_w = n_w, .n_chunk = w0->n_chunk, .cols = (unsigned)w0->cols, .m = 1};
    uint32_t all = 0;
    p.act = (struct act_args){.blocks = blocks_of(w0), .factor = a->norm ? RF_GPU_FACTOR_NORM : rf_gpu_act_factor(g, a->x, 1, p.cols)};
    if (a->norm) {
        p.norm = a->norm->w;
        p.norm_threads = rf_gpu_norm_threads(p.cols);
        p.eps = a->norm->eps;
    }
    for (uint32_t i = 0; i < n_w; i++) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[first + i]);
        if (w->cols != w0->cols) return RF_INTERNAL;
        all += tiles_of(w);
        p.w[i] = (struct matmul_weight){.w = w->dev, .bias = a->bias[first + i], .out = a->add ? a->add : a->out[first + i],
                                       .add = a->add, .rows = (unsigned)w->rows, .block_end = all};
        rf_gpu_act_drop(g, p.w[i].out);
    }
    if (a->glu) {
        struct act_args none;
        p.glu = 1 + (unsigned)a->glu->act;
        p.w[0].out = a->glu->out;
        RF_TRY(rf_gpu_act_make(g, a->glu->out, 1, a->glu->cols, RF_GPU_FACTOR_GLU, &none)); /* the factor alone: there is one row */
    }
    share_out(g, a, first, n_w, &p);
    const enum rf_gpu_kernel k = is_pair(a, first, n_w) ? RF_GPU_K_matmul_q4_k_q6_k_1 : w0->kernel + 2;
    return rf_gpu_launch_early(g, s, k, p.blocks, 1, 1, RF_GPU_ONE_THREADS, shared_of(w0, p.most), &p);
}

rf_status rf_gpu_one_pieces(struct rf_backend *b, struct rf_stream *s, const struct rf_matmul_args *a)
{
    const struct rf_backend_ops *ops = b->ops;
    struct rf_matmul_args product = *a;
    product.norm = NULL;
    product.glu = NULL;
    product.add = 0;
    if (a->norm) RF_TRY(ops->rmsnorm(b, s, a->norm));
    RF_TRY(ops->matmul(b, s, &product));
    if (a->glu) RF_TRY(ops->glu(b, s, a->glu));
    const struct rf_add_args add = {.a = a->add, .b = a->out[0], .out = a->add, .n = a->rows * rf_gpu_weight_of(a->w[0])->rows, .b_scale = 1};
    return a->add ? ops->add(b, s, &add) : RF_OK;
}
