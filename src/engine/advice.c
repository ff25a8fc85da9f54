/* advice.c - what the caller recommends for a model: a system message, sampling and first messages, as Ollama's stores keep them beside one.
 *
 * sampling is a JSON object: temperature, top_k, top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty
 * (numbers), stop (a string or a list of them), num_predict (most tokens of an answer; below 0: no limit but the context), seed (below 0: a
 * new one each time) and num_ctx (the context's length, where it is no longer than the model's own). Other names are about how Ollama runs a
 * model and mean nothing here; a value out of range, or of another kind, leaves what was recommended before, as with a model's own files.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "engine/handle.h"
#include "engine/request.h"
#include "sample/sample.h"

static rf_status keep_stops(struct rf_model *m, struct rf_error *err)
{
    json_t *stop = json_object_get(m->advice, "stop");
    size_t n = json_is_array(stop) ? json_array_size(stop) : json_is_string(stop), bytes;
    if (!n) return RF_OK;
    m->stop = rf_mul(n, sizeof *m->stop, &bytes) ? rf_arena_alloc(&m->arena, bytes) : NULL;
    if (!m->stop) return rf_fail_nomem(err, "stop strings", n);
    for (size_t i = 0; i < n && m->n_stop < RF_REQ_STOPS; i++) {
        const char *s = json_string_value(json_is_array(stop) ? json_array_get(stop, i) : stop);
        if (s && *s && strlen(s) <= RF_REQ_STOP_BYTES) m->stop[m->n_stop++] = s;
    }
    return RF_OK;
}

static bool is_system(const json_t *message)
{
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && (!strcmp(role, "system") || !strcmp(role, "developer"));
}

/* Checked here, so that no request fails by them; what else stands beside role and content is left out. */
static rf_status keep_messages(struct rf_model *m, const char *text, struct rf_error *err)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    json_error_t why = {.text = ""};
    json_t *list = text ? json_loads(text, JSON_REJECT_DUPLICATES, &why) : NULL, *item;
    rf_status st = !text || json_is_array(list) ? RF_OK : rf_fail_param(err, RF_INVALID, "messages", "first messages of the model: %s, expected a JSON list of messages",
                                                                         list ? "found another JSON value" : why.text);
    size_t i;
    m->info.messages = "";
    m->messages = text && !st ? json_array() : NULL;
    json_array_foreach(st ? NULL : list, i, item) {
        const char *role = json_string_value(json_object_get(item, "role"));
        bool known = false;
        for (size_t k = 0; k < RF_COUNT(roles); k++) known = known || (role && !strcmp(role, roles[k]));
        if (!known || !json_is_string(json_object_get(item, "content"))) {
            st = rf_fail_param(err, RF_INVALID, "messages", "first messages of the model, number %zu: expected a role (system, user, assistant) and a content that is text", i + 1);
            break;
        }
        if (json_array_append_new(m->messages, json_pack("{s:O, s:O}", "role", json_object_get(item, "role"), "content", json_object_get(item, "content")))) {
            st = rf_fail_nomem(err, "first messages", i);
            break;
        }
    }
    json_decref(list);
    if (st || !json_array_size(m->messages)) return st;
    char *kept = json_dumps(m->messages, JSON_COMPACT);
    m->info.messages = kept ? rf_arena_strndup(&m->arena, kept, strlen(kept)) : NULL;
    free(kept);
    if (m->info.messages) return RF_OK;
    m->info.messages = "";
    return rf_fail_nomem(err, "first messages", 0);
}

rf_status rf_handle_advice_open(struct rf_model *m, const struct rf_model_options *opt, struct rf_error *err)
{
    const char *system = opt->system ? opt->system : "";
    json_error_t why;
    if (!rf_utf8_valid(system, strlen(system))) return rf_fail_param(err, RF_INVALID, "system", "system message of the model: expected UTF-8");
    m->info.system = rf_arena_strndup(&m->arena, system, strlen(system));
    if (!m->info.system) return rf_fail_nomem(err, "system message", strlen(system));
    RF_TRY(keep_messages(m, opt->messages, err));
    if (!opt->sampling) return RF_OK;
    m->advice = json_loads(opt->sampling, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object((json_t *)m->advice))
        return rf_fail_param(err, RF_INVALID, "sampling", "sampling recommended for the model: %s, expected a JSON object",
                             m->advice ? "found another JSON value" : why.text);
    const json_t *ctx = json_object_get(m->advice, "num_ctx");
    if (json_is_integer(ctx) && json_integer_value(ctx) > 0) m->n_ctx_advised = (uint32_t)RF_MIN(json_integer_value(ctx), (json_int_t)INT32_MAX);
    return keep_stops(m, err);
}

bool rf_handle_advice_begin(const struct rf_model *m, void *messages)
{
    const char *system = m->info.system;
    bool has_system = is_system(json_array_get(messages, 0));
    size_t at = has_system, i;
    json_t *said;
    if (!has_system && *system) {
        if (json_array_insert_new(messages, at++, json_pack("{s:s, s:s}", "role", "system", "content", system))) return false;
        has_system = true;
    }
    json_array_foreach((json_t *)m->messages, i, said) {
        if (has_system && i == 0 && is_system(said)) continue; /* one is enough, and the nearer one counts */
        if (json_array_insert_new(messages, at++, json_deep_copy(said))) return false; /* threads share the original */
    }
    return true;
}

void rf_handle_advice_apply(const struct rf_model *m, struct rf_sampling *s)
{
    static const struct { const char *name; size_t at; } field[] = {
        {"temperature", offsetof(struct rf_sampling, temperature)},       {"top_p", offsetof(struct rf_sampling, top_p)},
        {"min_p", offsetof(struct rf_sampling, min_p)},                   {"typical_p", offsetof(struct rf_sampling, typical_p)},
        {"repeat_penalty", offsetof(struct rf_sampling, repetition_penalty)},
        {"presence_penalty", offsetof(struct rf_sampling, presence_penalty)},
        {"frequency_penalty", offsetof(struct rf_sampling, frequency_penalty)},
    };
    if (!m->advice) return;
    for (size_t i = 0; i < RF_COUNT(field); i++) {
        const json_t *v = json_object_get(m->advice, field[i].name);
        float *to = (float *)((char *)s + field[i].at), before = *to;
        if (!json_is_number(v)) continue;
        *to = (float)json_number_value(v);
        if (rf_sampling_check(s, m->info.n_vocab, NULL)) *to = before;
    }
    const json_t *k = json_object_get(m->advice, "top_k");
    if (json_is_integer(k) && json_integer_value(k) >= 0 && json_integer_value(k) <= INT32_MAX) s->top_k = (int32_t)json_integer_value(k);
    const json_t *most = json_object_get(m->advice, "num_predict"), *seed = json_object_get(m->advice, "seed");
    if (json_is_integer(most) && json_integer_value(most) > 0) s->max_tokens = (int32_t)RF_MIN(json_integer_value(most), (json_int_t)INT32_MAX);
    if (json_is_integer(most) && json_integer_value(most) < 0) s->max_tokens = -2;
    if (json_is_integer(seed) && json_integer_value(seed) >= 0) s->has_seed = true, s->seed = (uint64_t)json_integer_value(seed);
    if (m->n_stop) s->stop = m->stop, s->n_stop = m->n_stop;
}

void rf_handle_advice_close(struct rf_model *m)
{
    json_decref(m->advice);
    json_decref(m->messages);
}
