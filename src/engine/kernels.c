/* kernels.c - rf_bench_kernels: products, attention and the choice of tokens, one kernel at a time, through the backend's own slots.
 *
 * Weights are rotated over at least SPREAD bytes, so that caches do not hold them; a weight is one random row repeated, which arithmetic does not mind. Times are wall
 * clock over many calls with one wait at their end: launches overlap as they do in a step.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "rocmforge.h"

enum { SPREAD = 256 << 20, MOST_WEIGHTS = 64, MOST_REPS = 1000, MOST_CALLS = 200, HEAD = 128, VOCAB = 128256, SUM = 64 << 20, TOY = 1 << 20 };
#define TURN_S 0.02 /* a repetition's calls together */

struct bench {
    struct rf_backend *b;
    const struct rf_kernel_bench *o;
    double memory; /* bytes a second, measured first */
    bool stopped, toy; /* toy: shapes so small that somebody is trying things out */
    struct rf_error *err;
};
typedef rf_status (*call_fn)(struct bench *k, void *ctx, uint32_t i);

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static rf_status failed(const struct bench *k, rf_status s, const char *what)
{
    return rf_fail(k->err, s, "%s: %s: %s", k->b->info.name, what, s == RF_DEVICE ? k->b->info.detail : rf_status_name(s));
}

/* `calls` calls of fn, and the wait for them; seconds of one. */
static rf_status turn(struct bench *k, const char *what, call_fn fn, void *ctx, uint32_t calls, double *seconds)
{
    const double from = rf_now();
    rf_status s = RF_OK;
    for (uint32_t i = 0; i < calls && !s; i++) s = fn(k, ctx, i);
    if (!s) s = k->b->mem->stream_sync(k->b, NULL);
    *seconds = RF_MAX((rf_now() - from) / calls, 1e-9);
    return s ? failed(k, s, what) : RF_OK;
}

/* Median seconds of a call, and a line about it. */
static rf_status measure(struct bench *k, struct rf_kernel_speed *r, double bytes, double ops, call_fn fn, void *ctx)
{
    double t[MOST_REPS], warm;
    const uint32_t reps = RF_MIN(RF_MAX(k->o->reps, 1u), (uint32_t)MOST_REPS);
    RF_TRY(turn(k, r->kernel, fn, ctx, 1, &warm)); /* what slots take on first use */
    RF_TRY(turn(k, r->kernel, fn, ctx, 1, &warm));
    const uint32_t calls = (uint32_t)RF_MAX(RF_MIN(TURN_S / warm, (double)MOST_CALLS), 1);
    for (uint32_t i = 0; i < reps; i++) RF_TRY(turn(k, r->kernel, fn, ctx, calls, &t[i]));
    qsort(t, reps, sizeof *t, by_value);
    const double s = reps % 2 ? t[reps / 2] : (t[reps / 2 - 1] + t[reps / 2]) / 2;
    if (k->memory <= 0) k->memory = bytes / s; /* the first line */
    r->us = s * 1e6;
    r->gb_per_s = bytes / s * 1e-9;
    r->tflop_per_s = ops / s * 1e-12;
    r->share = bytes / s / k->memory;
    k->stopped = !k->o->on_row(k->o->ctx, r);
    return RF_OK;
}

/* Normal floats in device memory. */
static rf_status filled(struct bench *k, uint64_t n, rf_dev *out)
{
    struct rf_rng rng = {1};
    enum { PERIOD = 100003 };
    float *x = rf_alloc_array(n, sizeof *x);
    *out = 0;
    if (!x) return rf_fail_nomem(k->err, "numbers for a kernel", n * sizeof *x);
    for (uint64_t i = 0; i < n; i++) x[i] = i < PERIOD ? (float)rf_rng_normal(&rng) : x[i - PERIOD];
    rf_status s = k->b->mem->alloc(k->b, n * sizeof *x, out, k->err);
    if (!s) s = k->b->mem->upload(k->b, NULL, *out, x, n * sizeof *x);
    if (!s) s = k->b->mem->stream_sync(k->b, NULL);
    rf_free(x);
    return s;
}

static void release(struct bench *k, rf_dev *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i]) k->b->mem->free(k->b, p[i]);
}

/* The step's shape as slots want to be told: `rows` tokens of one sequence from position `past` on. index, table and first live as long as the calls. */
struct shape { int32_t *index, *table; int32_t first[2]; const int32_t *tables[1]; struct rf_batch batch; };

