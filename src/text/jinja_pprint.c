/* The filter pprint: values as Python's pprint.pformat lays them out, 80 characters wide: keys sorted, what does not fit a line
 * broken after its commas, long strings broken between words. A value's place: how far it is indented, and how much room what closes
 * around it needs behind it (allowance). Trust of each byte is kept, as in repr.
 */
#include "text/jinja_run.h"

#include "base/utf8.h"

enum { WIDTH = 80 };

static rf_status put(struct rf_jsb *b, struct rf_jv v, size_t indent, size_t allowance, unsigned level);

static void newline(struct rf_jsb *b, size_t indent)
{
    static const char blanks[] = "                                                                ";
    rf_jinja_sb_lit(b, "\n");
    for (size_t n; indent; indent -= n) {
        n = RF_MIN(indent, sizeof blanks - 1);
        rf_jinja_sb_add(b, blanks, n, false);
    }
}

/* ---- repr with sorted keys ---- */

/* Python's order of keys; where it has none, that of the types' names. */
static int key_order(struct rf_jinja *J, struct rf_jv a, struct rf_jv b)
{
    struct rf_error *kept = J->err, ignored = {0};
    int c = 2;
    J->err = &ignored;
    rf_status st = rf_jinja_cmp(J, a, b, "<", &c);
    J->err = kept;
    return st || c == 2 ? strcmp(rf_jinja_type(a), rf_jinja_type(b)) : c;
}

/* The entries in order: a merge sort, since the budget of steps is the template's, not qsort's. */
static rf_status sorted(struct rf_jinja *J, const struct rf_jdict *d, struct rf_jentry **out)
{
    struct rf_jentry *from, *to;
    RF_TRY(rf_jinja_alloc(J, d->n, sizeof *from, &from));
    RF_TRY(rf_jinja_alloc(J, d->n, sizeof *to, &to));
    if (d->n) memcpy(from, d->e, d->n * sizeof *from);
    for (size_t w = 1; w < d->n; w *= 2) {
        for (size_t lo = 0; lo < d->n; lo += 2 * w) {
            size_t mid = RF_MIN(lo + w, (size_t)d->n), hi = RF_MIN(lo + 2 * w, (size_t)d->n), i = lo, j = mid;
            for (size_t k = lo; k < hi; k++) {
                RF_TRY(rf_jinja_step(J, 0));
                bool right = i == mid || (j < hi && key_order(J, from[j].key, from[i].key) < 0);
                to[k] = right ? from[j++] : from[i++];
            }
        }
        struct rf_jentry *t = from;
        from = to, to = t;
    }
    *out = from;
    return RF_OK;
}

static rf_status flat(struct rf_jsb *b, struct rf_jv v)
{
    struct rf_jentry *e;
    RF_TRY(rf_jinja_step(b->J, 0));
    if (v.kind == RF_JV_DICT) {
        RF_TRY(sorted(b->J, v.d, &e));
        rf_jinja_sb_lit(b, "{");
        for (uint32_t i = 0; i < v.d->n; i++) {
            if (i) rf_jinja_sb_lit(b, ", ");
            RF_TRY(flat(b, e[i].key));
            rf_jinja_sb_lit(b, ": ");
            RF_TRY(rf_jinja_enter(b->J));
            RF_TRY(flat(b, e[i].value));
            b->J->nest--;
        }
        rf_jinja_sb_lit(b, "}");
        return b->bad;
    }
    if (v.kind != RF_JV_LIST && v.kind != RF_JV_TUPLE) return rf_jinja_repr(b, v);
    RF_TRY(rf_jinja_enter(b->J));
    rf_jinja_sb_lit(b, v.kind == RF_JV_LIST ? "[" : "(");
    for (size_t i = 0; i < v.l->n; i++) {
        if (i) rf_jinja_sb_lit(b, ", ");
        RF_TRY(flat(b, v.l->v[i]));
    }
    rf_jinja_sb_lit(b, v.kind == RF_JV_LIST ? "]" : v.l->n == 1 ? ",)" : ")");
    b->J->nest--;
    return b->bad;
}

static rf_status flat_of(struct rf_jinja *J, struct rf_jv v, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    RF_TRY(flat(&b, v));
    return rf_jinja_sb_done(&b, out);
}

/* ---- strings ---- */

static bool is_space(const struct rf_jstr *s, size_t i, size_t *len)
{
    uint32_t cp;
    *len = RF_MAX(rf_utf8_decode(s->p + i, s->len - i, &cp), 1u);
    return rf_jinja_is_space(cp);
}

/* The end of the part of s that begins at i: a word with the white space behind it. */
static size_t part_end(const struct rf_jstr *s, size_t i)
{
    size_t n;
    while (i < s->len && !is_space(s, i, &n)) i += n;
    while (i < s->len && is_space(s, i, &n)) i += n;
    return i;
}

static rf_status repr_slice(struct rf_jinja *J, struct rf_jstr *s, size_t from, size_t to, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    struct rf_jv v;
    RF_TRY(rf_jinja_str_slice(J, s, from, to, &v));
    rf_jinja_str_repr(&b, v.s);
    return rf_jinja_sb_done(&b, out);
}

