/* chat.c - the model's chat template, and prompts made with it.
 *
 * Where a template is looked for, first found wins: the caller's, the GGUF key tokenizer.chat_template (and
 * tokenizer.chat_template.tool_use), chat_template.jinja, chat_template.json, tokenizer_config.json (one string, or a list
 * of {name, template} with names "default" and "tool_use").
 */
#include <jansson.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/handle.h"

struct sources { struct rf_buf chat, tools; }; /* len 0: none */

static rf_status put(struct rf_buf *b, const char *s, size_t n, struct rf_error *err)
{
    rf_buf_clear(b);
    return rf_buf_append(b, s, n) ? rf_fail_nomem(err, "chat template", n) : RF_OK;
}

static rf_status put_fact(struct rf_buf *b, const struct rf_weights *w, const char *key, struct rf_error *err)
{
    const struct rf_fact *f = rf_weights_fact(w, key);
    return f && f->kind == RF_FACT_STRING ? put(b, f->str.s, f->str.n, err) : RF_OK;
}

/* The "chat_template" member of a JSON file: a string or a list of named ones. A broken file is as good as none here:
 * whoever needs its other contents says so. */
static rf_status from_json(struct sources *s, const struct rf_buf *file, struct rf_error *err)
{
    json_t *root = json_loadb(rf_buf_str(file), file->len, JSON_ALLOW_NUL, NULL), *item;
    json_t *t = json_object_get(root, "chat_template");
    rf_status st = RF_OK;
    size_t i;
    if (json_is_string(t)) st = put(&s->chat, json_string_value(t), json_string_length(t), err);
    json_array_foreach(t, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        json_t *text = json_object_get(item, "template");
        if (!name || !json_is_string(text) || st) continue;
        if (!strcmp(name, "default")) st = put(&s->chat, json_string_value(text), json_string_length(text), err);
        if (!strcmp(name, "tool_use")) st = put(&s->tools, json_string_value(text), json_string_length(text), err);
    }
    json_decref(root);
    return st;
}

static rf_status find_sources(struct sources *s, const struct rf_weights *w, const char *override, struct rf_error *err)
{
    static const char *const json_file[] = {"chat_template.json", "tokenizer_config.json"};
    if (override) return put(&s->chat, override, strlen(override), err);
    if (rf_weights_source(w) == RF_SOURCE_GGUF) {
        RF_TRY(put_fact(&s->chat, w, "tokenizer.chat_template", err));
        return put_fact(&s->tools, w, "tokenizer.chat_template.tool_use", err);
    }
    rf_status st = rf_weights_read_side_file(w, "chat_template.jinja", &s->chat, NULL);
    if (!st) return RF_OK;
    if (st != RF_NOT_FOUND) return rf_weights_read_side_file(w, "chat_template.jinja", &s->chat, err);
    for (size_t i = 0; i < RF_COUNT(json_file) && !s->chat.len; i++) {
        struct rf_buf file = {0};
        st = rf_weights_read_side_file(w, json_file[i], &file, NULL);
        st = st == RF_NOT_FOUND ? RF_OK
             : st               ? rf_weights_read_side_file(w, json_file[i], &file, err)
                                : from_json(s, &file, err);
        rf_buf_release(&file);
        RF_TRY(st);
    }
    return RF_OK;
}

rf_status rf_handle_chat_open(struct rf_model *m, const char *override, struct rf_error *err)
{
    struct sources s = {0};
    rf_status st = find_sources(&s, m->weights, override, err);
    m->has_template = !st && (s.chat.len || s.tools.len);
    if (!st && s.chat.len) {
        st = rf_template_parse(&m->chat, s.chat.data, s.chat.len, &m->chat_err);
    }
    if (!st && s.tools.len) st = rf_template_parse(&m->chat_tools, s.tools.data, s.tools.len, &m->chat_err);
    rf_buf_release(&s.chat);
    rf_buf_release(&s.tools);
    if (m->chat_err.status && err) *err = m->chat_err;
    return override || st == RF_NOMEM || !m->has_template ? st : RF_OK; /* raw prompts work without a template */
}

/* ---- rendering ---- */

/* A special token's spelling becomes a variable of the template; a caller's variable of that name never does. */
static bool set_piece(const struct rf_model *m, json_t *vars, const char *name, int32_t id)
{
    json_object_del(vars, name);
    if (id < 0) return true;
    struct rf_str s = rf_tokenizer_bytes(m->tokenizer, id);
    json_t *v = json_stringn(s.s ? s.s : "", s.s ? s.n : 0);
    return !v || !json_object_set_new(vars, name, v); /* no valid UTF-8: it stays undefined */
}