static rf_status shape_begin(struct bench *k, struct shape *h, uint32_t rows, uint32_t past, uint32_t n_block)
{
    h->index = rf_alloc_array(2 * (size_t)rows, sizeof *h->index);
    h->table = rf_alloc_array(n_block, sizeof *h->table);
    if (!h->index || !h->table) return rf_fail_nomem(k->err, "a step's shape", (2 * (size_t)rows + n_block) * sizeof *h->index);
    for (uint32_t i = 0; i < rows; i++) {
        h->index[i] = (int32_t)(past + i);
        h->index[rows + i] = 0; /* token */
    }
    for (uint32_t i = 0; i < n_block; i++) h->table[i] = (int32_t)i;
    h->first[0] = 0;
    h->first[1] = (int32_t)rows;
    h->tables[0] = h->table;
    h->batch = (struct rf_batch){.n_tok = rows, .n_seq = 1, .n_group = 1, .token = h->index + rows, .pos = h->index, .seq_first = h->first,
                                 .block_table = h->tables, .table_stride = n_block};
    rf_status s = k->b->ops->batch_begin(k->b, NULL, &h->batch);
    return s ? failed(k, s, "a step's shape") : RF_OK;
}

static void shape_end(struct shape *h)
{
    rf_free(h->index);
    rf_free(h->table);
}

/* ---- memory: out = a + b over arrays that no cache holds; three times their bytes pass ---- */

static rf_status call_sum(struct bench *k, void *ctx, uint32_t i)
{
    (void)i;
    return k->b->ops->add(k->b, NULL, ctx);
}

static rf_status sums(struct bench *k)
{
    const uint64_t n = k->toy ? TOY / 16 : SUM;
    rf_dev p[3] = {0};
    rf_status s = RF_OK;
    for (int i = 0; i < 3 && !s; i++) s = filled(k, n, &p[i]);
    struct rf_add_args a = {.a = p[0], .b = p[1], .out = p[2], .n = n, .b_scale = 1};
    struct rf_kernel_speed r = {.kernel = "sum", .what = "F32", .rows = 1, .outputs = (uint32_t)n};
    if (!s) s = measure(k, &r, 12.0 * (double)n, (double)n, call_sum, &a);
    release(k, p, 3);
    return s;
}

/* ---- products ---- */

struct products { struct rf_weight *w[MOST_WEIGHTS]; char *data; uint32_t n; struct rf_matmul_args a; }; /* data: backends may compute in place */

static rf_status call_product(struct bench *k, void *ctx, uint32_t i)
{
    struct products *p = ctx;
    p->a.w[0] = p->w[i % p->n];
    return k->b->ops->matmul(k->b, NULL, &p->a);
}

static rf_status weights_make(struct bench *k, uint32_t type, uint32_t outputs, uint32_t inputs, struct products *p)
{
    struct rf_rng rng = {7};
    uint64_t row, all;
    bool copied;
    if (!rf_type_row_bytes(type, inputs, &row) || !rf_mul64(row, outputs, &all))
        return rf_fail(k->err, RF_INVALID, "a product of %u x %u values of %s cannot be", outputs, inputs, rf_type_name(type));
    float *x = rf_alloc_array(inputs, sizeof *x);
    char *data = p->data = rf_alloc(all);
    rf_status s = x && data ? RF_OK : rf_fail_nomem(k->err, "a weight", all);
    for (uint32_t i = 0; i < inputs && !s; i++) x[i] = (float)rf_rng_normal(&rng);
    if (!s) rf_type_get(type)->encode(x, data, inputs);
    for (uint64_t i = 1; i < outputs && !s; i++) memcpy(data + i * row, data, row);
    struct rf_weight_desc d = {.name = "a weight", .type = type, .rows = outputs, .cols = inputs, .data = data};
    const uint64_t want = k->toy ? 2 : RF_MIN((SPREAD + all - 1) / all, (uint64_t)MOST_WEIGHTS);
    while (!s && p->n < want) {
        s = k->b->mem->weight_create(k->b, &d, &p->w[p->n], &copied, k->err);
        p->n += !s;
    }
    rf_free(x);
    return s;
}

