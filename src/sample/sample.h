/* sample.h - from a row of logits to a token.
 *
 * In this order: logit_bias added; repetition penalty (over prompt and output: positive logits divided, negative ones
 * multiplied; Keskar et al. 2019, arXiv 1909.05858), frequency and presence penalty (over the output: minus count * f,
 * minus p; OpenAI's definition); tokens that would end the text masked until min_tokens; logit processors (a grammar's
 * mask); then temperature 0 takes the largest (the lowest id of equals), else: divided by temperature, top_k, top_p
 * (Holtzman et al. 2020, arXiv 1904.09751: the smallest set of most probable tokens whose sum reaches p), min_p (at least
 * min_p times the most probable one), typical_p (Meister et al. 2023, arXiv 2202.00666: the smallest set nearest the
 * entropy whose sum reaches p), each on what the one before left, and a draw.
 *
 * The draw depends on (seed, number of tokens generated so far) alone: same logits and seed give the same text however
 * requests were batched, and wherever the choice is made (base/choice.h). Logprobs are log softmax of the raw logits.
 *
 * Thread: one sampler per thread. Only create allocates.
 */
#ifndef RF_SAMPLE_SAMPLE_H
#define RF_SAMPLE_SAMPLE_H

#include "base/choice.h"
#include "base/status.h"

enum { RF_SAMPLE_MAX_TOP = 1024 }; /* most logprobs per token */

struct rf_sampler; /* scratch for rows of n_vocab */

/* Changes logits in place; -INFINITY forbids a token. */
struct rf_logit_processor { void (*apply)(void *ctx, float *logits, uint32_t n_vocab); void *ctx; };

struct rf_sample_in {
    const float *logits;              /* [n_vocab], not changed */
    const struct rf_sampling *params; /* checked by rf_sampling_check */
    uint64_t seed;
    const int32_t *token;             /* [n_token]: prompt, then output */
    uint32_t n_prompt, n_token;
    const int32_t *ends;              /* tokens masked while the output is shorter than min_tokens */
    size_t n_ends;
    const struct rf_logit_processor *processor;
    size_t n_processor;
};

rf_status rf_sampler_create(struct rf_sampler **out, uint32_t n_vocab, struct rf_error *err);
void rf_sampler_free(struct rf_sampler *s);

/* Ranges of every field that concerns sampling; err->param names the bad one. */
rf_status rf_sampling_check(const struct rf_sampling *p, uint32_t n_vocab, struct rf_error *err);

/* Whether a choice depends on the tokens before it: penalties. */
bool rf_sampling_reads_text(const struct rf_sampling *p);

/* The same as numbers for a sampler elsewhere, n_top from params->logprobs. by is RF_CHOICE_NONE where only rf_sample can choose:
 * typical_p, logit processors, more than RF_CHOICE_TOP logprobs, or so many edits that the sampler has no room for them. Edits are
 * borrowed from the sampler until its next rewind or rf_sample. */
void rf_sample_choice(struct rf_sampler *s, const struct rf_sample_in *in, struct rf_choice *out);
void rf_sampler_rewind(struct rf_sampler *s); /* before the first choice of a step */

/* RF_NUMERIC: NaN or Inf in the row, or no token is left to choose. */
rf_status rf_sample(struct rf_sampler *s, const struct rf_sample_in *in, int32_t *token, struct rf_error *err);

/* What another sampler chose, as rf_sample tells it. */
rf_status rf_sample_chosen(const struct rf_chosen *c, uint32_t n_new, int32_t *token, struct rf_error *err);
/* Its logprobs, as rf_sample_logprob gives them; list: the row's. */
void rf_sample_chosen_logprob(const struct rf_chosen *c, const struct rf_chosen_top *list, uint32_t n_top, float *logprob,
                              struct rf_top_logprob *top);

/* Logprob of `token` in this row and the n_top best, best first; top has room for n_top. */
rf_status rf_sample_logprob(const float *logits, uint32_t n_vocab, int32_t token, uint32_t n_top, float *logprob,
                            struct rf_top_logprob *top, struct rf_error *err);

#endif
