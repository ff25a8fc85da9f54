/* generate.c - one request's sequences: submit, collect, abort. */
#include <string.h>
#include <sys/random.h>

#include "serve/events.h"

#define COMPLETION_TOKENS ((size_t)16)

struct rf_gen *rf_serve_gen_create(struct rf_call *c, enum rf_gen_kind kind)
{
    struct rf_gen *g = rf_alloc_array(1, sizeof *g);
    if (!g) return NULL;
    g->kind = kind;
    g->n_each = 1;
    uint64_t v[2] = {0};
    if (getrandom(v, sizeof v, 0) < 0) v[0] = atomic_fetch_add(&c->serve->id_counter, 1); /* unique is enough */
    snprintf(g->id, sizeof g->id, "%s-%016llx%016llx", kind == RF_GEN_CHAT ? "chatcmpl" : "cmpl",
             (unsigned long long)v[0], (unsigned long long)v[1]);
    if (c->serve->opt.neutral_sampling) rf_sampling_default(&g->p.sampling);
    else rf_model_sampling_default(c->on->model, &g->p.sampling);
    c->gen = g;
    return g;
}

void rf_serve_gen_free(struct rf_gen *g)
{
    if (!g) return;
    for (size_t i = 0; i < g->n_prompts; i++) {
        rf_free(g->prompts[i].ids);
        rf_free(g->prompts[i].text);
    }
    for (size_t i = 0; g->seqs && i < g->n_seqs; i++) {
        rf_buf_release(&g->seqs[i].text);
        for (int k = 0; k < 4; k++) rf_buf_release(&g->seqs[i].lp[k]);
    }
    rf_free(g->prompts);
    rf_free(g->seqs);
    rf_free(g->ids);
    rf_buf_release(&g->reading);
    rf_buf_release(&g->out);
    rf_arena_release(&g->arena);
    json_decref(g->root);
    rf_free(g);
}

/* Two places notice a lost event: the soft limit starts the slow reader's clock, four times it stops the copying. */
static void log_event(struct rf_call *c, const struct rf_seq *q, const struct rf_event *ev)
{
    size_t soft = c->serve->opt.stream_buffer;
    if (c->gone || c->overflow) return;
    if (c->gen->p.stream && c->log.len > soft) {
        if (c->over_since == 0) c->over_since = rf_now();
        if (c->log.len > 4 * soft) {
            c->overflow = true;
            return;
        }
    }
    if (!rf_serve_record_append(&c->log, q->index, ev)) c->overflow = true;
}

/* Engine thread. */
static void on_event(void *ctx, const struct rf_event *ev)
{
    struct rf_seq *q = ctx;
    struct rf_call *c = q->call;
    bool last = ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR;
    if (ev->kind == RF_EVENT_ERROR && ev->error && ev->error->status == RF_DEVICE) {
        if (!atomic_exchange(&c->serve->failed, true)) rf_serve_stop(c->serve);
    }
    pthread_mutex_lock(&c->lock);
    log_event(c, q, ev);
    if (last) c->n_live--;
    if (c->gen->p.stream) rf_serve_call_resume_locked(c);
    else if (last && !c->n_live && !c->gone) rf_serve_work_post(c->serve, c, rf_serve_gen_finish, true);
    pthread_mutex_unlock(&c->lock);
    if (!last) return;
    atomic_fetch_sub(&c->serve->n_sequences, 1);
    rf_serve_call_unref(c);
}

void rf_serve_gen_abort(struct rf_call *c)
{
    struct rf_engine *e = c->on->engine;
    for (size_t i = 0; i < c->gen->n_seqs; i++) rf_engine_abort(e, c->gen->ids[i]);
}

