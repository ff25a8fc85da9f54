/* openai_json.c - OpenAI's answer objects, with every field that its description requires, null where nothing is. */
#include <string.h>

#include "base/utf8.h"
#include "serve/events.h"
#include "serve/json.h"

const char *rf_serve_finish_name(enum rf_finish f)
{
    return f == RF_FINISH_LENGTH ? "length" : "stop";
}

/* ---- log probabilities ------------------------------------------------------------------------------------------- */

static size_t count_chars(const char *s, size_t n)
{
    size_t chars = 0;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    return chars;
}

/* A token that is part of a character has no text of its own: it is spelled as bytes, so that two of them differ. */
static void token_name(struct rf_buf *b, const char *s, size_t n)
{
    if (rf_utf8_valid(s, n)) {
        rf_serve_json_str(b, s, n);
        return;
    }
    rf_buf_puts(b, "\"bytes:");
    for (size_t i = 0; i < n; i++) rf_buf_printf(b, "\\\\x%02x", (unsigned char)s[i]);
    rf_buf_putc(b, '"');
}

static const char *token_bytes(const struct rf_seq *q, int32_t id, size_t *n)
{
    const char *s = rf_model_token_bytes(q->call->on->model, id, n);
    return s ? s : "";
}

static void chat_token(struct rf_buf *b, const struct rf_seq *q, int32_t id, float logprob)
{
    size_t n;
    const char *s = token_bytes(q, id, &n);
    rf_buf_puts(b, "{\"token\":");
    token_name(b, s, n);
    rf_buf_puts(b, ",\"logprob\":");
    rf_serve_json_logprob(b, logprob);
    rf_buf_puts(b, ",\"bytes\":[");
    for (size_t i = 0; i < n; i++) rf_buf_printf(b, i ? ",%u" : "%u", (unsigned char)s[i]);
    rf_buf_putc(b, ']');
}

static void comma(struct rf_buf *b)
{
    if (b->len) rf_buf_putc(b, ',');
}

static void add_chat(struct rf_seq *q, const struct rf_packed_logprob *l, uint32_t k, struct rf_buf *b)
{
    comma(b);
    chat_token(b, q, l->token, l->logprob);
    rf_buf_puts(b, ",\"top_logprobs\":[");
    for (uint32_t i = 0; i < l->n_top && i < k; i++) {
        struct rf_top_logprob t = rf_serve_logprob_top(l, i);
        if (i) rf_buf_putc(b, ',');
        chat_token(b, q, t.token, t.logprob);
        rf_buf_putc(b, '}');
    }
    rf_buf_puts(b, "]}");
}

/* The chosen token is always among the top ones, so that clients can ask whether it was the best. */
static void add_completion(struct rf_seq *q, const struct rf_packed_logprob *l, uint32_t k, struct rf_buf lp[4])
{
    size_t n, m;
    const char *s = token_bytes(q, l->token, &n);
    for (int i = 0; i < 4; i++) comma(&lp[i]);
    token_name(&lp[0], s, n);
    rf_serve_json_logprob(&lp[1], l->logprob);
    rf_buf_putc(&lp[2], '{');
    bool seen = false;
    for (uint32_t i = 0; i < l->n_top && i < k; i++) {
        struct rf_top_logprob t = rf_serve_logprob_top(l, i);
        const char *u = token_bytes(q, t.token, &m);
        if (i) rf_buf_putc(&lp[2], ',');
        token_name(&lp[2], u, m);
        rf_buf_putc(&lp[2], ':');
        rf_serve_json_logprob(&lp[2], t.logprob);
        seen |= t.token == l->token;
    }
    if (!seen) {
        if (l->n_top && k) rf_buf_putc(&lp[2], ',');
        token_name(&lp[2], s, n);
        rf_buf_putc(&lp[2], ':');
        rf_serve_json_logprob(&lp[2], l->logprob);
    }
    rf_buf_putc(&lp[2], '}');
    rf_buf_printf(&lp[3], "%zu", q->offset);
    q->offset += count_chars(s, n);
}

