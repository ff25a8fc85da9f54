/* options.c - the parser that walks the tables of table.c. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"

/* ---- nearest name: Levenshtein distance, two rows ---- */

static size_t distance(const char *a, const char *b)
{
    size_t row[64], n = strlen(b);
    if (n >= RF_COUNT(row)) return 99;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; *a; a++, i++) {
        size_t diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t up = row[j], best = RF_MIN(up, row[j - 1]) + 1;
            row[j] = RF_MIN(best, diag + (tolower((unsigned char)*a) != tolower((unsigned char)b[j - 1])));
            diag = up;
        }
    }
    return row[n];
}

const char *rf_cli_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_d = strlen(word) / 2 + 1;
    if (strlen(word) >= 64) return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, names[i]);
        if (d < best_d) {
            best = names[i];
            best_d = d;
        }
    }
    return best;
}

static bool complain(const struct rf_cli *c, const char *what, const char *word, const char *near, const char *dashes)
{
    fprintf(stderr, "rocmforge: %s %s%s", what, dashes, word);
    if (near) fprintf(stderr, "; did you mean %s%s?", dashes, near);
    fprintf(stderr, "\n  See: rocmforge %s%s--help\n", c->command ? c->command->name : "", c->command ? " " : "");
    return false;
}

static bool unknown_option(const struct rf_cli *c, const char *word)
{
    const char *names[RF_CLI_OPTIONS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < rf_cli_n_options; i++)
        if (rf_cli_options[i].commands & c->command->bit) names[n++] = rf_cli_options[i].name;
    return complain(c, "unknown option", word, rf_cli_nearest(word, names, n), "--");
}

/* ---- one option ---- */

const struct rf_option *rf_cli_option_find(const char *name, size_t len, unsigned commands)
{
    for (size_t i = 0; i < rf_cli_n_options; i++) {
        const struct rf_option *o = &rf_cli_options[i];
        size_t k = 0;
        if (!(o->commands & commands) || strlen(o->name) != len) continue;
        while (k < len && (name[k] == o->name[k] || (name[k] == '_' && o->name[k] == '-'))) k++;
        if (k == len) return o;
    }
    return NULL;
}

static bool set_number(struct rf_cli *c, const struct rf_option *o, const char *where, const char *v, struct rf_error *err)
{
    char *end;
    void *at = (char *)c + o->at;
    errno = 0;
    long long i = o->kind == RF_OPTION_INT ? strtoll(v, &end, 10) : 0;
    double x = o->kind == RF_OPTION_INT ? (double)i : strtod(v, &end);
    if (!*v || *end || errno || !(x >= o->min && x <= o->max)) {
        rf_fail(err, RF_INVALID, "%s is \"%.80s\", expected a%s number from %.12g to %.12g", where, v, o->kind == RF_OPTION_INT ? " whole" : "",
                o->min, o->max);
        return false;
    }
    if (o->kind == RF_OPTION_INT) *(int64_t *)at = i;
    else *(double *)at = x;
    return true;
}

static bool set_flag(bool *at, const char *where, const char *v, struct rf_error *err)
{
    static const struct { const char *word; bool value; } words[] = {{"1", true}, {"true", true}, {"yes", true}, {"on", true},
                                                                    {"0", false}, {"false", false}, {"no", false}, {"off", false}, {"", false}};
    for (size_t i = 0; i < RF_COUNT(words); i++)
        if (!strcasecmp(v, words[i].word)) {
            *at = words[i].value;
            return true;
        }
    rf_fail(err, RF_INVALID, "%s is \"%.80s\", expected true or false", where, v);
    return false;
}

static bool one_of(const char *words, const char *v)
{
    size_t n = strlen(v);
    for (const char *p = words; *p; p += strcspn(p, " "), p += strspn(p, " "))
        if (strcspn(p, " ") == n && !memcmp(p, v, n)) return n > 0;
    return false;
}

bool rf_cli_option_set(struct rf_cli *c, const struct rf_option *o, const char *where, const char *v, struct rf_error *err)
{
    char *at = (char *)c + o->at;
    struct rf_cli_words *list = (struct rf_cli_words *)at;
    if (o->words && !one_of(o->words, v)) {
        rf_fail(err, RF_INVALID, "%s is \"%.80s\", expected one of: %s", where, v, o->words);
        return false;
    }
    if (o->has != RF_OPTION_NO_HAS) *(bool *)((char *)c + o->has) = true;
    switch (o->kind) {
    case RF_OPTION_FLAG: return set_flag((bool *)at, where, v, err);
    case RF_OPTION_TEXT: *(const char **)at = v; return true;
    case RF_OPTION_INT:
    case RF_OPTION_REAL: return set_number(c, o, where, v, err);
    case RF_OPTION_LIST: break;
    }
    if (list->n == RF_CLI_LIST_MAX) {
        rf_fail(err, RF_INVALID, "%s is given more than %d times", where, RF_CLI_LIST_MAX);
        return false;
    }
    list->item[list->n++] = v;
    return true;
}

