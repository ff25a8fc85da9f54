/* ops.c - the step's shape, and the slots that work on rows and elements. */
#include <math.h>
#include <string.h>

#include "backend/gpu/gpu.h"
#include "base/mem.h"

/* ---- the step's shape: one upload ---- */

static size_t plan_ints(const struct rf_batch *b, size_t n_row, size_t n_out)
{
    return RF_GPU_PLAN_HEAD + 3 * n_row + n_out + (size_t)b->n_group * (b->n_seq + b->n_pad) * b->table_stride + rf_gpu_sample_ints(b, n_out);
}

/* Rows of the step, and those that pad: token 0 at position -1 of sequence 0. */
static rf_status plan_rows(struct rf_gpu *g, const struct rf_batch *batch, int32_t *host)
{
    size_t n = g->at.n_row, n_tok = batch->n_tok;
    g->max_pos = 0;
    for (size_t t = 0; t < n_tok; t++) {
        if (batch->pos[t] < 0) return RF_INTERNAL;
        g->max_pos = RF_MAX(g->max_pos, (uint32_t)batch->pos[t]);
    }
    memset(host, 0, n * sizeof *host);
    memset(host + n, 0xff, n * sizeof *host);
    memset(host + 2 * n, 0, n * sizeof *host);
    memcpy(host, batch->token, n_tok * sizeof *host);
    memcpy(host + n, batch->pos, n_tok * sizeof *host);
    for (uint32_t q = 0; q < batch->n_seq; q++)
        for (int32_t t = batch->seq_first[q]; t < batch->seq_first[q + 1]; t++) host[2 * n + (size_t)t] = (int32_t)q;
    if (batch->n_out) memcpy(host + 3 * n, batch->out_row, batch->n_out * sizeof *host);
    for (uint32_t i = batch->n_out; i < g->at.n_out; i++) host[3 * n + i] = (int32_t)(n_tok + i - batch->n_out);
    return RF_OK;
}

static rf_status op_batch_begin(struct rf_backend *b, struct rf_stream *s, const struct rf_batch *batch)
{
    struct rf_gpu *g = rf_gpu_of(b);
    if (batch->n_group > RF_GPU_GROUPS || (batch->n_pad && (batch->n_tok != batch->n_seq || batch->n_out != batch->n_tok))) return RF_INTERNAL;
    for (uint32_t i = 0; i < batch->n_out; i++)
        if (batch->out_row[i] < 0 || (uint32_t)batch->out_row[i] >= batch->n_tok) return RF_INTERNAL;
    int rc = g->dev.vendor->bind(&g->dev);
    if (rc) return rf_gpu_slot(g, rc, "choosing the device");
    for (int i = 0; i < 2 && g->staging[i].bytes; i++) rf_gpu_buffer_release(g, &g->staging[i]); /* weights are up */
    g->at.n_row = batch->n_tok + batch->n_pad;
    g->at.n_out = batch->n_out + batch->n_pad;
    size_t bytes = plan_ints(batch, g->at.n_row, g->at.n_out) * sizeof(int32_t), n = g->at.n_row, at = RF_GPU_PLAN_HEAD + 3 * n + g->at.n_out;
    RF_TRY(rf_gpu_buffer_need(g, &g->plan, bytes));
    int32_t *host = g->plan.host;
    g->at.token = g->plan.dev + RF_GPU_PLAN_HEAD * sizeof *host;
    g->at.pos = g->at.token + n * sizeof *host;
    g->at.seq = g->at.pos + n * sizeof *host;
    g->at.out_row = g->at.seq + n * sizeof *host;
    memset(host, 0, RF_GPU_PLAN_HEAD * sizeof *host);
    host[RF_GPU_PLAN_STRIDE] = (int32_t)batch->table_stride;
    RF_TRY(plan_rows(g, batch, host + RF_GPU_PLAN_HEAD));
    for (uint32_t i = 0; i < batch->n_group; i++) {
        size_t filled = (size_t)batch->n_seq * batch->table_stride, pad = (size_t)batch->n_pad * batch->table_stride;
        if (at > INT32_MAX / 2) return RF_INTERNAL;
        host[RF_GPU_PLAN_TABLE + i] = (int32_t)at;
        g->at.block[i] = g->plan.dev + at * sizeof *host;
        if (filled) memcpy(host + at, batch->block_table[i], filled * sizeof *host);
        memset(host + at + filled, 0xff, pad * sizeof *host);
        at += filled + pad;
    }
    if (at > INT32_MAX / 2) return RF_INTERNAL;
    rf_gpu_sample_plan(batch, g->at.n_out, host, at);
    g->batch = batch;
    g->tile_group = g->flash.group = 0;
    g->n_checked = 0;
    RF_TRY(rf_gpu_buffer_send(g, &g->plan, bytes, s));
    if (!batch->fed) return RF_OK;
    struct feed_args p = {.token = g->at.token, .chosen = batch->fed, .n = batch->n_tok};
    return rf_gpu_launch(g, s, RF_GPU_K_feed, (p.n + 127) / 128, 1, 1, 128, &p);
}

