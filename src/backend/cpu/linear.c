/* linear.c - weight matrices: packing at load, and handing the panels of a product out to the threads.
 *
 * A call has two phases. First the activations are rounded to int8 or bf16 (a few rows: by the caller alone; more: shared, then a
 * barrier). Then threads take panels, of all weights in a row, from one counter, because cores of one host differ in speed
 * from second to second. A result depends on neither the split nor the number of rows (see kernels/linear_kern.h). Where rows are
 * marked as bulk, both phases see two lots of rows, the plain ones first.
 */
#include "backend/cpu/linear.h"

#include <string.h>

#include "backend/cpu/kernels/linear_kern.h"
#include "base/mem.h"

struct rf_linear {
    struct rf_lin_kern kern;
    const struct rf_lin_layout *l;
    uint64_t rows, cols;
    size_t n_panel, n_unit, row_bytes;
    const uint8_t *w; /* panels, or the file's rows */
    uint8_t *own;     /* NULL: w is borrowed */
    size_t own_bytes;
};

/* ---- packing ---- */

struct pack_job {
    struct rf_linear *w;
    const struct rf_weight_desc *d;
    struct rf_pool *pool;
    uint8_t *spare; /* [thread][32][stride] for panels that the file's rows do not fill, or whose rows are fetched */
    size_t spare_stride;
    size_t first;
};

static bool needs_spare(const struct rf_linear *w, const struct rf_weight_desc *d, size_t panel)
{
    return d->fetch || w->cols % w->l->block || (panel + 1) * RF_LIN_PANEL > w->rows;
}

static void pack_panels(void *ctx, unsigned tid, unsigned n_threads)
{
    (void)n_threads;
    struct pack_job *j = ctx;
    const struct rf_linear *w = j->w;
    size_t from, to, panel = w->n_unit * w->l->file_bytes * RF_LIN_PANEL;
    while (rf_pool_next(j->pool, w->n_panel, 4, &from, &to)) {
        for (size_t p = from; p < to; p++) {
            const uint8_t *src = j->d->fetch ? NULL : (const uint8_t *)j->d->data + p * RF_LIN_PANEL * w->row_bytes;
            size_t stride = w->row_bytes;
            if (needs_spare(w, j->d, p)) {
                uint8_t *spare = j->spare + tid * RF_LIN_PANEL * j->spare_stride;
                size_t n = RF_MIN(w->rows - p * RF_LIN_PANEL, (uint64_t)RF_LIN_PANEL);
                memset(spare, 0, RF_LIN_PANEL * j->spare_stride);
                if (j->d->fetch) j->d->fetch(j->d->ctx, p * RF_LIN_PANEL, n, spare, j->spare_stride);
                else for (size_t r = 0; r < n; r++) memcpy(spare + r * j->spare_stride, src + r * stride, stride);
                src = spare;
                stride = j->spare_stride;
            }
            w->kern.pack(w->l, src, stride, w->n_unit, w->own + p * panel);
        }
        size_t r0 = from * RF_LIN_PANEL, r1 = RF_MIN(to * RF_LIN_PANEL, w->rows);
        if (j->d->copied_part && !j->d->fetch) j->d->copied_part(j->d->ctx, (const uint8_t *)j->d->data + r0 * w->row_bytes, (r1 - r0) * w->row_bytes);
    }
}

