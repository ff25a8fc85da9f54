/* weights_priv.h - the inside of struct rf_weights, shared by the readers of this room only.
 *
 * Readers add files, facts and tensors; each adder refuses duplicates and grows as it goes, so that no count out of a
 * file sizes an allocation before the bytes behind it have been seen. On an error the caller closes the whole struct.
 */
#ifndef RF_FORMAT_WEIGHTS_PRIV_H
#define RF_FORMAT_WEIGHTS_PRIV_H

#include "base/arena.h"
#include "base/file.h"
#include "base/map.h"
#include "format/weights.h"

struct rf_weights {
    enum rf_source source;
    char path[1024], dir[1024];
    struct rf_file *file;
    size_t n_file, cap_file;
    struct rf_fact *fact;
    size_t n_fact, cap_fact;
    struct rf_tensor_view *tensor;
    size_t n_tensor, cap_tensor;
    struct rf_map fact_at, tensor_at; /* name -> index */
    struct rf_buf text[3];            /* the configuration files; facts borrow from them */
    struct rf_arena arena;            /* offset tables, item arrays, unescaped strings */
};

/* Array items that are not raw GGUF bytes (item_type 0..12 is a GGUF value type). */
enum { RF_ITEM_STRINGS = 256, /* items is a struct rf_string_table */
       RF_ITEM_FACTS = 257 }; /* items is a struct rf_fact[n_items]; used by JSON */

struct rf_string_table {      /* string i: base + offset[i] + 8, length offset[i + 1] - offset[i] - 8 */
    const uint8_t *base;
    const uint32_t *offset;   /* [n + 1]; lengths are never read from the mapping twice */
};

enum { RF_FORMAT_MAX_TENSOR = 1 << 19, RF_FORMAT_MAX_FACT = 1 << 16 };

rf_status rf_format_file_add(struct rf_weights *w, const char *path, uint32_t *index, struct rf_error *err);
/* where: short name of the file for messages. */
rf_status rf_format_fact_add(struct rf_weights *w, const struct rf_fact *f, const char *where, struct rf_error *err);
rf_status rf_format_tensor_add(struct rf_weights *w, const struct rf_tensor_view *t, const char *where,
                               struct rf_error *err);

/* The last part of a path, short enough to leave a message room for what follows. */
const char *rf_format_short(const char *path);
/* A name out of a file made fit for a message: cut to 80 bytes, only whole UTF-8 and no control bytes. Returns out. */
struct rf_quoted { char s[88]; };
const char *rf_format_quote(struct rf_quoted *out, struct rf_str s);

/* Readers. gguf: path is the file as given. */
rf_status rf_gguf_open(struct rf_weights *w, const char *path, struct rf_error *err);
/* Adds the tensors of one safetensors file. */
rf_status rf_safetensors_add(struct rf_weights *w, const char *path, struct rf_error *err);
/* Adds all shards that the index file names. */
rf_status rf_safetensors_add_index(struct rf_weights *w, const char *path, struct rf_error *err);
/* Facts of config.json, generation_config.json, tokenizer_config.json in w->dir, each where present. */
rf_status rf_hf_facts_add(struct rf_weights *w, struct rf_error *err);

#endif
