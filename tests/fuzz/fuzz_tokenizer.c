/* fuzz_tokenizer: the input is a tokenizer.json, a zero byte, and text for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text/tokenizer.h"

static char dir[64];

static void save(const char *name, const void *p, size_t n)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n) abort();
    fclose(f);
}

static void clean(void)
{
    static const char *const names[] = { "model.safetensors", "config.json", "tokenizer.json" };
    char path[128];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void make_folder(void)
{
    static const char head[] = "{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    char st[8 + sizeof head - 1 + 4] = { (char)(sizeof head - 1) };
    memcpy(st + 8, head, sizeof head - 1);
    strcpy(dir, "/tmp/rf_fuzz_XXXXXX");
    if (!mkdtemp(dir)) abort();
    atexit(clean);
    save("model.safetensors", st, sizeof st);
    save("config.json", "{\"model_type\":\"llama\"}", 22);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!*dir) make_folder();
    const uint8_t *cut = size ? memchr(data, 0, size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    save("tokenizer.json", data, n);
    struct rf_weights *w;
    struct rf_tokenizer *t;
    struct rf_error err;
    if (rf_weights_open(&w, dir, &err)) return 0;
    if (!rf_tokenizer_open(&t, w, &err)) {
        const char *text = cut ? (const char *)cut + 1 : "Hello  world's 123\n";
        size_t len = cut ? size - n - 1 : strlen(text);
        for (uint32_t flags = 0; flags < 4; flags += 3) {
            struct rf_ids ids = { 0 };
            struct rf_buf out = { 0 };
            struct rf_detok d;
            rf_tokenizer_encode(t, text, len, flags, NULL, 0, &ids, &err);
            rf_detok_init(&d, t, flags);
            for (size_t i = 0; i < ids.n; i++) {
                if (ids.id[i] < 0 || (uint32_t)ids.id[i] >= rf_tokenizer_n_vocab(t)) abort();
                rf_detok_push(&d, ids.id[i], &out);
            }
            rf_detok_finish(&d, &out);
            rf_buf_release(&out);
            rf_ids_release(&ids);
        }
        rf_tokenizer_close(t);
    }
    rf_weights_close(w);
    return 0;
}
