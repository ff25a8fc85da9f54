/* The engine against a toy model that proves its block tables (fake_model.h). */
#include <pthread.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "check.h"
#include "toy_ask.h"

static void check_greedy(const int32_t *prompt, uint32_t n, uint32_t max_new, const struct result *r)
{
    int32_t want[MAX_TOK];
    memcpy(want, prompt, n * sizeof *want);
    uint32_t made = fake_greedy(want, n, max_new, false);
    CHECK_INT(r->n_tok, made);
    CHECK(!memcmp(r->tok, want + n, RF_MIN(made, r->n_tok) * sizeof *want));
    bool eos = made && want[n + made - 1] == FAKE_EOS;
    CHECK_INT(r->finish, eos ? RF_FINISH_STOP : RF_FINISH_LENGTH);
    CHECK_INT(r->stop_token, eos ? FAKE_EOS : -1);
    CHECK_INT(r->usage.prompt_tokens, n);
    CHECK_INT(r->usage.completion_tokens, made);
}

/* ---- tests ---- */

TEST(one_request)
{
    static struct result r;
    int32_t tok[300];
    struct rf_rng g = {seed};
    shape(1, 0, 0, 1024);
    REQUIRE(start(NULL));
    for (int i = 0; i < 20; i++) {
        uint32_t n = random_prompt(&g, tok, 250);
        struct rf_request q = request(tok, n, 60);
        run(&q, &r);
        check_greedy(tok, n, 60, &r);
    }
    struct rf_request q = {.text = "abc", .text_len = 3, .sampling = request(NULL, 0, 10).sampling};
    run(&q, &r);
    check_greedy((int32_t[]){FAKE_BOS, 'a', 'b', 'c'}, 4, 10, &r);
    struct rf_event *ev;
    CHECK_INT(rf_engine_poll(engine, 999, 0, &ev), RF_NOT_FOUND);
    struct rf_stats s;
    rf_engine_stats(engine, &s);
    CHECK_INT(s.finished[RF_FINISH_STOP] + s.finished[RF_FINISH_LENGTH], 21);
    CHECK_INT(s.ttft.count, 21);
    CHECK_INT(s.max_model_len, 1024);
    stop();
}

/* Many at once in a pool too small for them: preempted, resumed, sharing prefixes; the same text as alone. */
static void crowd(uint32_t n_group, uint32_t w0, uint32_t w1, uint32_t blocks, bool no_prefix)
{
    enum { N = 64 };
    static int32_t tok[N][300];
    static struct result r;
    uint32_t n[N], max[N];
    struct rf_request q[N];
    uint64_t id[N];
    struct rf_rng g = {seed + blocks};
    struct rf_engine_options opt = {
        .kv_blocks = blocks, .max_step_tokens = 48, .max_seqs = 12, .max_model_len = 300, .no_prefix_cache = no_prefix};
    shape(n_group, w0, w1, 2048);
    REQUIRE(start(&opt));
    for (int i = 0; i < N; i++) {
        n[i] = random_prompt(&g, tok[i], 180);
        max[i] = 1 + rf_rng_below(&g, 100);
        q[i] = request(tok[i], n[i], (int32_t)max[i]);
        q[i].priority = (int32_t)rf_rng_below(&g, 2);
    }
    REQUIRE(!rf_engine_submit(engine, q, N / 2, id, &err));
    for (int i = N / 2; i < N; i++) REQUIRE(!rf_engine_submit(engine, &q[i], 1, &id[i], &err));
    for (int i = 0; i < N; i++) {
        collect(engine, id[i], &r);
        check_greedy(tok[i], n[i], max[i], &r);
    }
    struct rf_stats s;
    rf_engine_stats(engine, &s);
    printf("# groups %u: %llu steps, %llu preemptions, %llu of %llu tokens cached, %u copies\n", n_group,
           (unsigned long long)s.n_steps, (unsigned long long)s.n_preemptions, (unsigned long long)s.prefix_hits,
           (unsigned long long)s.prefix_queries, fake.n_copy);
    CHECK(s.n_preemptions > 0);
    CHECK(no_prefix ? s.prefix_hits == 0 : s.prefix_hits > 0);
    CHECK(fake.max_batch > 4);
    stop();
}

TEST(crowd_full) { crowd(1, 0, 0, 40, false); }
TEST(crowd_no_prefix) { crowd(1, 0, 0, 40, true); }
TEST(crowd_window) { crowd(2, 0, 33, 60, false); }
TEST(crowd_two_windows) { crowd(2, 64, 17, 36, false); }

