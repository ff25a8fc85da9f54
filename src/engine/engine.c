/* engine.c - the engine's life, its thread and its mailbox. What a step does is in step.c.
 *
 * KV pool by default: on a GPU room for max_seqs sequences of max_model_len tokens, but at most what the engine may use of its memory beside weights
 * and scratch; on a CPU for 8 sequences (max_seqs if fewer), but at most a quarter of the machine's free memory.
 * max_model_len by default: the model's own, or fewer where so was advised (num_ctx), cut to what the pool holds for one sequence.
 */
#include "engine/engine.h"
#include "engine/fit.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

_Static_assert((int)RF_KV_TOKENS == (int)RF_KV_BLOCK_TOKENS, "one block size in src/kv and in the backends");
_Static_assert((int)RF_KV_MAX_GROUPS == (int)RF_MAX_KV_GROUPS, "as many cache groups in src/kv as in src/model");

enum { DEFAULT_QUEUE = 1024, DEFAULT_QUEUE_TOKENS = 4 << 20, POOL_SEQS = 8,
       DEVICE_STEP_S = 120, HUNG_JOIN_S = 1 };
#define UNKNOWN_MEMORY (UINT64_C(4) << 30)

/* ---- create ---- */

static uint64_t pool_wish(const struct rf_engine *e, const struct rf_engine_options *o, const struct rf_kv_options *k,
                          uint64_t block_bytes, uint64_t scratch, uint32_t ctx)
{
    const struct rf_backend_info *b = &e->model->backend->info;
    uint64_t room = b->memory_free, need = rf_kv_options_need(k, ctx);
    if (o->kv_blocks) return o->kv_blocks;
    if (o->kv_bytes) return o->kv_bytes / block_bytes;
    uint64_t wish = need * (o->max_seqs || !b->host_memory ? e->max_seqs : RF_MIN(e->max_seqs, (uint32_t)POOL_SEQS));
    if (!b->host_memory) return RF_MIN(wish, (room > scratch ? room - scratch : 0) / block_bytes);
    if (!room) room = UNKNOWN_MEMORY;
    uint64_t most = room / 4 / block_bytes;
    if (o->max_model_len && most < need && need <= most * 3) return need; /* asked for: then up to three quarters */
    return RF_MIN(wish, most);
}

/* Sets k->n_block and k->max_tokens. scratch: device memory that is not taken yet. */
static rf_status choose_pool(const struct rf_engine *e, const struct rf_engine_options *o, const struct rf_runner_options *r, struct rf_kv_options *k,
                             struct rf_error *err)
{
    uint32_t own = rf_lm_shape_get(e->model->lm)->n_ctx_train, ctx = rf_fit_ctx(e->model);
    if (o->max_model_len) ctx = o->max_model_len;
    uint64_t block_bytes = rf_lm_kv_block_bytes(e->model->lm, o->kv_type);
    if (!block_bytes)
        return rf_fail_param(err, RF_UNSUPPORTED, "kv_type", "kv_type %d: the device has no such KV cache",
                             (int)o->kv_type);
    if (own && ctx > own)
        return rf_fail_param(err, RF_INVALID, "max_model_len",
                             "max_model_len: found %u, expected at most the model's own, %u", ctx, own);
    uint64_t n = RF_MIN(pool_wish(e, o, k, block_bytes, rf_runner_scratch_bytes(e->model->lm, r, ctx), ctx), (uint64_t)INT32_MAX / 2);
    uint32_t longest = rf_fit_longest(k, ctx, n);
    if (longest < ctx && o->max_model_len)
        return rf_fail_param(err, RF_INVALID, "max_model_len",
                             "max_model_len %u needs %u KV blocks (%llu bytes), but the pool has %llu; at most %u tokens fit", ctx,
                             rf_kv_options_need(k, ctx), (unsigned long long)(rf_kv_options_need(k, ctx) * block_bytes),
                             (unsigned long long)n, longest);
    if (!longest)
        return rf_fail_param(err, RF_INVALID, o->kv_blocks ? "kv_blocks" : "kv_bytes",
                             "KV pool of %llu blocks of %llu bytes: expected at least %u", (unsigned long long)n,
                             (unsigned long long)block_bytes, rf_kv_options_need(k, 1));
    k->n_block = (uint32_t)n;
    k->max_tokens = longest;
    return RF_OK;
}

