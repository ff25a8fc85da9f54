/* cmd_serve.c - listens at once, loads the model, serves until Ctrl-C or SIGTERM; a second signal ends it at once. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "serve/serve.h"

/* The signal handler's only way to its server; set while rf_cli_serve runs. */
static _Atomic(struct rf_serve *) running;

static void on_signal(int sig)
{
    (void)sig;
    struct rf_serve *s = atomic_load(&running);
    if (s) rf_serve_stop(s);
}

static bool parse_level(const char *name, enum rf_log_level *level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (size_t i = 0; i < RF_COUNT(names); i++)
        if (!strcmp(names[i], name)) {
            *level = (enum rf_log_level)i;
            return true;
        }
    fprintf(stderr, "rocmforge: --log-level is \"%s\", expected error, warn, info or debug\n", name);
    return false;
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

/* What the engine can hold, running and waiting, where either was said; 0 leaves the server's default. */
static uint32_t sequences(const struct rf_cli *c)
{
    if (!c->max_seqs && !c->max_queue) return 0;
    return (uint32_t)((c->max_seqs ? c->max_seqs : 256) + (c->max_queue ? c->max_queue : 1024));
}

static rf_status start(const struct rf_cli *c, struct rf_serve **s, struct rf_error *err)
{
    char name[256];
    default_name(c->arg[0], name, sizeof name);
    struct rf_serve_options o = {
        .host = c->host, .port = (uint16_t)c->port, .model_id = c->model_name ? c->model_name : name,
        .aliases = c->alias.item, .n_aliases = c->alias.n, .api_keys = c->api_key.item, .n_api_keys = c->api_key.n,
        .allowed_hosts = c->allowed_host.item, .n_allowed_hosts = c->allowed_host.n,
        .cors_origins = c->cors.item, .n_cors_origins = c->cors.n, .open_metrics = c->open_metrics,
        .isolate_keys = c->isolate_keys, .neutral_sampling = c->neutral_sampling, .max_body = (size_t)c->max_body_mb << 20,
        .max_connections = (uint32_t)c->max_connections, .max_sequences = sequences(c), .log = {.json = c->log_json}};
    if (!parse_level(c->log_level, &o.log.level)) return RF_INVALID;
    rf_status st = rf_serve_create(s, &o, err);
    if (st) rf_cli_fail(err, 0);
    return st;
}

int rf_cli_serve(const struct rf_cli *c)
{
    struct rf_serve *s = NULL;
    struct rf_error err = {0};
    struct rf_model *m = NULL;
    struct rf_engine *e = NULL;
    struct rf_model_info info;
    if (!rf_cli_check_kv_type(c)) return RF_EXIT_USAGE;
    rf_status st = start(c, &s, &err);
    if (st) return st == RF_INVALID ? RF_EXIT_USAGE : RF_EXIT_FAILED;
    atomic_store(&running, s);
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    int code = RF_EXIT_MODEL;
    if (!(m = rf_cli_open_model(c, 0))) goto out;
    code = RF_EXIT_FAILED;
    if (!(e = rf_cli_open_engine(c, m))) goto out;
    if (rf_serve_attach(s, m, e, &err)) {
        rf_cli_fail(&err, 0);
        goto out;
    }
    rf_model_info_get(m, &info);
    fprintf(stderr, "%s, %s, %s\n", info.architecture, info.quantization, info.device);
    printf("ready: %s\n", rf_serve_url(s));
    fflush(stdout);
    code = rf_serve_run(s, c->drain_timeout) ? RF_EXIT_FAILED : RF_EXIT_OK;
out:
    atomic_store(&running, NULL);
    rf_serve_free(s);
    rf_engine_free(e);
    rf_model_close(m);
    return code;
}
