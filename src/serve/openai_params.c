/* openai_params.c - the table of all request fields, OpenAI's and the de facto extensions, and its reader. */
#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/params.h"

#define STOP_STRINGS_MAX 4
#define STOP_STRING_BYTES 1024
#define STOP_TOKENS_MAX 256
#define BIAS_MAX 1024

enum kind {
    K_INT,      /* int32_t */
    K_SEED,     /* int64_t, and has_seed */
    K_FLOAT,    /* float */
    K_DOUBLE,
    K_BOOL,
    K_STRING,   /* const char * */
    K_OBJECT,   /* json_t * that must be an object */
    K_ARRAY,    /* json_t * that must be an array */
    K_ANY,      /* json_t *, checked by the route */
    K_STOP, K_TOKENS, K_BIAS, K_STREAM_OPTIONS,
    K_IGNORE,   /* accepted, without meaning here */
    K_REFUSE,   /* only null and the neutral value pass */
};

enum { C = RF_P_CHAT, P = RF_P_COMP, T = RF_P_TOK, D = RF_P_DETOK };
enum { NULLABLE = 1 }; /* null means absent, as OpenAI's description says for the field */

struct field {
    const char *name;
    enum kind kind;
    unsigned routes, flags;
    size_t at;
    double lo, hi;
    const char *neutral; /* compact JSON that K_REFUSE lets pass, separated by '|' */
};

#define AT(f) offsetof(struct rf_params, f)

