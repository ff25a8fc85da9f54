#include "remote/remote.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/mem.h"
#include "remote/answer.h"
#include "remote/http.h"

enum { URL_MAX = 1024, KEY_MAX = 1024, ERROR_MAX = 64 << 10, LIST_TIMEOUT_S = 30 };

struct rf_remote {
    struct rf_http *http;
    char url[URL_MAX], key[KEY_MAX];
    enum rf_remote_kind kind;
};

static const struct { enum rf_remote_kind kind; const char *owner, *name; } kinds[] = {
    {RF_REMOTE_OURS, "rocmforge", "rocmforge"}, {RF_REMOTE_VLLM, "vllm", "vLLM"}, {RF_REMOTE_LLAMA_CPP, "llamacpp", "llama-server"},
    {RF_REMOTE_OLLAMA, "library", "Ollama"},
};

/* ---- open ---- */

static bool is_plain(const char *s) /* printable ASCII without blanks */
{
    for (; *s; s++)
        if (*s <= ' ' || *s > '~') return false;
    return true;
}

static rf_status take_url(struct rf_remote *r, const char *url, struct rf_error *err)
{
    const char *colon = strstr(url, "://"), *rest = colon ? colon + 3 : url;
    size_t scheme = colon ? (size_t)(colon - url) : 0, host = strcspn(rest, "/?#"), n = strlen(rest);
    bool known = !colon || (scheme == 4 && !strncasecmp(url, "http", 4)) || (scheme == 5 && !strncasecmp(url, "https", 5));
    if (!is_plain(url) || !known || !host || strpbrk(rest, "?#") || strlen(url) > URL_MAX / 2)
        return rf_fail_param(err, RF_INVALID, "server", "--server is \"%.100s\", expected http://HOST:PORT or https://HOST/PATH", url);
    if (memchr(rest, '@', host))
        return rf_fail_param(err, RF_INVALID, "server", "--server holds a name or password before '@'; give a key by --api-key or ROCMFORGE_API_KEY");
    while (n > host && rest[n - 1] == '/') n--;
    snprintf(r->url, sizeof r->url, "%s%.*s%s", scheme == 5 ? "https://" : "http://", (int)n, rest, n == host ? "/v1" : "");
    return RF_OK;
}

rf_status rf_remote_open(struct rf_remote **out, const char *url, const char *key, struct rf_error *err)
{
    struct rf_remote *r = rf_alloc_array(1, sizeof *r);
    *out = NULL;
    if (!r) return rf_fail_nomem(err, "server", sizeof *r);
    r->kind = RF_REMOTE_OTHER;
    rf_status st = take_url(r, url, err);
    if (!st && key && (!is_plain(key) || strlen(key) >= sizeof r->key))
        st = rf_fail_param(err, RF_INVALID, "api-key", "--api-key holds a blank or control character, or over %d bytes", KEY_MAX - 1);
    if (!st) st = rf_http_open(&r->http, err);
    if (st) {
        rf_remote_close(r);
        return st;
    }
    snprintf(r->key, sizeof r->key, "%s", key ? key : "");
    *out = r;
    return RF_OK;
}

void rf_remote_close(struct rf_remote *r)
{
    if (!r) return;
    rf_http_close(r->http);
    explicit_bzero(r->key, sizeof r->key);
    rf_free(r);
}

const char *rf_remote_url(const struct rf_remote *r) { return r->url; }
enum rf_remote_kind rf_remote_kind(const struct rf_remote *r) { return r->kind; }

const char *rf_remote_kind_name(enum rf_remote_kind kind)
{
    for (size_t i = 0; i < RF_COUNT(kinds); i++)
        if (kinds[i].kind == kind) return kinds[i].name;
    return "this server";
}

/* ---- one exchange ---- */

struct exchange {
    char url[URL_MAX + 40];
    struct rf_buf body;               /* what is no answer: a list, an error */
    struct rf_remote_reader *reader;  /* NULL: a list is asked for */
    const struct rf_remote_sink *sink;
    bool started;
};

static rf_status on_data(void *ctx, const struct rf_http_reply *reply, const char *p, size_t n, struct rf_error *err)
{
    struct exchange *x = ctx;
    if (x->reader && reply->status == 200) {
        if (!x->started) RF_TRY(rf_remote_reader_start(x->reader, reply->type, err));
        x->started = true;
        return rf_remote_reader_feed(x->reader, p, n, err);
    }
    if (reply->status != 200) n = RF_MIN(n, ERROR_MAX - RF_MIN(x->body.len, (size_t)ERROR_MAX)); /* what is longer is no message */
    x->body.max = RF_REMOTE_JSON_MAX;
    rf_status st = rf_buf_append(&x->body, p, n);
    return !st ? RF_OK : st == RF_NOMEM ? rf_fail_nomem(err, "answer", n) : rf_fail(err, st, "%.200s: an answer of over %d bytes", x->url, RF_REMOTE_JSON_MAX);
}

static bool on_stop(void *ctx)
{
    struct exchange *x = ctx;
    return x->sink->stopped && x->sink->stopped(x->sink->ctx);
}

