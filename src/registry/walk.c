/* walk.c - folders: listing them, and models in plain trees, in Hugging Face's hub cache and in Ollama's store. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/file.h"
#include "base/mem.h"
#include "registry/internal.h"

/* ---- folders ---- */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

bool rf_scan_list(struct rf_scan *s, const char *dir, struct rf_names *out)
{
    *out = (struct rf_names){0};
    DIR *d = opendir(dir);
    if (!d) {
        if (errno != ENOENT) rf_scan_warn(s, "%s: %s", dir, strerror(errno));
        return false;
    }
    for (struct dirent *e; (e = readdir(d)) && s->n_files < RF_REGISTRY_MAX_FILES; s->n_files++) {
        if (e->d_name[0] == '.') continue;
        if (out->n == out->cap) {
            size_t cap = out->cap ? out->cap * 2 : 32;
            char **p = rf_realloc_array(out->name, cap, sizeof *p);
            if (!p) break;
            out->name = p;
            out->cap = cap;
        }
        if (!(out->name[out->n] = rf_arena_strndup(s->a, e->d_name, strlen(e->d_name)))) break;
        out->n++;
    }
    closedir(d);
    if (out->n) qsort(out->name, out->n, sizeof *out->name, by_name);
    return true;
}

bool rf_scan_enter(struct rf_scan *s, const struct stat *st)
{
    const uint64_t id[2] = {(uint64_t)st->st_dev, (uint64_t)st->st_ino};
    const void *key = rf_arena_strndup(s->a, (const char *)id, sizeof id);
    uint32_t old;
    return key && !rf_map_set(&s->visited, key, sizeof id, 1, &old) && old == RF_MAP_NONE;
}

bool rf_scan_path(struct rf_scan *s, char *out, const char *dir, const char *name)
{
    int n = snprintf(out, RF_REGISTRY_PATH, "%s/%s", dir, name);
    if (n > 0 && n < RF_REGISTRY_PATH) return true;
    rf_scan_warn(s, "%s: path too long", dir);
    return false;
}

static bool ends(const char *s, const char *tail)
{
    size_t n = strlen(s), k = strlen(tail);
    return n >= k && !strcasecmp(s + n - k, tail);
}

/* "x-00002-of-00004.gguf" -> 2; 0 for a file that is whole by itself. *stem is the length of "x". */
static unsigned part_of(const char *name, size_t *stem)
{
    unsigned no, of;
    size_t n = strlen(name);
    *stem = n - 5; /* ".gguf" */
    if (n <= 20 || sscanf(name + n - 20, "-%5u-of-%5u", &no, &of) != 2 || name[n - 14] != '-') return 0;
    *stem = n - 20;
    return no;
}

/* ---- plain trees ---- */

struct tree {
    struct rf_scan *s;
    const char *source;
    const char *hub;  /* "ORG/NAME" of a hub repository, NULL elsewhere */
    const char *root; /* hub: the snapshot's folder */
    size_t n_gguf;    /* hub: how many GGUF models the repository has */
};

/* In a hub a path says less than repository and file do. */
static void add(struct tree *t, const char *name, const char *path, const struct rf_header *h)
{
    char address[RF_REGISTRY_PATH];
    struct rf_model_entry *m = rf_scan_add(t->s, name, t->source, path, h);
    if (!m || !t->hub || snprintf(address, sizeof address, "hub/%s%s", t->hub, path + strlen(t->root)) >= (int)sizeof address) return;
    const char *kept = rf_arena_strndup(t->s->a, address, strlen(address));
    if (kept) m->address = kept;
}

static void add_gguf(struct tree *t, const char *path, const char *name, const struct stat *st)
{
    size_t stem;
    char label[RF_REGISTRY_PATH];
    if (part_of(name, &stem) > 1) return; /* counted with its first part, which misses it if it is gone */
    struct rf_header h = rf_scan_header(t->s, path, st);
    if (!t->hub)
        snprintf(label, sizeof label, "%.*s", (int)stem, name);
    else if (t->n_gguf == 1)
        snprintf(label, sizeof label, "%s", t->hub);
    else
        snprintf(label, sizeof label, "%s:%s", t->hub, h.quantization[0] ? h.quantization : "gguf");
    add(t, label, path, &h);
}

static void walk(struct tree *t, const char *dir, unsigned depth);