void rf_serve_logprobs_add(struct rf_gen *g, struct rf_seq *q, const struct rf_record *r, struct rf_buf lp[4])
{
    const unsigned char *p = r->logprobs;
    struct rf_packed_logprob l;
    for (uint32_t i = 0; i < r->n_logprobs; i++) {
        rf_serve_logprob_next(&p, &l);
        if (r->kind != RF_EVENT_PROMPT) q->sum_logprob += (double)l.logprob;
        if (g->kind == RF_GEN_CHAT && g->p.logprobs_on) add_chat(q, &l, (uint32_t)RF_MAX(g->p.top_logprobs, 0), &lp[0]);
        else if (g->kind == RF_GEN_COMPLETION && g->p.logprobs >= 0) add_completion(q, &l, (uint32_t)g->p.logprobs, lp);
    }
}

void rf_serve_logprobs_first(struct rf_gen *g, struct rf_seq *q, struct rf_buf lp[4])
{
    size_t n;
    const struct rf_prompt *p = &g->prompts[q->prompt];
    const char *s = token_bytes(q, p->ids[0], &n);
    token_name(&lp[0], s, n);
    rf_buf_puts(&lp[1], "null");
    rf_buf_puts(&lp[2], "null");
    rf_buf_puts(&lp[3], "0");
    if (p->text_len >= n && !memcmp(p->text, s, n)) q->offset = count_chars(s, n); /* else it was put before the text */
}

