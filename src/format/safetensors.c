/* safetensors.c - the safetensors container, strictly, and its shards.
 *
 * Layout: u64 length of the header, a JSON object {name: {"dtype", "shape", "data_offsets": [begin, end]}}, then data.
 * Held to what the format promises (docs of PyPI safetensors; the Trail of Bits audit of 2023): data covered exactly
 * once from 0 to the end of the file, sizes equal to shape x type, no name twice, header up to 100 MB.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/json.h"
#include "format/weights_priv.h"

enum { MAX_HEADER = 100 * 1000 * 1000, MAX_INDEX = 64 << 20, MAX_RANK = 16 };

/* Types beyond ours have GGML's number where it has one, else RF_TYPE_FOREIGN + row. */
static const struct { const char *name; uint32_t bits, type; } dtypes[] = {
    {"F32", 32, RF_TYPE_F32}, {"F16", 16, RF_TYPE_F16}, {"BF16", 16, RF_TYPE_BF16}, {"F64", 64, 28}, {"I8", 8, 24},
    {"I16", 16, 25}, {"I32", 32, 26}, {"I64", 64, 27}, {"BOOL", 8, RF_TYPE_FOREIGN + 8}, {"U8", 8, RF_TYPE_FOREIGN + 9},
    {"U16", 16, RF_TYPE_FOREIGN + 10}, {"U32", 32, RF_TYPE_FOREIGN + 11}, {"U64", 64, RF_TYPE_FOREIGN + 12},
    {"F8_E4M3", 8, RF_TYPE_FOREIGN_F8_E4M3}, {"F8_E5M2", 8, RF_TYPE_FOREIGN + 14}, {"F8_E8M0", 8, RF_TYPE_FOREIGN_F8_E8M0},
    {"F6_E2M3", 6, RF_TYPE_FOREIGN + 16}, {"F6_E3M2", 6, RF_TYPE_FOREIGN + 17}, {"F4", 4, RF_TYPE_FOREIGN + 18},
    {"C64", 64, RF_TYPE_FOREIGN + 19},
};

const char *rf_weights_type_name(uint32_t type)
{
    if (type < RF_TYPE_FOREIGN) return rf_type_name(type);
    return type - RF_TYPE_FOREIGN < RF_COUNT(dtypes) ? dtypes[type - RF_TYPE_FOREIGN].name : "?";
}

static bool is(struct rf_str s, const char *word) { return s.n == strlen(word) && !memcmp(s.s, word, s.n); }

struct entry { /* one tensor of the header */
    struct rf_tensor_view view;
    uint32_t bits;
    uint64_t begin, end;
    bool has_dtype, has_shape, has_offsets;
};

static rf_status read_dtype(struct rf_json *j, struct entry *e)
{
    struct rf_str s;
    struct rf_quoted q, q2;
    RF_TRY(rf_json_string(j, &s));
    for (size_t i = 0; i < RF_COUNT(dtypes); i++) {
        if (!is(s, dtypes[i].name)) continue;
        e->view.type = dtypes[i].type;
        e->bits = dtypes[i].bits;
        return RF_OK;
    }
    return rf_fail(j->err, RF_UNSUPPORTED, "%s: tensor \"%s\": dtype \"%s\" is unknown", j->name,
                   rf_format_quote(&q, e->view.name), rf_format_quote(&q2, s));
}

/* Shapes are written slowest first; ours run fastest first. A scalar becomes one value; of more than four dimensions
 * the slowest are multiplied into the fourth. */
static rf_status read_shape(struct rf_json *j, struct entry *e)
{
    struct rf_quoted q;
    uint64_t shape[MAX_RANK], count = 1;
    unsigned rank = 0;
    bool more;
    RF_TRY(rf_json_enter(j, '['));
    for (;;) {
        RF_TRY(rf_json_next(j, &more));
        if (!more) break;
        if (rank == MAX_RANK)
            return rf_fail(j->err, RF_UNSUPPORTED, "%s: tensor \"%s\": more than %d dimensions", j->name,
                           rf_format_quote(&q, e->view.name), MAX_RANK);
        RF_TRY(rf_json_u64(j, "a dimension", &shape[rank]));
        if (!shape[rank] || !rf_mul64(count, shape[rank], &count) || count > INT64_MAX)
            return rf_fail(j->err, RF_CORRUPT,
                           "%s: tensor \"%s\": dimension %u is %llu, expected 1 or more and a product below 2^63",
                           j->name, rf_format_quote(&q, e->view.name), rank, (unsigned long long)shape[rank]);
        rank++;
    }
    e->view.n_dim = rank == 0 ? 1 : RF_MIN(rank, 4u);
    for (unsigned d = 0; d < 4; d++) e->view.dim[d] = d < rank ? shape[rank - 1 - d] : 1;
    for (unsigned d = 4; d < rank; d++) e->view.dim[3] *= shape[rank - 1 - d];
    return RF_OK;
}