TEST(prefix_cache)
{
    static int32_t tok[2100];
    static struct result r;
    struct rf_rng g = {seed};
    shape(2, 0, 100, 4096);
    REQUIRE(start(NULL));
    for (int i = 0; i < 2100; i++) tok[i] = 'a' + (int32_t)rf_rng_below(&g, 26);
    struct rf_request q = request(tok, 2048, 5);
    run(&q, &r);
    check_greedy(tok, 2048, 5, &r);
    CHECK_INT(r.usage.cached_tokens, 0);
    uint32_t before = fake.n_token;
    run(&q, &r); /* the whole prompt is known: one token is computed again */
    check_greedy(tok, 2048, 5, &r);
    CHECK_INT(r.usage.cached_tokens, 2047);
    CHECK(fake.n_token - before <= 6);
    q.n_tokens = 2100;
    run(&q, &r);
    check_greedy(tok, 2100, 5, &r);
    CHECK_INT(r.usage.cached_tokens, 2048);
    q.cache_salt = 5;
    run(&q, &r);
    CHECK_INT(r.usage.cached_tokens, 0);
    q.n_tokens = 2048; /* n at once share all but write their own */
    q.cache_salt = 0;
    struct rf_request many[6] = {q, q, q, q, q, q};
    uint64_t id[6];
    REQUIRE(!rf_engine_submit(engine, many, 6, id, &err));
    for (int i = 0; i < 6; i++) {
        collect(engine, id[i], &r);
        check_greedy(tok, 2048, 5, &r);
    }
    /* Beside one that still uses the blocks, the last of them is copied. */
    struct rf_request busy = q;
    struct rf_event *ev;
    busy.sampling.max_tokens = 1500;
    busy.sampling.ignore_eos = true;
    fake.delay_us = 500;
    REQUIRE(!rf_engine_submit(engine, &busy, 1, id, &err) && !rf_engine_poll(engine, id[0], 20000, &ev));
    rf_event_free(ev);
    CHECK_INT(fake.n_copy, 0);
    run(&q, &r);
    check_greedy(tok, 2048, 5, &r);
    CHECK_INT(r.usage.cached_tokens, 2047);
    CHECK_INT(fake.n_copy, 2);
    rf_engine_abort(engine, id[0]);
    collect(engine, id[0], &r);
    stop();
}

TEST(abort_frees_all)
{
    enum { N = 200 };
    static int32_t tok[N][120];
    static struct result r;
    struct rf_engine_options opt = {.kv_blocks = 200, .max_seqs = 16, .max_step_tokens = 64, .max_model_len = 400};
    struct rf_request q[N];
    uint64_t id[N];
    int n_abort = 0;
    struct rf_rng g = {seed + 7};
    shape(2, 0, 20, 1024);
    REQUIRE(start(&opt));
    fake.delay_us = 200;
    for (int i = 0; i < N; i++) {
        uint32_t n = random_prompt(&g, tok[i], 110);
        q[i] = request(tok[i], n, 250);
        q[i].sampling.ignore_eos = true;
    }
    REQUIRE(!rf_engine_submit(engine, q, N, id, &err));
    rf_engine_abort(engine, 424242);
    for (int i = 0; i < N; i++) {
        if (rf_rng_below(&g, 4) == 0) usleep(rf_rng_below(&g, 2000));
        rf_engine_abort(engine, id[(i * 37) % N]);
    }
    for (int i = 0; i < N; i++) {
        collect(engine, id[i], &r);
        n_abort += r.finish == RF_FINISH_ABORT;
    }
    CHECK(n_abort > N / 2);
    stop();
    REQUIRE(start(&opt)); /* one that waits behind another is never run */
    fake.gate = true;
    REQUIRE(!rf_engine_submit(engine, &q[0], 1, &id[0], &err));
    usleep(20000);
    REQUIRE(!rf_engine_submit(engine, &q[1], 1, &id[1], &err));
    rf_engine_abort(engine, id[1]);
    fake.gate = false;
    collect(engine, id[1], &r);
    CHECK_INT(r.finish, RF_FINISH_ABORT);
    CHECK(r.usage.prefill_s == 0 && r.n_tok == 0);
    rf_engine_abort(engine, id[0]);
    collect(engine, id[0], &r);
    stop();
}

