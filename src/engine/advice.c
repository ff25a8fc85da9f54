/* advice.c - what the caller recommends for a model: a system message and sampling, as Ollama's stores keep them beside one.
 *
 * sampling is a JSON object: temperature, top_k, top_p, min_p, typical_p, repeat_penalty, presence_penalty, frequency_penalty
 * (numbers) and stop (a string or a list of them). Other names are about how Ollama runs a model and mean nothing here; a value out of
 * range, or of another kind, leaves what was recommended before, as with a model's own files.
 */
#include <jansson.h>
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

rf_status rf_handle_advice_open(struct rf_model *m, const struct rf_model_options *opt, struct rf_error *err)
{
    const char *system = opt->system ? opt->system : "";
    json_error_t why;
    if (!rf_utf8_valid(system, strlen(system))) return rf_fail_param(err, RF_INVALID, "system", "system message of the model: expected UTF-8");
    m->info.system = rf_arena_strndup(&m->arena, system, strlen(system));
    if (!m->info.system) return rf_fail_nomem(err, "system message", strlen(system));
    if (!opt->sampling) return RF_OK;
    m->advice = json_loads(opt->sampling, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object((json_t *)m->advice))
        return rf_fail_param(err, RF_INVALID, "sampling", "sampling recommended for the model: %s, expected a JSON object",
                             m->advice ? "found another JSON value" : why.text);
    return keep_stops(m, err);
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
    if (m->n_stop) s->stop = m->stop, s->n_stop = m->n_stop;
}

void rf_handle_advice_close(struct rf_model *m) { json_decref(m->advice); }
