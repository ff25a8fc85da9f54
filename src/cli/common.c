/* common.c - what several commands need: opening, sampling flags, input, interrupts. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"

int rf_cli_fail(const struct rf_error *err, int code)
{
    fprintf(stderr, "rocmforge: %s\n", err->message[0] ? err->message : rf_status_name(err->status));
    return code;
}

/* ---- progress on a terminal, silence on a pipe ---- */

static void show_progress(void *ctx, double fraction)
{
    int *last = ctx, percent = (int)(fraction * 100), filled = percent * 30 / 100;
    if (percent == *last) return;
    *last = percent;
    fprintf(stderr, "\rloading [%.*s%.*s] %3d%%", filled, "##############################", 30 - filled,
            "..............................", percent);
    if (percent == 100) fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

/* ---- names ---- */

static void print_warning(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "rocmforge: %s\n", line);
}

struct rf_registry *rf_cli_open_registry(const struct rf_cli *c, bool warn)
{
    struct rf_registry *r = NULL;
    struct rf_error err = {0};
    struct rf_registry_options o = {.dirs = c->model_dir.item, .n_dirs = c->model_dir.n, .warn = warn ? print_warning : NULL};
    if (rf_registry_open(&r, &o, &err)) rf_cli_fail(&err, 0);
    return r;
}

static void not_found(const struct rf_registry *r, const char *name)
{
    size_t n = rf_registry_n(r), n_name = 0;
    const char **names = rf_alloc_array(n, sizeof *names);
    for (size_t i = 0; names && i < n; i++)
        if (rf_registry_at(r, i)->kind == RF_MODEL_CHAT) names[n_name++] = rf_registry_at(r, i)->name;
    const char *near = names ? rf_cli_nearest(name, names, n_name) : NULL;
    for (size_t i = 0; !near && i < n_name; i++)
        if (strcasestr(names[i], name)) near = names[i];
    fprintf(stderr, "rocmforge: %.200s: no such file, folder or model", name);
    if (near) fprintf(stderr, "; did you mean %s?", near);
    fprintf(stderr, "\n  See: rocmforge list\n");
    rf_free(names);
}

/* A path as it is; else the path behind a listed name. False with the nearest names printed. */
static bool resolve(const struct rf_cli *c, const char *name, char *path, size_t cap)
{
    int n = snprintf(path, cap, "%s", name);
    if (n > 0 && (size_t)n < cap && rf_path_exists(path)) return true;
    struct rf_registry *r = rf_cli_open_registry(c, false);
    if (!r) return false;
    const struct rf_model_entry *m = rf_registry_find(r, name);
    n = m ? snprintf(path, cap, "%s", m->path) : -1;
    if (m && m->kind == RF_MODEL_BROKEN) {
        fprintf(stderr, "rocmforge: %s cannot be used: %s\n", m->name, m->note);
        n = -1;
    } else if (!m) {
        not_found(r, name);
    }
    rf_registry_close(r);
    return n > 0 && (size_t)n < cap;
}

struct rf_model *rf_cli_open_model(const struct rf_cli *c, uint32_t flags)
{
    struct rf_error err = {0};
    struct rf_buf tmpl = {0};
    struct rf_model *m = NULL;
    int percent = -1;
    char path[4096];
    if (!resolve(c, c->arg[0], path, sizeof path)) return NULL;
    struct rf_model_options o = {.device = c->device, .isa = c->isa, .n_threads = (uint32_t)c->threads, .flags = flags};
    if (c->chat_template) {
        if (rf_file_read(&tmpl, c->chat_template, 1 << 20, &err)) {
            rf_cli_fail(&err, 0);
            return NULL;
        }
        o.chat_template = rf_buf_str(&tmpl);
    }
    if (isatty(STDERR_FILENO)) {
        o.progress = show_progress;
        o.progress_ctx = &percent;
    }
    rf_status s = rf_model_open(&m, path, &o, &err);
    rf_buf_release(&tmpl);
    if (s && percent >= 0 && percent < 100) fprintf(stderr, "\r\033[K");
    if (s) rf_cli_fail(&err, 0);
    return s ? NULL : m;
}

static const struct { const char *name; enum rf_kv_type type; } kv_types[] = {
    {"auto", RF_KV_AUTO}, {"f16", RF_KV_F16}, {"bf16", RF_KV_BF16}, {"f32", RF_KV_F32},
};

static int kv_type_of(const char *name)
{
    for (size_t i = 0; name && i < RF_COUNT(kv_types); i++)
        if (!strcmp(kv_types[i].name, name)) return (int)kv_types[i].type;
    return name ? -1 : RF_KV_AUTO;
}

