#include <string.h>

#include "serve/events.h"

struct head { /* of one record; text and logprobs follow, unpadded */
    uint64_t bytes; /* of the whole record */
    uint32_t seq, kind, finish, n_tokens, n_logprobs, text_len, has_error;
    struct rf_usage usage;
};

static size_t packed_size(const struct rf_logprob *l) { return 12 + (size_t)l->n_top * 8; }

bool rf_serve_record_append(struct rf_buf *log, uint32_t seq, const struct rf_event *ev)
{
    struct head h = {.seq = seq, .kind = ev->kind, .finish = ev->finish, .n_tokens = (uint32_t)ev->n_tokens,
                     .n_logprobs = (uint32_t)ev->n_logprobs, .text_len = (uint32_t)ev->text_len,
                     .has_error = ev->kind == RF_EVENT_ERROR && ev->error, .usage = ev->usage};
    size_t n = sizeof h + ev->text_len + (h.has_error ? sizeof *ev->error : 0);
    for (size_t i = 0; i < ev->n_logprobs; i++) n += packed_size(&ev->logprobs[i]);
    h.bytes = n;
    if (rf_buf_reserve(log, n)) return false;
    rf_buf_append(log, &h, sizeof h);
    if (h.has_error) rf_buf_append(log, ev->error, sizeof *ev->error);
    rf_buf_append(log, ev->text, ev->text_len);
    for (size_t i = 0; i < ev->n_logprobs; i++) {
        const struct rf_logprob *l = &ev->logprobs[i];
        rf_buf_append(log, &l->token, 4);
        rf_buf_append(log, &l->logprob, 4);
        rf_buf_append(log, &l->n_top, 4);
        for (uint32_t k = 0; k < l->n_top; k++) {
            rf_buf_append(log, &l->top[k].token, 4);
            rf_buf_append(log, &l->top[k].logprob, 4);
        }
    }
    return true;
}

bool rf_serve_record_next(const struct rf_buf *log, size_t *pos, struct rf_record *out)
{
    struct head h;
    if (log->len - *pos < sizeof h) return false;
    const char *p = log->data + *pos;
    memcpy(&h, p, sizeof h);
    *pos += h.bytes;
    p += sizeof h;
    *out = (struct rf_record){.seq = h.seq,
                              .kind = (enum rf_event_kind)h.kind,
                              .finish = (enum rf_finish)h.finish,
                              .usage = h.usage,
                              .text_len = h.text_len,
                              .n_tokens = h.n_tokens,
                              .n_logprobs = h.n_logprobs};
    if (h.has_error) {
        memcpy(&out->error, p, sizeof out->error);
        p += sizeof out->error;
    }
    out->has_error = h.has_error;
    out->text = p;
    out->logprobs = (const unsigned char *)p + h.text_len;
    return true;
}

void rf_serve_logprob_next(const unsigned char **p, struct rf_packed_logprob *out)
{
    memcpy(&out->token, *p, 4);
    memcpy(&out->logprob, *p + 4, 4);
    memcpy(&out->n_top, *p + 8, 4);
    out->top = *p + 12;
    *p += 12 + (size_t)out->n_top * 8;
}

struct rf_top_logprob rf_serve_logprob_top(const struct rf_packed_logprob *l, uint32_t i)
{
    struct rf_top_logprob t;
    memcpy(&t.token, l->top + (size_t)i * 8, 4);
    memcpy(&t.logprob, l->top + (size_t)i * 8 + 4, 4);
    return t;
}
