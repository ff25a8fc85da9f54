/* The whole library on trained models: alone = beside others = in chunks = preempted = out of the prefix cache.
 * Models lie in $RF_TEST_MODELS (default ~/.cache/rocmforge-test-models); absent ones skip. Under sanitizers
 * (RF_TEST_QUICK) the small model that ships goes all ways in their stead. */
#include "check.h"
#include "rocmforge.h"

enum { N = 6, NEW = 16, LONG = 200 };

static struct rf_error err;

static bool open_model(const char *file, struct rf_model **m)
{
    char path[1024];
    const char *dir = getenv("RF_TEST_MODELS"), *home = getenv("HOME");
    if (strchr(file, '/')) snprintf(path, sizeof path, "%s", file);
    else if (dir) snprintf(path, sizeof path, "%s/%s", dir, file);
    else snprintf(path, sizeof path, "%s/.cache/rocmforge-test-models/%s", home ? home : "", file);
    rf_status st = rf_model_open(m, path, NULL, &err);
    if (st && st != RF_NOT_FOUND) CHECK_FAIL_("%s", err.message);
    return !st;
}

struct answer { int32_t tok[NEW]; uint32_t n, cached; float lp[NEW]; };

static void collect(struct rf_engine *e, uint64_t id, struct answer *a)
{
    struct rf_event *ev;
    memset(a, 0, sizeof *a);
    for (bool last = false; !last; rf_event_free(ev)) {
        REQUIRE(!rf_engine_poll(e, id, 300000, &ev));
        for (size_t i = 0; i < ev->n_tokens && a->n < NEW; i++) {
            a->lp[a->n] = ev->logprobs[i].logprob;
            a->tok[a->n++] = ev->tokens[i];
        }
        last = ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR;
        if (ev->kind == RF_EVENT_ERROR) CHECK_FAIL_("%s", ev->error->message);
        if (last) a->cached = ev->usage.cached_tokens;
    }
}

static void same(const struct answer *got, const struct answer *want, const char *how, int i)
{
    bool eq = got->n == want->n && !memcmp(got->tok, want->tok, sizeof got->tok) &&
              !memcmp(got->lp, want->lp, sizeof got->lp);
    if (!eq) CHECK_FAIL_("request %d, %s: not the tokens and logprobs that it has alone", i, how);
}

/* words: of the long prompt, as many as give it 200 to 300 tokens */
static void all_ways(struct rf_model *m, size_t words)
{
    static const char *const text[N] = {"The capital of France is", "def fibonacci(n):", "One, two, three,",
                                        "Once upon a time",         "x = [1, 2",         ""};
    static struct answer alone[N], a;
    static char longer[LONG * 6];
    struct { const char *how; struct rf_engine_options o; } way[] = {
        {"together", {.max_model_len = 500}},
        {"in chunks of 24", {.max_model_len = 500, .max_step_tokens = 24}},
        {"preempted", {.max_step_tokens = 64}},
    };
    struct rf_request q[N];
    uint64_t id[N];
    struct rf_engine *e;
    struct rf_stats s;
    /* A pool for one sequence of 330 tokens: how many blocks that is depends on the model's cache groups. */
    REQUIRE(!rf_engine_create(
        &e, m, &(struct rf_engine_options){.max_model_len = 330, .max_seqs = 1, .max_step_tokens = 64}, &err));
    rf_engine_stats(e, &s);
    rf_engine_free(e);
    way[2].o.kv_blocks = s.n_blocks;
    for (size_t i = 0; i < LONG; i++) memcpy(longer + 5 * i, i % 7 ? " red." : " blue", 5);
    REQUIRE(!rf_engine_create(&e, m, &(struct rf_engine_options){.max_model_len = 500, .no_prefix_cache = true}, &err));
    for (int i = 0; i < N; i++) {
        const char *t = i == N - 1 ? longer : text[i];
        q[i] = (struct rf_request){.text = t, .text_len = i == N - 1 ? 5 * words : strlen(t)};
        rf_sampling_default(&q[i].sampling);
        q[i].sampling.temperature = i % 2 ? 0.8f : 0;
        q[i].sampling.has_seed = true;
        q[i].sampling.seed = 7;
        q[i].sampling.logprobs = 0;
        q[i].sampling.max_tokens = NEW;
        q[i].sampling.ignore_eos = true;
        REQUIRE(!rf_engine_submit(e, &q[i], 1, &id[i], &err));
        collect(e, id[i], &alone[i]);
    }
    rf_engine_free(e);
    for (size_t w = 0; w < sizeof way / sizeof *way && !check_.bad; w++) {
        REQUIRE(!rf_engine_create(&e, m, &way[w].o, &err));
        for (int again = 0; again < (w ? 1 : 2); again++) {
            q[N - 1].priority = w == 2 ? -1 : 0; /* the long one first: the others outgrow the pool beside it */
            REQUIRE(!rf_engine_submit(e, q, N, id, &err));
            for (int i = 0; i < N; i++) {
                collect(e, id[i], &a);
                same(&a, &alone[i], again ? "from the cache" : way[w].how, i);
            }
        }
        CHECK(w || a.cached > 100);
        rf_engine_stats(e, &s);
        CHECK_INT(s.n_blocks_free, s.n_blocks);
        CHECK(w != 2 || s.n_preemptions > 0);
        printf("# %s: %u blocks, %llu steps, %llu preemptions\n", way[w].how, s.n_blocks, (unsigned long long)s.n_steps,
               (unsigned long long)s.n_preemptions);
        rf_engine_free(e);
    }
}

TEST(qwen)
{
    struct rf_model *m;
    if (!open_model("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", &m)) SKIP("no test model: make test-models");
    all_ways(m, 160);
    /* The prompt that the model's template gives, answered. */
    const char *chat = "{\"messages\":[{\"role\":\"user\",\"content\":\"What is 2+2? Answer with one digit.\"}],"
                       "\"add_generation_prompt\":true}";
    static struct answer a;
    struct rf_engine *e;
    struct rf_request q = {0};
    int32_t *ids;
    uint64_t id;
    char *out;
    REQUIRE(!rf_model_chat(m, chat, strlen(chat), NULL, NULL, &ids, &q.n_tokens, &err));
    REQUIRE(!rf_engine_create(&e, m, NULL, &err));
    q.tokens = ids;
    rf_sampling_default(&q.sampling);
    q.sampling.temperature = 0;
    q.sampling.logprobs = 0;
    q.sampling.max_tokens = NEW;
    REQUIRE(!rf_engine_submit(e, &q, 1, &id, &err));
    collect(e, id, &a);
    REQUIRE(!rf_model_detokenize(m, a.tok, a.n, true, &out, NULL, &err));
    printf("# 2+2: %s\n", out);
    CHECK(strchr(out, '4'));
    rf_free(out);
    rf_free(ids);
    rf_engine_free(e);
    rf_model_close(m);
}

TEST(gemma)
{
    struct rf_model *m;
    if (!open_model("gemma-3-270m-q4_k_m.gguf", &m)) SKIP("no test model: make test-models");
    all_ways(m, 160);
    rf_model_close(m);
}

TEST(demo)
{
    struct rf_model *m;
    REQUIRE(open_model("models/demo/rocmforge-demo.gguf", &m)); /* from the root of the source tree, as tests/run.sh does */
    all_ways(m, 110);
    rf_model_close(m);
}

int main(void)
{
    RUN(demo);
    if (getenv("RF_TEST_QUICK")) return check_end();
    RUN(qwen);
    RUN(gemma);
    return check_end();
}
