/* attention.c - the KV store, appending to it, and how attention is cut into thread blocks (kernels/attention.gpu). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backend/gpu/gpu.h"
#include "base/mem.h"

enum {
    SPLIT_BLOCKS = 512,            /* fewer thread blocks than this leave most of a chip idle: cut by chunks ... */
    FEW_BLOCKS = 256, FEW_TILE = 2, /* ... and where that leaves fewer than these, tiles are small too */
};
#define SPLIT_BYTES ((uint64_t)256 << 20)      /* as long as all parts fit here */

struct gpu_kv {
    struct rf_kv_desc desc;
    uint64_t slot_bytes, block_bytes;
    rf_dev data;
};

static const struct gpu_kv *kv_of(const struct rf_kv_store *kv) { return (const struct gpu_kv *)kv; }

/* The kernels' numbers for element types. */
static unsigned kernel_type(enum rf_kv_type t) { return t == RF_KV_F32 ? 2 : t == RF_KV_BF16 ? 1 : 0; }

static bool sizes(const struct rf_kv_desc *d, uint64_t *slot_bytes, uint64_t *block_bytes)
{
    uint64_t head = (uint64_t)2 * RF_KV_BLOCK_TOKENS * d->head_dim * (d->type == RF_KV_F32 ? 4 : 2);
    return rf_mul64(d->n_kv_head, head, slot_bytes) && rf_mul64(*slot_bytes, d->n_slot, block_bytes);
}

static bool head_fits(uint32_t head_dim) { return head_dim && head_dim % 8 == 0 && head_dim <= RF_GPU_HEAD_MAX; }

static rf_status way_choose(struct rf_gpu *g, const struct rf_kv_desc *d, struct rf_error *err);

uint64_t rf_gpu_kv_block_bytes(const struct rf_backend *b, const struct rf_kv_desc *d)
{
    (void)b;
    uint64_t slot_bytes, block_bytes;
    return sizes(d, &slot_bytes, &block_bytes) ? block_bytes : UINT64_MAX;
}

rf_status rf_gpu_kv_create(struct rf_backend *b, const struct rf_kv_desc *d, struct rf_kv_store **out, struct rf_error *err)
{
    struct rf_gpu *g = rf_gpu_of(b);
    *out = NULL;
    if (d->type != RF_KV_F16 && d->type != RF_KV_BF16 && d->type != RF_KV_F32)
        return rf_fail(err, RF_INVALID, "kv cache: type %d, expected f16, bf16 or f32", (int)d->type);
    if (!head_fits(d->head_dim))
        return rf_fail(err, RF_UNSUPPORTED, "kv cache: head size %u, this backend has multiples of 8 up to %d", d->head_dim,
                       (int)RF_GPU_HEAD_MAX);
    RF_TRY(way_choose(g, d, err));
    struct gpu_kv *kv = rf_alloc_array(1, sizeof *kv);
    uint64_t bytes;
    if (!kv) return rf_fail_nomem(err, "kv cache", sizeof *kv);
    kv->desc = *d;
    rf_status s = RF_OK;
    if (!sizes(d, &kv->slot_bytes, &kv->block_bytes) || !rf_mul64(kv->block_bytes, d->n_block, &bytes))
        s = rf_fail(err, RF_TOO_LARGE, "kv cache: %u blocks of %u layers, %u heads of %u values overflow", d->n_block, d->n_slot,
                    d->n_kv_head, d->head_dim);
    if (!s) s = rf_gpu_alloc(g, bytes, "the KV cache", &kv->data, err);
    if (!s && bytes) s = rf_gpu_check(&g->dev, g->dev.api.fill(kv->data, 0, bytes, g->stream), "clearing the KV cache", err);
    if (s) {
        rf_gpu_kv_free(b, (struct rf_kv_store *)kv);
        return s;
    }
    *out = (struct rf_kv_store *)kv;
    return RF_OK;
}

