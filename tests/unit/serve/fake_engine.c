/* fake_engine.c - the functions of rocmforge.h that the server calls, without a model: deterministic, and steered by
 * words in the prompt. Tokens are bytes (0..255), then a few control tokens. The answer is "echo: " and the prompt's
 * last user text (or the whole prompt), without the steering words:
 *
 *   @delay=MS    time per token            @prefill=MS  time to the first token     @len=N    N tokens of "word "
 *   @error=NAME  ends with that error      @after=N     ... after N tokens          @chunk=N  bytes per token event
 *   @unicode     multi-byte text           @sampling    says how it was sampled     @submit=NAME  refuses at submit
 *   @salt        says the cache salt
 *
 * Callbacks run with the engine's lock held, which is the hardest case for a caller.
 */
#include "fake_engine.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { BOS = 256, EOS, IM_START, IM_END, N_VOCAB };
static const char *const control[] = {"<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"};
static const char bytes[256] = {
#define B(n) (char)(n)
#define B16(n)                                                                                                         \
    B(n), B(n + 1), B(n + 2), B(n + 3), B(n + 4), B(n + 5), B(n + 6), B(n + 7), B(n + 8), B(n + 9), B(n + 10),         \
        B(n + 11), B(n + 12), B(n + 13), B(n + 14), B(n + 15)
    B16(0),   B16(16),  B16(32),  B16(48),  B16(64),  B16(80),  B16(96),  B16(112),
    B16(128), B16(144), B16(160), B16(176), B16(192), B16(208), B16(224), B16(240)};

struct rf_model { int unused; };

struct seq {
    struct seq *next;
    uint64_t id, salt;
    struct rf_sampling s;
    rf_event_fn fn;
    void *ctx;
    double t_submit, t_next, deadline, delay;
    int32_t *prompt;
    size_t n_prompt;
    char *out, *stop_text;          /* what it will say; where a stop string begins in it */
    size_t out_len, stop_at, stop_len, at, sent, chunk;
    long error_after;
    rf_status error;
    bool running, prefilled, aborted;
    int32_t n_done;
};

struct rf_engine {
    pthread_mutex_t lock;
    pthread_cond_t more;
    pthread_t thread;
    struct seq *head, **tail;
    bool stop;
    uint64_t next_id;
    uint32_t max_running, max_len, max_queue;
    struct rf_stats st;
};

/* ---- model ------------------------------------------------------------------------------------------------------- */

struct rf_model *fake_model_create(void) { return rf_alloc_array(1, sizeof(struct rf_model)); }
void fake_model_free(struct rf_model *m) { rf_free(m); }

rf_status rf_model_check(struct rf_model *m, struct rf_error *err) { return (void)m, (void)err, RF_OK; }

void rf_model_info_get(const struct rf_model *m, struct rf_model_info *out)
{
    (void)m;
    *out = (struct rf_model_info){.path = "/nowhere/fake.gguf",
                                  .name = "fake",
                                  .architecture = "fake",
                                  .quantization = "F32",
                                  .device = "cpu",
                                  .n_vocab = N_VOCAB,
                                  .n_ctx_train = 4096,
                                  .n_embd = 64,
                                  .n_params = 1000,
                                  .bos = BOS,
                                  .eos = EOS,
                                  .has_template = true,
                                  .has_weights = true};
}

const char *rf_model_token_bytes(const struct rf_model *m, int32_t id, size_t *len)
{
    (void)m;
    *len = 0;
    if (id < 0 || id >= N_VOCAB) return NULL;
    if (id < 256) {
        *len = 1;
        return bytes + id;
    }
    *len = strlen(control[id - 256]);
    return control[id - 256];
}

static void tokenize(struct rf_buf *b, const char *s, size_t n, bool special)
{
    for (size_t i = 0; i < n;) {
        int32_t id = (unsigned char)s[i];
        size_t k = 1;
        for (int c = 0; special && c < N_VOCAB - 256; c++) {
            size_t len = strlen(control[c]);
            if (n - i < len || memcmp(s + i, control[c], len)) continue;
            id = 256 + c;
            k = len;
        }
        rf_buf_append(b, &id, sizeof id);
        i += k;
    }
}

