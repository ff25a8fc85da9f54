/* describe.c - what a model file says about itself: the info struct, JSON for people and scripts, sampling defaults. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "engine/handle.h"
#include "sample/sample.h"

enum { LIST_WHOLE = 64, LIST_HEAD = 8 }; /* longer lists of facts are cut to their first items */

const struct rf_fact *rf_handle_fact(const struct rf_weights *w, const char *gguf, const char *hf)
{
    const struct rf_fact *arch, *f = NULL;
    char key[256];
    if (rf_weights_source(w) == RF_SOURCE_GGUF) {
        arch = rf_weights_fact(w, "general.architecture");
        if (!gguf || !arch || arch->kind != RF_FACT_STRING || arch->str.n > 100) return NULL;
        snprintf(key, sizeof key, "%.*s.%s", (int)arch->str.n, arch->str.s, gguf);
        return rf_weights_fact(w, key);
    }
    if (hf) f = rf_weights_fact(w, hf);
    if (!f && hf) {
        snprintf(key, sizeof key, "text_config.%s", hf);
        f = rf_weights_fact(w, key);
    }
    return f;
}

/* An integer fact; the largest item where it is a list (one value per layer). */
static uint32_t number(const struct rf_weights *w, const char *gguf, const char *hf)
{
    const struct rf_fact *f = rf_handle_fact(w, gguf, hf);
    int64_t best = 0, v;
    if (f && f->kind == RF_FACT_INT) best = f->i;
    for (uint64_t i = 0; f && f->kind == RF_FACT_ARRAY && i < RF_MIN(f->n_items, 4096u); i++)
        if (rf_fact_item_int(f, i, &v)) best = RF_MAX(best, v);
    return best < 0 ? 0 : best > UINT32_MAX ? UINT32_MAX : (uint32_t)best;
}

static const char *keep(struct rf_model *m, const char *s, size_t n)
{
    const char *p = rf_arena_strndup(&m->arena, s, n);
    return p ? p : "";
}

static const char *fact_text(struct rf_model *m, const char *key, const char *fallback)
{
    const struct rf_fact *f = rf_weights_fact(m->weights, key);
    struct rf_str s = {0};
    if (f && f->kind == RF_FACT_STRING) s = f->str;
    if (f && f->kind == RF_FACT_ARRAY) rf_fact_item_str(f, 0, &s);
    return s.n && rf_utf8_valid(s.s, s.n) ? keep(m, s.s, s.n) : fallback;
}

/* Last part of a path without ".gguf". */
static const char *base_name(struct rf_model *m, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/') from--;
    if (n - from > 5 && !memcmp(path + n - 5, ".gguf", 5)) n -= 5;
    return keep(m, path + from, n - from);
}

static uint64_t n_params(const struct rf_weights *w)
{
    uint64_t n = 0;
    for (size_t i = 0; i < rf_weights_n_tensor(w); i++) {
        const struct rf_tensor_view *t = rf_weights_tensor(w, i);
        n += t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
    }
    return n;
}

static int32_t token_fact(const struct rf_weights *w, const char *gguf, const char *hf)
{
    const struct rf_fact *f = rf_weights_fact(w, rf_weights_source(w) == RF_SOURCE_GGUF ? gguf : hf);
    int64_t v = -1;
    if (f && f->kind == RF_FACT_INT) v = f->i;
    if (f && f->kind == RF_FACT_ARRAY) rf_fact_item_int(f, 0, &v);
    return v >= 0 && v <= INT32_MAX ? (int32_t)v : -1;
}

static uint32_t vocab_fact(const struct rf_weights *w)
{
    const struct rf_fact *f = rf_weights_fact(w, "tokenizer.ggml.tokens");
    if (f && f->kind == RF_FACT_ARRAY) return (uint32_t)RF_MIN(f->n_items, (uint64_t)UINT32_MAX);
    return number(w, "vocab_size", "vocab_size");
}

