/* load.c - walks the family's tables over the file's tensors and hands each to the backend. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "format/fp8.h"
#include "model/lm.h"

struct loader {
    bool plan;                /* sizes only: everything is looked up and checked, nothing is handed over */
    struct rf_lm *m;
    const struct rf_weights *w;
    const char *prefix;       /* Hugging Face: "model." and the like */
    bool gguf;
    bool *used;               /* [n_tensor] */
    uint64_t done_bytes, all_bytes;
    void (*progress)(void *ctx, double fraction);
    void *progress_ctx;
    struct rf_error *err;
};

static void role_name(const struct loader *l, enum rf_role role, uint32_t layer, char *out, size_t cap)
{
    const struct rf_role_row *row = &rf_role_rows[role];
    const char *gguf = row->gguf, *hf = row->hf;
    for (const struct rf_role_name *o = l->m->arch->names; o && o->role; o++)
        if (o->role == role) {
            gguf = o->gguf;
            hf = o->hf;
        }
    const char *pattern = l->gguf ? gguf : hf, *prefix = l->gguf || role == RF_ROLE_OUTPUT ? "" : l->prefix;
    char with_layer[192];
    out[0] = 0;
    if (!pattern) return;
    const char *mark = strstr(pattern, "%u");
    if (mark)
        snprintf(with_layer, sizeof with_layer, "%.*s%u%s", (int)(mark - pattern), pattern, layer, mark + 2);
    else
        snprintf(with_layer, sizeof with_layer, "%s", pattern);
    snprintf(out, cap, "%s%s", prefix, with_layer);
}

static const struct rf_tensor_view *find(struct loader *l, const char *name)
{
    const struct rf_tensor_view *t = name[0] ? rf_weights_find(l->w, name) : NULL;
    if (t) l->used[t - rf_weights_tensor(l->w, 0)] = true;
    return t;
}

static uint64_t dim_of(const struct rf_lm *m, enum rf_dim d)
{
    const struct rf_hparams *hp = &m->hp;
    switch (d) {
    case RF_DIM_ONE: return 1;
    case RF_DIM_VOCAB: return m->shape.n_vocab;
    case RF_DIM_EMBD: return (uint64_t)hp->n_embd;
    case RF_DIM_FF: return (uint64_t)hp->n_ff;
    case RF_DIM_Q: return (uint64_t)(hp->n_head * hp->head_dim);
    case RF_DIM_KV: return (uint64_t)(hp->n_kv_head * hp->head_dim);
    case RF_DIM_HEAD: return (uint64_t)hp->head_dim;
    case RF_DIM_HALF_ROPE: return (uint64_t)hp->rope_dim / 2;
    }
    return 0;
}

static rf_status check_shape(struct loader *l, const struct rf_tensor_view *t, const char *name, uint64_t rows, uint64_t cols)
{
    if (t->dim[0] == cols && t->dim[1] == rows && t->dim[2] == 1 && t->dim[3] == 1) return RF_OK;
    return rf_fail(l->err, RF_CORRUPT, "%s: tensor %s is %llu x %llu, expected %llu x %llu", rf_weights_path(l->w), name,
                   (unsigned long long)t->dim[1], (unsigned long long)t->dim[0], (unsigned long long)rows,
                   (unsigned long long)cols);
}

static rf_status check_type(struct loader *l, const struct rf_tensor_view *t, const char *name)
{
    if (rf_type_get(t->type) || rf_fp8_is(t)) return RF_OK;
    return rf_fail(l->err, RF_UNSUPPORTED, "%s: tensor %s has type %s, which this build cannot compute", rf_weights_path(l->w),
                   name, rf_weights_type_name(t->type));
}

static void advance(struct loader *l, uint64_t bytes)
{
    l->done_bytes += bytes;
    if (l->progress && l->all_bytes) l->progress(l->progress_ctx, RF_MIN((double)l->done_bytes / (double)l->all_bytes, 1.0));
}

/* Counts a piece of device memory. Sums of what a file holds fit 64 bits. */
static rf_status need(struct loader *l, uint64_t bytes)
{
    l->m->weight_bytes += rf_dev_piece(bytes);
    return RF_OK;
}

/* A tensor's values come from here where bytes and scales lie apart. */
struct fp8_source {
    struct rf_fp8 f;
    const struct rf_weights *w;
    atomic_bool nan;
};