bool rf_cli_check_kv_type(const struct rf_cli *c)
{
    if (kv_type_of(c->kv_type) >= 0) return true;
    fprintf(stderr, "rocmforge: --kv-type is \"%s\", expected auto, f16, bf16 or f32\n", c->kv_type);
    return false;
}

void rf_cli_engine_options(const struct rf_cli *c, struct rf_engine_options *o)
{
    *o = (struct rf_engine_options){
        .max_model_len = (uint32_t)c->ctx, .kv_blocks = (uint32_t)c->kv_blocks, .kv_bytes = (uint64_t)c->kv_memory_mb << 20,
        .kv_type = (enum rf_kv_type)kv_type_of(c->kv_type), .max_seqs = (uint32_t)c->max_seqs,
        .max_step_tokens = (uint32_t)c->max_step_tokens, .max_queue = (uint32_t)c->max_queue,
        .max_queue_tokens = (uint64_t)c->max_queue_tokens, .no_prefix_cache = c->no_prefix_cache,
        .precise = c->precise};
}

struct rf_engine *rf_cli_open_engine(const struct rf_cli *c, struct rf_model *m)
{
    struct rf_engine_options o;
    struct rf_engine *e = NULL;
    struct rf_error err = {0};
    rf_cli_engine_options(c, &o);
    if (rf_engine_create(&e, m, &o, &err)) rf_cli_fail(&err, 0);
    return e;
}

/* ---- sampling ---- */

static bool parse_bias(const char *text, struct rf_logit_bias *b)
{
    char *end;
    errno = 0;
    long id = strtol(text, &end, 10);
    if (end == text || *end != '=' || errno || id < 0 || id > INT32_MAX) return false;
    const char *v = end + 1;
    b->token = (int32_t)id;
    b->bias = strtof(v, &end);
    return end != v && !*end;
}

bool rf_cli_sampling(const struct rf_cli *c, const struct rf_model *m, struct rf_sampling *s, struct rf_logit_bias *bias)
{
    rf_model_sampling_default(m, s);
    if (c->has_temperature) s->temperature = (float)c->temperature;
    if (c->has_top_k) s->top_k = (int32_t)c->top_k;
    if (c->has_top_p) s->top_p = (float)c->top_p;
    if (c->has_min_p) s->min_p = (float)c->min_p;
    if (c->has_typical_p) s->typical_p = (float)c->typical_p;
    if (c->has_repetition_penalty) s->repetition_penalty = (float)c->repetition_penalty;
    if (c->has_presence_penalty) s->presence_penalty = (float)c->presence_penalty;
    if (c->has_frequency_penalty) s->frequency_penalty = (float)c->frequency_penalty;
    if (c->has_min_tokens) s->min_tokens = (int32_t)c->min_tokens;
    s->has_seed = c->has_seed;
    s->seed = (uint64_t)c->seed;
    s->max_tokens = c->has_max_tokens ? (int32_t)c->max_tokens : -1;
    s->ignore_eos = c->ignore_eos;
    s->stop = c->stop.item;
    s->n_stop = c->stop.n;
    for (size_t i = 0; i < c->logit_bias.n; i++)
        if (!parse_bias(c->logit_bias.item[i], &bias[i])) {
            fprintf(stderr, "rocmforge: --logit-bias is \"%s\", expected ID=NUMBER\n", c->logit_bias.item[i]);
            return false;
        }
    s->logit_bias = bias;
    s->n_logit_bias = c->logit_bias.n;
    return true;
}

/* ---- input and output ---- */

bool rf_cli_read(const char *path, struct rf_buf *out)
{
    struct rf_error err = {0};
    const size_t max = (size_t)256 << 20;
    if (path) {
        if (!rf_file_read(out, path, max, &err)) return true;
        rf_cli_fail(&err, 0);
        return false;
    }
    out->max = max;
    for (;;) {
        if (rf_buf_reserve(out, 65536)) {
            fprintf(stderr, "rocmforge: standard input: over %zu bytes\n", max);
            return false;
        }
        ssize_t n = read(STDIN_FILENO, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            fprintf(stderr, "rocmforge: standard input: %s\n", strerror(errno));
            return false;
        }
        if (n == 0) return true;
        out->len += (size_t)n;
        out->data[out->len] = 0;
    }
}

bool rf_cli_write(const char *s, size_t n)
{
    while (n) {
        ssize_t k = write(STDOUT_FILENO, s, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return false;
        s += k;
        n -= (size_t)k;
    }
    return true;
}

/* ---- Ctrl-C ---- */

static atomic_bool interrupted;

static void on_interrupt(int sig)
{
    atomic_store(&interrupted, true);
    signal(sig, SIG_DFL);
}

void rf_cli_catch_interrupt(void)
{
    struct sigaction sa = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

bool rf_cli_interrupted(void) { return atomic_load(&interrupted); }