TEST(poison_harms_nobody_else)
{
    static struct result r;
    int32_t good[3][40], bad[40];
    struct rf_request q[4];
    uint64_t id[4];
    shape(1, 0, 0, 512);
    REQUIRE(start(NULL));
    for (int i = 0; i < 40; i++) {
        bad[i] = i == 20 ? FAKE_POISON : 'x';
        for (int k = 0; k < 3; k++) good[k][i] = 'a' + k;
    }
    for (int k = 0; k < 4; k++) q[k] = k == 2 ? request(bad, 40, 30) : request(good[k % 3], 40, 30);
    REQUIRE(!rf_engine_submit(engine, q, 4, id, &err));
    for (int k = 0; k < 4; k++) {
        collect(engine, id[k], &r);
        if (k == 2) CHECK(r.finish == RF_FINISH_ERROR && r.error == RF_NUMERIC && r.n_tok == 0);
        else check_greedy(good[k % 3], 40, 30, &r);
    }
    stop();
}

TEST(device_failure)
{
    static struct result r;
    int32_t tok[100];
    struct rf_request q[3];
    uint64_t id[3];
    struct rf_rng g = {seed};
    shape(1, 0, 0, 512);
    REQUIRE(start(NULL));
    for (int round = 1; round < 6; round++) {
        uint32_t n = random_prompt(&g, tok, 90);
        for (int k = 0; k < 3; k++) {
            q[k] = request(tok, n, 30);
            q[k].sampling.ignore_eos = true;
        }
        fake.gate = true;
        REQUIRE(!rf_engine_submit(engine, q, 3, id, &err));
        fake.fail_forward = (unsigned)round;
        fake.gate = false;
        int n_failed = 0;
        for (int k = 0; k < 3; k++) {
            collect(engine, id[k], &r);
            n_failed += r.finish == RF_FINISH_ERROR && r.error == RF_DEVICE;
        }
        CHECK(n_failed > 0);
        q[0].sampling.ignore_eos = false;
        run(&q[0], &r);
        check_greedy(tok, n, 30, &r);
    }
    stop();
}

static void text_of(const int32_t *tok, uint32_t n, char *out)
{
    char *text;
    size_t len;
    CHECK(!rf_model_detokenize(model, tok, n, true, &text, &len, &err));
    memcpy(out, text, len + 1);
    rf_free(text);
}