static rf_status take_ids(struct rf_buf *b, int32_t **ids, size_t *n, struct rf_error *err)
{
    size_t len = 0;
    *ids = (int32_t *)(void *)rf_buf_take(b, &len);
    *n = len / sizeof **ids;
    if (*ids) return RF_OK;
    rf_buf_release(b);
    return rf_fail_nomem(err, "tokens", len);
}

rf_status rf_model_tokenize(const struct rf_model *m, const char *text, size_t len, uint32_t flags, int32_t **ids,
                            size_t *n, struct rf_error *err)
{
    struct rf_buf b = {0};
    int32_t bos = BOS;
    (void)m;
    if (flags & RF_TOK_ADD_SPECIAL) rf_buf_append(&b, &bos, sizeof bos);
    tokenize(&b, text, len, flags & RF_TOK_PARSE_SPECIAL);
    return take_ids(&b, ids, n, err);
}

rf_status rf_model_detokenize(const struct rf_model *m, const int32_t *ids, size_t n, bool skip_special, char **out,
                              size_t *len, struct rf_error *err)
{
    struct rf_buf b = {0};
    for (size_t i = 0; i < n; i++) {
        size_t k;
        const char *s = rf_model_token_bytes(m, ids[i], &k);
        if (s && !(skip_special && ids[i] >= 256)) rf_buf_append(&b, s, k);
    }
    *out = rf_buf_take(&b, len);
    if (*out) return RF_OK;
    rf_buf_release(&b);
    return rf_fail_nomem(err, "text", n);
}

rf_status rf_model_chat(const struct rf_model *m, const char *json, size_t json_len, char **text, size_t *text_len,
                        int32_t **ids, size_t *n_ids, struct rf_error *err)
{
    struct rf_buf b = {0};
    json_t *root = json_loadb(json, json_len, JSON_ALLOW_NUL, NULL), *msgs = json_object_get(root, "messages"), *msg;
    size_t i;
    char head[64];
    (void)m;
    json_array_foreach(msgs, i, msg) {
        json_t *c = json_object_get(msg, "content");
        const char *s = json_is_string(c) ? json_string_value(c) : "";
        if (strstr(s, "@template_error")) {
            json_decref(root);
            rf_buf_release(&b);
            return rf_fail(err, RF_INVALID, "chat template line 3: raise_exception: roles must alternate");
        }
        int n = snprintf(head, sizeof head, "<|im_start|>%s\n", json_string_value(json_object_get(msg, "role")));
        tokenize(&b, head, (size_t)n, true);
        tokenize(&b, s, json_is_string(c) ? json_string_length(c) : 0, false);
        tokenize(&b, "<|im_end|>\n", 11, true);
    }
    if (json_object_get(root, "tools")) tokenize(&b, "[tools]", 7, false);
    if (json_is_false(json_object_get(root, "enable_thinking"))) tokenize(&b, "[no_think]", 10, false);
    if (json_is_true(json_object_get(root, "add_generation_prompt"))) tokenize(&b, "<|im_start|>assistant\n", 22, true);
    json_decref(root);
    if (text) *text = NULL;
    if (text_len) *text_len = 0;
    return take_ids(&b, ids, n_ids, err);
}

void rf_sampling_default(struct rf_sampling *s)
{
    *s = (struct rf_sampling){.temperature = 1,
                              .top_p = 1,
                              .typical_p = 1,
                              .repetition_penalty = 1,
                              .max_tokens = -1,
                              .logprobs = -1,
                              .prompt_logprobs = -1};
}

void rf_model_sampling_default(const struct rf_model *m, struct rf_sampling *s)
{
    (void)m;
    rf_sampling_default(s);
    s->temperature = 0.7f;
    s->top_k = 20;
}

