/* hparams.c - from the facts of a file to the numbers of a model. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "model/lm.h"

static const struct rf_fact *fact_str(const struct rf_weights *w, const char *key)
{
    const struct rf_fact *f = rf_weights_fact(w, key);
    return f && f->kind == RF_FACT_STRING ? f : NULL;
}

static rf_status unknown_arch(const struct rf_weights *w, const struct rf_str *name, struct rf_error *err)
{
    char list[256];
    rf_arch_list(list, sizeof list);
    return rf_fail(err, RF_UNSUPPORTED, "%s: architecture \"%.*s\" is not supported; this build knows %s",
                   rf_weights_path(w), (int)RF_MIN(name->n, 80u), name->s, list);
}

static rf_status find_arch(const struct rf_arch **arch, const struct rf_weights *w, struct rf_error *err)
{
    struct rf_str name = {0};
    if (rf_weights_source(w) == RF_SOURCE_GGUF) {
        const struct rf_fact *f = fact_str(w, "general.architecture");
        if (!f) return rf_fail(err, RF_CORRUPT, "%s: no string key general.architecture", rf_weights_path(w));
        *arch = rf_arch_by_gguf(f->str.s, f->str.n);
        return *arch ? RF_OK : unknown_arch(w, &f->str, err);
    }
    const struct rf_fact *f = rf_weights_fact(w, "architectures");
    if (!f || f->kind != RF_FACT_ARRAY || !rf_fact_item_str(f, 0, &name))
        return rf_fail(err, RF_CORRUPT, "%s: config.json has no \"architectures\" list", rf_weights_path(w));
    *arch = rf_arch_by_hf(name.s, name.n);
    return *arch ? RF_OK : unknown_arch(w, &name, err);
}

/* A number fact; arrays count when all their items agree (per-layer lists of equal values). */
static bool number(const struct rf_fact *f, double *out)
{
    double v;
    switch (f->kind) {
    case RF_FACT_INT:
    case RF_FACT_BOOL: *out = (double)f->i; return true;
    case RF_FACT_FLOAT: *out = f->f; return true;
    case RF_FACT_STRING: return false;
    case RF_FACT_ARRAY: break;
    }
    if (!f->n_items || !rf_fact_item_float(f, 0, out)) return false;
    for (uint64_t i = 1; i < f->n_items; i++)
        if (!rf_fact_item_float(f, i, &v) || v != *out) return false;
    return true;
}

static rf_status read_row(const struct rf_hparam_row *row, void *hp, const struct rf_arch *arch, const struct rf_weights *w,
                          struct rf_error *err)
{
    bool gguf = rf_weights_source(w) == RF_SOURCE_GGUF;
    const char *const *names = gguf ? row->gguf : row->hf;
    size_t n = gguf ? RF_COUNT(row->gguf) : RF_COUNT(row->hf);
    char key[128] = "";
    double v = row->fallback;
    for (size_t i = 0; i < n && names[i]; i++) {
        char again[128];
        snprintf(again, sizeof again, "%s", names[i]);
        if (gguf && !strncmp(names[i], "%s", 2)) snprintf(again, sizeof again, "%s%s", arch->gguf, names[i] + 2);
        if (!i) memcpy(key, again, sizeof key);
        const struct rf_fact *f = rf_weights_fact(w, again);
        if (!f) continue;
        if (!number(f, &v))
            return rf_fail(err, RF_CORRUPT, "%s: %s is not a number (or differs between layers)", rf_weights_path(w), again);
        if (!(v >= row->min && v <= row->max) || (row->kind == RF_HP_INT && v != floor(v)))
            return rf_fail(err, RF_CORRUPT, "%s: %s is %g, expected %s%g to %g", rf_weights_path(w), again, v,
                           row->kind == RF_HP_INT ? "a whole number from " : "", row->min, row->max);
        break;
    }
    if (isnan(v)) return rf_fail(err, RF_CORRUPT, "%s: %s is missing", rf_weights_path(w), key[0] ? key : "a key");
    if (row->kind == RF_HP_INT)
        *(int64_t *)((char *)hp + row->offset) = (int64_t)v;
    else
        *(double *)((char *)hp + row->offset) = v;
    return RF_OK;
}

