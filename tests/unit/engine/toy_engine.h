/* toy_engine.h - an engine over the toy model, opened, asked and freed: what test_engine.c and test_watch.c share. */
#ifndef RF_TESTS_TOY_ENGINE_H
#define RF_TESTS_TOY_ENGINE_H

#include "base/mem.h"
#include "check.h"
#include "fake_model.h"

static struct rf_model *model;
static struct rf_engine *engine;
static struct rf_error err;

static bool start(const struct rf_engine_options *opt)
{
    model = NULL;
    engine = NULL;
    return !rf_model_open(&model, "toy", NULL, &err) && !rf_engine_create(&engine, model, opt, &err);
}

/* Frees all, after checking that every block came back. */
static void stop(void)
{
    struct rf_stats s;
    rf_engine_stats(engine, &s);
    CHECK_INT(s.n_blocks_free, s.n_blocks);
    CHECK_INT(s.n_running + s.n_waiting, 0);
    CHECK_INT(s.waiting_tokens, 0);
    CHECK_INT(fake.n_error, 0);
    rf_engine_free(engine);
    rf_model_close(model);
}

static struct rf_request request(const int32_t *tok, size_t n, int32_t max_tokens)
{
    struct rf_request r = {.tokens = tok, .n_tokens = n};
    rf_sampling_default(&r.sampling);
    r.sampling.temperature = 0;
    r.sampling.max_tokens = max_tokens;
    return r;
}

#endif