static rf_status pack_weight(struct rf_linear *w, const struct rf_weight_desc *d, struct rf_pool *pool, struct rf_error *err)
{
    size_t unit = (size_t)w->l->file_bytes * RF_LIN_PANEL, bytes, spare = 0;
    if (!rf_mul(w->n_panel, w->n_unit, &bytes) || !rf_mul(bytes, unit, &bytes))
        return rf_fail(err, RF_TOO_LARGE, "tensor %s: %llu x %llu does not fit in memory", d->name, (unsigned long long)d->rows,
                       (unsigned long long)d->cols);
    struct pack_job j = {.w = w, .d = d, .pool = pool, .spare_stride = w->n_unit * w->l->file_bytes};
    if (needs_spare(w, d, w->n_panel - 1)) spare = rf_pool_size(pool) * RF_LIN_PANEL * j.spare_stride;
    w->own = rf_alloc_aligned(64, bytes);
    if (spare) j.spare = rf_alloc(spare);
    if (!w->own || (spare && !j.spare)) {
        rf_free(j.spare);
        return rf_fail_nomem(err, d->name, bytes + spare);
    }
    w->own_bytes = bytes;
    w->w = w->own;
    rf_pool_run(pool, pack_panels, &j);
    rf_free(j.spare);
    return RF_OK;
}

/* Rows that somebody writes, for kernels that work on the file's. */
static rf_status keep_rows(struct rf_linear *w, const struct rf_weight_desc *d, struct rf_error *err)
{
    if (!rf_mul(w->rows, w->row_bytes, &w->own_bytes) || !(w->own = rf_alloc_aligned(64, w->own_bytes)))
        return rf_fail_nomem(err, d->name, w->own_bytes);
    d->fetch(d->ctx, 0, w->rows, w->own, w->row_bytes);
    w->w = w->own;
    return RF_OK;
}

rf_status rf_linear_create(struct rf_linear **out, const struct rf_weight_desc *d, unsigned isa, struct rf_pool *pool,
                           bool *copied, struct rf_error *err)
{
    *out = NULL;
    *copied = false;
    const struct rf_lin_layout *l = rf_lin_layout_get(d->type);
    uint64_t row_bytes;
    if (!l)
        return rf_fail(err, RF_UNSUPPORTED, "tensor %s: type %s (%u) has no CPU kernel", d->name, rf_type_name(d->type), d->type);
    if (!d->rows || !d->cols || !rf_type_row_bytes(d->type, d->cols, &row_bytes))
        return rf_fail(err, RF_CORRUPT, "tensor %s: %llu x %llu of type %s: expected rows of whole blocks, at least one", d->name,
                       (unsigned long long)d->rows, (unsigned long long)d->cols, rf_type_name(d->type));
    if (row_bytes >= 1u << 26 || d->rows > SIZE_MAX / 2 - RF_LIN_PANEL)
        return rf_fail(err, RF_TOO_LARGE, "tensor %s: %llu x %llu: expected rows below 64 MiB", d->name,
                       (unsigned long long)d->rows, (unsigned long long)d->cols);
    struct rf_linear *w = rf_alloc_array(1, sizeof *w);
    if (!w) return rf_fail_nomem(err, d->name, sizeof *w);
    rf_lin_kern_init(&w->kern, isa);
    w->l = l;
    w->rows = d->rows;
    w->cols = d->cols;
    w->row_bytes = row_bytes;
    w->n_panel = (d->rows + RF_LIN_PANEL - 1) / RF_LIN_PANEL;
    w->n_unit = (d->cols + l->block - 1) / l->block;
    w->w = d->data;
    if (w->kern.packed || d->fetch) {
        rf_status s = w->kern.packed ? pack_weight(w, d, pool, err) : keep_rows(w, d, err);
        if (s) {
            rf_linear_free(w);
            return s;
        }
        *copied = true;
    }
    *out = w;
    return RF_OK;
}

void rf_linear_free(struct rf_linear *w)
{
    if (!w) return;
    rf_free(w->own);
    rf_free(w);
}

uint64_t rf_linear_rows(const struct rf_linear *w)
{
    return w->rows;
}

uint64_t rf_linear_cols(const struct rf_linear *w)
{
    return w->cols;
}

uint64_t rf_linear_bytes(const struct rf_linear *w)
{
    return w->own_bytes;
}

