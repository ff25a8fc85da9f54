/* weights.c - weight matrices in device memory: rows repacked into planes (kernels/args.h), and the products with them.
 *
 * Small matrices share slabs, so that a model is a few large allocations. Packing runs on the host into two pinned buffers that take turns, one
 * filled while the other travels.
 */
#include <inttypes.h>
#include <string.h>

#include "backend/gpu/gpu.h"
#include "base/mem.h"

enum { SLAB = 64 << 20, STAGE = 8 << 20, ALIGN = 256 };

struct rf_gpu_slab {
    struct rf_gpu_slab *next;
    rf_dev dev;
    uint64_t bytes, used;
    uint32_t n_live;
};

struct gpu_weight {
    struct rf_gpu_slab *slab;
    rf_dev dev;
    uint64_t rows, cols;
    uint32_t row_bytes;
    enum rf_gpu_kernel kernel; /* embed_TYPE; the three products follow */
};

/* ---- packing: one block of 32 values of a quantised row ---- */

struct planes { uint8_t *codes, *high, *scale, *super; };

/* Codes of 32 values below 16, low nibbles the first half; `q` may hold higher bits. */
static void put4(uint8_t *codes, const uint8_t *q)
{
    for (int i = 0; i < 16; i++) codes[i] = (uint8_t)((q[i] & 15) | q[16 + i] << 4);
}
/* Value e of octet j in a block: e 0..3 from the first half, 4..7 from the second. */
static int octet_value(int j, int e) { return e < 4 ? 4 * j + e : 12 + 4 * j + e; }
static void put_bits1(uint8_t *to, const uint8_t *q, int shift)
{
    for (int j = 0; j < 4; j++) {
        unsigned u = 0;
        for (int e = 0; e < 8; e++) u |= (unsigned)(q[octet_value(j, e)] >> shift & 1) << e;
        to[j] = (uint8_t)u;
    }
}
static void put_bits2(uint8_t *to, const uint8_t *q, int shift)
{
    for (int j = 0; j < 4; j++) {
        unsigned u = 0;
        for (int e = 0; e < 8; e++) u |= (unsigned)(q[octet_value(j, e)] >> shift & 3) << (2 * e);
        to[2 * j] = (uint8_t)u;
        to[2 * j + 1] = (uint8_t)(u >> 8);
    }
}

static void pack_q4_0(const uint8_t *p, size_t b, struct planes o)
{
    p += b * 18;
    memcpy(o.scale + 2 * b, p, 2);
    memcpy(o.codes + 16 * b, p + 2, 16);
}
static void pack_q4_1(const uint8_t *p, size_t b, struct planes o)
{
    p += b * 20;
    memcpy(o.scale + 4 * b, p, 4);
    memcpy(o.codes + 16 * b, p + 4, 16);
}
static void pack_high5(const uint8_t *high, size_t b, struct planes o)
{
    uint8_t bit[32];
    for (int i = 0; i < 32; i++) bit[i] = (uint8_t)(high[i / 8] >> (i % 8) & 1);
    put_bits1(o.high + 4 * b, bit, 0);
}
static void pack_q5_0(const uint8_t *p, size_t b, struct planes o)
{
    p += b * 22;
    memcpy(o.scale + 2 * b, p, 2);
    pack_high5(p + 2, b, o);
    memcpy(o.codes + 16 * b, p + 6, 16);
}
static void pack_q5_1(const uint8_t *p, size_t b, struct planes o)
{
    p += b * 24;
    memcpy(o.scale + 4 * b, p, 4);
    pack_high5(p + 4, b, o);
    memcpy(o.codes + 16 * b, p + 8, 16);
}
static void pack_q8_0(const uint8_t *p, size_t b, struct planes o)
{
    p += b * 34;
    memcpy(o.scale + 2 * b, p, 2);
    memcpy(o.codes + 32 * b, p + 2, 32);
}