void rf_gpu_kv_free(struct rf_backend *b, struct rf_kv_store *store)
{
    struct gpu_kv *kv = (struct gpu_kv *)store;
    if (!kv) return;
    rf_gpu_free(rf_gpu_of(b), kv->data, kv->block_bytes * kv->desc.n_block);
    rf_free(kv);
}

rf_status rf_gpu_kv_copy(struct rf_backend *b, struct rf_stream *s, const struct rf_kv_copy_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    const struct gpu_kv *kv = kv_of(a->kv);
    if (g->fault) return g->fault;
    int rc = g->dev.vendor->bind(&g->dev);
    for (uint32_t i = 0; i < a->n && !rc; i++) {
        if (a->from[i] < 0 || a->to[i] < 0 || (uint32_t)a->from[i] >= kv->desc.n_block || (uint32_t)a->to[i] >= kv->desc.n_block)
            return RF_INTERNAL;
        if (a->from[i] == a->to[i]) continue;
        rc = g->dev.api.copy(kv->data + (uint64_t)a->to[i] * kv->block_bytes, kv->data + (uint64_t)a->from[i] * kv->block_bytes,
                             kv->block_bytes, rf_gpu_stream(g, s));
    }
    return rf_gpu_slot(g, rc, "copying KV blocks");
}

/* ---- checks: a kernel must never follow a block number that is not there ---- */

static bool layer_fits(const struct rf_gpu *g, const struct gpu_kv *kv, uint32_t slot, uint32_t group, uint32_t n_kv_head, uint32_t head_dim)
{
    return group < g->batch->n_group && slot < kv->desc.n_slot && head_fits(head_dim) &&
           (uint64_t)n_kv_head * head_dim <= (uint64_t)kv->desc.n_kv_head * kv->desc.head_dim;
}

static uint32_t first_key(uint32_t pos, uint32_t window) { return window && pos + 1 > window ? pos + 1 - window : 0; }

/* Every block that some token of the step reads is there. Answers of one step are kept: layers ask the same. */
static bool blocks_there(struct rf_gpu *g, uint32_t group, uint32_t window, uint32_t n_block)
{
    const struct rf_batch *batch = g->batch;
    for (uint32_t i = 0; i < g->n_checked; i++)
        if (g->checked[i].group == group && g->checked[i].window == window && g->checked[i].n_block == n_block) return true;
    for (uint32_t q = 0; q < batch->n_seq; q++) {
        int32_t first = batch->seq_first[q], last = batch->seq_first[q + 1] - 1;
        if (last < first) continue;
        const int32_t *table = batch->block_table[group] + (size_t)q * batch->table_stride;
        uint32_t from = first_key((uint32_t)batch->pos[first], window) / RF_KV_BLOCK_TOKENS, to = (uint32_t)batch->pos[last] / RF_KV_BLOCK_TOKENS;
        if (to >= batch->table_stride) return false;
        for (uint32_t i = from; i <= to; i++)
            if (table[i] < 0 || (uint32_t)table[i] >= n_block) return false;
    }
    if (g->n_checked < RF_GPU_CHECKS) g->checked[g->n_checked++] = (struct rf_gpu_checked){group, window, n_block};
    return true;
}

/* ---- rotation and append ---- */

/* The kernels' style of rotation, 0: none, and the table of angles. */
static rf_status rotation(struct rf_gpu *g, struct rf_stream *s, const struct rf_rope_kv_args *a, unsigned *style, rf_gpu_ptr *table)
{
    rf_dev t = 0;
    *style = 0;
    if (a->style != RF_ROPE_NONE && a->rot_dim) {
        RF_TRY(rf_gpu_angles_get(g, s, a, &t));
        *style = a->style == RF_ROPE_PAIRS ? 2 : 1;
    }
    *table = t;
    return RF_OK;
}

