/* Steps that begin before the tokens of the step before are here (step.c): never another text. With a toy that computes at once,
 * and with one that is a device of its own. */
#include "check.h"
#include "toy_ask.h"

/* Mixed with all that needs the host's word, steps begin ahead where they may, and no text changes by it. */
TEST(steps_ahead)
{
    enum { N = 24 };
    static struct result want[N], r;
    static const struct rf_logit_bias bias[] = {{'q', 3}, {'x', -100}};
    int32_t tok[N][50];
    const char *stops[] = {"e", "zz"};
    struct rf_request q[N];
    uint64_t id[N];
    struct rf_stats s;
    for (int way = 0; way < 3; way++) { /* step by step; ahead, one by one; ahead, together */
        struct rf_engine_options opt = {.kv_blocks = 60, .max_seqs = 6, .max_step_tokens = 40, .max_model_len = 160, .no_async_scheduling = !way};
        struct rf_rng g = {seed + 11};
        shape(2, 0, 20, 512);
        REQUIRE(start(&opt));
        for (int i = 0; i < N; i++) {
            uint32_t n = random_prompt(&g, tok[i], 49);
            q[i] = request(tok[i], n, (i % 8 == 5 ? 12 : 1) + (int32_t)rf_rng_below(&g, 60));
            struct rf_sampling *p = &q[i].sampling;
            p->temperature = rf_rng_below(&g, 2) ? 0.8f : 0;
            p->seed = (uint64_t)i, p->has_seed = true;
            switch (i % 8) {
            case 1: p->top_k = 5, p->min_p = 0.05f; break;
            case 2: p->logprobs = 3; break;
            case 3: p->stop = stops, p->n_stop = 2; break;
            case 4: p->logit_bias = bias, p->n_logit_bias = 2; break;
            case 5: p->min_tokens = 12; break;
            case 6: if (i > 8) p->repetition_penalty = 1.3f, p->presence_penalty = 0.5f; break;
            case 7: if (i > 16) p->typical_p = 0.7f, p->temperature = 1; break;
            default: p->top_p = 0.8f;
            }
        }
        if (way == 2) REQUIRE(!rf_engine_submit(engine, q, N, id, &err));
        for (int i = 0; i < N; i++) {
            if (way == 2) collect(engine, id[i], &r);
            else run(&q[i], &r);
            if (!way) want[i] = r;
            CHECK_INT(r.n_tok, want[i].n_tok);
            CHECK(!memcmp(r.tok, want[i].tok, r.n_tok * sizeof *r.tok));
            CHECK(r.finish == want[i].finish && r.stop_token == want[i].stop_token && !strcmp(r.text, want[i].text));
            CHECK_INT(r.usage.completion_tokens, want[i].usage.completion_tokens);
            CHECK_INT(r.n_lp, want[i].n_lp);
        }
        rf_engine_stats(engine, &s);
        printf("# way %d: %llu steps, %llu of them ahead\n", way, (unsigned long long)s.n_steps, (unsigned long long)s.n_async_steps);
        CHECK(way && fake.overlaps ? s.n_async_steps * (way == 1 ? 2 : 8) > s.n_steps : s.n_async_steps == 0);
        stop();
    }
}

int main(void)
{
    seed = check_seed();
    RUN(steps_ahead);
    fake.overlaps = true;
    RUN(steps_ahead);
    return check_end();
}
