/* fake_server.c - the real HTTP server before the fake engine: what tests/api runs against. Prints its address on the
 * first line of standard output; SIGTERM and SIGINT stop it.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../unit/serve/fake_engine.h"
#include "base/mem.h"
#include "serve/serve.h"

static struct rf_serve *serve; /* for the signal handler */

static void on_signal(int sig)
{
    (void)sig;
    rf_serve_stop(serve);
}

struct args { struct rf_serve_options o; double load_s, list_s, drain_s; uint32_t running, queue; const char *list[4][8], *gate; int pool; };

/* Loading takes --load seconds, and until the file --gate is there. */
static void load(const struct args *a)
{
    if (a->load_s > 0) poll(NULL, 0, (int)(a->load_s * 1e3));
    while (a->gate && access(a->gate, F_OK)) poll(NULL, 0, 10);
}

/* ---- models on demand: m0, m1, ... and "broken", which does not open; never two at once ---- */

static atomic_int n_open;

static void pool_list(void *ctx, void (*see)(void *to, const char *name), void *to)
{
    struct args *a = ctx;
    char name[16];
    if (a->list_s > 0) poll(NULL, 0, (int)(a->list_s * 1e3)); /* a slow disk */
    for (int i = 0; i < a->pool; i++) {
        snprintf(name, sizeof name, "m%d", i);
        see(to, name);
    }
    see(to, "broken");
}

static rf_status pool_find(void *ctx, const char *name, char *id, size_t cap, struct rf_error *err)
{
    struct args *a = ctx;
    int i = 0;
    char rest;
    snprintf(id, cap, "%s", name ? name : "m0");
    if (!strcmp(id, "broken") || (sscanf(id, "%*[mM]%d%c", &i, &rest) == 1 && i >= 0 && i < a->pool)) {
        if (id[0] == 'M') id[0] = 'm';
        return RF_OK;
    }
    return rf_fail(err, RF_NOT_FOUND, "%.200s: no such model; the nearest is m0", name);
}

static rf_status pool_open(void *ctx, const char *id, struct rf_model **m, struct rf_engine **e, struct rf_error *err)
{
    struct args *a = ctx;
    if (atomic_fetch_add(&n_open, 1)) abort(); /* the test that two are never there together */
    fprintf(stderr, "open %s\n", id);
    load(a);
    if (!strcmp(id, "broken")) {
        atomic_fetch_sub(&n_open, 1);
        return rf_fail(err, RF_CORRUPT, "broken.gguf: found nonsense, expected a model");
    }
    *m = fake_model_create();
    *e = fake_engine_create(a->running, a->queue);
    return RF_OK;
}

static void pool_close(void *ctx, struct rf_model *m, struct rf_engine *e)
{
    (void)ctx;
    rf_engine_free(e);
    fake_model_free(m);
    fprintf(stderr, "close\n");
    atomic_fetch_sub(&n_open, 1);
}

static const char *const lists[] = {"--key", "--alias", "--allow-host", "--cors"};
static const struct { const char *name; size_t at; } numbers[] = {
#define O(f) offsetof(struct args, f)
    {"--ping", O(o.ping_s)}, {"--slow", O(o.slow_reader_s)}, {"--header-timeout", O(o.header_timeout_s)},
    {"--idle", O(o.idle_timeout_s)}, {"--load", O(load_s)}, {"--list", O(list_s)}, {"--drain", O(drain_s)},
};

static void parse(struct args *a, int argc, char **argv)
{
    size_t *counts[] = {&a->o.n_api_keys, &a->o.n_aliases, &a->o.n_allowed_hosts, &a->o.n_cors_origins};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *k = argv[i], *v = argv[i + 1];
        for (size_t n = 0; n < RF_COUNT(lists); n++)
            if (!strcmp(k, lists[n]) && *counts[n] < 8) a->list[n][(*counts[n])++] = v;
        for (size_t n = 0; n < RF_COUNT(numbers); n++)
            if (!strcmp(k, numbers[n].name)) *(double *)((char *)a + numbers[n].at) = atof(v);
        if (!strcmp(k, "--host")) a->o.host = v;
        else if (!strcmp(k, "--gate")) a->gate = v;
        else if (!strcmp(k, "--pool")) a->pool = atoi(v);
        else if (!strcmp(k, "--port")) a->o.port = (uint16_t)atoi(v);
        else if (!strcmp(k, "--model")) a->o.model_id = v;
        else if (!strcmp(k, "--max-body")) a->o.max_body = strtoull(v, NULL, 10);
        else if (!strcmp(k, "--max-connections")) a->o.max_connections = (uint32_t)atoi(v);
        else if (!strcmp(k, "--buffer")) a->o.stream_buffer = strtoull(v, NULL, 10);
        else if (!strcmp(k, "--pending")) a->o.max_pending = (uint32_t)atoi(v);
        else if (!strcmp(k, "--running")) a->running = (uint32_t)atoi(v);
        else if (!strcmp(k, "--queue")) a->queue = (uint32_t)atoi(v);
        else if (!strcmp(k, "--isolate")) a->o.isolate_keys = atoi(v);
        else if (!strcmp(k, "--max-sequences")) a->o.max_sequences = (uint32_t)atoi(v);
        else if (!strcmp(k, "--log")) a->o.log.level = (enum rf_log_level)atoi(v);
    }
    a->o.api_keys = a->list[0];
    a->o.aliases = a->list[1];
    a->o.allowed_hosts = a->list[2];
    a->o.cors_origins = a->list[3];
}

int main(int argc, char **argv)
{
    struct args a = {.o.model_id = "fake", .drain_s = 5, .running = 64, .queue = 1024};
    struct rf_error err = {0};
    parse(&a, argc, argv);
    const struct rf_serve_pool pool = {&a, pool_list, pool_find, pool_open, pool_close};
    if (a.pool) a.o.pool = &pool;
    struct rf_model *m = a.pool ? NULL : fake_model_create();
    struct rf_engine *e = a.pool ? NULL : fake_engine_create(a.running, a.queue);
    if (rf_serve_create(&serve, &a.o, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    signal(SIGPIPE, SIG_IGN);
    printf("%s\n", rf_serve_url(serve));
    fflush(stdout);
    if (!a.pool) load(&a);
    if (!a.pool && rf_serve_attach(serve, m, e, &err)) return 1;
    rf_status st = rf_serve_run(serve, a.drain_s);
    rf_serve_free(serve);
    rf_engine_free(e);
    fake_model_free(m);
    return st ? 3 : 0;
}
