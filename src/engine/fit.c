#include "engine/fit.h"

#include <stdio.h>

#include "base/mem.h"

enum { DEFAULT_SEQS = 256, DEFAULT_STEP = 512, DEFAULT_DEVICE_STEP = 2048, MIN_ROWS = 64, UNKNOWN_CTX = 4096, USEFUL_CTX = 512 };
enum { DEVICE_LOGITS = 160 << 20 }; /* bytes of them in a GPU's memory that nobody asked for: a vocabulary of 262,144 gets 160 sequences */

static uint32_t default_seqs(const struct rf_model *m)
{
    const uint32_t n_vocab = rf_lm_shape_get(m->lm)->n_vocab;
    if (m->backend->info.host_memory || !n_vocab) return DEFAULT_SEQS;
    return RF_MAX(RF_MIN(DEVICE_LOGITS / sizeof(float) / n_vocab, (size_t)DEFAULT_SEQS), (size_t)MIN_ROWS);
}

void rf_fit_runner_options(const struct rf_model *m, const struct rf_engine_options *o, struct rf_runner_options *r)
{
    uint32_t step = o->max_step_tokens ? o->max_step_tokens : m->backend->info.host_memory ? DEFAULT_STEP : DEFAULT_DEVICE_STEP;
    uint32_t seqs = RF_MIN(o->max_seqs ? o->max_seqs : default_seqs(m), step); /* each decodes in each step */
    *r = (struct rf_runner_options){.max_tok = step, .max_seq = seqs, .max_out = RF_MAX(seqs, RF_MIN(step, (uint32_t)MIN_ROWS)),
                                    .kv_type = o->kv_type, .precise = o->precise};
}

void rf_fit_kv_options(const struct rf_model *m, uint32_t max_step_tokens, struct rf_kv_options *k)
{
    const struct rf_lm_shape *shape = rf_lm_shape_get(m->lm);
    *k = (struct rf_kv_options){.n_group = shape->n_group, .max_step_tokens = max_step_tokens};
    for (uint32_t g = 0; g < shape->n_group; g++) k->window[g] = shape->group[g].window;
}

uint32_t rf_fit_longest(const struct rf_kv_options *k, uint32_t ctx, uint64_t n_block)
{
    uint32_t low = 0, high = ctx;
    while (low < high) {
        uint32_t mid = low + (high - low + 1) / 2;
        if (rf_kv_options_need(k, mid) <= n_block) low = mid;
        else high = mid - 1;
    }
    return low;
}

uint32_t rf_fit_ctx(const struct rf_model *m)
{
    uint32_t own = rf_lm_shape_get(m->lm)->n_ctx_train, advised = m->n_ctx_advised;
    if (!advised) return own ? own : UNKNOWN_CTX;
    return own ? RF_MIN(own, advised) : advised;
}

/* What does not fit 64 bits fits no device. */
static uint64_t sum(uint64_t a, uint64_t b) { return rf_add64(a, b, &a) ? a : UINT64_MAX; }
static uint64_t product(uint64_t a, uint64_t b) { return rf_mul64(a, b, &a) ? a : UINT64_MAX; }

static double mb(uint64_t bytes) { return (double)bytes * 1e-6; }

/* The longest context that leaves weights and scratch their room. Scratch grows with the context: it is asked for each. */
static uint32_t longest_fit(const struct rf_model *m, const struct rf_kv_options *k, const struct rf_runner_options *r, uint64_t block, uint32_t ctx)
{
    uint32_t low = 0, high = ctx;
    while (low < high) {
        uint32_t mid = low + (high - low + 1) / 2;
        uint64_t fixed = sum(rf_lm_weight_bytes(m->lm), rf_runner_scratch_bytes(m->lm, r, mid));
        if (sum(fixed, product(rf_kv_options_need(k, mid), block)) <= m->backend->info.memory_free) low = mid;
        else high = mid - 1;
    }
    return low;
}

rf_status rf_fit_check(const struct rf_model *m, const struct rf_engine_options *o, double fraction, struct rf_error *err)
{
    static const struct rf_engine_options none;
    const struct rf_backend_info *b = &m->backend->info;
    struct rf_runner_options r;
    struct rf_kv_options k;
    if (b->host_memory) return RF_OK;
    if (!o) o = &none;
    rf_fit_runner_options(m, o, &r);
    rf_fit_kv_options(m, r.max_tok, &k);
    uint32_t all = rf_fit_ctx(m), ctx = o->max_model_len ? o->max_model_len : RF_MIN(all, (uint32_t)USEFUL_CTX);
    uint64_t block = rf_lm_kv_block_bytes(m->lm, o->kv_type), kv = product(rf_kv_options_need(&k, ctx), block);
    if (o->kv_blocks) kv = product(o->kv_blocks, block);
    else if (o->kv_bytes) kv = o->kv_bytes;
    uint64_t weights = rf_lm_weight_bytes(m->lm), scratch = rf_runner_scratch_bytes(m->lm, &r, ctx), need = sum(sum(weights, scratch), kv);
    if (need <= b->memory_free) return RF_OK;
    uint32_t longest = longest_fit(m, &k, &r, block, all);
    char way[160] = "no context fits: take a smaller quantisation, fewer --max-step-tokens and --max-seqs, another card, or --device cpu";
    if (longest) snprintf(way, sizeof way, "a context of %u tokens would fit: --ctx %u%s", longest, longest, o->kv_blocks || o->kv_bytes ? " and no size of the cache" : "");
    return rf_fail(err, RF_NOMEM, "%s: weights of %.1f MB, a KV cache of %.1f MB for %u tokens and %.1f MB of scratch memory make %.1f MB, but %.1f of %.1f MB "
                                  "may be used (free, and within --gpu-memory-fraction %g); %s", b->name, mb(weights), mb(kv), ctx, mb(scratch), mb(need),
                   mb(b->memory_free), mb(b->memory_total), fraction, way);
}
