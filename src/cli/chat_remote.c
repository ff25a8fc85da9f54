/* chat_remote.c - conversations with another server: options become fields of its requests, chunks become text. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/chat.h"
#include "cli/options.h"

/* ---- options to fields ---- */

enum {
    OURS = RF_REMOTE_OURS, VLLM = RF_REMOTE_VLLM, LLAMA = RF_REMOTE_LLAMA_CPP, OLLAMA = RF_REMOTE_OLLAMA, OTHER = RF_REMOTE_OTHER,
    OPENAI = OURS | VLLM | LLAMA | OLLAMA | OTHER, /* fields of OpenAI's own description */
    UNSURE = 1 << 8,                               /* a server we do not know may pass over it without a word */
};

static const struct field { const char *option, *name; unsigned kinds; } fields[] = {
    {"temperature", "temperature", OPENAI}, {"top-p", "top_p", OPENAI}, {"seed", "seed", OPENAI}, {"max-tokens", "max_tokens", OPENAI},
    {"presence-penalty", "presence_penalty", OPENAI}, {"frequency-penalty", "frequency_penalty", OPENAI}, {"stop", "stop", OPENAI},
    {"logit-bias", "logit_bias", OPENAI & ~OLLAMA}, {"top-k", "top_k", OURS | VLLM | LLAMA | OTHER | UNSURE},
    {"min-p", "min_p", OURS | VLLM | LLAMA | OTHER | UNSURE}, {"typical-p", "typical_p", OURS | LLAMA | OTHER | UNSURE},
    {"repetition-penalty", "repetition_penalty", OURS | VLLM | OTHER | UNSURE}, {"repetition-penalty", "repeat_penalty", LLAMA},
    {"min-tokens", "min_tokens", OURS | VLLM | OTHER | UNSURE}, {"ignore-eos", "ignore_eos", OURS | VLLM | LLAMA | OTHER | UNSURE},
};

static const void *at(const struct rf_cli *c, size_t offset) { return (const char *)c + offset; }

static bool is_given(const struct rf_cli *c, const struct rf_option *o)
{
    if (o->has != RF_OPTION_NO_HAS) return *(const bool *)at(c, o->has);
    return o->kind == RF_OPTION_FLAG ? *(const bool *)at(c, o->at) : o->kind == RF_OPTION_LIST && ((const struct rf_cli_words *)at(c, o->at))->n;
}

static const struct field *field_of(const char *option, enum rf_remote_kind kind)
{
    for (size_t i = 0; i < RF_COUNT(fields); i++)
        if (!strcmp(fields[i].option, option) && fields[i].kinds & kind) return &fields[i];
    return NULL;
}

static json_t *bias_of(const struct rf_cli_words *list)
{
    json_t *out = json_object();
    for (size_t i = 0; i < list->n; i++) {
        struct rf_logit_bias b;
        char id[16];
        if (!rf_cli_parse_bias(list->item[i], &b)) {
            json_decref(out);
            return NULL;
        }
        snprintf(id, sizeof id, "%d", b.token);
        json_object_set_new(out, id, json_real(b.bias));
    }
    return out;
}

static json_t *value_of(const struct rf_cli *c, const struct rf_option *o)
{
    const void *v = at(c, o->at);
    if (o->kind == RF_OPTION_FLAG) return json_true();
    if (o->kind == RF_OPTION_INT) return json_integer(*(const int64_t *)v);
    if (o->kind == RF_OPTION_REAL) return json_real(*(const double *)v);
    if (o->at == offsetof(struct rf_cli, logit_bias)) return bias_of(v);
    const struct rf_cli_words *list = v;
    json_t *out = json_array();
    for (size_t i = 0; i < list->n; i++) json_array_append_new(out, json_string(list->item[i]));
    return out;
}

/* Everything that says how to answer, into body. False with the option named that this server does not take. */
static bool put_fields(const struct rf_cli *c, enum rf_remote_kind kind, json_t *body)
{
    const char *last = "";
    for (size_t i = 0; i < RF_COUNT(fields); i++) {
        const struct rf_option *o = rf_cli_option_find(fields[i].option, strlen(fields[i].option), RF_CMD_RUN);
        if (!strcmp(last, o->name) || !is_given(c, o)) continue;
        last = o->name;
        const struct field *f = field_of(o->name, kind);
        if (!f) {
            fprintf(stderr, "rocmforge: --%s: %s takes no such setting over this API; leave it out (in a conversation: /set %s default)\n", o->name,
                    rf_remote_kind_name(kind), o->name);
            return false;
        }
        json_t *v = value_of(c, o);
        if (!v || json_object_set_new(body, f->name, v)) {
            fprintf(stderr, "rocmforge: --%s cannot be sent: expected %s\n", o->name, o->at == offsetof(struct rf_cli, logit_bias) ? "ID=NUMBER" : "valid UTF-8");
            return false;
        }
    }
    return true;
}