static rf_status check_length(struct rf_call *c, struct rf_gen *g, struct rf_error *err)
{
    int32_t want = g->p.max_tokens;
    uint32_t max = c->on->max_model_len;
    for (size_t i = 0; i < g->n_prompts; i++) {
        uint64_t have = g->prompts[i].n, ask = want > 0 ? (uint64_t)want : 0, room = want == 0 ? 0 : 1;
        if (!have)
            return rf_fail_param(err, RF_INVALID, g->kind == RF_GEN_CHAT ? "messages" : "prompt",
                                 "the prompt is empty");
        if (have + RF_MAX(ask, room) > max)
            return rf_fail_param(
                err, RF_TOO_LONG, g->kind == RF_GEN_CHAT ? "messages" : "prompt",
                "This model's maximum context length is %u tokens. However, you requested %llu tokens (%llu in "
                "the prompt, %llu in the completion). Please reduce the length of the prompt or completion.",
                max, (unsigned long long)(have + ask), (unsigned long long)have, (unsigned long long)ask);
        g->prompt_tokens += have;
    }
    return RF_OK;
}

/* What the request says; else what is advised for the model; else OpenAI's default, which is none for a conversation. room: tokens that the context
 * has left, which the last two keep to. */
static int32_t answer_tokens(const struct rf_gen *g, size_t room)
{
    int32_t advised = g->p.sampling.max_tokens;
    if (g->p.max_tokens >= 0) return g->p.max_tokens;
    if (advised > 0) return (int32_t)RF_MIN((size_t)RF_MAX(advised, g->p.sampling.min_tokens), room);
    return advised == -1 && g->kind == RF_GEN_COMPLETION ? (int32_t)RF_MIN(COMPLETION_TOKENS, room) : -1;
}

static void fill_request(struct rf_call *c, struct rf_gen *g, struct rf_request *r, struct rf_seq *q)
{
    const struct rf_prompt *p = &g->prompts[q->prompt];
    *r = (struct rf_request){.tokens = p->ids, .n_tokens = p->n, .sampling = g->p.sampling, .priority = g->p.priority,
                             .deadline_s = g->p.timeout, .cache_salt = c->key_salt, .on_event = on_event, .ctx = q};
    struct rf_sampling *s = &r->sampling;
    s->max_tokens = answer_tokens(g, c->on->max_model_len - p->n);
    if (g->p.has_seed) s->has_seed = true, s->seed = (uint64_t)g->p.seed;
    s->seed += q->index % g->n_each; /* choices of one prompt differ, and again the same way */
    int32_t k = g->kind == RF_GEN_CHAT ? (g->p.logprobs_on ? RF_MAX(g->p.top_logprobs, 0) : -1) : g->p.logprobs;
    s->logprobs = k < 0 && g->n_each > (uint32_t)g->p.n ? 0 : k; /* best_of ranks by log probability */
    s->prompt_logprobs = g->p.echo ? k : -1;
}

/* What a prompt shares through the prefix cache: only with the same salt, and with isolation only with the same key. */
static void mix_salt(struct rf_call *c, const char *salt)
{
    uint8_t buf[RF_SERVE_DIGEST + 8 + RF_SERVE_DIGEST], d[RF_SERVE_DIGEST];
    if (!salt) return;
    memcpy(buf, c->serve->secret, RF_SERVE_DIGEST);
    memcpy(buf + RF_SERVE_DIGEST, &c->key_salt, 8);
    rf_serve_sha256(salt, strlen(salt), buf + RF_SERVE_DIGEST + 8);
    rf_serve_sha256(buf, sizeof buf, d);
    memcpy(&c->key_salt, d, 8);
}

static rf_status prepare(struct rf_call *c, struct rf_gen *g, struct rf_request **reqs, struct rf_error *err)
{
    RF_TRY(check_length(c, g, err));
    mix_salt(c, g->p.cache_salt);
    g->n_seqs = g->n_prompts * g->n_each;
    g->seqs = rf_alloc_array(g->n_seqs, sizeof *g->seqs);
    g->ids = rf_alloc_array(g->n_seqs, sizeof *g->ids);
    *reqs = rf_alloc_array(g->n_seqs, sizeof **reqs);
    if (!g->seqs || !g->ids || !*reqs) return rf_fail_nomem(err, "request", g->n_seqs * sizeof *g->seqs);
    for (size_t i = 0; i < g->n_seqs; i++) {
        struct rf_seq *q = &g->seqs[i];
        q->call = c;
        q->index = (uint32_t)i;
        q->prompt = (uint32_t)(i / g->n_each);
        fill_request(c, g, &(*reqs)[i], q);
    }
    return RF_OK;
}

