/* probe.c - asks the library through its public door and prints what came back, for test_golden.py and test_real.py.
 *
 *   golden_probe MODEL [key=value...] < requests > answers
 *
 * Keys: device threads isa kv_type(f16|f32|bf16) kv_blocks max_model_len max_step_tokens max_seqs no_prefix_cache(0|1) precise(0|1) attention.
 * A request is a line "MAX_TOKENS TOP ID ID ...": greedy, past the end token, with the TOP best of every position (-1: none).
 * Requests up to an empty line are submitted together. Each answer is one JSON line, in order:
 *   {"tokens":[...],"logprob":[...],"prompt":[...],"top":[[[id,logprob],...],...],"cached":0,"error":""}
 * prompt: log probability of each prompt token but the first; top: after prompt tokens 1.., then of each generated one.
 * The last line is {"stats":{...}}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rocmforge.h"

enum { MAX_GROUP = 256 };

struct request { int32_t *ids; size_t n; int32_t max_tokens, top; };

static void die(const char *what, const struct rf_error *err)
{
    fprintf(stderr, "golden_probe: %s: %s\n", what, err ? err->message : "");
    exit(1);
}

static void set(const char *word, struct rf_model_options *mo, struct rf_engine_options *eo)
{
    const char *eq = strchr(word, '=');
    if (!eq) die(word, NULL);
    size_t n = (size_t)(eq - word);
    const struct { const char *key; uint32_t *to; } number[] = {
        {"threads", &mo->n_threads}, {"kv_blocks", &eo->kv_blocks}, {"max_model_len", &eo->max_model_len},
        {"max_step_tokens", &eo->max_step_tokens}, {"max_seqs", &eo->max_seqs},
    };
    for (size_t i = 0; i < sizeof number / sizeof *number; i++) {
        if (strlen(number[i].key) == n && !memcmp(word, number[i].key, n)) {
            *number[i].to = (uint32_t)strtoul(eq + 1, NULL, 10);
            return;
        }
    }
    if (!strncmp(word, "isa=", 4)) mo->isa = eq + 1;
    else if (!strncmp(word, "device=", 7)) mo->device = eq + 1;
    else if (!strncmp(word, "attention=", 10)) mo->attention = eq + 1;
    else if (!strncmp(word, "no_prefix_cache=", 16)) eo->no_prefix_cache = eq[1] == '1';
    else if (!strncmp(word, "precise=", 8)) eo->precise = eq[1] == '1';
    else if (!strcmp(word, "kv_type=f16")) eo->kv_type = RF_KV_F16;
    else if (!strcmp(word, "kv_type=f32")) eo->kv_type = RF_KV_F32;
    else if (!strcmp(word, "kv_type=bf16")) eo->kv_type = RF_KV_BF16;
    else die(word, NULL);
}

static int parse(char *line, struct request *r)
{
    char *at = line, *end;
    size_t cap = strlen(line) / 2 + 1;
    *r = (struct request){.ids = malloc(cap * sizeof *r->ids)};
    if (!r->ids) die("no memory", NULL);
    r->max_tokens = (int32_t)strtol(at, &end, 10);
    if (end == at) return 0;
    r->top = (int32_t)strtol(end, &at, 10);
    for (;;) {
        long id = strtol(at, &end, 10);
        if (end == at) return 1;
        r->ids[r->n++] = (int32_t)id;
        at = end;
    }
}

/* Grows a malloc'ed text by a printf. */
static void add(char **text, size_t *len, const char *fmt, double a, int32_t b)
{
    char piece[64];
    int n = strstr(fmt, "%d") ? snprintf(piece, sizeof piece, fmt, b, a) : snprintf(piece, sizeof piece, fmt, a);
    char *grown = realloc(*text, *len + (size_t)n + 1);
    if (!grown) die("no memory", NULL);
    memcpy(grown + *len, piece, (size_t)n + 1);
    *text = grown;
    *len += (size_t)n;
}

struct answer { char *tokens, *logprob, *prompt, *top; size_t n_tokens, n_logprob, n_prompt, n_top; };