static rf_status find_eog(struct rf_engine *e, struct rf_error *err)
{
    const struct rf_tokenizer *t = e->model->tokenizer;
    uint32_t n = RF_MIN(rf_tokenizer_n_vocab(t), e->limits.n_vocab);
    size_t n_eog = 0;
    for (uint32_t i = 0; i < n; i++) {
        n_eog += rf_tokenizer_is_eog(t, (int32_t)i);
        e->limits.max_piece = RF_MAX(e->limits.max_piece, rf_tokenizer_bytes(t, (int32_t)i).n);
    }
    e->limits.max_piece = RF_MAX(e->limits.max_piece, (size_t)16);
    if (!(e->eog = rf_alloc_array(n_eog, sizeof *e->eog))) return rf_fail_nomem(err, "engine", n_eog * sizeof *e->eog);
    for (uint32_t i = 0; i < n; i++)
        if (rf_tokenizer_is_eog(t, (int32_t)i)) e->eog[e->limits.n_eog++] = (int32_t)i;
    e->limits.eog = e->eog;
    return RF_OK;
}

static rf_status make_inputs(struct rf_engine *e, struct rf_error *err)
{
    size_t n_table, stride = (e->limits.max_model_len + RF_KV_TOKENS - 1) / RF_KV_TOKENS;
    bool ok = rf_mul(e->max_seqs, stride, &n_table);
    ok = ok && (e->tok = rf_alloc_array(e->max_step_tokens, sizeof *e->tok)) &&
         (e->pos = rf_alloc_array(e->max_step_tokens, sizeof *e->pos)) &&
         (e->seq_first = rf_alloc_array((size_t)e->max_seqs + 1, sizeof *e->seq_first)) &&
         (e->bulk_end = rf_alloc_array(e->max_seqs, sizeof *e->bulk_end)) &&
         (e->out_row = rf_alloc_array(e->max_out, sizeof *e->out_row)) && (e->untold = rf_alloc_array(e->max_seqs, sizeof *e->untold));
    for (int i = 0; i < 2; i++) ok = ok && (e->flight[i].item = rf_alloc_array(e->max_seqs, sizeof *e->flight[i].item));
    for (uint32_t g = 0; ok && g < e->n_group; g++)
        ok = (e->table[g] = rf_alloc_array(n_table, sizeof *e->table[g])) != NULL;
    return ok ? RF_OK : rf_fail_nomem(err, "inputs of a step", e->max_step_tokens * sizeof *e->tok);
}

static rf_status make_rooms(struct rf_engine *e, const struct rf_engine_options *o, struct rf_runner_options *r, struct rf_error *err)
{
    const struct rf_lm_shape *shape = rf_lm_shape_get(e->model->lm);
    struct rf_kv_options k;
    rf_fit_kv_options(e->model, e->max_step_tokens, &k);
    k.max_seqs = e->max_seqs;
    k.no_prefix = o->no_prefix_cache;
    RF_TRY(choose_pool(e, o, r, &k, err));
    e->n_group = shape->n_group;
    e->n_block = r->n_block = k.n_block;
    e->limits.n_vocab = shape->n_vocab;
    e->limits.max_model_len = k.max_tokens;
    RF_TRY(find_eog(e, err));
    RF_TRY(rf_kv_create(&e->kv, &k, err));
    struct rf_sched_options s = {.max_seqs = e->max_seqs, .max_step_tokens = e->max_step_tokens, .max_out = e->max_out};
    RF_TRY(rf_sched_create(&e->sched, &s, e->kv, err));
    RF_TRY(rf_sampler_create(&e->sampler, shape->n_vocab, err));
    RF_TRY(make_inputs(e, err));
    pthread_mutex_lock(&e->model->device);
    rf_status st = rf_runner_create(&e->runner, e->model->lm, r, err);
    pthread_mutex_unlock(&e->model->device);
    if (st || !rf_runner_chooses(e->runner)) return st;
    e->plans_ahead = rf_runner_overlaps(e->runner) && !o->no_async_scheduling;
    e->choice = rf_alloc_array(e->max_out, sizeof *e->choice);
    return e->choice ? RF_OK : rf_fail_nomem(err, "inputs of a step", e->max_out * sizeof *e->choice);
}

static rf_status make_locks(struct rf_engine *e, struct rf_error *err)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr)) return rf_fail_nomem(err, "engine locks", sizeof attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    e->has_lock = !pthread_mutex_init(&e->lock, NULL);
    e->has_wake = !pthread_cond_init(&e->wake, &attr);
    e->has_news = !pthread_cond_init(&e->news, &attr);
    e->has_tick = !pthread_cond_init(&e->tick, &attr);
    pthread_condattr_destroy(&attr);
    return e->has_lock && e->has_wake && e->has_news && e->has_tick ? RF_OK : rf_fail_nomem(err, "engine locks", sizeof *e);
}

