/* common.c - what several commands need: opening, sampling flags, input, interrupts. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"

int rf_cli_fail(const struct rf_error *err, int code)
{
    fprintf(stderr, "rocmforge: %s\n", err->message[0] ? err->message : rf_status_name(err->status));
    return code;
}

/* ---- progress on a terminal, silence on a pipe ---- */

void rf_cli_show_progress(void *ctx, double fraction)
{
    struct rf_cli_progress *p = ctx;
    int percent = (int)(RF_MAX(0, RF_MIN(fraction, 1)) * 100), filled = percent * 30 / 100;
    if (percent + 1 == p->shown || !isatty(STDERR_FILENO)) return;
    p->shown = percent + 1;
    fprintf(stderr, "\r%s [%.*s%.*s] %3d%%", p->what, filled, "##############################", 30 - filled,
            "..............................", percent);
    if (percent == 100) fprintf(stderr, "\r\033[K");
    fflush(stderr);
}

void rf_cli_end_progress(struct rf_cli_progress *p)
{
    if (p->shown && p->shown <= 100) fprintf(stderr, "\r\033[K");
    p->shown = 0;
}

/* ---- models and engines ---- */

enum { SIDE_FILE_MAX = 1 << 20 };

/* *text is NULL where none is named; an empty name is a file that is not there. */
static rf_status side_file(const char *path, struct rf_buf *b, const char **text, struct rf_error *err)
{
    *text = NULL;
    if (!path) return RF_OK;
    RF_TRY(rf_file_read(b, path, SIDE_FILE_MAX, err));
    *text = rf_buf_str(b);
    return RF_OK;
}

rf_status rf_cli_open_place(const struct rf_cli *c, const struct rf_cli_place *at, uint32_t flags, bool progress, struct rf_model **out,
                            struct rf_error *err)
{
    struct rf_buf tmpl = {0}, system = {0}, sampling = {0}, messages = {0};
    struct rf_cli_progress bar = {.what = "loading"};
    struct rf_engine_options engine;
    *out = NULL;
    rf_cli_engine_options(c, &engine);
    struct rf_model_options o = {.device = c->device, .isa = c->isa, .attention = c->attention, .n_threads = (uint32_t)c->threads, .flags = flags,
                                 .allow_cpu = c->allow_cpu, .gpu_memory_fraction = c->gpu_memory_fraction, .engine = &engine};
    if (progress) {
        o.progress = rf_cli_show_progress;
        o.progress_ctx = &bar;
    }
    rf_status s = side_file(c->chat_template, &tmpl, &o.chat_template, err);
    if (!s) s = side_file(*at->system ? at->system : NULL, &system, &o.system, err);
    if (!s) s = side_file(*at->sampling ? at->sampling : NULL, &sampling, &o.sampling, err);
    if (!s) s = side_file(*at->messages ? at->messages : NULL, &messages, &o.messages, err);
    if (!s) s = rf_model_open(out, at->path, &o, err);
    rf_buf_release(&tmpl);
    rf_buf_release(&system);
    rf_buf_release(&sampling);
    rf_buf_release(&messages);
    rf_cli_end_progress(&bar);
    return s;
}

struct rf_model *rf_cli_open_model(const struct rf_cli *c, uint32_t flags)
{
    struct rf_error err = {0};
    struct rf_model *m = NULL;
    char name[RF_CLI_PATH_MAX];
    struct rf_cli_place at;
    if (!rf_cli_wanted_model(c, name, sizeof name)) {
        fprintf(stderr, "rocmforge: no model is named, and the small one that ships is not installed here\n  See: rocmforge list\n");
        return NULL;
    }
    if (!rf_cli_resolve(c, name, &at)) {
        char shipped[RF_CLI_PATH_MAX];
        bool ships = rf_cli_shipped_model(shipped, sizeof shipped);
        if (ships && !strcmp(c->command->name, "run") && c->n_arg == 1 && strchr(name, ' ')) /* a question where the model's name belongs */
            fprintf(stderr, "  To ask the model that ships: rocmforge run rocmforge-demo \"%.60s%s\"\n", name, strlen(name) > 60 ? "..." : "");
        return NULL;
    }
    if (rf_cli_open_place(c, &at, flags, true, &m, &err)) rf_cli_fail(&err, 0);
    return m;
}