void rf_scan_file(struct rf_scan *s, const char *path, const char *source)
{
    struct tree t = {.s = s, .source = source};
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (!stat(path, &st) && S_ISREG(st.st_mode) && ends(path, ".gguf")) add_gguf(&t, path, slash ? slash + 1 : path, &st);
}

/* A folder with config.json and safetensors is one model. */
static bool add_folder(struct tree *t, const char *dir, const struct rf_names *names)
{
    bool config = false, weights = false;
    for (size_t i = 0; i < names->n; i++) {
        config |= !strcmp(names->name[i], "config.json");
        weights |= ends(names->name[i], ".safetensors") || ends(names->name[i], ".safetensors.index.json");
    }
    struct stat st;
    char path[RF_REGISTRY_PATH];
    if (!config || !weights || !rf_scan_path(t->s, path, dir, "config.json") || stat(path, &st)) return false;
    struct rf_header h = rf_scan_header(t->s, dir, &st);
    const char *base = strrchr(dir, '/');
    add(t, t->hub ? t->hub : base ? base + 1 : dir, dir, &h);
    return true;
}

static void visit(struct tree *t, const char *dir, const char *name, unsigned depth)
{
    char path[RF_REGISTRY_PATH];
    struct stat st;
    if (!rf_scan_path(t->s, path, dir, name)) return;
    if (stat(path, &st)) {
        rf_scan_warn(t->s, "%s: %s", path, strerror(errno));
        return;
    }
    if (S_ISDIR(st.st_mode)) {
        if (depth < RF_REGISTRY_MAX_DEPTH && rf_scan_enter(t->s, &st)) walk(t, path, depth + 1);
    } else if (S_ISREG(st.st_mode) && ends(name, ".gguf")) {
        add_gguf(t, path, name, &st);
    }
}

static void walk(struct tree *t, const char *dir, unsigned depth)
{
    struct rf_names names;
    if (!rf_scan_list(t->s, dir, &names)) return;
    add_folder(t, dir, &names);
    for (size_t i = 0; i < names.n; i++) visit(t, dir, names.name[i], depth);
    rf_free(names.name);
}

/* ---- Hugging Face hub cache: models--ORG--NAME/{refs/main, snapshots/COMMIT} ---- */

static size_t count_gguf(struct rf_scan *s, const char *dir, unsigned depth)
{
    struct rf_names names;
    size_t n = 0, stem;
    if (!rf_scan_list(s, dir, &names)) return 0;
    for (size_t i = 0; i < names.n; i++) {
        char path[RF_REGISTRY_PATH];
        if (ends(names.name[i], ".gguf")) n += part_of(names.name[i], &stem) <= 1;
        else if (depth < 3 && rf_scan_path(s, path, dir, names.name[i]) && rf_path_is_dir(path)) n += count_gguf(s, path, depth + 1);
    }
    rf_free(names.name);
    return n;
}

/* The snapshot that refs/main names, else the last one there is. */
static bool snapshot(struct rf_scan *s, const char *repo, char *out)
{
    char ref[RF_REGISTRY_PATH], dir[RF_REGISTRY_PATH];
    struct rf_buf commit = {0};
    struct rf_names names;
    if (!rf_scan_path(s, ref, repo, "refs/main") || !rf_scan_path(s, dir, repo, "snapshots")) return false;
    bool found = false;
    if (!rf_file_read(&commit, ref, 256, NULL)) {
        while (commit.len && isspace((unsigned char)commit.data[commit.len - 1])) commit.data[--commit.len] = 0;
        bool hex = commit.len > 0;
        for (size_t i = 0; i < commit.len; i++) hex &= isalnum((unsigned char)commit.data[i]) != 0;
        found = hex && rf_scan_path(s, out, dir, commit.data) && rf_path_is_dir(out);
    }
    rf_buf_release(&commit);
    if (found || !rf_scan_list(s, dir, &names)) return found;
    found = names.n && rf_scan_path(s, out, dir, names.name[names.n - 1]);
    rf_free(names.name);
    return found;
}