static rf_status read_scaling(struct rf_hparams *hp, const struct rf_arch *arch, const struct rf_weights *w, struct rf_error *err)
{
    static const struct { const char *name; enum rf_rope_scaling kind; } kinds[] = {
        {"none", RF_ROPE_SCALE_NONE}, {"default", RF_ROPE_SCALE_NONE}, {"linear", RF_ROPE_SCALE_LINEAR},
        {"llama3", RF_ROPE_SCALE_LLAMA3}, {"yarn", RF_ROPE_SCALE_YARN},
    };
    static const char *const hf_keys[] = {"rope_parameters.full_attention.rope_type", "rope_parameters.rope_type",
                                          "rope_scaling.rope_type", "rope_scaling.type"};
    const struct rf_fact *f = NULL;
    if (rf_weights_source(w) == RF_SOURCE_GGUF) {
        char key[128];
        snprintf(key, sizeof key, "%s.rope.scaling.type", arch->gguf);
        f = fact_str(w, key);
        /* Files from before the type key say a factor alone and mean linear. */
        hp->rope_scaling = !f && hp->rope_factor != 1 ? RF_ROPE_SCALE_LINEAR : RF_ROPE_SCALE_NONE;
    } else {
        for (size_t i = 0; i < RF_COUNT(hf_keys) && !f; i++) f = fact_str(w, hf_keys[i]);
    }
    if (!f) return RF_OK;
    for (size_t i = 0; i < RF_COUNT(kinds); i++)
        if (f->str.n == strlen(kinds[i].name) && !memcmp(f->str.s, kinds[i].name, f->str.n)) {
            hp->rope_scaling = kinds[i].kind;
            return RF_OK;
        }
    return rf_fail(err, RF_UNSUPPORTED, "%s: rope scaling \"%.*s\" is not supported (none, linear, llama3, yarn are)",
                   rf_weights_path(w), (int)RF_MIN(f->str.n, 40u), f->str.s);
}

/* Hugging Face's names; GGUF has none, there the family's own counts. */
static rf_status read_activation(struct rf_hparams *hp, const struct rf_arch *arch, const struct rf_weights *w, struct rf_error *err)
{
    static const struct { const char *name; enum rf_activation act; } names[] = {
        {"silu", RF_ACTIVATION_SILU}, {"swish", RF_ACTIVATION_SILU}, {"gelu_pytorch_tanh", RF_ACTIVATION_GELU_TANH},
        {"gelu_new", RF_ACTIVATION_GELU_TANH}, {"gelu", RF_ACTIVATION_GELU}, {"relu", RF_ACTIVATION_RELU},
    };
    hp->activation = arch->activation;
    if (rf_weights_source(w) != RF_SOURCE_HF) return RF_OK;
    const char *key = "hidden_activation"; /* Gemma's spelling */
    const struct rf_fact *f = fact_str(w, key);
    if (!f) f = fact_str(w, key = "hidden_act");
    if (!f) return RF_OK;
    for (size_t i = 0; i < RF_COUNT(names); i++)
        if (f->str.n == strlen(names[i].name) && !memcmp(f->str.s, names[i].name, f->str.n)) {
            hp->activation = names[i].act;
            return RF_OK;
        }
    return rf_fail(err, RF_UNSUPPORTED, "%s: %s \"%.*s\" is not supported (silu, gelu, gelu_pytorch_tanh, relu are)",
                   rf_weights_path(w), key, (int)RF_MIN(f->str.n, 40u), f->str.s);
}

/* What would change every answer and is not computed here. */
static rf_status refuse_others(const struct rf_weights *w, struct rf_error *err)
{
    const struct rf_fact *f = rf_weights_fact(w, "use_bidirectional_attention");
    if (f && f->kind == RF_FACT_BOOL && f->i)
        return rf_fail(err, RF_UNSUPPORTED, "%s: use_bidirectional_attention is true, expected a model that looks back only", rf_weights_path(w));
    f = fact_str(w, "rope_parameters.sliding_attention.rope_type");
    if (f && !(f->str.n == 7 && !memcmp(f->str.s, "default", 7)))
        return rf_fail(err, RF_UNSUPPORTED, "%s: rope scaling \"%.*s\" of window layers is not supported, expected default",
                       rf_weights_path(w), (int)RF_MIN(f->str.n, 40u), f->str.s);
    return RF_OK;
}

