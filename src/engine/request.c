#include "engine/request.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "sample/sample.h"

enum { MAX_STOP_TOKENS = 4096, MAX_BIAS = 1 << 16, TEXT_RESERVE = 512 };

/* ---- checks ---- */

static rf_status check_stops(const struct rf_sampling *p, uint32_t n_vocab, struct rf_error *err)
{
    if (p->n_stop > RF_REQ_STOPS || (p->n_stop && !p->stop))
        return rf_fail_param(err, RF_INVALID, "stop", "stop: found %zu strings, expected at most %d", p->n_stop,
                             RF_REQ_STOPS);
    for (size_t i = 0; i < p->n_stop; i++) {
        size_t n = p->stop[i] ? strnlen(p->stop[i], RF_REQ_STOP_BYTES + 1) : 0;
        if (!n || n > RF_REQ_STOP_BYTES || !rf_utf8_valid(p->stop[i], n))
            return rf_fail_param(err, RF_INVALID, "stop", "stop string %zu: expected 1 to %d bytes of UTF-8", i,
                                 RF_REQ_STOP_BYTES);
    }
    if (p->n_stop_tokens > MAX_STOP_TOKENS || (p->n_stop_tokens && !p->stop_tokens))
        return rf_fail_param(err, RF_INVALID, "stop_tokens", "stop_tokens: found %zu, expected at most %d",
                             p->n_stop_tokens, MAX_STOP_TOKENS);
    for (size_t i = 0; i < p->n_stop_tokens; i++)
        if (p->stop_tokens[i] < 0 || (uint32_t)p->stop_tokens[i] >= n_vocab)
            return rf_fail_param(err, RF_INVALID, "stop_tokens", "stop_tokens: found %d, expected 0 to %u",
                                 p->stop_tokens[i], n_vocab - 1);
    return RF_OK;
}

static rf_status check(const struct rf_request *in, const struct rf_req_limits *l, struct rf_error *err)
{
    const struct rf_sampling *p = &in->sampling;
    if (p->n_logit_bias > MAX_BIAS || (p->n_logit_bias && !p->logit_bias))
        return rf_fail_param(err, RF_INVALID, "logit_bias", "logit_bias: found %zu, expected at most %d",
                             p->n_logit_bias, MAX_BIAS);
    RF_TRY(rf_sampling_check(p, l->n_vocab, err));
    RF_TRY(check_stops(p, l->n_vocab, err));
    if (!(in->deadline_s >= 0) || isinf(in->deadline_s))
        return rf_fail_param(err, RF_INVALID, "deadline_s", "deadline_s: found %g, expected 0 or more seconds",
                             in->deadline_s);
    if (p->max_tokens >= 0 && p->min_tokens > p->max_tokens)
        return rf_fail_param(err, RF_INVALID, "min_tokens", "min_tokens: found %d, expected at most max_tokens, %d",
                             p->min_tokens, p->max_tokens);
    if (in->tokens ? !in->n_tokens : !in->text || !in->text_len)
        return rf_fail_param(err, RF_INVALID, "prompt", "prompt: found nothing, expected at least one token");
    if (!in->tokens && in->text_len / l->max_piece > l->max_model_len) /* cheap, before it is tokenised */
        return rf_fail_param(err, RF_TOO_LONG, "prompt", "prompt: found %zu bytes, which cannot fit into %u tokens",
                             in->text_len, l->max_model_len);
    for (size_t i = 0; in->tokens && i < in->n_tokens; i++)
        if (in->tokens[i] < 0 || (uint32_t)in->tokens[i] >= l->n_vocab)
            return rf_fail_param(err, RF_INVALID, "prompt", "prompt token %zu: found id %d, expected 0 to %u", i,
                                 in->tokens[i], l->n_vocab - 1);
    return RF_OK;
}

static rf_status check_length(size_t n_prompt, int32_t max_tokens, uint32_t max_model_len, uint32_t *max_new,
                              struct rf_error *err)
{
    if (n_prompt > max_model_len || (max_tokens && n_prompt == max_model_len))
        return rf_fail_param(err, RF_TOO_LONG, "prompt", "prompt: found %zu tokens, expected at most %u", n_prompt,
                             max_tokens ? max_model_len - 1 : max_model_len);
    uint32_t room = max_model_len - (uint32_t)n_prompt;
    if (max_tokens > 0 && (uint32_t)max_tokens > room)
        return rf_fail_param(err, RF_TOO_LONG, "max_tokens",
                             "prompt of %zu tokens and max_tokens %d: expected together at most %u", n_prompt,
                             max_tokens, max_model_len);
    *max_new = max_tokens < 0 ? room : (uint32_t)max_tokens;
    return RF_OK;
}