void rf_scan_hub(struct rf_scan *s, const char *hub)
{
    struct rf_names names;
    char repo[RF_REGISTRY_PATH], dir[RF_REGISTRY_PATH], id[512];
    struct stat st;
    if (stat(hub, &st) || !rf_scan_enter(s, &st) || !rf_scan_list(s, hub, &names)) return;
    for (size_t i = 0; i < names.n; i++) {
        const char *rest = names.name[i] + 8, *cut;
        if (strncmp(names.name[i], "models--", 8) || !rf_scan_path(s, repo, hub, names.name[i]) || !snapshot(s, repo, dir)) continue;
        cut = strstr(rest, "--"); /* models--NAME has no organisation */
        if (cut) snprintf(id, sizeof id, "%.*s/%s", (int)RF_MIN(cut - rest, 200), rest, cut + 2);
        else snprintf(id, sizeof id, "%s", rest);
        struct tree t = {.s = s, .source = "huggingface", .hub = id, .root = dir, .n_gguf = count_gguf(s, dir, 0)};
        walk(&t, dir, 0);
    }
    rf_free(names.name);
}

/* ---- Ollama: manifests/HOST/NAMESPACE/MODEL/TAG point at blobs/sha256-HEX ---- */

static bool safe_part(const char *p)
{
    if (!isalnum((unsigned char)*p) && *p != '_') return false;
    for (; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_.-", *p)) return false;
    return true;
}

/* "sha256:HEX" or "sha256-HEX" becomes a path only when it is exactly that. */
static bool blob_path(struct rf_scan *s, const char *store, const char *digest, char *out)
{
    char name[80];
    if (!digest || strlen(digest) != 71 || strncmp(digest, "sha256", 6) || !strchr(":-", digest[6])) return false;
    for (const char *p = digest + 7; *p; p++)
        if (!isdigit((unsigned char)*p) && !(*p >= 'a' && *p <= 'f')) return false;
    snprintf(name, sizeof name, "blobs/sha256-%s", digest + 7);
    return rf_scan_path(s, out, store, name);
}

/* What the layers of a manifest are for; digests are borrowed from it. */
struct layers { const char *model, *system, *params, *messages; bool adapter; };

/* False for remote models and tensor layers, which are not ours to run. */
static bool read_layers(const json_t *manifest, struct layers *l)
{
    size_t i;
    json_t *layer;
    *l = (struct layers){0};
    if (json_object_get(manifest, "remote_host")) return false;
    json_array_foreach(json_object_get(manifest, "layers"), i, layer) {
        const char *type = json_string_value(json_object_get(layer, "mediaType")), *digest = json_string_value(json_object_get(layer, "digest"));
        if (!type || strncmp(type, "application/vnd.ollama.image.", 29)) continue;
        if (!strcmp(type + 29, "tensor")) return false;
        if (!strcmp(type + 29, "adapter")) l->adapter = true;
        if (!strcmp(type + 29, "model") && !l->model) l->model = digest;
        if (!strcmp(type + 29, "system") && !l->system) l->system = digest;
        if (!strcmp(type + 29, "params") && !l->params) l->params = digest;
        if (!strcmp(type + 29, "messages") && !l->messages) l->messages = digest;
    }
    return l->model != NULL;
}

/* The path of a layer's blob in the arena; "" if there is none. */
static const char *side_blob(struct rf_scan *s, const char *store, const char *digest)
{
    char path[RF_REGISTRY_PATH];
    const char *kept = digest && blob_path(s, store, digest, path) && rf_path_exists(path) ? rf_arena_strndup(s->a, path, strlen(path)) : "";
    return kept ? kept : "";
}

/* [host/][namespace/]model[:tag] as people type it: what is the default is left out, and so is the tag "latest". */
static void ollama_name(char *out, size_t cap, const char *const part[4])
{
    bool host = strcmp(part[0], "registry.ollama.ai") != 0, space = host || strcmp(part[1], "library") != 0;
    bool tag = strcmp(part[3], "latest") != 0;
    snprintf(out, cap, "%s%s%s%s%s%s%s", host ? part[0] : "", host ? "/" : "", space ? part[1] : "", space ? "/" : "", part[2],
             tag ? ":" : "", tag ? part[3] : "");
}

static void add_manifest(struct rf_scan *s, const char *store, const char *file, const char *const part[4])
{
    struct rf_buf text = {0};
    struct rf_error err = {0};
    char blob[RF_REGISTRY_PATH], name[1024];
    struct stat st;
    if (rf_file_read(&text, file, 1 << 20, &err)) {
        rf_scan_warn(s, "%s", err.message);
        return;
    }
    json_t *manifest = json_loadb(rf_buf_str(&text), text.len, 0, NULL);
    rf_buf_release(&text);
    if (!manifest) rf_scan_warn(s, "%s: not a manifest", file);
    struct layers l;
    if (!manifest || !read_layers(manifest, &l)) {
        json_decref(manifest);
        return;
    }
    ollama_name(name, sizeof name, part);
    if (!blob_path(s, store, l.model, blob)) {
        rf_scan_warn(s, "%s: \"%.100s\" is not a digest", file, l.model);
    } else {
        struct rf_header h = {.architecture = "", .quantization = "", .note = "its blob is missing", .kind = RF_MODEL_BROKEN};
        if (!stat(blob, &st)) h = rf_scan_header(s, blob, &st);
        if (l.adapter && h.kind == RF_MODEL_CHAT) h.kind = RF_MODEL_BROKEN, h.note = "a LoRA adapter belongs to it, which this version cannot apply";
        struct rf_model_entry *m = rf_scan_add(s, name, "ollama", blob, &h);
        const char *address = m ? rf_arena_strndup(s->a, file, strlen(file)) : NULL;
        if (address) {
            m->address = address;
            m->system = side_blob(s, store, l.system);
            m->sampling = side_blob(s, store, l.params);
            m->messages = side_blob(s, store, l.messages);
        }
    }
    json_decref(manifest);
}

/* Exactly four levels below manifests: host, namespace, model, tag. */
static void manifests(struct rf_scan *s, const char *store, const char *dir, const char *part[4], unsigned level)
{
    struct rf_names names;
    if (!rf_scan_list(s, dir, &names)) return;
    for (size_t i = 0; i < names.n; i++) {
        char path[RF_REGISTRY_PATH];
        struct stat st;
        part[level] = names.name[i];
        if (!safe_part(part[level]) || !rf_scan_path(s, path, dir, part[level]) || stat(path, &st)) continue;
        if (level == 3 && S_ISREG(st.st_mode)) add_manifest(s, store, path, (const char *const *)part);
        if (level < 3 && S_ISDIR(st.st_mode)) manifests(s, store, path, part, level + 1);
    }
    rf_free(names.name);
}

void rf_scan_ollama(struct rf_scan *s, const char *store)
{
    char dir[RF_REGISTRY_PATH];
    const char *part[4] = {0};
    struct stat st;
    if (!rf_scan_path(s, dir, store, "manifests") || stat(dir, &st) || !rf_scan_enter(s, &st)) return;
    manifests(s, store, dir, part, 0);
}

/* ---- roots ---- */

/* Somebody else's store is recognised by its shape, whatever it is called. */
static bool is_hub(struct rf_scan *s, const char *root)
{
    struct rf_names names;
    bool hub = false;
    if (!rf_scan_list(s, root, &names)) return false;
    for (size_t i = 0; i < names.n; i++) hub |= !strncmp(names.name[i], "models--", 8);
    rf_free(names.name);
    return hub;
}

static bool is_ollama(struct rf_scan *s, const char *root)
{
    char manifests_dir[RF_REGISTRY_PATH], blobs[RF_REGISTRY_PATH];
    return rf_scan_path(s, manifests_dir, root, "manifests") && rf_scan_path(s, blobs, root, "blobs") &&
           rf_path_is_dir(manifests_dir) && rf_path_is_dir(blobs);
}

/* Listed paths are whole ones: a program that reads them may stand elsewhere. */
static const char *absolute(struct rf_scan *s, const char *root, char *out)
{
    char here[RF_REGISTRY_PATH];
    if (*root == '/' || !getcwd(here, sizeof here)) return root;
    while (!strncmp(root, "./", 2)) root += 2;
    return rf_scan_path(s, out, here, root) ? out : root;
}

void rf_scan_tree(struct rf_scan *s, const char *root, const char *source)
{
    struct tree t = {.s = s, .source = source};
    struct stat st;
    char whole[RF_REGISTRY_PATH];
    if (stat(root, &st) || !S_ISDIR(st.st_mode)) return;
    root = absolute(s, root, whole);
    if (is_ollama(s, root)) {
        rf_scan_ollama(s, root);
    } else if (is_hub(s, root)) {
        rf_scan_hub(s, root);
    } else if (rf_scan_enter(s, &st)) {
        walk(&t, root, 0);
    }
}