/* ---- what a sequence will say ------------------------------------------------------------------------------------ */

static double word(const char *text, const char *key, double none)
{
    const char *p = strstr(text, key);
    return p ? strtod(p + strlen(key), NULL) : none;
}

static const struct { const char *name; rf_status s; } names[] = {
    {"numeric", RF_NUMERIC},   {"device", RF_DEVICE},     {"internal", RF_INTERNAL}, {"full", RF_FULL},
    {"too_long", RF_TOO_LONG}, {"shutdown", RF_SHUTDOWN}, {"deadline", RF_DEADLINE}, {"nomem", RF_NOMEM},
};

static rf_status named(const char *text, const char *key)
{
    const char *p = strstr(text, key);
    for (size_t i = 0; p && i < RF_COUNT(names); i++)
        if (!strncmp(p + strlen(key), names[i].name, strlen(names[i].name))) return names[i].s;
    return RF_OK;
}

static const char *user_text(const char *all, size_t *len)
{
    const char *from = all, *p;
    for (p = strstr(all, "<|im_start|>user\n"); p; p = strstr(from, "<|im_start|>user\n")) from = p + 17;
    const char *end = strstr(from, "<|im_end|>");
    if (!strncmp(from, "<|bos|>", 7)) from += 7;
    *len = end && end > from ? (size_t)(end - from) : strlen(from);
    return from;
}

static void say(struct rf_buf *b, const char *all, const struct seq *q)
{
    size_t n;
    const char *s = user_text(all, &n);
    long len = (long)word(all, "@len=", 0);
    rf_buf_reserve(b, (size_t)len + 64);
    if (b->bad) return;
    if (strstr(all, "@unicode"))
        rf_buf_puts(b, "h\xc3\xa9llo \xf0\x9f\x91\x8b\xf0\x9f\x8f\xbd \xe6\x97\xa5\xe6\x9c\xac ");
    if (strstr(all, "@salt")) rf_buf_printf(b, "salt=%016llx", (unsigned long long)q->salt);
    if (strstr(all, "@sampling"))
        rf_buf_printf(
            b,
            "t=%.3f p=%.3f k=%d min_p=%.3f typ=%.3f rep=%.3f pres=%.3f freq=%.3f max=%d min=%d eos=%d stop=%zu ids=%zu "
            "bias=%zu lp=%d plp=%d ",
            (double)q->s.temperature, (double)q->s.top_p, q->s.top_k, (double)q->s.min_p, (double)q->s.typical_p,
            (double)q->s.repetition_penalty, (double)q->s.presence_penalty, (double)q->s.frequency_penalty,
            q->s.max_tokens, q->s.min_tokens, q->s.ignore_eos, q->s.n_stop, q->s.n_stop_tokens, q->s.n_logit_bias,
            q->s.logprobs, q->s.prompt_logprobs);
    if (len > 0) {
        while (b->len < (size_t)len && !b->bad) rf_buf_puts(b, "word ");
        if (b->len > (size_t)len) b->data[b->len = (size_t)len] = 0;
        return;
    }
    rf_buf_puts(b, "echo: ");
    for (size_t i = 0; i < n;) {
        size_t w = strcspn(s + i, " ");
        w = RF_MIN(w, n - i);
        if (s[i] != '@') {
            rf_buf_append(b, s + i, w);
            if (i + w < n) rf_buf_putc(b, ' ');
        }
        i += w + 1;
    }
    if (q->s.has_seed) rf_buf_printf(b, " seed=%llu", (unsigned long long)q->s.seed);
    if (strstr(all, "[no_think]")) rf_buf_puts(b, " [no_think]");
    if (strstr(all, "[tools]")) rf_buf_puts(b, " [tools]");
}

static void find_stop(struct seq *q, const struct rf_sampling *s)
{
    q->stop_at = SIZE_MAX;
    for (size_t i = 0; i < s->n_stop; i++) {
        const char *p = strstr(q->out, s->stop[i]);
        if (!p || (size_t)(p - q->out) >= q->stop_at) continue;
        q->stop_at = (size_t)(p - q->out);
        q->stop_len = strlen(s->stop[i]);
    }
}

