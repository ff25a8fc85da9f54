/* header.c - what a model is, from its header alone. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "arch/arch.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "format/weights.h"
#include "registry/internal.h"

static const char *const kind_names[] = {[RF_MODEL_CHAT] = "chat", [RF_MODEL_EMBEDDING] = "embedding", [RF_MODEL_PROJECTOR] = "projector",
    [RF_MODEL_ADAPTER] = "adapter", [RF_MODEL_VOCABULARY] = "vocabulary", [RF_MODEL_OTHER] = "other", [RF_MODEL_BROKEN] = "broken"};

const char *rf_model_kind_name(enum rf_model_kind k) { return (size_t)k < RF_COUNT(kind_names) ? kind_names[k] : "other"; }

void rf_scan_warn(struct rf_scan *s, const char *fmt, ...)
{
    char line[1024];
    if (!s->opt->warn) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    s->opt->warn(s->opt->warn_ctx, line);
}

static const char *keep(struct rf_scan *s, struct rf_str t)
{
    if (!t.n || t.n > 200 || !rf_utf8_valid(t.s, t.n)) return "";
    const char *p = rf_arena_strndup(s->a, t.s, t.n);
    return p ? p : "";
}

static struct rf_str fact_text(const struct rf_weights *w, const char *key)
{
    const struct rf_fact *f = rf_weights_fact(w, key);
    struct rf_str t = {0};
    if (f && f->kind == RF_FACT_STRING) t = f->str;
    if (f && f->kind == RF_FACT_ARRAY) rf_fact_item_str(f, 0, &t);
    return t;
}

static uint32_t context(const struct rf_weights *w, struct rf_str arch)
{
    char key[256];
    snprintf(key, sizeof key, "%.*s.context_length", (int)RF_MIN(arch.n, 100u), arch.s ? arch.s : "");
    const struct rf_fact *f = rf_weights_fact(w, rf_weights_source(w) == RF_SOURCE_GGUF ? key : "max_position_embeddings");
    return f && f->kind == RF_FACT_INT && f->i > 0 && f->i <= UINT32_MAX ? (uint32_t)f->i : 0;
}

static bool starts(struct rf_str t, const char *word) { return t.n >= strlen(word) && !memcmp(t.s, word, strlen(word)); }

/* Families that are no chat models, by what their names start with: GGUF spelling, then Hugging Face's. */
static const struct { const char *word; enum rf_model_kind kind; } others[] = {
    {"bert", RF_MODEL_EMBEDDING}, {"nomic-bert", RF_MODEL_EMBEDDING}, {"jina-bert", RF_MODEL_EMBEDDING}, {"modern-bert", RF_MODEL_EMBEDDING},
    {"roberta", RF_MODEL_EMBEDDING}, {"t5encoder", RF_MODEL_EMBEDDING}, {"gemma-embedding", RF_MODEL_EMBEDDING},
    {"Bert", RF_MODEL_EMBEDDING}, {"Roberta", RF_MODEL_EMBEDDING}, {"XLMRoberta", RF_MODEL_EMBEDDING}, {"ModernBert", RF_MODEL_EMBEDDING},
    {"NomicBert", RF_MODEL_EMBEDDING}, {"MPNet", RF_MODEL_EMBEDDING}, {"DistilBert", RF_MODEL_EMBEDDING},
    {"clip", RF_MODEL_PROJECTOR}, {"mmproj", RF_MODEL_PROJECTOR},
};

static enum rf_model_kind kind_of(const struct rf_weights *w)
{
    bool gguf = rf_weights_source(w) == RF_SOURCE_GGUF;
    struct rf_str arch = fact_text(w, gguf ? "general.architecture" : "architectures"), type = fact_text(w, "general.type");
    if (starts(type, "adapter")) return RF_MODEL_ADAPTER;
    if (starts(type, "mmproj")) return RF_MODEL_PROJECTOR;
    for (size_t i = 0; i < RF_COUNT(others); i++)
        if (starts(arch, others[i].word)) return others[i].kind;
    if (!rf_weights_n_tensor(w)) return RF_MODEL_VOCABULARY;
    if (!arch.n) return RF_MODEL_OTHER;
    return (gguf ? rf_arch_by_gguf(arch.s, arch.n) : rf_arch_by_hf(arch.s, arch.n)) ? RF_MODEL_CHAT : RF_MODEL_OTHER;
}

struct rf_header rf_scan_header(struct rf_scan *s, const char *path, const struct stat *st)
{
    struct rf_header h = {.architecture = "", .quantization = "", .note = ""};
    struct rf_weights *w = NULL;
    struct rf_error err = {0};
    if (rf_catalogue_get(s->cat, st, s->a, &h)) return h;
    if (rf_weights_open(&w, path, &err)) {
        h.kind = RF_MODEL_BROKEN;
        h.bytes = (uint64_t)st->st_size;
        h.note = keep(s, (struct rf_str){err.message, RF_MIN(strlen(err.message), 200u)});
        return h; /* not remembered: the missing part may come */
    }
    struct rf_str arch = fact_text(w, rf_weights_source(w) == RF_SOURCE_GGUF ? "general.architecture" : "model_type");
    h = (struct rf_header){.kind = kind_of(w), .context = context(w, arch), .bytes = rf_weights_file_bytes(w),
                           .architecture = keep(s, arch), .quantization = rf_weights_quantization(w), .note = ""};
    rf_weights_close(w);
    rf_catalogue_put(s->cat, st, &h);
    return h;
}