/* Super-blocks: block b is number s of its super-block. Layouts: src/quant/kquant.c. */
static void pack_q2_k(const uint8_t *p, size_t b, struct planes o)
{
    uint8_t q[32];
    size_t s = b % 8;
    p += b / 8 * 84;
    for (int l = 0; l < 32; l++) q[l] = p[16 + 32 * (s / 4) + l] >> (2 * (s % 4)) & 3;
    put_bits2(o.codes + 8 * b, q, 0);
    memcpy(o.scale + 2 * b, p + 2 * s, 2);
    if (!s) memcpy(o.super + b / 8 * 4, p + 80, 4);
}
static void pack_q3_k(const uint8_t *p, size_t b, struct planes o)
{
    uint8_t q[32];
    size_t s = b % 8, h = s / 4, j = s % 4;
    p += b / 8 * 110;
    for (int l = 0; l < 32; l++) q[l] = (uint8_t)((p[32 + 32 * h + l] >> (2 * j) & 3) | (p[l] >> (4 * h + j) & 1) << 2);
    put_bits2(o.codes + 8 * b, q, 0);
    put_bits1(o.high + 4 * b, q, 2);
    for (size_t i = 2 * s; i < 2 * s + 2; i++) {
        int low = i < 8 ? p[96 + i] & 15 : p[96 + i - 8] >> 4;
        o.scale[16 * (b / 8) + i] = (uint8_t)(low | (p[104 + i % 4] >> (2 * (i / 4)) & 3) << 4);
    }
    if (!s) memcpy(o.super + b / 8 * 2, p + 108, 2);
}
static void pack_scale_min(const uint8_t *sc, size_t s, uint8_t *to)
{
    to[0] = s < 4 ? sc[s] & 63 : (uint8_t)((sc[4 + s] & 15) | (sc[s - 4] >> 2 & 0x30));
    to[1] = s < 4 ? sc[4 + s] & 63 : (uint8_t)(sc[4 + s] >> 4 | (sc[s] >> 2 & 0x30));
}
static void pack_q4_k(const uint8_t *p, size_t b, struct planes o)
{
    uint8_t q[32];
    size_t s = b % 8;
    p += b / 8 * 144;
    for (int l = 0; l < 32; l++) q[l] = p[16 + 32 * (s / 2) + l] >> (4 * (s % 2)) & 15;
    put4(o.codes + 16 * b, q);
    pack_scale_min(p + 4, s, o.scale + 2 * b);
    if (!s) memcpy(o.super + b / 8 * 4, p, 4);
}
static void pack_q5_k(const uint8_t *p, size_t b, struct planes o)
{
    uint8_t q[32];
    size_t s = b % 8;
    p += b / 8 * 176;
    for (int l = 0; l < 32; l++) q[l] = (uint8_t)((p[48 + 32 * (s / 2) + l] >> (4 * (s % 2)) & 15) | (p[16 + l] >> s & 1) << 4);
    put4(o.codes + 16 * b, q);
    put_bits1(o.high + 4 * b, q, 4);
    pack_scale_min(p + 4, s, o.scale + 2 * b);
    if (!s) memcpy(o.super + b / 8 * 4, p, 4);
}
static void pack_q6_k(const uint8_t *p, size_t b, struct planes o)
{
    uint8_t q[32];
    size_t s = b % 8, h = s / 4, j = s % 4;
    p += b / 8 * 210;
    for (int l = 0; l < 32; l++)
        q[l] = (uint8_t)((p[64 * h + 32 * (j & 1) + l] >> (4 * (j >> 1)) & 15) | (p[128 + 32 * h + l] >> (2 * j) & 3) << 4);
    put4(o.codes + 16 * b, q);
    put_bits2(o.high + 8 * b, q, 4);
    memcpy(o.scale + 2 * b, p + 192 + 2 * s, 2);
    if (!s) memcpy(o.super + b / 8 * 2, p + 208, 2);
}

/* Bytes of each plane: codes, high, scale per block of 32, super per 256. pack NULL: the row as it is in the file. */
static const struct layout {
    uint32_t type;
    enum rf_gpu_kernel kernel;
    uint8_t codes, high, scale, super;
    void (*pack)(const uint8_t *row, size_t b, struct planes o);
} layouts[] = {
    {RF_TYPE_F32, RF_GPU_K_embed_f32, 128, 0, 0, 0, NULL},
    {RF_TYPE_F16, RF_GPU_K_embed_f16, 64, 0, 0, 0, NULL},
    {RF_TYPE_BF16, RF_GPU_K_embed_bf16, 64, 0, 0, 0, NULL},
    {RF_TYPE_Q4_0, RF_GPU_K_embed_q4_0, 16, 0, 2, 0, pack_q4_0},
    {RF_TYPE_Q4_1, RF_GPU_K_embed_q4_1, 16, 0, 4, 0, pack_q4_1},
    {RF_TYPE_Q5_0, RF_GPU_K_embed_q5_0, 16, 4, 2, 0, pack_q5_0},
    {RF_TYPE_Q5_1, RF_GPU_K_embed_q5_1, 16, 4, 4, 0, pack_q5_1},
    {RF_TYPE_Q8_0, RF_GPU_K_embed_q8_0, 32, 0, 2, 0, pack_q8_0},
    {RF_TYPE_Q2_K, RF_GPU_K_embed_q2_k, 8, 0, 2, 4, pack_q2_k},
    {RF_TYPE_Q3_K, RF_GPU_K_embed_q3_k, 8, 4, 2, 2, pack_q3_k},
    {RF_TYPE_Q4_K, RF_GPU_K_embed_q4_k, 16, 0, 2, 4, pack_q4_k},
    {RF_TYPE_Q5_K, RF_GPU_K_embed_q5_k, 16, 4, 2, 4, pack_q5_k},
    {RF_TYPE_Q6_K, RF_GPU_K_embed_q6_k, 16, 8, 2, 2, pack_q6_k},
};