static rf_status read_offsets(struct rf_json *j, struct entry *e)
{
    RF_TRY(rf_json_enter(j, '['));
    RF_TRY(rf_json_item(j, "two offsets"));
    RF_TRY(rf_json_u64(j, "an offset", &e->begin));
    RF_TRY(rf_json_item(j, "two offsets"));
    RF_TRY(rf_json_u64(j, "an offset", &e->end));
    return rf_json_last(j, "two offsets");
}

static rf_status read_entry(struct rf_json *j, struct entry *e)
{
    struct rf_quoted q, k;
    struct rf_str key;
    bool more;
    RF_TRY(rf_json_enter(j, '{'));
    for (;;) {
        RF_TRY(rf_json_next(j, &more));
        if (!more) break;
        RF_TRY(rf_json_key(j, &key));
        bool *seen = is(key, "dtype") ? &e->has_dtype : is(key, "shape") ? &e->has_shape
                   : is(key, "data_offsets") ? &e->has_offsets : NULL;
        if (!seen || *seen)
            return rf_fail(j->err, RF_CORRUPT, "%s: tensor \"%s\": field \"%s\" %s", j->name,
                           rf_format_quote(&q, e->view.name), rf_format_quote(&k, key),
                           seen ? "stands twice" : "is unknown, expected dtype, shape, data_offsets");
        *seen = true;
        RF_TRY(seen == &e->has_dtype   ? read_dtype(j, e)
               : seen == &e->has_shape ? read_shape(j, e)
                                       : read_offsets(j, e));
    }
    if (!e->has_dtype || !e->has_shape || !e->has_offsets)
        return rf_fail(j->err, RF_CORRUPT, "%s: tensor \"%s\": no %s", j->name, rf_format_quote(&q, e->view.name),
                       !e->has_dtype ? "dtype" : !e->has_shape ? "shape" : "data_offsets");
    uint64_t bits = 1;
    bool fits = true;
    for (unsigned d = 0; d < 4; d++) fits = fits && rf_mul64(bits, e->view.dim[d], &bits);
    fits = fits && rf_mul64(bits, e->bits, &bits) && bits % 8 == 0;
    if (!fits || e->end < e->begin || e->end - e->begin != bits / 8)
        return rf_fail(j->err, RF_CORRUPT,
                       "%s: tensor \"%s\": data_offsets [%llu, %llu], expected %llu bytes for its shape and dtype",
                       j->name, rf_format_quote(&q, e->view.name), (unsigned long long)e->begin,
                       (unsigned long long)e->end, fits ? (unsigned long long)bits / 8 : 0ULL);
    e->view.bytes = bits / 8;
    return RF_OK;
}

/* "__metadata__": strings to strings, checked and left aside. */
static rf_status read_metadata(struct rf_json *j)
{
    struct rf_str s;
    bool more;
    RF_TRY(rf_json_enter(j, '{'));
    for (;;) {
        RF_TRY(rf_json_next(j, &more));
        if (!more) return RF_OK;
        RF_TRY(rf_json_key(j, &s));
        RF_TRY(rf_json_string(j, &s));
    }
}

static int by_data(const void *a, const void *b)
{
    const struct rf_tensor_view *x = *(struct rf_tensor_view *const *)a, *y = *(struct rf_tensor_view *const *)b;
    return x->data < y->data ? -1 : x->data > y->data;
}

/* Tensors [first, n_tensor) must cover [data, data + size) exactly. All have at least one byte. */
static rf_status check_cover(struct rf_weights *w, size_t first, const uint8_t *data, uint64_t size, const char *name,
                             struct rf_error *err)
{
    size_t n = w->n_tensor - first;
    struct rf_quoted q;
    const struct rf_tensor_view **order = rf_alloc_array(n, sizeof *order);
    if (!order) return rf_fail_nomem(err, name, n * sizeof *order);
    bool sorted = true;
    for (size_t i = 0; i < n; i++) {
        order[i] = &w->tensor[first + i];
        sorted = sorted && (i == 0 || order[i - 1]->data < order[i]->data);
    }
    if (!sorted) qsort(order, n, sizeof *order, by_data);
    uint64_t at = 0;
    rf_status s = RF_OK;
    for (size_t i = 0; i < n && !s; i++) {
        uint64_t begin = (uint64_t)(order[i]->data - data);
        if (begin != at)
            s = rf_fail(err, RF_CORRUPT, "%s: tensor \"%s\": begins at %llu, expected %llu (no gap, no overlap)", name,
                        rf_format_quote(&q, order[i]->name), (unsigned long long)begin, (unsigned long long)at);
        at = begin + order[i]->bytes;
    }
    if (!s && at != size)
        s = rf_fail(err, RF_CORRUPT, "%s: tensors end at byte %llu of the data, the file holds %llu", name,
                    (unsigned long long)at, (unsigned long long)size);
    rf_free(order);
    return s;
}

