/* step.c - one step of the engine, a straight line: plan, gather inputs, forward, sample, commit, settle, tell.
 *
 * settle finds what a token means: text, the end. Its events are told at once, or, where a device works on its own, when it has the next
 * step: clients are served meanwhile. A request that ended is out of the scheduler before the next plan.
 * Where the device chooses tokens, too, a step of decodes is followed at once by the next (count_on): its input tokens are named by the rows that
 * choose them, and the device never waits for the host. That an answer ended is then known a step late: its row of the second step is computed and
 * dropped, its blocks are free at once, since steps on the device follow each other.
 * Up to commit nothing is changed that a failed step would have to undo. No allocation happens here but where a request's
 * events wait in a box, or its text outgrows what was reserved.
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/engine.h"

static struct rf_req *req_of(const struct rf_sched_item *it) { return (struct rf_req *)it->seq; }

/* ---- gather ---- */

/* Requests that run for the first time leave the queue. */
static void note_started(struct rf_engine *e, struct rf_req *r, double t)
{
    if (r->started) return;
    r->started = true;
    r->t_start = t;
    r->n_cached = r->seq.n_cached;
    e->started_tokens += r->n_prompt;
    e->now.prefix_queries += r->n_prompt;
    e->now.prefix_hits += r->n_cached;
    e->now.cached_tokens += r->n_cached;
    rf_histogram_add(&e->now.queue, false, t - r->t_submit);
}

static void gather_tables(struct rf_engine *e, const struct rf_flight *p, struct rf_batch *b)
{
    uint32_t n;
    b->table_stride = 0;
    for (uint32_t i = 0; i < p->n_item; i++)
        for (uint32_t g = 0; g < e->n_group; g++) {
            rf_kv_table(e->kv, p->item[i].seq->kv, g, &n);
            b->table_stride = RF_MAX(b->table_stride, n);
        }
    for (uint32_t g = 0; g < e->n_group; g++)
        for (uint32_t i = 0; i < p->n_item; i++) {
            const int32_t *t = rf_kv_table(e->kv, p->item[i].seq->kv, g, &n);
            int32_t *row = e->table[g] + (size_t)i * b->table_stride;
            memcpy(row, t, n * sizeof *row);
            for (; n < b->table_stride; n++) row[n] = -1;
        }
    b->n_group = e->n_group;
    b->block_table = (const int32_t *const *)e->table;
}

static struct rf_sample_in sample_in(const struct rf_req *r, const float *row)
{
    return (struct rf_sample_in){.logits = row, .params = &r->params, .seed = r->seed, .token = r->token, .n_prompt = r->n_prompt,
                                 .n_token = r->seq.n_token, .ends = r->ends, .n_ends = r->n_ends};
}

/* What the device is to do with the row of token `at`. */
static void gather_choice(struct rf_engine *e, const struct rf_req *r, uint32_t at, struct rf_choice *c)
{
    struct rf_sample_in in = sample_in(r, NULL);
    *c = (struct rf_choice){.by = RF_CHOICE_NONE};
    if (at + 1 == r->seq.n_token && r->max_new) rf_sample_choice(e->sampler, &in, c);
}

/* A request gets its place in the flight, and its input tokens in the step. */
static void gather_item(struct rf_engine *e, struct rf_flight *f, uint32_t i, uint32_t *n, uint32_t *n_out)
{
    const struct rf_sched_item *it = &f->item[i];
    struct rf_req *r = req_of(it);
    const uint32_t row = *n_out;
    note_started(e, r, f->since);
    e->seq_first[i] = (int32_t)*n;
    e->bulk_end[i] = (int32_t)(r->n_prompt / RF_BULK_TOKENS * RF_BULK_TOKENS);
    for (uint32_t k = 0; k < it->n; k++, ++*n) {
        const uint32_t at = it->from + k;
        e->tok[*n] = r->unknown && at + 1 == r->seq.n_token ? -1 - (int32_t)r->row : r->token[at];
        e->pos[*n] = (int32_t)at;
        if (k < it->n - it->n_out) continue;
        if (e->choice) gather_choice(e, r, at, &e->choice[*n_out]);
        e->out_row[(*n_out)++] = (int32_t)*n;
    }
    r->place[f - e->flight] = (int32_t)i;
    if (it->from < r->n_prompt) f->n_prefill += it->n;
    f->open = f->open && it->n == 1 && it->n_out == 1 && e->choice[row].by != RF_CHOICE_NONE && !rf_sampling_reads_text(&r->params);
    r->row = row;
}