static const struct { long status; rf_status is; const char *remedy; } remedies[] = {
    {400, RF_INVALID, ""},
    {401, RF_INVALID, "; give its key by --api-key or ROCMFORGE_API_KEY"},
    {403, RF_INVALID, "; is the key right (--api-key, ROCMFORGE_API_KEY), and may it do this?"},
    {404, RF_NOT_FOUND, "; is --server the address of an OpenAI-compatible API (most end in /v1), and the model's name right?"},
    {405, RF_NOT_FOUND, "; is --server the address of an OpenAI-compatible API (most end in /v1)?"},
    {413, RF_TOO_LARGE, "; the conversation is too large for it"},
    {429, RF_FULL, "; it is busy or its quota is used up: try again later"},
    {503, RF_FULL, "; it is busy or still loading: try again later"},
};

/* What a status other than 200 means, with what the body says. */
static rf_status fail_status(const struct exchange *x, const struct rf_http_reply *reply, struct rf_error *err)
{
    const char *text = rf_buf_str(&x->body), *remedy = "";
    char wait[40] = "";
    rf_status is = RF_IO;
    json_t *root = json_loadb(text, x->body.len, 0, NULL);
    if (root) text = rf_remote_said(root) ? rf_remote_said(root) : "";
    else if (*text == '<') text = ""; /* a page for a browser */
    size_t n = strlen(text);
    int len = (int)RF_MIN(n - (n && text[n - 1] == '.'), (size_t)160); /* we go on behind it */
    for (size_t i = 0; i < RF_COUNT(remedies); i++)
        if (remedies[i].status == reply->status) is = remedies[i].is, remedy = remedies[i].remedy;
    if (reply->retry_after_s > 0) snprintf(wait, sizeof wait, " (in %ld s, it says)", reply->retry_after_s);
    if (reply->status >= 300 && reply->status < 400)
        rf_fail(err, is, "%.150s: status %ld: it sends elsewhere%s%.200s, where a key must not follow by itself; if you trust it, give that address to --server",
                x->url, reply->status, *reply->location ? ", to " : "", reply->location);
    else if (root && rf_remote_is_too_long(root)) is = rf_fail(err, RF_TOO_LONG, "%.250s", text);
    else rf_fail(err, is, "%.150s: status %ld%s%.*s%s%s", x->url, reply->status, *text ? ": " : "", len, text, remedy, wait);
    json_decref(root);
    return is;
}

static rf_status exchange(struct rf_remote *r, struct exchange *x, const char *path, const json_t *body, const bool *enough, struct rf_error *err)
{
    struct rf_http_reply reply;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    if (body && !text) return rf_fail_nomem(err, "request", 0);
    snprintf(x->url, sizeof x->url, "%s%s", r->url, path);
    struct rf_http_request q = {.url = x->url, .key = *r->key ? r->key : NULL, .body = text, .body_len = text ? strlen(text) : 0, .data = on_data,
                                .stopped = x->sink ? on_stop : NULL, .enough = enough, .ctx = x, .timeout_s = body ? 0 : LIST_TIMEOUT_S};
    rf_status st = rf_http_send(r->http, &q, &reply, err);
    free(text);
    return st || reply.status == 200 ? st : fail_status(x, &reply, err);
}

/* ---- the list ---- */

static enum rf_remote_kind kind_of(const json_t *model)
{
    const char *owner = json_string_value(json_object_get(model, "owned_by"));
    for (size_t i = 0; owner && i < RF_COUNT(kinds); i++)
        if (!strcmp(owner, kinds[i].owner)) return kinds[i].kind;
    return RF_REMOTE_OTHER;
}

rf_status rf_remote_models(struct rf_remote *r, json_t **out, struct rf_error *err)
{
    struct exchange x = {0};
    *out = NULL;
    rf_status st = exchange(r, &x, "/models", NULL, NULL, err);
    json_t *root = st ? NULL : json_loadb(rf_buf_str(&x.body), x.body.len, 0, NULL), *list = json_object_get(root, "data");
    if (json_is_null(list)) { /* Ollama's way to say none */
        json_object_set_new(root, "data", json_array());
        list = json_object_get(root, "data");
    }
    if (!st && !json_is_array(list))
        st = rf_fail(err, RF_CORRUPT, "%.200s/models: found no list of models, expected {\"data\": [...]}; is this an OpenAI-compatible server?", r->url);
    for (size_t i = json_array_size(list); !st && i-- > 0;)
        if (!json_string_length(json_object_get(json_array_get(list, i), "id"))) json_array_remove(list, i);
    if (!st) {
        r->kind = kind_of(json_array_get(list, 0));
        *out = json_incref(list);
    }
    json_decref(root);
    rf_buf_release(&x.body);
    return st;
}

/* ---- an answer ---- */

rf_status rf_remote_ask(struct rf_remote *r, const char *path, json_t *body, const struct rf_remote_sink *sink, struct rf_remote_answer *answer,
                        struct rf_error *err)
{
    struct rf_remote_reader reader = {.from = r->url, .sink = sink, .answer = answer, .asked = rf_now()};
    struct exchange x = {.reader = &reader, .sink = sink};
    *answer = (struct rf_remote_answer){0};
    json_object_set_new(body, "stream", json_true());
    json_object_set_new(body, "stream_options", json_pack("{s:b}", "include_usage", 1));
    rf_status st = exchange(r, &x, path, body, &reader.done, err);
    if (!st && !x.started) st = rf_fail(err, RF_IO, "%.200s: an empty answer; is this an OpenAI-compatible server?", x.url);
    if (!st) st = rf_remote_reader_end(&reader, err);
    if (st == RF_CANCELLED) answer->finish = RF_FINISH_ABORT;
    rf_remote_reader_release(&reader);
    rf_buf_release(&x.body);
    return st;
}
