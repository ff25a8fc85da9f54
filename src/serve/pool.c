/* pool.c - the model in service, and models on demand: one at a time, each request with the one it names.
 *
 * With a fixed model there is one rf_served from attach to the end. With a pool, a thread loads what the first waiting
 * request names: the old model gets no new requests from then on, is closed when its last one has ended, the new one is
 * opened, and all that wait for it go to the workers. Requests wait in the order in which they came, so that no model
 * keeps the others out for ever.
 */
#include <string.h>

#include "serve/events.h"
#include "serve/json.h"

rf_status rf_served_create(struct rf_served **out, const char *id, struct rf_model *m, struct rf_engine *e,
                           struct rf_error *err)
{
    struct rf_stats st;
    struct rf_served *on = rf_alloc_array(1, sizeof *on);
    *out = NULL;
    if (!on || !(on->id = rf_strdup(id))) {
        rf_free(on);
        return rf_fail_nomem(err, "model in service", sizeof *on);
    }
    on->refs = 1;
    on->model = m;
    on->engine = e;
    on->max_token_bytes = 1;
    rf_engine_stats(e, &st);
    rf_model_info_get(m, &on->info);
    on->max_model_len = st.max_model_len;
    for (uint32_t i = 0; i < on->info.n_vocab; i++) {
        size_t n = 0;
        rf_model_token_bytes(m, (int32_t)i, &n);
        if (n > on->max_token_bytes) on->max_token_bytes = (uint32_t)n;
    }
    *out = on;
    return RF_OK;
}

static void served_free(struct rf_served *on)
{
    rf_free(on->id);
    rf_free(on);
}

struct rf_served *rf_served_get(struct rf_serve *s)
{
    pthread_mutex_lock(&s->pool.lock);
    struct rf_served *on = s->pool.current;
    if (on) on->refs++;
    pthread_mutex_unlock(&s->pool.lock);
    return on;
}

/* Whoever waits for refs == 0 frees it. */
void rf_served_put(struct rf_serve *s, struct rf_served *on)
{
    if (!on) return;
    pthread_mutex_lock(&s->pool.lock);
    if (!--on->refs) pthread_cond_broadcast(&s->pool.changed);
    pthread_mutex_unlock(&s->pool.lock);
}

/* ---- requests that wait ------------------------------------------------------------------------------------------ */

/* Locked; the list holds a reference. The parsed body may be many times its text: it is parsed again when its turn comes. */
static void park(struct rf_serve *s, struct rf_call *c)
{
    json_decref(c->root);
    c->root = NULL;
    s->pool.n_waiting++;
    rf_serve_call_ref(c);
    c->job.next = NULL;
    *s->pool.tail = &c->job;
    s->pool.tail = &c->job.next;
    pthread_cond_broadcast(&s->pool.changed);
}

static bool any(struct rf_call *c, const char *id) { return (void)c, (void)id, true; }
static bool wants(struct rf_call *c, const char *id) { return !strcmp(c->want, id); }
static bool has_left(struct rf_call *c, const char *id)
{
    (void)id;
    pthread_mutex_lock(&c->lock);
    bool gone = c->gone;
    pthread_mutex_unlock(&c->lock);
    return gone;
}

/* Takes out of the list those that are `such`, in their order. Locked. */
static struct rf_job *take(struct rf_serve *s, bool (*such)(struct rf_call *c, const char *id), const char *id)
{
    struct rf_job *taken = NULL, **end = &taken, **at = &s->pool.waiting;
    for (struct rf_job *j; (j = *at);) {
        if (!such(j->call, id)) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        s->pool.n_waiting--;
        j->next = NULL;
        *end = j;
        end = &j->next;
    }
    s->pool.tail = at;
    return taken;
}

