/* tokfuzz.h - what the tokenizer targets share: a folder with the file under test, opened, text through it and back. */
#ifndef RF_TOKFUZZ_H
#define RF_TOKFUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text/tokenizer.h"

static char tokfuzz_dir[64];

static void tokfuzz_path(char path[128], const char *name) { snprintf(path, 128, "%s/%s", tokfuzz_dir, name); }

static void tokfuzz_save(const char *name, const void *p, size_t n)
{
    char path[128];
    tokfuzz_path(path, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n) abort();
    fclose(f);
}

static void tokfuzz_remove(const char *name)
{
    char path[128];
    tokfuzz_path(path, name);
    unlink(path);
}

static void tokfuzz_clean(void)
{
    static const char *const names[] = { "config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "x.tiktoken", "tekken.json",
                                         "vocab.txt", "vocab.json", "merges.txt" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) tokfuzz_remove(names[i]);
    rmdir(tokfuzz_dir);
}

static void tokfuzz_start(void)
{
    if (*tokfuzz_dir) return;
    strcpy(tokfuzz_dir, "/tmp/rf_fuzz_XXXXXX");
    if (!mkdtemp(tokfuzz_dir)) abort();
    atexit(tokfuzz_clean);
    tokfuzz_save("config.json", "{\"model_type\":\"llama\"}", 22);
}

/* Text into ids and back, with special tokens parsed and not. */
static void tokfuzz_text(const struct rf_tokenizer *t, const char *text, size_t len)
{
    struct rf_error err;
    for (uint32_t flags = 0; flags < 4; flags += 3) {
        struct rf_ids ids = { 0 };
        struct rf_buf out = { 0 }, all = { 0 };
        struct rf_detok d;
        rf_tokenizer_encode(t, text, len, flags, NULL, 0, &ids, &err);
        rf_detok_init(&d, t, flags);
        for (size_t i = 0; i < ids.n; i++) {
            if (ids.id[i] < 0 || (uint32_t)ids.id[i] >= rf_tokenizer_n_vocab(t)) abort();
            rf_detok_push(&d, ids.id[i], &out);
        }
        rf_detok_finish(&d, &out);
        rf_tokenizer_decode(t, ids.id, ids.n, flags, &all);
        rf_buf_release(&all);
        rf_buf_release(&out);
        rf_ids_release(&ids);
    }
}

static void tokfuzz_run(const char *text, size_t len)
{
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err;
    if (rf_weights_open(&w, tokfuzz_dir, &err)) return;
    if (!rf_tokenizer_open(&t, w, &err)) {
        tokfuzz_text(t, text, len);
        rf_tokenizer_close(t);
    }
    rf_weights_close(w);
}

#endif
