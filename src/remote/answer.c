#include "remote/answer.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

/* ---- errors ---- */

const char *rf_remote_said(const json_t *root)
{
    static const char *const keys[] = {"error", "message", "detail"};
    const char *text = NULL;
    for (size_t i = 0; i < RF_COUNT(keys) && !text; i++) {
        const json_t *v = json_object_get(root, keys[i]);
        text = json_string_value(json_is_object(v) ? json_object_get(v, "message") : v);
        if (!text) text = json_string_value(json_object_get(json_array_get(v, 0), "msg"));
    }
    return text;
}

bool rf_remote_is_too_long(const json_t *root)
{
    static const char *const names[] = {"context_length_exceeded", "exceed_context_size_error"};
    const json_t *e = json_object_get(root, "error");
    const char *code = json_string_value(json_object_get(e, "code")), *type = json_string_value(json_object_get(e, "type"));
    const char *text = rf_remote_said(root);
    for (size_t i = 0; i < RF_COUNT(names); i++)
        if ((code && !strcmp(code, names[i])) || (type && !strcmp(type, names[i]))) return true;
    return text && strstr(text, "maximum context length");
}

static rf_status fail_said(const struct rf_remote_reader *r, const json_t *root, struct rf_error *err)
{
    const char *text = rf_remote_said(root);
    return rf_fail(err, rf_remote_is_too_long(root) ? RF_TOO_LONG : RF_IO, "%.150s: the server ended the answer with an error: %.250s", r->from,
                   text ? text : "(it gives no message)");
}

/* An object, or NULL with the error filled. */
static json_t *parse(const struct rf_remote_reader *r, struct rf_str text, struct rf_error *err)
{
    json_error_t why;
    char what[40] = "the answer";
    if (r->stream) snprintf(what, sizeof what, "event %zu of the answer", r->n_events);
    json_t *root = json_loadb(text.s, text.n, JSON_ALLOW_NUL, &why);
    if (json_is_object(root)) return root;
    if (root) rf_fail(err, RF_CORRUPT, "%.150s: %s is JSON, but no object", r->from, what);
    else rf_fail(err, RF_CORRUPT, "%.150s: %s is no JSON: %.100s at byte %d", r->from, what, why.text, why.position);
    json_decref(root);
    return NULL;
}

/* ---- one chunk, or a whole answer, which has the same fields under "message" ---- */

static rf_status give(struct rf_remote_reader *r, enum rf_remote_part part, const json_t *text, struct rf_error *err)
{
    size_t n = json_string_length(text);
    if (!n) return RF_OK;
    r->n_text += n;
    if (r->n_text > RF_REMOTE_TEXT_MAX) return rf_fail(err, RF_TOO_LARGE, "%.150s: an answer of over %d bytes", r->from, RF_REMOTE_TEXT_MAX);
    r->last = rf_now();
    if (r->first <= 0) r->first = r->last;
    r->answer->usage.prefill_s = r->first - r->asked;
    r->answer->usage.decode_s = r->last - r->first;
    return r->sink->text(r->sink->ctx, part, json_string_value(text), n) ? RF_OK : RF_CANCELLED;
}

static uint32_t count(const json_t *object, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(object, key));
    return (uint32_t)RF_MIN(RF_MAX(v, 0), (json_int_t)INT32_MAX);
}

static void take_usage(struct rf_remote_reader *r, const json_t *usage)
{
    if (!json_is_object(usage)) return;
    r->answer->has_usage = true;
    r->answer->usage.prompt_tokens = count(usage, "prompt_tokens");
    r->answer->usage.completion_tokens = count(usage, "completion_tokens");
    r->answer->usage.cached_tokens = RF_MIN(count(json_object_get(usage, "prompt_tokens_details"), "cached_tokens"), r->answer->usage.prompt_tokens);
}