/* err NULL: on to the workers; else each is answered with it. */
static void release(struct rf_serve *s, struct rf_job *list, const struct rf_error *err)
{
    for (struct rf_job *j = list, *next; j; j = next) {
        struct rf_call *c = j->call;
        next = j->next;
        if (!err) {
            rf_serve_work_post(s, c, c->route->run, true);
        } else {
            if (err->status == RF_SHUTDOWN) rf_serve_reply_status(&c->reply, err);
            else rf_serve_reply_error(&c->reply, 500, "model", "model_load_failed", "%s", err->message);
            c->reply.final = true;
            rf_serve_call_ready(c);
        }
        rf_serve_call_unref(c);
    }
}

/* In service, and still what its file says: a model that lost its file is loaded again. Locked. */
static bool serves(const struct rf_served *on, const char *id)
{
    return on && !strcmp(on->id, id) && !rf_model_check(on->model, NULL);
}

/* ---- the thread that loads --------------------------------------------------------------------------------------- */

static void close_old(struct rf_serve *s) /* locked, and again on return */
{
    struct rf_served *old = s->pool.current;
    if (!old) return;
    s->pool.current = NULL;
    old->refs--;
    while (old->refs) pthread_cond_wait(&s->pool.changed, &s->pool.lock);
    pthread_mutex_unlock(&s->pool.lock);
    rf_log(&s->opt.log, RF_LOG_INFO, "model %.200s closed", old->id);
    s->opt.pool->close(s->opt.pool->ctx, old->model, old->engine);
    served_free(old);
    pthread_mutex_lock(&s->pool.lock);
}

static rf_status load(struct rf_serve *s, const char *id, struct rf_served **out, struct rf_error *err)
{
    struct rf_model *m = NULL;
    struct rf_engine *e = NULL;
    double t0 = rf_now();
    rf_log(&s->opt.log, RF_LOG_INFO, "model %.200s loading", id);
    *out = NULL;
    rf_status st = s->opt.pool->open(s->opt.pool->ctx, id, &m, &e, err);
    if (!st && (st = rf_served_create(out, id, m, e, err))) s->opt.pool->close(s->opt.pool->ctx, m, e);
    if (st) rf_log(&s->opt.log, RF_LOG_ERROR, "model %.200s: %s", id, err->message);
    else rf_log(&s->opt.log, RF_LOG_INFO, "model %.200s ready in %.2f s: %s", id, rf_now() - t0, (*out)->info.device);
    return st;
}

static void serve_first(struct rf_serve *s) /* locked, and again on return */
{
    char *want = rf_strdup(s->pool.waiting->call->want);
    struct rf_served *on = NULL;
    struct rf_error err = {0};
    rf_status st = want ? RF_OK : rf_fail_nomem(&err, "model name", 0);
    if (!st && !serves(s->pool.current, want)) {
        close_old(s);
        bool stop = s->pool.stop;
        pthread_mutex_unlock(&s->pool.lock);
        if (stop) st = rf_fail(&err, RF_SHUTDOWN, "The server is shutting down");
        else st = load(s, want, &on, &err);
        pthread_mutex_lock(&s->pool.lock);
        s->pool.current = on;
    }
    struct rf_job *list = take(s, want ? wants : any, want); /* without memory for the name all are answered with that */
    for (struct rf_job *j = list; !st && j; j = j->next) {
        j->call->on = s->pool.current;
        s->pool.current->refs++;
    }
    pthread_mutex_unlock(&s->pool.lock);
    release(s, list, st ? &err : NULL);
    rf_free(want);
    pthread_mutex_lock(&s->pool.lock);
}