static rf_status read_header(struct rf_weights *w, struct rf_json *j, const uint8_t *data, uint64_t size, uint32_t file)
{
    bool more, metadata = false;
    RF_TRY(rf_json_enter(j, '{'));
    for (;;) {
        struct entry e = {.view.file = file};
        RF_TRY(rf_json_next(j, &more));
        if (!more) break;
        RF_TRY(rf_json_key(j, &e.view.name));
        if (is(e.view.name, "__metadata__")) {
            if (metadata) return rf_json_fail(j, "__metadata__ only once");
            metadata = true;
            RF_TRY(read_metadata(j));
            continue;
        }
        struct rf_quoted q;
        RF_TRY(read_entry(j, &e));
        if (e.end > size)
            return rf_fail(j->err, RF_CORRUPT,
                           "%s: tensor \"%s\": ends at %llu, the file has %llu bytes of data (truncated file?)",
                           j->name, rf_format_quote(&q, e.view.name), (unsigned long long)e.end,
                           (unsigned long long)size);
        e.view.data = data + e.begin;
        RF_TRY(rf_format_tensor_add(w, &e.view, j->name, j->err));
    }
    return rf_json_end(j);
}

rf_status rf_safetensors_add(struct rf_weights *w, const char *path, struct rf_error *err)
{
    uint32_t file;
    size_t first = w->n_tensor;
    const char *name = rf_format_short(path);
    RF_TRY(rf_format_file_add(w, path, &file, err));
    const struct rf_file *f = &w->file[file];
    uint64_t n = 0;
    if (f->size < 8) return rf_fail(err, RF_CORRUPT, "%s: %zu bytes, expected a safetensors header", name, f->size);
    for (int i = 0; i < 8; i++) n |= (uint64_t)f->data[i] << (8 * i);
    if (n > MAX_HEADER || n > f->size - 8)
        return rf_fail(err, RF_CORRUPT, "%s: header length %llu at byte 0, at most %llu expected", name,
                       (unsigned long long)n, (unsigned long long)RF_MIN((uint64_t)MAX_HEADER, f->size - 8));
    struct rf_json j = {.s = (const char *)f->data + 8, .n = (size_t)n, .name = name, .arena = &w->arena, .err = err};
    if (!n || j.s[0] != '{') return rf_json_fail(&j, "'{' as the first byte of the header");
    const uint8_t *data = f->data + 8 + n;
    uint64_t size = f->size - 8 - n;
    RF_TRY(read_header(w, &j, data, size, file));
    return check_cover(w, first, data, size, name, err);
}

/* ---- shards ------------------------------------------------------------------------------------------------------ */

struct index { /* model.safetensors.index.json */
    struct rf_buf text;
    struct rf_map shard_of;            /* tensor -> shard */
    struct rf_map shard_at;
    struct rf_str *shard;
    size_t n_shard, cap_shard;
};

static rf_status shard_number(struct index *x, struct rf_json *j, struct rf_str name, uint32_t *no)
{
    struct rf_quoted q;
    *no = rf_map_get(&x->shard_at, name.s, name.n);
    if (*no != RF_MAP_NONE) return RF_OK;
    if (name.n < 13 || name.n > 255 || memcmp(name.s + name.n - 12, ".safetensors", 12) ||
        memchr(name.s, '/', name.n) || memchr(name.s, 0, name.n) || name.s[0] == '.')
        return rf_fail(j->err, RF_INVALID,
                       "%s: shard \"%s\", expected the bare name of a .safetensors file in this folder", j->name,
                       rf_format_quote(&q, name));
    if (x->n_shard == x->cap_shard) {
        size_t cap = x->cap_shard ? 2 * x->cap_shard : 16;
        struct rf_str *p = rf_realloc_array(x->shard, cap, sizeof *p);
        if (!p) return rf_fail_nomem(j->err, j->name, cap * sizeof *p);
        x->shard = p;
        x->cap_shard = cap;
    }
    *no = (uint32_t)x->n_shard;
    x->shard[x->n_shard++] = name;
    if (rf_map_set(&x->shard_at, name.s, name.n, *no, NULL)) return rf_fail_nomem(j->err, j->name, name.n);
    return RF_OK;
}

