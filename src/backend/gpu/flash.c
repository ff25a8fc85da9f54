/* flash.c - attention of prompts on the matrix unit: what it takes, and how rows are cut into tiles (kernels/flash.gpu). */
#include "backend/gpu/gpu.h"
#include "base/mem.h"

/* Head sizes are padded to one of these; a type's kernels follow each other in this order. */
static const uint32_t widths[] = {64, 128, 256};

static size_t width_of(uint32_t head_dim)
{
    size_t i = 0;
    while (i < RF_COUNT(widths) && widths[i] < head_dim) i++;
    return i;
}

/* Queries, keys and values; where weights change places through shared memory, room for a warp's each. */
static uint32_t shared_of(size_t width) { return 3 * RF_GPU_FLASH_ROWS * widths[width] * 2; }
static uint32_t weights_of(const struct rf_gpu *g) { return g->dev.vendor->operands_shared ? RF_GPU_FLASH_ROWS * 128 : 0; }

bool rf_gpu_flash_takes(const struct rf_gpu *g, uint32_t head_dim, enum rf_kv_type type)
{
    size_t w = width_of(head_dim);
    return (type == RF_KV_F16 || type == RF_KV_BF16) && head_dim % 8 == 0 && w < RF_COUNT(widths) && shared_of(w) + weights_of(g) <= g->dev.shared_max;
}

/* Tiles of the sequences from `first` on, those with most keys to walk at the front. Made once per step, head group and first sequence. */
static rf_status tiles_make(struct rf_gpu *g, struct rf_stream *s, uint32_t group, uint32_t first)
{
    struct rf_gpu_flash *f = &g->flash;
    const struct rf_batch *batch = g->batch;
    if (f->group == group && f->first == first) return RF_OK;
    uint64_t most = 0;
    for (uint32_t q = first; q < batch->n_seq; q++)
        most += (uint64_t)(batch->seq_first[q + 1] - batch->seq_first[q]) * group / RF_GPU_FLASH_ROWS + 1;
    RF_TRY(rf_gpu_buffer_need(g, &f->tiles, most * sizeof(struct attn_tile)));
    struct attn_tile *tile = f->tiles.host;
    f->n_tile = 0;
    for (uint32_t q = batch->n_seq; q-- > first;) {
        const uint32_t tok = (uint32_t)batch->seq_first[q], rows = ((uint32_t)batch->seq_first[q + 1] - tok) * group;
        for (uint32_t n = (rows + RF_GPU_FLASH_ROWS - 1) / RF_GPU_FLASH_ROWS; n-- > 0;)
            tile[f->n_tile++] = (struct attn_tile){.seq = q, .tok = tok, .row = n * RF_GPU_FLASH_ROWS,
                                                   .n_row = RF_MIN(rows - n * RF_GPU_FLASH_ROWS, (uint32_t)RF_GPU_FLASH_ROWS)};
    }
    f->group = group;
    f->first = first;
    return f->n_tile ? rf_gpu_buffer_send(g, &f->tiles, f->n_tile * sizeof *tile, s) : RF_OK;
}

rf_status rf_gpu_flash(struct rf_gpu *g, struct rf_stream *s, struct flash_args *p, enum rf_kv_type type, uint32_t first_seq)
{
    const size_t w = width_of(p->head_dim);
    RF_TRY(tiles_make(g, s, p->n_head / p->n_kv_head, first_seq));
    p->tile = g->flash.tiles.dev;
    return rf_gpu_launch_shared(g, s, (enum rf_gpu_kernel)((type == RF_KV_F16 ? RF_GPU_K_flash_f16_64 : RF_GPU_K_flash_bf16_64) + w), g->flash.n_tile,
                                p->n_kv_head, 1, RF_GPU_FLASH_ROWS / 16 * g->warp, shared_of(w) + weights_of(g), p);
}
