/* weights.c - weight matrices in device memory, in the order of kernels/weights.h, and the products with them.
 *
 * File rows travel through two pinned buffers that take turns, one
 * filled while the other is on its way; the device packs them.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/gpu/weights.h"
#include "base/mem.h"

enum { STAGE = 16 << 20 };
/* Up to MM_ONE row tiles a block takes one; else so many that all blocks run at once, or (bf16) in nearly two turns: measured. */
enum { MM_ONE = 528, MM_BLOCKS = 264, MM_BLOCKS_BF16 = 528 };

/* Values and bytes of a chunk. */
static const struct layout {
    uint32_t type, values, bytes;
    enum rf_gpu_kernel kernel;
} layouts[] = {
#define TYPE_f32 RF_TYPE_F32
#define TYPE_f16 RF_TYPE_F16
#define TYPE_bf16 RF_TYPE_BF16
#define TYPE_q4_0 RF_TYPE_Q4_0
#define TYPE_q4_1 RF_TYPE_Q4_1
#define TYPE_q5_0 RF_TYPE_Q5_0
#define TYPE_q5_1 RF_TYPE_Q5_1
#define TYPE_q8_0 RF_TYPE_Q8_0
#define TYPE_q2_k RF_TYPE_Q2_K
#define TYPE_q3_k RF_TYPE_Q3_K
#define TYPE_q4_k RF_TYPE_Q4_K
#define TYPE_q5_k RF_TYPE_Q5_K
#define TYPE_q6_k RF_TYPE_Q6_K
#define TYPE_f8 RF_TYPE_F8_E4M3
#define X(t, values, bytes) {TYPE_##t, values, bytes, RF_GPU_K_embed_##t},
    RF_GPU_TYPES(X)
#undef X
};

static const struct layout *layout_of(uint32_t type)
{
    for (size_t i = 0; i < RF_COUNT(layouts); i++)
        if (layouts[i].type == type) return &layouts[i];
    return NULL;
}

bool rf_gpu_is_matrix_type(uint32_t type)
{
    switch (type) {
    case RF_TYPE_F32: case RF_TYPE_Q4_1: case RF_TYPE_Q5_1: case RF_TYPE_Q2_K: case RF_TYPE_Q3_K: return false;
    default: return true;
    }
}

/* ---- create ---- */

static rf_status stage_need(struct rf_gpu *g, struct rf_gpu_buffer *b, size_t bytes, struct rf_error *err)
{
    if (b->sent && b->bytes) RF_TRY(rf_gpu_check(&g->dev, g->dev.api.event_sync(b->sent), "uploading weights", err));
    if (bytes <= b->bytes) return RF_OK;
    rf_gpu_buffer_release(g, b);
    int rc = g->dev.api.event_create(&b->sent, g->dev.vendor->event_flags);
    if (!rc) rc = g->dev.api.host_alloc(&b->host, bytes, 0);
    RF_TRY(rf_gpu_check(&g->dev, rc, "pinned memory for weights", err));
    RF_TRY(rf_gpu_alloc(g, bytes, "staging of weights", &b->dev, err));
    b->bytes = bytes;
    return RF_OK;
}

/* File rows go up as they are, some row tiles at a time; the device puts them into its order. */
static rf_status upload(struct rf_gpu *g, const struct rf_gpu_weight *w, const struct rf_weight_desc *d, uint64_t file_row, struct rf_error *err)
{
    uint32_t unit = w->type == RF_TYPE_BF16 ? 128 : 16, rows = unit * (uint32_t)RF_MAX((uint64_t)STAGE / (file_row * unit), UINT64_C(1));
    int turn = 0;
    for (uint64_t r = 0; r < w->rows; r += rows, turn ^= 1) {
        uint32_t n = (uint32_t)RF_MIN((uint64_t)rows, w->rows - r), tiles = (n + unit - 1) / unit * (unit / 16);
        struct rf_gpu_buffer *b = &g->staging[turn];
        RF_TRY(stage_need(g, b, (size_t)RF_MAX(rows * file_row, (uint64_t)STAGE), err));
        if (d->fetch) d->fetch(d->ctx, r, n, b->host, (size_t)file_row);
        else memcpy(b->host, (const uint8_t *)d->data + r * file_row, (size_t)(n * file_row));
        int rc = g->dev.api.upload(b->dev, b->host, (size_t)(n * file_row), g->stream);
        if (!rc) rc = g->dev.api.event_record(b->sent, g->stream);
        RF_TRY(rf_gpu_check(&g->dev, rc, d->name, err));
        struct pack_args p = {.file = b->dev, .to = w->dev, .file_row = file_row, .rows = n, .cols = (unsigned)w->cols, .n_chunk = w->n_chunk,
                              .first_tile = (unsigned)(r / 16), .tiles = tiles};
        rf_status s = rf_gpu_launch(g, NULL, w->kernel + 1, ((uint64_t)tiles * w->n_chunk + 1) / 2, 1, 1, 64, &p);
        if (s) return rf_fail(err, s, "%s: %s: %s", g->dev.id, d->name, g->base.info.detail);
    }
    return RF_OK;
}

