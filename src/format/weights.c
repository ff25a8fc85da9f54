/* weights.c - what all model files share: finding out what a path is, tables of facts and tensors, side files. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "format/fp8.h"
#include "format/weights_priv.h"

enum { MAX_SIDE_FILE = 256 << 20, MAX_FILE = 4096 };

/* ---- messages ---------------------------------------------------------------------------------------------------- */

const char *rf_format_short(const char *path)
{
    enum { KEEP = 120 };
    size_t n = strlen(path);
    if (n <= KEEP) return path;
    const char *p = path + n - KEEP;
    while (*p && (*p & 0xc0) == 0x80) p++; /* not inside a character */
    return p;
}

const char *rf_format_quote(struct rf_quoted *out, struct rf_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n && n < 80;) {
        uint32_t cp;
        unsigned len = rf_utf8_decode(s.s + i, s.n - i, &cp);
        if (!len || cp < 0x20 || cp == 0x7f) {
            out->s[n++] = '?';
            i += len ? len : 1;
            continue;
        }
        memcpy(out->s + n, s.s + i, len);
        n += len;
        i += len;
    }
    out->s[n] = 0;
    return out->s;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static bool grow(void **p, size_t n, size_t *cap, size_t size)
{
    if (n < *cap) return true;
    size_t want = *cap ? *cap * 2 : 32;
    void *q = rf_realloc_array(*p, want, size);
    if (!q) return false;
    *p = q;
    *cap = want;
    return true;
}

rf_status rf_format_file_add(struct rf_weights *w, const char *path, uint32_t *index, struct rf_error *err)
{
    if (w->n_file >= MAX_FILE)
        return rf_fail(err, RF_TOO_LARGE, "%s: more than %d files", rf_format_short(path), MAX_FILE);
    if (!grow((void **)&w->file, w->n_file, &w->cap_file, sizeof *w->file))
        return rf_fail_nomem(err, "file table", w->cap_file * 2 * sizeof *w->file);
    RF_TRY(rf_file_open(&w->file[w->n_file], path, err));
    *index = (uint32_t)w->n_file++;
    return RF_OK;
}

rf_status rf_format_fact_add(struct rf_weights *w, const struct rf_fact *f, const char *where, struct rf_error *err)
{
    struct rf_quoted q;
    uint32_t old;
    if (w->n_fact >= RF_FORMAT_MAX_FACT)
        return rf_fail(err, RF_TOO_LARGE, "%s: more than %d keys", where, RF_FORMAT_MAX_FACT);
    if (!grow((void **)&w->fact, w->n_fact, &w->cap_fact, sizeof *w->fact) ||
        rf_map_set(&w->fact_at, f->key.s, f->key.n, (uint32_t)w->n_fact, &old))
        return rf_fail_nomem(err, "fact table", w->n_fact * sizeof *f);
    if (old != RF_MAP_NONE)
        return rf_fail(err, RF_CORRUPT, "%s: key \"%s\" stands twice", where, rf_format_quote(&q, f->key));
    w->fact[w->n_fact++] = *f;
    return RF_OK;
}

rf_status rf_format_tensor_add(struct rf_weights *w, const struct rf_tensor_view *t, const char *where,
                               struct rf_error *err)
{
    struct rf_quoted q;
    uint32_t old;
    if (w->n_tensor >= RF_FORMAT_MAX_TENSOR)
        return rf_fail(err, RF_TOO_LARGE, "%s: more than %d tensors", where, RF_FORMAT_MAX_TENSOR);
    if (!grow((void **)&w->tensor, w->n_tensor, &w->cap_tensor, sizeof *w->tensor) ||
        rf_map_set(&w->tensor_at, t->name.s, t->name.n, (uint32_t)w->n_tensor, &old))
        return rf_fail_nomem(err, "tensor table", w->n_tensor * sizeof *t);
    if (old != RF_MAP_NONE)
        return rf_fail(err, RF_CORRUPT, "%s: tensor \"%s\" stands twice", where, rf_format_quote(&q, t->name));
    w->tensor[w->n_tensor++] = *t;
    return RF_OK;
}