static void seq_free(struct seq *q)
{
    if (!q) return;
    rf_free(q->out);
    rf_free(q->prompt);
    rf_free(q);
}

static struct seq *seq_create(struct rf_engine *e, const struct rf_request *r) /* NULL: no memory */
{
    struct seq *q = rf_alloc_array(1, sizeof *q);
    struct rf_buf b = {0};
    char *all = NULL;
    size_t n;
    if (!q || rf_model_detokenize(NULL, r->tokens, r->n_tokens, false, &all, &n, NULL)) {
        seq_free(q);
        return NULL;
    }
    q->s = r->sampling;
    q->salt = r->cache_salt;
    say(&b, all, q);
    q->out = rf_buf_take(&b, &q->out_len);
    q->prompt = rf_alloc_array(r->n_tokens, sizeof *q->prompt);
    if (!q->out || !q->prompt) {
        rf_buf_release(&b);
        rf_free(all);
        seq_free(q);
        return NULL;
    }
    find_stop(q, &r->sampling);
    q->id = ++e->next_id;
    q->fn = r->on_event;
    q->ctx = r->ctx;
    q->delay = word(all, "@delay=", 0) / 1e3;
    q->chunk = (size_t)word(all, "@chunk=", 1);
    q->error = named(all, "@error=");
    q->error_after = (long)word(all, "@after=", 0);
    q->t_submit = rf_now();
    q->t_next = word(all, "@prefill=", 0) / 1e3;
    q->deadline = r->deadline_s > 0 ? q->t_submit + r->deadline_s : INFINITY;
    memcpy(q->prompt, r->tokens, r->n_tokens * sizeof *q->prompt);
    q->n_prompt = r->n_tokens;
    rf_free(all);
    return q;
}

/* ---- stepping ---------------------------------------------------------------------------------------------------- */

#define TOP 20
struct lp { struct rf_logprob l; struct rf_top_logprob top[TOP]; };

static void fill_logprob(struct lp *x, int32_t token, int32_t k)
{
    x->l = (struct rf_logprob){token, -0.5f - 0.1f * (float)(token % 7), x->top, (uint32_t)RF_MIN(k, TOP)};
    for (uint32_t i = 0; i < x->l.n_top; i++)
        x->top[i] = (struct rf_top_logprob){(token + (int32_t)i) % N_VOCAB,
                                            i == 3 ? -INFINITY : x->l.logprob - 0.25f * (float)i};
}

static void end(struct rf_engine *e, struct seq *q, enum rf_finish f, const char *text, size_t len)
{
    struct rf_error err = {0};
    struct rf_event ev = {.kind = f == RF_FINISH_ERROR ? RF_EVENT_ERROR : RF_EVENT_DONE,
                          .id = q->id,
                          .finish = f,
                          .text = text,
                          .text_len = len,
                          .stop_token = -1};
    ev.usage = (struct rf_usage){.prompt_tokens = (uint32_t)q->n_prompt, .completion_tokens = (uint32_t)q->n_done};
    if (f == RF_FINISH_ERROR) {
        rf_fail(&err, q->error, "fake: %s, as the prompt asked", rf_status_name(q->error));
        ev.error = &err;
    }
    e->st.finished[f]++;
    e->st.generation_len.bucket[0]++;
    q->fn(q->ctx, &ev);
}

static size_t whole(const char *s, size_t n) { return n - rf_utf8_incomplete_tail(s, n); }

static void prompt_event(struct seq *q)
{
    struct lp *x = rf_alloc_array(q->n_prompt, sizeof *x);
    struct rf_logprob *l = rf_alloc_array(q->n_prompt, sizeof *l);
    for (size_t i = 1; x && l && i < q->n_prompt; i++) {
        fill_logprob(&x[i], q->prompt[i], q->s.prompt_logprobs);
        l[i - 1] = x[i].l;
    }
    struct rf_event ev = {
        .kind = RF_EVENT_PROMPT, .id = q->id, .logprobs = l, .n_logprobs = x && l ? q->n_prompt - 1 : 0};
    q->fn(q->ctx, &ev);
    rf_free(x);
    rf_free(l);
}

