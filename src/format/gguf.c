/* gguf.c - GGUF version 2 and 3, little-endian, one file or split.
 *
 * Layout (GGUF specification, ggml docs/gguf.md): magic, u32 version, u64 n_tensors, u64 n_kv; then n_kv of {string
 * key, u32 type, value}; then n_tensors of {string name, u32 n_dim, u64 dim[n_dim], u32 type, u64 offset}; padding to
 * the alignment; data. A string is {u64 length, bytes}; an array is {u32 type, u64 count, items}.
 *
 * Nothing is copied: strings and numeric arrays stay in the mapping; string arrays get one table of offsets, built in
 * the pass that checks them. Every number is compared with what is left of the file before it is used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "format/weights_priv.h"

enum { T_U8, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64, T_F64, N_TYPE };

enum {
    MAX_NAME = 1024, /* tensor names */
    MAX_KEY = 65535, /* the specification's limit */
    MAX_NESTING = 4, /* arrays of arrays */
    MAX_WALKED = 2 << 20, /* items visited one by one (strings, nested arrays); known: 300 k tokens, 500 k merges */
    MAX_META = 40 << 20, /* bytes of header; the largest known vocabularies need 20 MB */
    MAX_ALIGN = 65536,
};

static const struct { const char *name; uint8_t bytes; enum rf_fact_kind kind; } types[N_TYPE] = {
    [T_U8] = {"uint8", 1, RF_FACT_INT},     [T_I8] = {"int8", 1, RF_FACT_INT},
    [T_U16] = {"uint16", 2, RF_FACT_INT},   [T_I16] = {"int16", 2, RF_FACT_INT},
    [T_U32] = {"uint32", 4, RF_FACT_INT},   [T_I32] = {"int32", 4, RF_FACT_INT},
    [T_F32] = {"float32", 4, RF_FACT_FLOAT}, [T_BOOL] = {"bool", 1, RF_FACT_BOOL},
    [T_STRING] = {"string", 0, RF_FACT_STRING}, [T_ARRAY] = {"array", 0, RF_FACT_ARRAY},
    [T_U64] = {"uint64", 8, RF_FACT_INT},   [T_I64] = {"int64", 8, RF_FACT_INT},
    [T_F64] = {"float64", 8, RF_FACT_FLOAT},
};

struct scan { /* one pass over one file's header */
    struct rf_weights *w;
    const uint8_t *base;
    uint64_t size, pos;
    const char *name;          /* of the file, for messages */
    uint64_t walked;
    uint64_t n_tensor, n_kv, alignment;
    uint64_t split_no, split_count, split_tensors;
    bool is_split;
    struct rf_error *err;
};