static const struct field fields[] = {
    {"model", K_STRING, C | P | T | D, 0, AT(model), 0, 0, NULL},
    {"messages", K_ARRAY, C | T, 0, AT(messages), 0, 0, NULL},
    {"prompt", K_ANY, P | T, 0, AT(prompt), 0, 0, NULL},
    {"tokens", K_ARRAY, D, 0, AT(tokens), 0, 0, NULL},
    /* how much */
    {"n", K_INT, C | P, NULLABLE, AT(n), 1, 128, NULL},
    {"best_of", K_INT, P, NULLABLE, AT(best_of), 1, 20, NULL},
    {"max_tokens", K_INT, C, NULLABLE, AT(max_tokens), 1, INT32_MAX, NULL},
    {"max_tokens", K_INT, P, NULLABLE, AT(max_tokens), 0, INT32_MAX, NULL},
    {"max_completion_tokens", K_INT, C | P, NULLABLE, AT(max_completion_tokens), 1, INT32_MAX, NULL},
    {"min_tokens", K_INT, C | P, NULLABLE, AT(sampling.min_tokens), 0, INT32_MAX, NULL},
    {"ignore_eos", K_BOOL, C | P, NULLABLE, AT(sampling.ignore_eos), 0, 0, NULL},
    {"stop", K_STOP, C | P, NULLABLE, 0, 0, 0, NULL},
    {"stop_token_ids", K_TOKENS, C | P, NULLABLE, 0, 0, 0, NULL},
    {"include_stop_str_in_output", K_BOOL, C | P, 0, AT(sampling.include_stop), 0, 0, NULL},
    /* sampling */
    {"temperature", K_FLOAT, C | P, NULLABLE, AT(sampling.temperature), 0, 2, NULL},
    {"top_p", K_FLOAT, C | P, NULLABLE, AT(sampling.top_p), 0, 1, NULL},
    {"top_k", K_INT, C | P, NULLABLE, AT(sampling.top_k), -1, INT32_MAX, NULL},
    {"min_p", K_FLOAT, C | P, NULLABLE, AT(sampling.min_p), 0, 1, NULL},
    {"typical_p", K_FLOAT, C | P, NULLABLE, AT(sampling.typical_p), 0, 1, NULL},
    {"repetition_penalty", K_FLOAT, C | P, NULLABLE, AT(sampling.repetition_penalty), 0.01, 10, NULL},
    {"presence_penalty", K_FLOAT, C | P, NULLABLE, AT(sampling.presence_penalty), -2, 2, NULL},
    {"frequency_penalty", K_FLOAT, C | P, NULLABLE, AT(sampling.frequency_penalty), -2, 2, NULL},
    {"seed", K_SEED, C | P, NULLABLE, AT(seed), 0, 0, NULL},
    {"logit_bias", K_BIAS, C | P, NULLABLE, 0, 0, 0, NULL},
    /* what comes back */
    {"stream", K_BOOL, C | P, NULLABLE, AT(stream), 0, 0, NULL},
    {"stream_options", K_STREAM_OPTIONS, C | P, NULLABLE, 0, 0, 0, NULL},
    {"logprobs", K_BOOL, C, NULLABLE, AT(logprobs_on), 0, 0, NULL},
    {"top_logprobs", K_INT, C, NULLABLE, AT(top_logprobs), 0, 20, NULL},
    {"logprobs", K_INT, P, NULLABLE, AT(logprobs), 0, 20, NULL},
    {"echo", K_BOOL, P, NULLABLE, AT(echo), 0, 0, NULL},
    {"return_token_strs", K_BOOL, T, NULLABLE, AT(return_token_strs), 0, 0, NULL},
    /* prompt and template */
    {"add_special_tokens", K_BOOL, P | T, 0, AT(add_special), 0, 0, NULL},
    {"add_special_tokens", K_REFUSE, C, 0, 0, 0, 0, "false"},
    {"add_generation_prompt", K_BOOL, C | T, 0, AT(add_generation_prompt), 0, 0, NULL},
    {"chat_template_kwargs", K_OBJECT, C | T, NULLABLE, AT(template_kwargs), 0, 0, NULL},
    {"documents", K_ARRAY, C, NULLABLE, AT(documents), 0, 0, NULL},
    {"reasoning_effort", K_STRING, C, NULLABLE, AT(reasoning_effort), 0, 0, NULL},
    {"tools", K_ARRAY, C | T, NULLABLE, AT(tools), 0, 0, NULL},
    {"tool_choice", K_ANY, C, NULLABLE, AT(tool_choice), 0, 0, NULL},
    /* scheduling */
    {"priority", K_INT, C | P, 0, AT(priority), INT32_MIN, INT32_MAX, NULL},
    {"cache_salt", K_STRING, C | P, NULLABLE, AT(cache_salt), 0, 0, NULL},
    {"timeout", K_DOUBLE, C | P, NULLABLE, AT(timeout), 0.001, 86400, NULL},
    /* known, not done here: only their neutral value passes */
    {"suffix", K_REFUSE, P, 0, 0, 0, 0, "\"\""},
    {"response_format", K_REFUSE, C | P, 0, 0, 0, 0, "{\"type\":\"text\"}"},
    {"functions", K_REFUSE, C, 0, 0, 0, 0, "[]"},
    {"function_call", K_REFUSE, C, 0, 0, 0, 0, "\"none\"|\"auto\""},
    {"modalities", K_REFUSE, C, 0, 0, 0, 0, "[\"text\"]|[]"},
    {"audio", K_REFUSE, C, 0, 0, 0, 0, NULL},
    {"web_search_options", K_REFUSE, C, 0, 0, 0, 0, NULL},
    {"guided_json", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"guided_regex", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"guided_choice", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"guided_grammar", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"structured_outputs", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"grammar", K_REFUSE, C | P, 0, 0, 0, 0, "\"\""},
    {"json_schema", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"use_beam_search", K_REFUSE, C | P, 0, 0, 0, 0, "false"},
    {"length_penalty", K_REFUSE, C | P, 0, 0, 0, 0, "1|1.0"},
    {"bad_words", K_REFUSE, C | P, 0, 0, 0, 0, "[]"},
    {"allowed_token_ids", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"prompt_logprobs", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"truncate_prompt_tokens", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"skip_special_tokens", K_REFUSE, C | P, 0, 0, 0, 0, "true"},
    {"echo", K_REFUSE, C, 0, 0, 0, 0, "false"},
    {"continue_final_message", K_REFUSE, C | T, 0, 0, 0, 0, "false"},
    {"chat_template", K_REFUSE, C | T, 0, 0, 0, 0, NULL},
    {"mm_processor_kwargs", K_REFUSE, C | T, 0, 0, 0, 0, "{}"},
    {"kv_transfer_params", K_REFUSE, C | P, 0, 0, 0, 0, NULL},
    {"logits_processors", K_REFUSE, C | P, 0, 0, 0, 0, "[]"},
    {"return_tokens_as_token_ids", K_REFUSE, C | P, 0, 0, 0, 0, "false"},
    {"return_token_ids", K_REFUSE, C | P, 0, 0, 0, 0, "false"},
    {"prompt_embeds", K_REFUSE, P, 0, 0, 0, 0, NULL},
    /* known, without meaning here */
    {"user", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"metadata", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"store", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"service_tier", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"safety_identifier", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"prompt_cache_key", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"prompt_cache_options", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"verbosity", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"prediction", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"moderation", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"parallel_tool_calls", K_IGNORE, C, 0, 0, 0, 0, NULL},
    {"spaces_between_special_tokens", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
    {"request_id", K_IGNORE, C | P, 0, 0, 0, 0, NULL},
};

static const char *kind_of(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a fraction", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null"};
    return names[json_typeof(v)];
}