/* ---- rows ---- */

uint32_t rf_gpu_norm_threads(uint32_t cols) { return cols <= 256 ? 64 : cols <= 1024 ? 256 : 512; }

rf_status rf_gpu_rmsnorm(struct rf_gpu *g, struct rf_stream *s, const struct rf_rmsnorm_args *a, bool tiles)
{
    struct rmsnorm_args p = {.x = a->x, .residual = a->residual, .sum = a->sum, .w = a->w, .y = a->y, .cols = a->cols,
                             .x_stride = a->x_stride, .y_stride = a->y_stride, .threads = rf_gpu_norm_threads(a->cols), .eps = a->eps};
    rf_gpu_act_drop(g, a->sum);
    if (tiles) {
        rf_gpu_act_tiles_make(g, a->y, a->rows, a->cols, &p.act);
        p.y = 0;
    } else if (a->y_stride == a->cols) RF_TRY(rf_gpu_act_make(g, a->y, a->rows, a->cols, RF_GPU_FACTOR_NORM, &p.act));
    else rf_gpu_act_drop(g, a->y);
    return rf_gpu_launch_early(g, s, RF_GPU_K_rmsnorm, a->rows, 1, 1, p.threads, 0, &p);
}
static rf_status op_rmsnorm(struct rf_backend *b, struct rf_stream *s, const struct rf_rmsnorm_args *a) { return rf_gpu_rmsnorm(rf_gpu_of(b), s, a, false); }

static rf_status op_gather(struct rf_backend *b, struct rf_stream *s, const struct rf_gather_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    uint32_t n = g->at.n_out;
    struct gather_args p = {.x = a->x, .row = g->at.out_row, .out = a->out, .cols = a->cols, .n = n};
    p.step = a->out == a->x ? 1 : RF_MIN(n, 65535u);
    rf_gpu_act_drop(rf_gpu_of(b), a->out);
    return rf_gpu_launch_early(g, s, RF_GPU_K_gather, (a->cols + 127) / 128, p.step, 1, 128, 0, &p);
}

/* ---- elements ---- */

rf_status rf_gpu_glu(struct rf_gpu *g, struct rf_stream *s, const struct rf_glu_args *a)
{
    struct glu_args p = {.gate = a->gate, .up = a->up, .out = a->out, .cols = a->cols, .act = (unsigned)a->act};
    if (a->cols % 4 == 0) RF_TRY(rf_gpu_act_make(g, a->out, a->rows, a->cols, RF_GPU_FACTOR_GLU, &p.form));
    else rf_gpu_act_drop(g, a->out);
    if (p.form.half || p.form.bf16) return rf_gpu_launch_early(g, s, RF_GPU_K_glu_rows, (p.form.blocks * 4 + 63) / 64, a->rows, 1, 64, 0, &p);
    for (uint32_t from = 0; from < a->rows; from += 65535) { /* a grid is at most that high */
        struct glu_args q = p;
        rf_dev skip = (rf_dev)from * a->cols * sizeof(float);
        q.gate += skip, q.up += skip, q.out += skip;
        RF_TRY(rf_gpu_launch_early(g, s, RF_GPU_K_glu, (a->cols + 255) / 256, RF_MIN(a->rows - from, 65535u), 1, 256, 0, &q));
    }
    return g->fault;
}

static rf_status op_glu(struct rf_backend *b, struct rf_stream *s, const struct rf_glu_args *a) { return rf_gpu_glu(rf_gpu_of(b), s, a); }

static rf_status op_add(struct rf_backend *b, struct rf_stream *s, const struct rf_add_args *a)
{
    struct add_args p = {.a = a->a, .b = a->b, .out = a->out, .n = a->n, .b_scale = a->b_scale};
    rf_gpu_act_drop(rf_gpu_of(b), a->out);
    return rf_gpu_launch_early(rf_gpu_of(b), s, RF_GPU_K_add, (a->n + 1023) / 1024, 1, 1, 256, 0, &p);
}

static rf_status op_softcap(struct rf_backend *b, struct rf_stream *s, const struct rf_softcap_args *a)
{
    struct softcap_args p = {.x = a->x, .n = a->n, .cap = a->cap, .scale = a->scale};
    rf_gpu_act_drop(rf_gpu_of(b), a->x);
    return rf_gpu_launch_early(rf_gpu_of(b), s, RF_GPU_K_softcap, (a->n + 255) / 256, 1, 1, 256, 0, &p);
}

/* ---- angles: a table over positions that grows by doubling, so that most steps compute none ---- */

void rf_gpu_angles_drop(struct rf_gpu *g, rf_dev from, uint64_t bytes)
{
    for (int i = 0; i < RF_GPU_ANGLES; i++) {
        struct rf_gpu_angles *t = &g->angles[i];
        if (t->inv_freq >= from && t->inv_freq - from < bytes) t->inv_freq = 0;
    }
}