static rf_status prepare(const struct rf_model *m, const char *json, size_t len, char **vars, bool *tools,
                         struct rf_error *err)
{
    json_error_t why;
    json_t *root = json_loadb(json, len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &why);
    *vars = NULL;
    if (!root && !why.text[0]) return rf_fail_nomem(err, "chat request", len); /* the parser says nothing then */
    if (!json_is_object(root)) {
        json_decref(root);
        return rf_fail_param(err, RF_INVALID, "messages", "chat request: %s, expected a JSON object with \"messages\"",
                             root ? "found another JSON value" : why.text);
    }
    *tools = json_array_size(json_object_get(root, "tools")) > 0;
    bool ok = json_is_array(json_object_get(root, "messages"));
    rf_status st = ok ? RF_OK : rf_fail_param(err, RF_INVALID, "messages", "chat request: found no list \"messages\"");
    if (ok) {
        ok = rf_handle_advice_begin(m, json_object_get(root, "messages")) && set_piece(m, root, "bos_token", rf_tokenizer_bos(m->tokenizer)) &&
             set_piece(m, root, "eos_token", rf_tokenizer_eos(m->tokenizer));
        *vars = ok ? json_dumps(root, JSON_COMPACT) : NULL;
        if (!*vars) st = rf_fail_nomem(err, "chat request", len);
    }
    json_decref(root);
    return st;
}

static rf_status encode(const struct rf_model *m, const struct rf_buf *text, const struct rf_spans *trusted,
                        int32_t **out, size_t *n, struct rf_error *err)
{
    struct rf_ids ids = {0};
    int32_t bos = rf_tokenizer_bos(m->tokenizer);
    static const struct rf_span nowhere;
    rf_status st = rf_tokenizer_encode(m->tokenizer, rf_buf_str(text), text->len, RF_TOK_PARSE_SPECIAL,
                                       trusted->n ? trusted->span : &nowhere, trusted->n, &ids, err);
    if (!st && m->adds_bos && (!ids.n || ids.id[0] != bos)) {
        size_t bytes;
        int32_t *all = rf_add(ids.n, 1, &bytes) ? rf_realloc_array(ids.id, bytes, sizeof *all) : NULL;
        if (all) {
            memmove(all + 1, all, ids.n++ * sizeof *all);
            all[0] = bos;
            ids.id = all;
        } else {
            st = rf_fail_nomem(err, "chat prompt", ids.n);
        }
    }
    if (st) {
        rf_ids_release(&ids);
        return st;
    }
    *out = ids.id;
    *n = ids.n;
    return RF_OK;
}

rf_status rf_model_chat(const struct rf_model *m, const char *json, size_t json_len, char **text, size_t *text_len,
                        int32_t **ids, size_t *n_ids, struct rf_error *err)
{
    static const char *const trusted_vars[] = {"bos_token", "eos_token", NULL};
    struct rf_buf out = {0};
    struct rf_spans trusted = {0};
    char *vars = NULL;
    bool tools = false;
    if (text) *text = NULL;
    if (ids) *ids = NULL;
    if (!m->tokenizer) return rf_fail(err, RF_UNSUPPORTED, "%s: opened without its tokenizer", m->info.path);
    if (!m->chat && !m->chat_tools) {
        if (m->chat_err.status && err) *err = m->chat_err;
        if (m->chat_err.status) return m->chat_err.status;
        return rf_fail(err, RF_UNSUPPORTED, "%s: the model has no chat template", m->info.path);
    }
    RF_TRY(prepare(m, json, json_len, &vars, &tools, err));
    const struct rf_template *t = (tools && m->chat_tools) || !m->chat ? m->chat_tools : m->chat;
    rf_status st = rf_template_run(t, vars, strlen(vars), trusted_vars, rf_unix_time(), NULL, &out, &trusted, err);
    if (!st && ids) st = encode(m, &out, &trusted, ids, n_ids, err);
    if (!st && text) {
        *text = rf_buf_take(&out, text_len);
        if (!*text) st = rf_fail_nomem(err, "chat prompt", out.len);
    }
    if (st && ids) {
        rf_free(*ids);
        *ids = NULL;
    }
    free(vars);
    rf_spans_release(&trusted);
    rf_buf_release(&out);
    return st;
}

rf_status rf_template_render(const char *source, size_t source_len, const char *json, size_t json_len, char **text,
                             size_t *text_len, struct rf_error *err)
{
    struct rf_template *t = NULL;
    struct rf_buf out = {0};
    *text = NULL;
    RF_TRY(rf_template_parse(&t, source, source_len, err));
    rf_status st = rf_template_run(t, json, json_len, NULL, rf_unix_time(), NULL, &out, NULL, err);
    if (!st && !(*text = rf_buf_take(&out, text_len))) st = rf_fail_nomem(err, "rendered template", out.len);
    rf_template_free(t);
    rf_buf_release(&out);
    return st;
}