static rf_status fp8_open(struct loader *l, const struct rf_tensor_view *t, struct fp8_source *s)
{
    s->w = l->w;
    atomic_init(&s->nan, false);
    RF_TRY(rf_fp8_find(&s->f, l->w, t, l->err));
    if (s->f.scale) l->used[s->f.scale - rf_weights_tensor(l->w, 0)] = true;
    return l->plan ? RF_OK : rf_fp8_check(&s->f, l->w, l->err);
}

static rf_status fp8_done(struct loader *l, const struct fp8_source *s, const char *name)
{
    if (s->nan)
        return rf_fail(l->err, RF_CORRUPT, "%s: tensor %s: bytes that are NaN (0x7f or 0xff), expected numbers: the file is damaged or was badly made",
                       rf_weights_path(l->w), name);
    rf_weights_drop(l->w, s->f.q);
    if (!s->f.scale) return RF_OK;
    rf_weights_drop(l->w, s->f.scale);
    advance(l, s->f.scale->bytes);
    return RF_OK;
}

static void fp8_fetch(void *ctx, uint64_t first, uint64_t n, void *dst, size_t stride)
{
    struct fp8_source *s = ctx;
    if (!rf_fp8_rows(&s->f, first, n, dst, stride)) s->nan = true;
    rf_weights_drop_part(s->w, s->f.q, s->f.q->data + first * s->f.cols, n * s->f.cols);
}

static rf_status decode_vector(struct loader *l, const struct rf_tensor_view *t, const char *name, uint64_t n, float *v)
{
    struct fp8_source s;
    if (!rf_fp8_is(t)) {
        rf_type_get(t->type)->decode(t->data, v, n);
        return RF_OK;
    }
    RF_TRY(fp8_open(l, t, &s));
    if (!rf_fp8_values(&s.f, 0, v)) s.nan = true;
    return fp8_done(l, &s, name);
}

/* A vector of any type becomes f32 in device memory, with `offset` added to each value. */
static rf_status load_vector(struct loader *l, const struct rf_tensor_view *t, const char *name, uint64_t n, double offset,
                             rf_dev *out)
{
    struct rf_backend *b = l->m->b;
    RF_TRY(check_type(l, t, name));
    RF_TRY(check_shape(l, t, name, 1, n));
    if (l->plan) {
        struct fp8_source fp8;
        if (rf_fp8_is(t)) RF_TRY(fp8_open(l, t, &fp8));
        return need(l, n * sizeof(float));
    }
    float *v = rf_alloc_array(n, sizeof *v);
    if (!v) return rf_fail_nomem(l->err, name, n * sizeof *v);
    rf_status s = decode_vector(l, t, name, n, v);
    for (uint64_t i = 0; i < n && offset != 0 && !s; i++) v[i] = (float)(v[i] + offset);
    if (!s) s = b->mem->alloc(b, n * sizeof *v, out, l->err);
    if (!s && (s = b->mem->upload(b, NULL, *out, v, n * sizeof *v)))
        s = rf_fail(l->err, s, "%s: %s: upload of %llu bytes %s", b->info.name, name, (unsigned long long)(n * sizeof *v), b->info.detail);
    if (!s) l->m->shape.n_params += n;
    rf_free(v);
    advance(l, t->bytes);
    return s;
}

struct part_of {
    const struct rf_weights *w;
    const struct rf_tensor_view *t;
};

static void drop_part(void *ctx, const void *part, uint64_t bytes)
{
    const struct part_of *of = ctx;
    rf_weights_drop_part(of->w, of->t, part, bytes);
}

static rf_status load_matrix(struct loader *l, const struct rf_tensor_view *t, const char *name, uint64_t rows, uint64_t cols,
                             bool gather, struct rf_weight **out)
{
    struct rf_backend *b = l->m->b;
    RF_TRY(check_type(l, t, name));
    RF_TRY(check_shape(l, t, name, rows, cols));
    struct part_of of = {l->w, t};
    l->m->has_f32 |= t->type == RF_TYPE_F32;
    struct rf_weight_desc d = {.name = name, .type = t->type, .rows = rows, .cols = cols, .data = t->data, .gather = gather,
                               .copied_part = drop_part, .ctx = &of};
    struct fp8_source fp8;
    bool copied = false, apart = rf_fp8_is(t);
    if (apart) {
        RF_TRY(fp8_open(l, t, &fp8));
        d.type = fp8.f.type;
        d.data = NULL;
        d.fetch = fp8_fetch;
        d.ctx = &fp8;
    }
    uint64_t bytes;
    if (l->plan) {
        RF_TRY(b->mem->weight_size(b, &d, &bytes, l->err));
        return need(l, bytes);
    }
    RF_TRY(b->mem->weight_create(b, &d, out, &copied, l->err));
    if (apart) RF_TRY(fp8_done(l, &fp8, name));
    else if (copied) rf_weights_drop(l->w, t);
    l->m->shape.n_params += rows * cols;
    l->m->shape.resident_bytes += b->mem->weight_bytes(*out);
    advance(l, t->bytes);
    return RF_OK;
}

