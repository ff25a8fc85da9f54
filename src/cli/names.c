/* names.c - what a model is called and where it lies: paths, listed names, the model that ships. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"

static void print_warning(void *ctx, const char *line)
{
    (void)ctx;
    fprintf(stderr, "rocmforge: %s\n", line);
}

bool rf_cli_shipped_model(char *path, size_t cap)
{
    static const char *const below[] = {"/../share/rocmforge/rocmforge-demo.gguf", /* PREFIX/bin */
                                        "/../../../models/demo/rocmforge-demo.gguf"}; /* build/src/cli of a source tree */
    char exe[RF_CLI_PATH_MAX], *found;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 64);
    if (n <= 0) return false;
    exe[n] = 0;
    char *slash = strrchr(exe, '/');
    if (!slash) return false;
    for (size_t i = 0; i < RF_COUNT(below); i++) {
        snprintf(slash, sizeof exe - (size_t)(slash - exe), "%s", below[i]);
        if (!(found = realpath(exe, NULL))) continue;
        int k = snprintf(path, cap, "%s", found);
        rf_free(found); /* realpath's memory is the C library's, and so is rf_free's */
        return k > 0 && (size_t)k < cap;
    }
    return false;
}

struct rf_registry *rf_cli_open_registry(const struct rf_cli *c, bool warn)
{
    struct rf_registry *r = NULL;
    struct rf_error err = {0};
    char shipped[RF_CLI_PATH_MAX];
    struct rf_registry_options o = {.dirs = c->model_dir.item, .n_dirs = c->model_dir.n, .warn = warn ? print_warning : NULL};
    if (rf_cli_shipped_model(shipped, sizeof shipped)) o.shipped = shipped;
    if (rf_registry_open(&r, &o, &err)) rf_cli_fail(&err, 0);
    return r;
}

bool rf_cli_wanted_model(const struct rf_cli *c, char *out, size_t cap)
{
    const char *named = c->n_arg && *c->arg[0] ? c->arg[0] : c->model;
    return named ? (size_t)snprintf(out, cap, "%s", named) < cap : rf_cli_shipped_model(out, cap);
}

/* The name whose beginning, as long as the word and one more, is few edits away: "qwen2.5-codr" of "qwen2.5-coder-0.5b". */
static const char *nearest_beginning(const char *word, const char *const *names, size_t n)
{
    char cut[64];
    size_t len = strlen(word) + 1;
    const char *one = cut;
    for (size_t i = 0; len > 4 && len < sizeof cut && i < n; i++) {
        snprintf(cut, sizeof cut, "%.*s", (int)len, names[i]);
        if (rf_cli_nearest(word, &one, 1)) return names[i];
    }
    return NULL;
}

/* Up to three names that are like `name`: few edits away, or one contains the other, or begins like it. */
static void nearest(const struct rf_registry *r, const char *name, char *out, size_t cap)
{
    size_t n = rf_registry_n(r), n_name = 0, at = 0;
    const char **names = rf_alloc_array(n, sizeof *names);
    out[0] = 0;
    for (size_t i = 0; names && i < n; i++)
        if (rf_registry_at(r, i)->kind == RF_MODEL_CHAT) names[n_name++] = rf_registry_at(r, i)->name;
    for (int k = 0; k < 3 && at < cap; k++) {
        const char *near = rf_cli_nearest(name, names, n_name);
        for (size_t i = 0; !near && i < n_name; i++)
            if (*name && (strcasestr(names[i], name) || strcasestr(name, names[i]))) near = names[i];
        if (!near) near = nearest_beginning(name, names, n_name);
        if (!near) break;
        at += (size_t)snprintf(out + at, cap - at, "%s%s", k ? ", " : "", near);
        for (size_t i = 0; i < n_name; i++)
            if (names[i] == near) names[i] = names[--n_name];
    }
    rf_free(names);
}

rf_status rf_cli_find_name(const struct rf_registry *r, const char *name, const char *miss, const struct rf_model_entry **out, struct rf_error *err)
{
    char near[300], cut[300];
    size_t n = strlen(name);
    *out = rf_registry_find(r, name);
    if (!*out && n > 7 && n < sizeof cut && !strcmp(name + n - 7, ":latest")) { /* Ollama's tag that `list` leaves out */
        snprintf(cut, sizeof cut, "%.*s", (int)(n - 7), name);
        *out = rf_registry_find(r, cut);
    }
    if (!*out) {
        nearest(r, name, near, sizeof near);
        return rf_fail(err, RF_NOT_FOUND, "%.150s: %s%s%s%s", name, miss, *near ? "; did you mean " : "", near, *near ? "?" : "");
    }
    if ((*out)->kind == RF_MODEL_BROKEN) return rf_fail(err, RF_CORRUPT, "%.150s cannot be used: %.300s", (*out)->name, (*out)->note);
    return RF_OK;
}

bool rf_cli_place_of(const struct rf_model_entry *m, struct rf_cli_place *at)
{
    return (size_t)snprintf(at->path, sizeof at->path, "%s", m->path) < sizeof at->path &&
           (size_t)snprintf(at->system, sizeof at->system, "%s", m->system) < sizeof at->system &&
           (size_t)snprintf(at->sampling, sizeof at->sampling, "%s", m->sampling) < sizeof at->sampling &&
           (size_t)snprintf(at->messages, sizeof at->messages, "%s", m->messages) < sizeof at->messages;
}

bool rf_cli_resolve(const struct rf_cli *c, const char *name, struct rf_cli_place *at)
{
    struct rf_error err = {0};
    const struct rf_model_entry *m;
    int n = snprintf(at->path, sizeof at->path, "%s", name);
    at->system[0] = at->sampling[0] = at->messages[0] = 0;
    if (n > 0 && (size_t)n < sizeof at->path && rf_path_exists(at->path)) return true;
    struct rf_registry *r = rf_cli_open_registry(c, false);
    if (!r) return false;
    rf_status s = rf_cli_find_name(r, name, "no such file, folder or model", &m, &err);
    if (!s && !rf_cli_place_of(m, at)) s = rf_fail(&err, RF_TOO_LARGE, "%.150s: its path is too long", name);
    if (s) rf_cli_fail(&err, 0);
    if (s == RF_NOT_FOUND) fprintf(stderr, "  See: rocmforge list\n");
    rf_registry_close(r);
    return !s;
}
