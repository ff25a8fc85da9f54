/* ops.c - the op slots but attention: each shares its rows or elements out over the pool's threads.
 *
 * Work below SERIAL elements (a few microseconds) stays on the calling thread: waking the others would cost more than it saves.
 */
#include <math.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/mem.h"

enum { SERIAL = 16384 };

/* ---- sharing out ---- */

struct share {
    struct rf_cpu *c;
    const void *args;
    void (*body)(struct rf_cpu *c, const void *args, size_t from, size_t to);
    size_t n, grain;
};

static void share_body(void *ctx, unsigned tid, unsigned n_threads)
{
    (void)tid;
    (void)n_threads;
    struct share *s = ctx;
    size_t from, to;
    while (rf_pool_next(s->c->pool, s->n, s->grain, &from, &to)) s->body(s->c, s->args, from, to);
}

/* body over items 0..n-1 of `weight` elements each; pieces are whole multiples of `unit` items. */
static void share_out(struct rf_cpu *c, size_t n, size_t weight, size_t unit, const void *args,
                      void (*body)(struct rf_cpu *c, const void *args, size_t from, size_t to))
{
    unsigned threads = rf_pool_size(c->pool);
    if (!n) return;
    if (threads == 1 || n * weight < SERIAL) {
        body(c, args, 0, n);
        return;
    }
    size_t grain = (n + 4 * threads - 1) / (4 * threads); /* four pieces a thread: one late core costs an eighth */
    if (grain * weight < SERIAL / 4) grain = SERIAL / 4 / weight + 1;
    grain = (grain + unit - 1) / unit * unit;
    struct share s = {.c = c, .args = args, .body = body, .n = n, .grain = grain};
    rf_pool_run(c->pool, share_body, &s);
}

/* ---- the step's shape ---- */

/* at: NULL for all tokens, or those that the n rows belong to. */
static rf_status find_lots(struct rf_cpu *c, struct rf_cpu_lots *l, const struct rf_batch *batch, const int32_t *at, uint32_t n)
{
    const uint32_t *seq = c->tok_seq.data;
    l->rows = (struct rf_linear_rows){.n_plain = n};
    if (!c->has_bulk || !batch->bulk_end) return RF_OK;
    RF_TRY(rf_cpu_scratch_need(&l->row, n * sizeof(uint32_t)));
    uint32_t *row = l->row.data, n_lot[2] = {0};
    for (int bulk = 0; bulk < 2; bulk++)
        for (uint32_t i = 0; i < n; i++) {
            uint32_t t = at ? (uint32_t)at[i] : i;
            if ((batch->pos[t] < batch->bulk_end[seq[t]]) == bulk) row[n_lot[0] + n_lot[1]] = i, n_lot[bulk]++;
        }
    if (n_lot[1]) l->rows = (struct rf_linear_rows){row, n_lot[0], n_lot[1]};
    return RF_OK;
}

static rf_status op_batch_begin(struct rf_backend *b, struct rf_stream *st, const struct rf_batch *batch)
{
    (void)st;
    struct rf_cpu *c = rf_cpu_of(b);
    RF_TRY(rf_cpu_scratch_need(&c->tok_seq, batch->n_tok * sizeof(uint32_t)));
    uint32_t *seq = c->tok_seq.data;
    for (uint32_t s = 0; s < batch->n_seq; s++)
        for (int32_t t = batch->seq_first[s]; t < batch->seq_first[s + 1]; t++) seq[t] = s;
    RF_TRY(find_lots(c, &c->lots[RF_CPU_TOKENS], batch, NULL, batch->n_tok));
    RF_TRY(find_lots(c, &c->lots[RF_CPU_OUTPUTS], batch, batch->out_row, batch->n_out));
    for (int i = 0; i < RF_CPU_ANGLES; i++) c->angles[i].inv_freq = 0;
    c->next_angles = 0; /* layers ask in the same order each step: the places already have the right size */
    c->batch = batch;
    return RF_OK;
}

/* ---- rows ---- */

static void embed_body(struct rf_cpu *c, const void *args, size_t from, size_t to)
{
    const struct rf_embed_args *a = args;
    const struct rf_linear *w = (const struct rf_linear *)a->w;
    size_t cols = (size_t)rf_linear_cols(w);
    for (size_t t = from; t < to; t++) {
        float *out = (float *)a->out + t * cols;
        rf_linear_row(w, (uint64_t)c->batch->token[t], out);
        if (a->scale != 1) c->kern.softcap(out, cols, 0, a->scale);
    }
}