static void take(struct answer *a, const struct rf_event *ev)
{
    for (size_t i = 0; i < ev->n_logprobs; i++) {
        const struct rf_logprob *p = &ev->logprobs[i];
        bool prompt = ev->kind == RF_EVENT_PROMPT;
        if (prompt) add(&a->prompt, &a->n_prompt, a->n_prompt ? ",%.6f" : "%.6f", (double)p->logprob, 0);
        else add(&a->logprob, &a->n_logprob, a->n_logprob ? ",%.6f" : "%.6f", (double)p->logprob, 0);
        add(&a->top, &a->n_top, a->n_top ? ",[" : "[", 0, 0);
        for (uint32_t k = 0; k < p->n_top; k++)
            add(&a->top, &a->n_top, k ? ",[%d,%.6f]" : "[%d,%.6f]", (double)p->top[k].logprob, p->top[k].token);
        add(&a->top, &a->n_top, "]", 0, 0);
    }
    for (size_t i = 0; i < ev->n_tokens; i++) add(&a->tokens, &a->n_tokens, a->n_tokens ? ",%d" : "%d", 0, ev->tokens[i]);
}

static void answer(struct rf_engine *e, uint64_t id)
{
    struct answer a = {0};
    struct rf_event *ev = NULL;
    for (bool done = false; !done; rf_event_free(ev)) {
        rf_status s = rf_engine_poll(e, id, -1, &ev);
        if (s) die(rf_status_name(s), NULL);
        take(&a, ev);
        done = ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR;
        if (!done) continue;
        printf("{\"tokens\":[%s],\"logprob\":[%s],\"prompt\":[%s],\"top\":[%s],\"cached\":%u,\"error\":\"%s\"}\n", a.tokens ? a.tokens : "",
               a.logprob ? a.logprob : "", a.prompt ? a.prompt : "", a.top ? a.top : "", ev->usage.cached_tokens,
               ev->kind == RF_EVENT_ERROR ? rf_status_name(ev->error->status) : "");
    }
    free(a.tokens);
    free(a.logprob);
    free(a.prompt);
    free(a.top);
}

static void run(struct rf_engine *e, struct request *q, size_t n)
{
    struct rf_request r[MAX_GROUP];
    uint64_t id[MAX_GROUP];
    struct rf_error err = {0};
    memset(r, 0, sizeof r);
    for (size_t i = 0; i < n; i++) {
        r[i].tokens = q[i].ids;
        r[i].n_tokens = q[i].n;
        rf_sampling_default(&r[i].sampling);
        r[i].sampling.temperature = 0;
        r[i].sampling.ignore_eos = true;
        r[i].sampling.max_tokens = q[i].max_tokens;
        r[i].sampling.logprobs = q[i].top < 0 ? -1 : q[i].top;
        r[i].sampling.prompt_logprobs = q[i].top < 0 ? -1 : q[i].top;
    }
    if (rf_engine_submit(e, r, n, id, &err)) die("submit", &err);
    for (size_t i = 0; i < n; i++) {
        answer(e, id[i]);
        free(q[i].ids);
    }
}

int main(int argc, char **argv)
{
    struct rf_model_options mo = {0};
    struct rf_engine_options eo = {0};
    struct rf_error err = {0};
    struct rf_model *m = NULL;
    struct rf_engine *e = NULL;
    if (argc < 2) die("usage: golden_probe MODEL [key=value...]", NULL);
    for (int i = 2; i < argc; i++) set(argv[i], &mo, &eo);
    if (rf_model_open(&m, argv[1], &mo, &err)) die("open", &err);
    if (rf_engine_create(&e, m, &eo, &err)) die("engine", &err);
    struct request group[MAX_GROUP];
    size_t n = 0, cap = 0;
    char *line = NULL;
    for (bool more = true; more;) {
        more = getline(&line, &cap, stdin) >= 0;
        bool full = more && parse(line, &group[n]);
        if (full) n++;
        else if (more) free(group[n].ids);
        if (n && (!full || n == MAX_GROUP)) {
            run(e, group, n);
            n = 0;
        }
    }
    free(line);
    struct rf_stats s;
    rf_engine_stats(e, &s);
    struct rf_model_info info;
    rf_model_info_get(m, &info);
    printf("{\"stats\":{\"preemptions\":%llu,\"steps\":%llu,\"blocks\":%u,\"free\":%u,\"prefix_hits\":%llu,\"resident\":%llu}}\n",
           (unsigned long long)s.n_preemptions, (unsigned long long)s.n_steps, s.n_blocks, s.n_blocks_free,
           (unsigned long long)s.prefix_hits, (unsigned long long)info.resident_bytes);
    rf_engine_free(e);
    rf_model_close(m);
    return 0;
}