static const struct { const char *name; enum rf_kv_type type; } kv_types[] = {
    {"auto", RF_KV_AUTO}, {"f16", RF_KV_F16}, {"bf16", RF_KV_BF16}, {"f32", RF_KV_F32},
};

static enum rf_kv_type kv_type_of(const char *name) /* the option table has checked the word */
{
    for (size_t i = 0; name && i < RF_COUNT(kv_types); i++)
        if (!strcmp(kv_types[i].name, name)) return kv_types[i].type;
    return RF_KV_AUTO;
}

void rf_cli_engine_options(const struct rf_cli *c, struct rf_engine_options *o)
{
    *o = (struct rf_engine_options){
        .max_model_len = (uint32_t)c->ctx, .kv_blocks = (uint32_t)c->kv_blocks, .kv_bytes = (uint64_t)c->kv_memory_mb << 20,
        .kv_type = kv_type_of(c->kv_type), .max_seqs = (uint32_t)c->max_seqs,
        .max_step_tokens = (uint32_t)c->max_step_tokens, .max_queue = (uint32_t)c->max_queue,
        .max_queue_tokens = (uint64_t)c->max_queue_tokens, .no_prefix_cache = c->no_prefix_cache,
        .no_async_scheduling = c->no_async_scheduling,
        .precise = c->precise, .step_timeout_s = c->step_timeout < 0 ? 0 : c->step_timeout > 0 ? c->step_timeout : -1};
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

bool rf_cli_parse_bias(const char *text, struct rf_logit_bias *b)
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
    if (c->has_seed) s->has_seed = true, s->seed = (uint64_t)c->seed;
    if (c->has_max_tokens) s->max_tokens = (int32_t)c->max_tokens;
    s->ignore_eos = c->ignore_eos;
    if (c->stop.n) {
        s->stop = c->stop.item;
        s->n_stop = c->stop.n;
    }
    for (size_t i = 0; i < c->logit_bias.n; i++)
        if (!rf_cli_parse_bias(c->logit_bias.item[i], &bias[i])) {
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
            if (out->bad == RF_NOMEM) rf_fail_nomem(&err, "standard input", 65536), rf_cli_fail(&err, 0);
            else fprintf(stderr, "rocmforge: standard input: over %zu bytes\n", max);
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

bool rf_cli_put(struct rf_buf *text, const char *s)
{
    struct rf_error err = {0};
    if (!rf_buf_puts(text, s)) return true;
    rf_fail_nomem(&err, "the text", strlen(s));
    rf_cli_fail(&err, 0);
    return false;
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

void rf_cli_human_bytes(uint64_t bytes, char *out, size_t cap)
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB"};
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 1000 && u + 1 < RF_COUNT(unit); u++) v /= 1000;
    snprintf(out, cap, v < 10 && u ? "%.1f %s" : "%.0f %s", v, unit[u]);
}

int rf_cli_print_json(void *json)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(json);
    if (text) puts(text);
    else fprintf(stderr, "rocmforge: not enough memory\n");
    int code = text ? RF_EXIT_OK : RF_EXIT_FAILED;
    free(text);
    return code;
}

bool rf_cli_colour(int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM"); /* no-color.org: set and not empty */
    return isatty(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

bool rf_cli_own_path(char *out, size_t cap, const char *variable, const char *fallback, const char *name, bool make)
{
    const char *base = getenv(variable), *home = getenv("HOME");
    int n = -1;
    if (base && *base) n = snprintf(out, cap, "%s/rocmforge/%s", base, name);
    else if (home && *home) n = snprintf(out, cap, "%s/%s/rocmforge/%s", home, fallback, name);
    if (n < 0 || (size_t)n >= cap) return false;
    for (char *p = make ? strchr(out + 1, '/') : NULL; p; p = strchr(p + 1, '/')) {
        *p = 0;
        mkdir(out, 0700);
        *p = '/';
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
    atomic_store(&interrupted, false);
    struct sigaction sa = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

static void on_interrupt_again(int sig)
{
    (void)sig;
    atomic_store(&interrupted, true);
}

void rf_cli_listen_interrupt(void)
{
    struct sigaction sa = {.sa_handler = on_interrupt_again};
    atomic_store(&interrupted, false);
    sigaction(SIGINT, &sa, NULL);
}

void rf_cli_ignore_interrupt(void) { signal(SIGINT, SIG_IGN); }

bool rf_cli_interrupted(void) { return atomic_load(&interrupted); }
