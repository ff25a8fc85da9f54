/* registry.h - the models that lie on this disk, found by themselves.
 *
 * Roots are walked in this order: folders that the caller names, $ROCMFORGE_MODEL_PATH, ./models, our own folder
 * ($XDG_DATA_HOME/rocmforge/models), Hugging Face's hub cache, Ollama's store, LM Studio, llama.cpp's cache, ~/models; last
 * the one model that ships, where the caller says that there is one.
 * Other programs' trees are only read: never written, locked or pruned. What a model is comes from its header, never from
 * its file's name; a catalogue in SQLite remembers headers by (device, inode, size, mtime), so that a warm listing opens
 * no model. Without a catalogue (no home, disk full, file damaged) everything works, only slower.
 *
 * Symlinks are followed, a folder is visited once. What cannot be read costs one warning and hides nothing else.
 * Thread: one at a time per registry; immutable after open.
 */
#ifndef RF_REGISTRY_REGISTRY_H
#define RF_REGISTRY_REGISTRY_H

#include "base/status.h"

struct rf_registry;

enum rf_model_kind {
    RF_MODEL_CHAT,        /* a language model that this build runs */
    RF_MODEL_EMBEDDING,   /* an encoder */
    RF_MODEL_PROJECTOR,   /* mmproj: the eyes or ears of another model */
    RF_MODEL_ADAPTER,     /* LoRA */
    RF_MODEL_VOCABULARY,  /* a tokenizer without weights */
    RF_MODEL_OTHER,       /* an architecture that this build does not know */
    RF_MODEL_BROKEN,      /* unreadable or incomplete; note says why */
};
const char *rf_model_kind_name(enum rf_model_kind k); /* "chat", "embedding", ... */

struct rf_model_entry {
    const char *name;         /* what people type; unique in the registry */
    const char *source;       /* "folder", "own", "huggingface", "ollama", "lmstudio", "llama.cpp", "shipped" */
    const char *path;         /* what rf_model_open takes */
    const char *architecture; /* "" if unknown */
    const char *quantization; /* "Q4_K_M", "BF16"; "" if unknown */
    const char *note;         /* why it cannot be used, "" otherwise */
    const char *address;      /* what tells it from others of its name: its path; for Ollama its manifest's */
    const char *system, *sampling, *messages; /* Ollama: files with a system message, parameters and first messages (JSON both); "" if none */
    uint64_t bytes;           /* of all its files */
    uint32_t context;         /* trained context, 0 if unknown */
    enum rf_model_kind kind;
};

struct rf_registry_options {
    const char *const *dirs;  /* --model-dir, first in order */
    size_t n_dirs;
    const char *shipped;      /* a GGUF file listed last unless it was found before; NULL: none */
    const char *catalogue;    /* SQLite file; NULL: $XDG_CACHE_HOME/rocmforge/catalogue.db; "": none */
    void (*warn)(void *ctx, const char *line); /* one line per thing that could not be read; NULL: silence */
    void *warn_ctx;
};

rf_status rf_registry_open(struct rf_registry **out, const struct rf_registry_options *opt, struct rf_error *err);
void rf_registry_close(struct rf_registry *r); /* NULL is fine */
/* Deletes the files of a model whose source is "own"; RF_INVALID for any other. Nothing outside our own folder is touched. */
rf_status rf_registry_remove(const struct rf_model_entry *m, struct rf_error *err);

size_t rf_registry_n(const struct rf_registry *r);
const struct rf_model_entry *rf_registry_at(const struct rf_registry *r, size_t i); /* in root order, then by name */
/* By exact name, else by the one name that equals it without regard to case; NULL if none or several. */
const struct rf_model_entry *rf_registry_find(const struct rf_registry *r, const char *name);

#endif