static uint64_t le(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static rf_status short_file(struct scan *s, const char *what, uint64_t want)
{
    return rf_fail(s->err, RF_CORRUPT, "%s: %s at byte %llu: %llu bytes left, %llu expected (truncated file?)", s->name,
                   what, (unsigned long long)s->pos, (unsigned long long)(s->size - s->pos), (unsigned long long)want);
}

static rf_status number(struct scan *s, unsigned bytes, const char *what, uint64_t *out)
{
    if (s->size - s->pos < bytes) return short_file(s, what, bytes);
    *out = le(s->base + s->pos, bytes);
    s->pos += bytes;
    return RF_OK;
}

static rf_status string(struct scan *s, const char *what, uint64_t max, struct rf_str *out)
{
    uint64_t n, at = s->pos;
    RF_TRY(number(s, 8, what, &n));
    if (n > s->size - s->pos || n > max)
        return rf_fail(s->err, RF_CORRUPT, "%s: %s at byte %llu: length %llu, at most %llu expected", s->name, what,
                       (unsigned long long)at, (unsigned long long)n,
                       (unsigned long long)RF_MIN(max, s->size - s->pos));
    *out = (struct rf_str){(const char *)s->base + s->pos, (size_t)n};
    s->pos += n;
    return RF_OK;
}

/* A number or bool at p as a fact value; false if it is out of our range. */
static bool scalar(uint32_t type, const uint8_t *p, struct rf_fact *f)
{
    uint64_t u = le(p, types[type].bytes);
    f->kind = types[type].kind;
    switch (type) {
    case T_I8: f->i = (int8_t)u; break;
    case T_I16: f->i = (int16_t)u; break;
    case T_I32: f->i = (int32_t)u; break;
    case T_F32: {
        uint32_t b = (uint32_t)u;
        float v;
        memcpy(&v, &b, 4);
        f->f = (double)v;
        return true;
    }
    case T_F64: memcpy(&f->f, &u, 8); return true;
    case T_BOOL: f->i = (int64_t)u; return u <= 1;
    case T_U64:
        if (u > INT64_MAX) return false;
        f->i = (int64_t)u;
        break;
    default: f->i = (int64_t)u; break;
    }
    f->f = (double)f->i;
    return true;
}

static rf_status walk(struct scan *s, uint64_t n)
{
    s->walked += n; /* n <= size, so no wrap before the limit strikes */
    if (s->walked > MAX_WALKED || s->pos > MAX_META)
        return rf_fail(s->err, RF_TOO_LARGE, "%s: metadata at byte %llu: more than %d array items or %d bytes", s->name,
                       (unsigned long long)s->pos, MAX_WALKED, MAX_META);
    return RF_OK;
}

static rf_status string_items(struct scan *s, const char *key, uint64_t n, struct rf_fact *f)
{
    if (n > (s->size - s->pos) / 8) return short_file(s, key, n > UINT64_MAX / 8 ? n : n * 8);
    RF_TRY(walk(s, n));
    struct rf_string_table *t = rf_arena_alloc(&s->w->arena, sizeof *t);
    uint32_t *offset = rf_arena_array(&s->w->arena, (size_t)n + 1, sizeof *offset);
    if (!t || !offset) return rf_arena_fail(&s->w->arena, s->err, s->name, (size_t)n * sizeof *offset);
    uint64_t start = s->pos;
    const uint8_t *base = s->base + start;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t left = s->size - s->pos;
        uint64_t len = left < 8 ? 0 : le(s->base + s->pos, 8);
        if (left < 8 || len > left - 8)
            return rf_fail(s->err, RF_CORRUPT,
                           "%s: key \"%s\", string %llu of %llu at byte %llu: length %llu, %llu bytes left", s->name,
                           key, (unsigned long long)i, (unsigned long long)n, (unsigned long long)s->pos,
                           (unsigned long long)len, (unsigned long long)left);
        offset[i] = (uint32_t)(s->pos - start);
        s->pos += 8 + len;
        if (s->pos > MAX_META) return walk(s, 0);
    }
    offset[n] = (uint32_t)(s->pos - start);
    *t = (struct rf_string_table){base, offset};
    f->items = t;
    f->item_type = RF_ITEM_STRINGS;
    return RF_OK;
}

/* An array's type and items. At nesting > 0 only the end is looked for. */
static rf_status array(struct scan *s, const char *key, unsigned nesting, struct rf_fact *f)
{
    uint64_t type, n, at = s->pos;
    RF_TRY(number(s, 4, key, &type));
    RF_TRY(number(s, 8, key, &n));
    if (type >= N_TYPE)
        return rf_fail(s->err, RF_CORRUPT, "%s: key \"%s\" at byte %llu: array of type %llu, expected 0 to 12", s->name,
                       key, (unsigned long long)at, (unsigned long long)type);
    f->kind = RF_FACT_ARRAY;
    f->item_kind = types[type].kind;
    f->item_type = (uint32_t)type;
    f->n_items = n;
    f->items = s->base + s->pos;
    if (type == T_STRING) return string_items(s, key, n, f);
    uint64_t bytes;
    if (!rf_mul64(n, type == T_ARRAY ? 12 : types[type].bytes, &bytes) || bytes > s->size - s->pos)
        return rf_fail(s->err, RF_CORRUPT, "%s: key \"%s\" at byte %llu: %llu items of %s, %llu bytes left", s->name,
                       key, (unsigned long long)at, (unsigned long long)n, types[type].name,
                       (unsigned long long)(s->size - s->pos));
    if (type != T_ARRAY) {
        s->pos += bytes;
        return RF_OK;
    }
    if (nesting + 1 >= MAX_NESTING)
        return rf_fail(s->err, RF_TOO_LARGE, "%s: key \"%s\" at byte %llu: arrays nested deeper than %d", s->name, key,
                       (unsigned long long)at, MAX_NESTING);
    RF_TRY(walk(s, n));
    for (uint64_t i = 0; i < n; i++) {
        struct rf_fact inner = {0};
        RF_TRY(array(s, key, nesting + 1, &inner));
    }
    return RF_OK;
}

