/* open.c - opening a model: the header first, then tokenizer and template on one thread and weights on another, so that
 * the first token of a cached file comes as soon as the slower of the two is done. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "engine/fit.h"

struct text_job {
    struct rf_model *m;
    const char *override;
    rf_status status;
    struct rf_error err;
};

static rf_status text_open(struct rf_model *m, const char *override, struct rf_error *err)
{
    struct rf_ids ids = {0};
    RF_TRY(rf_tokenizer_open(&m->tokenizer, m->weights, err));
    RF_TRY(rf_handle_chat_open(m, override, err));
    rf_status st = rf_tokenizer_encode(m->tokenizer, "", 0, RF_TOK_ADD_SPECIAL, NULL, 0, &ids, err);
    m->adds_bos = !st && ids.n && ids.id[0] >= 0 && ids.id[0] == rf_tokenizer_bos(m->tokenizer);
    rf_ids_release(&ids);
    return st;
}

static void *text_main(void *arg)
{
    struct text_job *j = arg;
    j->status = text_open(j->m, j->override, &j->err);
    return NULL;
}

static rf_status weights_load(struct rf_model *m, const struct rf_model_options *opt, struct rf_error *err)
{
    struct rf_backend_options b = {.device = opt->device, .n_threads = opt->n_threads, .isa = opt->isa, .attention = opt->attention, .allow_cpu = opt->allow_cpu,
                                   .memory_fraction = opt->gpu_memory_fraction > 0 ? opt->gpu_memory_fraction : RF_MEMORY_FRACTION};
    if (!(b.memory_fraction <= 1))
        return rf_fail_param(err, RF_INVALID, "gpu_memory_fraction", "gpu_memory_fraction: found %g, expected more than 0 and at most 1", b.memory_fraction);
    RF_TRY(rf_backend_open(&m->backend, &b, err));
    RF_TRY(rf_lm_open(&m->lm, m->weights, m->backend, err));
    RF_TRY(rf_fit_check(m, opt->engine, b.memory_fraction, err));
    return rf_lm_load(m->lm, opt->progress, opt->progress_ctx, err);
}

/* Both halves at once; on one thread after the other if no thread can be had. */
static rf_status load(struct rf_model *m, const struct rf_model_options *opt, struct rf_error *err)
{
    struct text_job j = {.m = m, .override = opt->chat_template};
    pthread_t thread;
    bool threaded = !(opt->flags & RF_OPEN_VOCAB) && !pthread_create(&thread, NULL, text_main, &j);
    if (!threaded) text_main(&j);
    rf_status st = opt->flags & RF_OPEN_VOCAB ? RF_OK : weights_load(m, opt, err);
    if (threaded) pthread_join(thread, NULL);
    if (!st && j.status) {
        st = j.status;
        if (err) *err = j.err;
    }
    return st;
}

rf_status rf_model_open(struct rf_model **out, const char *path, const struct rf_model_options *opt,
                        struct rf_error *err)
{
    static const struct rf_model_options none;
    if (!out) return rf_fail_param(err, RF_INVALID, "out", "rf_model_open: out is NULL");
    *out = NULL;
    if (!path || !*path)
        return rf_fail_param(err, RF_INVALID, "path", "model path: found nothing, expected a file or folder");
    if (!opt) opt = &none;
    struct rf_model *m = rf_alloc_array(1, sizeof *m);
    if (!m) return rf_fail_nomem(err, path, sizeof *m);
    m->device_ready = !pthread_mutex_init(&m->device, NULL);
    rf_status st =
        m->device_ready ? rf_weights_open(&m->weights, path, err) : rf_fail_nomem(err, "model lock", sizeof m->device);
    if (!st) st = rf_handle_advice_open(m, opt, err);
    if (!st && !(opt->flags & RF_OPEN_META)) st = load(m, opt, err);
    if (!st) st = rf_handle_info_fill(m, path, err);
    if (m->weights) { /* a file that changed under the load explains every other error */
        struct rf_error changed;
        rf_status lost = rf_handle_check(m, &changed);
        if (lost && err) *err = changed;
        st = lost ? lost : st;
    }
    if (st) rf_model_close(m);
    else *out = m;
    return st;
}

rf_status rf_handle_check(struct rf_model *m, struct rf_error *err)
{
    rf_status st = rf_weights_check(m->weights, err);
    if (st) atomic_store(&m->lost, true);
    else if (atomic_load(&m->lost))
        st = rf_fail(err, RF_IO, "%s: the file was changed while in use; load the model again", m->info.path);
    return st;
}

rf_status rf_model_check(struct rf_model *m, struct rf_error *err) { return rf_handle_check(m, err); }
rf_status rf_guard_files(struct rf_error *err) { return rf_file_guard(err); }

void rf_model_close(struct rf_model *m)
{
    if (!m || atomic_load(&m->stuck)) return;
    if (m->lm) rf_lm_close(m->lm);
    if (m->backend) rf_backend_close(m->backend);
    rf_template_free(m->chat);
    rf_template_free(m->chat_tools);
    if (m->tokenizer) rf_tokenizer_close(m->tokenizer);
    if (m->weights) rf_weights_close(m->weights);
    if (m->device_ready) pthread_mutex_destroy(&m->device);
    rf_handle_advice_close(m);
    rf_arena_release(&m->arena);
    rf_free(m);
}

void rf_model_info_get(const struct rf_model *m, struct rf_model_info *out) { *out = m->info; }

static rf_status need_tokenizer(const struct rf_model *m, struct rf_error *err)
{
    return m->tokenizer ? RF_OK : rf_fail(err, RF_UNSUPPORTED, "%s: opened without its tokenizer", m->info.path);
}

rf_status rf_model_tokenize(const struct rf_model *m, const char *text, size_t len, uint32_t flags, int32_t **out,
                            size_t *n, struct rf_error *err)
{
    struct rf_ids ids = {0};
    *out = NULL;
    *n = 0;
    RF_TRY(need_tokenizer(m, err));
    rf_status st = rf_tokenizer_encode(m->tokenizer, text, len, flags, NULL, 0, &ids, err);
    if (st) {
        rf_ids_release(&ids);
        return st;
    }
    *out = ids.id;
    *n = ids.n;
    return RF_OK;
}

rf_status rf_model_detokenize(const struct rf_model *m, const int32_t *ids, size_t n, bool skip_special, char **out,
                              size_t *len, struct rf_error *err)
{
    struct rf_buf b = {0};
    size_t n_byte;
    *out = NULL;
    if (len) *len = 0;
    RF_TRY(need_tokenizer(m, err));
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= m->info.n_vocab)
            return rf_fail_param(err, RF_INVALID, "tokens", "token %zu: found id %d, expected 0 to %u", i, ids[i],
                                 m->info.n_vocab - 1);
    rf_status st = rf_tokenizer_decode(m->tokenizer, ids, n, skip_special, &b);
    char *text = st ? NULL : rf_buf_take(&b, &n_byte);
    rf_buf_release(&b);
    if (!text) return rf_fail_nomem(err, "text of tokens", n);
    *out = text;
    if (len) *len = n_byte;
    return RF_OK;
}

const char *rf_model_token_bytes(const struct rf_model *m, int32_t id, size_t *len)
{
    struct rf_str s = {0};
    if (m->tokenizer && id >= 0 && (uint32_t)id < rf_tokenizer_n_vocab(m->tokenizer))
        s = rf_tokenizer_bytes(m->tokenizer, id);
    *len = s.s ? s.n : 0;
    return s.s;
}