TEST(stop_strings)
{
    static struct result r, full;
    static char all[MAX_TOK];
    int32_t tok[8] = {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'};
    shape(1, 0, 0, 512);
    REQUIRE(start(NULL));
    int n_cut = 0;
    for (int32_t first = 'a'; first < 'a' + 12; first++) {
        tok[0] = first;
        struct rf_request q = request(tok, 8, 80);
        q.sampling.ignore_eos = true;
        run(&q, &full);
        CHECK_INT(full.n_tok, 80);
        text_of(full.tok, full.n_tok, all);
        if (rf_utf8_valid(all, strlen(all))) CHECK_STR(full.text, all);
        /* Every substring of the text as a stop string cuts exactly there. */
        for (size_t at = 0; at + 3 < full.n_text && at < 60; at += 3) {
            char stop_text[8] = {0};
            const char *stops[] = {"never in the text", stop_text};
            snprintf(stop_text, 4, "%s", full.text + at);
            if (!rf_utf8_valid(stop_text, strlen(stop_text))) continue;
            const char *found = strstr(full.text, stop_text);
            q.sampling.stop = stops;
            q.sampling.n_stop = 2;
            for (int include = 0; include < 2; include++) {
                q.sampling.include_stop = include;
                run(&q, &r);
                size_t want = (size_t)(found - full.text) + (include ? strlen(stop_text) : 0);
                CHECK_INT(r.n_text, want);
                CHECK(!memcmp(r.text, full.text, RF_MIN(want, r.n_text)));
                CHECK(r.finish == RF_FINISH_STOP && r.stop_token == -1);
                n_cut++;
            }
        }
        /* One that never comes leaves the text whole. */
        const char *never[] = {"QQQQQQ"};
        q.sampling.stop = never;
        q.sampling.n_stop = 1;
        q.sampling.include_stop = false;
        run(&q, &r);
        CHECK_STR(r.text, full.text);
        CHECK_INT(r.finish, RF_FINISH_LENGTH);
        /* Stop tokens, and min_tokens before them. */
        q.sampling.n_stop = 0;
        q.sampling.stop_tokens = &full.tok[5];
        q.sampling.n_stop_tokens = 1;
        run(&q, &r);
        CHECK(r.finish == RF_FINISH_STOP && r.stop_token == full.tok[5] && r.n_tok <= 6);
        q.sampling.min_tokens = 20;
        run(&q, &r);
        CHECK(r.n_tok > 20);
    }
    CHECK(n_cut > 100);
    stop();
}

/* Events one by one: nothing that may become a stop string is ever shown. */
struct watch { char text[MAX_TOK]; size_t n; const char *stop; atomic_bool done; bool early; };
static void watch_event(void *ctx, const struct rf_event *ev)
{
    struct watch *w = ctx;
    memcpy(w->text + w->n, ev->text ? ev->text : "", ev->text_len);
    w->text[w->n += ev->text_len] = 0;
    if (strstr(w->text, w->stop)) w->early = true;
    if (ev->kind == RF_EVENT_DONE) w->done = true;
}

TEST(stop_is_held_back)
{
    static struct result full;
    static struct watch w;
    int32_t tok[] = {'s', 't', 'o', 'p'};
    char stop_text[16] = {0};
    shape(1, 0, 0, 512);
    REQUIRE(start(NULL));
    struct rf_request q = request(tok, 4, 60);
    q.sampling.ignore_eos = true;
    run(&q, &full);
    size_t at = full.n_text / 2;
    while (at && !rf_utf8_valid(full.text, at)) at--;
    size_t n = 12;
    while (!rf_utf8_valid(full.text + at, n)) n--;
    memcpy(stop_text, full.text + at, n);
    const char *stops[] = {stop_text};
    w = (struct watch){.stop = stop_text};
    q.sampling.stop = stops;
    q.sampling.n_stop = 1;
    q.on_event = watch_event;
    q.ctx = &w;
    REQUIRE(!rf_engine_submit(engine, &q, 1, NULL, &err));
    while (!w.done) usleep(1000);
    CHECK(!w.early);
    CHECK(w.n <= at && !memcmp(w.text, full.text, w.n));
    stop();
}

TEST(logprobs)
{
    static struct result r;
    int32_t tok[300];
    float x[FAKE_VOCAB];
    struct rf_rng g = {seed + 3};
    struct rf_engine_options opt = {.max_seqs = 4, .max_step_tokens = 32, .kv_blocks = 64};
    shape(2, 0, 50, 600);
    REQUIRE(start(&opt));
    uint32_t n = 280;
    for (uint32_t i = 0; i < n; i++) tok[i] = 'a' + (int32_t)rf_rng_below(&g, 26);
    struct rf_request q = request(tok, n, 0);
    for (int round = 0; round < 3; round++) { /* alone, again (a cache would hide rows), beside a crowd */
        uint64_t id[9];
        struct rf_request all[9];
        q.sampling.prompt_logprobs = round;
        q.sampling.max_tokens = round ? 3 : 0;
        q.sampling.logprobs = round ? 1 : -1;
        for (int i = 0; i < 9; i++) {
            all[i] = i ? request(tok, 100, 40) : q;
            all[i].priority = -i;
        }
        REQUIRE(!rf_engine_submit(engine, all, round == 2 ? 9 : 1, id, &err));
        for (int i = round == 2 ? 8 : 0; i > 0; i--) collect(engine, id[i], &r);
        collect(engine, id[0], &r);
        CHECK_INT(r.n_prompt_event, 1);
        CHECK_INT(r.n_prompt_lp, n - 1);
        CHECK_INT(r.n_tok, round ? 3 : 0);
        CHECK_INT(r.n_lp, round ? 3 : 0);
        for (uint32_t i = 1; i < n; i += 7) {
            double sum = 0;
            fake_logits(tok, i, x);
            for (int k = 0; k < FAKE_VOCAB; k++) sum += exp((double)x[k]);
            CHECK_INT(r.prompt_lp[i - 1].token, tok[i]);
            CHECK_INT(r.prompt_lp[i - 1].n_top, round);
            CHECK_NEAR(r.prompt_lp[i - 1].logprob, (double)x[tok[i]] - log(sum), 1e-4);
        }
        if (round) {
            CHECK(r.top0.logprob < 0);
            CHECK_INT(r.top0.token, r.lp[2].token);
        }
        CHECK_INT(r.finish, RF_FINISH_LENGTH);
    }
    stop();
}

TEST(seeds_do_not_depend_on_the_batch)
{
    enum { N = 12 };
    static struct result alone[N], r;
    int32_t tok[N][50];
    struct rf_request q[N];
    uint64_t id[N];
    struct rf_rng g = {seed + 4};
    struct rf_engine_options opt = {.kv_blocks = 24, .max_seqs = 6, .max_step_tokens = 20, .max_model_len = 120};
    shape(1, 0, 0, 512);
    REQUIRE(start(&opt));
    for (int i = 0; i < N; i++) {
        uint32_t n = random_prompt(&g, tok[i], 49);
        q[i] = request(tok[i], n, 60);
        q[i].sampling.temperature = 1;
        q[i].sampling.top_p = 0.9f;
        q[i].sampling.has_seed = true;
        q[i].sampling.seed = (uint64_t)i;
        run(&q[i], &alone[i]);
    }
    REQUIRE(!rf_engine_submit(engine, q, N, id, &err));
    for (int i = 0; i < N; i++) {
        collect(engine, id[i], &r);
        CHECK_INT(r.n_tok, alone[i].n_tok);
        CHECK(!memcmp(r.tok, alone[i].tok, sizeof r.tok));
    }
    q[0].sampling.has_seed = false; /* without a seed: another text each time, if it may be long enough */
    q[0].sampling.ignore_eos = true;
    run(&q[0], &alone[0]);
    run(&q[0], &r);
    CHECK(r.n_tok != alone[0].n_tok || memcmp(r.tok, alone[0].tok, sizeof r.tok));
    stop();
}

TEST(refusals)
{
    const int32_t ok[] = {1, 2, 3}, bad[] = {1, FAKE_VOCAB};
    const char *empty[] = {""}, *broken[] = {"\xff"};
    struct rf_logit_bias bias = {FAKE_VOCAB, 1};
    struct rf_engine_options opt = {.kv_blocks = 8, .max_seqs = 2, .max_queue = 3, .max_queue_tokens = 200};
    uint64_t id[8];
    shape(1, 0, 0, 2000);
    REQUIRE(start(&opt)); /* the pool of 128 tokens cuts the context */
    struct rf_stats s;
    rf_engine_stats(engine, &s);
    CHECK_INT(s.max_model_len, 128);
    struct { const char *param; rf_status st; struct rf_request q; } row[20];
    int n = 0;
#define ROW(name, status, ...)                                                                                         \
    do {                                                                                                               \
        row[n].q = request(ok, 3, 5);                                                                                  \
        row[n].param = name;                                                                                           \
        row[n].st = status;                                                                                            \
        struct rf_request *q = &row[n].q;                                                                              \
        __VA_ARGS__;                                                                                                   \
        n++;                                                                                                           \
    } while (0)
    ROW("prompt", RF_INVALID, q->n_tokens = 0);
    ROW("prompt", RF_INVALID, q->tokens = NULL);
    ROW("prompt", RF_INVALID, q->tokens = bad; q->n_tokens = 2);
    ROW("temperature", RF_INVALID, q->sampling.temperature = -1);
    ROW("top_p", RF_INVALID, q->sampling.top_p = 1.5f);
    ROW("logit_bias", RF_INVALID, q->sampling.logit_bias = &bias; q->sampling.n_logit_bias = 1);
    ROW("stop", RF_INVALID, q->sampling.stop = empty; q->sampling.n_stop = 1);
    ROW("stop", RF_INVALID, q->sampling.stop = broken; q->sampling.n_stop = 1);
    ROW("stop_tokens", RF_INVALID, q->sampling.stop_tokens = &bad[1]; q->sampling.n_stop_tokens = 1);
    ROW("min_tokens", RF_INVALID, q->sampling.min_tokens = 6);
    ROW("deadline_s", RF_INVALID, q->deadline_s = NAN);
    ROW("max_tokens", RF_TOO_LONG, q->sampling.max_tokens = 126);
    static int32_t longer[130];
    ROW("prompt", RF_TOO_LONG, q->tokens = longer; q->n_tokens = 130);
    ROW("prompt", RF_TOO_LONG, q->tokens = longer; q->n_tokens = 128; q->sampling.max_tokens = -1);
    static char text[100000];
    memset(text, 'a', sizeof text);
    ROW("prompt", RF_TOO_LONG, q->tokens = NULL; q->text = text; q->text_len = sizeof text);
    for (int i = 0; i < n; i++) {
        CHECK_INT(rf_engine_submit(engine, &row[i].q, 1, id, &err), row[i].st);
        CHECK_STR(err.param, row[i].param);
    }
    /* One bad one refuses all, and nothing stays behind. */
    struct rf_request two[] = {request(ok, 3, 5), row[3].q};
    CHECK_INT(rf_engine_submit(engine, two, 2, id, &err), RF_INVALID);
    CHECK_INT(rf_engine_submit(engine, two, 0, id, &err), RF_INVALID);
    /* Five fit (2 running, 3 waiting), six do not. */
    struct rf_request six[6];
    for (int i = 0; i < 6; i++) six[i] = request(ok, 3, 50);
    CHECK_INT(rf_engine_submit(engine, six, 6, id, &err), RF_FULL);
    fake.gate = true;
    CHECK_INT(rf_engine_submit(engine, six, 5, id, &err), RF_OK);
    CHECK_INT(rf_engine_submit(engine, six, 1, id + 5, &err), RF_FULL);
    fake.gate = false;
    static struct result r;
    for (int i = 0; i < 5; i++) collect(engine, id[i], &r);
    fake.gate = true; /* tokens: 120 + 120 > 200 */
    for (int i = 0; i < 2; i++) {
        struct rf_request q = request(longer, 120, 1);
        CHECK_INT(rf_engine_submit(engine, &q, 1, &id[i], &err), i ? RF_FULL : RF_OK);
    }
    fake.gate = false;
    collect(engine, id[0], &r);
    rf_engine_stats(engine, &s);
    CHECK_INT(s.rejected, 8);
    struct rf_engine *other;
    struct rf_engine_options wrong[] = {
        {.max_model_len = 2001}, {.kv_blocks = 2, .max_model_len = 100}, {.kv_bytes = 1}, {.kv_type = 9}};
    for (size_t i = 0; i < RF_COUNT(wrong); i++)
        CHECK_INT(rf_engine_create(&other, model, &wrong[i], &err), RF_INVALID);
    stop();
}

TEST(deadlines)
{
    static struct result r;
    int32_t tok[] = {'d'};
    uint64_t id[2];
    struct rf_engine_options opt = {.max_seqs = 1};
    shape(1, 0, 0, 4096);
    REQUIRE(start(&opt));
    fake.delay_us = 2000;
    struct rf_request q = request(tok, 1, 3000), late = request(tok, 1, 5);
    q.sampling.ignore_eos = true;
    q.deadline_s = 0.15;
    late.deadline_s = 0.02;
    REQUIRE(!rf_engine_submit(engine, &q, 1, &id[0], &err) && !rf_engine_submit(engine, &late, 1, &id[1], &err));
    collect(engine, id[1], &r); /* passed while it waited: never run */
    CHECK(r.finish == RF_FINISH_ERROR && r.error == RF_DEADLINE && r.n_tok == 0);
    collect(engine, id[0], &r);
    CHECK(r.finish == RF_FINISH_ERROR && r.error == RF_DEADLINE && r.n_tok > 0);
    stop();
}

TEST(drain)
{
    static struct result r;
    int32_t tok[] = {'d'};
    uint64_t id[2];
    shape(1, 0, 0, 4096);
    for (int hard = 0; hard < 2; hard++) {
        REQUIRE(start(NULL));
        fake.delay_us = 1000;
        struct rf_request q = request(tok, 1, hard ? 4000 : 30);
        q.sampling.ignore_eos = true;
        REQUIRE(!rf_engine_submit(engine, &q, 1, id, &err));
        CHECK_INT(rf_engine_drain(engine, hard ? 0.05 : 30), hard ? RF_DEADLINE : RF_OK);
        collect(engine, id[0], &r);
        CHECK_INT(r.finish, hard ? RF_FINISH_ABORT : RF_FINISH_LENGTH);
        CHECK_INT(rf_engine_submit(engine, &q, 1, id, &err), RF_SHUTDOWN);
        CHECK_INT(rf_engine_drain(engine, 0), RF_OK);
        stop();
    }
}

/* ---- callbacks ---- */

struct counter { atomic_uint n_tok, n_done; uint64_t first, last; };
static void count_event(void *ctx, const struct rf_event *ev)
{
    struct counter *c = ctx;
    uint32_t n = atomic_fetch_add(&c->n_tok, (unsigned)ev->n_tokens) + (unsigned)ev->n_tokens;
    if (n == 8 * 20) c->first = rf_mem_count();
    if (n == 8 * 200) c->last = rf_mem_count();
    if (ev->kind >= RF_EVENT_DONE) c->n_done++;
}

TEST(decode_allocates_nothing)
{
    static struct counter c;
    int32_t tok[8][20];
    struct rf_request q[8];
    const char *stops[] = {"never", "neither"};
    struct rf_logit_bias no_poison = {FAKE_POISON, -100}; /* sampled now and then otherwise, and ends its request */
    shape(2, 0, 30, 1024);
    memset(&c, 0, sizeof c);
    REQUIRE(start(NULL));
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 20; k++) tok[i][k] = 'a' + i;
        q[i] = request(tok[i], 20, 250);
        q[i].sampling.ignore_eos = true;
        q[i].sampling.temperature = i & 1 ? 0.8f : 0;
        q[i].sampling.top_p = i & 2 ? 0.9f : 1;
        q[i].sampling.has_seed = true;
        q[i].sampling.seed = seed + (uint64_t)i;
        q[i].sampling.logit_bias = &no_poison;
        q[i].sampling.n_logit_bias = 1;
        q[i].sampling.logprobs = i & 4 ? 3 : -1;
        q[i].sampling.frequency_penalty = fake.overlaps ? 0 : 0.1f; /* a penalty needs the token before */
        q[i].sampling.stop = stops;
        q[i].sampling.n_stop = 2;
        q[i].on_event = count_event;
        q[i].ctx = &c;
    }
    REQUIRE(!rf_engine_submit(engine, q, 8, NULL, &err));
    while (c.n_done < 8) usleep(1000);
    CHECK_INT(c.n_tok, 8 * 250);
    CHECK(c.first > 0);
    CHECK_INT(c.last, c.first);
    stop();
}

