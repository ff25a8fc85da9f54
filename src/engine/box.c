#include "engine/box.h"

#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/mem.h"

struct rf_box_event {
    struct rf_event ev; /* first: rf_event_free gets its address */
    struct rf_box_event *next;
    struct rf_buf text, tokens, logprobs, tops; /* what ev points to */
    struct rf_error err;
};

struct rf_box *rf_box_create(void)
{
    struct rf_box *b = rf_alloc_array(1, sizeof *b);
    pthread_condattr_t attr;
    bool ok = b && (b->final = rf_alloc_array(1, sizeof *b->final)) && !pthread_condattr_init(&attr);
    if (ok) {
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        ok = !pthread_cond_init(&b->news, &attr);
        pthread_condattr_destroy(&attr);
    }
    if (ok) return b;
    if (b) rf_free(b->final);
    rf_free(b);
    return NULL;
}

void rf_event_free(struct rf_event *ev)
{
    struct rf_box_event *e = (struct rf_box_event *)ev;
    if (!e) return;
    rf_buf_release(&e->text);
    rf_buf_release(&e->tokens);
    rf_buf_release(&e->logprobs);
    rf_buf_release(&e->tops);
    rf_free(e);
}

void rf_box_free(struct rf_box *b)
{
    if (!b) return;
    for (struct rf_box_event *e = b->first, *next; e; e = next) {
        next = e->next;
        rf_event_free(&e->ev);
    }
    rf_event_free(b->final ? &b->final->ev : NULL);
    pthread_cond_destroy(&b->news);
    rf_free(b);
}

static bool append(struct rf_box_event *e, const struct rf_event *ev)
{
    if (ev->text_len) rf_buf_append(&e->text, ev->text, ev->text_len);
    if (ev->n_tokens) rf_buf_append(&e->tokens, ev->tokens, ev->n_tokens * sizeof *ev->tokens);
    if (ev->n_logprobs) rf_buf_append(&e->logprobs, ev->logprobs, ev->n_logprobs * sizeof *ev->logprobs);
    for (size_t i = 0; i < ev->n_logprobs; i++)
        if (ev->logprobs[i].n_top)
            rf_buf_append(&e->tops, ev->logprobs[i].top, ev->logprobs[i].n_top * sizeof *ev->logprobs[i].top);
    return !e->text.bad && !e->tokens.bad && !e->logprobs.bad && !e->tops.bad;
}

static void put_final(struct rf_box *b, const struct rf_event *ev)
{
    struct rf_box_event *e = b->final;
    e->ev = *ev;
    if (ev->error) e->err = *ev->error;
    if (!append(e, ev)) b->lost = true;
    if (b->lost && ev->kind == RF_EVENT_DONE) {
        e->ev.kind = RF_EVENT_ERROR;
        e->ev.finish = RF_FINISH_ERROR;
        rf_fail_nomem(&e->err, "events of a request", 0);
    }
    b->ended = true;
}

void rf_box_put(struct rf_box *b, const struct rf_event *ev)
{
    if (ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR) {
        put_final(b, ev);
        return;
    }
    struct rf_box_event *e = b->last;
    if (b->lost) return;
    if (!e || e->ev.kind != ev->kind) {
        if (!(e = rf_alloc_array(1, sizeof *e))) {
            b->lost = true;
            return;
        }
        e->ev = *ev;
        if (b->last) b->last->next = e;
        else b->first = e;
        b->last = e;
    }
    if (!append(e, ev)) b->lost = true;
}

/* Points ev at its own copies. */
static struct rf_event *settle(struct rf_box_event *e)
{
    struct rf_logprob *lp = (struct rf_logprob *)(void *)e->logprobs.data;
    const struct rf_top_logprob *top = (const struct rf_top_logprob *)(void *)e->tops.data;
    e->ev.text = rf_buf_str(&e->text);
    e->ev.text_len = e->text.len;
    e->ev.tokens = (const int32_t *)(void *)e->tokens.data;
    e->ev.n_tokens = e->tokens.len / sizeof *e->ev.tokens;
    e->ev.logprobs = lp;
    e->ev.n_logprobs = e->logprobs.len / sizeof *lp;
    e->ev.error = e->ev.kind == RF_EVENT_ERROR ? &e->err : NULL;
    size_t n_left = e->tops.len / sizeof *top; /* fewer than there should be where memory ran out */
    for (size_t i = 0; i < e->ev.n_logprobs; i++) {
        if (lp[i].n_top > n_left) lp[i].n_top = 0;
        lp[i].top = lp[i].n_top ? top : NULL;
        if (lp[i].n_top) top += lp[i].n_top;
        n_left -= lp[i].n_top;
    }
    return &e->ev;
}

struct rf_event *rf_box_take(struct rf_box *b, bool *last)
{
    struct rf_box_event *e = b->first;
    *last = false;
    if (e) {
        b->first = e->next;
        if (!b->first) b->last = NULL;
        return settle(e);
    }
    if (!b->ended || !b->final) return NULL;
    e = b->final;
    b->final = NULL;
    *last = true;
    return settle(e);
}