static rf_status products(struct bench *k, uint32_t type, uint32_t outputs, uint32_t inputs)
{
    struct products p = {.n = 0};
    uint64_t bytes;
    rf_status s = weights_make(k, type, outputs, inputs, &p);
    if (!rf_type_row_bytes(type, inputs, &bytes) || !rf_mul64(bytes, outputs, &bytes)) bytes = 0;
    const uint64_t kept = s ? 0 : k->b->mem->weight_bytes(p.w[0]);
    if (kept) bytes = RF_MIN(bytes, kept); /* F8_E4M3 is smaller on a GPU */
    for (size_t i = 0; i < k->o->n_rows && !s && !k->stopped; i++) {
        const uint32_t m = k->o->rows[i];
        rf_dev x[2] = {0};
        struct shape h = {0};
        s = filled(k, (uint64_t)m * inputs, &x[0]);
        if (!s) s = filled(k, (uint64_t)m * outputs, &x[1]);
        if (!s) s = shape_begin(k, &h, m, 0, m / RF_KV_BLOCK_TOKENS + 1);
        p.a = (struct rf_matmul_args){.x = x[0], .rows = m, .n_w = 1, .out = {x[1]}, .out_stride = {outputs}};
        struct rf_kernel_speed r = {.kernel = "product", .what = rf_type_name(type), .rows = m, .outputs = outputs, .inputs = inputs};
        if (!s) s = measure(k, &r, (double)bytes, 2.0 * outputs * inputs * m, call_product, &p);
        shape_end(&h);
        release(k, x, 2);
    }
    for (uint32_t i = 0; i < p.n; i++) k->b->mem->weight_free(k->b, p.w[i]);
    rf_free(p.data);
    return s;
}

/* ---- attention ---- */

static rf_status call_attention(struct bench *k, void *ctx, uint32_t i)
{
    (void)i;
    return k->b->ops->attention(k->b, NULL, ctx);
}

/* `rows` tokens behind `past`, four query heads of 128 to a KV head, as wide as `width`. */
static rf_status attention(struct bench *k, uint32_t width, uint32_t rows, uint32_t past)
{
    const uint32_t n_head = RF_MAX(width / HEAD, 1u), n_kv = RF_MAX(n_head / 4, 1u), n_block = (past + rows) / RF_KV_BLOCK_TOKENS + 1;
    const uint64_t cols = (uint64_t)n_head * HEAD;
    struct rf_kv_desc d = {.n_block = n_block, .n_slot = 1, .n_kv_head = n_kv, .head_dim = HEAD, .type = RF_KV_F16};
    struct rf_kv_store *kv = NULL;
    struct shape h = {0};
    rf_dev x[2] = {0};
    rf_status s = k->b->mem->kv_create(k->b, &d, &kv, k->err);
    for (int i = 0; i < 2 && !s; i++) s = filled(k, rows * cols, &x[i]);
    if (!s) s = shape_begin(k, &h, rows, past, n_block);
    struct rf_attention_args a = {.q = x[0], .out = x[1], .q_stride = (uint32_t)cols, .out_stride = (uint32_t)cols, .n_head = n_head / n_kv * n_kv, .n_kv_head = n_kv,
                                  .head_dim = HEAD, .scale = 0.1f, .kv = kv};
    struct rf_kernel_speed r = {.kernel = "attention", .what = rows > 1 ? "prompt" : "decode", .rows = rows, .outputs = a.n_head * HEAD, .inputs = past};
    const double keys = (double)past + 0.5 * (rows + 1.0); /* that a token sees: causal */
    if (!s) s = measure(k, &r, 4.0 * n_kv * HEAD * ((double)past + rows), 4.0 * a.n_head * HEAD * rows * keys, call_attention, &a);
    shape_end(&h);
    release(k, x, 2);
    if (kv) k->b->mem->kv_free(k->b, kv);
    return s;
}

/* ---- tokens ---- */

static rf_status call_choose(struct bench *k, void *ctx, uint32_t i)
{
    (void)i;
    return k->b->ops->choose(k->b, NULL, ctx);
}