struct chain { atomic_int n_left, n_abort; struct rf_request q; atomic_bool done; };
static void chain_event(void *ctx, const struct rf_event *ev)
{
    struct chain *c = ctx;
    if (ev->kind == RF_EVENT_TOKENS) rf_engine_abort(engine, ev->id);
    if (ev->kind != RF_EVENT_DONE) return;
    c->n_abort += ev->finish == RF_FINISH_ABORT;
    if (--c->n_left <= 0 || rf_engine_submit(engine, &c->q, 1, NULL, NULL)) c->done = true;
}

TEST(callbacks_may_submit_and_abort)
{
    static struct chain c;
    int32_t tok[] = {'c', 'b'};
    shape(1, 0, 0, 512);
    memset(&c, 0, sizeof c);
    REQUIRE(start(NULL));
    c.n_left = 50;
    c.q = request(tok, 2, 100);
    c.q.on_event = chain_event;
    c.q.ctx = &c;
    REQUIRE(!rf_engine_submit(engine, &c.q, 1, NULL, &err));
    while (!c.done) usleep(1000);
    CHECK_INT(c.n_abort, 50);
    CHECK_INT(rf_engine_drain(engine, 5), RF_OK);
    stop();
}

static void *poll_forever(void *arg)
{
    struct rf_event *ev;
    uint64_t id = *(uint64_t *)arg;
    while (!rf_engine_poll(engine, id, -1, &ev)) rf_event_free(ev);
    return NULL;
}