/* ---- what a path is ---------------------------------------------------------------------------------------------- */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static bool has(const struct rf_weights *w, const char *name)
{
    char path[sizeof w->dir + 64];
    return !rf_path_join(path, sizeof path, w->dir, name, NULL) && rf_path_exists(path);
}

/* What a folder without weights is still good for: a configuration, or a tokenizer in any of its files. */
static bool has_text_file(const struct rf_weights *w)
{
    static const char *const names[] = {"config.json", "tokenizer.json", "tokenizer.model", "tiktoken.model", "tekken.json", "vocab.json", "vocab.txt"};
    for (size_t i = 0; i < RF_COUNT(names); i++)
        if (has(w, names[i])) return true;
    return false;
}

struct listing { /* model files in a folder */
    char gguf[1024], safetensors[1024]; /* first in order of name */
    unsigned n_gguf, n_safetensors, n_torch, n_tiktoken;
};

static void note(char *first, unsigned *n, const char *name)
{
    if (!(*n)++ || strcmp(name, first) < 0) snprintf(first, 1024, "%s", name);
}

/* Parts 2..n of a split file do not count: the set is one model, named by its first part. Nor do vision projectors. */
static bool beside_model(const char *name)
{
    if (!strncmp(name, "mmproj", 6)) return true;
    unsigned no, count;
    const char *t = strlen(name) > 20 ? name + strlen(name) - 20 : NULL;
    return t && sscanf(t, "-%5u-of-%5u.gguf", &no, &count) == 2 && no > 1;
}

static rf_status list(const char *dir, struct listing *l, struct rf_error *err)
{
    DIR *d = opendir(dir);
    *l = (struct listing){0};
    if (!d) return rf_fail(err, RF_IO, "%s: %s", rf_format_short(dir), strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        if (ends_with(e->d_name, ".gguf") && !beside_model(e->d_name)) note(l->gguf, &l->n_gguf, e->d_name);
        if (ends_with(e->d_name, ".safetensors")) note(l->safetensors, &l->n_safetensors, e->d_name);
        if (ends_with(e->d_name, ".bin") && !strncmp(e->d_name, "pytorch_model", 13)) l->n_torch++;
        if (ends_with(e->d_name, ".tiktoken")) l->n_tiktoken++;
    }
    closedir(d);
    return RF_OK;
}

static rf_status open_folder(struct rf_weights *w, struct rf_error *err)
{
    char path[sizeof w->dir];
    struct listing l;
    RF_TRY(list(w->dir, &l, err));
    bool index = has(w, "model.safetensors.index.json"), single = has(w, "model.safetensors");
    if (!index && !single && l.n_safetensors != 1) {
        if (l.n_gguf == 1) {
            RF_TRY(rf_path_join(path, sizeof path, w->dir, l.gguf, err));
            return rf_gguf_open(w, path, err);
        }
        if (l.n_gguf > 1)
            return rf_fail(err, RF_INVALID,
                           "%s: %u GGUF models in this folder, expected one; name the file, for example %s",
                           rf_format_short(w->dir), l.n_gguf, rf_format_short(l.gguf));
        if (l.n_safetensors)
            return rf_fail(err, RF_NOT_FOUND, "%s: %u .safetensors files but no model.safetensors.index.json",
                           rf_format_short(w->dir), l.n_safetensors);
        if (l.n_torch)
            return rf_fail(err, RF_UNSUPPORTED,
                           "%s: weights only as pytorch_model*.bin (pickle), expected .safetensors or .gguf",
                           rf_format_short(w->dir));
        if (!l.n_tiktoken && !has_text_file(w))
            return rf_fail(err, RF_NOT_FOUND,
                           "%s: found no model in this folder, expected a .gguf or a config.json with .safetensors",
                           rf_format_short(w->dir));
    }
    w->source = RF_SOURCE_HF;
    RF_TRY(rf_hf_facts_add(w, err));
    const char *name = single ? "model.safetensors" : index ? "model.safetensors.index.json" : l.safetensors;
    if (!*name) return RF_OK; /* a tokenizer or a configuration alone */
    RF_TRY(rf_path_join(path, sizeof path, w->dir, name, err));
    return index && !single ? rf_safetensors_add_index(w, path, err) : rf_safetensors_add(w, path, err);
}