/* near: room for ANGLES_NEAR rows. A step waits for this, and sine and cosine take 40 ns: only positions below ANGLES_NEAR and its multiples
 * ask for them, the others are turned from a multiple by one of those. */
enum { ANGLES_NEAR = 256 };
static rf_status angles_fill(struct rf_gpu *g, struct rf_stream *s, struct rf_gpu_angles *t, float *table, float *freq, double *near)
{
    uint32_t half = t->rot_dim / 2;
    int rc = g->dev.api.download(freq, t->inv_freq, half * sizeof *freq, rf_gpu_stream(g, s));
    if (!rc) rc = g->dev.api.stream_sync(rf_gpu_stream(g, s));
    if (rc) return rf_gpu_slot(g, rc, "reading rotary frequencies");
    for (size_t p = 0; p < ANGLES_NEAR; p++)
        for (uint32_t i = 0; i < half; i++) {
            const double angle = (double)p * (double)freq[i];
            near[p * t->rot_dim + i] = cos(angle);
            near[p * t->rot_dim + half + i] = sin(angle);
        }
    for (size_t first = 0; first < t->n_pos; first += ANGLES_NEAR) /* n_pos is a multiple */
        for (uint32_t i = 0; i < half; i++) {
            const double angle = (double)first * (double)freq[i], c = cos(angle), sn = sin(angle);
            const double *by = near + i;
            float *to = table + first * t->rot_dim + i;
            for (uint32_t p = 0; p < ANGLES_NEAR; p++, by += t->rot_dim, to += t->rot_dim) {
                to[0] = (float)(c * by[0] - sn * by[half]) * t->mscale;
                to[half] = (float)(sn * by[0] + c * by[half]) * t->mscale;
            }
        }
    rc = g->dev.api.upload(t->table, table, (size_t)t->n_pos * t->rot_dim * sizeof *table, rf_gpu_stream(g, s));
    if (!rc) rc = g->dev.api.stream_sync(rf_gpu_stream(g, s)); /* table goes away */
    return rf_gpu_slot(g, rc, "uploading angles");
}

rf_status rf_gpu_angles_get(struct rf_gpu *g, struct rf_stream *s, const struct rf_rope_kv_args *a, rf_dev *out)
{
    struct rf_gpu_angles *t = NULL;
    for (int i = 0; i < RF_GPU_ANGLES; i++) {
        struct rf_gpu_angles *at = &g->angles[i];
        if (at->inv_freq == a->inv_freq && at->rot_dim == a->rot_dim && at->mscale == a->mscale) t = at;
    }
    if (t && t->n_pos > g->max_pos) {
        g->pos_limit = RF_MIN(g->pos_limit, t->n_pos);
        *out = t->table;
        return RF_OK;
    }
    if (!t) {
        t = &g->angles[g->next_angles];
        g->next_angles = (g->next_angles + 1) % RF_GPU_ANGLES;
    }
    struct rf_gpu_angles old = *t;
    uint32_t n_pos = 1024;
    while (n_pos <= g->max_pos) n_pos *= 2; /* max_pos is below 2^31 */
    size_t n = (size_t)n_pos * a->rot_dim;
    *t = (struct rf_gpu_angles){.rot_dim = a->rot_dim, .mscale = a->mscale, .n_pos = n_pos};
    rf_gpu_free(g, old.table, rf_gpu_angles_bytes(&old));
    RF_TRY(rf_gpu_alloc(g, n * sizeof(float), "rotary angles", &t->table, NULL));
    float *table = rf_alloc(n * sizeof *table), *freq = rf_alloc(a->rot_dim * sizeof *freq);
    double *near = rf_alloc((size_t)ANGLES_NEAR * a->rot_dim * sizeof *near);
    t->inv_freq = a->inv_freq;
    rf_status st = table && freq && near ? angles_fill(g, s, t, table, freq, near) : RF_NOMEM;
    if (st) t->inv_freq = 0;
    g->pos_limit = RF_MIN(g->pos_limit, n_pos);
    rf_free(table);
    rf_free(freq);
    rf_free(near);
    *out = t->table;
    return st;
}

const struct rf_backend_ops rf_gpu_ops = {
    .batch_begin = op_batch_begin,
    .embed = rf_gpu_embed,
    .rmsnorm = op_rmsnorm,
    .matmul = rf_gpu_matmul,
    .rope_kv = rf_gpu_rope_kv,
    .attention = rf_gpu_attention,
    .glu = op_glu,
    .add = op_add,
    .gather = op_gather,
    .softcap = op_softcap,
    .choose = rf_gpu_choose,
    .kv_copy = rf_gpu_kv_copy,
    .record_begin = rf_gpu_record_begin,
    .record_end = rf_gpu_record_end,
    .record_drop = rf_gpu_record_drop,
};
