/* config.c - settings from the environment and from rocmforge.toml, below the command line; `rocmforge config` shows them.
 *
 * The file is --config, $ROCMFORGE_CONFIG, ./rocmforge.toml, $XDG_CONFIG_HOME/rocmforge/rocmforge.toml (~/.config) or
 * /etc/rocmforge/rocmforge.toml: the first that there is, alone. A key that no command knows is an error, so that a misspelled
 * setting is never silently without effect; a key that this command does not know is another command's.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/options.h"
#include "cli/toml.h"

extern char **environ;

static const char *const other_variables[] = {"ROCMFORGE_CONFIG", "ROCMFORGE_MODEL_PATH", "ROCMFORGE_LIB"};

/* ---- the file ---- */

static bool file_path(const struct rf_cli *c, char *path, size_t cap)
{
    const char *named = c->config ? c->config : getenv("ROCMFORGE_CONFIG");
    if (named && *named) return (size_t)snprintf(path, cap, "%s", named) < cap; /* one that is missing is an error */
    snprintf(path, cap, "rocmforge.toml");
    if (rf_path_exists(path)) return true;
    if (rf_cli_own_path(path, cap, "XDG_CONFIG_HOME", ".config", "rocmforge.toml", false) && rf_path_exists(path)) return true;
    snprintf(path, cap, "/etc/rocmforge/rocmforge.toml");
    return rf_path_exists(path);
}

