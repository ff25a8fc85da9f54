/* toy_ask.h - requests to the toy engine, and all that comes back: what test_engine.c and test_ahead.c share. */
#ifndef RF_TESTS_TOY_ASK_H
#define RF_TESTS_TOY_ASK_H

#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "toy_engine.h"

enum { MAX_TOK = 4096 };
static uint64_t seed;

static void shape(uint32_t n_group, uint32_t w0, uint32_t w1, uint32_t n_ctx)
{
    fake_shape = (struct fake_shape){n_group, {w0, w1}, n_ctx};
    fake.n_error = fake.n_forward = fake.n_token = fake.n_copy = fake.max_batch = 0;
    fake.fail_forward = fake.delay_us = 0;
    fake.gate = false;
}

struct result {
    int32_t tok[MAX_TOK];
    uint32_t n_tok, n_event;
    char text[4 * MAX_TOK];
    size_t n_text;
    enum rf_finish finish;
    rf_status error;
    int32_t stop_token;
    struct rf_usage usage;
    struct rf_logprob prompt_lp[MAX_TOK], lp[MAX_TOK];
    uint32_t n_prompt_lp, n_lp, n_prompt_event;
    struct rf_top_logprob top0;
};

static void take(struct result *r, const struct rf_event *ev)
{
    r->n_event++;
    if (ev->kind == RF_EVENT_PROMPT) {
        r->n_prompt_event++;
        r->n_prompt_lp = (uint32_t)ev->n_logprobs;
        for (size_t i = 0; i < ev->n_logprobs; i++) {
            r->prompt_lp[i] = ev->logprobs[i];
            if (ev->logprobs[i].n_top) r->top0 = ev->logprobs[i].top[0];
        }
        return;
    }
    for (size_t i = 0; i < ev->n_tokens; i++) r->tok[r->n_tok++] = ev->tokens[i];
    for (size_t i = 0; i < ev->n_logprobs; i++) {
        r->lp[r->n_lp++] = ev->logprobs[i];
        if (ev->logprobs[i].n_top) r->top0 = ev->logprobs[i].top[0];
    }
    CHECK(rf_utf8_valid(ev->text, ev->text_len));
    memcpy(r->text + r->n_text, ev->text, ev->text_len);
    r->n_text += ev->text_len;
    r->text[r->n_text] = 0;
    if (ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR) {
        r->finish = ev->finish;
        r->stop_token = ev->stop_token;
        r->usage = ev->usage;
        r->error = ev->error ? ev->error->status : RF_OK;
    }
}

static void collect(struct rf_engine *e, uint64_t id, struct result *r)
{
    struct rf_event *ev;
    memset(r, 0, sizeof *r);
    while (!r->finish && !check_.bad) {
        rf_status st = rf_engine_poll(e, id, 20000, &ev);
        if (st) {
            CHECK_FAIL_("poll: %s", rf_status_name(st));
            return;
        }
        take(r, ev);
        rf_event_free(ev);
    }
}

static void run(const struct rf_request *q, struct result *r)
{
    uint64_t id;
    rf_status st = rf_engine_submit(engine, q, 1, &id, &err);
    memset(r, 0, sizeof *r);
    if (st) CHECK_FAIL_("submit: %s: %s", rf_status_name(st), err.message);
    else collect(engine, id, r);
}

/* Prompts share long prefixes now and then. */
static uint32_t random_prompt(struct rf_rng *r, int32_t *tok, uint32_t most)
{
    uint32_t n = 1 + rf_rng_below(r, most);
    for (uint32_t i = 0; i < n; i++) tok[i] = 'a' + (int32_t)(i % 16 == 0 ? rf_rng_below(r, 2) : 3);
    if (rf_rng_below(r, 2)) tok[n - 1] = 'A' + (int32_t)rf_rng_below(r, 20);
    return n;
}

#endif