static void gather(struct rf_engine *e, struct rf_flight *f, struct rf_batch *b)
{
    uint32_t n = 0, n_out = 0;
    rf_sampler_rewind(e->sampler);
    for (uint32_t i = 0; i < f->n_item; i++) gather_item(e, f, i, &n, &n_out);
    e->seq_first[f->n_item] = (int32_t)n;
    *b = (struct rf_batch){.n_tok = n, .n_seq = f->n_item, .n_out = n_out, .token = e->tok, .pos = e->pos,
                           .seq_first = e->seq_first, .bulk_end = e->bulk_end, .out_row = e->out_row, .choice = e->choice};
    gather_tables(e, f, b);
}

/* ---- forward ---- */

static rf_status begin(struct rf_engine *e, const struct rf_batch *b, struct rf_error *err)
{
    const int32_t *from, *to;
    uint32_t n_copy = rf_kv_copies(e->kv, &from, &to);
    rf_engine_watch_begin(e);
    pthread_mutex_lock(&e->model->device);
    rf_status st = n_copy ? rf_runner_kv_copy(e->runner, from, to, n_copy, err) : RF_OK;
    if (!st) st = rf_runner_begin(e->runner, b, err);
    pthread_mutex_unlock(&e->model->device);
    rf_engine_watch_end(e); /* the watchdog may have taken the engine over: then nothing is ours any more (gave_up) */
    if (!e->gave_up) rf_kv_copies_done(e->kv);
    return st;
}

static rf_status end(struct rf_engine *e, struct rf_step_out *out, struct rf_error *err)
{
    rf_engine_watch_begin(e);
    pthread_mutex_lock(&e->model->device);
    rf_status st = rf_runner_end(e->runner, out, err);
    pthread_mutex_unlock(&e->model->device);
    rf_engine_watch_end(e);
    return st;
}

static void fail_all(struct rf_engine *e, const struct rf_flight *p, rf_status st, struct rf_error *err)
{
    if (!err->status) rf_fail(err, st, "forward pass: %s", rf_status_name(st));
    e->now.n_failed_steps++;
    for (uint32_t i = 0; i < p->n_item; i++)
        if (p->item[i].seq) rf_engine_finish(e, req_of(&p->item[i]), RF_FINISH_ERROR, -1, err);
}

/* The model's file was changed, or the device hangs: there is nothing to be believed, for those that wait neither. */
void rf_engine_fail_everyone(struct rf_engine *e, const struct rf_error *err)
{
    static const enum rf_sched_state states[] = {RF_SCHED_RUNNING, RF_SCHED_WAITING};
    rf_engine_tell_untold(e);
    for (size_t i = 0; i < RF_COUNT(states); i++)
        for (struct rf_sched_seq *q; (q = rf_sched_first(e->sched, states[i]));)
            rf_engine_finish(e, (struct rf_req *)q, RF_FINISH_ERROR, -1, err);
}

/* ---- sample ---- */

/* Row of prompt token `at` tells about token at + 1. */
static rf_status prompt_row(struct rf_engine *e, struct rf_req *r, uint32_t at, const float *row)
{
    uint32_t k = (uint32_t)r->params.prompt_logprobs;
    struct rf_logprob *lp = &r->prompt_lp[at];
    struct rf_top_logprob *top = k ? r->prompt_top + (size_t)at * k : NULL;
    *lp = (struct rf_logprob){.token = r->token[at + 1], .top = top, .n_top = RF_MIN(k, e->limits.n_vocab)};
    return rf_sample_logprob(row, e->limits.n_vocab, lp->token, lp->n_top, &lp->logprob, top, &r->err);
}

/* Output `i` of the step is the row behind the request's last token. */
static rf_status sample_last(struct rf_engine *e, struct rf_req *r, const struct rf_step_out *out, uint32_t i)
{
    const struct rf_sampling *p = &r->params;
    const struct rf_chosen *c = out->chosen ? &out->chosen[i] : NULL;
    bool chosen = c && c->state != RF_CHOSEN_NONE;
    struct rf_sample_in in = sample_in(r, chosen ? NULL : out->logits + (size_t)i * e->limits.n_vocab);
    struct rf_logprob *lp = &r->logprob;
    if (!r->max_new) return RF_OK; /* prompt only */
    RF_TRY(chosen ? rf_sample_chosen(c, rf_req_n_new(r), &r->sampled, &r->err) : rf_sample(e->sampler, &in, &r->sampled, &r->err));
    if (p->logprobs < 0) return RF_OK;
    *lp = (struct rf_logprob){.token = r->sampled, .top = r->top, .n_top = RF_MIN((uint32_t)p->logprobs, e->limits.n_vocab)};
    if (!chosen) return rf_sample_logprob(in.logits, e->limits.n_vocab, r->sampled, lp->n_top, &lp->logprob, r->top, &r->err);
    rf_sample_chosen_logprob(c, out->top + (size_t)i * RF_CHOICE_TOP, lp->n_top, &lp->logprob, r->top);
    return RF_OK;
}