static rf_status load_bias(struct loader *l, const char *weight_name, uint64_t n, rf_dev *out)
{
    char name[256];
    size_t len = strlen(weight_name);
    if (len < 7 || strcmp(weight_name + len - 7, ".weight")) return RF_OK;
    snprintf(name, sizeof name, "%.*s.bias", (int)(len - 7), weight_name);
    const struct rf_tensor_view *t = find(l, name);
    return t ? load_vector(l, t, name, n, 0, out) : RF_OK;
}

static rf_status load_role(struct loader *l, enum rf_role role, uint32_t layer, struct rf_lm_tensor *out)
{
    const struct rf_role_row *row = &rf_role_rows[role];
    char name[256];
    role_name(l, role, layer, name, sizeof name);
    const struct rf_tensor_view *t = find(l, name);
    if (!t) {
        if (row->optional) return RF_OK;
        return rf_fail(l->err, RF_CORRUPT, "%s: tensor %s is missing (architecture %s needs it)", rf_weights_path(l->w), name,
                       l->m->arch->name);
    }
    uint64_t rows = dim_of(l->m, row->rows), cols = dim_of(l->m, row->cols);
    if (row->rows == RF_DIM_ONE) {
        double offset = row->is_norm && !l->gguf ? l->m->arch->norm_offset_hf : 0;
        return load_vector(l, t, name, cols, offset, &out->vec);
    }
    RF_TRY(load_matrix(l, t, name, rows, cols, role == RF_ROLE_TOKEN_EMBD, &out->w));
    return load_bias(l, name, rows, &out->bias);
}

static rf_status load_layer(struct loader *l, uint32_t i)
{
    struct rf_lm_layer *layer = &l->m->layers[i];
    for (const struct rf_recipe_step *s = l->m->arch->layer; s->op != RF_STEP_END; s++)
        for (size_t k = 0; k < RF_COUNT(s->role) && s->role[k]; k++) RF_TRY(load_role(l, s->role[k], i, &layer->t[s->role[k]]));
    return RF_OK;
}

/* The embedding's rows are the vocabulary; its name also tells the prefix of a Hugging Face file. */
static rf_status find_vocab(struct loader *l)
{
    static const char *const prefixes[] = {"model.", "", "language_model.model.", "model.language_model.", NULL};
    char name[256];
    const struct rf_tensor_view *t = NULL;
    for (size_t i = 0; !t && prefixes[i]; i++) {
        l->prefix = prefixes[i];
        role_name(l, RF_ROLE_TOKEN_EMBD, 0, name, sizeof name);
        t = find(l, name);
    }
    if (!t) {
        l->prefix = prefixes[0];
        role_name(l, RF_ROLE_TOKEN_EMBD, 0, name, sizeof name);
        return rf_fail(l->err, RF_CORRUPT, "%s: tensor %s is missing: no weights of a language model here", rf_weights_path(l->w), name);
    }
    if (t->dim[1] > INT32_MAX / 2)
        return rf_fail(l->err, RF_TOO_LARGE, "%s: %s has %llu rows, more than any vocabulary", rf_weights_path(l->w), name,
                       (unsigned long long)t->dim[1]);
    l->m->shape.n_vocab = (uint32_t)t->dim[1];
    return RF_OK;
}

