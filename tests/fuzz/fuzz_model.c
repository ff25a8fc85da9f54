/* fuzz_model: the input is a GGUF file without its tensors' data; 128 KB of numbers follow. What opens is a model like any
 * other: it is described, and answers a request of a few tokens.
 */
#include "unit/format/ggufmake.h"

#include "base/rng.h"

enum { DATA = 128 << 10 };

static void answer(struct rf_model *m)
{
    struct rf_engine_options o = {.kv_blocks = 16, .max_seqs = 2, .max_step_tokens = 32};
    struct rf_request q = {.text = "ab a", .text_len = 4};
    struct rf_engine *e;
    struct rf_event *ev;
    struct rf_error err;
    uint64_t id;
    if (rf_engine_create(&e, m, &o, &err)) return;
    rf_model_sampling_default(m, &q.sampling);
    q.sampling.max_tokens = 3;
    q.sampling.logprobs = 2;
    if (!rf_engine_submit(e, &q, 1, &id, &err))
        while (!rf_engine_poll(e, id, -1, &ev)) rf_event_free(ev);
    rf_engine_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct rf_buf numbers;
    struct rf_model_options o = {.device = "cpu", .n_threads = 1, .isa = "ref"};
    struct rf_buf b = {0};
    struct rf_model *m;
    struct rf_error err;
    char *text;
    if (!*mk_dir) {
        struct rf_rng r = {7};
        mk_dir_begin();
        atexit(mk_dir_end);
        for (int i = 0; i < DATA / 4; i++) {
            float f = (float)rf_rng_below(&r, 2001) / 1000 - 1;
            rf_buf_append(&numbers, &f, sizeof f);
        }
    }
    rf_buf_append(&b, data, n);
    mk_pad(&b, 32);
    rf_buf_append(&b, numbers.data, numbers.len);
    const char *path = mk_write("in.gguf", b.data, b.len);
    rf_buf_release(&b);
    if (rf_model_open(&m, path, &o, &err)) return 0;
    if (!rf_model_describe(m, true, &text, &err)) rf_free(text);
    answer(m);
    rf_model_close(m);
    return 0;
}