static void sample(struct rf_engine *e, const struct rf_flight *p, const struct rf_step_out *out)
{
    uint32_t row = 0;
    for (uint32_t i = 0; i < p->n_item; i++) {
        const struct rf_sched_item *it = &p->item[i];
        struct rf_req *r = req_of(it);
        if (!r) {
            row += it->n_out;
            continue;
        }
        r->sampled = -1;
        r->failed = RF_OK;
        for (uint32_t at = it->from + it->n - it->n_out; at < it->from + it->n; at++, row++) {
            if (r->failed) continue;
            r->failed = at + 1 == r->seq.n_token - r->unknown ? sample_last(e, r, out, row)
                        : at + 1 < r->n_prompt   ? prompt_row(e, r, at, out->logits + (size_t)row * e->limits.n_vocab)
                                                 : RF_OK;
        }
    }
}

/* ---- commit ---- */

/* Logits are wanted from the last token on; those of the prompt that were asked for are there up to `end`. */
static void want_last(struct rf_req *r, uint32_t end)
{
    r->seq.want_from = RF_MIN(RF_MAX(r->seq.want_from, end), r->seq.n_token - 1);
}

/* A request whose row was bad leaves before its blocks could be remembered; the others' tokens are computed now. */
static void commit(struct rf_engine *e, const struct rf_flight *p)
{
    for (uint32_t i = 0; i < p->n_item; i++) {
        struct rf_req *r = req_of(&p->item[i]);
        if (r && r->failed) rf_engine_finish(e, r, RF_FINISH_ERROR, -1, &r->err);
    }
    if (p->counted) rf_sched_index(e->sched, p->item, p->n_item); /* the plan is the next step's */
    else rf_sched_plan_commit(e->sched);
    for (uint32_t i = 0; i < p->n_item; i++) {
        struct rf_req *r = req_of(&p->item[i]);
        if (!r) continue;
        r->seq.n_token -= r->unknown;
        r->unknown = 0;
        if (r->sampled >= 0) r->token[r->seq.n_token++] = r->sampled;
        want_last(r, p->item[i].from + p->item[i].n);
    }
}

/* The step under way counts as done, so that the next can be planned: each of its requests goes on from a token that only the device knows, but
 * for those that this token ends by their length. */
static void count_on(struct rf_engine *e, struct rf_flight *p)
{
    rf_sched_plan_advance(e->sched);
    p->counted = true;
    for (uint32_t i = 0; i < p->n_item; i++) {
        struct rf_req *r = req_of(&p->item[i]);
        if (!r || rf_req_n_new(r) + 1 >= r->max_new) continue;
        r->token[r->seq.n_token++] = 0;
        r->unknown = 1;
        want_last(r, p->item[i].from + p->item[i].n);
    }
}

/* ---- settle ---- */

/* Why the request ends with the token just sampled. */
static enum rf_finish reason(const struct rf_engine *e, const struct rf_req *r, int32_t *stop_token)
{
    const struct rf_sampling *p = &r->params;
    *stop_token = r->sampled;
    if (!p->ignore_eos && rf_tokenizer_is_eog(e->model->tokenizer, r->sampled)) return RF_FINISH_STOP;
    for (size_t i = 0; i < p->n_stop_tokens; i++)
        if (p->stop_tokens[i] == r->sampled) return RF_FINISH_STOP;
    *stop_token = -1;
    return rf_req_n_new(r) >= r->max_new ? RF_FINISH_LENGTH : RF_FINISH_NONE;
}

static void note_token(struct rf_engine *e, struct rf_req *r, double t)
{
    if (rf_req_n_new(r) == 1) {
        r->t_first = t;
        rf_histogram_add(&e->now.ttft, false, t - r->t_submit);
        rf_histogram_add(&e->now.prefill, false, t - r->t_start);
    } else {
        rf_histogram_add(&e->now.itl, false, t - r->t_last);
    }
    r->t_last = t;
    e->now.generation_tokens++;
}

