/* cmd_serve.c - listens at once, loads its model, or none before one is asked for, and serves until Ctrl-C or SIGTERM; a second
 * signal ends it at once. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/notify.h"
#include "cli/serve_pool.h"

/* The signal handler's only way to its server; set while rf_cli_serve runs. */
static _Atomic(struct rf_serve *) running;

static void on_signal(int sig)
{
    (void)sig;
    struct rf_serve *s = atomic_load(&running);
    if (s) rf_serve_stop(s);
}

static enum rf_log_level level_of(const char *name) /* the option table has checked the word */
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < RF_COUNT(names); i++)
        if (!strcmp(names[i], name)) return (enum rf_log_level)i;
    return RF_LOG_INFO;
}

/* "dir/name-00001-of-00004.gguf" -> "name": what people would call the model. A name from `list` stays as it is. */
static void default_name(const char *path, char *out, size_t cap)
{
    if (!rf_path_exists(path)) {
        snprintf(out, cap, "%s", path);
        return;
    }
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    size_t start = end;
    while (start && path[start - 1] != '/') start--;
    size_t n = RF_MIN(end - start, cap - 1);
    memcpy(out, path + start, n);
    out[n] = 0;
    static const char *const endings[] = {".gguf", ".safetensors", ".index.json"};
    for (size_t i = 0; i < RF_COUNT(endings); i++) {
        size_t k = strlen(endings[i]);
        if (n > k && !strcmp(out + n - k, endings[i])) out[n -= k] = 0;
    }
    unsigned no, of;
    if (n > 15 && sscanf(out + n - 15, "-%5u-of-%5u", &no, &of) == 2) out[n - 15] = 0;
    if (!out[0] || !strcmp(out, ".")) snprintf(out, cap, "model");
}

/* NULL: all that are listed. */
static const char *fixed_model(const struct rf_cli *c) { return c->n_arg ? c->arg[0] : c->model; }

/* What the engine can hold, running and waiting, where either was said; 0 leaves the server's default. */
static uint32_t sequences(const struct rf_cli *c)
{
    if (!c->max_seqs && !c->max_queue) return 0;
    return (uint32_t)((c->max_seqs ? c->max_seqs : 256) + (c->max_queue ? c->max_queue : 1024));
}

static rf_status start(const struct rf_cli *c, struct rf_cli_pool *pool, struct rf_serve **s, struct rf_error *err)
{
    char name[256] = "";
    if (!pool) default_name(fixed_model(c), name, sizeof name);
    struct rf_serve_options o = {
        .host = c->host, .port = (uint16_t)c->port, .model_id = c->model_name ? c->model_name : name,
        .pool = pool ? rf_cli_pool_door(pool) : NULL,
        .aliases = c->alias.item, .n_aliases = c->alias.n, .api_keys = c->api_key.item, .n_api_keys = c->api_key.n,
        .allowed_hosts = c->allowed_host.item, .n_allowed_hosts = c->allowed_host.n,
        .cors_origins = c->cors.item, .n_cors_origins = c->cors.n, .open_metrics = c->open_metrics,
        .isolate_keys = c->isolate_keys, .neutral_sampling = c->neutral_sampling, .max_body = (size_t)c->max_body_mb << 20,
        .max_connections = (uint32_t)c->max_connections, .max_sequences = sequences(c),
        .log = {.level = level_of(c->log_level), .json = c->log_json}};
    rf_status st = rf_serve_create(s, &o, err);
    if (st) rf_cli_fail(err, 0);
    return st;
}

static void watch_signals(struct rf_serve *s)
{
    struct sigaction sa = {.sa_handler = on_signal};
    atomic_store(&running, s);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

static int run(const struct rf_cli *c, struct rf_serve *s, bool *device_failed)
{
    printf("ready: %s\n", rf_serve_url(s));
    fflush(stdout);
    rf_cli_notify("READY=1");
    rf_status st = rf_serve_run(s, c->drain_timeout);
    rf_cli_notify("STOPPING=1");
    if (st == RF_DEVICE) fprintf(stderr, "rocmforge: a device failed; this process ends, its supervisor may start it anew\n");
    *device_failed = st == RF_DEVICE;
    return st ? RF_EXIT_FAILED : RF_EXIT_OK;
}

static int serve_fixed(const struct rf_cli *c, struct rf_serve *s, struct rf_model **m, struct rf_engine **e, bool *device_failed)
{
    struct rf_error err = {0};
    struct rf_model_info info;
    if (!(*m = rf_cli_open_model(c, 0))) return RF_EXIT_MODEL;
    if (!(*e = rf_cli_open_engine(c, *m))) return RF_EXIT_FAILED;
    if (rf_serve_attach(s, *m, *e, &err)) return rf_cli_fail(&err, RF_EXIT_FAILED);
    rf_model_info_get(*m, &info);
    fprintf(stderr, "%s, %s, %s\n", info.architecture, info.quantization, info.device);
    struct rf_stats stats;
    rf_engine_stats(*e, &stats);
    if (*stats.attention) fprintf(stderr, "attention: %s\n", stats.attention);
    return run(c, s, device_failed);
}

static int serve_listed(const struct rf_cli *c, struct rf_serve *s, struct rf_cli_pool *pool, bool *device_failed)
{
    size_t n = rf_cli_pool_n(pool);
    if (n) fprintf(stderr, "%zu model%s; a request loads the one that it names: rocmforge list\n", n, n == 1 ? "" : "s");
    else fprintf(stderr, "no model yet: put a GGUF file into ~/models, or name a folder with --model-dir; it is found without a restart\n");
    return run(c, s, device_failed);
}

/* Names that belong to one model make no sense for many. */
static bool check_names(const struct rf_cli *c)
{
    if (fixed_model(c) || (!c->model_name && !c->alias.n)) return true;
    fprintf(stderr, "rocmforge: --%s names one model, but serve was given none: without MODEL each is served under its name in `list`\n",
            c->model_name ? "model-name" : "alias");
    return false;
}

int rf_cli_serve(const struct rf_cli *c)
{
    struct rf_serve *s = NULL;
    struct rf_error err = {0};
    struct rf_model *m = NULL;
    struct rf_engine *e = NULL;
    struct rf_cli_pool *pool = NULL;
    bool device_failed = false;
    if (!check_names(c)) return RF_EXIT_USAGE;
    if (!fixed_model(c) && rf_cli_pool_create(&pool, c, &err)) return rf_cli_fail(&err, RF_EXIT_FAILED);
    rf_status st = start(c, pool, &s, &err);
    int code = st == RF_INVALID ? RF_EXIT_USAGE : RF_EXIT_FAILED;
    if (!st) {
        watch_signals(s);
        if (c->config_path) fprintf(stderr, "settings: %s\n", c->config_path); /* one in the folder where it starts counts: it is said */
        code = pool ? serve_listed(c, s, pool, &device_failed) : serve_fixed(c, s, &m, &e, &device_failed);
        atomic_store(&running, NULL);
    }
    rf_serve_free(s);
    rf_engine_free(e);
    rf_model_close(m);
    rf_cli_pool_free(pool);
    if (device_failed) { /* a driver's own exit handlers may wait for the device */
        fflush(NULL);
        _exit(code);
    }
    return code;
}