/* ---- copies ---- */

static bool copy_array(const void **to, const void *from, size_t n, size_t size)
{
    *to = NULL;
    if (!n) return true;
    void *p = rf_alloc_array(n, size);
    if (p) memcpy(p, from, n * size);
    return (*to = p) != NULL;
}

static bool copy_stop(struct rf_stop *d, const char *s)
{
    size_t n = strlen(s);
    d->n = (uint32_t)n;
    d->s = rf_strndup(s, n);
    d->fail = rf_alloc_array(n + 1, sizeof *d->fail);
    if (!d->s || !d->fail) return false;
    for (uint32_t i = 1, k = 0; i < n; i++) { /* fail[i + 1]: longest proper prefix that ends s[0..i] */
        while (k && s[i] != s[k]) k = d->fail[k];
        k += s[i] == s[k];
        d->fail[i + 1] = k;
    }
    return true;
}

static bool copy_params(struct rf_req *r, const struct rf_sampling *p, const struct rf_req_limits *l)
{
    const void *bias, *stop_tokens;
    bool ok = copy_array(&bias, p->logit_bias, p->n_logit_bias, sizeof *p->logit_bias);
    r->params.logit_bias = bias;
    ok = copy_array(&stop_tokens, p->stop_tokens, p->n_stop_tokens, sizeof *p->stop_tokens) && ok;
    r->params.stop_tokens = stop_tokens;
    if (p->n_stop && !(r->stop = rf_alloc_array(p->n_stop, sizeof *r->stop))) return false;
    for (size_t i = 0; ok && i < p->n_stop; i++) ok = copy_stop(&r->stop[i], p->stop[i]);
    if (ok && p->min_tokens > 0) {
        r->n_ends = l->n_eog + p->n_stop_tokens;
        if (!(r->ends = rf_alloc_array(r->n_ends, sizeof *r->ends))) return false;
        if (l->n_eog) memcpy(r->ends, l->eog, l->n_eog * sizeof *r->ends);
        if (p->n_stop_tokens) memcpy(r->ends + l->n_eog, p->stop_tokens, p->n_stop_tokens * sizeof *r->ends);
    }
    return ok;
}

static bool make_logprobs(struct rf_req *r)
{
    const struct rf_sampling *p = &r->params;
    size_t n;
    if (p->logprobs > 0 && !(r->top = rf_alloc_array((size_t)p->logprobs, sizeof *r->top))) return false;
    if (p->prompt_logprobs < 0) return true;
    r->prompt_lp = rf_alloc_array(r->n_prompt, sizeof *r->prompt_lp);
    if (!r->prompt_lp || !rf_mul(r->n_prompt, (size_t)p->prompt_logprobs, &n)) return false;
    return !n || (r->prompt_top = rf_alloc_array(n, sizeof *r->prompt_top)) != NULL;
}

static rf_status tokenize(struct rf_ids *ids, const struct rf_request *in, const struct rf_model *m,
                          struct rf_error *err)
{
    if (in->tokens) return RF_OK;
    return rf_tokenizer_encode(m->tokenizer, in->text, in->text_len, RF_TOK_ADD_SPECIAL | RF_TOK_PARSE_SPECIAL, NULL, 0,
                               ids, err);
}