/* What a file leaves unsaid, and what must agree. */
static rf_status derive(struct rf_hparams *hp, const struct rf_arch *arch, const struct rf_weights *w, struct rf_error *err)
{
    const char *path = rf_weights_path(w);
    if (hp->n_kv_head < 0) hp->n_kv_head = hp->n_head;
    if (hp->head_dim < 0) {
        if (hp->n_embd % hp->n_head)
            return rf_fail(err, RF_CORRUPT, "%s: %lld heads do not divide a width of %lld, and no head size is given", path,
                           (long long)hp->n_head, (long long)hp->n_embd);
        hp->head_dim = hp->n_embd / hp->n_head;
    }
    if (hp->n_head % hp->n_kv_head)
        return rf_fail(err, RF_CORRUPT, "%s: %lld heads are no multiple of %lld KV heads", path, (long long)hp->n_head,
                       (long long)hp->n_kv_head);
    if (hp->n_head * hp->head_dim > 1 << 20)
        return rf_fail(err, RF_TOO_LARGE, "%s: %lld heads of %lld values are more than this build takes", path,
                       (long long)hp->n_head, (long long)hp->head_dim);
    if (!hp->rope_dim) hp->rope_dim = (int64_t)((double)hp->head_dim * hp->rope_fraction);
    if (hp->rope_dim > hp->head_dim || hp->rope_dim % 2)
        return rf_fail(err, RF_CORRUPT, "%s: %lld rotated values of %lld a head, expected an even number within the head",
                       path, (long long)hp->rope_dim, (long long)hp->head_dim);
    if (hp->rope_theta_local < 0) hp->rope_theta_local = arch->default_theta_local;
    if (hp->window_period < 0) hp->window_period = (int64_t)arch->default_window_period;
    if (hp->attn_scale == 0) {
        double q = hp->query_scalar > 0 ? hp->query_scalar : (double)hp->head_dim;
        if (arch->wide_scale_layers && hp->n_layer == arch->wide_scale_layers && hp->query_scalar == 0)
            q = (double)hp->n_embd / (double)hp->n_head;
        hp->attn_scale = 1 / sqrt(q);
    }
    if (hp->rope_orig_ctx == 0) hp->rope_orig_ctx = (double)hp->n_ctx;
    /* GGUF's factor comes on top of YaRN's own (files carry a 1 here), Hugging Face's instead of it. */
    if (rf_weights_source(w) == RF_SOURCE_GGUF && hp->rope_scaling == RF_ROPE_SCALE_YARN && hp->rope_factor > 1)
        hp->rope_attn_factor *= 1 + 0.1 * log(hp->rope_factor);
    return RF_OK;
}

rf_status rf_hparams_read(struct rf_hparams *hp, const struct rf_arch **arch, const struct rf_weights *w, struct rf_error *err)
{
    *hp = (struct rf_hparams){0};
    RF_TRY(find_arch(arch, w, err));
    for (size_t i = 0; i < rf_hparam_n_rows; i++) RF_TRY(read_row(&rf_hparam_rows[i], hp, *arch, w, err));
    RF_TRY(read_scaling(hp, *arch, w, err));
    RF_TRY(read_activation(hp, *arch, w, err));
    RF_TRY(refuse_others(w, err));
    return derive(hp, *arch, w, err);
}

static bool windowed_by_rule(const struct rf_hparams *hp, const struct rf_arch *arch, int64_t layer)
{
    switch (arch->window_rule) {
    case RF_WINDOW_NEVER: return false;
    case RF_WINDOW_ALL: return true;
    case RF_WINDOW_PERIOD: return hp->window_period > 0 && (layer + 1) % hp->window_period != 0;
    case RF_WINDOW_FLAGGED: return hp->use_window == 1 && layer >= hp->window_from;
    }
    return false;
}

rf_status rf_hparams_windows(const struct rf_hparams *hp, const struct rf_arch *arch, const struct rf_weights *w,
                             uint32_t *window, struct rf_error *err)
{
    const struct rf_fact *types = rf_weights_source(w) == RF_SOURCE_HF ? rf_weights_fact(w, "layer_types") : NULL;
    for (int64_t i = 0; i < hp->n_layer; i++) {
        bool on = windowed_by_rule(hp, arch, i);
        if (types && types->kind == RF_FACT_ARRAY) {
            struct rf_str t;
            if (!rf_fact_item_str(types, (uint64_t)i, &t))
                return rf_fail(err, RF_CORRUPT, "%s: layer_types has no name for layer %lld", rf_weights_path(w), (long long)i);
            bool sliding = t.n == 17 && !memcmp(t.s, "sliding_attention", 17);
            if (!sliding && !(t.n == 14 && !memcmp(t.s, "full_attention", 14)))
                return rf_fail(err, RF_UNSUPPORTED, "%s: layer_types[%lld] is \"%.*s\", expected full_attention or sliding_attention",
                               rf_weights_path(w), (long long)i, (int)RF_MIN(t.n, 40u), t.s);
            on = sliding;
        }
        window[i] = on ? (uint32_t)hp->window : 0;
    }
    return RF_OK;
}
