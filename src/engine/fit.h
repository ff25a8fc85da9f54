/* fit.h - does a model with its KV cache fit a device? Private to this room. */
#ifndef RF_ENGINE_FIT_H
#define RF_ENGINE_FIT_H

#include "engine/handle.h"
#include "kv/table.h"

/* What an engine with these options computes at once; zeros become the defaults of this device. n_block is left 0. */
void rf_fit_runner_options(const struct rf_model *m, const struct rf_engine_options *o, struct rf_runner_options *r);
/* Tokens of the context where no option says: what was advised for the model, at most its own; else that; 4,096 where it does not say. */
uint32_t rf_fit_ctx(const struct rf_model *m);
/* KV options of the model's shape: groups, windows, and most tokens of a step. */
void rf_fit_kv_options(const struct rf_model *m, uint32_t max_step_tokens, struct rf_kv_options *k);

/* Before anything lies on the device: weights, the smallest useful KV cache (what the options ask for, else 512 tokens) and scratch
 * memory against what may be used. RF_NOMEM with all of these numbers and the longest context that would fit, or that none does. */
rf_status rf_fit_check(const struct rf_model *m, const struct rf_engine_options *o, double fraction, struct rf_error *err);

/* The longest sequence, of at most ctx tokens, that n_block blocks hold. */
uint32_t rf_fit_longest(const struct rf_kv_options *k, uint32_t ctx, uint64_t n_block);

#endif