static rf_status open_file(struct rf_weights *w, const char *path, struct rf_error *err)
{
    char index[sizeof w->dir + 64];
    if (ends_with(path, ".safetensors") || ends_with(path, ".safetensors.index.json")) {
        w->source = RF_SOURCE_HF;
        RF_TRY(rf_hf_facts_add(w, err));
        if (ends_with(path, ".index.json")) return rf_safetensors_add_index(w, path, err);
        bool part = strstr(path, "-of-") && has(w, "model.safetensors.index.json");
        if (!part) return rf_safetensors_add(w, path, err);
        RF_TRY(rf_path_join(index, sizeof index, w->dir, "model.safetensors.index.json", err));
        return rf_safetensors_add_index(w, index, err);
    }
    return rf_gguf_open(w, path, err);
}

static void set_dir(struct rf_weights *w, bool is_dir)
{
    strcpy(w->dir, w->path);
    size_t n = strlen(w->dir);
    if (is_dir) {
        while (n > 1 && w->dir[n - 1] == '/') w->dir[--n] = 0;
        return;
    }
    char *slash = strrchr(w->dir, '/');
    if (!slash)
        strcpy(w->dir, ".");
    else
        slash[slash == w->dir] = 0;
}

rf_status rf_weights_open(struct rf_weights **out, const char *path, struct rf_error *err)
{
    *out = NULL;
    if (!*path) return rf_fail(err, RF_INVALID, "model path: found an empty string, expected a file or folder");
    struct rf_weights *w = rf_alloc_array(1, sizeof *w);
    if (!w) return rf_fail_nomem(err, "weights", sizeof *w);
    rf_status s;
    w->arena.max = (size_t)1 << 28;
    if (strlen(path) >= sizeof w->path) {
        s = rf_fail(err, RF_TOO_LARGE, "path of %zu bytes, at most %zu expected", strlen(path), sizeof w->path - 1);
    } else {
        strcpy(w->path, path);
        bool is_dir = rf_path_is_dir(path);
        set_dir(w, is_dir);
        s = is_dir ? open_folder(w, err) : open_file(w, path, err);
    }
    if (s) {
        rf_weights_close(w);
        return s;
    }
    *out = w;
    return RF_OK;
}

void rf_weights_close(struct rf_weights *w)
{
    if (!w) return;
    for (size_t i = 0; i < w->n_file; i++) rf_file_close(&w->file[i]);
    rf_free(w->file);
    rf_free(w->fact);
    rf_free(w->tensor);
    rf_map_release(&w->fact_at);
    rf_map_release(&w->tensor_at);
    for (size_t i = 0; i < RF_COUNT(w->text); i++) rf_buf_release(&w->text[i]);
    rf_arena_release(&w->arena);
    rf_free(w);
}