static const char *nearest_option(const char *key, char *out, size_t cap)
{
    const char *names[RF_CLI_OPTIONS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < rf_cli_n_options; i++)
        if (!(rf_cli_options[i].flags & RF_OPTION_LINE)) names[n++] = rf_cli_options[i].name;
    const char *near = rf_cli_nearest(key, names, n);
    snprintf(out, cap, "%s%s%s", near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return out;
}

static bool kind_fits(const struct rf_option *o, enum rf_toml_kind k)
{
    switch (o->kind) {
    case RF_OPTION_FLAG: return k == RF_TOML_BOOL;
    case RF_OPTION_INT: return k == RF_TOML_INT;
    case RF_OPTION_REAL: return k == RF_TOML_INT || k == RF_TOML_REAL;
    case RF_OPTION_TEXT: return k == RF_TOML_STRING;
    case RF_OPTION_LIST: return k == RF_TOML_STRING || k == RF_TOML_ARRAY;
    }
    return false;
}

static const char *kind_wanted(const struct rf_option *o)
{
    static const char *const words[] = {"true or false", "a whole number", "a number", "a string in quotes", "an array of strings"};
    return words[o->kind];
}

struct reading { struct rf_cli *c; const char *path; };

static bool at_top(const struct rf_toml *t) { return !*t->table; }

/* A value of the command's own table replaces one from the top of the file. */
static void start_over(struct rf_cli *c, const struct rf_option *o)
{
    if (o->kind == RF_OPTION_LIST) ((struct rf_cli_words *)((char *)c + o->at))->n = 0;
}

static rf_status set_from_file(struct reading *r, const struct rf_toml *t, const struct rf_option *o, struct rf_error *err)
{
    struct rf_cli *c = r->c;
    char where[RF_CLI_PATH_MAX + 100];
    size_t i = (size_t)(o - rf_cli_options);
    bool ok = true;
    if (c->origin[i].from > RF_FROM_FILE) return RF_OK; /* the environment or the line said it */
    snprintf(where, sizeof where, "%s:%u: %s", r->path, t->line, t->key);
    start_over(c, o);
    c->origin[i].from = RF_FROM_FILE;
    c->origin[i].line = t->line;
    if (t->kind != RF_TOML_ARRAY) ok = rf_cli_option_set(c, o, where, t->text, err);
    for (size_t k = 0; ok && t->kind == RF_TOML_ARRAY && k < t->n_item; k++) ok = rf_cli_option_set(c, o, where, t->item[k], err);
    return ok ? RF_OK : err->status;
}

static rf_status see_key(void *ctx, const struct rf_toml *t, struct rf_error *err)
{
    struct reading *r = ctx;
    const struct rf_cli_command *cmd = at_top(t) ? NULL : rf_cli_command_find(t->table);
    char near[120];
    if (!at_top(t) && !cmd)
        return rf_fail(err, RF_INVALID, "%s:%u: [%.60s] is no command; tables are [run], [serve], [bench] and so on", r->path, t->line, t->table);
    unsigned all = cmd ? cmd->bit : RF_CMD_ALL;
    const struct rf_option *o = rf_cli_option_find(t->key, strlen(t->key), all);
    if (!o)
        return rf_fail(err, RF_INVALID, "%s:%u: unknown setting \"%.60s\"%s%s%s", r->path, t->line, t->key, cmd ? " of " : "",
                       cmd ? cmd->name : "", nearest_option(t->key, near, sizeof near));
    if (o->flags & RF_OPTION_LINE)
        return rf_fail(err, RF_INVALID, "%s:%u: \"%s\" can only be said on the command line, as --%s", r->path, t->line, t->key, o->name);
    if (!kind_fits(o, t->kind))
        return rf_fail(err, RF_INVALID, "%s:%u: %s is %s, expected %s", r->path, t->line, t->key, rf_toml_kind_name(t->kind), kind_wanted(o));
    unsigned mine = r->c->command->bit;
    if (!(o->commands & mine) || (cmd && cmd->bit != mine)) return RF_OK;
    return set_from_file(r, t, o, err); /* tables stand behind the top, so that a command's own value is the last */
}

static rf_status read_file(struct rf_cli *c, struct rf_error *err)
{
    char path[RF_CLI_PATH_MAX];
    struct rf_buf text = {0};
    if (!file_path(c, path, sizeof path)) return RF_OK;
    c->config_path = rf_arena_strndup(&c->arena, path, strlen(path));
    if (!c->config_path) return rf_fail_nomem(err, path, 0);
    rf_status s = rf_file_read(&text, path, RF_TOML_BYTES, err);
    struct reading r = {c, c->config_path};
    if (!s) s = rf_toml_read(rf_buf_str(&text), text.len, c->config_path, &c->arena, see_key, &r, err);
    rf_buf_release(&text);
    return s;
}

/* ---- the environment ---- */

static bool set_from_env(struct rf_cli *c, const struct rf_option *o, const char *name, const char *value, struct rf_error *err)
{
    bool ok = true;
    c->origin[o - rf_cli_options].from = RF_FROM_ENV;
    if (o->kind != RF_OPTION_LIST) return rf_cli_option_set(c, o, name, value, err);
    while (ok && *value) {
        size_t n = strcspn(value, ",");
        const char *item = rf_arena_strndup(&c->arena, value, n);
        if (!item) return rf_fail_nomem(err, name, n), false;
        ok = rf_cli_option_set(c, o, name, item, err);
        value += n + (value[n] == ',');
    }
    return ok;
}

static bool read_environment(struct rf_cli *c, struct rf_error *err)
{
    for (size_t i = 0; i < rf_cli_n_options; i++) {
        const struct rf_option *o = &rf_cli_options[i];
        char name[80];
        if (!(o->commands & c->command->bit) || o->flags & RF_OPTION_LINE || c->origin[i].from == RF_FROM_LINE) continue;
        rf_cli_option_env(o, name, sizeof name);
        const char *value = getenv(name);
        if (value && *value && !set_from_env(c, o, name, value, err)) return false;
    }
    return true;
}

/* Commands without settings; config reads those of the others by itself. */
static const unsigned without = RF_CMD_VERSION | RF_CMD_MAN | RF_CMD_COMPLETION | RF_CMD_CONFIG;

static bool read_all(struct rf_cli *c)
{
    struct rf_error err = {0};
    if (read_environment(c, &err) && !read_file(c, &err)) return true;
    rf_cli_fail(&err, 0);
    return false;
}

bool rf_cli_config_apply(struct rf_cli *c) { return c->command->bit & without || read_all(c); }

/* ---- rocmforge config ---- */

struct row { const struct rf_option *o; enum rf_cli_from from; char value[512], where[RF_CLI_PATH_MAX + 16]; };

static void origin_text(const struct rf_cli *c, const struct rf_option *o, char *out, size_t cap)
{
    size_t i = (size_t)(o - rf_cli_options);
    switch (c->origin[i].from) {
    case RF_FROM_DEFAULT: snprintf(out, cap, "default"); break;
    case RF_FROM_FILE: snprintf(out, cap, "%s:%u", c->config_path, c->origin[i].line); break;
    case RF_FROM_ENV: rf_cli_option_env(o, out, cap); break;
    default: snprintf(out, cap, "--%s", o->name);
    }
}

/* What command cmd would see; the caller releases c. */
static bool resolve(struct rf_cli *c, const struct rf_cli_command *cmd, const char *config)
{
    rf_cli_defaults(c);
    c->command = cmd;
    c->config = config;
    return read_all(c);
}

static void fill_row(struct row *r, const struct rf_cli *c, const struct rf_option *o)
{
    r->o = o;
    r->from = c->origin[o - rf_cli_options].from;
    rf_cli_option_text(c, o, r->value, sizeof r->value);
    if (o->flags & RF_OPTION_SECRET && strcmp(r->value, "unset")) snprintf(r->value, sizeof r->value, "(hidden)");
    origin_text(c, o, r->where, sizeof r->where);
}

static void print_row(json_t *rows, bool json, const char *command, const struct row *r)
{
    static const char *const from[] = {"default", "file", "environment", "line"};
    char name[80];
    if (json) {
        json_t *o = json_pack("{s:s, s:s*, s:s, s:s, s:s}", "name", r->o->name, "command", command, "value", r->value, "source", from[r->from],
                              "where", r->where);
        json_array_append_new(rows, o);
        return;
    }
    snprintf(name, sizeof name, "%s%s%s", command ? command : "", command ? "." : "", r->o->name);
    printf("%-26s %-24s %s\n", name, r->value, r->where);
}

/* Variables that look like ours and are none of ours: most likely misspelled. */
static void unknown_variables(json_t *list, bool json)
{
    for (char **e = environ; *e; e++) {
        char name[120], key[120], near[160];
        size_t n = strcspn(*e, "=");
        bool known = strncmp(*e, "ROCMFORGE_", 10) != 0 || n >= sizeof name;
        snprintf(name, sizeof name, "%.*s", (int)RF_MIN(n, sizeof name - 1), *e);
        for (size_t i = 0; !known && i < RF_COUNT(other_variables); i++) known = !strcmp(name, other_variables[i]);
        for (size_t i = 0; !known && i < rf_cli_n_options; i++) {
            char ours[80];
            rf_cli_option_env(&rf_cli_options[i], ours, sizeof ours);
            known = !(rf_cli_options[i].flags & RF_OPTION_LINE) && !strcmp(ours, name);
        }
        if (known) continue;
        json_array_append_new(list, json_string(name));
        for (size_t i = 0; i + 10 <= n; i++) key[i] = name[i + 10] == '_' ? '-' : (char)tolower((unsigned char)name[i + 10]);
        if (!json) fprintf(stderr, "rocmforge: %s is not a setting%s\n", name, nearest_option(key, near, sizeof near));
    }
}

/* One command's options, or where cmd is NULL each option once, and again per command where that sees another value. */
static bool print_options(const struct rf_cli *c, const struct rf_cli_command *only, json_t *rows, const char **file)
{
    struct rf_cli seen[16];
    size_t n = 0;
    bool ok = true;
    const struct rf_cli_command *cmd[16];
    for (size_t i = 0; ok && i < rf_cli_n_commands && n < RF_COUNT(seen); i++) {
        if (only ? only != &rf_cli_commands[i] : rf_cli_commands[i].bit & without) continue;
        cmd[n] = &rf_cli_commands[i];
        ok = resolve(&seen[n++], &rf_cli_commands[i], c->config);
    }
    *file = ok && n && seen[0].config_path ? rf_strdup(seen[0].config_path) : NULL;
    if (ok && !c->json) printf("%-26s %-24s %s\n", "SETTING", "VALUE", "FROM");
    for (size_t i = 0; ok && i < rf_cli_n_options; i++) {
        const struct rf_option *o = &rf_cli_options[i];
        struct row first = {0}, r;
        for (size_t k = 0; k < n && !(o->flags & RF_OPTION_LINE); k++) {
            if (!(o->commands & cmd[k]->bit)) continue;
            fill_row(&r, &seen[k], o);
            if (first.o && !strcmp(first.value, r.value) && !strcmp(first.where, r.where)) continue;
            print_row(rows, c->json, first.o ? cmd[k]->name : NULL, &r);
            if (!first.o) first = r;
        }
    }
    for (size_t k = 0; k < n; k++) rf_cli_release(&seen[k]);
    return ok;
}

int rf_cli_config(const struct rf_cli *c)
{
    const struct rf_cli_command *only = c->n_arg ? rf_cli_command_find(c->arg[0]) : NULL;
    const char *file = NULL;
    if (c->n_arg && !only) {
        fprintf(stderr, "rocmforge: config: there is no command \"%.40s\"\n", c->arg[0]);
        return RF_EXIT_USAGE;
    }
    json_t *rows = json_array(), *unknown = json_array();
    bool ok = print_options(c, only, rows, &file);
    if (ok) unknown_variables(unknown, c->json);
    int code = ok ? RF_EXIT_OK : RF_EXIT_USAGE;
    if (ok && c->json) {
        code = rf_cli_print_json(json_pack("{s:s?, s:O, s:O}", "file", file, "settings", rows, "unknown_variables", unknown));
    } else if (ok) {
        printf("\nFile: %s\n", file ? file : "none; ./rocmforge.toml, ~/.config/rocmforge/rocmforge.toml or /etc/rocmforge/rocmforge.toml would be read");
    }
    rf_free((void *)file);
    json_decref(rows);
    json_decref(unknown);
    return code;
}