uint64_t rf_gpu_stage_bytes(void) { return 2 * (uint64_t)STAGE; }

/* Where and how large; file_row: bytes of a row in the file. */
static rf_status plan(const struct rf_gpu *g, const struct rf_weight_desc *d, struct rf_gpu_weight *w, uint64_t *file_row, struct rf_error *err)
{
    const struct layout *l = layout_of(d->type);
    if (!l) return rf_fail(err, RF_UNSUPPORTED, "%s: %s: this backend has no type %s", g->dev.id, d->name, rf_type_name(d->type));
    if (!d->rows || !d->cols || d->cols % 8 || !rf_type_row_bytes(d->type, d->cols, file_row))
        return rf_fail(err, RF_UNSUPPORTED, "%s: %s: %" PRIu64 " x %" PRIu64 " values of %s, expected rows of a multiple of 8 and of the type's block",
                       g->dev.id, d->name, d->rows, d->cols, rf_type_name(d->type));
    if (d->cols > INT32_MAX / 4 || d->rows > INT32_MAX)
        return rf_fail(err, RF_TOO_LARGE, "%s: %s: %" PRIu64 " x %" PRIu64 " values are too many", g->dev.id, d->name, d->rows, d->cols);
    uint32_t pad = d->type == RF_TYPE_BF16 ? 8 : 1; /* row tiles */
    *w = (struct rf_gpu_weight){.rows = d->rows, .cols = d->cols, .type = d->type, .kernel = l->kernel};
    w->n_chunk = (uint32_t)((d->cols + l->values - 1) / l->values);
    w->n_tile = ((uint32_t)((d->rows + 15) / 16) + pad - 1) / pad * pad;
    w->bytes = (uint64_t)w->n_tile * w->n_chunk * l->bytes; /* below 2^27 * 2^22 * 2^13 */
    return RF_OK;
}

rf_status rf_gpu_weight_size(const struct rf_backend *b, const struct rf_weight_desc *d, uint64_t *bytes, struct rf_error *err)
{
    struct rf_gpu_weight w;
    uint64_t file_row;
    RF_TRY(plan((const struct rf_gpu *)b, d, &w, &file_row, err));
    *bytes = rf_dev_piece(w.bytes);
    return RF_OK;
}

rf_status rf_gpu_weight_create(struct rf_backend *b, const struct rf_weight_desc *d, struct rf_weight **out, bool *copied,
                               struct rf_error *err)
{
    struct rf_gpu *g = rf_gpu_of(b);
    struct rf_gpu_weight v;
    uint64_t file_row;
    *out = NULL;
    RF_TRY(plan(g, d, &v, &file_row, err));
    struct rf_gpu_weight *w = rf_alloc_array(1, sizeof *w);
    if (!w) return rf_fail_nomem(err, d->name, sizeof *w);
    *w = v;
    rf_status s = rf_gpu_piece_take(g, w->bytes, true, d->name, &w->dev, err);
    if (!s) s = upload(g, w, d, file_row, err);
    if (s) {
        rf_gpu_weight_free(b, (struct rf_weight *)w);
        return s;
    }
    if (d->type == RF_TYPE_BF16) g->act.bf16 = true;
    else if (rf_gpu_is_matrix_type(d->type)) g->act.half = true;
    if (d->type == RF_TYPE_F32) g->act.f32 = true;
    *copied = true;
    *out = (struct rf_weight *)w;
    return RF_OK;
}

void rf_gpu_weight_free(struct rf_backend *b, struct rf_weight *weight)
{
    struct rf_gpu_weight *w = (struct rf_gpu_weight *)weight;
    if (!w) return;
    rf_gpu_piece_give(rf_gpu_of(b), w->dev);
    rf_free(w);
}

uint64_t rf_gpu_weight_bytes(const struct rf_weight *weight) { return rf_gpu_weight_of(weight)->bytes; }

/* ---- x for the matrix unit ---- */

/* Room for as many rows as products from packed weights take (bf16 alone: for few, or for blobs), so that shapes of steps do not move it. */
struct act_room { uint64_t blocks, half, bf16, need; };
static struct act_room act_room(const struct rf_gpu *g, uint32_t cols, bool has_half, bool has_bf16)
{
    const uint64_t blocks = ((uint64_t)cols + 255) / 256 * 8, sets = has_half ? RF_GPU_FEW_MOST / 8 : 1, form = blocks * 1024;
    const uint64_t half = has_half ? sets * form : 0, bf16 = !has_bf16 ? 0 : rf_gpu_has_stream(g) ? blocks * 64 * RF_GPU_FEW_MOST : form;
    return (struct act_room){blocks, half, bf16, half + bf16 + sets * blocks * 32};
}

