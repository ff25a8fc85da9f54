/* cmd_list.c - the models on this disk. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "cli/cli.h"

enum { OTHERS_SHOWN = 8 }; /* lines about what cannot be talked to */

static json_t *to_json(const struct rf_model_entry *m, bool all)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:i}", "name", m->name, "source", m->source, "path", m->path, "architecture",
                          m->architecture, "quantization", m->quantization, "bytes", (json_int_t)m->bytes, "context", (int)m->context);
    if (o && all) json_object_set_new(o, "kind", json_string(rf_model_kind_name(m->kind)));
    if (o && m->note[0]) json_object_set_new(o, "note", json_string(m->note));
    return o;
}

static int print_json(const struct rf_registry *r, bool all)
{
    json_t *models = json_array();
    for (size_t i = 0; i < rf_registry_n(r); i++) {
        const struct rf_model_entry *m = rf_registry_at(r, i);
        json_t *o = all || m->kind == RF_MODEL_CHAT ? to_json(m, all) : NULL;
        if (o) json_array_append_new(models, o); /* a path that is no UTF-8 cannot stand in JSON */
    }
    return rf_cli_print_json(json_pack("{s:o}", "models", models));
}

/* " (embedding)", " (broken: why)"; nothing behind what can be talked to. */
static void print_mark(FILE *to, const struct rf_model_entry *m)
{
    if (m->kind != RF_MODEL_CHAT) fprintf(to, " (%s%s%s)", rf_model_kind_name(m->kind), m->note[0] ? ": " : "", m->note);
    putc('\n', to);
}

/* What the table leaves out, to standard error: each with its mark, the first few. */
static void print_others(const struct rf_registry *r, size_t n)
{
    size_t left = OTHERS_SHOWN;
    if (!n) return;
    fflush(stdout);
    fprintf(stderr, "\nNot to talk to (rocmforge list --all):\n");
    for (size_t i = 0; i < rf_registry_n(r) && left; i++) {
        const struct rf_model_entry *m = rf_registry_at(r, i);
        if (m->kind == RF_MODEL_CHAT) continue;
        fprintf(stderr, "  %s", m->name);
        print_mark(stderr, m);
        left--;
    }
    if (n > OTHERS_SHOWN) fprintf(stderr, "  and %zu more\n", n - OTHERS_SHOWN);
}

static void print_table(const struct rf_registry *r, bool all)
{
    int wide = 4;
    size_t shown = 0, others = 0;
    for (size_t i = 0; i < rf_registry_n(r); i++) {
        const struct rf_model_entry *m = rf_registry_at(r, i);
        if (all || m->kind == RF_MODEL_CHAT) wide = RF_MAX(wide, (int)strlen(m->name));
    }
    for (size_t i = 0; i < rf_registry_n(r); i++) {
        const struct rf_model_entry *m = rf_registry_at(r, i);
        char size[32];
        if (!all && m->kind != RF_MODEL_CHAT) {
            others++;
            continue;
        }
        rf_cli_human_bytes(m->bytes, size, sizeof size);
        if (!shown++) printf("%-*s  %-9s %-8s %8s %8s  %s\n", wide, "NAME", "FAMILY", "QUANT", "SIZE", "CONTEXT", "WHERE");
        printf("%-*s  %-9s %-8s %8s %8u  %s", wide, m->name, m->architecture, m->quantization, size, m->context, m->source);
        print_mark(stdout, m);
    }
    if (!shown) printf("No models here. Put a GGUF file into ./models or ~/models, or name a folder with --model-dir.\n");
    print_others(r, others);
}

int rf_cli_list(const struct rf_cli *c)
{
    struct rf_registry *r = rf_cli_open_registry(c, true);
    if (!r) return RF_EXIT_FAILED;
    int code = RF_EXIT_OK;
    for (size_t i = 0; c->names && i < rf_registry_n(r); i++)
        if (c->all || rf_registry_at(r, i)->kind == RF_MODEL_CHAT) puts(rf_registry_at(r, i)->name);
    if (c->names) code = RF_EXIT_OK;
    else if (c->json) code = print_json(r, c->all);
    else print_table(r, c->all);
    rf_registry_close(r);
    return code;
}