static bool rope_fits(struct rf_gpu *g, const struct gpu_kv *kv, const struct rf_rope_kv_args *a)
{
    /* a window of one token: exactly the blocks that are written */
    return layer_fits(g, kv, a->slot, a->group, a->n_kv_head, a->head_dim) && blocks_there(g, a->group, 1, kv->desc.n_block);
}

rf_status rf_gpu_rope_kv(struct rf_backend *b, struct rf_stream *s, const struct rf_rope_kv_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    const struct gpu_kv *kv = kv_of(a->kv);
    if (!rope_fits(g, kv, a)) return RF_INTERNAL;
    struct rope_kv_args p = {.q = a->q, .k = a->k, .v = a->v, .pos = g->at.pos, .seq = g->at.seq, .plan = g->plan.dev,
        .kv = kv->data, .block_bytes = kv->block_bytes, .slot_offset = a->slot * kv->slot_bytes, .q_stride = a->q_stride,
        .kv_stride = a->kv_stride, .n_head = a->n_head, .n_kv_head = a->n_kv_head, .head_dim = a->head_dim, .rot_dim = a->rot_dim,
        .type = kernel_type(kv->desc.type), .group = a->group, .n_block = kv->desc.n_block};
    rf_gpu_act_drop(g, a->q);
    rf_gpu_act_drop(g, a->k);
    RF_TRY(rotation(g, s, a, &p.style, &p.table));
    for (uint32_t from = 0; from < g->at.n_row; from += 65535) { /* a grid is at most that high */
        struct rope_kv_args q = p;
        q.q += (rf_dev)from * a->q_stride * sizeof(float);
        q.k += (rf_dev)from * a->kv_stride * sizeof(float);
        q.v += (rf_dev)from * a->kv_stride * sizeof(float);
        q.pos += (rf_dev)from * sizeof(int32_t);
        q.seq += (rf_dev)from * sizeof(int32_t);
        const uint32_t groups = (a->n_head + RF_GPU_ROPE_HEADS - 1) / RF_GPU_ROPE_HEADS;
        RF_TRY(rf_gpu_launch_early(g, s, RF_GPU_K_rope_kv, groups + a->n_kv_head, RF_MIN(g->at.n_row - from, 65535u), 1, 64, 0, &q));
    }
    return g->fault;
}

/* ---- attention ---- */

/* The step's tiles for `group` query heads per KV head: some successive rows of one sequence, at most RF_GPU_TILE. */
static rf_status tiles_make(struct rf_gpu *g, struct rf_stream *s, uint32_t group, uint64_t blocks_per_tile)
{
    const struct rf_batch *batch = g->batch;
    if (g->tile_group == group) return RF_OK;
    uint64_t blocks = ((uint64_t)batch->n_tok * group / RF_GPU_TILE + batch->n_seq) * blocks_per_tile;
    uint32_t size = blocks < FEW_BLOCKS ? (uint32_t)FEW_TILE : (uint32_t)RF_GPU_TILE;
    size_t most = ((size_t)batch->n_tok * group) / size + batch->n_seq;
    RF_TRY(rf_gpu_buffer_need(g, &g->tiles, most * sizeof(struct attn_tile)));
    struct attn_tile *tile = g->tiles.host;
    size_t n = 0;
    for (uint32_t q = 0; q < batch->n_seq; q++) {
        uint32_t first = (uint32_t)batch->seq_first[q], rows = ((uint32_t)batch->seq_first[q + 1] - first) * group;
        for (uint32_t r = 0; r < rows; r += size)
            tile[n++] = (struct attn_tile){.seq = q, .tok = first, .row = r, .n_row = RF_MIN(size, rows - r)};
    }
    g->n_tile = (uint32_t)n;
    g->tile_group = group;
    return n ? rf_gpu_buffer_send(g, &g->tiles, n * sizeof *tile, s) : RF_OK;
}