uint64_t rf_gpu_act_scratch(const struct rf_gpu *g, const struct rf_scratch_desc *d) { return g->has_mma ? act_room(g, d->cols, true, true).need : 0; }

static rf_status act_place(struct rf_gpu *g, uint32_t cols, float factor, struct act_args *at)
{
    struct rf_gpu_act *a = &g->act;
    const struct act_room room = act_room(g, cols, a->half, a->bf16);
    const uint64_t need = room.need;
    if (need > a->bytes) {
        a->of = 0;
        rf_gpu_free(g, a->dev, a->bytes); /* waits for work in flight */
        a->bytes = 0;
        RF_TRY(rf_gpu_alloc(g, need, "activations", &a->dev, NULL));
        a->bytes = need;
        int rc = g->dev.api.fill(a->dev, 0, need, g->stream); /* columns of rows that are not there are loaded, too */
        if (rc) return rf_gpu_slot(g, rc, "clearing activations");
    }
    *at = (struct act_args){.half = a->half ? a->dev : 0, .bf16 = a->bf16 ? a->dev + room.half : 0, .sum = a->dev + room.half + room.bf16,
                            .blocks = (unsigned)room.blocks, .factor = factor};
    return RF_OK;
}

/* What the form at `at` is made of. */
static void act_note(struct rf_gpu *g, rf_dev of, uint32_t rows, uint32_t cols, const struct act_args *at)
{
    g->act.at = *at;
    g->act.of = of;
    g->act.rows = rows;
    g->act.cols = cols;
}

rf_status rf_gpu_act_make(struct rf_gpu *g, rf_dev of, uint32_t rows, uint32_t cols, float factor, struct act_args *at)
{
    const struct rf_gpu_act *a = &g->act;
    *at = (struct act_args){0};
    const bool few = rows <= RF_GPU_FEW_ROWS, stream = !few && rf_gpu_has_stream(g);
    if (!g->has_mma || rows > RF_GPU_FEW_MOST || !(a->half || (a->bf16 && (few || stream)))) {
        rf_gpu_act_drop(g, of);
        return RF_OK;
    }
    if (rows == 1 || (stream && cols % 256)) at->factor = factor; /* products make the form themselves */
    else RF_TRY(act_place(g, cols, factor, at));
    if (stream && at->blocks) at->pad_rows = rf_gpu_pad_rows(rows);
    else if (!few) at->bf16 = 0; /* products of so many rows take it otherwise */
    act_note(g, of, rows, cols, at);
    return RF_OK;
}

void rf_gpu_act_drop(struct rf_gpu *g, rf_dev p)
{
    if (g->act.of == p) g->act.of = 0;
}

static bool act_is_of(const struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols) { return g->act.of == x && g->act.rows == rows && g->act.cols == cols; }

rf_dev rf_gpu_act_blobs(const struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols, bool bf16)
{
    return !act_is_of(g, x, rows, cols) || !g->act.at.pad_rows ? 0 : bf16 ? g->act.at.bf16 : g->act.at.half;
}

bool rf_gpu_act_tiles_room(const struct rf_gpu *g, uint32_t rows, uint32_t cols)
{
    return rf_gpu_has_stream(g) && rows > RF_GPU_FEW_MOST && rf_gpu_row_tiles(rows) * rf_gpu_k_tiles(cols) * RF_GPU_GEMM_TILE <= (uint64_t)rows * cols * sizeof(float);
}

void rf_gpu_act_tiles_make(struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols, struct act_args *at)
{
    *at = (struct act_args){.bf16 = x, .blocks = (unsigned)rf_gpu_k_tiles(cols) * 2, .pad_rows = RF_GPU_GEMM_ROWS, .factor = RF_GPU_FACTOR_ANY};
    act_note(g, x, rows, cols, at);
}

rf_dev rf_gpu_act_tiles_of(const struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols)
{
    return act_is_of(g, x, rows, cols) && g->act.at.pad_rows == RF_GPU_GEMM_ROWS ? g->act.at.bf16 : 0;
}

float rf_gpu_act_factor(const struct rf_gpu *g, rf_dev x, uint32_t rows, uint32_t cols)
{
    return act_is_of(g, x, rows, cols) ? g->act.at.factor : RF_GPU_FACTOR_ANY;
}