static rf_status wrong_type(const json_t *v, const char *field, const char *want, struct rf_error *err)
{
    return rf_fail_param(err, RF_INVALID, field, "%s: found %s, expected %s", field, kind_of(v), want);
}

static rf_status read_int(const json_t *v, const struct field *f, json_int_t *out, struct rf_error *err)
{
    if (!json_is_integer(v)) return wrong_type(v, f->name, "an integer", err);
    *out = json_integer_value(v);
    if (*out < (json_int_t)f->lo || *out > (json_int_t)f->hi)
        return rf_fail_param(err, RF_INVALID, f->name, "%s: found %lld, expected %.0f to %.0f", f->name,
                             (long long)*out, f->lo, f->hi);
    return RF_OK;
}

static rf_status read_number(const json_t *v, const struct field *f, double *out, struct rf_error *err)
{
    if (!json_is_number(v)) return wrong_type(v, f->name, "a number", err);
    *out = json_number_value(v);
    if (!isfinite(*out) || *out < f->lo || *out > f->hi)
        return rf_fail_param(err, RF_INVALID, f->name, "%s: found %g, expected %g to %g", f->name, *out, f->lo, f->hi);
    return RF_OK;
}

static rf_status read_stop(json_t *v, const struct field *f, struct rf_arena *a, struct rf_params *p,
                           struct rf_error *err)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (!json_is_array(v) && !json_is_string(v)) return wrong_type(v, f->name, "a string or an array of strings", err);
    if (n > STOP_STRINGS_MAX)
        return rf_fail_param(err, RF_INVALID, f->name, "stop: found %zu strings, expected at most %d", n,
                             STOP_STRINGS_MAX);
    const char **list = rf_arena_array(a, n + 1, sizeof *list);
    if (!list) return rf_fail_nomem(err, "stop", n * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        json_t *s = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(s)) return wrong_type(s, f->name, "strings", err);
        size_t len = json_string_length(s);
        if (!len || len > STOP_STRING_BYTES || strlen(json_string_value(s)) != len)
            return rf_fail_param(err, RF_INVALID, f->name,
                                 "stop: each string must have 1 to %d bytes, none of them NUL", STOP_STRING_BYTES);
        list[i] = json_string_value(s);
    }
    p->sampling.stop = list;
    p->sampling.n_stop = n;
    return RF_OK;
}

rf_status rf_serve_param_token(json_t *v, uint32_t n_vocab, const char *field, int32_t *out, struct rf_error *err)
{
    if (!json_is_integer(v)) return wrong_type(v, field, "token ids (integers)", err);
    json_int_t t = json_integer_value(v);
    if (t < 0 || t >= (json_int_t)n_vocab)
        return rf_fail_param(err, RF_INVALID, field, "%s: token id %lld, expected 0 to %u", field, (long long)t,
                             n_vocab ? n_vocab - 1 : 0);
    *out = (int32_t)t;
    return RF_OK;
}

