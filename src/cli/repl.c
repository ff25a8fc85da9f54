/* repl.c - the conversation on a terminal: a table of /commands, several lines of input, answers that Ctrl-C stops. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/chat.h"
#include "cli/edit.h"
#include "cli/options.h"

enum { CHAT_FILE_MAX = 64 << 20 };

struct repl {
    struct rf_cli set;       /* the line's settings, changed by /set; its strings live in `text` or in the caller's */
    struct rf_chat *chat;
    struct rf_edit *edit;
    struct rf_arena text;
    struct rf_model_info info;
    bool colour, bye;
};

struct command { const char *name, *arg, *what; void (*run)(struct repl *r, const char *arg); };

static void say(const struct repl *r, const char *text) { printf("%s%s%s\n", r->colour ? "\033[2m" : "", text, r->colour ? "\033[0m" : ""); }

static void complain(const struct repl *r, const char *text) { printf("%s%s%s\n", r->colour ? "\033[31m" : "", text, r->colour ? "\033[0m" : ""); }

static void fail(const struct repl *r, const struct rf_error *err) { complain(r, err->message[0] ? err->message : rf_status_name(err->status)); }

/* ---- /set ---- */

static const struct rf_option *chat_option(const char *name, size_t n)
{
    const struct rf_option *o = rf_cli_option_find(name, n, RF_CMD_RUN);
    return o && o->flags & RF_OPTION_CHAT ? o : NULL;
}

static void print_settings(const struct repl *r)
{
    for (size_t i = 0; i < rf_cli_n_options; i++) {
        char value[256];
        if (!(rf_cli_options[i].flags & RF_OPTION_CHAT)) continue;
        rf_cli_option_text(&r->set, &rf_cli_options[i], value, sizeof value);
        printf("  %-20s %-12s %s\n", rf_cli_options[i].name, value, rf_cli_options[i].help);
    }
}

static void unset(struct repl *r, const struct rf_option *o)
{
    struct rf_cli fresh;
    static const size_t bytes[] = {[RF_OPTION_FLAG] = sizeof(bool), [RF_OPTION_INT] = sizeof(int64_t), [RF_OPTION_REAL] = sizeof(double),
                                   [RF_OPTION_TEXT] = sizeof(char *), [RF_OPTION_LIST] = sizeof(struct rf_cli_words)};
    rf_cli_defaults(&fresh);
    memcpy((char *)&r->set + o->at, (char *)&fresh + o->at, bytes[o->kind]);
    if (o->has != RF_OPTION_NO_HAS) *(bool *)((char *)&r->set + o->has) = false;
}

/* "a text" is a text; so is a text without quotes. In `text`. */
static const char *unquoted(struct repl *r, const char *value)
{
    size_t n = strlen(value);
    bool quoted = n >= 2 && value[0] == '"' && value[n - 1] == '"';
    return rf_arena_strndup(&r->text, value + quoted, n - 2 * quoted);
}

static void cmd_set(struct repl *r, const char *arg)
{
    struct rf_error err = {0};
    char line[200];
    if (!strncmp(arg, "parameter ", 10)) arg += 10 + strspn(arg + 10, " "); /* Ollama's /set parameter NAME VALUE */
    size_t n = strcspn(arg, " ");
    if (!n) {
        print_settings(r);
        return;
    }
    const struct rf_option *o = chat_option(arg, n);
    const char *value = arg + n + strspn(arg + n, " ");
    if (!o) {
        const char *names[RF_CLI_OPTIONS_MAX];
        size_t k = 0;
        for (size_t i = 0; i < rf_cli_n_options; i++)
            if (rf_cli_options[i].flags & RF_OPTION_CHAT) names[k++] = rf_cli_options[i].name;
        snprintf(line, sizeof line, "%.*s", (int)RF_MIN(n, 60u), arg);
        const char *near = rf_cli_nearest(line, names, k);
        printf("There is no setting %s%s%s; /set alone lists them.\n", line, near ? "; did you mean " : "", near ? near : "");
        return;
    }
    if (!*value && o->kind == RF_OPTION_FLAG) value = "true";
    if (!*value || !strcmp(value, "default")) {
        unset(r, o);
        snprintf(line, sizeof line, "%s: as the model advises", o->name);
        say(r, line);
        return;
    }
    const char *own = unquoted(r, value);
    struct rf_cli before = r->set;
    if (!own || !rf_cli_option_set(&r->set, o, o->name, own, &err)) {
        r->set = before;
        fail(r, &err);
        return;
    }
    snprintf(line, sizeof line, "%s: %.120s", o->name, own);
    say(r, line);
}

/* ---- /show ---- */

static void show_remote(const struct repl *r)
{
    printf("  model         %s\n  server        %s (%s)\n  messages      %zu\n", r->info.name, r->info.path,
           rf_remote_kind_name(rf_remote_kind(r->chat->remote)), json_array_size(r->chat->messages));
}