TEST(free_ends_everything)
{
    int32_t tok[] = {'f'};
    for (int round = 0; round < 10; round++) {
        pthread_t thread[6]; /* two fetch the events of each request */
        uint64_t id[3];
        shape(1, 0, 0, 4096);
        REQUIRE(start(NULL));
        fake.delay_us = 300;
        struct rf_request q = request(tok, 1, 4000);
        q.sampling.ignore_eos = true;
        for (int i = 0; i < 3; i++) {
            REQUIRE(!rf_engine_submit(engine, &q, 1, &id[i], &err));
            for (int k = 0; k < 2; k++) REQUIRE(!pthread_create(&thread[2 * i + k], NULL, poll_forever, &id[i]));
        }
        usleep(3000);
        /* The last event of each reaches its poller; then the engine goes. */
        CHECK_INT(rf_engine_drain(engine, 0.001), RF_DEADLINE);
        for (int i = 0; i < 6; i++) pthread_join(thread[i], NULL);
        rf_engine_free(engine);
        rf_model_close(model);
        REQUIRE(start(NULL)); /* and freed with work in flight and events unread */
        for (int i = 0; i < 3; i++) REQUIRE(!rf_engine_submit(engine, &q, 1, &id[i], &err));
        rf_engine_free(engine);
        rf_model_close(model);
    }
    CHECK_INT(fake.n_error, 0);
}

