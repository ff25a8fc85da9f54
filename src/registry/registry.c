/* registry.c - the roots in their order, names made unique, look-up. */
#include "registry/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"
#include "registry/internal.h"

struct rf_registry {
    struct rf_arena arena;
    struct rf_model_entry *entry;
    size_t n;
};

/* Nothing that a terminal obeys: no control characters, those of C1 (U+0080 to U+009F) among them. */
static void make_printable(char *name)
{
    for (unsigned char *p = (unsigned char *)name; *p; p++) {
        if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) p[0] = p[1] = '?';
        if (*p < 0x20 || *p == 0x7f) *p = '?';
    }
}

struct rf_model_entry *rf_scan_add(struct rf_scan *s, const char *name, const char *source, const char *path, const struct rf_header *h)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct rf_model_entry *p = rf_realloc_array(s->entry, cap, sizeof *p);
        if (!p) {
            s->out_of_memory = true;
            return NULL;
        }
        s->entry = p;
        s->cap = cap;
    }
    char *own_name = rf_arena_strndup(s->a, name, strlen(name)), *own_path = rf_arena_strndup(s->a, path, strlen(path));
    if (!own_name || !own_path) {
        s->out_of_memory = true;
        return NULL;
    }
    make_printable(own_name);
    s->entry[s->n++] = (struct rf_model_entry){.name = own_name, .source = source, .path = own_path, .architecture = h->architecture,
                                               .quantization = h->quantization, .note = h->note, .bytes = h->bytes,
                                               .context = h->context, .kind = h->kind, .address = own_path, .system = "",
                                               .sampling = "", .messages = ""};
    return &s->entry[s->n - 1];
}

/* ---- roots ---- */