static rf_status value(struct scan *s, uint32_t type, const char *key, struct rf_fact *f)
{
    if (type == T_ARRAY) return array(s, key, 0, f);
    if (type == T_STRING) {
        f->kind = RF_FACT_STRING;
        return string(s, key, UINT64_MAX, &f->str);
    }
    uint64_t at = s->pos, bytes = types[type].bytes;
    if (s->size - s->pos < bytes) return short_file(s, key, bytes);
    if (!scalar(type, s->base + s->pos, f))
        return rf_fail(s->err, RF_CORRUPT, "%s: key \"%s\" at byte %llu: found %s %llu, expected %s", s->name, key,
                       (unsigned long long)at, types[type].name, (unsigned long long)le(s->base + at, (unsigned)bytes),
                       type == T_BOOL ? "0 or 1" : "at most 2^63-1");
    s->pos += bytes;
    return RF_OK;
}

static bool key_is(const struct rf_fact *f, const char *name)
{
    return f->key.n == strlen(name) && !memcmp(f->key.s, name, f->key.n);
}

/* Keys that steer the reading itself. */
static rf_status steer(struct scan *s, const struct rf_fact *f, uint32_t type)
{
    struct { const char *key; uint64_t *to, min, max; } rows[] = {
        {"general.alignment", &s->alignment, 8, MAX_ALIGN},
        {"split.no", &s->split_no, 0, 65535},
        {"split.count", &s->split_count, 0, 65535},
        {"split.tensors.count", &s->split_tensors, 0, RF_FORMAT_MAX_TENSOR},
    };
    for (size_t i = 0; i < RF_COUNT(rows); i++) {
        if (!key_is(f, rows[i].key)) continue;
        if (f->kind != RF_FACT_INT)
            return rf_fail(s->err, RF_CORRUPT, "%s: key \"%s\": found %s, expected an integer", s->name, rows[i].key,
                           types[type].name);
        uint64_t v = (uint64_t)f->i;
        if (f->i < 0 || v < rows[i].min || v > rows[i].max || (i == 0 && (v & (v - 1))))
            return rf_fail(s->err, RF_CORRUPT, "%s: key \"%s\": found %lld, expected %s%llu to %llu", s->name,
                           rows[i].key, (long long)f->i, i == 0 ? "a power of two, " : "",
                           (unsigned long long)rows[i].min, (unsigned long long)rows[i].max);
        *rows[i].to = v;
        if (i == 2) s->is_split = v > 1;
    }
    return RF_OK;
}

static rf_status facts(struct scan *s, bool keep)
{
    for (uint64_t i = 0; i < s->n_kv; i++) {
        struct rf_fact f = {0};
        struct rf_quoted q;
        uint64_t type, at = s->pos;
        RF_TRY(string(s, "key", MAX_KEY, &f.key));
        if (!f.key.n) return rf_fail(s->err, RF_CORRUPT, "%s: empty key at byte %llu", s->name, (unsigned long long)at);
        rf_format_quote(&q, f.key);
        RF_TRY(number(s, 4, q.s, &type));
        if (type >= N_TYPE)
            return rf_fail(s->err, RF_CORRUPT, "%s: key \"%s\" at byte %llu: value type %llu, expected 0 to 12",
                           s->name, q.s, (unsigned long long)(s->pos - 4), (unsigned long long)type);
        RF_TRY(value(s, (uint32_t)type, q.s, &f));
        RF_TRY(walk(s, 0));
        RF_TRY(steer(s, &f, (uint32_t)type));
        if (keep) RF_TRY(rf_format_fact_add(s->w, &f, s->name, s->err));
    }
    return RF_OK;
}