/* Without opening the tokenizer: does a template seem to be there? */
static bool template_hint(const struct rf_weights *w)
{
    static const char *const file[] = {"chat_template.jinja", "chat_template.json"};
    char path[4096];
    if (rf_weights_fact(w, "tokenizer.chat_template") || rf_weights_fact(w, "tokenizer_config.chat_template"))
        return true;
    for (size_t i = 0; rf_weights_source(w) == RF_SOURCE_HF && i < RF_COUNT(file); i++)
        if (!rf_path_join(path, sizeof path, rf_weights_dir(w), file[i], NULL) && rf_path_exists(path)) return true;
    return false;
}

/* "cpu: 2 threads of 2 usable cores, avx2 avx512" */
static const char *device(struct rf_model *m)
{
    const struct rf_backend_info *b = &m->backend->info;
    char line[sizeof b->detail + 64];
    snprintf(line, sizeof line, "%s: %s", b->name, b->detail);
    return keep(m, line, strlen(line));
}

rf_status rf_handle_info_fill(struct rf_model *m, const char *path, struct rf_error *err)
{
    const struct rf_weights *w = m->weights;
    struct rf_model_info *x = &m->info;
    const struct rf_lm_shape *s = m->lm ? rf_lm_shape_get(m->lm) : NULL;
    x->path = keep(m, path, strlen(path));
    x->name = fact_text(m, "general.name", base_name(m, path));
    x->architecture = fact_text(m, "general.architecture", fact_text(m, "model_type", "unknown"));
    x->quantization = rf_weights_quantization(w);
    x->device = m->backend ? device(m) : "none";
    x->file_bytes = rf_weights_file_bytes(w);
    x->resident_bytes = s ? s->resident_bytes : 0;
    x->n_params = s ? s->n_params : n_params(w);
    x->n_layer = s ? s->n_layer : number(w, "block_count", "num_hidden_layers");
    x->n_embd = s ? s->n_embd : number(w, "embedding_length", "hidden_size");
    x->n_head = s ? s->n_head : number(w, "attention.head_count", "num_attention_heads");
    x->n_kv_head = s ? s->n_kv_head : number(w, "attention.head_count_kv", "num_key_value_heads");
    x->head_dim = s ? s->head_dim : number(w, "attention.key_length", "head_dim");
    x->n_ctx_train = s ? s->n_ctx_train : number(w, "context_length", "max_position_embeddings");
    if (!x->n_kv_head) x->n_kv_head = x->n_head;
    if (!x->head_dim && x->n_head) x->head_dim = x->n_embd / x->n_head;
    x->n_vocab = s ? s->n_vocab : m->tokenizer ? rf_tokenizer_n_vocab(m->tokenizer) : vocab_fact(w);
    x->bos =
        m->tokenizer ? rf_tokenizer_bos(m->tokenizer) : token_fact(w, "tokenizer.ggml.bos_token_id", "bos_token_id");
    x->eos =
        m->tokenizer ? rf_tokenizer_eos(m->tokenizer) : token_fact(w, "tokenizer.ggml.eos_token_id", "eos_token_id");
    x->has_template = m->tokenizer ? m->has_template : template_hint(w);
    x->has_weights = m->lm != NULL;
    return *x->path || !*path ? RF_OK : rf_fail_nomem(err, path, strlen(path));
}

/* ---- JSON ---- */

/* A string out of a file: broken UTF-8 becomes U+FFFD, control bytes are escaped. */
static void put_string(struct rf_buf *b, const char *s, size_t n)
{
    rf_buf_putc(b, '"');
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        unsigned len = rf_utf8_decode(s + i, n - i, &cp);
        if (!len) rf_buf_puts(b, "\xef\xbf\xbd");
        else if (cp == '"' || cp == '\\') rf_buf_printf(b, "\\%c", (int)cp);
        else if (cp == '\n') rf_buf_puts(b, "\\n");
        else if (cp < 0x20 || cp == 0x7f) rf_buf_printf(b, "\\u%04x", cp);
        else rf_buf_append(b, s + i, len);
        i += len ? len : 1;
    }
    rf_buf_putc(b, '"');
}

