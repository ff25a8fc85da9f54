/* The watchdog over steps, against the toy model of fake_model.h. */
#include <unistd.h>

#include "toy_engine.h"

static const int32_t prompt[] = {FAKE_BOS, 270, 271, 272};

static bool start_toy(const struct rf_engine_options *opt)
{
    fake_shape = (struct fake_shape){2, {0, 32}, 256};
    return start(opt);
}

/* A step that hangs: the running, the waiting and the new are told, and a thread that comes back touches nothing. */
TEST(step_hangs)
{
    struct rf_request q[3];
    uint64_t id[3];
    REQUIRE(start_toy(&(struct rf_engine_options){.max_seqs = 1, .step_timeout_s = 0.2}));
    for (int i = 0; i < 3; i++) q[i] = request(prompt, RF_COUNT(prompt), 4);
    fake.gate = true;
    REQUIRE(!rf_engine_submit(engine, q, 3, id, &err));
    for (int i = 0; i < 3; i++) {
        struct rf_event *ev;
        REQUIRE(!rf_engine_poll(engine, id[i], 20000, &ev));
        CHECK(ev->kind == RF_EVENT_ERROR && ev->error->status == RF_DEVICE);
        CHECK(ev->kind == RF_EVENT_ERROR && strstr(ev->error->message, "did not end within 0.2 s (--step-timeout)"));
        rf_event_free(ev);
    }
    CHECK_INT(rf_engine_submit(engine, q, 1, id, &err), RF_DEVICE);
    CHECK(strstr(err.message, "the device hangs"));
    CHECK_INT(rf_engine_drain(engine, 5), RF_OK);
    fake.gate = false;
    stop();
}

/* Slow steps that do end are nobody's business, and nor are pauses between them. */
TEST(slow_steps_do_not_hang)
{
    fake.delay_us = 30000;
    REQUIRE(start_toy(&(struct rf_engine_options){.step_timeout_s = 2}));
    for (int i = 0; i < 2; i++) {
        struct rf_request q = request(prompt, RF_COUNT(prompt), 8);
        uint64_t id;
        q.sampling.ignore_eos = true;
        REQUIRE(!rf_engine_submit(engine, &q, 1, &id, &err));
        for (bool last = false; !last;) {
            struct rf_event *ev;
            REQUIRE(!rf_engine_poll(engine, id, 20000, &ev));
            CHECK(ev->kind != RF_EVENT_ERROR);
            last = ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR;
            rf_event_free(ev);
        }
        usleep(50000);
    }
    fake.delay_us = 0;
    stop();
}

int main(void)
{
    RUN(step_hangs);
    RUN(slow_steps_do_not_hang);
    return check_end();
}
