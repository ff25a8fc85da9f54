/* cmd_show.c - facts of a model file, for people or as JSON. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/utf8.h"
#include "cli/cli.h"

static void print_value(const json_t *v)
{
    char line[161];
    if (json_is_string(v)) {
        size_t n = json_string_length(v);
        printf("%s", rf_utf8_printable(line, sizeof line, json_string_value(v)));
        if (n > 160) printf("... (%zu bytes)", n);
        putchar('\n');
        return;
    }
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    printf("%s%s\n", rf_utf8_printable(line, sizeof line, text ? text : "?"), n > 160 ? "..." : "");
    free(text);
}

static void print_object(const json_t *o)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)o, key, v) {
        if (!strcmp(key, "tensors") || !strcmp(key, "facts")) continue;
        printf("%-18s ", key);
        print_value(v);
    }
}

static void print_tensors(const json_t *tensors)
{
    size_t i;
    json_t *t;
    printf("\ntensors\n");
    json_array_foreach((json_t *)tensors, i, t) {
        const json_t *shape = json_object_get(t, "shape");
        char dims[96] = "", name[256];
        for (size_t k = 0, n = 0; k < json_array_size(shape) && n < sizeof dims; k++)
            n += (size_t)snprintf(dims + n, sizeof dims - n, "%s%" JSON_INTEGER_FORMAT, k ? " x " : "",
                                  json_integer_value(json_array_get(shape, k)));
        printf("  %-48s %-6s %s\n", rf_utf8_printable(name, sizeof name, json_string_value(json_object_get(t, "name"))), json_string_value(json_object_get(t, "type")), dims);
    }
}

static void print_text(const char *text, bool verbose)
{
    json_t *root = json_loads(text, 0, NULL);
    const char *key;
    json_t *v;
    if (!root) return;
    print_object(root);
    printf("\nfacts\n");
    json_object_foreach(json_object_get(root, "facts"), key, v) {
        char name[256];
        printf("  %-42s ", rf_utf8_printable(name, sizeof name, key));
        print_value(v);
    }
    if (verbose) print_tensors(json_object_get(root, "tensors"));
    json_decref(root);
}

int rf_cli_show(const struct rf_cli *c)
{
    struct rf_error err = {0};
    char *text = NULL;
    struct rf_model *m = rf_cli_open_model(c, RF_OPEN_META);
    if (!m) return RF_EXIT_MODEL;
    rf_status s = rf_model_describe(m, c->verbose, &text, &err);
    rf_model_close(m);
    if (s) return rf_cli_fail(&err, RF_EXIT_FAILED);
    if (c->json)
        puts(text);
    else
        print_text(text, c->verbose);
    rf_free(text);
    return RF_EXIT_OK;
}
