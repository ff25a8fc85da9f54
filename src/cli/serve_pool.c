#include "cli/serve_pool.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define LIST_AGE_S 5.0 /* a list may be this old */
#define MISS_AGE_S 1.0 /* an unknown name makes us look again, but not more often than this */

struct rf_cli_pool {
    const struct rf_cli *c;
    struct rf_serve_pool door;
    pthread_mutex_t lock;      /* guards the registry and its time */
    struct rf_registry *registry;
    double scanned;
};

static bool rescan(struct rf_cli_pool *p, double age) /* locked; false if there is nothing to look into */
{
    if (p->registry && rf_now() - p->scanned < age) return true;
    struct rf_registry *r = rf_cli_open_registry(p->c, false);
    p->scanned = rf_now();
    if (!r) return p->registry != NULL;
    rf_registry_close(p->registry);
    p->registry = r;
    return true;
}

static void pool_list(void *ctx, void (*see)(void *to, const char *name), void *to)
{
    struct rf_cli_pool *p = ctx;
    pthread_mutex_lock(&p->lock);
    bool any = rescan(p, LIST_AGE_S);
    for (size_t i = 0; any && i < rf_registry_n(p->registry); i++)
        if (rf_registry_at(p->registry, i)->kind == RF_MODEL_CHAT) see(to, rf_registry_at(p->registry, i)->name);
    pthread_mutex_unlock(&p->lock);
}

/* The one that ships, else the first of the list. */
static const struct rf_model_entry *default_entry(const struct rf_registry *r)
{
    const struct rf_model_entry *first = NULL;
    for (size_t i = 0; i < rf_registry_n(r); i++) {
        const struct rf_model_entry *m = rf_registry_at(r, i);
        if (m->kind != RF_MODEL_CHAT) continue;
        if (!strcmp(m->source, "shipped")) return m;
        if (!first) first = m;
    }
    return first;
}

static rf_status find(struct rf_cli_pool *p, const char *name, const struct rf_model_entry **m, struct rf_error *err) /* locked */
{
    static const char unknown[] = "this server has no model of that name (GET /v1/models lists those that it has)";
    if (!rescan(p, 1e9)) return rf_fail(err, RF_NOMEM, "the list of models cannot be made");
    if (!name) {
        *m = default_entry(p->registry);
        return *m ? RF_OK : rf_fail(err, RF_NOT_FOUND, "there is no model on this machine; put a GGUF file into ~/models");
    }
    rf_status s = rf_cli_find_name(p->registry, name, unknown, m, err);
    if (s == RF_NOT_FOUND && rescan(p, MISS_AGE_S)) s = rf_cli_find_name(p->registry, name, unknown, m, err);
    return s;
}

static rf_status pool_find(void *ctx, const char *name, char *id, size_t cap, struct rf_error *err)
{
    struct rf_cli_pool *p = ctx;
    const struct rf_model_entry *m;
    pthread_mutex_lock(&p->lock);
    rf_status s = find(p, name, &m, err);
    if (!s && (size_t)snprintf(id, cap, "%s", m->name) >= cap) s = rf_fail(err, RF_NOT_FOUND, "%.150s: a name too long to serve", m->name);
    pthread_mutex_unlock(&p->lock);
    return s;
}

static rf_status pool_open(void *ctx, const char *id, struct rf_model **m, struct rf_engine **e, struct rf_error *err)
{
    struct rf_cli_pool *p = ctx;
    const struct rf_model_entry *entry;
    struct rf_engine_options o;
    struct rf_cli_place at;
    pthread_mutex_lock(&p->lock);
    rf_status s = find(p, id, &entry, err);
    if (!s && !rf_cli_place_of(entry, &at)) s = rf_fail(err, RF_TOO_LARGE, "%.150s: its path is too long", id);
    pthread_mutex_unlock(&p->lock);
    if (s) return s;
    RF_TRY(rf_cli_open_place(p->c, &at, 0, false, m, err));
    rf_cli_engine_options(p->c, &o);
    if ((s = rf_engine_create(e, *m, &o, err))) rf_model_close(*m);
    return s;
}

static void pool_close(void *ctx, struct rf_model *m, struct rf_engine *e)
{
    (void)ctx;
    rf_engine_free(e);
    rf_model_close(m);
}

rf_status rf_cli_pool_create(struct rf_cli_pool **out, const struct rf_cli *c, struct rf_error *err)
{
    struct rf_cli_pool *p = rf_alloc_array(1, sizeof *p);
    *out = NULL;
    if (!p) return rf_fail_nomem(err, "models on demand", sizeof *p);
    p->c = c;
    p->door = (struct rf_serve_pool){p, pool_list, pool_find, pool_open, pool_close};
    pthread_mutex_init(&p->lock, NULL);
    *out = p;
    return RF_OK;
}

void rf_cli_pool_free(struct rf_cli_pool *p)
{
    if (!p) return;
    rf_registry_close(p->registry);
    pthread_mutex_destroy(&p->lock);
    rf_free(p);
}

const struct rf_serve_pool *rf_cli_pool_door(struct rf_cli_pool *p) { return &p->door; }

static void count_one(void *to, const char *name)
{
    (void)name;
    ++*(size_t *)to;
}

size_t rf_cli_pool_n(struct rf_cli_pool *p)
{
    size_t n = 0;
    pool_list(p, count_one, &n);
    return n;
}
