/* fuzz_sse - what a server may answer to our client: the bytes as an event stream, cut anywhere, and as a JSON answer.
 *
 * Cut in two ways the same bytes must give the same events and end in the same status, and no text may be other than UTF-8. The first
 * byte says where to cut. An input without it is read whole.
 */
#include <string.h>

#include "base/utf8.h"
#include "remote/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct got { struct rf_buf log; };

static rf_status on_event(void *ctx, const struct rf_sse_event *ev, struct rf_error *err)
{
    struct got *g = ctx;
    (void)err;
    if (!g->log.bad) rf_buf_printf(&g->log, "%zu %zu ", ev->name.n, ev->data.n);
    rf_buf_append(&g->log, ev->name.s, ev->name.n);
    rf_buf_append(&g->log, ev->data.s, ev->data.n);
    return memchr(ev->data.s, 0x7f, ev->data.n) ? RF_CANCELLED : RF_OK;
}

static rf_status feed(const char *p, size_t n, size_t step, struct got *g, struct rf_error *err)
{
    struct rf_sse s = {0};
    rf_status st = RF_OK;
    for (size_t at = 0; at < n && !st; at += step) st = rf_sse_feed(&s, p + at, n - at < step ? n - at : step, on_event, g, err);
    rf_sse_release(&s);
    return st;
}

static bool on_text(void *ctx, enum rf_remote_part part, const char *s, size_t n)
{
    (void)part;
    if (!n || !rf_utf8_valid(s, n)) __builtin_trap();
    rf_buf_append(ctx, s, n);
    return true;
}

static rf_status answer(const char *p, size_t n, size_t step, const char *type, struct rf_buf *text, struct rf_error *err)
{
    const struct rf_remote_sink sink = {on_text, NULL, text};
    struct rf_remote_answer a = {0};
    struct rf_remote_reader r = {.from = "http://server", .sink = &sink, .answer = &a};
    rf_status st = rf_remote_reader_start(&r, type, err);
    for (size_t at = 0; at < n && !st && !r.done; at += step) st = rf_remote_reader_feed(&r, p + at, n - at < step ? n - at : step, err);
    if (!st) st = rf_remote_reader_end(&r, err);
    if (!st && a.finish == RF_FINISH_NONE) __builtin_trap();
    rf_remote_reader_release(&r);
    return st;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n) return 0;
    size_t step = 1 + data[0] % 64;
    const char *p = (const char *)data + 1;
    struct got whole = {0}, cut = {0};
    struct rf_buf text[2] = {{0}, {0}};
    struct rf_error err[2] = {{0}, {0}};
    n--;
    if (feed(p, n, n + 1, &whole, &err[0]) != feed(p, n, step, &cut, &err[1])) __builtin_trap();
    if (whole.log.len != cut.log.len || memcmp(rf_buf_str(&whole.log), rf_buf_str(&cut.log), cut.log.len)) __builtin_trap();
    if (answer(p, n, n + 1, "text/event-stream", &text[0], &err[0]) != answer(p, n, step, "text/event-stream", &text[1], &err[1])) __builtin_trap();
    if (text[0].len != text[1].len || strcmp(err[0].message, err[1].message)) __builtin_trap();
    if (answer(p, n, step, "application/json", &text[1], &err[1]) && !*err[1].message) __builtin_trap();
    rf_buf_release(&whole.log);
    rf_buf_release(&cut.log);
    rf_buf_release(&text[0]);
    rf_buf_release(&text[1]);
    return 0;
}