static const char *env(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

/* $VAR/below, else ~/fallback; false if neither variable is set. */
static bool place(char *out, const char *var, const char *below, const char *fallback)
{
    const char *base = var ? env(var) : NULL, *home = env("HOME");
    int n = base ? snprintf(out, RF_REGISTRY_PATH, "%s%s%s", base, *below ? "/" : "", below)
                 : home ? snprintf(out, RF_REGISTRY_PATH, "%s/%s", home, fallback) : -1;
    return n > 0 && n < RF_REGISTRY_PATH;
}

bool rf_registry_own_dir(char *out) { return place(out, "XDG_DATA_HOME", "rocmforge/models", ".local/share/rocmforge/models"); }

static void scan_list_of_dirs(struct rf_scan *s, const char *list)
{
    char dir[RF_REGISTRY_PATH];
    while (list && *list) {
        size_t n = strcspn(list, ":");
        if (n && n < sizeof dir) {
            memcpy(dir, list, n);
            dir[n] = 0;
            rf_scan_tree(s, dir, "folder");
        }
        list += n + (list[n] == ':');
    }
}

/* The same file, found under whatever path. */
static bool listed(const struct rf_scan *s, const char *path)
{
    struct stat want, have;
    if (stat(path, &want)) return false;
    for (size_t i = 0; i < s->n; i++)
        if (s->entry[i].bytes == (uint64_t)want.st_size && !stat(s->entry[i].path, &have) && have.st_ino == want.st_ino &&
            have.st_dev == want.st_dev)
            return true;
    return false;
}

static void scan_all(struct rf_scan *s)
{
    char path[RF_REGISTRY_PATH];
    for (size_t i = 0; i < s->opt->n_dirs; i++) {
        if (!rf_path_is_dir(s->opt->dirs[i])) rf_scan_warn(s, "%s: no such folder", s->opt->dirs[i]);
        rf_scan_tree(s, s->opt->dirs[i], "folder");
    }
    scan_list_of_dirs(s, env("ROCMFORGE_MODEL_PATH"));
    rf_scan_tree(s, "models", "folder");
    if (rf_registry_own_dir(path)) rf_scan_tree(s, path, "own");
    if (env("HF_HUB_CACHE")) rf_scan_hub(s, env("HF_HUB_CACHE"));
    else if (env("HF_HOME") ? place(path, "HF_HOME", "hub", "") : place(path, "XDG_CACHE_HOME", "huggingface/hub", ".cache/huggingface/hub"))
        rf_scan_hub(s, path);
    if (env("OLLAMA_MODELS")) rf_scan_ollama(s, env("OLLAMA_MODELS"));
    if (place(path, NULL, "", ".ollama/models")) rf_scan_ollama(s, path);
    rf_scan_ollama(s, "/usr/share/ollama/.ollama/models");
    if (place(path, NULL, "", ".lmstudio/models")) rf_scan_tree(s, path, "lmstudio");
    if (place(path, NULL, "", ".cache/lm-studio/models")) rf_scan_tree(s, path, "lmstudio");
    if (env("LLAMA_CACHE")) rf_scan_tree(s, env("LLAMA_CACHE"), "llama.cpp");
    if (place(path, NULL, "", ".cache/llama.cpp")) rf_scan_tree(s, path, "llama.cpp");
    if (place(path, NULL, "", "models")) rf_scan_tree(s, path, "folder");
    if (s->opt->shipped && !listed(s, s->opt->shipped)) rf_scan_file(s, s->opt->shipped, "shipped");
}

/* ---- unique names ---- */

static int by_name(const void *a, const void *b)
{
    const struct rf_model_entry *x = *(struct rf_model_entry *const *)a, *y = *(struct rf_model_entry *const *)b;
    int c = strcasecmp(x->name, y->name);
    return c ? c : strcmp(x->address, y->address);
}

/* The last `parts` components of a path, ".gguf" left out. */
static const char *suffix(struct rf_arena *a, const char *path, unsigned parts)
{
    size_t n = strlen(path), from = n;
    if (n > 5 && !strcasecmp(path + n - 5, ".gguf")) n -= 5;
    while (from > 0 && parts > 0)
        if (path[--from] == '/' && --parts == 0) from++;
    while (from < n && path[from] == '/') from++;
    char *name = rf_arena_strndup(a, path + from, n - from);
    if (name) make_printable(name);
    return name;
}

static int by_word(const void *a, const void *b) { return strcasecmp(*(const char *const *)a, *(const char *const *)b); }

/* Entries of one name get the shortest suffix of their address that tells them apart; the whole path where nothing does. */
static bool rename_run(struct rf_arena *a, struct rf_model_entry **run, size_t n)
{
    const char **name = rf_alloc_array(n, 2 * sizeof *name), **sorted = name ? name + n : NULL;
    bool unique = false, ok = name != NULL;
    for (unsigned parts = 2; ok && !unique && parts < 64; parts++) {
        for (size_t i = 0; ok && i < n; i++) ok = (name[i] = suffix(a, run[i]->address, parts)) != NULL;
        if (!ok) break;
        memcpy(sorted, name, n * sizeof *name);
        qsort(sorted, n, sizeof *sorted, by_word);
        unique = true;
        for (size_t i = 1; i < n && unique; i++) unique = strcasecmp(sorted[i - 1], sorted[i]) != 0;
    }
    for (size_t i = 0; ok && i < n; i++) run[i]->name = unique ? name[i] : run[i]->path;
    rf_free(name);
    return ok;
}

/* One pass; *again where a name was given that may be another's. */
static bool rename_all(struct rf_scan *s, struct rf_model_entry **order, bool *again)
{
    bool ok = true;
    *again = false;
    qsort(order, s->n, sizeof *order, by_name);
    for (size_t i = 0, j; ok && i < s->n; i = j) {
        for (j = i + 1; j < s->n && !strcasecmp(order[i]->name, order[j]->name);) j++;
        if (j - i < 2) continue;
        ok = rename_run(s->a, order + i, j - i);
        *again = true;
    }
    return ok;
}

static bool make_unique(struct rf_scan *s)
{
    struct rf_model_entry **order = rf_alloc_array(s->n, sizeof(struct rf_model_entry *));
    bool ok = order != NULL, again = true;
    for (size_t i = 0; ok && i < s->n; i++) order[i] = &s->entry[i];
    for (int pass = 0; ok && s->n && again && pass < 4; pass++) ok = rename_all(s, order, &again); /* each name grows: "x", "b/x", "a/b/x" */
    rf_free(order);
    return ok;
}

/* ---- door ---- */

/* The catalogue's default place; its folder is made, and only that one. */
static bool default_catalogue(char *out)
{
    char dir[RF_REGISTRY_PATH];
    if (!place(dir, "XDG_CACHE_HOME", "rocmforge", ".cache/rocmforge")) return false;
    char *slash = strrchr(dir, '/');
    *slash = 0;
    mkdir(dir, 0700);
    *slash = '/';
    if (mkdir(dir, 0700) && errno != EEXIST) return false;
    int n = snprintf(out, RF_REGISTRY_PATH, "%s/catalogue.db", dir);
    return n > 0 && n < RF_REGISTRY_PATH;
}

rf_status rf_registry_open(struct rf_registry **out, const struct rf_registry_options *opt, struct rf_error *err)
{
    char path[RF_REGISTRY_PATH];
    *out = NULL;
    struct rf_registry *r = rf_alloc_array(1, sizeof *r);
    if (!r) return rf_fail_nomem(err, "model registry", sizeof *r);
    struct rf_scan s = {.a = &r->arena, .opt = opt};
    const char *file = opt->catalogue ? opt->catalogue : default_catalogue(path) ? path : "";
    if (*file && rf_catalogue_open(&s.cat, file)) rf_scan_warn(&s, "%s: cannot be used; headers are read anew", file);
    scan_all(&s);
    rf_catalogue_close(s.cat);
    rf_map_release(&s.visited);
    r->entry = s.entry;
    r->n = s.n;
    if (s.out_of_memory || !make_unique(&s)) {
        rf_registry_close(r);
        return rf_fail_nomem(err, "model registry", s.n * sizeof *s.entry);
    }
    *out = r;
    return RF_OK;
}

void rf_registry_close(struct rf_registry *r)
{
    if (!r) return;
    rf_free(r->entry);
    rf_arena_release(&r->arena);
    rf_free(r);
}

size_t rf_registry_n(const struct rf_registry *r) { return r->n; }
const struct rf_model_entry *rf_registry_at(const struct rf_registry *r, size_t i) { return &r->entry[i]; }

const struct rf_model_entry *rf_registry_find(const struct rf_registry *r, const char *name)
{
    const struct rf_model_entry *near = NULL;
    size_t n_near = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (!strcmp(r->entry[i].name, name)) return &r->entry[i];
        if (!strcasecmp(r->entry[i].name, name)) {
            near = &r->entry[i];
            n_near++;
        }
    }
    return n_near == 1 ? near : NULL;
}