void rf_linear_row(const struct rf_linear *w, uint64_t r, float *out)
{
    const struct rf_type_info *t = rf_type_get(w->l->type);
    if (!w->kern.packed) {
        t->decode(w->w + r * w->row_bytes, out, w->cols);
        return;
    }
    size_t unit = (size_t)w->l->file_bytes * RF_LIN_PANEL;
    const uint8_t *p = w->w + r / RF_LIN_PANEL * w->n_unit * unit;
    for (size_t k = 0; k < w->cols; k += w->l->block, p += unit) {
        uint8_t block[256];
        rf_lin_unpack_unit(w->l, p, (unsigned)(r % RF_LIN_PANEL), block);
        t->decode(block, out + k, RF_MIN(w->cols - k, (uint64_t)w->l->block));
    }
}

/* ---- scratch ---- */

struct piece {
    void *p;
    size_t bytes;
};
struct rf_linear_scratch {
    struct piece q, scale, sum, b, aux[RF_MATMUL_MAX], tmp, pair_x, pair_out;
};

static bool piece_grow(struct piece *b, size_t n, size_t size)
{
    size_t bytes;
    if (!rf_mul(n, size, &bytes)) return false;
    if (bytes <= b->bytes) return true;
    rf_free(b->p);
    b->p = rf_alloc_aligned(64, bytes);
    b->bytes = b->p ? bytes : 0;
    return b->p;
}

rf_status rf_linear_scratch_create(struct rf_linear_scratch **out, struct rf_error *err)
{
    *out = rf_alloc_array(1, sizeof **out);
    return *out ? RF_OK : rf_fail_nomem(err, "matmul scratch", sizeof **out);
}

void rf_linear_scratch_free(struct rf_linear_scratch *s)
{
    if (!s) return;
    struct piece *all[] = {&s->q, &s->scale, &s->sum, &s->b, &s->aux[0], &s->aux[1], &s->aux[2], &s->tmp,
                           &s->pair_x, &s->pair_out};
    for (size_t i = 0; i < RF_COUNT(all); i++) rf_free(all[i]->p);
    rf_free(s);
}

/* Do this weight's kernels round the activations to int8, or to bf16? */
static bool rounds_int8(const struct rf_linear *w)
{
    return w->kern.packed && w->l->sub;
}

static bool rounds_bf16(const struct rf_linear *w)
{
    return w->kern.act_bf16 && w->l->type == RF_TYPE_BF16;
}

static bool rounds(const struct rf_linear *w)
{
    return rounds_int8(w) || rounds_bf16(w);
}

static bool has_bulk(const struct rf_linear *w)
{
    return w->kern.bulk[rf_lin_layout_index(w->l)];
}

bool rf_linear_has_bulk(unsigned isa)
{
    struct rf_lin_kern k;
    rf_lin_kern_init(&k, isa);
    return k.bulk[rf_lin_layout_index(rf_lin_layout_get(RF_TYPE_Q8_0))];
}

/* All weights of a product can, and one gains by it: BF16 weights do the same with plain rows. */
static bool uses_bulk(const struct rf_matmul_args *a)
{
    bool all = true, any = false;
    for (uint32_t i = 0; i < a->n_w; i++) {
        const struct rf_linear *w = (const struct rf_linear *)a->w[i];
        all &= has_bulk(w);
        any |= w->kern.bulk[rf_lin_layout_index(w->l)] != w->kern.run[rf_lin_layout_index(w->l)];
    }
    return all && any;
}

/* ---- a product ---- */

enum {
    ACT_ROWS = 16,          /* activation rows of one item of the first phase */
    PAIR_ROWS = 256,        /* rows of a precise product at a time ... */
    PAIR_FLOATS = 4 << 20,  /* ... fewer where half their sums would not fit here */
    ACT_ALONE = 16 * 1024,  /* activations that the caller rounds alone: less than a barrier costs */
};