/* ---- several threads, two engines ---- */

struct worker { struct rf_engine *e; uint64_t seed; int bad; };
static void *work(void *arg)
{
    struct worker *w = arg;
    struct rf_rng g = {w->seed};
    struct result *r = malloc(sizeof *r);
    int32_t tok[200], want[300];
    for (int i = 0; i < 15; i++) {
        uint32_t n = random_prompt(&g, tok, 120);
        struct rf_request q = request(tok, n, 30);
        uint64_t id;
        if (rf_engine_submit(w->e, &q, 1, &id, NULL)) {
            w->bad++;
            continue;
        }
        if (rf_rng_below(&g, 4) == 0) rf_engine_abort(w->e, id);
        collect(w->e, id, r);
        memcpy(want, tok, n * sizeof *tok);
        uint32_t made = fake_greedy(want, n, 30, false);
        if (r->finish != RF_FINISH_ABORT && (r->n_tok != made || memcmp(r->tok, want + n, made * sizeof *tok)))
            w->bad++;
        struct rf_stats s;
        rf_engine_stats(w->e, &s);
    }
    free(r);
    return NULL;
}

TEST(threads_and_two_engines)
{
    struct rf_engine_options opt = {.kv_blocks = 40, .max_seqs = 8, .max_step_tokens = 40, .max_model_len = 300};
    struct worker w[8];
    pthread_t thread[8];
    struct rf_engine *second;
    shape(1, 0, 0, 512);
    REQUIRE(start(&opt) && !rf_engine_create(&second, model, &opt, &err));
    for (int i = 0; i < 8; i++) {
        w[i] = (struct worker){i & 1 ? second : engine, seed + (uint64_t)i, 0};
        REQUIRE(!pthread_create(&thread[i], NULL, work, &w[i]));
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(thread[i], NULL);
        CHECK_INT(w[i].bad, 0);
    }
    rf_engine_free(second);
    stop();
}