static void *thread_main(void *arg);

/* Our threads take no signals: they are the program's. */
static rf_status start_thread(struct rf_engine *e, struct rf_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rf_status watched = rf_engine_watch_start(e, err);
    int no = watched ? 0 : pthread_create(&e->thread, NULL, thread_main, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    e->has_thread = !watched && !no;
    if (watched) return watched;
    return no ? rf_fail(err, RF_NOMEM, "engine thread: %s", strerror(no)) : RF_OK;
}

static uint32_t or_default(uint32_t v, uint32_t d) { return v ? v : d; }

static void publish(struct rf_engine *e);

rf_status rf_engine_create(struct rf_engine **out, struct rf_model *m, const struct rf_engine_options *opt,
                           struct rf_error *err)
{
    static const struct rf_engine_options none;
    *out = NULL;
    if (!opt) opt = &none;
    if (!m || !m->lm) return rf_fail_param(err, RF_INVALID, "model", "engine: the model was opened without weights");
    if ((unsigned)opt->kv_type > RF_KV_BF16)
        return rf_fail_param(err, RF_INVALID, "kv_type", "kv_type: found %d, expected 0 to %d", (int)opt->kv_type,
                             (int)RF_KV_BF16);
    if (opt->max_step_tokens > 1u << 20 || opt->max_seqs > 1u << 16)
        return rf_fail_param(err, RF_INVALID, opt->max_seqs > 1u << 16 ? "max_seqs" : "max_step_tokens",
                             "max_seqs %u, max_step_tokens %u: expected at most %u and %u", opt->max_seqs,
                             opt->max_step_tokens, 1u << 16, 1u << 20);
    struct rf_engine *e = rf_alloc_array(1, sizeof *e);
    if (!e) return rf_fail_nomem(err, "engine", sizeof *e);
    e->model = m;
    struct rf_runner_options r;
    rf_fit_runner_options(m, opt, &r);
    e->max_step_tokens = r.max_tok;
    e->max_seqs = r.max_seq;
    e->max_out = r.max_out;
    e->step_timeout_s = opt->step_timeout_s > 0 ? opt->step_timeout_s : opt->step_timeout_s < 0 || m->backend->info.host_memory ? 0 : DEVICE_STEP_S;
    e->max_queue = or_default(opt->max_queue, DEFAULT_QUEUE);
    e->max_queue_tokens = opt->max_queue_tokens ? opt->max_queue_tokens : DEFAULT_QUEUE_TOKENS;
    if (getrandom(&e->seed, sizeof e->seed, GRND_NONBLOCK) != sizeof e->seed) e->seed = (uint64_t)(rf_now() * 1e9);
    rf_status st = make_locks(e, err);
    if (!st) st = make_rooms(e, opt, &r, err);
    if (!st) {
        publish(e);
        st = start_thread(e, err);
    }
    if (st) rf_engine_free(e);
    else *out = e;
    return st;
}

/* False: the thread hangs in a driver, and what it may still touch has to stay. */
static bool join(struct rf_engine *e)
{
    for (bool hung = false;;) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += HUNG_JOIN_S;
        if (!pthread_timedjoin_np(e->thread, NULL, &until)) return true;
        if (hung) break;
        pthread_mutex_lock(&e->lock);
        hung = e->hung;
        pthread_mutex_unlock(&e->lock);
    }
    atomic_store(&e->model->stuck, true);
    return false;
}

void rf_engine_free(struct rf_engine *e)
{
    if (!e) return;
    if (e->has_thread) {
        pthread_mutex_lock(&e->lock);
        e->stopping = e->draining = true;
        pthread_cond_signal(&e->wake);
        pthread_mutex_unlock(&e->lock);
        if (!join(e)) return;
        pthread_mutex_lock(&e->lock);
        while (e->n_pollers) pthread_cond_wait(&e->news, &e->lock);
        pthread_mutex_unlock(&e->lock);
    }
    rf_engine_watch_stop(e);
    for (size_t i = 0; i < RF_ENGINE_HASH; i++)
        for (struct rf_box *b = e->box[i], *next; b; b = next) {
            next = b->hash_next;
            rf_box_free(b);
        }
    if (e->runner) {
        pthread_mutex_lock(&e->model->device);
        rf_runner_free(e->runner);
        pthread_mutex_unlock(&e->model->device);
    }
    rf_sampler_free(e->sampler);
    rf_sched_free(e->sched);
    rf_kv_free(e->kv);
    for (uint32_t g = 0; g < RF_MAX_KV_GROUPS; g++) rf_free(e->table[g]);
    void *part[] = {e->tok, e->pos, e->seq_first, e->bulk_end, e->out_row, e->untold, e->choice, e->eog, e->flight[0].item, e->flight[1].item};
    for (size_t i = 0; i < RF_COUNT(part); i++) rf_free(part[i]);
    if (e->has_news) pthread_cond_destroy(&e->news);
    if (e->has_tick) pthread_cond_destroy(&e->tick);
    if (e->has_wake) pthread_cond_destroy(&e->wake);
    if (e->has_lock) pthread_mutex_destroy(&e->lock);
    rf_free(e);
}