static enum rf_cli_from origin_of(const struct rf_cli *c, const char *option)
{
    const struct rf_option *o = rf_cli_option_find(option, strlen(option), RF_CMD_RUN);
    return (enum rf_cli_from)c->origin[o - rf_cli_options].from;
}

static bool is_on_line(const struct rf_cli *c, const char *option) { return origin_of(c, option) == RF_FROM_LINE; }

/* Keys in a file are those of our own server, or of the one that the file names: no other gets to see them. */
static const char *key_of(const struct rf_cli *c)
{
    bool foreign = origin_of(c, "api-key") == RF_FROM_FILE && origin_of(c, "server") != RF_FROM_FILE;
    return c->api_key.n && !foreign ? c->api_key.item[0] : NULL;
}

/* What only the machine that computes could do. Settings of a file or a variable are for local models and stay for them. */
static bool check_line(const struct rf_cli *c)
{
    for (size_t i = 0; i < rf_cli_n_options; i++) {
        const struct rf_option *o = &rf_cli_options[i];
        if (!(o->commands & RF_CMD_RUN) || o->flags & RF_OPTION_REMOTE || c->origin[i].from != RF_FROM_LINE) continue;
        fprintf(stderr, "rocmforge: --%s is for models that this program runs itself; with --server the other side decides it\n", o->name);
        return false;
    }
    if (!c->raw || c->has_max_tokens) return true;
    fprintf(stderr, "rocmforge: --raw with --server needs --max-tokens N: servers end such a text after 16 tokens otherwise\n");
    return false;
}

static void warn_unsure(const struct rf_cli *c, enum rf_remote_kind kind)
{
    for (size_t i = 0; i < RF_COUNT(fields) && kind == RF_REMOTE_OTHER; i++)
        if (fields[i].kinds & UNSURE && is_given(c, rf_cli_option_find(fields[i].option, strlen(fields[i].option), RF_CMD_RUN)))
            fprintf(stderr, "rocmforge: --%s is sent as \"%s\", which not every server knows: some refuse it, some pass over it\n", fields[i].option,
                    fields[i].name);
}

/* ---- which model ---- */

static const json_t *listed(const struct rf_chat *chat, const char *name)
{
    size_t i, n = strlen(name);
    json_t *m;
    json_array_foreach(chat->listed, i, m) {
        const char *id = json_string_value(json_object_get(m, "id"));
        if (!strncmp(id, name, n) && (!id[n] || !strcmp(id + n, ":latest"))) return json_object_get(m, "id"); /* Ollama's tag may be left out */
    }
    return NULL;
}

/* The first that is loaded, as far as the server says so, else the first. */
static const json_t *pick(const struct rf_chat *chat)
{
    size_t i;
    json_t *m;
    json_array_foreach(chat->listed, i, m)
        if (json_is_object(json_object_get(m, "meta"))) return json_object_get(m, "id");
    return json_object_get(json_array_get(chat->listed, 0), "id");
}

static void tell_list(const struct rf_chat *chat)
{
    size_t i, n = json_array_size(chat->listed);
    json_t *m;
    char shown[80];
    if (!n) return;
    fprintf(stderr, "  It lists: ");
    json_array_foreach(chat->listed, i, m) {
        if (i == 8) break;
        fprintf(stderr, "%s%s", i ? ", " : "", rf_utf8_printable(shown, sizeof shown, json_string_value(json_object_get(m, "id"))));
    }
    fprintf(stderr, n > 8 ? " and %zu more\n" : "\n", n - RF_MIN(n, (size_t)8));
}

/* The words of the line: MODEL, MODEL PROMPT, or a PROMPT alone, which has blanks and is no model's name. */
static bool choose(struct rf_cli *c, struct rf_chat *chat)
{
    bool question = c->n_arg == 1 && !listed(chat, c->arg[0]) && strpbrk(c->arg[0], " \t\n");
    const char *name = c->n_arg && !question ? c->arg[0] : is_on_line(c, "model") ? c->model : NULL;
    const json_t *id = name ? listed(chat, name) : NULL;
    if (question) {
        c->arg[1] = c->arg[0];
        c->n_arg = 2;
    }
    if (!name && c->model && *c->model) id = listed(chat, c->model); /* a setting may be meant for local models only */
    if (!name && !id) id = pick(chat);
    chat->id = id ? json_incref((json_t *)id) : name ? json_string(name) : NULL;
    if (chat->id) return true;
    fprintf(stderr, "rocmforge: %s lists no models; name one: rocmforge run --server URL MODEL\n", rf_remote_url(chat->remote));
    return false;
}

bool rf_chat_is_local(const struct rf_cli *c)
{
    if (c->server && *c->server) return false;
    if (!is_on_line(c, "api-key")) return true;
    fprintf(stderr, "rocmforge: --api-key is for another server; name it with --server URL\n");
    return false;
}