static rf_status load_rope(struct loader *l)
{
    struct rf_lm *m = l->m;
    struct rf_backend *b = m->b;
    float inv[512], factor[512];
    uint32_t half = m->rope_dim / 2;
    const char *name = rf_role_rows[RF_ROLE_ROPE_FREQS].gguf;
    const struct rf_tensor_view *t = l->gguf ? find(l, name) : NULL;
    if (t) {
        RF_TRY(check_type(l, t, name));
        RF_TRY(check_shape(l, t, name, 1, half));
        rf_type_get(t->type)->decode(t->data, factor, half);
    }
    float unused;
    for (int local = 0; local < 2; local++) {
        if (local && m->hp.rope_theta_local <= 0) break;
        rf_rope_inv_freq(&m->hp, local ? m->hp.rope_theta_local : m->hp.rope_theta, !local, m->rope_dim, inv,
                         local ? &unused : &m->mscale);
        for (uint32_t i = 0; i < half && t && !local; i++) inv[i] /= factor[i];
        if (l->plan) {
            RF_TRY(need(l, half * sizeof *inv));
            continue;
        }
        rf_dev *dst = local ? &m->inv_freq_local : &m->inv_freq;
        RF_TRY(b->mem->alloc(b, RF_MAX(half, 1u) * sizeof *inv, dst, l->err));
        rf_status s = b->mem->upload(b, NULL, *dst, inv, half * sizeof *inv);
        if (s) return rf_fail(l->err, s, "%s: rotary frequencies: upload %s", b->info.name, b->info.detail);
    }
    return RF_OK;
}

/* A tensor nobody asked for means a feature that this family's recipe does not have: computing without it would give
 * wrong text quietly. */
static rf_status check_unused(struct loader *l)
{
    static const char *const fine[] = {"rope_freqs", "rotary_emb.inv_freq", "vision_tower.", "multi_modal_projector.",
                                       "lm_head.weight", "output.weight", "vision_model.", "vision_embed_tokens"};
    /* Scales of inputs and of a cache of 8 bits: what they would round is kept finer here. */
    static const char *const fine_ends[] = {".input_scale", ".input_scale_ub", ".activation_scale", ".act_scale", ".output_scale", ".k_scale", ".v_scale",
                                            ".kv_scale", ".q_scale", ".prob_scale"};
    for (size_t i = 0; i < rf_weights_n_tensor(l->w); i++) {
        if (l->used[i]) continue;
        struct rf_str n = rf_weights_tensor(l->w, i)->name;
        bool ok = false;
        for (size_t k = 0; k < RF_COUNT(fine) && !ok; k++) ok = memmem(n.s, n.n, fine[k], strlen(fine[k])) != NULL;
        for (size_t k = 0; k < RF_COUNT(fine_ends) && !ok; k++) {
            size_t len = strlen(fine_ends[k]);
            ok = n.n > len && !memcmp(n.s + n.n - len, fine_ends[k], len);
        }
        if (!ok)
            return rf_fail(l->err, RF_UNSUPPORTED, "%s: tensor %.*s has no place in architecture %s: this file needs a feature "
                           "that is not built yet", rf_weights_path(l->w), (int)RF_MIN(n.n, 100u), n.s, l->m->arch->name);
    }
    return RF_OK;
}

static rf_status plan_layers(struct loader *l)
{
    struct rf_lm *m = l->m;
    struct rf_lm_shape *s = &m->shape;
    const struct rf_hparams *hp = &m->hp;
    s->n_layer = (uint32_t)hp->n_layer;
    s->n_embd = (uint32_t)hp->n_embd;
    s->n_head = (uint32_t)hp->n_head;
    s->n_kv_head = (uint32_t)hp->n_kv_head;
    s->head_dim = (uint32_t)hp->head_dim;
    s->n_ctx_train = (uint32_t)hp->n_ctx;
    m->rope_dim = (uint32_t)hp->rope_dim;
    m->layers = rf_alloc_array(s->n_layer, sizeof *m->layers);
    uint32_t *window = rf_alloc_array(s->n_layer, sizeof *window);
    rf_status st = m->layers && window ? RF_OK : rf_fail_nomem(l->err, "layers", s->n_layer * sizeof *m->layers);
    if (!st) st = rf_hparams_windows(hp, m->arch, l->w, window, l->err);
    for (uint32_t i = 0; !st && i < s->n_layer; i++) {
        m->layers[i].window = window[i];
        m->layers[i].local_rope = window[i] && hp->rope_theta_local > 0;
    }
    if (!st) st = rf_kv_groups_plan(s, m->layers, l->err);
    rf_free(window);
    return st;
}