static rf_status parts_need(struct rf_gpu *g, uint64_t bytes)
{
    return bytes <= g->work.bytes ? RF_OK : rf_gpu_scratch_need(g, &g->work, bytes + bytes / 4, "attention parts");
}

/* Counters of `n` groups of blocks, all 0. */
static rf_status counts_need(struct rf_gpu *g, struct rf_stream *s, uint64_t n)
{
    if (n * sizeof(uint32_t) <= g->counts.bytes) return RF_OK;
    RF_TRY(rf_gpu_scratch_need(g, &g->counts, 2 * n * sizeof(uint32_t), "counters of attention"));
    return rf_gpu_slot(g, g->dev.api.fill(g->counts.dev, 0, g->counts.bytes, rf_gpu_stream(g, s)), "clearing counters");
}

uint64_t rf_gpu_attention_scratch(const struct rf_gpu *g, const struct rf_scratch_desc *d)
{
    const uint64_t row = (uint64_t)(d->head_dim + 2) * sizeof(float);
    const uint64_t runs = RF_MAX((uint64_t)RF_MIN(d->max_seq, (uint32_t)RF_GPU_FEW_ROWS) * RF_GPU_SPLITS, (uint64_t)d->max_seq * RF_GPU_PLAIN_RUNS);
    const uint64_t single = runs * d->n_head * row;
    const uint64_t chunks = (uint64_t)SPLIT_BLOCKS * RF_GPU_TILE * row * (d->n_ctx / RF_GPU_CHUNK + 1); /* plain: where keys are cut */
    const bool flashes = g->attention != RF_GPU_ATTENTION_SPLIT && rf_gpu_flash_takes(g, d->head_dim, d->type);
    return RF_MAX(single, flashes ? 0 : RF_MIN(chunks, SPLIT_BYTES)) * 5 / 4;
}

/* Sequences at the front that bring one token each: row i is sequence i. */
static uint32_t ones(const struct rf_batch *b)
{
    uint32_t n = 0;
    while (n < b->n_seq && b->seq_first[n + 1] == (int32_t)n + 1) n++;
    return n;
}

/* How the rows of single tokens are decoded (kernels/decode.gpu): blocks that share out a row's heads, their warps (0: by plain arithmetic) and dynamic shared
 * memory. */
struct decode_shape { uint32_t blocks, warps, shared, ring; enum rf_gpu_kernel kernel; };
enum {
    DECODE_STATIC = 4096,           /* at least what kernels have besides */
    DECODE_GRID = 384,              /* pieces of work that are handed out at once: about what a large chip holds */
    DECODE_NEAR = 1024,
    RUN_FEW = 128, RUN_MANY = 1024, /* keys of a run, few rows or many: as products, of two kinds */
};

static struct decode_shape decode_shape(const struct rf_gpu *g, const struct rf_attention_args *a, enum rf_kv_type type, bool near)
{
    const uint32_t group = a->n_head / a->n_kv_head, most = decode_heads(a->head_dim), heads = RF_MIN(group, most);
    const uint32_t blobs = a->head_dim <= 64 ? 1 : a->head_dim <= 128 ? 2 : 4;
    /* a unit of 32 keys and values, rows padded, and queries */
    struct decode_shape s = {.blocks = a->n_kv_head * ((group + most - 1) / most), .kernel = RF_GPU_K_attn_decode,
                             .shared = 2 * 32 * (a->head_dim * (type == RF_KV_F32 ? 4 : 2) + 16) + heads * a->head_dim * (uint32_t)sizeof(float)};
    if (type == RF_KV_F32 || !g->decodes_matrix) return s;
    /* queries, own key and value; for each warp a ring and, where that is needed, weights */
    const bool exchange = g->dev.vendor->operands_shared; /* those have steps of 32 keys */
    const uint32_t ring = near && !exchange ? RF_GPU_DECODE_STEP : RF_GPU_DECODE_RING, fixed = blobs * (2048 + 256), extra = exchange ? 2048 : 0;
    uint32_t warps = RF_GPU_DECODE_WARPS; /* sums depend on it: the same whatever the ring */
    while (warps > 1 && fixed + warps * (blobs * RF_GPU_DECODE_RING * 256 + extra) + DECODE_STATIC > g->dev.shared_max) warps /= 2;
    return (struct decode_shape){.blocks = a->n_kv_head * ((group + RF_GPU_DECODE_HEADS - 1) / RF_GPU_DECODE_HEADS), .warps = warps, .ring = ring,
                                 .shared = fixed + warps * (blobs * ring * 256 + extra),
                                 .kernel = blobs == 1 ? RF_GPU_K_attn_decode_64 : blobs == 2 ? RF_GPU_K_attn_decode_128 : RF_GPU_K_attn_decode_256};
}