rf_status rf_gpu_act_get(struct rf_gpu *g, struct rf_stream *s, rf_dev x, uint32_t rows, uint32_t cols, struct act_args *at)
{
    *at = g->act.at;
    if (act_is_of(g, x, rows, cols) && (at->half || at->bf16) && !at->pad_rows) return RF_OK;
    struct act_row_args p = {.x = x, .cols = cols};
    RF_TRY(act_place(g, cols, rf_gpu_act_factor(g, x, rows, cols), &p.act));
    if (rows > RF_GPU_FEW_ROWS) p.act.bf16 = 0;
    act_note(g, x, rows, cols, &p.act);
    *at = p.act;
    uint32_t blocks = (p.act.blocks * 4 + 255) / 256;
    p.step = blocks * 256;
    return rf_gpu_launch_early(g, s, RF_GPU_K_act_rows, blocks, rows, 1, 256, 0, &p);
}

/* ---- the slots ---- */

/* Variants by rows of x; matmul.gpu: all give the same bits. */
static const uint32_t variants[] = {1, 4, 8};

uint32_t rf_gpu_same_type(const struct rf_matmul_args *a, uint32_t first)
{
    uint32_t n = 1;
    while (first + n < a->n_w && n < RF_GPU_MM_WEIGHTS && rf_gpu_weight_of(a->w[first + n])->type == rf_gpu_weight_of(a->w[first])->type) n++;
    return n;
}

static rf_status product(struct rf_gpu *g, struct rf_stream *s, const struct rf_matmul_args *a, uint32_t first, uint32_t n_w)
{
    const struct rf_gpu_weight *w0 = rf_gpu_weight_of(a->w[first]);
    uint32_t v = a->rows == 1 ? 0 : a->rows <= 4 ? 1 : 2;
    struct matmul_args p = {.x = a->x, .n_w = n_w, .n_chunk = w0->n_chunk, .cols = (unsigned)w0->cols, .m = a->rows};
    uint32_t all = 0, end = 0;
    for (uint32_t i = 0; i < n_w; i++) all += (uint32_t)((rf_gpu_weight_of(a->w[first + i])->rows + 15) / 16);
    uint32_t blocks = w0->type == RF_TYPE_BF16 ? MM_BLOCKS_BF16 : MM_BLOCKS;
    p.tiles = all <= MM_ONE ? 1 : RF_MIN((all + blocks - 1) / blocks, (uint32_t)RF_GPU_MM_TILES);
    for (uint32_t i = 0; i < n_w; i++) {
        const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w[first + i]);
        if (w->cols != w0->cols) return RF_INTERNAL;
        end += ((uint32_t)((w->rows + 15) / 16) + p.tiles - 1) / p.tiles;
        p.w[i] = (struct matmul_weight){.w = w->dev, .bias = a->bias[first + i], .out = a->out[first + i], .rows = (unsigned)w->rows,
            .out_stride = a->out_stride[first + i], .block_end = end};
    }
    if (g->has_mma && rf_gpu_is_matrix_type(w0->type)) {
        v = RF_MAX(v, 1u); /* the variant for one row is not for this one */
        RF_TRY(rf_gpu_act_get(g, s, p.x, a->rows, p.cols, &p.act));
    }
    for (uint32_t i = 0; i < n_w; i++) rf_gpu_act_drop(g, p.w[i].out);
    return rf_gpu_launch_early(g, s, w0->kernel + 2 + v, end, (a->rows + variants[v] - 1) / variants[v], 1, 32 * RF_GPU_MM_GROUPS, 0, &p);
}

rf_status rf_gpu_matmul(struct rf_backend *b, struct rf_stream *s, const struct rf_matmul_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    if (rf_gpu_one_takes(g, a)) return rf_gpu_one(g, s, a, 0, a->n_w);
    if (a->add || ((a->norm || a->glu) && a->rows <= RF_GPU_FEW_MOST)) return rf_gpu_one_pieces(b, s, a);
    if (a->rows > RF_GPU_FEW_ROWS) return rf_gpu_gemm(g, s, a);
    for (uint32_t i = 0, n_w; i < a->n_w; i += n_w) {
        n_w = rf_gpu_same_type(a, i);
        if (rf_gpu_one_fits(g, a, i, n_w)) RF_TRY(rf_gpu_one(g, s, a, i, n_w));
        else RF_TRY(product(g, s, a, i, n_w));
    }
    return g->fault;
}

rf_status rf_gpu_embed(struct rf_backend *b, struct rf_stream *s, const struct rf_embed_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    const struct rf_gpu_weight *w = rf_gpu_weight_of(a->w);
    for (uint32_t t = 0; t < g->batch->n_tok; t++)
        if (g->batch->token[t] < 0 ? !g->batch->fed : (uint64_t)g->batch->token[t] >= w->rows) return RF_INTERNAL;
    struct embed_args p = {.w = w->dev, .token = g->at.token, .out = a->out, .n_chunk = w->n_chunk, .cols = (unsigned)w->cols, .scale = a->scale};
    rf_gpu_act_drop(g, a->out);
    return rf_gpu_launch_early(g, s, w->kernel, g->at.n_row, 1, 1, 64, 0, &p);
}
