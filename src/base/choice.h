/* choice.h - the choice of a token from a row of logits, as numbers: what any sampler is told, on the host (sample/) or on a
 * device (backend.h), and the arithmetic that makes them agree.
 *
 * A weight w = exp((x - max) * scale) counts as the whole number w * 2^40, cut off: sums are exact in any order, so two samplers that see
 * equal logits choose the same token. What weighs nothing then (w < 9e-13) is never drawn. Tokens are preferred by their
 * logit, then by the lower id; -0 equals 0.
 *   top_k: the most preferred k.  top_p: the most preferred whose weights reach top_p of those that top_k left.
 *   min_p: those with w >= min_p.  Then the draw: by rising id, the first at which the sum of weights passes draw * total / 2^64.
 */
#ifndef RF_BASE_CHOICE_H
#define RF_BASE_CHOICE_H

#include <stdint.h>

enum { RF_CHOICE_TOP = 32 }; /* most logprobs of a row that a device gives */
#define RF_CHOICE_ALL UINT64_MAX /* top_p: off */

/* x = x + add, then where divide is not 1: x / divide if x > 0 else x * divide, then min(x, FLT_MAX) - minus. */
struct rf_choice_edit { int32_t token; float add, divide, minus; };

enum rf_choice_by { RF_CHOICE_NONE, RF_CHOICE_BEST, RF_CHOICE_DRAW }; /* nothing; the most preferred; as above */

struct rf_choice {
    enum rf_choice_by by;
    float scale;      /* 1 / temperature */
    uint32_t top_k;   /* 0: off */
    float min_p;      /* 0: off */
    uint64_t top_p;   /* of 2^64; RF_CHOICE_ALL: off */
    uint64_t draw;    /* random bits */
    int32_t n_top;    /* -1: no logprob wanted, else so many of the best, up to RF_CHOICE_TOP */
    const struct rf_choice_edit *edit; /* [n_edit], each token once */
    uint32_t n_edit;
};

enum rf_chosen_state { RF_CHOSEN_NONE, RF_CHOSEN_TOKEN, RF_CHOSEN_NAN, RF_CHOSEN_FORBIDDEN }; /* nothing asked for; a token; NaN or Inf in the row; none is left */

/* logit, max and sum are of the row without edits: the logprob of a token with logit x is x - max - log(sum). Where n_top >= 0. */
struct rf_chosen {
    int32_t token;
    uint32_t state;
    float logit, max, sum;
    uint32_t n_top; /* in the row's list, best first */
};
struct rf_chosen_top { float logit; int32_t token; };

static inline uint64_t rf_choice_mass(float w) { return (uint64_t)(int64_t)(w * 1099511627776.0f); }
static inline uint64_t rf_choice_part(uint64_t part, uint64_t total) { return (uint64_t)(((unsigned __int128)part * total) >> 64); }

#endif