/* A lot of rows. */
struct run_lot {
    struct rf_lin_act act;
    struct rf_lin_task task[RF_MATMUL_MAX];
    size_t chunks;
    bool int8, bf16; /* what weights want the activations rounded to */
};
struct run_job {
    struct rf_pool *pool;
    const struct rf_lin_kern *kern;
    struct run_lot lot[2]; /* plain rows, bulk rows */
    size_t n_panel[RF_MATMUL_MAX];
    struct rf_lin_tmp *tmp;
    uint32_t n_task;
    size_t panels, grain;
    bool round_shared; /* rounded inside the job */
    bool precise;      /* rows are pairs */
};

/* From the sums of 16: see struct rf_lin_task. */
static void make_aux(const struct rf_lin_task *t, size_t slab, size_t m0, size_t m1)
{
    const struct rf_lin_act *a = t->act;
    size_t n = RF_LIN_SLAB / t->l->sub, step = t->l->sub / 16;
    for (size_t m = m0; m < m1; m++) {
        const int16_t *sum = a->sum + (slab * a->rows + m) * 16;
        uint8_t *aux = (uint8_t *)(uintptr_t)t->aux + (slab * a->rows + m) * n * 4;
        for (size_t i = 0; i < n; i++) {
            int32_t s = sum[i * step] + (step == 2 ? sum[i * step + 1] : 0), b = -s * t->l->bias;
            float f = (float)s;
            memcpy(aux + i * 4, t->l->min ? (const void *)&f : &b, 4);
        }
    }
}

static size_t n_round_items(const struct run_lot *l)
{
    return l->int8 || l->bf16 ? l->act.n_slab * ((l->act.rows + ACT_ROWS - 1) / ACT_ROWS) : 0;
}

/* Items are (slab, ACT_ROWS rows), of the plain rows first. */
static void round_items(const struct run_job *j, size_t from, size_t to)
{
    size_t n_plain = n_round_items(&j->lot[0]);
    for (size_t i = from; i < to; i++) {
        const struct run_lot *l = &j->lot[i >= n_plain];
        size_t k = i >= n_plain ? i - n_plain : i, row_items = (l->act.rows + ACT_ROWS - 1) / ACT_ROWS;
        size_t slab = k / row_items, m0 = k % row_items * ACT_ROWS, m1 = RF_MIN(m0 + ACT_ROWS, l->act.rows);
        if (l->bf16) j->kern->act_bf16(&l->act, slab, slab + 1, m0, m1);
        if (!l->int8) continue;
        j->kern->act(&l->act, slab, slab + 1, m0, m1);
        for (uint32_t t = 0; t < j->n_task; t++)
            if (l->task[t].aux) make_aux(&l->task[t], slab, m0, m1);
    }
}

/* Row m + 1 becomes what rounding row m left. */
static void leave_rest(const struct rf_lin_act *a, size_t m)
{
    const float *x = a->x + m * a->cols;
    float *rest = (float *)(uintptr_t)x + a->cols;
    for (size_t k = 0; k < a->cols; k += 32) {
        size_t cell = k / RF_LIN_SLAB * a->rows + m, in = k % RF_LIN_SLAB, n = RF_MIN(a->cols - k, (size_t)32);
        const int8_t *q = a->q + cell * RF_LIN_SLAB + in;
        float scale = a->scale[cell * 8 + in / 32];
        for (size_t i = 0; i < n; i++) rest[k + i] = x[k + i] - (float)q[i] * scale;
    }
}

static void leave_rest_bf16(const struct rf_lin_act *a, size_t m)
{
    const float *x = a->x + m * a->cols;
    float *rest = (float *)(uintptr_t)x + a->cols;
    for (size_t k = 0; k < a->cols; k++) rest[k] = x[k] - rf_bf16_to_f32(a->b[rf_lin_b(a, k / RF_LIN_SLAB, m, k % RF_LIN_SLAB)]);
}