/* The reprs of a line's pieces, each as many parts as fit. */
static rf_status break_line(struct rf_jinja *J, struct rf_jstr *line, bool last_line, size_t width, size_t allowance, struct rf_jlist *chunks)
{
    struct rf_jv rep;
    size_t from = 0, to = 0;
    for (size_t end; to < line->len; to = end) {
        end = part_end(line, to);
        if (end == line->len && last_line) width -= RF_MIN(width, allowance);
        RF_TRY(repr_slice(J, line, from, end, &rep));
        if (rep.s->n_chars <= width) continue;
        if (to > from) {
            RF_TRY(repr_slice(J, line, from, to, &rep));
            RF_TRY(rf_jinja_push(J, chunks, rep));
        }
        from = to;
    }
    if (from == to) return RF_OK;
    RF_TRY(repr_slice(J, line, from, to, &rep));
    return rf_jinja_push(J, chunks, rep);
}

static rf_status put_string(struct rf_jsb *b, struct rf_jstr *s, size_t indent, size_t allowance, unsigned level)
{
    struct rf_jinja *J = b->J;
    struct rf_jv lines, chunks, rep;
    if (level == 1) indent++, allowance++;
    size_t width = WIDTH - RF_MIN(indent, (size_t)WIDTH);
    RF_TRY(rf_jinja_splitlines(J, s, true, &lines));
    RF_TRY(rf_jinja_list(J, RF_JV_LIST, 0, &chunks));
    for (size_t i = 0; i < lines.l->n; i++) {
        struct rf_jstr *line = lines.l->v[i].s;
        bool last = i + 1 == lines.l->n;
        RF_TRY(repr_slice(J, line, 0, line->len, &rep));
        size_t room = last ? width - RF_MIN(width, allowance) : width;
        if (rep.s->n_chars <= room) RF_TRY(rf_jinja_push(J, chunks.l, rep));
        else RF_TRY(break_line(J, line, last, width, allowance, chunks.l));
    }
    bool around = level == 1 && chunks.l->n > 1;
    if (around) rf_jinja_sb_lit(b, "(");
    for (size_t i = 0; i < chunks.l->n; i++) {
        if (i) newline(b, indent);
        rf_jinja_sb_str(b, chunks.l->v[i].s);
    }
    if (around) rf_jinja_sb_lit(b, ")");
    return b->bad;
}

/* ---- containers ---- */

static rf_status put_items(struct rf_jsb *b, const struct rf_jlist *l, size_t indent, size_t allowance, unsigned level)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i) {
            rf_jinja_sb_lit(b, ",");
            newline(b, indent + 1);
        }
        RF_TRY(put(b, l->v[i], indent + 1, i + 1 == l->n ? allowance : 1, level));
    }
    return b->bad;
}

static rf_status put_dict(struct rf_jsb *b, const struct rf_jdict *d, size_t indent, size_t allowance, unsigned level)
{
    struct rf_jentry *e;
    struct rf_jv key;
    RF_TRY(sorted(b->J, d, &e));
    rf_jinja_sb_lit(b, "{");
    for (uint32_t i = 0; i < d->n; i++) {
        if (i) {
            rf_jinja_sb_lit(b, ",");
            newline(b, indent + 1);
        }
        RF_TRY(flat_of(b->J, e[i].key, &key));
        rf_jinja_sb_str(b, key.s);
        rf_jinja_sb_lit(b, ": ");
        RF_TRY(put(b, e[i].value, indent + 1 + key.s->n_chars + 2, i + 1 == d->n ? allowance + 1 : 1, level));
    }
    rf_jinja_sb_lit(b, "}");
    return b->bad;
}

static rf_status put(struct rf_jsb *b, struct rf_jv v, size_t indent, size_t allowance, unsigned level)
{
    struct rf_jv rep;
    RF_TRY(flat_of(b->J, v, &rep));
    bool fits = indent + allowance <= WIDTH && rep.s->n_chars <= WIDTH - indent - allowance;
    bool plain_string = v.kind == RF_JV_STR && !v.s->markup && v.s->len;
    if (fits || !(plain_string || v.kind == RF_JV_LIST || v.kind == RF_JV_TUPLE || v.kind == RF_JV_DICT)) {
        rf_jinja_sb_str(b, rep.s);
        return b->bad;
    }
    if (plain_string) return put_string(b, v.s, indent, allowance, level + 1);
    RF_TRY(rf_jinja_enter(b->J));
    if (v.kind == RF_JV_DICT) {
        RF_TRY(put_dict(b, v.d, indent, allowance, level + 1));
    } else {
        bool list = v.kind == RF_JV_LIST;
        const char *close = list ? "]" : v.l->n == 1 ? ",)" : ")";
        rf_jinja_sb_lit(b, list ? "[" : "(");
        RF_TRY(put_items(b, v.l, indent, allowance + strlen(close), level + 1));
        rf_jinja_sb_lit(b, close);
    }
    b->J->nest--;
    return b->bad;
}

rf_status rf_jinja_pprint(struct rf_jinja *J, struct rf_jv v, struct rf_jv *out)
{
    struct rf_jsb b = {.J = J};
    RF_TRY(put(&b, v, 0, 0, 0));
    return rf_jinja_sb_done(&b, out);
}