/* What the model's files begin every conversation with, but a system message where there is another. Without control characters: it is not ours. */
static void show_first_messages(const struct repl *r, bool has_system)
{
    json_t *list = json_loads(r->info.messages, 0, NULL), *m;
    size_t i;
    json_array_foreach(list, i, m) {
        const char *role = json_string_value(json_object_get(m, "role")), *text = json_string_value(json_object_get(m, "content"));
        if (i == 0 && has_system && !strcmp(role, "system")) continue;
        printf("%s: ", role);
        fflush(stdout);
        rf_chat_print(true, text, strlen(text));
        puts("");
    }
    json_decref(list);
}

static void cmd_show(struct repl *r, const char *arg)
{
    const struct rf_model_info *i = &r->info;
    char size[32];
    size_t k;
    json_t *m;
    struct rf_stats stats;
    if (!strcmp(arg, "settings")) {
        print_settings(r);
    } else if (!strcmp(arg, "messages")) {
        const char *system = r->set.system && *r->set.system ? r->set.system : r->info.system;
        if (*system) printf("system: %s\n", system);
        show_first_messages(r, *system);
        json_array_foreach(r->chat->messages, k, m)
            printf("%s: %s\n", json_string_value(json_object_get(m, "role")), json_string_value(json_object_get(m, "content")));
    } else if (*arg) {
        complain(r, "/show, /show settings or /show messages");
    } else if (r->chat->remote) {
        show_remote(r);
    } else {
        rf_engine_stats(r->chat->engine, &stats);
        rf_cli_human_bytes(i->file_bytes, size, sizeof size);
        printf("  model         %s\n  file          %s\n  architecture  %s, %s, %s\n  parameters    %.1f M\n  context       %u of %u tokens\n  device        %s\n"
               "  messages      %zu\n", i->name, i->path, i->architecture, i->quantization, size, (double)i->n_params / 1e6,
               stats.max_model_len, i->n_ctx_train, i->device, json_array_size(r->chat->messages));
    }
}

/* ---- /clear, /save, /load ---- */

static void cmd_clear(struct repl *r, const char *arg)
{
    (void)arg;
    json_array_clear(r->chat->messages);
    say(r, "a new conversation");
}

/* A name without '/' goes to our own folder of conversations. */
static bool chat_path(struct repl *r, const char *arg, char *out, bool make)
{
    char name[300];
    if (!*arg) {
        complain(r, "/save and /load take a name, or a path with a '/'");
        return false;
    }
    const char *home = !strncmp(arg, "~/", 2) ? getenv("HOME") : NULL;
    if (strchr(arg, '/')) return snprintf(out, RF_CLI_PATH_MAX, "%s%s", home ? home : "", arg + (home != NULL)) < RF_CLI_PATH_MAX;
    snprintf(name, sizeof name, "chats/%.250s.json", arg);
    return rf_cli_own_path(out, RF_CLI_PATH_MAX, "XDG_DATA_HOME", ".local/share", name, make);
}

static void cmd_save(struct repl *r, const char *arg)
{
    char path[RF_CLI_PATH_MAX], line[RF_CLI_PATH_MAX + 20];
    if (!chat_path(r, arg, path, true)) return;
    json_t *root = json_pack("{s:s, s:s*, s:O}", "model", r->info.name, "system", r->set.system, "messages", r->chat->messages);
    if (!root || json_dump_file(root, path, JSON_INDENT(1))) snprintf(line, sizeof line, "%s: %s", path, errno ? strerror(errno) : "cannot be written");
    else snprintf(line, sizeof line, "saved to %s", path);
    json_decref(root);
    say(r, line);
}

static bool is_conversation(const json_t *messages)
{
    size_t i;
    json_t *m;
    if (!json_is_array(messages)) return false;
    json_array_foreach((json_t *)messages, i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));
        if (!role || (strcmp(role, "user") && strcmp(role, "assistant")) || !json_is_string(json_object_get(m, "content"))) return false;
    }
    return true;
}

static void cmd_load(struct repl *r, const char *arg)
{
    char path[RF_CLI_PATH_MAX], line[120];
    struct rf_buf text = {0};
    struct rf_error err = {0};
    if (!chat_path(r, arg, path, false)) return;
    if (rf_file_read(&text, path, CHAT_FILE_MAX, &err)) {
        fail(r, &err);
        return;
    }
    json_t *root = json_loadb(rf_buf_str(&text), text.len, 0, NULL), *messages = json_object_get(root, "messages");
    rf_buf_release(&text);
    if (is_conversation(messages)) {
        const char *system = json_string_value(json_object_get(root, "system"));
        r->set.system = system ? rf_arena_strndup(&r->text, system, strlen(system)) : NULL;
        json_array_clear(r->chat->messages);
        json_array_extend(r->chat->messages, messages);
        snprintf(line, sizeof line, "%zu messages", json_array_size(messages));
        say(r, line);
    } else {
        printf("%s: found no conversation, expected JSON with \"messages\" of user and assistant\n", path);
    }
    json_decref(root);
}