/* The first `rows` rows, one of each sequence. append: a->rope is done here. act: where the result is also wanted as products of few rows take it. */
static rf_status decode(struct rf_gpu *g, struct rf_stream *s, const struct rf_attention_args *a, const struct gpu_kv *kv, uint32_t rows, bool append,
                        const struct act_args *act)
{
    /* Few rows that see little: small blocks leave the products before and behind room on the same processor, so that they overlap. */
    const bool few = rows <= RF_GPU_FEW_ROWS, near = few && g->max_pos < DECODE_NEAR;
    const struct decode_shape d = decode_shape(g, a, kv->desc.type, near);
    if (near && d.warps) g->pos_limit = RF_MIN(g->pos_limit, (uint32_t)DECODE_NEAR);
    const uint32_t splits = few && d.warps ? RF_GPU_SPLITS : RF_GPU_PLAIN_RUNS;
    RF_TRY(parts_need(g, (uint64_t)rows * a->n_head * splits * (a->head_dim + 2) * sizeof(float)));
    RF_TRY(counts_need(g, s, 1 + (uint64_t)rows * d.blocks));
    struct decode_args p = {.q = a->q, .out = a->out, .part = g->work.dev, .count = g->counts.dev, .plan = g->plan.dev, .pos = g->at.pos, .kv = kv->data,
        .block_bytes = kv->block_bytes, .slot_offset = a->slot * kv->slot_bytes, .act = *act, .q_stride = a->q_stride, .out_stride = a->out_stride,
        .n_head = a->n_head, .n_kv_head = a->n_kv_head, .head_dim = a->head_dim, .window = a->window, .type = kernel_type(kv->desc.type),
        .group = a->group, .n_block = kv->desc.n_block, .append = append, .splits = splits, .n_row = rows, .warps = d.warps,
        .grid = (uint32_t)RF_MIN((uint64_t)rows * d.blocks * splits, (uint64_t)DECODE_GRID), .run = few ? RUN_FEW : RUN_MANY, .ring = d.ring,
        .scale = a->scale, .softcap = a->softcap};
    if (append) {
        p.k = a->rope->k;
        p.v = a->rope->v;
        p.kv_stride = a->rope->kv_stride;
        p.rot_dim = a->rope->rot_dim;
        RF_TRY(rotation(g, s, a->rope, &p.style, &p.table));
    }
    if (d.warps) return rf_gpu_launch_early(g, s, d.kernel, p.grid, 1, 1, d.warps * g->warp, d.shared, &p);
    return rf_gpu_launch_early(g, s, d.kernel, RF_GPU_PLAIN_RUNS, d.blocks, rows, 128, d.shared, &p);
}

static rf_status flash(struct rf_gpu *g, struct rf_stream *s, const struct rf_attention_args *a, const struct gpu_kv *kv, uint32_t first_seq)
{
    struct flash_args p = {.q = a->q, .out = a->out, .pos = g->at.pos, .block = g->at.block[a->group], .kv = kv->data, .block_bytes = kv->block_bytes,
        .slot_offset = a->slot * kv->slot_bytes, .q_stride = a->q_stride, .out_stride = a->out_stride, .n_head = a->n_head, .n_kv_head = a->n_kv_head,
        .head_dim = a->head_dim, .table_stride = g->batch->table_stride, .window = a->window, .scale = a->scale, .softcap = a->softcap};
    return rf_gpu_flash(g, s, &p, kv->desc.type, first_seq);
}