/* The engine may speak before rf_engine_submit returns: everything its events touch is ready before. */
void rf_serve_gen_submit(struct rf_call *c)
{
    struct rf_gen *g = c->gen;
    struct rf_request *reqs = NULL;
    struct rf_error err = {0};
    rf_status st = prepare(c, g, &reqs, &err);
    pthread_mutex_lock(&c->lock);
    bool gone = c->gone, refuse = atomic_load(&c->serve->aborting);
    if (!st && !gone && !refuse) {
        c->n_live = (uint32_t)g->n_seqs;
        c->phase = RF_PHASE_WAIT;
        c->t_wait = rf_now();
    }
    pthread_mutex_unlock(&c->lock);
    if (!st && gone) st = rf_fail(&err, RF_CANCELLED, "the client is gone");
    if (!st && refuse) st = rf_fail(&err, RF_SHUTDOWN, "the server is shutting down");
    if (!st) {
        for (size_t i = 0; i < g->n_seqs; i++) rf_serve_call_ref(c);
        atomic_fetch_add(&c->serve->n_sequences, g->n_seqs);
        st = rf_engine_submit(c->on->engine, reqs, g->n_seqs, g->ids, &err);
        if (st) atomic_fetch_sub(&c->serve->n_sequences, g->n_seqs);
        for (size_t i = 0; st && i < g->n_seqs; i++) rf_serve_call_unref(c);
    }
    rf_free(reqs);
    pthread_mutex_lock(&c->lock);
    if (st) c->n_live = 0;
    c->submitted = !st;
    gone = c->gone || atomic_load(&c->serve->aborting);
    pthread_mutex_unlock(&c->lock);
    if (st) {
        err.status = st;
        rf_serve_reply_status(&c->reply, &err);
        rf_serve_call_ready(c);
    } else if (gone) {
        rf_serve_gen_abort(c);
    }
}

static void collect(struct rf_gen *g, struct rf_seq *q, const struct rf_record *r)
{
    if (!q->began && g->p.echo) {
        const struct rf_prompt *p = &g->prompts[q->prompt];
        rf_buf_append(&q->text, p->text, p->text_len);
        if (g->p.logprobs >= 0) rf_serve_logprobs_first(g, q, q->lp);
    }
    q->began = true;
    if (r->n_logprobs) rf_serve_logprobs_add(g, q, r, q->lp);
    rf_buf_append(&q->text, r->text, r->text_len);
    q->n_tokens += r->kind == RF_EVENT_PROMPT ? 0 : r->n_tokens;
    if (r->kind != RF_EVENT_DONE && r->kind != RF_EVENT_ERROR) return;
    q->ended = true;
    q->finish = r->finish;
    q->usage = r->usage;
    q->n_tokens = r->usage.completion_tokens; /* the engine's own count, as in its statistics */
    if (r->kind == RF_EVENT_ERROR || r->finish == RF_FINISH_ABORT || r->finish == RF_FINISH_ERROR) {
        if (!g->failed) {
            if (r->has_error) g->error = r->error;
            else rf_fail(&g->error, RF_SHUTDOWN, "the request was aborted by the server");
        }
        g->failed = true;
    }
}

void rf_serve_gen_finish(struct rf_call *c)
{
    struct rf_gen *g = c->gen;
    struct rf_record r;
    size_t pos = 0;
    while (rf_serve_record_next(&c->log, &pos, &r)) collect(g, &g->seqs[r.seq], &r);
    if (!g->failed && (c->overflow || c->log.bad)) {
        g->failed = true;
        rf_fail_nomem(&g->error, "answer", c->log.len);
    }
    if (g->failed) {
        rf_serve_reply_status(&c->reply, &g->error);
    } else {
        rf_serve_answer_json(c, &c->reply.body);
        c->reply.status = 200;
        c->reply.type = "application/json";
        if (c->reply.body.bad)
            rf_serve_reply_error(&c->reply, 503, NULL, "out_of_memory", "not enough memory for the answer");
    }
    rf_serve_call_ready(c);
}