/* Items are pairs of rows of a precise product: the second is known once the first is rounded, and depends on to what. */
static void round_pairs(const struct run_job *j, size_t from, size_t to)
{
    const struct run_lot *l = &j->lot[0];
    const struct rf_lin_act *a = &l->act;
    for (size_t m = 2 * from; m < 2 * to; m += 2) {
        if (l->bf16) {
            j->kern->act_bf16(a, 0, a->n_slab, m, m + 1);
            leave_rest_bf16(a, m);
            j->kern->act_bf16(a, 0, a->n_slab, m + 1, m + 2);
        }
        if (!l->int8) continue;
        j->kern->act(a, 0, a->n_slab, m, m + 1);
        leave_rest(a, m);
        j->kern->act(a, 0, a->n_slab, m + 1, m + 2);
        for (uint32_t k = 0; k < j->n_task; k++)
            for (size_t slab = 0; l->task[k].aux && slab < a->n_slab; slab++) make_aux(&l->task[k], slab, m, m + 2);
    }
}

/* Items are the panels of all weights, once per chunk of activation rows; chunks of the plain rows come first. */
static void multiply_items(const struct run_job *j, size_t from, size_t to, struct rf_lin_tmp *tmp)
{
    while (from < to) {
        size_t chunk = from / j->panels, p = from % j->panels, n = RF_MIN(to - from, j->panels - p);
        bool bulk = chunk >= j->lot[0].chunks;
        const struct run_lot *l = &j->lot[bulk];
        size_t m0 = (bulk ? chunk - j->lot[0].chunks : chunk) * RF_LIN_CHUNK, m1 = RF_MIN(m0 + RF_LIN_CHUNK, l->act.rows);
        uint32_t k = 0;
        while (p >= j->n_panel[k]) p -= j->n_panel[k++];
        n = RF_MIN(n, j->n_panel[k] - p);
        const struct rf_lin_task *t = &l->task[k];
        (bulk ? j->kern->bulk : j->kern->run)[rf_lin_layout_index(t->l)](t, p, p + n, m0, m1, tmp);
        from += n;
    }
}

static void run_thread(void *ctx, unsigned tid, unsigned n_threads)
{
    (void)n_threads;
    const struct run_job *j = ctx;
    size_t from, to;
    if (j->precise) {
        while (rf_pool_next(j->pool, j->lot[0].act.rows / 2, 1, &from, &to)) round_pairs(j, from, to);
        rf_pool_barrier(j->pool);
    } else if (j->round_shared) {
        size_t n = n_round_items(&j->lot[0]) + n_round_items(&j->lot[1]);
        while (rf_pool_next(j->pool, n, 1, &from, &to)) round_items(j, from, to);
        rf_pool_barrier(j->pool);
    }
    size_t items = j->panels * (j->lot[0].chunks + j->lot[1].chunks);
    while (rf_pool_next(j->pool, items, j->grain, &from, &to)) multiply_items(j, from, to, &j->tmp[tid]);
}

static bool scratch_grow(struct rf_linear_scratch *s, struct run_job *j, unsigned n_threads)
{
    size_t cells, n_bf16[2] = {0}, all;
    if (!piece_grow(&s->tmp, n_threads, sizeof(struct rf_lin_tmp))) return false;
    j->tmp = s->tmp.p;
    for (int i = 0; i < 2; i++)
        if (j->lot[i].bf16 && !rf_mul(rf_lin_b(&j->lot[i].act, 1, 0, 0), j->lot[i].act.n_slab, &n_bf16[i])) return false;
    if (!rf_add(n_bf16[0], n_bf16[1], &all) || (all && !piece_grow(&s->b, all, sizeof(uint16_t)))) return false;
    j->lot[0].act.b = s->b.p;
    if (n_bf16[1]) j->lot[1].act.b = (uint16_t *)s->b.p + n_bf16[0];
    struct run_lot *l = &j->lot[0];
    if (!l->int8) return true;
    if (!rf_mul(l->act.n_slab, l->act.rows, &cells) || !piece_grow(&s->q, cells, RF_LIN_SLAB) || !piece_grow(&s->scale, cells, 8 * sizeof(float)) ||
        !piece_grow(&s->sum, cells, 16 * sizeof(int16_t)))
        return false;
    l->act.q = s->q.p;
    l->act.scale = s->scale.p;
    l->act.sum = s->sum.p;
    for (uint32_t i = 0; i < j->n_task; i++) {
        if (!l->task[i].l->sub) continue;
        if (!piece_grow(&s->aux[i], cells, RF_LIN_SLAB / l->task[i].l->sub * 4)) return false;
        l->task[i].aux = s->aux[i].p;
    }
    return true;
}

