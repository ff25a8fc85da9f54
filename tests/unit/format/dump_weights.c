/* dump_weights.c - prints what rf_weights_open found, one JSON object per line, for comparison with other readers.
 *
 *   dump_weights PATH [-t]     -t: print seconds of the open alone
 * Strings are printed as hex: facts are bytes.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "format/weights.h"

static void hex(struct rf_str s)
{
    putchar('"');
    for (size_t i = 0; i < s.n; i++) printf("%02x", (unsigned char)s.s[i]);
    putchar('"');
}

static void item(const struct rf_fact *f, uint64_t i)
{
    struct rf_str s;
    int64_t n;
    double d;
    if (rf_fact_item_str(f, i, &s))
        hex(s);
    else if (rf_fact_item_int(f, i, &n))
        printf("%lld", (long long)n);
    else if (rf_fact_item_float(f, i, &d))
        printf("\"%a\"", d);
    else
        printf("null");
}

static void fact(const struct rf_fact *f)
{
    printf("{\"key\":");
    hex(f->key);
    printf(",\"kind\":%d,\"value\":", (int)f->kind);
    switch (f->kind) {
    case RF_FACT_STRING: hex(f->str); break;
    case RF_FACT_FLOAT: printf("\"%a\"", f->f); break;
    case RF_FACT_INT: printf("%lld", (long long)f->i); break;
    case RF_FACT_BOOL: printf(f->i ? "true" : "false"); break;
    case RF_FACT_ARRAY:
        putchar('[');
        for (uint64_t i = 0; i < f->n_items; i++) {
            if (i) putchar(',');
            item(f, i);
        }
        putchar(']');
        break;
    }
    puts("}");
}

int main(int argc, char **argv)
{
    struct rf_weights *w;
    struct rf_error err = {0};
    if (argc < 2) return 2;
    double t = rf_now();
    rf_status s = rf_weights_open(&w, argv[1], &err);
    t = rf_now() - t;
    if (s) {
        fprintf(stderr, "%s: %s\n", rf_status_name(s), err.message);
        return 1;
    }
    if (argc > 2 && !strcmp(argv[2], "-t")) {
        printf("%.3f ms\n", t * 1e3);
    } else {
        for (size_t i = 0; i < rf_weights_n_fact(w); i++) fact(rf_weights_fact_at(w, i));
        const uint8_t *first = rf_weights_n_tensor(w) ? rf_weights_tensor(w, 0)->data : NULL;
        for (size_t i = 0; i < rf_weights_n_tensor(w); i++) {
            const struct rf_tensor_view *v = rf_weights_tensor(w, i);
            printf("{\"tensor\":");
            hex(v->name);
            printf(",\"type\":%u,\"n_dim\":%u,\"dim\":[%llu,%llu,%llu,%llu],\"from_first\":%lld,\"bytes\":%llu,"
                   "\"file\":%u}\n",
                   v->type, v->n_dim, (unsigned long long)v->dim[0], (unsigned long long)v->dim[1],
                   (unsigned long long)v->dim[2], (unsigned long long)v->dim[3],
                   v->file ? 0LL : (long long)((intptr_t)v->data - (intptr_t)first), (unsigned long long)v->bytes,
                   v->file);
        }
    }
    rf_weights_close(w);
    return 0;
}