static void *pool_main(void *arg)
{
    struct rf_serve *s = arg;
    struct rf_error end = {0};
    rf_fail(&end, RF_SHUTDOWN, "The server is shutting down");
    pthread_mutex_lock(&s->pool.lock);
    while (!s->pool.stop) {
        struct rf_job *gone = take(s, has_left, NULL); /* they load nothing */
        if (gone) {
            pthread_mutex_unlock(&s->pool.lock);
            release(s, gone, &end);
            pthread_mutex_lock(&s->pool.lock);
        } else if (s->pool.waiting) {
            serve_first(s);
        } else {
            pthread_cond_wait(&s->pool.changed, &s->pool.lock);
        }
    }
    struct rf_job *rest = take(s, any, NULL);
    pthread_mutex_unlock(&s->pool.lock);
    release(s, rest, &end);
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

rf_status rf_serve_pool_start(struct rf_serve *s, struct rf_error *err)
{
    s->pool.tail = &s->pool.waiting;
    if (!s->opt.pool) return RF_OK;
    int e = pthread_create(&s->pool.thread, NULL, pool_main, s);
    if (e) return rf_fail(err, RF_IO, "server: cannot start the loader thread: %s", strerror(e));
    s->pool.running = true;
    return RF_OK;
}

void rf_serve_pool_refuse(struct rf_serve *s)
{
    pthread_mutex_lock(&s->pool.lock);
    s->pool.stop = true;
    pthread_cond_broadcast(&s->pool.changed);
    pthread_mutex_unlock(&s->pool.lock);
}

void rf_serve_pool_stop(struct rf_serve *s)
{
    if (!s->pool.running) return;
    rf_serve_pool_refuse(s);
    pthread_join(s->pool.thread, NULL);
    s->pool.running = false;
}

void rf_serve_pool_release(struct rf_serve *s)
{
    struct rf_served *on = s->pool.current;
    s->pool.current = NULL;
    if (on && s->opt.pool) s->opt.pool->close(s->opt.pool->ctx, on->model, on->engine);
    if (on) served_free(on);
}

/* ---- a worker's first step with a pool --------------------------------------------------------------------------- */

rf_status rf_serve_call_json(struct rf_call *c, json_t **root, struct rf_error *err)
{
    *root = c->root;
    c->root = NULL;
    return *root ? RF_OK : rf_serve_json_parse(rf_buf_str(&c->body), c->body.len, root, err);
}

/* The listed id of what the request names; of the model in service, else of the pool's default, where it names none. */
static rf_status wanted(struct rf_call *c, struct rf_error *err)
{
    struct rf_serve *s = c->serve;
    char id[RF_SERVE_NAME_MAX];
    const char *name;
    RF_TRY(rf_serve_json_parse(rf_buf_str(&c->body), c->body.len, &c->root, err));
    const json_t *v = json_object_get(c->root, "model");
    if (v && !json_is_null(v) && !json_is_string(v))
        return rf_fail_param(err, RF_INVALID, "model", "model: expected a string");
    name = json_string_value(v);
    struct rf_served *on = name ? NULL : rf_served_get(s);
    if (on) {
        c->want = rf_strdup(on->id);
        rf_served_put(s, on);
    } else {
        RF_TRY(s->opt.pool->find(s->opt.pool->ctx, name, id, sizeof id, err));
        c->want = rf_strdup(id);
    }
    return c->want ? RF_OK : rf_fail_nomem(err, "model name", 0);
}

void rf_serve_pool_run(struct rf_call *c)
{
    struct rf_serve *s = c->serve;
    struct rf_error err = {0};
    rf_status st = wanted(c, &err);
    if (st) {
        err.status = st;
        if (st == RF_NOT_FOUND) rf_serve_reply_error(&c->reply, 404, "model", "model_not_found", "%s", err.message);
        else rf_serve_reply_status(&c->reply, &err);
        rf_serve_call_ready(c);
        return;
    }
    pthread_mutex_lock(&s->pool.lock);
    struct rf_served *on = s->pool.current;
    bool stopping = s->pool.stop, now = !s->pool.waiting && serves(on, c->want), full = s->pool.n_waiting >= s->opt.max_pending;
    if (now) {
        on->refs++;
        c->on = on;
    } else if (!stopping && !full) {
        park(s, c);
    }
    pthread_mutex_unlock(&s->pool.lock);
    if (now) {
        c->route->run(c);
    } else if (stopping || full) {
        rf_serve_reply_error(&c->reply, 503, NULL, stopping ? "shutting_down" : "queue_full", "%s",
                             stopping ? "The server is shutting down" : "Too many requests wait for another model; try again");
        rf_serve_call_ready(c);
    }
}