void rf_cli_option_text(const struct rf_cli *c, const struct rf_option *o, char *out, size_t cap)
{
    const char *at = (const char *)c + o->at;
    const struct rf_cli_words *list = (const struct rf_cli_words *)at;
    size_t n = 0;
    int64_t i = o->kind == RF_OPTION_INT ? *(const int64_t *)at : 0;
    double x = o->kind == RF_OPTION_INT ? (double)i : o->kind == RF_OPTION_REAL ? *(const double *)at : 0;
    bool number = o->kind == RF_OPTION_INT || o->kind == RF_OPTION_REAL;
    bool set = o->has == RF_OPTION_NO_HAS || *(const bool *)((const char *)c + o->has);
    if (number && set && x >= o->min) {
        if (o->kind == RF_OPTION_INT) snprintf(out, cap, "%lld", (long long)i);
        else snprintf(out, cap, "%g", x);
        return;
    }
    snprintf(out, cap, "unset");
    if (o->kind == RF_OPTION_FLAG) snprintf(out, cap, "%s", *(const bool *)at ? "true" : "false");
    if (o->kind == RF_OPTION_TEXT && *(const char *const *)at) snprintf(out, cap, "%s", *(const char *const *)at);
    for (size_t k = 0; o->kind == RF_OPTION_LIST && k < list->n && n < cap; k++)
        n += (size_t)snprintf(out + n, cap - n, "%s%s", k ? ", " : "", list->item[k]);
}

void rf_cli_option_env(const struct rf_option *o, char *out, size_t cap)
{
    size_t n = (size_t)snprintf(out, cap, "ROCMFORGE_%s", o->name);
    for (size_t i = 10; i < n && i < cap; i++) out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

/* ---- the line ---- */

static const struct rf_option *find_letter(const struct rf_cli *c, char letter)
{
    for (size_t i = 0; i < rf_cli_n_options; i++)
        if (rf_cli_options[i].letter == letter && (rf_cli_options[i].commands & c->command->bit)) return &rf_cli_options[i];
    return NULL;
}

static bool set_from_line(struct rf_cli *c, const struct rf_option *o, const char *v)
{
    struct rf_error err = {0};
    char where[80];
    snprintf(where, sizeof where, "--%s", o->name);
    c->origin[o - rf_cli_options].from = RF_FROM_LINE;
    if (rf_cli_option_set(c, o, where, v, &err)) return true;
    rf_cli_fail(&err, 0);
    return false;
}

/* One option at argv[*i], with its value there or behind it. */
static bool parse_option(struct rf_cli *c, int argc, char **argv, int *i)
{
    const char *a = argv[*i], *value = NULL;
    bool is_long = a[1] == '-';
    const char *eq = is_long ? strchr(a, '=') : NULL;
    size_t len = is_long ? (eq ? (size_t)(eq - a) - 2 : strlen(a) - 2) : 1;
    const struct rf_option *o = is_long ? rf_cli_option_find(a + 2, len, c->command->bit) : find_letter(c, a[1]);
    if (!o) {
        char word[80];
        snprintf(word, sizeof word, "%.*s", (int)RF_MIN(len, sizeof word - 1), is_long ? a + 2 : a + 1);
        return is_long ? unknown_option(c, word) : complain(c, "unknown option", word, NULL, "-");
    }
    if (eq) value = eq + 1;
    else if (!is_long && a[2]) value = a + 2;
    if (o->kind == RF_OPTION_FLAG) {
        if (value && !is_long) return complain(c, "unknown option", a + 1, NULL, "-");
        return set_from_line(c, o, value ? value : "true");
    }
    if (!value && *i + 1 < argc) value = argv[++*i];
    if (value) return set_from_line(c, o, value);
    fprintf(stderr, "rocmforge: --%s needs a value (%s)\n", o->name, o->arg);
    return false;
}

const struct rf_cli_command *rf_cli_command_find(const char *name)
{
    for (size_t i = 0; i < rf_cli_n_commands; i++)
        if (!strcmp(rf_cli_commands[i].name, name)) return &rf_cli_commands[i];
    return NULL;
}

void rf_cli_defaults(struct rf_cli *c)
{
    *c = (struct rf_cli){.host = "127.0.0.1", .port = 8080, .gpu_memory_fraction = 0.9, .step_timeout = -1, .pp = 512, .tg = 128, .reps = 5, .drain_timeout = 30,
                         .log_level = "info", .max_tokens = -1, .max_connections = 16384, .max_body_mb = 32};
}

void rf_cli_release(struct rf_cli *c) { rf_arena_release(&c->arena); }

static bool check_args(const struct rf_cli *c)
{
    const struct rf_cli_command *cmd = c->command;
    if (c->help || c->n_arg >= cmd->min_arg) return true;
    fprintf(stderr, "rocmforge: %s needs %s\n  See: rocmforge %s --help\n", cmd->name, cmd->usage, cmd->name);
    return false;
}

bool rf_cli_parse(struct rf_cli *c, int argc, char **argv)
{
    rf_cli_defaults(c);
    c->command = rf_cli_command_find(argv[1]);
    if (!c->command) {
        const char *names[32];
        for (size_t i = 0; i < rf_cli_n_commands; i++) names[i] = rf_cli_commands[i].name;
        return complain(c, "unknown command", argv[1], rf_cli_nearest(argv[1], names, rf_cli_n_commands), "");
    }
    bool only_args = false;
    for (int i = 2; i < argc; i++) {
        const char *a = argv[i];
        if (!only_args && !strcmp(a, "--")) {
            only_args = true;
        } else if (!only_args && a[0] == '-' && a[1]) {
            if (!parse_option(c, argc, argv, &i)) return false;
        } else if (c->n_arg == c->command->max_arg) {
            fprintf(stderr, "rocmforge: %s takes %s; \"%.80s\" is too many\n", c->command->name,
                    c->command->usage[0] ? c->command->usage : "no argument", a);
            return false;
        } else {
            c->arg[c->n_arg++] = a;
        }
    }
    return c->help || (check_args(c) && rf_cli_config_apply(c));
}
