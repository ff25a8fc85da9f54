/* ggufmake.h - writes model files, good and bad, into a temporary folder. For tests: the caller says every number. */
#ifndef RF_TESTS_GGUFMAKE_H
#define RF_TESTS_GGUFMAKE_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "format/fp8.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MK_SLOW 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MK_SLOW 1
#endif

#ifdef MK_SLOW
#define MK_LIMIT 3.0 /* seconds of processor time in which a bad file is answered; sanitizers slow it down */
#else
#define MK_LIMIT 0.1
#endif

enum { MK_U8, MK_I8, MK_U16, MK_I16, MK_U32, MK_I32, MK_F32, MK_BOOL, MK_STRING, MK_ARRAY, MK_U64, MK_I64, MK_F64 };

static inline void mk_le(struct rf_buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) rf_buf_putc(b, (char)(v >> (8 * i)));
}

static inline void mk_str(struct rf_buf *b, const char *s)
{
    mk_le(b, strlen(s), 8);
    rf_buf_puts(b, s);
}

static inline void mk_begin(struct rf_buf *b, uint64_t version, uint64_t n_tensor, uint64_t n_kv)
{
    rf_buf_puts(b, "GGUF");
    mk_le(b, version, 4);
    mk_le(b, n_tensor, 8);
    mk_le(b, n_kv, 8);
}

/* A key and the type of its value; the value follows. */
static inline void mk_key(struct rf_buf *b, const char *key, uint64_t type)
{
    mk_str(b, key);
    mk_le(b, type, 4);
}

static inline void mk_kv(struct rf_buf *b, const char *key, uint64_t type, uint64_t v, int bytes)
{
    mk_key(b, key, type);
    mk_le(b, v, bytes);
}

static inline void mk_tensor(struct rf_buf *b, const char *name, uint64_t n_dim, const uint64_t *dim, uint64_t type,
                             uint64_t offset)
{
    mk_str(b, name);
    mk_le(b, n_dim, 4);
    for (uint64_t i = 0; i < n_dim && i < 8; i++) mk_le(b, dim[i], 8);
    mk_le(b, type, 4);
    mk_le(b, offset, 8);
}

static inline void mk_zeros(struct rf_buf *b, size_t n)
{
    while (n--) rf_buf_putc(b, 0);
}

static inline void mk_pad(struct rf_buf *b, size_t align)
{
    while (b->len % align) rf_buf_putc(b, 0);
}

/* ---- the folder -------------------------------------------------------------------------------------------------- */

static char mk_dir[256];

static inline const char *mk_dir_begin(void)
{
    const char *tmp = getenv("TMPDIR");
    if (!tmp) tmp = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm"; /* thousands of small files: memory, where there is */
    snprintf(mk_dir, sizeof mk_dir, "%s/rf-format-XXXXXX", tmp);
    if (!mkdtemp(mk_dir)) abort();
    return mk_dir;
}

static inline int mk_unlink_(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static inline void mk_dir_end(void) { nftw(mk_dir, mk_unlink_, 16, FTW_DEPTH | FTW_PHYS); }

/* The path of a name in the folder; four of them live at a time. */
static inline const char *mk_path(const char *name)
{
    static char path[4][512];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, 512, "%s/%s", mk_dir, name);
    return p;
}

static inline const char *mk_write(const char *name, const void *data, size_t n)
{
    const char *path = mk_path(name);
    FILE *f = fopen(path, "wb");
    if (!f || (n && fwrite(data, 1, n, f) != n)) abort();
    fclose(f);
    return path;
}

static inline const char *mk_text(const char *name, const char *text) { return mk_write(name, text, strlen(text)); }

static inline void mk_remove(const char *name) { remove(mk_path(name)); }

/* {u64 length, header, data} of a safetensors file. */
static inline void mk_safetensors(struct rf_buf *b, const char *header, size_t data)
{
    mk_le(b, strlen(header), 8);
    rf_buf_puts(b, header);
    mk_zeros(b, data);
}

/* ---- looking at everything --------------------------------------------------------------------------------------- */

/* An F8_E4M3 tensor with its scales, if they fit together: all of its rows into memory of just their size. */
static inline unsigned mk_visit_fp8(const struct rf_weights *w, const struct rf_tensor_view *t)
{
    struct rf_fp8 f;
    uint64_t row;
    if (rf_fp8_find(&f, w, t, NULL)) return 1;
    unsigned sink = (unsigned)rf_fp8_check(&f, w, NULL);
    if (f.rows > 1 << 12 || f.cols > 1 << 12 || !rf_type_row_bytes(f.type, f.cols, &row)) return sink;
    uint8_t *p = malloc(f.rows * row);
    float *v = malloc(f.cols * sizeof *v);
    if (p && v) sink += (unsigned)rf_fp8_rows(&f, 0, f.rows, p, row) + p[0] + (unsigned)rf_fp8_values(&f, f.rows - 1, v);
    free(p);
    free(v);
    return sink;
}

/* Touches every fact, the first and last items of arrays, the ends of every tensor. Returns the bytes of tensors. */
static inline uint64_t mk_visit(const struct rf_weights *w)
{
    unsigned sink = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < rf_weights_n_fact(w); i++) {
        const struct rf_fact *f = rf_weights_fact_at(w, i);
        for (size_t k = 0; k < f->key.n; k++) sink += (unsigned char)f->key.s[k];
        if (f->kind == RF_FACT_STRING)
            for (size_t k = 0; k < f->str.n; k++) sink += (unsigned char)f->str.s[k];
        for (uint64_t k = 0; f->kind == RF_FACT_ARRAY && k < f->n_items; k++) {
            if (k == 64 && f->n_items > 128) k = f->n_items - 64;
            struct rf_str s = {0};
            int64_t n = 0;
            double d = 0;
            sink += (unsigned)rf_fact_item_int(f, k, &n) + (unsigned)rf_fact_item_float(f, k, &d);
            if (rf_fact_item_str(f, k, &s))
                for (size_t c = 0; c < s.n; c++) sink += (unsigned char)s.s[c];
        }
    }
    for (size_t i = 0; i < rf_weights_n_tensor(w); i++) {
        const struct rf_tensor_view *t = rf_weights_tensor(w, i);
        if (t->bytes) sink += (unsigned)t->data[0] + t->data[t->bytes - 1];
        if (rf_fp8_is(t)) sink += mk_visit_fp8(w, t);
        bytes += t->bytes;
    }
    volatile unsigned keep = sink; /* so that the reads stay */
    (void)keep;
    return bytes;
}

/* Processor time of this thread: what else the machine does must not fail a test. */
static inline double mk_cpu(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Opens, visits and closes path. Seconds of processor time of the open go to *seconds if not NULL. */
static inline rf_status mk_open(const char *path, struct rf_error *err, double *seconds)
{
    struct rf_weights *w;
    *err = (struct rf_error){0};
    double t = mk_cpu();
    rf_status s = rf_weights_open(&w, path, err);
    if (seconds) *seconds = mk_cpu() - t;
    if (s) return s;
    mk_visit(w);
    rf_weights_close(w);
    return s;
}

static inline long mk_max_rss_mb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss / 1024;
}

#endif