static void put_key(struct rf_buf *b, const char *key)
{
    if (b->len && b->data[b->len - 1] != '{') rf_buf_putc(b, ',');
    rf_buf_printf(b, "\"%s\":", key);
}

static void put_text(struct rf_buf *b, const char *key, const char *value)
{
    put_key(b, key);
    put_string(b, value, strlen(value));
}

static void put_u64(struct rf_buf *b, const char *key, uint64_t v)
{
    put_key(b, key);
    rf_buf_printf(b, "%llu", (unsigned long long)v);
}

static void put_double(struct rf_buf *b, double v)
{
    if (isfinite(v)) rf_buf_printf(b, "%.9g", v);
    else rf_buf_puts(b, "null");
}

static void put_item(struct rf_buf *b, const struct rf_fact *f, uint64_t i)
{
    struct rf_str s;
    int64_t n;
    double d;
    if (rf_fact_item_str(f, i, &s)) put_string(b, s.s, s.n);
    else if (f->item_kind == RF_FACT_BOOL && rf_fact_item_int(f, i, &n)) rf_buf_puts(b, n ? "true" : "false");
    else if (f->item_kind != RF_FACT_FLOAT && rf_fact_item_int(f, i, &n)) rf_buf_printf(b, "%lld", (long long)n);
    else if (rf_fact_item_float(f, i, &d)) put_double(b, d);
    else rf_buf_puts(b, "null");
}

static void put_list(struct rf_buf *b, const struct rf_fact *f)
{
    bool whole = f->n_items <= LIST_WHOLE;
    if (!whole) rf_buf_printf(b, "{\"n\":%llu,\"first\":", (unsigned long long)f->n_items);
    rf_buf_putc(b, '[');
    for (uint64_t i = 0; i < (whole ? f->n_items : LIST_HEAD); i++) {
        if (i) rf_buf_putc(b, ',');
        put_item(b, f, i);
    }
    rf_buf_puts(b, whole ? "]" : "]}");
}

static void put_fact(struct rf_buf *b, const struct rf_fact *f)
{
    if (b->len && b->data[b->len - 1] != '{') rf_buf_putc(b, ',');
    put_string(b, f->key.s, f->key.n);
    rf_buf_putc(b, ':');
    switch (f->kind) {
    case RF_FACT_INT: rf_buf_printf(b, "%lld", (long long)f->i); break;
    case RF_FACT_FLOAT: put_double(b, f->f); break;
    case RF_FACT_BOOL: rf_buf_puts(b, f->i ? "true" : "false"); break;
    case RF_FACT_STRING: put_string(b, f->str.s, f->str.n); break;
    case RF_FACT_ARRAY: put_list(b, f); break;
    }
}

static void put_tensors(struct rf_buf *b, const struct rf_weights *w)
{
    put_key(b, "tensors");
    rf_buf_putc(b, '[');
    for (size_t i = 0; i < rf_weights_n_tensor(w); i++) {
        const struct rf_tensor_view *t = rf_weights_tensor(w, i);
        rf_buf_puts(b, i ? ",{\"name\":" : "{\"name\":");
        put_string(b, t->name.s, t->name.n);
        rf_buf_printf(b, ",\"type\":\"%s\",\"shape\":[", rf_weights_type_name(t->type));
        for (uint32_t d = 0; d < t->n_dim; d++) rf_buf_printf(b, d ? ",%llu" : "%llu", (unsigned long long)t->dim[d]);
        rf_buf_printf(b, "],\"bytes\":%llu}", (unsigned long long)t->bytes);
    }
    rf_buf_putc(b, ']');
}