static rf_status choosing(struct bench *k, const char *name, struct rf_choice c, uint32_t n_vocab)
{
    rf_dev x[3] = {0};
    int32_t zero = 0, first[2] = {0, 1};
    struct rf_batch batch = {.n_tok = 1, .n_seq = 1, .n_out = 1, .token = &zero, .pos = &zero, .seq_first = first, .out_row = &zero, .choice = &c};
    rf_status s = filled(k, n_vocab, &x[0]);
    if (!s) s = k->b->mem->alloc(k->b, sizeof(struct rf_chosen), &x[1], k->err);
    if (!s) s = k->b->mem->alloc(k->b, RF_CHOICE_TOP * sizeof(struct rf_chosen_top), &x[2], k->err);
    if (!s && (s = k->b->ops->batch_begin(k->b, NULL, &batch))) s = failed(k, s, "a step's shape");
    struct rf_choose_args a = {.logits = x[0], .chosen = x[1], .top = x[2], .n_vocab = n_vocab};
    struct rf_kernel_speed r = {.kernel = "choice", .what = name, .rows = 1, .outputs = n_vocab};
    if (!s) s = measure(k, &r, 4.0 * n_vocab, 0, call_choose, &a);
    release(k, x, 3);
    return s;
}

static rf_status all(struct bench *k)
{
    static const uint32_t types[] = {RF_TYPE_Q4_K, RF_TYPE_Q6_K, RF_TYPE_Q8_0, RF_TYPE_F8_E4M3, RF_TYPE_BF16};
    static const struct { const char *name; struct rf_choice c; } choices[] = {
        {"greedy", {.by = RF_CHOICE_BEST, .n_top = -1}},
        {"temperature", {.by = RF_CHOICE_DRAW, .scale = 1, .draw = UINT64_C(0x5deece66d0b), .top_p = RF_CHOICE_ALL, .n_top = -1}},
        {"top_p", {.by = RF_CHOICE_DRAW, .scale = 3, .draw = UINT64_C(0x5deece66d0b), .top_p = RF_CHOICE_ALL / 20 * 19, .n_top = -1}}, /* as sharp as trained models are */
        {"top_k, top_p", {.by = RF_CHOICE_DRAW, .scale = 1, .draw = UINT64_C(0x5deece66d0b), .top_k = 40, .top_p = RF_CHOICE_ALL / 20 * 19, .n_top = -1}}};
    const struct rf_kernel_bench *o = k->o;
    const uint32_t width = o->shapes[0].inputs;
    RF_TRY(sums(k));
    for (size_t t = 0; t < RF_COUNT(types); t++)
        for (size_t i = 0; i < o->n_shapes && !k->stopped; i++)
            if (o->shapes[i].inputs % rf_type_get(types[t])->block == 0) RF_TRY(products(k, types[t], o->shapes[i].outputs, o->shapes[i].inputs));
    if (!k->stopped) RF_TRY(attention(k, width, 1, o->context));
    if (!k->stopped && o->context > 1) RF_TRY(attention(k, width, RF_MIN(o->context, 2048u), 0));
    for (size_t i = 0; i < RF_COUNT(choices) && !k->stopped && k->b->ops->choose; i++)
        RF_TRY(choosing(k, choices[i].name, choices[i].c, RF_MIN((uint32_t)VOCAB, 32 * RF_MIN(o->shapes[0].outputs, (uint32_t)VOCAB))));
    return k->stopped ? rf_fail(k->err, RF_CANCELLED, "interrupted") : RF_OK;
}

rf_status rf_bench_kernels(const struct rf_kernel_bench *o, struct rf_error *err)
{
    const struct rf_model_options *m = o->open;
    struct rf_backend_options b = {.device = m->device, .n_threads = m->n_threads, .isa = m->isa, .attention = m->attention, .allow_cpu = m->allow_cpu,
                                   .memory_fraction = m->gpu_memory_fraction};
    struct bench k = {.o = o, .err = err, .toy = o->n_shapes && (uint64_t)o->shapes[0].outputs * o->shapes[0].inputs < TOY};
    if (!o->n_shapes || !o->n_rows || o->context > 1 << 20)
        return rf_fail(err, RF_INVALID, "kernels to measure: found %zu shapes, %zu numbers of rows and a context of %u, expected one at least of each, and 1048576 at most",
                       o->n_shapes, o->n_rows, o->context);
    RF_TRY(rf_backend_open(&k.b, &b, err));
    rf_status s = o->on_device && !o->on_device(o->ctx, k.b->info.name, k.b->info.detail) ? rf_fail(err, RF_CANCELLED, "interrupted") : all(&k);
    rf_backend_close(k.b);
    return s;
}