rf_status rf_weights_check(const struct rf_weights *w, struct rf_error *err)
{
    for (size_t i = 0; i < w->n_file; i++)
        if (rf_file_changed(&w->file[i]))
            return rf_fail(err, RF_IO, "%s: the file was changed or cut off while in use; replace a model's file by renaming "
                           "another over it, and load it again", rf_format_short(w->file[i].path));
    return RF_OK;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

enum rf_source rf_weights_source(const struct rf_weights *w) { return w->source; }
const char *rf_weights_path(const struct rf_weights *w) { return w->path; }
const char *rf_weights_dir(const struct rf_weights *w) { return w->dir; }

uint64_t rf_weights_file_bytes(const struct rf_weights *w)
{
    uint64_t n = 0;
    for (size_t i = 0; i < w->n_file; i++) n += w->file[i].size;
    return n;
}

size_t rf_weights_n_tensor(const struct rf_weights *w) { return w->n_tensor; }
size_t rf_weights_n_fact(const struct rf_weights *w) { return w->n_fact; }

const struct rf_tensor_view *rf_weights_tensor(const struct rf_weights *w, size_t i)
{
    return i < w->n_tensor ? &w->tensor[i] : NULL;
}

const struct rf_fact *rf_weights_fact_at(const struct rf_weights *w, size_t i)
{
    return i < w->n_fact ? &w->fact[i] : NULL;
}

const struct rf_tensor_view *rf_weights_find(const struct rf_weights *w, const char *name)
{
    uint32_t i = rf_map_get(&w->tensor_at, name, strlen(name));
    return i == RF_MAP_NONE ? NULL : &w->tensor[i];
}

const struct rf_fact *rf_weights_fact(const struct rf_weights *w, const char *key)
{
    uint32_t i = rf_map_get(&w->fact_at, key, strlen(key));
    return i == RF_MAP_NONE ? NULL : &w->fact[i];
}

void rf_weights_drop(const struct rf_weights *w, const struct rf_tensor_view *t)
{
    rf_weights_drop_part(w, t, t->data, t->bytes);
}

void rf_weights_drop_part(const struct rf_weights *w, const struct rf_tensor_view *t, const void *part, uint64_t n)
{
    const struct rf_file *f = &w->file[t->file];
    rf_file_drop(f, (size_t)((const uint8_t *)part - f->data), (size_t)n);
}

rf_status rf_weights_read_side_file(const struct rf_weights *w, const char *name, struct rf_buf *out,
                                    struct rf_error *err)
{
    char path[sizeof w->dir + 256];
    RF_TRY(rf_path_join(path, sizeof path, w->dir, name, err));
    return rf_file_read(out, path, MAX_SIDE_FILE, err);
}

/* ---- the name of the mix ---- */

const char *rf_weights_quantization(const struct rf_weights *w)
{
    /* Numbers of general.file_type as in PyPI gguf's LlamaFileType. */
    static const char *const mix[] = {[0] = "F32", [1] = "F16", [2] = "Q4_0", [3] = "Q4_1", [7] = "Q8_0", [8] = "Q5_0",
        [9] = "Q5_1", [10] = "Q2_K", [11] = "Q3_K_S", [12] = "Q3_K_M", [13] = "Q3_K_L", [14] = "Q4_K_S", [15] = "Q4_K_M",
        [16] = "Q5_K_S", [17] = "Q5_K_M", [18] = "Q6_K", [21] = "Q2_K_S", [32] = "BF16"};
    const struct rf_fact *f = rf_weights_fact(w, "general.file_type");
    if (f && f->kind == RF_FACT_INT && f->i >= 0 && f->i < (int64_t)RF_COUNT(mix) && mix[f->i]) return mix[f->i];
    uint64_t bytes[RF_TYPE_MAX] = {0};
    uint32_t best = 0;
    for (size_t i = 0; i < rf_weights_n_tensor(w); i++) {
        const struct rf_tensor_view *t = rf_weights_tensor(w, i);
        if (t->type < RF_TYPE_MAX) bytes[t->type] += t->bytes;
        else if (rf_fp8_is(t)) bytes[RF_TYPE_F8_E4M3] += t->bytes;
    }
    for (uint32_t t = 1; t < RF_TYPE_MAX; t++)
        if (bytes[t] > bytes[best]) best = t;
    return !bytes[best] ? "none" : best == RF_TYPE_F8_E4M3 ? "FP8" : rf_type_name(best);
}
