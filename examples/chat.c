/* chat.c - one question to a model from C.   cc chat.c $(pkg-config --cflags --libs rocmforge) -o chat && ./chat MODEL "..." */
#include <rocmforge.h>
#include <stdio.h>
#include <string.h>

static int fail(const struct rf_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    return 1;
}

int main(int argc, char **argv)
{
    struct rf_error err = {0};
    struct rf_model *model;
    struct rf_engine *engine;
    if (argc != 3) return fprintf(stderr, "usage: chat MODEL QUESTION\n"), 2;
    if (rf_model_open(&model, argv[1], NULL, &err)) return fail(&err);
    if (rf_engine_create(&engine, model, NULL, &err)) return fail(&err);

    struct rf_request req = {.text = argv[2], .text_len = strlen(argv[2])};
    rf_model_sampling_default(model, &req.sampling);
    req.sampling.temperature = 0;
    req.sampling.max_tokens = 200;
    uint64_t id;
    if (rf_engine_submit(engine, &req, 1, &id, &err)) return fail(&err);

    struct rf_event *ev;
    while (rf_engine_poll(engine, id, -1, &ev) == RF_OK) {
        fwrite(ev->text, 1, ev->text_len, stdout);
        fflush(stdout);
        if (ev->kind == RF_EVENT_ERROR) fail(ev->error);
        rf_event_free(ev);
    }
    putchar('\n');
    rf_engine_free(engine);
    rf_model_close(model);
    return 0;
}