static rf_status tensor_info(struct scan *s, struct rf_tensor_view *t, uint64_t *offset)
{
    struct rf_quoted q;
    uint64_t n, v, at = s->pos;
    RF_TRY(string(s, "tensor name", MAX_NAME, &t->name));
    if (!t->name.n)
        return rf_fail(s->err, RF_CORRUPT, "%s: empty tensor name at byte %llu", s->name, (unsigned long long)at);
    rf_format_quote(&q, t->name);
    RF_TRY(number(s, 4, q.s, &n));
    if (n < 1 || n > 4)
        return rf_fail(s->err, RF_CORRUPT, "%s: tensor \"%s\" at byte %llu: %llu dimensions, expected 1 to 4", s->name,
                       q.s, (unsigned long long)at, (unsigned long long)n);
    t->n_dim = (uint32_t)n;
    uint64_t count = 1;
    for (unsigned d = 0; d < 4; d++) {
        t->dim[d] = 1;
        if (d < n) RF_TRY(number(s, 8, q.s, &t->dim[d]));
        if (!t->dim[d] || t->dim[d] > INT64_MAX || !rf_mul64(count, t->dim[d], &count) || count > INT64_MAX)
            return rf_fail(
                s->err, RF_CORRUPT,
                "%s: tensor \"%s\" at byte %llu: dimension %u is %llu, expected 1 or more and a product below 2^63",
                s->name, q.s, (unsigned long long)at, d, (unsigned long long)t->dim[d]);
    }
    RF_TRY(number(s, 4, q.s, &v));
    const bool ours = (v >= RF_TYPE_OWN && v < RF_TYPE_MAX) || v >= RF_TYPE_FOREIGN; /* numbers that mean something here and nothing in a file */
    t->type = ours ? RF_TYPE_MAX : (uint32_t)v;
    RF_TRY(number(s, 8, q.s, offset));
    if (*offset % s->alignment)
        return rf_fail(s->err, RF_CORRUPT, "%s: tensor \"%s\": offset %llu, expected a multiple of the alignment %llu",
                       s->name, q.s, (unsigned long long)*offset, (unsigned long long)s->alignment);
    if (!rf_type_get(t->type)) return RF_OK; /* its extent is found from its neighbours */
    uint64_t row;
    if (!rf_type_row_bytes(t->type, t->dim[0], &row))
        return rf_fail(
            s->err, RF_CORRUPT,
            "%s: tensor \"%s\": rows of %llu values, expected a multiple of %s's block of %u below 2^63 bytes", s->name,
            q.s, (unsigned long long)t->dim[0], rf_type_name(t->type), rf_type_get(t->type)->block);
    if (!rf_mul64(row, count / t->dim[0], &t->bytes))
        return rf_fail(s->err, RF_CORRUPT, "%s: tensor \"%s\": its size overflows 64 bits", s->name, q.s);
    return RF_OK;
}

struct extent { uint64_t offset; size_t index; };

