/* fake_model.h - a deterministic toy behind the doors that the engine uses (model, tokenizer, weights, template, backend).
 *
 * Its KV store keeps the token id and position of every slot. Logits come from a hash over the tokens as read back through
 * the block tables, once per cache group, so a wrong table, a stale block or a missed copy gives another text, and a slot
 * that holds another position than it should is counted as an error.
 */
#ifndef RF_TESTS_FAKE_MODEL_H
#define RF_TESTS_FAKE_MODEL_H

#include <stdatomic.h>

#include "model/model.h"

enum { FAKE_VOCAB = 300, FAKE_BOS = 256, FAKE_EOS = 257, FAKE_POISON = 258, FAKE_WORDS = 260 };

struct fake_shape { uint32_t n_group, window[4], n_ctx; }; /* set before rf_model_open */
extern struct fake_shape fake_shape;

struct fake_control {
    atomic_uint n_forward, n_token, n_error, n_copy, max_batch;
    atomic_uint fail_forward;  /* the k-th from now fails; 0: none */
    atomic_uint delay_us;      /* of every forward pass */
    atomic_bool gate;          /* while true, forward waits */
    atomic_bool overlaps;      /* a device of its own: it chooses tokens, and steps begin before the one before has ended */
    atomic_bool changed;       /* the file of models opened as "victim" was changed in place */
};
extern struct fake_control fake;

/* The logits after token[0..n-1] as the toy defines them, from a plain array. */
void fake_logits(const int32_t *token, uint32_t n, float *logits);
/* Greedy text: appends up to n_new tokens (EOS included, it ends) to token[0..n-1]; returns how many. */
uint32_t fake_greedy(int32_t *token, uint32_t n, uint32_t n_new, bool ignore_eos);

#endif