static rf_status take_chunk(struct rf_remote_reader *r, const json_t *root, struct rf_error *err)
{
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0), *delta = json_object_get(choice, "delta");
    if (json_object_get(root, "error") && !json_is_null(json_object_get(root, "error"))) return fail_said(r, root, err);
    if (!delta) delta = json_object_get(choice, "message");
    const json_t *why = json_object_get(delta, "reasoning_content");
    RF_TRY(give(r, RF_REMOTE_REASONING, json_is_string(why) ? why : json_object_get(delta, "reasoning"), err));
    RF_TRY(give(r, RF_REMOTE_TEXT, json_object_get(delta, "content"), err));
    if (!delta) RF_TRY(give(r, RF_REMOTE_TEXT, json_object_get(choice, "text"), err));
    const char *end = json_string_value(json_object_get(choice, "finish_reason"));
    if (end) r->answer->finish = !strcmp(end, "length") ? RF_FINISH_LENGTH : RF_FINISH_STOP;
    if (end && !strcmp(end, "tool_calls")) r->answer->wants_tool = true;
    take_usage(r, json_object_get(root, "usage"));
    return RF_OK;
}

static rf_status take_event(void *ctx, const struct rf_sse_event *ev, struct rf_error *err)
{
    struct rf_remote_reader *r = ctx;
    if (r->done) return RF_OK;
    r->n_events++;
    if (ev->data.n == 6 && !memcmp(ev->data.s, "[DONE]", 6)) {
        r->done = true;
        return RF_OK;
    }
    if (!ev->data.n) return RF_OK;
    json_t *root = parse(r, ev->data, err);
    if (!root) return RF_CORRUPT;
    bool is_error = ev->name.n == 5 && !memcmp(ev->name.s, "error", 5);
    rf_status st = is_error ? fail_said(r, root, err) : take_chunk(r, root, err);
    json_decref(root);
    return st;
}

/* ---- bytes ---- */

rf_status rf_remote_reader_start(struct rf_remote_reader *r, const char *type, struct rf_error *err)
{
    r->stream = !strcmp(type, "text/event-stream");
    r->whole.max = RF_REMOTE_JSON_MAX;
    if (r->stream || !strcmp(type, "application/json")) return RF_OK;
    return rf_fail(err, RF_CORRUPT, "%.150s: found an answer of type \"%.60s\", expected text/event-stream; is this an OpenAI-compatible server?", r->from,
                   type);
}

rf_status rf_remote_reader_feed(struct rf_remote_reader *r, const char *p, size_t n, struct rf_error *err)
{
    if (r->stream) return rf_sse_feed(&r->sse, p, n, take_event, r, err);
    rf_status st = rf_buf_append(&r->whole, p, n);
    return !st ? RF_OK : st == RF_NOMEM ? rf_fail_nomem(err, "answer", r->whole.len + n)
           : rf_fail(err, st, "%.150s: an answer of over %d bytes", r->from, RF_REMOTE_JSON_MAX);
}

rf_status rf_remote_reader_end(struct rf_remote_reader *r, struct rf_error *err)
{
    rf_status st = RF_OK;
    if (!r->stream) {
        json_t *root = parse(r, (struct rf_str){rf_buf_str(&r->whole), r->whole.len}, err);
        if (!root) return RF_CORRUPT;
        if (!json_is_array(json_object_get(root, "choices")) && !json_object_get(root, "error"))
            st = rf_fail(err, RF_CORRUPT, "%.150s: the answer has no \"choices\"; is this an OpenAI-compatible server?", r->from);
        if (!st) st = take_chunk(r, root, err);
        json_decref(root);
        RF_TRY(st);
    }
    if (r->answer->finish == RF_FINISH_NONE && r->done) r->answer->finish = RF_FINISH_STOP;
    if (r->answer->finish != RF_FINISH_NONE) return RF_OK;
    return rf_fail(err, RF_IO, "%.150s: the connection ended before the answer did (%zu events)", r->from, r->n_events);
}

void rf_remote_reader_release(struct rf_remote_reader *r)
{
    rf_sse_release(&r->sse);
    rf_buf_release(&r->whole);
}