static void init_lot(struct run_lot *l, const struct rf_matmul_args *a, size_t rows, const uint32_t *row, bool bulk)
{
    size_t cols = ((const struct rf_linear *)a->w[0])->cols;
    l->act = (struct rf_lin_act){.rows = rows, .cols = cols, .row = row, .x = (const float *)a->x, .n_slab = (cols + RF_LIN_SLAB - 1) / RF_LIN_SLAB};
    l->chunks = (rows + RF_LIN_CHUNK - 1) / RF_LIN_CHUNK;
    for (uint32_t i = 0; i < a->n_w; i++) {
        const struct rf_linear *w = (const struct rf_linear *)a->w[i];
        l->task[i] = (struct rf_lin_task){.l = w->l, .act = &l->act, .w = w->w, .n_row = w->rows, .n_unit = w->n_unit, .out = (float *)a->out[i],
                                          .out_stride = a->out_stride[i], .bias = (const float *)a->bias[i]};
        l->int8 |= rows && !bulk && rounds_int8(w);
        l->bf16 |= rows && (bulk || rounds_bf16(w));
    }
}

/* rows with bulk ones: every weight can (uses_bulk). */
static rf_status run(struct rf_pool *pool, struct rf_linear_scratch *s, const struct rf_matmul_args *a, const struct rf_linear_rows *rows)
{
    struct run_job j = {.pool = pool, .kern = &((const struct rf_linear *)a->w[0])->kern, .n_task = a->n_w};
    init_lot(&j.lot[0], a, rows->n_plain, rows->row, false);
    init_lot(&j.lot[1], a, rows->n_bulk, rows->n_bulk ? rows->row + rows->n_plain : NULL, true);
    j.precise = a->precise && (j.lot[0].int8 || j.lot[0].bf16);
    for (uint32_t i = 0; i < a->n_w; i++) j.panels += j.n_panel[i] = ((const struct rf_linear *)a->w[i])->n_panel;
    unsigned n_threads = rf_pool_size(pool);
    if (!scratch_grow(s, &j, n_threads)) return RF_NOMEM;
    j.grain = RF_MAX(RF_MIN(j.panels / n_threads / 4, (size_t)16), (size_t)1);
    if (j.grain > RF_LIN_GROUP) j.grain -= j.grain % RF_LIN_GROUP;
    size_t n_round = n_round_items(&j.lot[0]) + n_round_items(&j.lot[1]);
    bool round = n_round && !j.precise;
    j.round_shared = round && ((uint64_t)rows->n_plain + rows->n_bulk) * j.lot[0].act.cols > ACT_ALONE;
    if (round && !j.round_shared) round_items(&j, 0, n_round);
    rf_pool_run(pool, run_thread, &j);
    return RF_OK;
}

/* ---- a product without the rounding's error: every row, and behind it what its rounding left ---- */

struct pair_job {
    struct rf_pool *pool;
    const struct rf_matmul_args *a, *pairs; /* pairs->out: sums of the pairs */
    const uint32_t *row;                    /* as in struct rf_linear_rows */
    size_t m0, n;                           /* rows in this pass */
};