/* ---- the engine's thread ---- */

static void publish(struct rf_engine *e)
{
    struct rf_stats *s = &e->now;
    s->n_running = rf_sched_n_running(e->sched);
    s->n_waiting = rf_sched_n_waiting(e->sched);
    s->n_blocks = e->n_block;
    s->n_blocks_free = rf_kv_available(e->kv);
    s->block_tokens = RF_KV_TOKENS;
    s->max_model_len = e->limits.max_model_len;
    pthread_mutex_lock(&e->lock);
    e->stats = *s;
    e->waiting_tokens -= e->started_tokens;
    pthread_mutex_unlock(&e->lock);
    e->started_tokens = 0;
}

void rf_engine_tell(struct rf_engine *e, const struct rf_req *r, struct rf_event *ev)
{
    ev->id = r->id;
    bool last = ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR;
    if (last) publish(e); /* who sees the last event sees statistics without this request */
    if (r->on_event) {
        r->on_event(r->ctx, ev);
        return;
    }
    pthread_mutex_lock(&e->lock);
    rf_box_put(r->box, ev);
    pthread_cond_broadcast(&r->box->news);
    pthread_mutex_unlock(&e->lock);
}

void rf_engine_retire(struct rf_engine *e, struct rf_req *r)
{
    pthread_mutex_lock(&e->lock);
    struct rf_req **link = &e->live[r->id % RF_ENGINE_HASH];
    while (*link != r) link = &(*link)->hash_next;
    *link = r->hash_next;
    e->n_live--;
    pthread_cond_broadcast(&e->news);
    pthread_mutex_unlock(&e->lock);
    rf_req_free(r);
}

struct mail { struct rf_req *first; bool aborts, abort_all, stop; };

/* Waits while there is nothing at all to do. */
static struct mail take_mail(struct rf_engine *e)
{
    bool busy = rf_sched_n_running(e->sched) + rf_sched_n_waiting(e->sched);
    pthread_mutex_lock(&e->lock);
    while (!busy && !e->mail_first && !e->any_aborted && !e->abort_all && !e->stopping)
        pthread_cond_wait(&e->wake, &e->lock);
    struct mail m = {e->mail_first, e->any_aborted, e->abort_all, e->stopping};
    e->mail_first = e->mail_last = NULL;
    e->any_aborted = e->abort_all = false;
    for (struct rf_req *r = m.first; r; r = r->next) e->stats.n_waiting++; /* until the next publish */
    pthread_mutex_unlock(&e->lock);
    return m;
}

static void abort_some(struct rf_engine *e, bool all)
{
    static const enum rf_sched_state states[] = {RF_SCHED_RUNNING, RF_SCHED_WAITING};
    for (size_t i = 0; i < RF_COUNT(states); i++)
        for (struct rf_sched_seq *q = rf_sched_first(e->sched, states[i]), *next; q; q = next) {
            struct rf_req *r = (struct rf_req *)q;
            next = q->next;
            if (all || atomic_load(&r->aborted)) rf_engine_finish(e, r, RF_FINISH_ABORT, -1, NULL);
        }
}

static void expire(struct rf_engine *e)
{
    struct rf_error err;
    double now = rf_now();
    for (struct rf_sched_seq *q; (q = rf_sched_expired(e->sched, now));) {
        struct rf_req *r = (struct rf_req *)q;
        rf_fail_param(&err, RF_DEADLINE, "deadline_s", "the deadline passed after %.3f s, %u tokens", now - r->t_submit,
                      rf_req_n_new(r));
        rf_engine_finish(e, r, RF_FINISH_ERROR, -1, &err);
    }
}

