/* cmd_tokenize.c - text to token ids, one per line with its text, or ids alone. */
#include <stdio.h>

#include <jansson.h>

#include "base/utf8.h"
#include "cli/cli.h"

static void print_ids(const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? " " : "", ids[i]);
    putchar('\n');
}

static void print_json(const int32_t *ids, size_t n)
{
    printf("{\"tokens\":[");
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? "," : "", ids[i]);
    printf("],\"count\":%zu}\n", n);
}

/* A token's bytes, control characters and broken UTF-8 escaped: a vocabulary is a stranger's text. */
static void print_pieces(const struct rf_model *m, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *s = rf_model_token_bytes(m, ids[i], &len);
        bool whole = len && rf_utf8_valid(s, len);
        printf("%8d  \"", ids[i]);
        for (size_t k = 0; k < len; k++) {
            unsigned char b = (unsigned char)s[k];
            if (b == '"' || b == '\\') printf("\\%c", b);
            else if (b < 0x20 || b == 0x7f || (b >= 0x80 && !whole)) printf("\\x%02x", b);
            else putchar(b);
        }
        printf("\"\n");
    }
}

int rf_cli_tokenize(const struct rf_cli *c)
{
    struct rf_buf text = {0};
    struct rf_error err = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    struct rf_model *m = rf_cli_open_model(c, RF_OPEN_VOCAB);
    if (!m) return RF_EXIT_MODEL;
    int code = RF_EXIT_FAILED;
    bool have = c->n_arg > 1 ? rf_cli_put(&text, c->arg[1]) : rf_cli_read(NULL, &text);
    uint32_t flags = c->no_special ? 0 : RF_TOK_ADD_SPECIAL | RF_TOK_PARSE_SPECIAL;
    if (have && rf_model_tokenize(m, rf_buf_str(&text), text.len, flags, &ids, &n, &err)) {
        rf_cli_fail(&err, 0);
    } else if (have) {
        code = RF_EXIT_OK;
        if (c->json)
            print_json(ids, n);
        else if (c->ids)
            print_ids(ids, n);
        else
            print_pieces(m, ids, n);
    }
    rf_free(ids);
    rf_buf_release(&text);
    rf_model_close(m);
    return code;
}
