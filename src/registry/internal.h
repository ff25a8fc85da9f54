/* internal.h - what the files of this room share. */
#ifndef RF_REGISTRY_INTERNAL_H
#define RF_REGISTRY_INTERNAL_H

#include <sys/stat.h>

#include "base/arena.h"
#include "base/map.h"
#include "registry/registry.h"

enum { RF_REGISTRY_PATH = 4096, RF_REGISTRY_MAX_FILES = 200000, RF_REGISTRY_MAX_DEPTH = 12 };

/* What a header says; strings live in the scan's arena. */
struct rf_header {
    const char *architecture, *quantization, *note;
    uint64_t bytes;
    uint32_t context;
    enum rf_model_kind kind;
};

struct rf_catalogue; /* NULL is a catalogue that remembers nothing */

rf_status rf_catalogue_open(struct rf_catalogue **out, const char *path);
void rf_catalogue_close(struct rf_catalogue *c);
bool rf_catalogue_get(struct rf_catalogue *c, const struct stat *st, struct rf_arena *a, struct rf_header *h);
void rf_catalogue_put(struct rf_catalogue *c, const struct stat *st, const struct rf_header *h);

/* A scan in progress. */
struct rf_scan {
    struct rf_arena *a;
    struct rf_catalogue *cat;
    const struct rf_registry_options *opt;
    struct rf_model_entry *entry; /* growing */
    size_t n, cap, n_files;
    struct rf_map visited;        /* folders, by (device, inode) in the arena */
    bool out_of_memory;
};

void rf_scan_warn(struct rf_scan *s, const char *fmt, ...) RF_PRINTF(2, 3);
/* Reads (or remembers) the header of the model at path; st is of the file whose identity counts. */
struct rf_header rf_scan_header(struct rf_scan *s, const char *path, const struct stat *st);
/* The new entry, its address the path and nothing beside it; until the next call. NULL if there is no memory, which s remembers. */
struct rf_model_entry *rf_scan_add(struct rf_scan *s, const char *name, const char *source, const char *path, const struct rf_header *h);
/* A root: Ollama's or the hub's where it has their shape, else every GGUF and every model folder below it. */
void rf_scan_tree(struct rf_scan *s, const char *root, const char *source);
/* One GGUF file that is no part of a tree. */
void rf_scan_file(struct rf_scan *s, const char *path, const char *source);
void rf_scan_hub(struct rf_scan *s, const char *hub);
void rf_scan_ollama(struct rf_scan *s, const char *store);

/* $XDG_DATA_HOME/rocmforge/models into out[RF_REGISTRY_PATH]; false without a home. */
bool rf_registry_own_dir(char *out);

/* Lists a folder sorted by name, hidden entries left out; false with a warning if it cannot be read (silently if absent). */
struct rf_names { char **name; size_t n, cap; };
bool rf_scan_list(struct rf_scan *s, const char *dir, struct rf_names *out);
bool rf_scan_enter(struct rf_scan *s, const struct stat *st); /* false: visited before */
bool rf_scan_path(struct rf_scan *s, char *out, const char *dir, const char *name); /* false with a warning if too long */

#endif