static void *thread_main(void *arg)
{
    struct rf_engine *e = arg;
    for (;;) {
        struct mail m = take_mail(e);
        for (struct rf_req *r = m.first, *next; r; r = next) {
            next = r->next;
            rf_sched_add(e->sched, &r->seq);
        }
        if (m.aborts || m.abort_all || m.stop) abort_some(e, m.abort_all || m.stop);
        if (m.stop) rf_engine_land(e);
        if (m.stop) return NULL;
        expire(e);
        if (rf_sched_n_running(e->sched) + rf_sched_n_waiting(e->sched)) rf_engine_step(e);
        if (!e->gave_up && !(rf_sched_n_running(e->sched) + rf_sched_n_waiting(e->sched))) rf_engine_land(e); /* no step follows */
        if (e->gave_up) return NULL;
        publish(e);
    }
}

/* ---- submit ---- */

/* Under lock: may n more come in? */
static rf_status may_enter(const struct rf_engine *e, size_t n, uint64_t n_token, struct rf_error *err)
{
    if (e->hung) return rf_fail(err, RF_DEVICE, "%s: a step did not end: the device hangs, no more requests are taken", e->model->backend->info.name);
    if (e->draining) return rf_fail(err, RF_SHUTDOWN, "the engine is draining: it takes no new requests");
    uint64_t most = (uint64_t)e->max_queue + e->max_seqs;
    if (n > most || e->n_live > most - n)
        return rf_fail(err, RF_FULL, "%zu requests beside %u: expected together at most %llu", n, e->n_live,
                       (unsigned long long)most);
    if (n_token && e->waiting_tokens &&
        (n_token > e->max_queue_tokens || e->waiting_tokens > e->max_queue_tokens - n_token))
        return rf_fail(err, RF_FULL, "%llu prompt tokens beside %llu waiting: expected together at most %llu",
                       (unsigned long long)n_token, (unsigned long long)e->waiting_tokens,
                       (unsigned long long)e->max_queue_tokens);
    return RF_OK;
}

static rf_status make_all(struct rf_engine *e, const struct rf_request *in, size_t n, struct rf_req **first,
                          uint64_t *n_token, struct rf_error *err)
{
    struct rf_req **link = first;
    for (size_t i = 0; i < n; i++) {
        RF_TRY(rf_req_create(link, &in[i], e->model, &e->limits, err));
        struct rf_req *r = *link;
        link = &r->next;
        *n_token += r->n_prompt;
        if (!r->on_event && !(r->box = rf_box_create()))
            return rf_fail_nomem(err, "events of a request", sizeof *r->box);
    }
    return RF_OK;
}

/* Under lock: names a request and makes it known. */
static void enter(struct rf_engine *e, struct rf_req *r, double deadline_s)
{
    r->id = ++e->next_id;
    if (!r->params.has_seed) {
        struct rf_rng rng = {e->seed + r->id};
        r->seed = rf_rng_u64(&rng);
    }
    r->t_submit = rf_now();
    r->seq.deadline = deadline_s > 0 ? r->t_submit + deadline_s : 0;
    r->hash_next = e->live[r->id % RF_ENGINE_HASH];
    e->live[r->id % RF_ENGINE_HASH] = r;
    e->waiting_tokens += r->n_prompt;
    if (r->box) {
        r->box->id = r->id;
        r->box->hash_next = e->box[r->id % RF_ENGINE_HASH];
        e->box[r->id % RF_ENGINE_HASH] = r->box;
    }
    if (e->mail_last) e->mail_last->next = r;
    else e->mail_first = r;
    e->mail_last = r;
}

static void free_all(struct rf_req *first)
{
    for (struct rf_req *r = first, *next; r; r = next) {
        next = r->next;
        rf_box_free(r->box);
        rf_req_free(r);
    }
}