/* One step; true when the sequence has ended. */
static bool step(struct rf_engine *e, struct seq *q, double now)
{
    if (q->aborted) {
        end(e, q, RF_FINISH_ABORT, NULL, 0);
        return true;
    }
    if (now > q->deadline && !q->prefilled) {
        q->error = RF_DEADLINE;
        end(e, q, RF_FINISH_ERROR, NULL, 0);
        return true;
    }
    if (!q->prefilled) {
        q->prefilled = true;
        e->st.prompt_tokens += q->n_prompt;
        if (q->s.prompt_logprobs >= 0 && q->n_prompt > 1) prompt_event(q);
    }
    if (q->error && q->n_done >= q->error_after) {
        end(e, q, RF_FINISH_ERROR, NULL, 0);
        return true;
    }
    if ((q->s.max_tokens >= 0 && q->n_done >= q->s.max_tokens) || q->n_prompt + (size_t)q->n_done >= e->max_len) {
        size_t to = RF_MIN(q->at, q->stop_at);
        end(e, q, RF_FINISH_LENGTH, q->out + q->sent, whole(q->out + q->sent, to - q->sent));
        return true;
    }
    bool stopped = q->stop_at != SIZE_MAX && q->at >= q->stop_at + q->stop_len;
    if (stopped || q->at >= q->out_len) {
        size_t to = stopped ? q->stop_at + (q->s.include_stop ? q->stop_len : 0) : q->out_len;
        if (stopped || !q->s.ignore_eos) {
            end(e, q, RF_FINISH_STOP, q->out + q->sent, to - q->sent);
            return true;
        }
        q->at = q->sent = 0; /* ignore_eos: says it again */
    }
    size_t n = RF_MIN(q->chunk, q->out_len - q->at);
    struct lp x;
    int32_t token = (unsigned char)q->out[q->at];
    struct rf_event ev = {.kind = RF_EVENT_TOKENS, .id = q->id, .tokens = &token, .n_tokens = 1};
    q->at += n;
    q->n_done++;
    e->st.generation_tokens++;
    size_t to = RF_MIN(q->at, q->stop_at);
    ev.text = q->out + q->sent;
    ev.text_len = to > q->sent ? whole(ev.text, to - q->sent) : 0;
    q->sent += ev.text_len;
    if (q->s.logprobs >= 0) {
        fill_logprob(&x, token, q->s.logprobs);
        ev.logprobs = &x.l;
        ev.n_logprobs = 1;
    }
    q->fn(q->ctx, &ev);
    q->t_next = now + q->delay;
    return false;
}

static double sweep(struct rf_engine *e)
{
    double now = rf_now(), next = now + 0.05;
    uint32_t running = 0;
    struct seq **at = &e->head;
    for (struct seq *q; (q = *at);) {
        if (!q->running && running < e->max_running) {
            q->running = true;
            q->t_next += now;
        }
        running += q->running;
        bool due = q->aborted || (q->running && now >= q->t_next) || (!q->prefilled && now > q->deadline);
        if (due && step(e, q, now)) {
            *at = q->next;
            seq_free(q);
            continue;
        }
        if (q->running) next = RF_MIN(next, q->t_next);
        at = &q->next;
    }
    e->tail = at;
    e->st.n_steps++;
    return next - rf_now();
}