TEST(every_allocation_may_fail)
{
    int32_t tok[] = {'m', 'e', 'm'};
    const char *stops[] = {"zz"};
    struct rf_engine_options opt = {.kv_blocks = 8, .max_seqs = 2, .max_step_tokens = 16};
    struct rf_event *ev;
    int n_ok = 0;
    shape(1, 0, 0, 64);
    for (uint64_t k = 1; k < 400 && n_ok < 3; k++) {
        uint64_t id;
        struct rf_request q = request(tok, 3, 6);
        q.sampling.stop = stops;
        q.sampling.n_stop = 1;
        q.sampling.logprobs = q.sampling.prompt_logprobs = 2;
        q.sampling.min_tokens = 2;
        rf_mem_fail_at(k);
        if (start(&opt) && !rf_engine_submit(engine, &q, 1, &id, &err)) {
            enum rf_finish why = RF_FINISH_NONE;
            while (!why && !rf_engine_poll(engine, id, 20000, &ev)) {
                why = ev->finish;
                CHECK(why != RF_FINISH_ERROR || ev->error->status == RF_NOMEM);
                rf_event_free(ev);
            }
            CHECK(why != RF_FINISH_NONE);
            n_ok = why != RF_FINISH_ERROR ? n_ok + 1 : 0;
        } else {
            n_ok = 0;
            CHECK_INT(err.status, RF_NOMEM);
        }
        rf_mem_fail_at(0);
        rf_engine_free(engine);
        rf_model_close(model);
    }
    CHECK_INT(n_ok, 3);
}

static void run_all(void)
{
    RUN(one_request);
    RUN(crowd_full);
    RUN(crowd_no_prefix);
    RUN(crowd_window);
    RUN(crowd_two_windows);
    RUN(prefix_cache);
    RUN(abort_frees_all);
    RUN(poison_harms_nobody_else);
    RUN(device_failure);
    RUN(stop_strings);
    RUN(stop_is_held_back);
    RUN(logprobs);
    RUN(seeds_do_not_depend_on_the_batch);
    RUN(refusals);
    RUN(deadlines);
    RUN(drain);
    RUN(decode_allocates_nothing);
    RUN(callbacks_may_submit_and_abort);
    RUN(free_ends_everything);
    RUN(threads_and_two_engines);
    RUN(every_allocation_may_fail);
}

int main(void)
{
    seed = check_seed();
    run_all();
    printf("# the same with a device of its own, which chooses tokens while the host does other things\n");
    fake.overlaps = true;
    run_all();
    return check_end();
}