static void settle_token(struct rf_engine *e, struct rf_req *r, double t)
{
    note_token(e, r, t);
    r->why = reason(e, r, &r->stop_token);
    r->has_token = true;
    /* The token that ends the text is no part of it. */
    if ((r->stop_token >= 0 && !r->params.include_stop) || !rf_req_text_push(r, r->sampled, &r->ready, &r->stopped)) return;
    rf_fail_nomem(&r->err, "text of a request", r->text.len);
    r->why = RF_FINISH_ERROR;
    r->has_token = false;
}

/* Out of the scheduler and of all flights. */
static void leave(struct rf_engine *e, struct rf_req *r)
{
    rf_sched_remove(e->sched, &r->seq);
    for (int i = 0; i < 2; i++) {
        if (r->place[i] >= 0) e->flight[i].item[r->place[i]].seq = NULL;
        r->place[i] = -1;
    }
}

static void settle(struct rf_engine *e, const struct rf_flight *p, double t)
{
    for (uint32_t i = 0; i < p->n_item; i++) {
        struct rf_req *r = req_of(&p->item[i]);
        if (!r || p->item[i].from + p->item[i].n < r->n_prompt) continue;
        r->ready = 0;
        r->has_token = r->stopped = false;
        r->why = RF_FINISH_NONE;
        r->stop_token = -1;
        if (r->sampled >= 0) settle_token(e, r, t);
        else if (!r->max_new) r->why = RF_FINISH_LENGTH;
        r->untold = (int32_t)e->n_untold;
        e->untold[e->n_untold++] = r;
        if (r->why || r->stopped) leave(e, r);
    }
}

/* ---- tell ---- */

static void tell_prompt(struct rf_engine *e, struct rf_req *r)
{
    struct rf_event ev = {.kind = RF_EVENT_PROMPT,
                          .tokens = r->token,
                          .n_tokens = r->n_prompt,
                          .logprobs = r->prompt_lp,
                          .n_logprobs = r->n_prompt - 1,
                          .stop_token = -1};
    r->prompt_sent = true;
    rf_engine_tell(e, r, &ev);
}

static void tell_token(struct rf_engine *e, struct rf_req *r)
{
    struct rf_event ev = {.kind = RF_EVENT_TOKENS, .tokens = &r->sampled, .n_tokens = 1, .text = rf_buf_str(&r->text),
                          .text_len = r->ready, .logprobs = r->params.logprobs >= 0 ? &r->logprob : NULL,
                          .n_logprobs = r->params.logprobs >= 0, .stop_token = -1};
    rf_engine_tell(e, r, &ev);
    if (r->stopped) {
        rf_buf_clear(&r->text);
        r->why = RF_FINISH_STOP;
        r->stop_token = -1;
        return;
    }
    rf_req_text_sent(r, r->ready);
    if (!r->why || !rf_detok_finish(&r->detok, &r->text)) return;
    r->why = RF_FINISH_ERROR;
    rf_fail_nomem(&r->err, "text of a request", r->text.len);
}

static void tell(struct rf_engine *e, struct rf_req *r)
{
    e->untold[r->untold] = NULL;
    r->untold = -1;
    if (r->prompt_lp && !r->prompt_sent) tell_prompt(e, r);
    if (r->has_token) tell_token(e, r);
    if (r->why) rf_engine_finish(e, r, r->why, r->stop_token, &r->err);
}

void rf_engine_tell_untold(struct rf_engine *e)
{
    for (uint32_t i = 0; i < e->n_untold; i++)
        if (e->untold[i]) tell(e, e->untold[i]);
    e->n_untold = 0;
}

void rf_engine_finish(struct rf_engine *e, struct rf_req *r, enum rf_finish why, int32_t stop_token,
                      const struct rf_error *err)
{
    if (r->untold >= 0) tell(e, r); /* goes on: one that ends is out of everybody's sight */
    double t = rf_now(), t_start = r->started ? r->t_start : t, t_first = r->t_first > 0 ? r->t_first : t;
    struct rf_event ev = {.kind = why == RF_FINISH_ERROR ? RF_EVENT_ERROR : RF_EVENT_DONE,
                          .finish = why,
                          .stop_token = stop_token,
                          .error = why == RF_FINISH_ERROR ? err : NULL,
                          .text = rf_buf_str(&r->text),
                          .text_len = why == RF_FINISH_ERROR ? 0 : r->text.len};
    ev.usage = (struct rf_usage){.prompt_tokens = r->n_prompt,
                                 .cached_tokens = r->n_cached,
                                 .completion_tokens = rf_req_n_new(r),
                                 .queue_s = t_start - r->t_submit,
                                 .prefill_s = t_first - t_start,
                                 .decode_s = t - t_first};
    if (!r->started) e->started_tokens += r->n_prompt;
    e->now.finished[why]++;
    if (why == RF_FINISH_STOP || why == RF_FINISH_LENGTH) {
        rf_histogram_add(&e->now.e2e, false, t - r->t_submit);
        rf_histogram_add(&e->now.decode, false, ev.usage.decode_s);
        rf_histogram_add(&e->now.inference, false, t - t_start);
        rf_histogram_add(&e->now.prompt_len, true, r->n_prompt);
        rf_histogram_add(&e->now.generation_len, true, rf_req_n_new(r));
    }
    leave(e, r);
    rf_engine_tell(e, r, &ev);
    rf_engine_retire(e, r);
}