static rf_status load_tensors(struct loader *l)
{
    struct rf_lm *m = l->m;
    RF_TRY(load_role(l, RF_ROLE_TOKEN_EMBD, 0, &m->t[RF_ROLE_TOKEN_EMBD]));
    RF_TRY(load_rope(l));
    for (uint32_t i = 0; i < m->shape.n_layer; i++) RF_TRY(load_layer(l, i));
    RF_TRY(load_role(l, RF_ROLE_OUTPUT_NORM, 0, &m->t[RF_ROLE_OUTPUT_NORM]));
    /* A config that says "tied" wins over a leftover lm_head. */
    return m->hp.tied != 1 ? load_role(l, RF_ROLE_OUTPUT, 0, &m->t[RF_ROLE_OUTPUT]) : RF_OK;
}

static rf_status plan_all(struct loader *l)
{
    struct rf_lm *m = l->m;
    char name[256];
    RF_TRY(find_vocab(l));
    RF_TRY(plan_layers(l));
    RF_TRY(load_tensors(l));
    role_name(l, RF_ROLE_Q, 0, name, sizeof name);
    const struct rf_tensor_view *q = find(l, name);
    m->shape.auto_kv_type = q && q->type == RF_TYPE_F32 ? RF_KV_F32 : RF_KV_F16;
    return check_unused(l);
}

static rf_status loader_init(struct loader *l, struct rf_lm *m, struct rf_error *err)
{
    *l = (struct loader){.m = m, .w = m->w, .gguf = rf_weights_source(m->w) == RF_SOURCE_GGUF, .prefix = "", .err = err};
    l->used = rf_alloc_array(rf_weights_n_tensor(m->w), sizeof *l->used);
    return l->used ? RF_OK : rf_fail_nomem(err, "model", rf_weights_n_tensor(m->w));
}

rf_status rf_lm_open(struct rf_lm **out, const struct rf_weights *w, struct rf_backend *b, struct rf_error *err)
{
    struct loader l = {0};
    *out = NULL;
    struct rf_lm *m = rf_alloc_array(1, sizeof *m);
    if (!m) return rf_fail_nomem(err, "model", sizeof *m);
    m->b = b;
    m->w = w;
    rf_status s = loader_init(&l, m, err);
    l.plan = true;
    if (!s) s = rf_hparams_read(&m->hp, &m->arch, w, err);
    if (!s) m->rotation = l.gguf ? m->arch->rotation_gguf : m->arch->rotation_hf;
    if (!s) s = plan_all(&l);
    rf_free(l.used);
    if (s) {
        rf_lm_close(m);
        return s;
    }
    *out = m;
    return RF_OK;
}

uint64_t rf_lm_weight_bytes(const struct rf_lm *m) { return m->weight_bytes; }

rf_status rf_lm_load(struct rf_lm *m, void (*progress)(void *ctx, double fraction), void *progress_ctx, struct rf_error *err)
{
    struct loader l;
    rf_status s = loader_init(&l, m, err);
    l.progress = progress;
    l.progress_ctx = progress_ctx;
    for (size_t i = 0; i < rf_weights_n_tensor(m->w); i++) l.all_bytes += rf_weights_tensor(m->w, i)->bytes;
    if (!s) s = m->b->mem->reserve(m->b, m->weight_bytes, err);
    if (!s) s = find_vocab(&l); /* the names' prefix */
    if (!s) s = load_tensors(&l);
    rf_free(l.used);
    m->output = m->t[RF_ROLE_OUTPUT].w ? m->t[RF_ROLE_OUTPUT].w : m->t[RF_ROLE_TOKEN_EMBD].w;
    return s;
}

static void release_tensor(struct rf_backend *b, struct rf_lm_tensor *t)
{
    if (t->w) b->mem->weight_free(b, t->w);
    if (t->vec) b->mem->free(b, t->vec);
    if (t->bias) b->mem->free(b, t->bias);
}

void rf_lm_close(struct rf_lm *m)
{
    if (!m) return;
    for (uint32_t i = 0; m->layers && i < m->shape.n_layer; i++)
        for (int r = RF_ROLE_LAYER_FIRST; r < RF_ROLE_COUNT; r++) release_tensor(m->b, &m->layers[i].t[r]);
    for (int r = 0; r < RF_ROLE_LAYER_FIRST; r++) release_tensor(m->b, &m->t[r]);
    if (m->inv_freq) m->b->mem->free(m->b, m->inv_freq);
    if (m->inv_freq_local) m->b->mem->free(m->b, m->inv_freq_local);
    rf_free(m->layers);
    rf_free(m);
}

const struct rf_lm_shape *rf_lm_shape_get(const struct rf_lm *m) { return &m->shape; }