/* ---- help, end ---- */

static void cmd_bye(struct repl *r, const char *arg)
{
    (void)arg;
    r->bye = true;
}

static void cmd_help(struct repl *r, const char *arg);

static const struct command commands[] = {
    {"/set", "[NAME VALUE]", "change how it answers: /set temperature 0.2, /set system Be brief.; /set NAME default", cmd_set},
    {"/show", "[settings|messages]", "the model; what is set; what was said", cmd_show},
    {"/clear", "", "forget the conversation", cmd_clear},
    {"/save", "NAME", "keep the conversation", cmd_save},
    {"/load", "NAME", "go on with a kept one", cmd_load},
    {"/bye", "", "end (also Ctrl-D)", cmd_bye},
    {"/?", "", "this list", cmd_help},
    {"/help", "", NULL, cmd_help},
    {"/exit", "", NULL, cmd_bye},
    {"/quit", "", NULL, cmd_bye},
};
static const char *const words[] = {"/set", "/show", "/clear", "/save", "/load", "/bye", "/help", "/show settings", "/show messages", NULL};

static void cmd_help(struct repl *r, const char *arg)
{
    (void)r;
    (void)arg;
    for (size_t i = 0; i < RF_COUNT(commands); i++) {
        char left[40];
        snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].arg);
        if (commands[i].what) printf("  %-28s %s\n", left, commands[i].what);
    }
    printf("\nSeveral lines: begin with \"\"\" and end with \"\"\", or end a line with \\, or break it with Alt-Enter; a paste stays\n"
           "one input. Ctrl-C stops an answer. Up and Ctrl-R find what was typed before.\n");
}

static void command(struct repl *r, const char *line)
{
    size_t n = strcspn(line, " \n");
    for (size_t i = 0; i < RF_COUNT(commands); i++)
        if (strlen(commands[i].name) == n && !strncmp(line, commands[i].name, n)) {
            commands[i].run(r, line + n + strspn(line + n, " "));
            return;
        }
    const char *names[RF_COUNT(commands)];
    char word[64];
    for (size_t i = 0; i < RF_COUNT(commands); i++) names[i] = commands[i].name;
    snprintf(word, sizeof word, "%.*s", (int)RF_MIN(n, 60u), line);
    const char *near = rf_cli_nearest(word, names, RF_COUNT(commands));
    printf("There is no %s%s%s; /? lists the commands.\n", word, near ? "; did you mean " : "", near ? near : "");
}

/* ---- answers ---- */

static void print_speed(const struct repl *r, const struct rf_usage *u)
{
    char line[160];
    double steps = u->completion_tokens > 1 ? u->completion_tokens - 1 : 0;
    if (r->chat->uncounted) snprintf(line, sizeof line, "first after %.2f s, %.2f s in all", u->prefill_s, u->prefill_s + u->decode_s);
    else snprintf(line, sizeof line, "%u tokens%s%.1f tokens/s, first after %.2f s", u->completion_tokens, u->decode_s > 0 ? ", " : "; ",
             u->decode_s > 0 ? steps / u->decode_s : 0.0, u->queue_s + u->prefill_s);
    fflush(stdout);
    fprintf(stderr, "%s[%s]%s\n", r->colour ? "\033[2m" : "", line, r->colour ? "\033[0m" : "");
}

/* The oldest question and answer make room. False if only the newest question is left. */
static bool forget_oldest(struct repl *r)
{
    json_t *m = r->chat->messages;
    if (json_array_size(m) < 2) return false;
    json_array_remove(m, 0);
    while (json_array_size(m) > 1 && strcmp(json_string_value(json_object_get(json_array_get(m, 0), "role")), "user") != 0) json_array_remove(m, 0);
    return true;
}

/* An answer that ended for length, without --max-tokens: by the context's end, or where the model's files say. */
static bool is_full(const struct repl *r, const struct rf_usage *u)
{
    struct rf_stats st;
    if (r->chat->remote) return true;
    rf_engine_stats(r->chat->engine, &st);
    return u->prompt_tokens + u->completion_tokens >= st.max_model_len;
}