/* A step's time is shared out by its tokens. */
static void note_step(struct rf_engine *e, const struct rf_flight *p, double now)
{
    const double seconds = now - RF_MAX(p->since, e->t_ended); /* it may have begun behind another one */
    e->t_ended = now;
    for (uint32_t i = 0; i < p->n_item; i++) e->now.max_seq_tokens = RF_MAX(e->now.max_seq_tokens, p->item[i].from + p->item[i].n);
    e->now.n_steps++;
    e->now.n_step_seqs += p->n_item;
    e->now.prompt_tokens += p->n_prefill;
    e->now.prefill_s += seconds * p->n_prefill / p->n_tok;
    e->now.decode_s += seconds * (p->n_tok - p->n_prefill) / p->n_tok;
    rf_histogram_add(&e->now.step_tokens, true, p->n_tok);
}

/* ---- steps ---- */

/* Plans a step and begins it. False: there is nothing to do, or it failed and its requests know. */
static bool depart(struct rf_engine *e)
{
    struct rf_batch batch;
    struct rf_error err = {0};
    const struct rf_sched_plan *p = rf_sched_plan_make(e->sched);
    struct rf_flight *f = &e->flight[(e->first_flight + e->n_flight) % 2];
    e->now.n_preemptions += p->n_preempted;
    if (!p->n_item) return false;
    *f = (struct rf_flight){.item = f->item, .n_item = p->n_item, .n_tok = p->n_tok, .since = rf_now(), .open = e->plans_ahead};
    memcpy(f->item, p->item, p->n_item * sizeof *f->item);
    gather(e, f, &batch);
    rf_status st = begin(e, &batch, &err);
    if (e->gave_up) return false;
    if (st) fail_all(e, f, st, &err);
    else e->n_flight++;
    return !st;
}

/* Begins the step behind the one under way, where its tokens need not be known for that. */
static void depart_ahead(struct rf_engine *e)
{
    struct rf_flight *f = &e->flight[e->first_flight];
    if (!f->open || f->counted || !rf_sched_may_plan_ahead(e->sched)) return;
    count_on(e, f);
    e->now.n_async_steps += depart(e);
}

/* Waits for the step under way and hands out what it found. */
static void arrive(struct rf_engine *e)
{
    struct rf_error err = {0};
    struct rf_step_out out = {0};
    struct rf_flight *f = &e->flight[e->first_flight];
    rf_status st = end(e, &out, &err);
    if (e->gave_up) return;
    e->first_flight = (e->first_flight + 1) % 2;
    e->n_flight--;
    if (st) {
        fail_all(e, f, st, &err);
        return;
    }
    if (rf_handle_check(e->model, &err)) {
        rf_engine_fail_everyone(e, &err);
        return;
    }
    note_step(e, f, rf_now());
    sample(e, f, &out);
    commit(e, f);
    for (uint32_t i = 0; i < f->n_item; i++)
        if (f->item[i].seq) req_of(&f->item[i])->place[f - e->flight] = -1;
    settle(e, f, e->t_ended);
}

void rf_engine_land(struct rf_engine *e)
{
    rf_engine_tell_untold(e);
    while (e->n_flight && !e->gave_up) arrive(e);
}

void rf_engine_step(struct rf_engine *e)
{
    if (!e->n_flight && !depart(e)) {
        if (!e->gave_up) rf_engine_tell_untold(e);
        return;
    }
    rf_engine_tell_untold(e);
    depart_ahead(e);
    if (!e->gave_up) arrive(e);
    if (!e->gave_up && !rf_runner_overlaps(e->runner)) rf_engine_tell_untold(e);
}