rf_status rf_model_describe(const struct rf_model *m, bool with_tensors, char **out, struct rf_error *err)
{
    const struct rf_model_info *x = &m->info;
    struct rf_buf b = {0};
    size_t len;
    rf_buf_putc(&b, '{');
    put_text(&b, "name", x->name);
    put_text(&b, "path", x->path);
    put_text(&b, "format", rf_weights_source(m->weights) == RF_SOURCE_GGUF ? "gguf" : "safetensors");
    put_text(&b, "architecture", x->architecture);
    put_text(&b, "quantization", x->quantization);
    put_text(&b, "device", x->device);
    const struct { const char *key; uint64_t v; } number_of[] = {
        {"file_bytes", x->file_bytes}, {"resident_bytes", x->resident_bytes}, {"n_params", x->n_params},
        {"n_tensors", rf_weights_n_tensor(m->weights)}, {"n_vocab", x->n_vocab}, {"n_layer", x->n_layer},
        {"n_embd", x->n_embd}, {"n_head", x->n_head}, {"n_kv_head", x->n_kv_head}, {"head_dim", x->head_dim},
        {"n_ctx_train", x->n_ctx_train}};
    for (size_t i = 0; i < RF_COUNT(number_of); i++) put_u64(&b, number_of[i].key, number_of[i].v);
    put_key(&b, "bos");
    rf_buf_printf(&b, "%d", x->bos);
    put_key(&b, "eos");
    rf_buf_printf(&b, "%d", x->eos);
    put_key(&b, "has_template");
    rf_buf_puts(&b, x->has_template ? "true" : "false");
    put_key(&b, "facts");
    rf_buf_putc(&b, '{');
    for (size_t i = 0; i < rf_weights_n_fact(m->weights); i++) put_fact(&b, rf_weights_fact_at(m->weights, i));
    rf_buf_putc(&b, '}');
    if (with_tensors) put_tensors(&b, m->weights);
    rf_buf_putc(&b, '}');
    *out = b.bad ? NULL : rf_buf_take(&b, &len);
    rf_buf_release(&b);
    return *out ? RF_OK : rf_fail_nomem(err, "description of the model", 0);
}

/* ---- sampling defaults ---- */

void rf_sampling_default(struct rf_sampling *s)
{
    *s = (struct rf_sampling){.temperature = 1, .top_p = 1, .typical_p = 1, .repetition_penalty = 1, .max_tokens = -1,
                              .logprobs = -1, .prompt_logprobs = -1};
}

static bool get_number(const struct rf_weights *w, const char *prefix, const char *name, double *out)
{
    char key[128];
    snprintf(key, sizeof key, "%s%s", prefix, name);
    const struct rf_fact *f = rf_weights_fact(w, key);
    if (!f || (f->kind != RF_FACT_INT && f->kind != RF_FACT_FLOAT)) return false;
    *out = f->f;
    return true;
}

void rf_model_sampling_default(const struct rf_model *m, struct rf_sampling *s)
{
    rf_sampling_default(s);
    bool gguf = rf_weights_source(m->weights) == RF_SOURCE_GGUF;
    const char *prefix = gguf ? "general.sampling." : "generation_config.";
    const struct { const char *name; float *to; } field[] = {
        {gguf ? "temp" : "temperature", &s->temperature},
        {"top_p", &s->top_p},
        {"min_p", &s->min_p},
        {"typical_p", &s->typical_p},
        {gguf ? "penalty_repeat" : "repetition_penalty", &s->repetition_penalty},
    };
    double v;
    for (size_t i = 0; i < RF_COUNT(field); i++) {
        float before = *field[i].to;
        if (!get_number(m->weights, prefix, field[i].name, &v)) continue;
        *field[i].to = (float)v;
        if (rf_sampling_check(s, m->info.n_vocab, NULL)) *field[i].to = before; /* the file says nonsense */
    }
    if (get_number(m->weights, prefix, "top_k", &v) && v >= 0 && v <= INT32_MAX) s->top_k = (int32_t)v;
    rf_handle_advice_apply(m, s);
}
