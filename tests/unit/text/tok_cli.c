/* tok_cli MODEL FLAGS - the tokenizer as a filter, for comparison with other implementations.
 *
 * stdin: records of a 4-byte little-endian length and that many bytes. stdout, per record: the ids, space-separated, on one
 * line (FLAGS as a number: enum rf_tokenize_flags), or with FLAGS = "decode", "decode-skip" or "decode-stream" the record is int32 ids and the answer is
 * again length and bytes. "bench": the whole of stdin is one text; prints ids per second of encode. stderr: load time, by the
 * clock and of the processor.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "text/tokenizer.h"

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static char *read_record(uint32_t *n)
{
    if (fread(n, 4, 1, stdin) != 1) return NULL;
    char *s = malloc(*n + 1u);
    if (s && fread(s, 1, *n, stdin) != *n) exit(2);
    return s;
}

static int bench(const struct rf_tokenizer *t)
{
    struct rf_buf b = { 0 };
    char tmp[65536];
    for (size_t k; (k = fread(tmp, 1, sizeof tmp, stdin)) > 0;) rf_buf_append(&b, tmp, k);
    double best = 1e9;
    struct rf_ids ids = { 0 };
    for (int i = 0; i < 5; i++) {
        ids.n = 0;
        double t0 = rf_now();
        struct rf_error err;
        if (rf_tokenizer_encode(t, b.data, b.len, RF_TOK_PARSE_SPECIAL, NULL, 0, &ids, &err)) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        double dt = rf_now() - t0;
        if (dt < best) best = dt;
    }
    printf("{\"bytes\":%zu,\"ids\":%zu,\"seconds\":%.6f,\"mb_per_s\":%.2f}\n", b.len, ids.n, best, (double)b.len / 1e6 / best);
    rf_ids_release(&ids);
    rf_buf_release(&b);
    return 0;
}

int main(int argc, char **argv)
{
    struct rf_error err = { 0 };
    struct rf_weights *w;
    struct rf_tokenizer *t;
    if (argc < 3) return 2;
    if (rf_weights_open(&w, argv[1], &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    double t0 = rf_now(), cpu = cpu_s();
    if (rf_tokenizer_open(&t, w, &err)) {
        fprintf(stderr, "%s\n", err.message);
        rf_weights_close(w);
        return 1;
    }
    fprintf(stderr, "load %.2f ms, %.2f ms of processor time\n", (rf_now() - t0) * 1e3, (cpu_s() - cpu) * 1e3);
    int rc = 0;
    if (!strcmp(argv[2], "bench")) {
        rc = bench(t);
    } else {
        bool decode = !strncmp(argv[2], "decode", 6);
        char *s;
        struct rf_ids ids = { 0 };
        struct rf_buf b = { 0 };
        for (uint32_t n; (s = read_record(&n)); free(s)) {
            if (decode) {
                rf_buf_clear(&b);
                struct rf_detok d;
                rf_detok_init(&d, t, true);
                if (!strcmp(argv[2], "decode-stream")) {
                    for (uint32_t i = 0; i < n / 4; i++) rf_detok_push(&d, ((const int32_t *)(void *)s)[i], &b);
                    rf_detok_finish(&d, &b);
                } else {
                    rf_tokenizer_decode(t, (const int32_t *)(void *)s, n / 4, !strcmp(argv[2], "decode-skip"), &b);
                }
                uint32_t len = (uint32_t)b.len;
                fwrite(&len, 4, 1, stdout);
                fwrite(rf_buf_str(&b), 1, b.len, stdout);
                continue;
            }
            ids.n = 0;
            if (rf_tokenizer_encode(t, s, n, (uint32_t)atoi(argv[2]), NULL, 0, &ids, &err)) printf("error: %s", err.message);
            for (size_t i = 0; i < ids.n; i++) printf(i ? " %d" : "%d", ids.id[i]);
            putchar('\n');
        }
        rf_ids_release(&ids);
        rf_buf_release(&b);
    }
    rf_tokenizer_close(t);
    rf_weights_close(w);
    return rc;
}
