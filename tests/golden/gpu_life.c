/* gpu_life.c - whole lives of an engine on an emulated GPU, for test_gpu.py. Prints one JSON line.
 *
 *   gpu_life MODEL DEVICE faults           the k-th driver call fails, for k = 1, 2, .. until a life ends well: open, one request, close
 *   gpu_life MODEL DEVICE load N SEED      N requests of all kinds, a third of them cancelled at some time
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "rocmforge.h"

enum { IN_FLIGHT = 96, PROMPT = 24, WORDS = 300 };

static void die(const char *what, const struct rf_error *err)
{
    fprintf(stderr, "gpu_life: %s: %s\n", what, err->message);
    exit(1);
}

static struct rf_engine_options small(void)
{
    return (struct rf_engine_options){.kv_blocks = 160, .max_seqs = 64, .max_step_tokens = 256};
}

/* ---- faults ---- */

/* One request to its end; the error that it or any call before had. */
static rf_status life(const char *path, const char *device, const char **stage, struct rf_error *err)
{
    struct rf_model *m = NULL;
    struct rf_engine *e = NULL;
    struct rf_engine_options o = small();
    struct rf_request q = {.text = "hello there", .text_len = 11};
    uint64_t id;
    *err = (struct rf_error){0};
    *stage = "open";
    rf_status s = rf_model_open(&m, path, &(struct rf_model_options){.device = device}, err);
    if (!s) *stage = "create";
    if (!s) s = rf_engine_create(&e, m, &o, err);
    rf_sampling_default(&q.sampling);
    q.sampling.max_tokens = 5;
    q.sampling.ignore_eos = true;
    if (!s) *stage = "request";
    if (!s) s = rf_engine_submit(e, &q, 1, &id, err);
    for (bool last = s != RF_OK; !last;) {
        struct rf_event *ev;
        if ((s = rf_engine_poll(e, id, 60000, &ev))) break;
        last = ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR;
        if (ev->kind == RF_EVENT_ERROR) *err = *ev->error, s = err->status;
        rf_event_free(ev);
    }
    struct rf_stats stats = {0};
    if (e) rf_engine_stats(e, &stats);
    if (e && stats.n_blocks_free != stats.n_blocks) die("blocks are missing", err);
    rf_engine_free(e);
    rf_model_close(m);
    return s;
}

static int faults(const char *path, const char *device)
{
    unsigned n[3] = {0}, k = 0;
    struct rf_error err;
    const char *stage;
    char text[16];
    for (rf_status s = RF_DEVICE; s;) {
        snprintf(text, sizeof text, "%u", ++k);
        setenv("RF_EMU_FAIL_AT", text, 1);
        s = life(path, device, &stage, &err);
        if (!s) break;
        if ((s != RF_DEVICE && s != RF_NOMEM) || !err.message[0]) die(stage, &err);
        n[*stage == 'o' ? 0 : *stage == 'c' ? 1 : 2]++;
    }
    printf("{\"calls\":%u,\"open\":%u,\"create\":%u,\"request\":%u}\n", k, n[0], n[1], n[2]);
    return 0;
}

/* ---- load ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
static unsigned n_live, finished[5];
static uint64_t n_token;

static void on_event(void *ctx, const struct rf_event *ev)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    n_token += ev->kind == RF_EVENT_TOKENS ? ev->n_tokens : 0;
    if (ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR) {
        n_live--;
        finished[ev->finish]++;
        if (ev->kind == RF_EVENT_ERROR) fprintf(stderr, "gpu_life: %s\n", ev->error->message);
        pthread_cond_signal(&news);
    }
    pthread_mutex_unlock(&lock);
}

/* One of eight beginnings, then something of its own. */
static size_t make_prompt(struct rf_rng *g, int32_t *tok)
{
    size_t common = rf_rng_below(g, PROMPT / 2), n = common + 1 + rf_rng_below(g, PROMPT / 8);
    uint64_t which = rf_rng_below(g, 8);
    for (size_t i = 0; i < n; i++) tok[i] = (int32_t)(2 + (i < common ? (which * 37 + i * 11) % WORDS : rf_rng_below(g, WORDS)));
    return n;
}

static void submit(struct rf_engine *e, struct rf_rng *g, uint64_t *id)
{
    int32_t tok[PROMPT];
    struct rf_error err = {0};
    struct rf_request q = {.tokens = tok, .n_tokens = make_prompt(g, tok), .on_event = on_event, .priority = (int32_t)rf_rng_below(g, 3)};
    rf_sampling_default(&q.sampling);
    q.sampling.max_tokens = (int32_t)rf_rng_below(g, 5);
    if (rf_rng_below(g, 2)) q.sampling.temperature = 0;
    else q.sampling.top_k = 20, q.sampling.repetition_penalty = 1.1f;
    if (!rf_rng_below(g, 8)) q.sampling.logprobs = 2;
    pthread_mutex_lock(&lock);
    while (n_live >= IN_FLIGHT) pthread_cond_wait(&news, &lock);
    n_live++;
    pthread_mutex_unlock(&lock);
    if (rf_engine_submit(e, &q, 1, id, &err)) die("submit", &err);
}

static int load(const char *path, const char *device, unsigned n, uint64_t seed)
{
    struct rf_model *m;
    struct rf_engine *e;
    struct rf_error err = {0};
    struct rf_engine_options o = small();
    struct rf_rng g = {seed};
    struct rf_stats s;
    uint64_t *id = calloc(n, sizeof *id);
    if (!id || rf_model_open(&m, path, &(struct rf_model_options){.device = device}, &err) || rf_engine_create(&e, m, &o, &err)) die("start", &err);
    for (unsigned i = 0; i < n; i++) {
        submit(e, &g, &id[i]);
        if (!rf_rng_below(&g, 3)) rf_engine_abort(e, id[i - rf_rng_below(&g, i < 40 ? i + 1 : 40)]);
    }
    rf_engine_drain(e, 600);
    rf_engine_stats(e, &s);
    printf("{\"requests\":%u,\"stop\":%u,\"length\":%u,\"abort\":%u,\"error\":%u,\"tokens\":%llu,\"blocks\":%u,\"free\":%u,\"steps\":%llu,"
           "\"preemptions\":%llu,\"cached\":%llu}\n", n, finished[RF_FINISH_STOP], finished[RF_FINISH_LENGTH], finished[RF_FINISH_ABORT],
           finished[RF_FINISH_ERROR], (unsigned long long)n_token, s.n_blocks, s.n_blocks_free, (unsigned long long)s.n_steps,
           (unsigned long long)s.n_preemptions, (unsigned long long)s.cached_tokens);
    rf_engine_free(e);
    rf_model_close(m);
    free(id);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[3], "faults")) return faults(argv[1], argv[2]);
    if (argc == 6 && !strcmp(argv[3], "load")) return load(argv[1], argv[2], (unsigned)atoi(argv[4]), strtoull(argv[5], NULL, 10));
    fprintf(stderr, "usage: gpu_life MODEL DEVICE faults | load N SEED\n");
    return 2;
}
