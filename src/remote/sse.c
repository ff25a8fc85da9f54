#include "remote/sse.h"

#include <string.h>

static bool is(const char *s, size_t n, const char *word) { return n == strlen(word) && !memcmp(s, word, n); }

static rf_status put(struct rf_buf *b, size_t max, const char *s, size_t n, const char *what, struct rf_error *err)
{
    b->max = max;
    rf_status st = rf_buf_append(b, s, n);
    if (st == RF_TOO_LARGE) return rf_fail(err, st, "the server's event stream: found %s of over %zu bytes, expected none", what, max);
    return st ? rf_fail_nomem(err, "event stream", b->len + n) : RF_OK;
}

static rf_status take_field(struct rf_sse *s, const char *line, size_t n, struct rf_error *err)
{
    const char *colon = memchr(line, ':', n);
    size_t len = colon ? (size_t)(colon - line) : n;
    const char *value = colon ? colon + 1 : "";
    size_t left = colon ? n - len - 1 : 0;
    if (left && *value == ' ') value++, left--;
    if (is(line, len, "event")) {
        rf_buf_clear(&s->name);
        return put(&s->name, RF_SSE_LINE_MAX, value, left, "a name", err);
    }
    if (!is(line, len, "data")) return RF_OK; /* a comment (its name is empty), or a field that is nothing to us */
    if (s->has_data) RF_TRY(put(&s->data, RF_SSE_EVENT_MAX, "\n", 1, "an event", err));
    s->has_data = true;
    return put(&s->data, RF_SSE_EVENT_MAX, value, left, "an event", err);
}

static rf_status end_event(struct rf_sse *s, rf_sse_fn fn, void *ctx, struct rf_error *err)
{
    const struct rf_sse_event ev = {{rf_buf_str(&s->name), s->name.len}, {rf_buf_str(&s->data), s->data.len}};
    rf_status st = s->has_data ? fn(ctx, &ev, err) : RF_OK;
    rf_buf_clear(&s->name);
    rf_buf_clear(&s->data);
    s->has_data = false;
    return st;
}

static rf_status end_line(struct rf_sse *s, rf_sse_fn fn, void *ctx, struct rf_error *err)
{
    static const char mark[3] = "\xEF\xBB\xBF";
    size_t skip = !s->begun && s->line.len >= sizeof mark && !memcmp(s->line.data, mark, sizeof mark) ? sizeof mark : 0;
    s->begun = true;
    rf_status st = s->line.len > skip ? take_field(s, s->line.data + skip, s->line.len - skip, err) : end_event(s, fn, ctx, err);
    rf_buf_clear(&s->line);
    return st;
}

rf_status rf_sse_feed(struct rf_sse *s, const char *p, size_t n, rf_sse_fn fn, void *ctx, struct rf_error *err)
{
    for (size_t i = 0; i < n;) {
        if (s->after_cr) {
            s->after_cr = false;
            i += p[i] == '\n';
            continue;
        }
        size_t end = i;
        while (end < n && p[end] != '\n' && p[end] != '\r') end++;
        RF_TRY(put(&s->line, RF_SSE_LINE_MAX, p + i, end - i, "a line", err));
        i = end + 1;
        if (end == n) break;
        s->after_cr = p[end] == '\r';
        RF_TRY(end_line(s, fn, ctx, err));
    }
    return RF_OK;
}

void rf_sse_release(struct rf_sse *s)
{
    rf_buf_release(&s->line);
    rf_buf_release(&s->name);
    rf_buf_release(&s->data);
    *s = (struct rf_sse){0};
}