static int by_offset(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Places tensors [first, first + n): inside the file, none over another, types of unknown geometry up to the next. */
static rf_status place(struct scan *s, struct extent *e, size_t first, size_t n, uint32_t file)
{
    uint64_t data = (s->pos + s->alignment - 1) / s->alignment * s->alignment;
    bool sorted = true;
    for (size_t i = 1; i < n; i++) sorted = sorted && e[i - 1].offset <= e[i].offset;
    if (!sorted) qsort(e, n, sizeof *e, by_offset);
    for (size_t i = 0; i < n; i++) {
        struct rf_tensor_view *t = &s->w->tensor[first + e[i].index];
        struct rf_quoted q;
        uint64_t space = data > s->size ? 0 : s->size - data;
        bool known = rf_type_get(t->type) != NULL;
        if (e[i].offset > space || t->bytes > space - e[i].offset || (!known && e[i].offset == space))
            return rf_fail(s->err, RF_CORRUPT,
                           "%s: tensor \"%s\": %llu bytes at byte %llu, the file has %llu (truncated file?)", s->name,
                           rf_format_quote(&q, t->name), (unsigned long long)t->bytes,
                           (unsigned long long)(e[i].offset > UINT64_MAX - data ? UINT64_MAX : data + e[i].offset),
                           (unsigned long long)s->size);
        uint64_t next = i + 1 < n ? RF_MIN(e[i + 1].offset, space) : space;
        if (!known) t->bytes = next - e[i].offset;
        if (i + 1 < n && (t->bytes > next - e[i].offset || next == e[i].offset))
            return rf_fail(s->err, RF_CORRUPT,
                           "%s: tensor \"%s\": %llu bytes at offset %llu run into the next tensor at %llu", s->name,
                           rf_format_quote(&q, t->name), (unsigned long long)t->bytes, (unsigned long long)e[i].offset,
                           (unsigned long long)e[i + 1].offset);
        t->data = s->base + data + e[i].offset;
        t->file = file;
    }
    return RF_OK;
}

static rf_status tensors(struct scan *s, uint32_t file)
{
    size_t first = s->w->n_tensor, n = (size_t)s->n_tensor;
    struct extent *e = rf_alloc_array(n, sizeof *e);
    if (!e) return rf_fail_nomem(s->err, s->name, n * sizeof *e);
    rf_status r = RF_OK;
    for (size_t i = 0; i < n && !r; i++) {
        struct rf_tensor_view t = {0};
        e[i].index = i;
        r = tensor_info(s, &t, &e[i].offset);
        if (!r) r = rf_format_tensor_add(s->w, &t, s->name, s->err);
        if (!r) r = walk(s, 0);
    }
    if (!r) r = place(s, e, first, n, file);
    rf_free(e);
    return r;
}

static rf_status header(struct scan *s)
{
    uint64_t version;
    if (s->size < 4 || memcmp(s->base, "GGUF", 4))
        return rf_fail(s->err, RF_CORRUPT, "%s: no GGUF file: %s, expected the bytes \"GGUF\" first", s->name,
                       s->size < 4 ? "shorter than 4 bytes" : "other magic");
    s->pos = 4;
    RF_TRY(number(s, 4, "version", &version));
    if (version != 2 && version != 3) {
        uint32_t swapped = __builtin_bswap32((uint32_t)version);
        return rf_fail(
            s->err, RF_UNSUPPORTED,
            swapped >= 1 && swapped <= 3
                ? "%s: big-endian GGUF (version field %08llx), expected a little-endian file of version 2 or 3"
                : "%s: GGUF version %llu, expected 2 or 3",
            s->name, (unsigned long long)version);
    }
    RF_TRY(number(s, 8, "tensor count", &s->n_tensor));
    RF_TRY(number(s, 8, "key count", &s->n_kv));
    uint64_t left = s->size - s->pos;
    /* smallest key: 8 + 1 + 4 + 1 bytes; smallest tensor: 8 + 1 + 4 + 8 + 4 + 8 */
    if (s->n_tensor > RF_MIN(left / 33, RF_FORMAT_MAX_TENSOR) || s->n_kv > RF_MIN(left / 14, RF_FORMAT_MAX_FACT))
        return rf_fail(s->err, RF_CORRUPT, "%s: byte 8: %llu tensors and %llu keys do not fit into %llu bytes", s->name,
                       (unsigned long long)s->n_tensor, (unsigned long long)s->n_kv, (unsigned long long)left);
    s->alignment = 32;
    return RF_OK;
}

/* Reads file number `file`; only the first one's keys become facts. */
static rf_status read_file(struct scan *s, struct rf_weights *w, uint32_t file, bool keep, struct rf_error *err)
{
    *s = (struct scan){.w = w, .base = w->file[file].data, .size = w->file[file].size, .err = err,
                       .name = rf_format_short(w->file[file].path)};
    RF_TRY(header(s));
    RF_TRY(facts(s, keep));
    return tensors(s, file);
}

/* Length of the path before "-00001-of-00004.gguf", or 0 if it does not end like that; *no counts from 1. */
static size_t split_stem(const char *path, unsigned *no, unsigned *count)
{
    enum { TAIL = sizeof "-00001-of-00004.gguf" - 1 };
    size_t n = strlen(path);
    if (n < TAIL) return 0;
    const char *t = path + n - TAIL;
    int used = 0;
    if (sscanf(t, "-%5u-of-%5u.gguf%n", no, count, &used) != 2 || used != TAIL) return 0;
    for (unsigned i = 0; i < 5; i++)
        if (t[1 + i] < '0' || t[1 + i] > '9' || t[10 + i] < '0' || t[10 + i] > '9') return 0;
    return n - TAIL;
}

static rf_status open_shard(struct rf_weights *w, const char *path, size_t stem, uint64_t i, uint64_t count,
                            struct scan *s, struct rf_error *err)
{
    char shard[sizeof w->path + 64];
    uint32_t file;
    int n = snprintf(shard, sizeof shard, "%.*s-%05u-of-%05u.gguf", (int)stem, path, (unsigned)i + 1, (unsigned)count);
    if (n < 0 || (size_t)n >= sizeof w->path) return rf_fail(err, RF_TOO_LARGE, "path of %d bytes is too long", n);
    if (!rf_path_exists(shard))
        return rf_fail(err, RF_NOT_FOUND, "%s: missing, expected as part %u of %u", rf_format_short(shard),
                       (unsigned)i + 1, (unsigned)count);
    RF_TRY(rf_format_file_add(w, shard, &file, err));
    RF_TRY(read_file(s, w, file, i == 0, err));
    if (s->split_no != i || s->split_count != count)
        return rf_fail(err, RF_CORRUPT, "%s: split.no %llu of split.count %llu, expected %llu of %llu", s->name,
                       (unsigned long long)s->split_no, (unsigned long long)s->split_count, (unsigned long long)i,
                       (unsigned long long)count);
    return RF_OK;
}

/* What the file given says about a split, without keeping anything of it. */
static rf_status peek(const char *path, bool *is_split, uint64_t *count, struct rf_error *err)
{
    struct rf_weights w = {0};
    struct scan s;
    uint32_t file;
    rf_status r = rf_format_file_add(&w, path, &file, err);
    if (!r) {
        s = (struct scan){
            .w = &w, .base = w.file[0].data, .size = w.file[0].size, .err = err, .name = rf_format_short(path)};
        r = header(&s);
        if (!r) r = facts(&s, false);
        *is_split = s.is_split;
        *count = s.split_count;
    }
    if (w.n_file) rf_file_close(&w.file[0]);
    rf_free(w.file);
    rf_arena_release(&w.arena);
    return r;
}

rf_status rf_gguf_open(struct rf_weights *w, const char *path, struct rf_error *err)
{
    unsigned no = 0, in_name = 0;
    size_t stem = split_stem(path, &no, &in_name);
    struct scan s;
    uint32_t file;
    bool is_split = false;
    uint64_t count = 0, total;
    w->source = RF_SOURCE_GGUF;
    if (stem) RF_TRY(peek(path, &is_split, &count, err));
    if (!is_split) {
        RF_TRY(rf_format_file_add(w, path, &file, err));
        RF_TRY(read_file(&s, w, file, true, err));
        if (!s.is_split) return RF_OK;
        return rf_fail(err, RF_INVALID, "%s: split.count is %llu, expected a name like NAME-00001-of-%05u.gguf", s.name,
                       (unsigned long long)s.split_count, (unsigned)s.split_count);
    }
    if (count != in_name)
        return rf_fail(err, RF_CORRUPT, "%s: split.count is %llu, its name says %u", rf_format_short(path),
                       (unsigned long long)count, in_name);
    RF_TRY(open_shard(w, path, stem, 0, count, &s, err));
    total = s.split_tensors;
    for (uint64_t i = 1; i < count; i++) RF_TRY(open_shard(w, path, stem, i, count, &s, err));
    if (total != w->n_tensor)
        return rf_fail(err, RF_CORRUPT, "%s: split.tensors.count is %llu, the %u parts hold %zu", rf_format_short(path),
                       (unsigned long long)total, (unsigned)count, w->n_tensor);
    return RF_OK;
}

/* ---- items of arrays: JSON arrays hold facts, GGUF arrays raw bytes ---------------------------------------- */

static bool item(const struct rf_fact *f, uint64_t i, struct rf_fact *out)
{
    if (!f || f->kind != RF_FACT_ARRAY || i >= f->n_items) return false;
    if (f->item_type == RF_ITEM_FACTS) {
        *out = ((const struct rf_fact *)f->items)[i];
        return true;
    }
    *out = (struct rf_fact){0};
    if (f->item_type >= N_TYPE || !types[f->item_type].bytes) return false;
    return scalar(f->item_type, (const uint8_t *)f->items + i * types[f->item_type].bytes, out);
}

bool rf_fact_item_int(const struct rf_fact *f, uint64_t i, int64_t *out)
{
    struct rf_fact v;
    if (!item(f, i, &v) || (v.kind != RF_FACT_INT && v.kind != RF_FACT_BOOL)) return false;
    *out = v.i;
    return true;
}

bool rf_fact_item_float(const struct rf_fact *f, uint64_t i, double *out)
{
    struct rf_fact v;
    if (!item(f, i, &v) || (v.kind != RF_FACT_INT && v.kind != RF_FACT_FLOAT)) return false;
    *out = v.f;
    return true;
}

bool rf_fact_item_str(const struct rf_fact *f, uint64_t i, struct rf_str *out)
{
    struct rf_fact v;
    if (f && f->kind == RF_FACT_ARRAY && f->item_type == RF_ITEM_STRINGS && i < f->n_items) {
        const struct rf_string_table *t = f->items;
        *out = (struct rf_str){(const char *)t->base + t->offset[i] + 8, t->offset[i + 1] - t->offset[i] - 8};
        return true;
    }
    if (!item(f, i, &v) || v.kind != RF_FACT_STRING) return false;
    *out = v.str;
    return true;
}