static void answer(struct repl *r, const char *question)
{
    struct rf_error err = {0};
    struct rf_buf text = {0};
    struct rf_usage u = {0};
    enum rf_finish finish = RF_FINISH_NONE;
    if (rf_chat_add(r->chat, "user", question, strlen(question), &err)) {
        fail(r, &err);
        return;
    }
    fflush(stdout);
    rf_cli_listen_interrupt();
    int code = rf_chat_answer(&r->set, r->chat, &text, &u, &finish, &err);
    unsigned forgotten = 0;
    while (code == RF_EXIT_FAILED && err.status == RF_TOO_LONG && forget_oldest(r)) {
        forgotten++;
        code = rf_chat_answer(&r->set, r->chat, &text, &u, &finish, &err);
    }
    rf_cli_ignore_interrupt();
    if (err.status == RF_TOO_LONG) fail(r, &err);
    bool said = finish != RF_FINISH_NONE && finish != RF_FINISH_ERROR && !rf_chat_add(r->chat, "assistant", rf_buf_str(&text), text.len, NULL);
    if (!said) json_array_remove(r->chat->messages, json_array_size(r->chat->messages) - 1); /* a question without an answer is none */
    if (forgotten) say(r, "[the beginning of the conversation no longer fits the context and was left out]");
    if (finish == RF_FINISH_LENGTH && !r->set.has_max_tokens && is_full(r, &u)) say(r, "[the context is full: /clear begins anew]");
    if (said) print_speed(r, &u);
    rf_buf_release(&text);
}

/* ---- input ---- */

/* One input, perhaps of several lines. False at its end; an empty one is nothing. */
static bool read_input(struct repl *r, struct rf_buf *in)
{
    const char *line;
    bool block = false, more = true;
    rf_buf_clear(in);
    while (more) {
        enum rf_edit_end end = rf_edit_read(r->edit, in->len || block ? "..." : ">>>", &line);
        if (end == RF_EDIT_EOF) return in->len > 0;
        if (end == RF_EDIT_CANCEL) {
            rf_buf_clear(in);
            return true;
        }
        size_t n = strlen(line);
        if (!block && !in->len && !strncmp(line, "\"\"\"", 3)) {
            block = true;
            line += 3;
            n -= 3;
            if (!n) continue;
        }
        bool ends = block && n >= 3 && !strcmp(line + n - 3, "\"\"\""), joins = !block && n && line[n - 1] == '\\';
        rf_buf_append(in, line, ends ? n - 3 : joins ? n - 1 : n);
        more = block ? !ends : joins;
        if (more) rf_buf_putc(in, '\n');
    }
    return true;
}

/* "/set x" is one, "/etc/passwd?" is a question. */
static bool is_command(const char *text) { return *text == '/' && !memchr(text + 1, '/', strcspn(text + 1, " \n")); }

static void greet(const struct repl *r)
{
    if (r->chat->remote) {
        printf("%s%s%s at %s. /? for help, /bye to end.\n", r->colour ? "\033[1m" : "", r->info.name, r->colour ? "\033[0m" : "", r->info.path);
        if (r->set.raw) say(r, "Each input is continued as text, and nothing before it is remembered.");
        return;
    }
    printf("%s%s%s, %s, %s. /? for help, /bye to end.\n", r->colour ? "\033[1m" : "", r->info.name, r->colour ? "\033[0m" : "",
           r->info.quantization, r->info.device);
    if (!r->info.has_template || r->set.raw)
        say(r, "This model has no chat template: each input is continued as text, and nothing before it is remembered.");
    else show_first_messages(r, true);
}

int rf_cli_repl(const struct rf_cli *c, struct rf_chat *chat)
{
    char path[RF_CLI_PATH_MAX], name[256];
    struct rf_buf in = {0};
    struct repl r = {.set = *c, .chat = chat, .colour = rf_cli_colour(STDOUT_FILENO)};
    if (chat->model) rf_model_info_get(chat->model, &r.info);
    else r.info = (struct rf_model_info){.name = rf_utf8_printable(name, sizeof name, json_string_value(chat->id)), .path = rf_remote_url(chat->remote),
                                         .system = "", .messages = ""};
    bool keep = !c->no_history && rf_cli_own_path(path, sizeof path, "XDG_STATE_HOME", ".local/state", "history", true);
    r.edit = rf_edit_open(keep ? path : NULL, r.colour, words);
    if (!r.edit) {
        fprintf(stderr, "rocmforge: the terminal cannot be used for a conversation; rocmforge run MODEL \"...\" answers one prompt\n");
        return RF_EXIT_FAILED;
    }
    rf_cli_ignore_interrupt();
    greet(&r);
    while (!r.bye && read_input(&r, &in)) {
        const char *text = rf_buf_str(&in);
        text += strspn(text, " \n");
        if (!*text) continue;
        rf_edit_remember(r.edit, text);
        if (is_command(text)) command(&r, text);
        else answer(&r, text);
        fflush(stdout);
    }
    rf_edit_close(r.edit);
    rf_buf_release(&in);
    rf_arena_release(&r.text);
    return RF_EXIT_OK;
}