static rf_status read_tokens(json_t *v, const struct field *f, uint32_t n_vocab, struct rf_arena *a,
                             struct rf_params *p, struct rf_error *err)
{
    if (!json_is_array(v)) return wrong_type(v, f->name, "an array of token ids", err);
    size_t n = json_array_size(v);
    if (n > STOP_TOKENS_MAX)
        return rf_fail_param(err, RF_INVALID, f->name, "%s: found %zu ids, expected at most %d", f->name, n,
                             STOP_TOKENS_MAX);
    int32_t *ids = rf_arena_array(a, n + 1, sizeof *ids);
    if (!ids) return rf_fail_nomem(err, f->name, n * sizeof *ids);
    for (size_t i = 0; i < n; i++) RF_TRY(rf_serve_param_token(json_array_get(v, i), n_vocab, f->name, &ids[i], err));
    p->sampling.stop_tokens = ids;
    p->sampling.n_stop_tokens = n;
    return RF_OK;
}

static rf_status read_bias(json_t *v, const struct field *f, uint32_t n_vocab, struct rf_arena *a, struct rf_params *p,
                           struct rf_error *err)
{
    if (!json_is_object(v)) return wrong_type(v, f->name, "an object of token id to bias", err);
    size_t n = json_object_size(v);
    if (n > BIAS_MAX)
        return rf_fail_param(err, RF_INVALID, f->name, "logit_bias: found %zu entries, expected at most %d", n,
                             BIAS_MAX);
    struct rf_logit_bias *list = rf_arena_array(a, n + 1, sizeof *list);
    if (!list) return rf_fail_nomem(err, f->name, n * sizeof *list);
    const char *key;
    json_t *val;
    size_t i = 0;
    const struct field range = {.name = "logit_bias", .lo = -100, .hi = 100};
    json_object_foreach(v, key, val) {
        char *end;
        double bias;
        errno = 0;
        long id = key[0] >= '0' && key[0] <= '9' ? strtol(key, &end, 10) : -1;
        if (id < 0 || *end || errno || id >= (long)n_vocab)
            return rf_fail_param(err, RF_INVALID, f->name, "logit_bias: key \"%.20s\" is not a token id from 0 to %u",
                                 key, n_vocab ? n_vocab - 1 : 0);
        RF_TRY(read_number(val, &range, &bias, err));
        list[i++] = (struct rf_logit_bias){(int32_t)id, (float)bias};
    }
    p->sampling.logit_bias = list;
    p->sampling.n_logit_bias = n;
    return RF_OK;
}

static rf_status read_stream_options(json_t *v, const struct field *f, struct rf_params *p, struct rf_error *err)
{
    if (!json_is_object(v)) return wrong_type(v, f->name, "an object", err);
    struct { const char *name; bool *at; } opts[] = {
        {"include_usage", &p->include_usage}, {"continuous_usage_stats", &p->continuous_usage}};
    for (size_t i = 0; i < RF_COUNT(opts); i++) {
        json_t *o = json_object_get(v, opts[i].name);
        if (!o || json_is_null(o)) continue;
        if (!json_is_boolean(o))
            return rf_fail_param(err, RF_INVALID, f->name, "stream_options.%s: found %s, expected a boolean",
                                 opts[i].name, kind_of(o));
        *opts[i].at = json_is_true(o);
    }
    return RF_OK;
}

static bool neutral(const json_t *v, const struct field *f)
{
    if (json_is_null(v)) return true;
    if (!f->neutral) return false;
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) return false;
    bool same = false;
    size_t len = strlen(text);
    for (const char *n = f->neutral; n && !same; n = strchr(n, '|') ? strchr(n, '|') + 1 : NULL)
        same = !strncmp(n, text, len) && (n[len] == 0 || n[len] == '|');
    free(text);
    return same;
}

