/* params.h - the fields of a request: one table says name, type, range and where it goes (openai_params.c). */
#ifndef RF_SERVE_PARAMS_H
#define RF_SERVE_PARAMS_H

#include <jansson.h>

#include "base/arena.h"
#include "base/status.h"

enum rf_param_route { RF_P_CHAT = 1, RF_P_COMP = 2, RF_P_TOK = 4, RF_P_DETOK = 8 };

struct rf_params { /* borrowed pointers live in the JSON or the arena */
    const char *model;
    bool stream, include_usage, continuous_usage;
    bool echo, logprobs_on, return_token_strs, add_special, add_generation_prompt;
    int32_t n, best_of, top_logprobs, logprobs;  /* -1: not given */
    int32_t max_tokens, max_completion_tokens;   /* -1: not given */
    double timeout;
    const char *cache_salt, *reasoning_effort;
    int32_t priority;
    int64_t seed;
    bool has_seed;
    struct rf_sampling sampling;                 /* seeded from the model, then overwritten field by field */
    json_t *messages, *prompt, *tokens, *template_kwargs, *tools, *tool_choice, *documents;
};

/* Reads every known field of root that belongs to route; unknown ones are ignored. n_vocab bounds token ids.
 * p->sampling must hold the defaults. RF_INVALID or RF_UNSUPPORTED with err->param. */
rf_status rf_serve_params_read(json_t *root, unsigned route, uint32_t n_vocab, struct rf_arena *a, struct rf_params *p,
                               struct rf_error *err);
/* One token id out of JSON: field names it in the error. */
rf_status rf_serve_param_token(json_t *v, uint32_t n_vocab, const char *field, int32_t *out, struct rf_error *err);

#endif
