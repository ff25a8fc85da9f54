/* weights.h - what every model file looks like once opened: facts and tensors, borrowed from mapped files.
 *
 * Facts are a flat map from key to value. GGUF keeps its own keys ("llama.block_count", "tokenizer.ggml.tokens"). A
 * Hugging Face folder gives config.json flattened with dots ("hidden_size", "rope_scaling.factor", "layer_types"),
 * generation_config.json under "generation_config." and tokenizer_config.json under "tokenizer_config.". JSON arrays of
 * objects or arrays are flattened as well ("tokenizer_config.chat_template.0.name"). Keys of a "text_config" are also
 * there without that prefix, where the top level lacks them. tokenizer_config's "added_tokens_decoder" is left out if
 * long.
 * Strings are byte strings out of the file: any bytes, not NUL-terminated where borrowed from a mapping.
 *
 * Thread: immutable after open. Everything lives as long as the struct.
 */
#ifndef RF_FORMAT_WEIGHTS_H
#define RF_FORMAT_WEIGHTS_H

#include "base/buf.h"
#include "quant/type.h"

/* Tensor types that only safetensors has ("F8_E4M3", "U8"): numbers from here on, which rf_type_get refuses (see fp8.h for the first of them). */
enum { RF_TYPE_FOREIGN = 1 << 16, RF_TYPE_FOREIGN_F8_E4M3 = RF_TYPE_FOREIGN + 13, RF_TYPE_FOREIGN_F8_E8M0 = RF_TYPE_FOREIGN + 15 };

enum rf_source { RF_SOURCE_GGUF, RF_SOURCE_HF };

enum rf_fact_kind { RF_FACT_INT, RF_FACT_FLOAT, RF_FACT_BOOL, RF_FACT_STRING, RF_FACT_ARRAY };


struct rf_fact {
    struct rf_str key;
    enum rf_fact_kind kind;      /* of the value, or RF_FACT_ARRAY */
    int64_t i;                   /* INT and BOOL (a GGUF uint64 above INT64_MAX is refused) */
    double f;                    /* FLOAT; also set for INT */
    struct rf_str str;           /* STRING */
    enum rf_fact_kind item_kind; /* ARRAY: kind of its items; ARRAY where they are arrays, objects or of mixed kinds */
    uint64_t n_items;
    const void *items;           /* opaque: read through rf_fact_item_* */
    uint32_t item_type;
};

struct rf_tensor_view {
    struct rf_str name;
    uint32_t type;               /* enum rf_type, or a number that rf_type_get refuses */
    uint32_t n_dim;              /* 1..4; a safetensors scalar has 1, more than 4 are multiplied into dim[3] */
    uint64_t dim[4];             /* dim[0] runs fastest (the row length); unused ones are 1 */
    const uint8_t *data;         /* borrowed from the mapping; may be unaligned */
    uint64_t bytes;
    uint32_t file;               /* index of the mapped file */
};

struct rf_weights;

/* path: a GGUF file (or any part of a split one, all found by name), a .safetensors file or its .index.json beside the
 * config.json, a Hugging Face folder, or a folder with one GGUF model. A folder with config.json or a tokenizer but no
 * weights opens with no tensors. Every length, count, offset and name is checked here; data is never read. */
rf_status rf_weights_open(struct rf_weights **out, const char *path, struct rf_error *err);
void rf_weights_close(struct rf_weights *w);
/* RF_IO once a mapped file was written to or cut off in place: what was computed since then may be wrong. Any thread. */
rf_status rf_weights_check(const struct rf_weights *w, struct rf_error *err);

enum rf_source rf_weights_source(const struct rf_weights *w);
const char *rf_weights_path(const struct rf_weights *w);  /* as given */
const char *rf_weights_dir(const struct rf_weights *w);   /* folder that holds tokenizer.json and friends */
uint64_t rf_weights_file_bytes(const struct rf_weights *w);

size_t rf_weights_n_tensor(const struct rf_weights *w);
const struct rf_tensor_view *rf_weights_tensor(const struct rf_weights *w, size_t i);     /* file order */
const struct rf_tensor_view *rf_weights_find(const struct rf_weights *w, const char *name); /* NULL if absent */
const char *rf_weights_type_name(uint32_t type); /* rf_type_name, and the foreign ones; for error lines */
/* What people call the mix: GGUF's general.file_type, else the type that holds most bytes ("Q4_K_M", "BF16", "FP8", "none"). */
const char *rf_weights_quantization(const struct rf_weights *w);
/* Gives the tensor's pages back to the system once a backend has its own copy. */
void rf_weights_drop(const struct rf_weights *w, const struct rf_tensor_view *t);
/* The same for n bytes from `part`, which lies in t's data: whole pages inside it. */
void rf_weights_drop_part(const struct rf_weights *w, const struct rf_tensor_view *t, const void *part, uint64_t n);

size_t rf_weights_n_fact(const struct rf_weights *w);
const struct rf_fact *rf_weights_fact_at(const struct rf_weights *w, size_t i);
const struct rf_fact *rf_weights_fact(const struct rf_weights *w, const char *key);       /* NULL if absent or null */

/* Item i of an array fact; false if i is out of range or the item is of another kind (INT converts to FLOAT). */
bool rf_fact_item_int(const struct rf_fact *f, uint64_t i, int64_t *out);
bool rf_fact_item_float(const struct rf_fact *f, uint64_t i, double *out);
bool rf_fact_item_str(const struct rf_fact *f, uint64_t i, struct rf_str *out);

/* An in-memory copy of a small file of the folder ("tokenizer.json", "chat_template.jinja"); RF_NOT_FOUND if absent. */
rf_status rf_weights_read_side_file(const struct rf_weights *w, const char *name, struct rf_buf *out,
                                    struct rf_error *err);

#endif