static rf_status read_weight_map(struct index *x, struct rf_json *j)
{
    bool more;
    RF_TRY(rf_json_enter(j, '{'));
    for (;;) {
        struct rf_str tensor, name;
        struct rf_quoted q;
        uint32_t no, old;
        RF_TRY(rf_json_next(j, &more));
        if (!more) return RF_OK;
        RF_TRY(rf_json_key(j, &tensor));
        RF_TRY(rf_json_string(j, &name));
        RF_TRY(shard_number(x, j, name, &no));
        if (x->shard_of.n >= RF_FORMAT_MAX_TENSOR)
            return rf_fail(j->err, RF_TOO_LARGE, "%s: more than %d tensors", j->name, RF_FORMAT_MAX_TENSOR);
        if (rf_map_set(&x->shard_of, tensor.s, tensor.n, no, &old)) return rf_fail_nomem(j->err, j->name, tensor.n);
        if (old != RF_MAP_NONE)
            return rf_fail(j->err, RF_CORRUPT, "%s: tensor \"%s\" stands twice in weight_map", j->name,
                           rf_format_quote(&q, tensor));
    }
}

static rf_status read_index(struct index *x, struct rf_json *j)
{
    bool more, found = false;
    RF_TRY(rf_json_enter(j, '{'));
    for (;;) {
        struct rf_str key;
        RF_TRY(rf_json_next(j, &more));
        if (!more) break;
        RF_TRY(rf_json_key(j, &key));
        if (!is(key, "weight_map")) {
            RF_TRY(rf_json_skip(j));
            continue;
        }
        if (found) return rf_json_fail(j, "weight_map only once");
        found = true;
        RF_TRY(read_weight_map(x, j));
    }
    if (!found || !x->n_shard) return rf_fail(j->err, RF_CORRUPT, "%s: no weight_map", j->name);
    return rf_json_end(j);
}

static int by_name(const void *a, const void *b)
{
    const struct rf_str *x = a, *y = b;
    int c = memcmp(x->s, y->s, RF_MIN(x->n, y->n));
    return c ? c : x->n < y->n ? -1 : x->n > y->n;
}

/* One shard: in the folder, and holding exactly what the index says of it. */
static rf_status add_shard(struct rf_weights *w, struct index *x, struct rf_str shard, const char *where,
                           struct rf_error *err)
{
    char name[256], path[sizeof w->dir + 256];
    struct rf_quoted q, q2;
    size_t first = w->n_tensor;
    uint32_t no = rf_map_get(&x->shard_at, shard.s, shard.n);
    memcpy(name, shard.s, shard.n);
    name[shard.n] = 0;
    RF_TRY(rf_path_join(path, sizeof path, w->dir, name, err));
    if (!rf_path_exists(path))
        return rf_fail(err, RF_NOT_FOUND, "%s: shard \"%s\" is missing from the folder", where,
                       rf_format_quote(&q, shard));
    RF_TRY(rf_safetensors_add(w, path, err));
    for (size_t i = first; i < w->n_tensor; i++) {
        struct rf_str t = w->tensor[i].name;
        if (rf_map_get(&x->shard_of, t.s, t.n) != no)
            return rf_fail(err, RF_CORRUPT, "%s: tensor \"%s\" is in shard \"%s\", expected elsewhere", where,
                           rf_format_quote(&q, t), rf_format_quote(&q2, shard));
    }
    return RF_OK;
}

static rf_status add_index(struct rf_weights *w, struct index *x, const char *path, struct rf_error *err)
{
    const char *where = rf_format_short(path);
    RF_TRY(rf_file_read(&x->text, path, MAX_INDEX, err));
    struct rf_json j = {.s = rf_buf_str(&x->text), .n = x->text.len, .name = where, .arena = &w->arena, .err = err};
    RF_TRY(read_index(x, &j));
    qsort(x->shard, x->n_shard, sizeof *x->shard, by_name); /* numbers stay in shard_at */
    for (size_t i = 0; i < x->n_shard; i++) RF_TRY(add_shard(w, x, x->shard[i], where, err));
    if (w->n_tensor != x->shard_of.n)
        return rf_fail(err, RF_CORRUPT, "%s: names %zu tensors, the shards hold %zu", where, x->shard_of.n,
                       w->n_tensor);
    return RF_OK;
}

rf_status rf_safetensors_add_index(struct rf_weights *w, const char *path, struct rf_error *err)
{
    struct index x = {.text.max = (size_t)MAX_INDEX + (1 << 20)};
    rf_status s = add_index(w, &x, path, err);
    rf_buf_release(&x.text);
    rf_map_release(&x.shard_of);
    rf_map_release(&x.shard_at);
    rf_free(x.shard);
    return s;
}