static const struct layout *layout_of(uint32_t type)
{
    for (size_t i = 0; i < RF_COUNT(layouts); i++)
        if (layouts[i].type == type) return &layouts[i];
    return NULL;
}

/* cols is a multiple of 8, and of the type's block. Fits 32 bits or is refused by the caller. */
static uint64_t row_bytes_of(const struct layout *l, uint64_t cols)
{
    uint64_t bytes = cols / 8 * l->codes / 4 + cols / 32 * (l->high + l->scale) + cols / 256 * l->super;
    return (bytes + 15) & ~UINT64_C(15);
}

static void pack_row(const struct layout *l, const uint8_t *row, uint8_t *to, uint64_t cols, uint32_t row_bytes)
{
    size_t n = (size_t)(cols / 32);
    if (!l->pack) {
        memcpy(to, row, cols / 8 * l->codes / 4);
        return;
    }
    memset(to + row_bytes - 16, 0, 16);
    struct planes o = {.codes = to, .high = to + n * l->codes};
    o.scale = o.high + n * l->high;
    o.super = o.scale + n * l->scale;
    for (size_t b = 0; b < n; b++) l->pack(row, b, o);
}

/* ---- slabs ---- */

static rf_status slab_take(struct rf_gpu *g, uint64_t bytes, const char *what, struct gpu_weight *w, struct rf_error *err)
{
    struct rf_gpu_slab *s = g->slabs;
    bytes = (bytes + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
    while (s && s->bytes - s->used < bytes) s = s->next;
    if (!s) {
        if (!(s = rf_alloc_array(1, sizeof *s))) return rf_fail_nomem(err, what, sizeof *s);
        size_t free_ = 0, total = 0;
        g->dev.api.mem_info(&free_, &total);
        s->bytes = bytes < SLAB / 4 && free_ > 4 * (uint64_t)SLAB ? SLAB : bytes;
        rf_status st = rf_gpu_alloc(g, s->bytes, what, &s->dev, err);
        if (st) {
            rf_free(s);
            return st;
        }
        s->next = g->slabs;
        g->slabs = s;
    }
    w->slab = s;
    w->dev = s->dev + s->used;
    s->used += bytes;
    s->n_live++;
    return RF_OK;
}

static void slab_give(struct rf_gpu *g, struct rf_gpu_slab *s)
{
    if (!s || --s->n_live) return;
    for (struct rf_gpu_slab **p = &g->slabs; *p; p = &(*p)->next)
        if (*p == s) {
            *p = s->next;
            break;
        }
    rf_gpu_free(g, s->dev, s->bytes);
    rf_free(s);
}

/* ---- create ---- */

static rf_status stage_need(struct rf_gpu *g, struct rf_gpu_buffer *b, size_t bytes, struct rf_error *err)
{
    if (b->sent && b->bytes) RF_TRY(rf_gpu_check(&g->dev, g->dev.api.event_sync(b->sent), "uploading weights", err));
    if (bytes <= b->bytes) return RF_OK;
    rf_gpu_buffer_release(g, b);
    int rc = g->dev.api.event_create(&b->sent, g->dev.vendor->event_flags);
    if (!rc) rc = g->dev.api.host_alloc(&b->host, bytes, 0);
    if (!rc) b->bytes = bytes;
    return rf_gpu_check(&g->dev, rc, "pinned memory for weights", err);
}

static rf_status upload(struct rf_gpu *g, const struct gpu_weight *w, const struct layout *l, const struct rf_weight_desc *d,
                        uint64_t file_row, struct rf_error *err)
{
    uint64_t step = RF_MAX((uint64_t)STAGE / w->row_bytes, UINT64_C(1));
    int turn = 0;
    for (uint64_t r = 0; r < w->rows; r += step, turn ^= 1) {
        uint64_t n = RF_MIN(step, w->rows - r);
        struct rf_gpu_buffer *b = &g->staging[turn];
        RF_TRY(stage_need(g, b, (size_t)RF_MAX(n * w->row_bytes, (uint64_t)STAGE), err));
        for (uint64_t i = 0; i < n; i++)
            pack_row(l, (const uint8_t *)d->data + (r + i) * file_row, (uint8_t *)b->host + i * w->row_bytes, w->cols, w->row_bytes);
        int rc = g->dev.api.upload(w->dev + r * w->row_bytes, b->host, (size_t)(n * w->row_bytes), g->stream);
        if (!rc) rc = g->dev.api.event_record(b->sent, g->stream);
        RF_TRY(rf_gpu_check(&g->dev, rc, d->name, err));
    }
    return RF_OK;
}

rf_status rf_gpu_weight_create(struct rf_backend *b, const struct rf_weight_desc *d, struct rf_weight **out, bool *copied,
                               struct rf_error *err)
{
    struct rf_gpu *g = rf_gpu_of(b);
    const struct layout *l = layout_of(d->type);
    uint64_t file_row, bytes;
    *out = NULL;
    if (!l) return rf_fail(err, RF_UNSUPPORTED, "%s: %s: this backend has no type %s", g->dev.id, d->name, rf_type_name(d->type));
    if (!d->rows || !d->cols || d->cols % 8 || !rf_type_row_bytes(d->type, d->cols, &file_row))
        return rf_fail(err, RF_UNSUPPORTED, "%s: %s: %" PRIu64 " x %" PRIu64 " values of %s, expected rows of a multiple of 8 and of the type's block",
                       g->dev.id, d->name, d->rows, d->cols, rf_type_name(d->type));
    if (d->cols > INT32_MAX / 4 || d->rows > INT32_MAX || !rf_mul64(row_bytes_of(l, d->cols), d->rows, &bytes))
        return rf_fail(err, RF_TOO_LARGE, "%s: %s: %" PRIu64 " x %" PRIu64 " values are too many", g->dev.id, d->name, d->rows, d->cols);
    struct gpu_weight *w = rf_alloc_array(1, sizeof *w);
    if (!w) return rf_fail_nomem(err, d->name, sizeof *w);
    *w = (struct gpu_weight){.rows = d->rows, .cols = d->cols, .row_bytes = (uint32_t)row_bytes_of(l, d->cols), .kernel = l->kernel};
    rf_status s = slab_take(g, bytes, d->name, w, err);
    if (!s) s = upload(g, w, l, d, file_row, err);
    if (s) {
        rf_gpu_weight_free(b, (struct rf_weight *)w);
        return s;
    }
    *copied = true;
    *out = (struct rf_weight *)w;
    return RF_OK;
}

void rf_gpu_weight_free(struct rf_backend *b, struct rf_weight *weight)
{
    struct gpu_weight *w = (struct gpu_weight *)weight;
    if (!w) return;
    slab_give(rf_gpu_of(b), w->slab);
    rf_free(w);
}

uint64_t rf_gpu_weight_bytes(const struct rf_weight *weight)
{
    const struct gpu_weight *w = (const struct gpu_weight *)weight;
    return w->rows * w->row_bytes;
}

/* ---- the slots ---- */

/* Variants by rows of x: how many a block takes, and how many weight rows a warp takes. matmul.gpu: all give the same bits. */
static const struct { uint32_t m, rows_per_warp; } variants[] = {{1, 2}, {4, 4}, {8, 4}};

rf_status rf_gpu_matmul(struct rf_backend *b, struct rf_stream *s, const struct rf_matmul_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    uint32_t v = a->rows == 1 ? 0 : a->rows <= 4 ? 1 : 2;
    for (uint32_t i = 0; i < a->n_w; i++) {
        const struct gpu_weight *w = (const struct gpu_weight *)a->w[i];
        uint32_t per_block = variants[v].rows_per_warp * RF_GPU_MM_WARPS;
        for (uint32_t from = 0; from < a->rows; from += 32768 * variants[v].m) { /* a grid is at most 65535 high */
            uint32_t n = RF_MIN(a->rows - from, 32768 * variants[v].m);
            struct matmul_args p = {.w = w->dev, .x = a->x + (rf_dev)from * w->cols * sizeof(float), .bias = a->bias[i],
                .out = a->out[i] + (rf_dev)from * a->out_stride[i] * sizeof(float), .row_bytes = w->row_bytes,
                .rows = (unsigned)w->rows, .cols = (unsigned)w->cols, .m = n, .out_stride = a->out_stride[i]};
            RF_TRY(rf_gpu_launch(g, s, w->kernel + 1 + v, (w->rows + per_block - 1) / per_block,
                                 (n + variants[v].m - 1) / variants[v].m, 1, RF_GPU_MM_WARPS * g->warp, &p));
        }
    }
    return g->fault;
}

rf_status rf_gpu_embed(struct rf_backend *b, struct rf_stream *s, const struct rf_embed_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    const struct gpu_weight *w = (const struct gpu_weight *)a->w;
    for (uint32_t t = 0; t < g->batch->n_tok; t++)
        if (g->batch->token[t] < 0 || (uint64_t)g->batch->token[t] >= w->rows) return RF_INTERNAL;
    struct embed_args p = {.w = w->dev, .token = g->at.token, .out = a->out, .row_bytes = w->row_bytes, .cols = (unsigned)w->cols,
                           .scale = a->scale};
    return rf_gpu_launch(g, s, w->kernel, g->batch->n_tok, 1, 1, 64, &p);
}