static void *loop(void *arg)
{
    struct rf_engine *e = arg;
    pthread_mutex_lock(&e->lock);
    while (!e->stop || e->head) {
        if (e->stop)
            for (struct seq *q = e->head; q; q = q->next) q->aborted = true;
        double wait = sweep(e);
        if (wait <= 0) { /* let submit and abort in */
            pthread_mutex_unlock(&e->lock);
            sched_yield();
            pthread_mutex_lock(&e->lock);
            continue;
        }
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        int64_t ns = t.tv_nsec + (int64_t)(wait * 1e9);
        t.tv_sec += ns / 1000000000;
        t.tv_nsec = ns % 1000000000;
        if (!e->stop) pthread_cond_timedwait(&e->more, &e->lock, &t);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* ---- engine ------------------------------------------------------------------------------------------------------ */

struct rf_engine *fake_engine_create(uint32_t max_running, uint32_t max_queue)
{
    struct rf_engine *e = rf_alloc_array(1, sizeof *e);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->more, NULL);
    e->tail = &e->head;
    e->max_running = max_running;
    e->max_queue = max_queue;
    e->max_len = 4096;
    pthread_create(&e->thread, NULL, loop, e);
    return e;
}

void rf_engine_free(struct rf_engine *e)
{
    if (!e) return;
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_broadcast(&e->more);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->more);
    rf_free(e);
}

static rf_status admit(struct rf_engine *e, const struct rf_request *reqs, size_t n, struct rf_error *err)
{
    size_t have = 0;
    for (struct seq *q = e->head; q; q = q->next) have++;
    if (have + n > (size_t)e->max_running + e->max_queue) {
        e->st.rejected++;
        return rf_fail(err, RF_FULL, "the queue is full: %zu sequences", have);
    }
    for (size_t i = 0; i < n; i++) {
        char *all;
        size_t len;
        if (rf_model_detokenize(NULL, reqs[i].tokens, reqs[i].n_tokens, false, &all, &len, NULL))
            return rf_fail_nomem(err, "fake", 0);
        rf_status s = named(all, "@submit=");
        rf_free(all);
        if (s) return rf_fail(err, s, "fake: refused at submit, as the prompt asked");
    }
    return RF_OK;
}

rf_status rf_engine_submit(struct rf_engine *e, const struct rf_request *reqs, size_t n, uint64_t *ids,
                           struct rf_error *err)
{
    pthread_mutex_lock(&e->lock);
    rf_status s = admit(e, reqs, n, err);
    struct seq *list = NULL, **tail = &list, *q;
    for (size_t i = 0; !s && i < n; i++) {
        if (!(q = seq_create(e, &reqs[i]))) {
            s = rf_fail_nomem(err, "fake", 0);
            break;
        }
        ids[i] = q->id;
        *tail = q;
        tail = &q->next;
    }
    if (!s && list) { /* all or none */
        *e->tail = list;
        e->tail = tail;
    }
    while (s && (q = list)) {
        list = q->next;
        seq_free(q);
    }
    pthread_cond_signal(&e->more);
    pthread_mutex_unlock(&e->lock);
    return s;
}

void rf_engine_abort(struct rf_engine *e, uint64_t id)
{
    pthread_mutex_lock(&e->lock);
    for (struct seq *q = e->head; q; q = q->next)
        if (q->id == id) q->aborted = true;
    pthread_cond_signal(&e->more);
    pthread_mutex_unlock(&e->lock);
}

void rf_engine_stats(struct rf_engine *e, struct rf_stats *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->st;
    for (struct seq *q = e->head; q; q = q->next) {
        out->n_running += q->running;
        out->n_waiting += !q->running;
    }
    pthread_mutex_unlock(&e->lock);
    out->n_blocks = 1024;
    out->n_blocks_free = 1024 - out->n_running;
    out->block_tokens = 16;
    out->max_model_len = e->max_len;
}

const double *rf_histogram_bounds(bool of_tokens)
{
    static const double seconds[RF_HIST_BUCKETS] = {.001, .002, .005, .01, .02, .05, .1,  .2,  .5,  1,
                                                    2,    5,    10,   20,  30,  60,  120, 300, 600, 1200};
    static const double tokens[RF_HIST_BUCKETS] = {1,    2,    4,    8,    16,    32,    64,    128,    256,    512,
                                                   1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288};
    return of_tokens ? tokens : seconds;
}
