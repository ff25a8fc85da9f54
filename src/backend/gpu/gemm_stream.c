/* gemm_stream.c - products of 9 to 64 rows on Hopper (kernels/gemm_stream.h): what fits, how k is cut, launches. */
#include "backend/gpu/weights.h"
#include "base/mem.h"

enum { MOST_RANKS = RF_GPU_CLUSTER };

struct kind { uint32_t type, values, stage, stages; enum rf_gpu_kernel kernel; };
static const struct kind kinds[] = {
#define TYPE_f16 RF_TYPE_F16
#define TYPE_q4_0 RF_TYPE_Q4_0
#define TYPE_q5_0 RF_TYPE_Q5_0
#define TYPE_q8_0 RF_TYPE_Q8_0
#define TYPE_f8 RF_TYPE_F8_E4M3
#define TYPE_q4_k RF_TYPE_Q4_K
#define TYPE_q5_k RF_TYPE_Q5_K
#define TYPE_q6_k RF_TYPE_Q6_K
#define X(t, values, bytes, stages) {TYPE_##t, values, RF_GPU_STREAM_STAGE(values, bytes), stages, RF_GPU_K_gemm_stream_##t},
    RF_GPU_STREAM_TYPES(X)
#undef X
    {RF_TYPE_BF16, 64, RF_GPU_STREAM_STAGE(64, 2048), RF_GPU_STREAM_BF16, RF_GPU_K_gemm_stream_bf16},
};

static const struct kind *kind_of(const struct rf_gpu *g, const struct rf_weight *w)
{
    const uint32_t type = rf_gpu_weight_of(w)->type;
    for (size_t i = 0; i < RF_COUNT(kinds); i++)
        if (kinds[i].type == type) return g->fn[kinds[i].kernel] ? &kinds[i] : NULL;
    return NULL;
}

bool rf_gpu_gemm_stream_takes(const struct rf_gpu *g, const struct rf_matmul_args *a)
{
    bool all = rf_gpu_has_stream(g) && a->rows <= RF_GPU_FEW_MOST && !a->precise;
    for (uint32_t i = 0; all && i < a->n_w; i++) all = kind_of(g, a->w[i]);
    return all;
}

static uint32_t tiles_of(const struct rf_gpu_weight *w) { return (uint32_t)((w->rows + RF_GPU_STREAM_ROWS - 1) / RF_GPU_STREAM_ROWS); }

/* Into how many blocks' shares k is cut: as many as let all clusters run at once; by weights and the chip alone. */
static uint32_t ranks_of(struct rf_gpu *g, const struct kind *k, uint32_t tiles, uint32_t n_chunk)
{
    uint32_t n = MOST_RANKS;
    uint32_t *at_once = g->gemm.clusters[k - kinds];
    for (uint32_t i = at_once[1] ? n + 1 : 2; i <= n; i++)
        at_once[i - 1] = 1 + g->dev.vendor->clusters(&g->dev, g->fn[k->kernel], i, RF_GPU_STREAM_THREADS, k->stages * k->stage);
    while (n > 1 && (tiles >= at_once[n - 1] || n_chunk < 2 * n)) n--;
    return n;
}

/* x in blobs, its values in the order of the weights: as bf16, or as f16 times a factor. What its maker left, or made now. */
struct blobs { rf_dev at; float factor; };
static rf_status blobs_get(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t cols, bool bf16, struct blobs *b)
{
    const uint32_t k_tiles = (cols + 255) / 256 * 4; /* whole chunks of any type */
    const uint64_t room = (uint64_t)k_tiles * 128 * RF_GPU_FEW_MOST;
    if (b->at) return RF_OK;
    b->factor = bf16 ? 1 : rf_gpu_act_factor(g, a->x, a->rows, cols);
    b->at = rf_gpu_act_blobs(g, a->x, a->rows, cols, bf16);
    if (b->at) return RF_OK;
    RF_TRY(rf_gpu_scratch_need(g, &g->work, 2 * room, "rounded activations"));
    b->at = g->work.dev + (bf16 ? room : 0);
    struct gemm_x_args x = {.x = a->x, .hi = b->at, .rows = a->rows, .cols = cols, .k_tiles = k_tiles, .tile_rows = rf_gpu_pad_rows(a->rows),
                            .order = bf16 ? RF_GPU_ORDER_PLAIN : RF_GPU_ORDER_OCTETS, .factor = bf16 ? 0 : b->factor};
    return rf_gpu_launch_early(g, s, RF_GPU_K_gemm_x, (k_tiles * 8 + 127) / 128, x.tile_rows, 1, 128, 0, &x);
}

rf_status rf_gpu_gemm_stream(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a)
{
    const uint32_t cols = (uint32_t)rf_gpu_weight_of(a->w[0])->cols;
    struct blobs blobs[2] = {{0}}; /* of halves, of bf16 */
    for (uint32_t i = 0, n; i < a->n_w; i += n) {
        const struct rf_gpu_weight *w0 = rf_gpu_weight_of(a->w[i]);
        const struct kind *k = kind_of(g, a->w[i]);
        const bool bf16 = w0->type == RF_TYPE_BF16;
        RF_TRY(blobs_get(g, s, a, cols, bf16, &blobs[bf16]));
        struct gemm_stream_args p = {.x = blobs[bf16].at, .rows = a->rows, .pad_rows = rf_gpu_pad_rows(a->rows), .n_chunk = w0->n_chunk, .stages = k->stages,
                                     .scale = 1.0f / blobs[bf16].factor};
        uint32_t tiles = 0;
        for (n = 0; i + n < a->n_w && n < RF_GPU_GEMM_W && rf_gpu_weight_of(a->w[i + n])->type == w0->type; n++) {
            const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[i + n]);
            if (w->cols != cols) return RF_INTERNAL;
            tiles += tiles_of(w);
            p.w[n] = w->dev;
            p.bias[n] = a->bias[i + n];
            p.out[n] = a->out[i + n];
            p.n[n] = (uint32_t)w->rows;
            p.stride[n] = a->out_stride[i + n];
            p.end[n] = tiles;
        }
        p.n_w = n;
        RF_TRY(rf_gpu_allow_shared(g, k->kernel, k->stages * k->stage));
        const uint32_t ranks = ranks_of(g, k, tiles, w0->n_chunk);
        RF_TRY(rf_gpu_launch_cluster(g, s, k->kernel, tiles * ranks, ranks, RF_GPU_STREAM_THREADS, k->stages * k->stage, &p));
    }
    return g->fault;
}
