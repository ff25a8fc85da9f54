/* template_cli - renders chat templates for the tests in Python.
 *
 *   template_cli FILE < variables.json      text to standard output, or one error line and exit 1
 *   template_cli --batch                    many: standard input holds records "T J NOW\n" + T bytes of template +
 *                                           J bytes of JSON; the answer to each is "ok L S\n" + L bytes of text +
 *                                           S lines "from to\n" of trusted spans, or "error L 0\n" + message
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "text/template.h"

static const char *const trusted_vars[] = {"bos_token", "eos_token", "pad_token", "unk_token", NULL};

static rf_status render(const char *src, size_t len, const char *json, size_t json_len, int64_t now, struct rf_buf *out,
                        struct rf_spans *spans, struct rf_error *err)
{
    struct rf_template *t;
    rf_status s = rf_template_parse(&t, src, len, err);
    if (s) return s;
    s = rf_template_run(t, json, json_len, trusted_vars, now, NULL, out, spans, err);
    rf_template_free(t);
    return s;
}

static char *read_bytes(size_t n)
{
    char *p = malloc(n + 1);
    if (p && fread(p, 1, n, stdin) != n) {
        free(p);
        return NULL;
    }
    return p;
}

static int batch(void)
{
    size_t t_len, j_len;
    long long now;
    char line[128];
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%zu %zu %lld", &t_len, &j_len, &now) == 3) {
        struct rf_buf out = {0};
        struct rf_spans spans = {0};
        struct rf_error err = {0};
        char *t = read_bytes(t_len), *j = read_bytes(j_len);
        if (!t || !j) return 2;
        if (render(t, t_len, j, j_len, now, &out, &spans, &err)) {
            printf("error %zu 0\n%s", strlen(err.message), err.message);
        } else {
            printf("ok %zu %zu\n", out.len, spans.n);
            fwrite(rf_buf_str(&out), 1, out.len, stdout);
            for (size_t i = 0; i < spans.n; i++) printf("%zu %zu\n", spans.span[i].from, spans.span[i].to);
        }
        fflush(stdout);
        rf_buf_release(&out);
        rf_spans_release(&spans);
        free(t);
        free(j);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct rf_buf src = {0}, json = {0}, out = {0};
    struct rf_error err = {0};
    char chunk[65536];
    size_t n;
    if (argc == 2 && !strcmp(argv[1], "--batch")) return batch();
    if (argc != 2) {
        fprintf(stderr, "usage: template_cli FILE < variables.json | template_cli --batch\n");
        return 2;
    }
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0) rf_buf_append(&json, chunk, n);
    rf_status s = rf_file_read(&src, argv[1], (size_t)1 << 21, &err);
    if (!s) s = render(rf_buf_str(&src), src.len, rf_buf_str(&json), json.len, 0, &out, NULL, &err);
    if (s) fprintf(stderr, "%s\n", err.message);
    else fwrite(rf_buf_str(&out), 1, out.len, stdout);
    rf_buf_release(&src);
    rf_buf_release(&json);
    rf_buf_release(&out);
    return s ? 1 : 0;
}