/* All rows by plain arithmetic in f32; `may_split`: a chunk of keys a block, where whole rows would leave the chip idle. */
static rf_status plain(struct rf_gpu *g, struct rf_stream *s, const struct rf_attention_args *a, const struct gpu_kv *kv, bool may_split)
{
    uint32_t n_chunk = g->max_pos / RF_GPU_CHUNK + 1;
    RF_TRY(tiles_make(g, s, a->n_head / a->n_kv_head, (uint64_t)a->n_kv_head * n_chunk));
    uint64_t part_bytes = (uint64_t)g->batch->n_tok * a->n_head * n_chunk * (a->head_dim + 2) * sizeof(float);
    bool split = may_split && n_chunk > 1 && n_chunk < 65536 && a->n_head < 65536 && (uint64_t)g->n_tile * a->n_kv_head < SPLIT_BLOCKS &&
                 part_bytes <= SPLIT_BYTES;
    if (split) RF_TRY(parts_need(g, part_bytes));
    struct attn_args p = {.q = a->q, .out = a->out, .part = g->work.dev, .tile = g->tiles.dev, .pos = g->at.pos, .block = g->at.block[a->group],
        .kv = kv->data, .block_bytes = kv->block_bytes, .slot_offset = a->slot * kv->slot_bytes, .q_stride = a->q_stride,
        .out_stride = a->out_stride, .n_head = a->n_head, .n_kv_head = a->n_kv_head, .head_dim = a->head_dim,
        .table_stride = g->batch->table_stride, .window = a->window, .type = kernel_type(kv->desc.type), .n_chunk = n_chunk,
        .split = split, .scale = a->scale, .softcap = a->softcap};
    RF_TRY(rf_gpu_launch(g, s, RF_GPU_K_attn, g->n_tile, a->n_kv_head, split ? n_chunk : 1, RF_GPU_ATTN_THREADS, &p));
    if (!split) return g->fault;
    struct attn_merge_args m = {.out = a->out, .part = g->work.dev, .pos = g->at.pos, .out_stride = a->out_stride, .n_head = a->n_head,
                                .head_dim = a->head_dim, .n_chunk = n_chunk, .window = a->window};
    return rf_gpu_launch(g, s, RF_GPU_K_attn_merge, g->batch->n_tok, a->n_head, 1, 64, &m);
}

/* ---- ways to attend: --attention ---- */

static bool takes_all(const struct rf_gpu *g, uint32_t head_dim, enum rf_kv_type type)
{
    (void)g, (void)type;
    return head_fits(head_dim);
}
/* In the order of enum rf_gpu_attention. prompts and single: how each is called in the line that says what was chosen. */
static const struct way {
    const char *name, *wants, *prompts, *single;
    bool (*takes)(const struct rf_gpu *g, uint32_t head_dim, enum rf_kv_type type);
} ways[] = {
    {"auto", "", "", "", takes_all},
    {"reference", "head sizes in multiples of 8 up to 256", "reference (f32, one pass)", "reference", takes_all},
    {"flash", "an f16 or bf16 cache and head sizes in multiples of 8 up to 256 (128 on AMD)", "flash (matrix unit)", "flash", rf_gpu_flash_takes},
    {"paged-split", "head sizes in multiples of 8 up to 256", "paged-split (f32, keys cut over the chip)", "paged-split", takes_all},
};