static rf_status op_embed(struct rf_backend *b, struct rf_stream *st, const struct rf_embed_args *a)
{
    (void)st;
    struct rf_cpu *c = rf_cpu_of(b);
    uint64_t rows = rf_linear_rows((const struct rf_linear *)a->w);
    for (uint32_t t = 0; t < c->batch->n_tok; t++)
        if (c->batch->token[t] < 0 || (uint64_t)c->batch->token[t] >= rows) return RF_INTERNAL;
    share_out(c, c->batch->n_tok, (size_t)rf_linear_cols((const struct rf_linear *)a->w), 1, a, embed_body);
    return RF_OK;
}

static void rmsnorm_body(struct rf_cpu *c, const void *args, size_t from, size_t to)
{
    const struct rf_rmsnorm_args *a = args;
    for (size_t r = from; r < to; r++) {
        const float *residual = a->residual ? (const float *)a->residual + r * a->cols : NULL;
        float *sum = residual ? (float *)a->sum + r * a->cols : NULL;
        c->kern.rmsnorm((const float *)a->x + r * a->x_stride, residual, sum, (const float *)a->w,
                        (float *)a->y + r * a->y_stride, a->cols, a->eps);
    }
}

static rf_status op_rmsnorm(struct rf_backend *b, struct rf_stream *st, const struct rf_rmsnorm_args *a)
{
    (void)st;
    share_out(rf_cpu_of(b), a->rows, a->cols, 1, a, rmsnorm_body);
    return RF_OK;
}

static rf_status op_matmul(struct rf_backend *b, struct rf_stream *st, const struct rf_matmul_args *a)
{
    (void)st;
    struct rf_cpu *c = rf_cpu_of(b);
    return rf_linear_run(c->pool, c->linear, a, &c->lots[a->outputs ? RF_CPU_OUTPUTS : RF_CPU_TOKENS].rows);
}

static rf_status op_gather(struct rf_backend *b, struct rf_stream *st, const struct rf_gather_args *a)
{
    (void)st;
    const struct rf_batch *batch = rf_cpu_of(b)->batch;
    for (uint32_t i = 0; i < batch->n_out; i++) /* rows rise: in place, a row is never needed after it was overwritten */
        memmove((float *)a->out + (size_t)i * a->cols, (const float *)a->x + (size_t)batch->out_row[i] * a->cols,
                a->cols * sizeof(float));
    return RF_OK;
}

/* ---- elements ---- */

static void glu_body(struct rf_cpu *c, const void *args, size_t from, size_t to)
{
    const struct rf_glu_args *a = args;
    c->kern.glu[a->act]((const float *)a->gate + from, (const float *)a->up + from, (float *)a->out + from, to - from);
}

static rf_status op_glu(struct rf_backend *b, struct rf_stream *st, const struct rf_glu_args *a)
{
    (void)st;
    share_out(rf_cpu_of(b), (size_t)a->rows * a->cols, 1, 64, a, glu_body);
    return RF_OK;
}

static void add_body(struct rf_cpu *c, const void *args, size_t from, size_t to)
{
    const struct rf_add_args *a = args;
    c->kern.add((const float *)a->a + from, (const float *)a->b + from, (float *)a->out + from, to - from, a->b_scale);
}

static rf_status op_add(struct rf_backend *b, struct rf_stream *st, const struct rf_add_args *a)
{
    (void)st;
    share_out(rf_cpu_of(b), (size_t)a->n, 1, 64, a, add_body);
    return RF_OK;
}

static void softcap_body(struct rf_cpu *c, const void *args, size_t from, size_t to)
{
    const struct rf_softcap_args *a = args;
    c->kern.softcap((float *)a->x + from, to - from, a->cap, a->scale);
}

static rf_status op_softcap(struct rf_backend *b, struct rf_stream *st, const struct rf_softcap_args *a)
{
    (void)st;
    share_out(rf_cpu_of(b), (size_t)a->n, 1, 64, a, softcap_body);
    return RF_OK;
}

/* ---- rope and the cache ---- */

struct angle_job {
    const struct rf_rope_kv_args *a;
    float *cs;
};

static void angles_body(struct rf_cpu *c, const void *args, size_t from, size_t to)
{
    const struct angle_job *j = args;
    uint32_t half = j->a->rot_dim / 2;
    const float *inv_freq = (const float *)j->a->inv_freq;
    for (size_t t = from; t < to; t++) {
        float *cs = j->cs + t * j->a->rot_dim;
        for (uint32_t i = 0; i < half; i++) {
            double angle = (double)c->batch->pos[t] * inv_freq[i];
            cs[i] = (float)cos(angle) * j->a->mscale;
            cs[half + i] = (float)sin(angle) * j->a->mscale;
        }
    }
}