int rf_chat_connect(struct rf_cli *c, struct rf_chat *chat)
{
    struct rf_error err = {0};
    if (!c->server || !*c->server || !check_line(c)) return RF_EXIT_USAGE;
    rf_status st = rf_remote_open(&chat->remote, c->server, key_of(c), &err);
    if (st) return rf_cli_fail(&err, st == RF_INVALID ? RF_EXIT_USAGE : RF_EXIT_MODEL);
    st = rf_remote_models(chat->remote, &chat->listed, &err);
    if (st == RF_NOT_FOUND && (c->n_arg == 2 || is_on_line(c, "model"))) st = RF_OK; /* it has no such list, and the line says it all */
    if (st) return rf_cli_fail(&err, RF_EXIT_MODEL);
    if (!choose(c, chat)) return RF_EXIT_MODEL;
    json_t *trial = json_object();
    bool ok = put_fields(c, rf_remote_kind(chat->remote), trial);
    json_decref(trial);
    if (!ok) return RF_EXIT_USAGE;
    warn_unsure(c, rf_remote_kind(chat->remote));
    return RF_EXIT_OK;
}

void rf_chat_disconnect(struct rf_chat *chat)
{
    json_decref(chat->id);
    json_decref(chat->listed);
    rf_remote_close(chat->remote);
    chat->id = chat->listed = NULL;
    chat->remote = NULL;
}

/* ---- an answer ---- */

struct output {
    struct rf_buf *text;
    bool terminal, dim, newline, lost;
};

static bool on_stop(void *ctx)
{
    (void)ctx;
    return rf_cli_interrupted();
}

/* A pipe gets the answer alone; a terminal sees what the model thought before it, paler. */
static bool on_text(void *ctx, enum rf_remote_part part, const char *s, size_t n)
{
    struct output *o = ctx;
    bool thought = part == RF_REMOTE_REASONING;
    if (rf_cli_interrupted()) return false;
    if (thought && !o->terminal) return true;
    if (thought != o->dim) {
        o->lost |= !rf_cli_write(thought ? "" : "\n\n", thought ? 0 : 2);
        if (rf_cli_colour(STDOUT_FILENO)) o->lost |= !rf_cli_write(thought ? "\033[2m" : "\033[0m", 4);
        o->dim = thought;
    }
    o->newline = s[n - 1] == '\n';
    if (!thought && o->text) rf_buf_append(o->text, s, n);
    o->lost |= !rf_chat_print(o->terminal, s, n);
    return !o->lost;
}

/* Body with the model and what is to be answered; NULL with err filled. */
static json_t *request(const struct rf_cli *c, const struct rf_chat *chat, struct rf_error *err)
{
    json_t *last = json_array_get(chat->messages, json_array_size(chat->messages) - 1), *messages = NULL;
    if (!c->raw && rf_chat_messages(c, chat, &messages, err)) return NULL;
    json_t *body = c->raw ? json_pack("{s:O, s:O}", "model", chat->id, "prompt", json_object_get(last, "content"))
                          : json_pack("{s:O, s:o}", "model", chat->id, "messages", messages);
    if (!body) rf_fail_nomem(err, "request", 0);
    return body;
}

int rf_chat_ask(const struct rf_cli *c, struct rf_chat *chat, struct rf_buf *text, struct rf_usage *u, enum rf_finish *finish, struct rf_error *err)
{
    struct output out = {.text = text, .terminal = isatty(STDOUT_FILENO), .newline = true};
    const struct rf_remote_sink sink = {on_text, on_stop, &out};
    struct rf_remote_answer answer = {0};
    *err = (struct rf_error){0};
    json_t *body = request(c, chat, err);
    int code = RF_EXIT_USAGE;
    if (!body) code = rf_cli_fail(err, RF_EXIT_FAILED);
    else if (put_fields(c, rf_remote_kind(chat->remote), body)) {
        rf_status st = rf_remote_ask(chat->remote, c->raw ? "/completions" : "/chat/completions", body, &sink, &answer, err);
        bool stopped = st == RF_CANCELLED && !out.lost;
        if (out.dim && rf_cli_colour(STDOUT_FILENO)) rf_cli_write("\033[0m", 4);
        if (!out.newline || stopped) rf_cli_write("\n", 1);
        if (st && st != RF_CANCELLED && st != RF_TOO_LONG) rf_cli_fail(err, 0);
        if (st == RF_NOT_FOUND) tell_list(chat);
        if (answer.wants_tool) fprintf(stderr, "rocmforge: the model asks for a tool; run has none to offer\n");
        code = stopped ? RF_EXIT_INTERRUPTED : st ? RF_EXIT_FAILED : RF_EXIT_OK;
        if (st && st != RF_CANCELLED) answer.finish = RF_FINISH_NONE;
    }
    chat->uncounted = !answer.has_usage;
    *u = answer.usage;
    *finish = answer.finish;
    json_decref(body);
    return code;
}