rf_status rf_gpu_attention_named(const char *name, enum rf_gpu_attention *out, struct rf_error *err)
{
    *out = RF_GPU_ATTENTION_AUTO;
    if (!name) return RF_OK;
    for (size_t i = 0; i < RF_COUNT(ways); i++)
        if (!strcmp(name, ways[i].name)) {
            *out = (enum rf_gpu_attention)i;
            return RF_OK;
        }
    return rf_fail_param(err, RF_INVALID, "attention", "attention \"%.40s\" does not exist: expected one of auto, reference, flash, paged-split", name);
}

/* What prompts and what single tokens go to, for a cache like this; says so in info.attention. */
static rf_status way_choose(struct rf_gpu *g, const struct rf_kv_desc *d, struct rf_error *err)
{
    const struct way *w = &ways[g->attention];
    const char *type = d->type == RF_KV_F16 ? "f16" : d->type == RF_KV_BF16 ? "bf16" : "f32";
    char *line = g->base.info.attention;
    if (!w->takes(g, d->head_dim, d->type))
        return rf_fail_param(err, RF_UNSUPPORTED, "attention", "attention %s wants %s; this model has heads of %u and the cache is %s", w->name, w->wants,
                             d->head_dim, type);
    if (g->attention != RF_GPU_ATTENTION_AUTO)
        snprintf(line, sizeof g->base.info.attention, "%s, as asked (%s cache, heads of %u)", w->prompts, type, d->head_dim);
    else if (rf_gpu_flash_takes(g, d->head_dim, d->type))
        snprintf(line, sizeof g->base.info.attention, "flash for prompts, paged-split for single tokens (%s cache, heads of %u)", type, d->head_dim);
    else
        snprintf(line, sizeof g->base.info.attention, "paged-split: flash wants %s, this is %s and heads of %u", ways[RF_GPU_ATTENTION_FLASH].wants, type,
                 d->head_dim);
    return RF_OK;
}

rf_status rf_gpu_attention(struct rf_backend *b, struct rf_stream *s, const struct rf_attention_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    const struct gpu_kv *kv = kv_of(a->kv);
    if (!a->n_kv_head || a->n_head % a->n_kv_head || !layer_fits(g, kv, a->slot, a->group, a->n_kv_head, a->head_dim) ||
        !blocks_there(g, a->group, a->window, kv->desc.n_block))
        return RF_INTERNAL;
    const bool splits = g->attention == RF_GPU_ATTENTION_AUTO || g->attention == RF_GPU_ATTENTION_SPLIT;
    const bool flashes = g->attention != RF_GPU_ATTENTION_REFERENCE && g->attention != RF_GPU_ATTENTION_SPLIT &&
                         rf_gpu_flash_takes(g, a->head_dim, kv->desc.type);
    const bool whole = a->out_stride == a->n_head * a->head_dim && decode_shape(g, a, kv->desc.type, false).shared + DECODE_STATIC <= g->dev.shared_max;
    const uint32_t n = splits && whole ? ones(g->batch) : 0;
    struct act_args act = {0};
    if (n && n == g->batch->n_seq) { /* rows that pad run too */
        if (a->rope && !rope_fits(g, kv, a->rope)) return RF_INTERNAL;
        rf_gpu_act_drop(g, a->out);
        if (a->head_dim % 32 == 0) RF_TRY(rf_gpu_act_make(g, a->out, g->at.n_row, a->n_head * a->head_dim, RF_GPU_FACTOR_ATTENTION, &act));
        return decode(g, s, a, kv, g->at.n_row, a->rope != NULL, &act);
    }
    g->pos_limit = 0; /* what follows hands tiles and tables' addresses to its kernels: not to be repeated from a recording */
    if (a->rope) RF_TRY(rf_gpu_rope_kv(b, s, a->rope));
    rf_gpu_act_drop(g, a->out);
    if (!flashes) return plain(g, s, a, kv, splits);
    if (n) RF_TRY(decode(g, s, a, kv, n, false, &act));
    return flash(g, s, a, kv, n);
}
