/* stream.c - server-sent events: a pull machine that libmicrohttpd drains on the event loop.
 *
 * log (engine's thread appends) -> reading (taken whole, under the lock) -> out (frames) -> socket. Frames are made a
 * few at a time, so that out stays small; when there is nothing, the connection sleeps until the next event.
 *
 * Per choice: a role chunk, text chunks, one chunk with finish_reason. Then the usage chunk if asked for, then [DONE].
 * A failure is one error frame, after which the connection is closed (server.c): a stop is never forged.
 */
#include <string.h>

#include "serve/events.h"

#define OUT_SOME 16384 /* stop making frames beyond this much */

static void begin(struct rf_call *c, struct rf_seq *q)
{
    struct rf_gen *g = c->gen;
    if (g->kind == RF_GEN_CHAT) {
        rf_serve_chunk_json(c, q, true, "", 0, RF_FINISH_NONE, &g->out);
    } else if (g->p.echo) {
        const struct rf_prompt *p = &g->prompts[q->prompt];
        if (g->p.logprobs >= 0) rf_serve_logprobs_first(g, q, q->lp);
        /* with log probabilities the echoed text goes out together with theirs */
        if (g->p.logprobs < 0 || p->n == 1)
            rf_serve_chunk_json(c, q, false, p->text, p->text_len, RF_FINISH_NONE, &g->out);
    }
    q->began = true;
}

static void drop_logprobs(struct rf_seq *q)
{
    for (int i = 0; i < 4; i++) rf_buf_clear(&q->lp[i]);
}

static void fail(struct rf_gen *g, const struct rf_record *r)
{
    struct rf_error err = {0};
    if (r && r->has_error) err = r->error;
    else rf_fail(&err, RF_SHUTDOWN, "the request was aborted by the server");
    rf_buf_puts(&g->out, "data: ");
    rf_serve_error_event(&g->out, &err);
    rf_buf_puts(&g->out, "\n\n");
    g->failed = true;
    g->tail_sent = true;
}

static void frame(struct rf_call *c, const struct rf_record *r)
{
    struct rf_gen *g = c->gen;
    struct rf_seq *q = &g->seqs[r->seq];
    bool last = r->kind == RF_EVENT_DONE || r->kind == RF_EVENT_ERROR;
    if (r->kind == RF_EVENT_ERROR || (last && (r->finish == RF_FINISH_ABORT || r->finish == RF_FINISH_ERROR))) {
        fail(g, r);
        return;
    }
    if (!q->began) {
        begin(c, q);
        if (g->p.logprobs < 0 || g->prompts[q->prompt].n == 1) drop_logprobs(q);
    }
    if (r->n_logprobs) rf_serve_logprobs_add(g, q, r, q->lp);
    if (r->kind == RF_EVENT_PROMPT) {
        const struct rf_prompt *p = &g->prompts[q->prompt];
        if (!g->p.echo || p->n == 1) return;
        rf_serve_chunk_json(c, q, false, p->text, p->text_len, RF_FINISH_NONE, &g->out);
        drop_logprobs(q);
        return;
    }
    q->n_tokens += r->n_tokens;
    if (r->text_len || r->n_logprobs) {
        rf_serve_chunk_json(c, q, false, r->text, r->text_len, RF_FINISH_NONE, &g->out);
        drop_logprobs(q);
    }
    if (last) {
        q->ended = true;
        q->usage = r->usage;
        q->n_tokens = r->usage.completion_tokens;
        rf_serve_chunk_json(c, q, false, NULL, 0, r->finish, &g->out);
    }
}

static void tail(struct rf_call *c)
{
    struct rf_gen *g = c->gen;
    for (size_t i = 0; i < g->n_seqs; i++)
        if (!g->seqs[i].ended) return;
    if (g->p.include_usage) rf_serve_usage_chunk_json(c, &g->out);
    rf_buf_puts(&g->out, "data: [DONE]\n\n");
    g->tail_sent = true;
}

/* Makes frames out of what was taken; false if there is nothing left of it. */
static bool make(struct rf_call *c)
{
    struct rf_gen *g = c->gen;
    struct rf_record r;
    while (!g->tail_sent && g->out.len < OUT_SOME && rf_serve_record_next(&g->reading, &g->reading_pos, &r))
        frame(c, &r);
    if (!g->tail_sent && g->reading_pos >= g->reading.len) tail(c);
    if (g->out.bad) g->broken = true;
    return g->out.len > 0 || g->broken;
}

enum take { TAKE_MORE, TAKE_SLEEP, TAKE_STOP };

/* Takes the whole log, or lets the connection sleep. A log that lost events is ended, and counted, by the watcher alone. */
static enum take take(struct rf_call *c)
{
    struct rf_gen *g = c->gen;
    enum take t = TAKE_MORE;
    pthread_mutex_lock(&c->lock);
    if (c->gone) {
        t = TAKE_STOP;
    } else if (c->log.len) {
        struct rf_buf swap = g->reading;
        g->reading = c->log;
        c->log = swap;
        rf_buf_clear(&c->log);
        c->over_since = 0;
        g->reading_pos = 0;
    } else if (c->ping) {
        rf_buf_puts(&g->out, ": ping\n\n");
    } else {
        t = rf_serve_call_suspend_locked(c) ? TAKE_SLEEP : TAKE_STOP;
    }
    c->ping = false;
    if (t == TAKE_MORE) c->t_sent = rf_now();
    pthread_mutex_unlock(&c->lock);
    return t;
}

ssize_t rf_serve_stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct rf_call *c = cls;
    struct rf_gen *g = c->gen;
    (void)pos;
    for (;;) {
        if (g->out_pos < g->out.len) {
            size_t n = RF_MIN(max, g->out.len - g->out_pos);
            memcpy(buf, g->out.data + g->out_pos, n);
            g->out_pos += n;
            return (ssize_t)n;
        }
        rf_buf_clear(&g->out);
        g->out_pos = 0;
        if (g->broken) return MHD_CONTENT_READER_END_WITH_ERROR;
        if (g->tail_sent) return MHD_CONTENT_READER_END_OF_STREAM;
        if (make(c)) continue;
        enum take t = take(c);
        if (t == TAKE_STOP) return MHD_CONTENT_READER_END_WITH_ERROR;
        if (t == TAKE_SLEEP) return 0;
    }
}