static rf_status read_field(json_t *v, const struct field *f, uint32_t n_vocab, struct rf_arena *a, struct rf_params *p,
                            struct rf_error *err)
{
    char *at = (char *)p + f->at;
    json_int_t i;
    double d;
    switch (f->kind) {
    case K_INT:
        RF_TRY(read_int(v, f, &i, err));
        *(int32_t *)at = (int32_t)i;
        return RF_OK;
    case K_SEED:
        if (!json_is_integer(v)) return wrong_type(v, f->name, "an integer", err);
        p->seed = json_integer_value(v);
        p->has_seed = true;
        return RF_OK;
    case K_FLOAT:
        RF_TRY(read_number(v, f, &d, err));
        *(float *)at = (float)d;
        return RF_OK;
    case K_DOUBLE:
        return read_number(v, f, (double *)at, err);
    case K_BOOL:
        if (!json_is_boolean(v)) return wrong_type(v, f->name, "a boolean", err);
        *(bool *)at = json_is_true(v);
        return RF_OK;
    case K_STRING:
        if (!json_is_string(v)) return wrong_type(v, f->name, "a string", err);
        if (strlen(json_string_value(v)) != json_string_length(v))
            return rf_fail_param(err, RF_INVALID, f->name, "%s: found a NUL in the string", f->name);
        *(const char **)at = json_string_value(v);
        return RF_OK;
    case K_OBJECT:
        if (!json_is_object(v)) return wrong_type(v, f->name, "an object", err);
        *(json_t **)at = v;
        return RF_OK;
    case K_ARRAY:
        if (!json_is_array(v)) return wrong_type(v, f->name, "an array", err);
        *(json_t **)at = v;
        return RF_OK;
    case K_ANY:
        *(json_t **)at = v;
        return RF_OK;
    case K_STOP: return read_stop(v, f, a, p, err);
    case K_TOKENS: return read_tokens(v, f, n_vocab, a, p, err);
    case K_BIAS: return read_bias(v, f, n_vocab, a, p, err);
    case K_STREAM_OPTIONS: return read_stream_options(v, f, p, err);
    case K_REFUSE:
        if (neutral(v, f)) return RF_OK;
        return rf_fail_param(err, RF_UNSUPPORTED, f->name, "%s: not supported yet by this server%s%s", f->name,
                             f->neutral ? "; it accepts only " : "", f->neutral ? f->neutral : "");
    case K_IGNORE: return RF_OK;
    }
    return RF_OK;
}

/* What only two fields together can show. */
static rf_status check_together(json_t *root, unsigned route, struct rf_params *p, struct rf_error *err)
{
    json_t *so = json_object_get(root, "stream_options");
    if ((route & (C | P)) && so && !json_is_null(so) && !p->stream)
        return rf_fail_param(err, RF_INVALID, "stream_options", "stream_options: only allowed when stream is true");
    if ((route & C) && p->top_logprobs > 0 && !p->logprobs_on)
        return rf_fail_param(err, RF_INVALID, "top_logprobs", "top_logprobs: only allowed when logprobs is true");
    if (p->max_completion_tokens >= 0) p->max_tokens = p->max_completion_tokens;
    if ((route & (C | P)) && p->max_tokens >= 0 && p->sampling.min_tokens > p->max_tokens)
        return rf_fail_param(err, RF_INVALID, "min_tokens", "min_tokens: found %d, expected at most max_tokens (%d)",
                             p->sampling.min_tokens, p->max_tokens);
    if (p->best_of >= 0) {
        if (p->best_of < p->n)
            return rf_fail_param(err, RF_INVALID, "best_of", "best_of: found %d, expected at least n (%d)", p->best_of,
                                 p->n);
        if (p->stream && p->best_of > p->n)
            return rf_fail_param(err, RF_INVALID, "best_of", "best_of: larger than n is not possible with stream");
    }
    return RF_OK;
}

rf_status rf_serve_params_read(json_t *root, unsigned route, uint32_t n_vocab, struct rf_arena *a, struct rf_params *p,
                               struct rf_error *err)
{
    p->n = 1;
    p->best_of = p->top_logprobs = p->logprobs = p->max_tokens = p->max_completion_tokens = -1;
    p->add_generation_prompt = true;
    p->add_special = true;
    for (size_t i = 0; i < RF_COUNT(fields); i++) {
        const struct field *f = &fields[i];
        if (!(f->routes & route)) continue;
        json_t *v = json_object_get(root, f->name);
        if (!v || (json_is_null(v) && (f->flags & NULLABLE))) continue;
        RF_TRY(read_field(v, f, n_vocab, a, p, err));
    }
    return check_together(root, route, p, err);
}