rf_status rf_engine_submit(struct rf_engine *e, const struct rf_request *reqs, size_t n, uint64_t *ids,
                           struct rf_error *err)
{
    struct rf_req *first = NULL;
    uint64_t n_token = 0;
    if (!n) return rf_fail_param(err, RF_INVALID, "n", "submit: found 0 requests, expected at least 1");
    RF_TRY(rf_handle_check(e->model, err));
    pthread_mutex_lock(&e->lock); /* a full queue refuses before it tokenises */
    rf_status st = may_enter(e, n, 0, err);
    if (!st) e->n_live += (uint32_t)n;
    else e->n_rejected += n;
    pthread_mutex_unlock(&e->lock);
    if (st) return st;
    st = make_all(e, reqs, n, &first, &n_token, err);
    pthread_mutex_lock(&e->lock);
    if (!st) {
        e->n_live -= (uint32_t)n;
        st = may_enter(e, n, n_token, err);
        e->n_live += (uint32_t)n;
        if (st) e->n_rejected += n;
    }
    if (!st) {
        struct rf_req *r = first;
        for (size_t i = 0; i < n; i++) {
            struct rf_req *next = r->next;
            r->next = NULL;
            enter(e, r, reqs[i].deadline_s);
            if (ids) ids[i] = r->id;
            r = next;
        }
        pthread_cond_signal(&e->wake);
    } else {
        e->n_live -= (uint32_t)n;
        pthread_cond_broadcast(&e->news);
    }
    pthread_mutex_unlock(&e->lock);
    if (st) free_all(first);
    return st;
}

/* ---- the other doors ---- */

void rf_engine_abort(struct rf_engine *e, uint64_t id)
{
    pthread_mutex_lock(&e->lock);
    for (struct rf_req *r = e->live[id % RF_ENGINE_HASH]; r; r = r->hash_next)
        if (r->id == id) {
            atomic_store(&r->aborted, true);
            e->any_aborted = true;
            pthread_cond_signal(&e->wake);
        }
    pthread_mutex_unlock(&e->lock);
}

static struct timespec at_time(double t)
{
    return (struct timespec){.tv_sec = (time_t)floor(t), .tv_nsec = (long)((t - floor(t)) * 1e9)};
}

static struct rf_box **find_box(struct rf_engine *e, uint64_t id)
{
    struct rf_box **link = &e->box[id % RF_ENGINE_HASH];
    while (*link && (*link)->id != id) link = &(*link)->hash_next;
    return link;
}

/* Under lock: takes what there is, waits for it if need be. The caller counts as one of b's waiters. */
static rf_status box_wait(struct rf_engine *e, struct rf_box *b, int timeout_ms, struct rf_event **out, bool *last)
{
    struct timespec until = at_time(rf_now() + timeout_ms / 1e3);
    for (bool late = timeout_ms == 0;;) {
        if ((*out = rf_box_take(b, last))) return RF_OK;
        if (b->ended) return RF_NOT_FOUND; /* another thread has fetched the last one */
        if (late) return RF_AGAIN;
        if (timeout_ms < 0) pthread_cond_wait(&b->news, &e->lock);
        else late = pthread_cond_timedwait(&b->news, &e->lock, &until) == ETIMEDOUT;
    }
}

rf_status rf_engine_poll(struct rf_engine *e, uint64_t id, int timeout_ms, struct rf_event **out)
{
    rf_status st = RF_NOT_FOUND;
    bool last = false;
    *out = NULL;
    pthread_mutex_lock(&e->lock);
    struct rf_box *b = *find_box(e, id);
    if (b) {
        b->n_waiting++;
        e->n_pollers++;
        st = box_wait(e, b, timeout_ms, out, &last);
        if (last) {
            *find_box(e, id) = b->hash_next;
            pthread_cond_broadcast(&b->news);
        }
        if (!--b->n_waiting && b->ended && !b->final) rf_box_free(b); /* out of the table: the last one to leave */
        if (!--e->n_pollers && e->stopping) pthread_cond_broadcast(&e->news);
    }
    pthread_mutex_unlock(&e->lock);
    return st;
}

rf_status rf_engine_drain(struct rf_engine *e, double timeout_s)
{
    struct timespec until = at_time(rf_now() + (timeout_s > 0 ? fmin(timeout_s, 1e9) : 0));
    bool late = false;
    pthread_mutex_lock(&e->lock);
    e->draining = true;
    while (e->n_live && !late) late = pthread_cond_timedwait(&e->news, &e->lock, &until) == ETIMEDOUT;
    late = e->n_live > 0;
    if (late) {
        e->abort_all = true;
        pthread_cond_signal(&e->wake);
    }
    while (e->n_live) pthread_cond_wait(&e->news, &e->lock);
    pthread_mutex_unlock(&e->lock);
    return late ? RF_DEADLINE : RF_OK;
}

void rf_engine_stats(struct rf_engine *e, struct rf_stats *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    for (const struct rf_req *r = e->mail_first; r; r = r->next) out->n_waiting++;
    out->waiting_tokens = e->waiting_tokens;
    out->rejected = e->n_rejected;
    out->attention = e->model->backend->info.attention;
    pthread_mutex_unlock(&e->lock);
}