/* Items are rows: out = the first of a pair + the second (+ bias). */
static void add_pairs(void *ctx, unsigned tid, unsigned n_threads)
{
    (void)tid, (void)n_threads;
    const struct pair_job *j = ctx;
    size_t from, to;
    while (rf_pool_next(j->pool, j->n, 4, &from, &to)) {
        for (uint32_t i = 0; i < j->a->n_w; i++) {
            size_t n_row = j->pairs->out_stride[i];
            const float *bias = (const float *)j->a->bias[i];
            bool rest = rounds((const struct rf_linear *)j->a->w[i]); /* float weights took the first row as it is */
            for (size_t m = from; m < to; m++) {
                const float *hi = (const float *)j->pairs->out[i] + 2 * m * n_row, *lo = hi + n_row;
                size_t at = j->m0 + m;
                float *out = (float *)j->a->out[i] + (j->row ? j->row[at] : at) * j->a->out_stride[i];
                for (size_t k = 0; k < n_row; k++) out[k] = (rest ? hi[k] + lo[k] : hi[k]) + (bias ? bias[k] : 0);
            }
        }
    }
}

static rf_status run_precise(struct rf_pool *pool, struct rf_linear_scratch *s, const struct rf_matmul_args *a, const uint32_t *row, size_t rows)
{
    size_t cols = ((const struct rf_linear *)a->w[0])->cols, n_row = 0, floats;
    for (uint32_t i = 0; i < a->n_w; i++) n_row += ((const struct rf_linear *)a->w[i])->rows;
    size_t n = RF_MIN(RF_MIN(rows, (size_t)PAIR_ROWS), RF_MAX(PAIR_FLOATS / n_row, (size_t)8));
    if (!rf_mul(2 * n, n_row, &floats) || !piece_grow(&s->pair_x, 2 * n * cols, sizeof(float)) ||
        !piece_grow(&s->pair_out, floats, sizeof(float)))
        return RF_NOMEM;
    float *x = s->pair_x.p;
    struct rf_matmul_args pairs = {.x = (rf_dev)x, .n_w = a->n_w, .precise = true};
    size_t at = 0;
    for (uint32_t i = 0; i < a->n_w; i++) {
        pairs.w[i] = a->w[i];
        pairs.out_stride[i] = (uint32_t)((const struct rf_linear *)a->w[i])->rows;
        pairs.out[i] = (rf_dev)((float *)s->pair_out.p + at);
        at += 2 * n * pairs.out_stride[i];
    }
    for (size_t m0 = 0; m0 < rows; m0 += n) {
        struct pair_job j = {.pool = pool, .a = a, .pairs = &pairs, .row = row, .m0 = m0, .n = RF_MIN(n, rows - m0)};
        for (size_t m = m0; m < m0 + j.n; m++)
            memcpy(x + 2 * (m - m0) * cols, (const float *)a->x + (row ? row[m] : m) * cols, cols * sizeof *x);
        RF_TRY(run(pool, s, &pairs, &(struct rf_linear_rows){.n_plain = (uint32_t)(2 * j.n)}));
        rf_pool_run(pool, add_pairs, &j);
    }
    return RF_OK;
}

rf_status rf_linear_run(struct rf_pool *pool, struct rf_linear_scratch *s, const struct rf_matmul_args *a, const struct rf_linear_rows *rows)
{
    if (!a->rows || !a->n_w) return RF_OK;
    struct rf_linear_rows all = {.n_plain = a->rows};
    if (!rows || !rows->n_bulk || !uses_bulk(a)) rows = &all;
    bool any = false;
    for (uint32_t i = 0; i < a->n_w; i++) any |= rounds((const struct rf_linear *)a->w[i]);
    if (!a->precise || !any) return run(pool, s, a, rows);
    if (rows->n_plain) RF_TRY(run_precise(pool, s, a, rows->row, rows->n_plain));
    return rows->n_bulk ? run(pool, s, a, &(struct rf_linear_rows){.row = rows->row + rows->n_plain, .n_bulk = rows->n_bulk}) : RF_OK;
}