static rf_status fill(struct rf_req *r, const struct rf_request *in, const struct rf_model *m,
                      const struct rf_req_limits *l, const struct rf_ids *ids, struct rf_error *err)
{
    const int32_t *prompt = in->tokens ? in->tokens : ids->id;
    size_t n = in->tokens ? in->n_tokens : ids->n, bytes;
    if (!n)
        return rf_fail_param(err, RF_INVALID, "prompt", "prompt: found no token in the text, expected at least one");
    RF_TRY(check_length(n, in->sampling.max_tokens, l->max_model_len, &r->max_new, err));
    r->n_prompt = (uint32_t)n;
    r->token = rf_mul(n + r->max_new, sizeof *r->token, &bytes) ? rf_alloc(bytes) : NULL;
    if (!r->token || !copy_params(r, &in->sampling, l) || !make_logprobs(r) || rf_buf_reserve(&r->text, TEXT_RESERVE))
        return rf_fail_nomem(err, "request", (n + r->max_new) * sizeof *r->token);
    memcpy(r->token, prompt, n * sizeof *r->token);
    rf_detok_init(&r->detok, m->tokenizer, true);
    r->detok.at_start = false; /* the text goes on behind the prompt */
    r->seq = (struct rf_sched_seq){.token = r->token,
                                   .n_token = r->n_prompt,
                                   .priority = in->priority,
                                   .salt = in->cache_salt,
                                   .want_from = in->sampling.prompt_logprobs >= 0 ? 0 : r->n_prompt - 1};
    return RF_OK;
}

rf_status rf_req_create(struct rf_req **out, const struct rf_request *in, const struct rf_model *m,
                        const struct rf_req_limits *l, struct rf_error *err)
{
    struct rf_ids ids = {0};
    *out = NULL;
    RF_TRY(check(in, l, err));
    struct rf_req *r = rf_alloc_array(1, sizeof *r);
    if (!r) return rf_fail_nomem(err, "request", sizeof *r);
    r->params = in->sampling;
    r->params.logit_bias = NULL; /* only copies, so that free is right at any point */
    r->params.stop_tokens = NULL;
    r->params.stop = NULL;
    r->on_event = in->on_event;
    r->ctx = in->ctx;
    r->seed = in->sampling.seed;
    r->sampled = r->untold = r->place[0] = r->place[1] = -1;
    rf_status st = tokenize(&ids, in, m, err);
    if (!st) st = fill(r, in, m, l, &ids, err);
    rf_ids_release(&ids);
    if (st) rf_req_free(r);
    else *out = r;
    return st;
}

void rf_req_free(struct rf_req *r)
{
    if (!r) return;
    for (size_t i = 0; r->stop && i < r->params.n_stop; i++) {
        rf_free(r->stop[i].s);
        rf_free(r->stop[i].fail);
    }
    void *part[] = {r->stop, (void *)r->params.logit_bias, (void *)r->params.stop_tokens, r->ends, r->token, r->top,
                    r->prompt_lp, r->prompt_top};
    for (size_t i = 0; i < RF_COUNT(part); i++) rf_free(part[i]);
    rf_buf_release(&r->text);
    rf_free(r);
}

/* ---- text ---- */

/* Reads one byte of text. Returns the length of the longest stop string that it completes, 0 if none. */
static uint32_t stops_read(struct rf_req *r, char c)
{
    uint32_t longest = 0;
    for (size_t i = 0; i < r->params.n_stop; i++) {
        struct rf_stop *s = &r->stop[i];
        while (s->matched && s->s[s->matched] != c) s->matched = s->fail[s->matched];
        s->matched += s->s[s->matched] == c;
        if (s->matched == s->n) longest = RF_MAX(longest, s->n);
    }
    return longest;
}

rf_status rf_req_text_push(struct rf_req *r, int32_t token, size_t *ready, bool *stopped)
{
    size_t from = r->text.len, held = 0;
    *stopped = false;
    *ready = 0;
    RF_TRY(rf_detok_push(&r->detok, token, &r->text));
    *ready = r->text.len;
    if (!r->params.n_stop || (int64_t)rf_req_n_new(r) <= r->params.min_tokens - 1) return RF_OK;
    for (size_t i = from; i < r->text.len; i++) {
        uint32_t n = stops_read(r, r->text.data[i]);
        if (!n) continue;
        *stopped = true;
        *ready = r->params.include_stop ? i + 1 : i + 1 - n;
        return RF_OK;
    }
    for (size_t i = 0; i < r->params.n_stop; i++) held = RF_MAX(held, r->stop[i].matched);
    *ready -= held;
    return RF_OK;
}

void rf_req_text_sent(struct rf_req *r, size_t n)
{
    if (!n) return;
    memmove(r->text.data, r->text.data + n, r->text.len - n);
    r->text.len -= n;
    r->text.data[r->text.len] = 0;
}