void rf_serve_logprobs_json(const struct rf_gen *g, const struct rf_buf lp[4], struct rf_buf *out)
{
    if (g->kind == RF_GEN_CHAT && g->p.logprobs_on)
        rf_buf_printf(out, "{\"content\":[%s],\"refusal\":null}", rf_buf_str(&lp[0]));
    else if (g->kind == RF_GEN_COMPLETION && g->p.logprobs >= 0)
        rf_buf_printf(out, "{\"tokens\":[%s],\"token_logprobs\":[%s],\"top_logprobs\":[%s],\"text_offset\":[%s]}",
                      rf_buf_str(&lp[0]), rf_buf_str(&lp[1]), rf_buf_str(&lp[2]), rf_buf_str(&lp[3]));
    else
        rf_buf_puts(out, "null");
    for (int i = 0; i < 4; i++)
        if (lp[i].bad) out->bad = lp[i].bad;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static void head(struct rf_call *c, const char *object, struct rf_buf *out)
{
    rf_buf_printf(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", c->gen->id, object,
                  (long long)c->created);
    rf_serve_json_cstr(out, c->on->id);
}

void rf_serve_gen_usage(const struct rf_gen *g, struct rf_buf *out)
{
    size_t done = 0, cached = 0;
    for (size_t i = 0; i < g->n_seqs; i++) {
        done += g->seqs[i].n_tokens;
        if (i % g->n_each == 0) cached += g->seqs[i].usage.cached_tokens;
    }
    rf_buf_printf(out,
                  "{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,\"prompt_tokens_details\":"
                  "{\"cached_tokens\":%zu},\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
                  g->prompt_tokens, done, g->prompt_tokens + done, cached);
}

static void choice_json(const struct rf_gen *g, const struct rf_seq *q, size_t index, struct rf_buf *out)
{
    rf_buf_printf(out, "{\"index\":%zu,", index);
    if (g->kind == RF_GEN_CHAT) rf_buf_puts(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    else rf_buf_puts(out, "\"text\":");
    rf_serve_json_str(out, rf_buf_str(&q->text), q->text.len);
    if (g->kind == RF_GEN_CHAT) rf_buf_puts(out, ",\"refusal\":null}");
    rf_buf_puts(out, ",\"logprobs\":");
    rf_serve_logprobs_json(g, q->lp, out);
    rf_buf_printf(out, ",\"finish_reason\":\"%s\"}", rf_serve_finish_name(q->finish));
    if (q->text.bad) out->bad = q->text.bad;
}

static double rank(const struct rf_seq *q) { return q->n_tokens ? q->sum_logprob / q->n_tokens : 0; }

/* Of the n_each sequences of one prompt, moves the n best to the front; all of them where nothing was left out. */
static void order(const struct rf_gen *g, size_t prompt, const struct rf_seq **list)
{
    for (size_t i = 0; i < g->n_each; i++) list[i] = &g->seqs[prompt * g->n_each + i];
    if (g->n_each == (uint32_t)g->p.n) return;
    for (size_t i = 1; i < g->n_each; i++)
        for (size_t k = i; k && rank(list[k]) > rank(list[k - 1]); k--) {
            const struct rf_seq *t = list[k];
            list[k] = list[k - 1];
            list[k - 1] = t;
        }
}

void rf_serve_answer_json(struct rf_call *c, struct rf_buf *out)
{
    struct rf_gen *g = c->gen;
    const struct rf_seq *list[128]; /* n and best_of are at most this, see openai_params.c */
    size_t index = 0;
    head(c, g->kind == RF_GEN_CHAT ? "chat.completion" : "text_completion", out);
    rf_buf_puts(out, ",\"choices\":[");
    for (size_t p = 0; p < g->n_prompts; p++) {
        order(g, p, list);
        for (int32_t i = 0; i < g->p.n; i++, index++) {
            if (index) rf_buf_putc(out, ',');
            choice_json(g, list[i], index, out);
        }
    }
    rf_buf_puts(out, "],\"usage\":");
    rf_serve_gen_usage(g, out);
    rf_buf_puts(out, ",\"system_fingerprint\":null,\"service_tier\":null}");
}

/* ---- stream chunks ----------------------------------------------------------------------------------------------- */

static const char *chunk_object(const struct rf_gen *g)
{
    return g->kind == RF_GEN_CHAT ? "chat.completion.chunk" : "text_completion";
}

static void chunk_tail(struct rf_gen *g, struct rf_buf *out)
{
    rf_buf_puts(out, ",\"system_fingerprint\":null");
    if (g->p.continuous_usage) {
        rf_buf_puts(out, ",\"usage\":");
        rf_serve_gen_usage(g, out);
    } else if (g->p.include_usage) {
        rf_buf_puts(out, ",\"usage\":null");
    }
    rf_buf_puts(out, "}\n\n");
}

void rf_serve_chunk_json(struct rf_call *c, struct rf_seq *q, bool first, const char *text, size_t len,
                         enum rf_finish finish, struct rf_buf *out)
{
    struct rf_gen *g = c->gen;
    rf_buf_puts(out, "data: ");
    head(c, chunk_object(g), out);
    rf_buf_printf(out, ",\"choices\":[{\"index\":%u,", q->index);
    if (g->kind == RF_GEN_CHAT) {
        rf_buf_puts(out, "\"delta\":{");
        if (first) rf_buf_puts(out, "\"role\":\"assistant\",");
        if (text) {
            rf_buf_puts(out, "\"content\":");
            rf_serve_json_str(out, text, len);
        }
        rf_buf_putc(out, '}');
    } else {
        rf_buf_puts(out, "\"text\":");
        rf_serve_json_str(out, text ? text : "", len);
    }
    rf_buf_puts(out, ",\"logprobs\":");
    if (g->kind == RF_GEN_CHAT ? q->lp[0].len : q->lp[1].len) rf_serve_logprobs_json(g, q->lp, out);
    else rf_buf_puts(out, "null");
    if (finish) rf_buf_printf(out, ",\"finish_reason\":\"%s\"}]", rf_serve_finish_name(finish));
    else rf_buf_puts(out, ",\"finish_reason\":null}]");
    chunk_tail(g, out);
}

void rf_serve_usage_chunk_json(struct rf_call *c, struct rf_buf *out)
{
    rf_buf_puts(out, "data: ");
    head(c, chunk_object(c->gen), out);
    rf_buf_puts(out, ",\"choices\":[],\"system_fingerprint\":null,\"usage\":");
    rf_serve_gen_usage(c->gen, out);
    rf_buf_puts(out, "}\n\n");
}