/* The step's table for these frequencies: found, or made in the oldest place. */
static rf_status angles_get(struct rf_cpu *c, const struct rf_rope_kv_args *a, const float **out)
{
    for (int i = 0; i < RF_CPU_ANGLES; i++) {
        const struct rf_cpu_angles *g = &c->angles[i];
        if (g->inv_freq == a->inv_freq && g->rot_dim == a->rot_dim && g->mscale == a->mscale) {
            *out = g->cs.data;
            return RF_OK;
        }
    }
    struct rf_cpu_angles *g = &c->angles[c->next_angles];
    size_t bytes;
    if (!rf_mul(c->batch->n_tok, (size_t)a->rot_dim * sizeof(float), &bytes)) return RF_NOMEM;
    RF_TRY(rf_cpu_scratch_need(&g->cs, bytes));
    c->next_angles = (c->next_angles + 1) % RF_CPU_ANGLES;
    struct angle_job j = {.a = a, .cs = g->cs.data};
    share_out(c, c->batch->n_tok, (size_t)a->rot_dim * 16, 1, &j, angles_body);
    g->inv_freq = a->inv_freq;
    g->rot_dim = a->rot_dim;
    g->mscale = a->mscale;
    *out = g->cs.data;
    return RF_OK;
}

struct rope_job {
    const struct rf_rope_kv_args *a;
    const float *cs; /* NULL: no rotation */
};

static int32_t block_of(const struct rf_cpu *c, uint32_t group, size_t t)
{
    const struct rf_batch *batch = c->batch;
    uint32_t seq = ((const uint32_t *)c->tok_seq.data)[t], at = (uint32_t)batch->pos[t] / RF_KV_BLOCK_TOKENS;
    return at < batch->table_stride ? batch->block_table[group][(size_t)seq * batch->table_stride + at] : -1;
}

static void rope_body(struct rf_cpu *c, const void *args, size_t from, size_t to)
{
    const struct rope_job *j = args;
    const struct rf_rope_kv_args *a = j->a;
    enum rf_kv_type type = a->kv->desc.type;
    size_t head_bytes = rf_kv_head_bytes(type, a->head_dim);
    for (size_t t = from; t < to; t++) {
        float *q = (float *)a->q + t * a->q_stride, *k = (float *)a->k + t * a->kv_stride;
        const float *v = (const float *)a->v + t * a->kv_stride;
        if (j->cs) {
            const float *cs = j->cs + t * a->rot_dim;
            c->kern.rope(q, cs, a->n_head, a->head_dim, a->rot_dim, a->style);
            c->kern.rope(k, cs, a->n_kv_head, a->head_dim, a->rot_dim, a->style);
        }
        uint8_t *block = rf_cpu_kv_head(a->kv, block_of(c, a->group, t), a->slot, 0);
        uint32_t at = (uint32_t)c->batch->pos[t] % RF_KV_BLOCK_TOKENS;
        for (uint32_t h = 0; h < a->n_kv_head; h++)
            c->kern.kv_put[type](k + h * a->head_dim, v + h * a->head_dim, block + h * head_bytes, at, a->head_dim);
    }
}

static rf_status op_rope_kv(struct rf_backend *b, struct rf_stream *st, const struct rf_rope_kv_args *a)
{
    (void)st;
    struct rf_cpu *c = rf_cpu_of(b);
    if (a->group >= c->batch->n_group || !rf_cpu_kv_fits(a->kv, a->slot, a->n_kv_head, a->head_dim)) return RF_INTERNAL;
    for (uint32_t t = 0; t < c->batch->n_tok; t++)
        if (c->batch->pos[t] < 0 || !rf_cpu_kv_head(a->kv, block_of(c, a->group, t), a->slot, 0)) return RF_INTERNAL;
    struct rope_job j = {.a = a};
    if (a->style != RF_ROPE_NONE && a->rot_dim) RF_TRY(angles_get(c, a, &j.cs));
    share_out(c, c->batch->n_tok, (size_t)(a->n_head + 4 * a->n_kv_head) * a->head_dim, 1, &j, rope_body);
    return RF_OK;
}

/* Nothing to gain: a slot is a function call. */
static rf_status record_begin(struct rf_backend *b, struct rf_stream *s, const void *owner, uint32_t rows, enum rf_record *what)
{
    (void)b, (void)s, (void)owner, (void)rows;
    *what = RF_RECORD_NONE;
    return RF_OK;
}

static rf_status record_end(struct rf_backend *b, struct rf_stream *s, bool *ran)
{
    (void)b, (void)s;
    *ran = true;
    return RF_OK;
}

static void record_drop(struct rf_backend *b, const void *owner) { (void)b, (void)owner; }

const struct rf_backend_ops rf_cpu_ops = {
    .batch_begin = op_batch_begin,
    .embed = op_embed,
    .rmsnorm = op_rmsnorm,
    .matmul = op_matmul,
    .rope_kv = op_rope_kv,
    .attention = rf_cpu_attention,
    .glu = op_glu,
    .add = op_add,
    .gather = op_gather,
    .softcap = op_softcap,
    .kv_copy = rf_cpu_kv_copy,
    .record_begin = record_begin,
    .record_end = record_end,
    .record_drop = record_drop,
};
