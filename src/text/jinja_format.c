/* Python's two ways of formatting: "%d of %s" % (...) and "{} of {name:>8}".format(...). */
#include "base/utf8.h"
#include "text/jinja_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_WIDTH = 4096, MAX_PRECISION = 300 };

struct spec {
    const struct rf_jstr *fill;
    char align; /* '<', '>', '^', '=' or 0 */
    char sign;  /* '+', ' ' or 0 */
    char group; /* ',' or '_' or 0 */
    bool alt;
    int64_t width, precision; /* precision -1: not given */
    char type;
};

/* ---- numbers to text ------------------------------------------------------------------------------------------ */

static size_t digits_of(uint64_t v, unsigned base, bool upper, char *out) /* writes backwards-free text, returns its length */
{
    char tmp[72];
    size_t n = 0;
    do tmp[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[v % base];
    while (v /= base);
    for (size_t i = 0; i < n; i++) out[i] = tmp[n - 1 - i];
    out[n] = 0;
    return n;
}

static void group_digits(char *text, size_t cap, char sep)
{
    char out[800];
    size_t n = strspn(text, "0123456789"), k = 0;
    for (size_t i = 0; i < n && k + 2 < sizeof out; i++) {
        if (i && (n - i) % 3 == 0) out[k++] = sep;
        out[k++] = text[i];
    }
    snprintf(out + k, sizeof out - k, "%s", text + n);
    snprintf(text, cap, "%s", out);
}

static void float_text(double f, const struct spec *sp, char *out, size_t cap)
{
    char fmt[16], type = sp->type;
    int prec = (int)sp->precision;
    f = fabs(f);
    if (isnan(f) || isinf(f)) {
        bool up = type == 'F' || type == 'E' || type == 'G';
        snprintf(out, cap, "%s", isnan(f) ? (up ? "NAN" : "nan") : (up ? "INF" : "inf"));
        return;
    }
    if (type == '%') {
        snprintf(out, cap, "%.*f%%", prec < 0 ? 6 : prec, 100 * f);
    } else if (!type && prec < 0) {
        rf_jinja_float_repr(f, out);
    } else if (!type) { /* like g, but with a point */
        snprintf(out, cap, "%.*g", prec ? prec : 1, f);
        if (!strpbrk(out, ".en")) snprintf(out + strlen(out), cap - strlen(out), ".0");
    } else {
        if (type == 'n') type = 'g';
        snprintf(fmt, sizeof fmt, "%%%s.*%c", sp->alt ? "#" : "", type);
        snprintf(out, cap, fmt, prec < 0 ? 6 : prec, f);
    }
}

/* Sign and prefix to head, the digits to body. false: the type letter does not fit the value. */
static bool number_parts(struct rf_jv v, const struct spec *sp, char head[8], char *body, size_t cap)
{
    bool negative = v.kind == RF_JV_FLOAT ? signbit(v.f) && !isnan(v.f) : rf_jv_i64(v) < 0;
    size_t n = 0;
    if (negative) head[n++] = '-';
    else if (sp->sign) head[n++] = sp->sign;
    head[n] = 0;
    bool is_int = rf_jv_is_int(v);
    if (sp->type && strchr("eEfFgG%", sp->type)) is_int = false;
    if (!is_int) {
        if (sp->type && !strchr("eEfFgGn%", sp->type)) return false;
        float_text(rf_jv_f64(v), sp, body, cap);
        if (sp->group) group_digits(body, cap, sp->group);
        return true;
    }
    unsigned base = 10;
    if (sp->type == 'x' || sp->type == 'X') base = 16;
    else if (sp->type == 'o') base = 8;
    else if (sp->type == 'b') base = 2;
    else if (sp->type && sp->type != 'd' && sp->type != 'n') return false;
    if (sp->alt && base != 10) {
        head[n++] = '0';
        head[n++] = sp->type;
        head[n] = 0;
    }
    int64_t i = rf_jv_i64(v);
    digits_of(i < 0 ? 0 - (uint64_t)i : (uint64_t)i, base, sp->type == 'X', body);
    if (sp->group && base == 10) group_digits(body, cap, sp->group);
    return true;
}

static void add_fill(struct rf_jsb *b, const struct spec *sp, int64_t n)
{
    static const struct rf_jstr space = {.p = " ", .len = 1, .n_chars = 1, .trusted = true};
    rf_jinja_sb_fill(b, sp->fill ? sp->fill : &space, n);
}

static rf_status add_padded(struct rf_jsb *b, const struct spec *sp, const char *head, const struct rf_jstr *body)
{
    int64_t pad = sp->width - (int64_t)strlen(head) - body->n_chars, left = 0;
    RF_TRY(rf_jinja_step(b->J, body->len + (size_t)RF_MAX(pad, 0) * 4));
    if (pad > 0 && sp->align == '>') left = pad;
    if (pad > 0 && sp->align == '^') left = pad / 2;
    add_fill(b, sp, left);
    rf_jinja_sb_add(b, head, strlen(head), body->t ? false : body->trusted);
    if (sp->align == '=') add_fill(b, sp, pad);
    rf_jinja_sb_str(b, body);
    if (sp->align != '=') add_fill(b, sp, pad - left);
    return b->bad;
}

static rf_status add_number(struct rf_jsb *b, struct rf_jv v, struct spec *sp)
{
    char head[8], body[800];
    if (sp->type == '%' && !rf_jv_is_num(v)) return rf_jinja_fail(b->J, "a number is needed");
    if (!number_parts(v, sp, head, body, sizeof body))
        return rf_jinja_fail(b->J, "Unknown format code '%c' for object of type '%s'", sp->type, rf_jinja_type(v));
    size_t n = strlen(body);
    struct rf_jstr s = {.p = body, .len = (uint32_t)n, .n_chars = (uint32_t)n, .trusted = !v.from_data};
    if (!sp->align) sp->align = '>';
    return add_padded(b, sp, head, &s);
}

/* ---- % -------------------------------------------------------------------------------------------------------- */

struct percent {
    struct rf_jinja *J;
    const struct rf_jstr *f;
    size_t at;
    struct rf_jv arg;
    size_t used;
    struct rf_jsb b;
};

static rf_status next_arg(struct percent *p, struct rf_jv *out)
{
    bool many = p->arg.kind == RF_JV_TUPLE;
    size_t n = many ? p->arg.l->n : 1;
    if (p->used >= n) return rf_jinja_fail(p->J, "not enough arguments for format string");
    *out = many ? p->arg.l->v[p->used] : p->arg;
    p->used++;
    return RF_OK;
}

static rf_status percent_int(struct percent *p, int64_t max, int64_t *out) /* digits or '*' */
{
    struct rf_jv v;
    if (p->at < p->f->len && p->f->p[p->at] == '*') {
        p->at++;
        RF_TRY(next_arg(p, &v));
        if (!rf_jv_is_int(v)) return rf_jinja_fail(p->J, "* wants int");
        *out = rf_jv_i64(v);
    } else {
        *out = 0;
        while (p->at < p->f->len && p->f->p[p->at] >= '0' && p->f->p[p->at] <= '9' && *out <= max)
            *out = 10 * *out + (p->f->p[p->at++] - '0');
    }
    if (*out > max || *out < -max) return rf_jinja_fail(p->J, "a width or precision of more than %lld", (long long)max);
    return RF_OK;
}

static rf_status percent_mapped(struct percent *p, struct rf_jv *out, bool *mapped) /* %(name)s */
{
    struct rf_jv key, *v;
    *mapped = p->at < p->f->len && p->f->p[p->at] == '(';
    if (!*mapped) return RF_OK;
    size_t from = ++p->at, open = 1;
    for (; p->at < p->f->len; p->at++) {
        open += p->f->p[p->at] == '(';
        open -= p->f->p[p->at] == ')';
        if (!open) break;
    }
    if (open) return rf_jinja_fail(p->J, "incomplete format key");
    if (p->arg.kind != RF_JV_DICT) return rf_jinja_fail(p->J, "format requires a mapping");
    RF_TRY(rf_jinja_str_slice(p->J, (struct rf_jstr *)p->f, from, p->at++, &key));
    RF_TRY(rf_jinja_dict_get(p->J, p->arg.d, key, &v));
    if (!v) return rf_jinja_fail(p->J, "the format string names a key that is not there");
    *out = *v;
    return RF_OK;
}

static rf_status percent_text(struct percent *p, struct rf_jv v, struct spec *sp)
{
    struct rf_jv s;
    if (sp->type == 's') {
        RF_TRY(rf_jinja_str(p->J, v, &s));
        if (p->f->markup) RF_TRY(rf_jinja_escape(p->J, s.s, &s));
    } else {
        struct rf_jsb b = {.J = p->J};
        RF_TRY(rf_jinja_repr(&b, v));
        RF_TRY(rf_jinja_sb_done(&b, &s));
    }
    if (sp->precision >= 0 && sp->precision < s.s->n_chars)
        RF_TRY(rf_jinja_str_slice(p->J, s.s, 0, rf_jinja_char_at(s.s, (size_t)sp->precision), &s));
    if (sp->align != '<') sp->align = '>';
    sp->fill = NULL;
    return add_padded(&p->b, sp, "", s.s);
}

static rf_status percent_number(struct percent *p, struct rf_jv v, struct spec *sp)
{
    static const struct rf_jstr zero = {.p = "0", .len = 1, .n_chars = 1, .trusted = true};
    char head[8], body[800], more[400];
    RF_TRY(rf_jinja_use(p->J, v));
    if (!rf_jv_is_num(v))
        return rf_jinja_fail(p->J, "%%%c format: a number is required, not %s", sp->type, rf_jinja_type(v));
    if (strchr("diuxXo", sp->type)) {
        if (v.kind == RF_JV_FLOAT && strchr("xXo", sp->type))
            return rf_jinja_fail(p->J, "%%%c format: an integer is required, not float", sp->type);
        if (v.kind == RF_JV_FLOAT && !(fabs(v.f) < 0x1p63)) return rf_jinja_fail(p->J, "cannot convert this float to an integer");
        bool data = v.from_data;
        v = rf_jv_int(v.kind == RF_JV_FLOAT ? (int64_t)v.f : rf_jv_i64(v));
        v.from_data = data;
        if (strchr("iu", sp->type)) sp->type = 'd';
    }
    bool left = sp->align == '<';
    number_parts(v, sp, head, body, sizeof body);
    size_t n = strlen(body);
    if (rf_jv_is_int(v) && strchr("dxXo", sp->type) && sp->precision > (int64_t)n) { /* precision: least digits */
        memset(more, '0', (size_t)sp->precision - n);
        memcpy(more + sp->precision - (int64_t)n, body, n + 1);
        strcpy(body, more);
        n = strlen(body);
    }
    struct rf_jstr s = {.p = body, .len = (uint32_t)n, .n_chars = (uint32_t)n, .trusted = !v.from_data};
    if (sp->fill) sp->fill = &zero;
    sp->align = left ? '<' : sp->fill ? '=' : '>';
    if (left) sp->fill = NULL;
    return add_padded(&p->b, sp, head, &s);
}

static rf_status percent_one(struct percent *p) /* behind the '%' */
{
    struct spec sp = {.precision = -1};
    static const struct rf_jstr zero = {.p = "0", .len = 1, .n_chars = 1, .trusted = true};
    struct rf_jv v = rf_jv_missing();
    bool mapped;
    RF_TRY(percent_mapped(p, &v, &mapped));
    for (; p->at < p->f->len && p->f->p[p->at] && strchr("-+ #0", p->f->p[p->at]); p->at++) {
        char c = p->f->p[p->at];
        if (c == '-') sp.align = '<';
        if (c == '+') sp.sign = '+';
        if (c == ' ' && !sp.sign) sp.sign = ' ';
        if (c == '#') sp.alt = true;
        if (c == '0') sp.fill = &zero;
    }
    RF_TRY(percent_int(p, MAX_WIDTH, &sp.width));
    if (sp.width < 0) {
        sp.width = -sp.width;
        sp.align = '<';
    }
    if (p->at < p->f->len && p->f->p[p->at] == '.') {
        p->at++;
        RF_TRY(percent_int(p, MAX_PRECISION, &sp.precision));
        sp.precision = RF_MAX(sp.precision, 0);
    }
    while (p->at < p->f->len && p->f->p[p->at] && strchr("hlL", p->f->p[p->at])) p->at++;
    if (p->at >= p->f->len) return rf_jinja_fail(p->J, "incomplete format");
    sp.type = p->f->p[p->at++];
    if (sp.type == '%') {
        rf_jinja_sb_slice(&p->b, p->f, p->at - 1, p->at);
        return p->b.bad;
    }
    if (!sp.type || !strchr("sradiuxXoeEfFgGc", sp.type))
        return rf_jinja_fail(p->J, "unsupported format character 0x%x", (unsigned char)sp.type);
    if (!mapped) RF_TRY(next_arg(p, &v));
    if (strchr("sra", sp.type)) return percent_text(p, v, &sp);
    if (sp.type != 'c') return percent_number(p, v, &sp);
    if (rf_jv_is_int(v)) {
        struct rf_jsb b = {.J = p->J};
        char out[4];
        int64_t cp = rf_jv_i64(v);
        if (cp < 0 || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) return rf_jinja_fail(p->J, "%%c arg not in range(0x110000)");
        rf_jinja_sb_add(&b, out, rf_utf8_encode((uint32_t)cp, out), false);
        RF_TRY(rf_jinja_sb_done(&b, &v));
    }
    if (v.kind != RF_JV_STR || v.s->n_chars != 1) return rf_jinja_fail(p->J, "%%c requires a char");
    sp.type = 's';
    return percent_text(p, v, &sp);
}

rf_status rf_jinja_percent(struct rf_jinja *J, const struct rf_jstr *fmt, struct rf_jv arg, struct rf_jv *out)
{
    struct percent p = {.J = J, .f = fmt, .arg = arg, .b = {.J = J}};
    size_t from = 0;
    bool uses_names = false;
    while (p.at < fmt->len) {
        if (fmt->p[p.at] != '%') {
            p.at++;
            continue;
        }
        rf_jinja_sb_slice(&p.b, fmt, from, p.at++);
        uses_names |= p.at < fmt->len && fmt->p[p.at] == '(';
        RF_TRY(rf_jinja_step(J, 0));
        RF_TRY(percent_one(&p));
        from = p.at;
    }
    rf_jinja_sb_slice(&p.b, fmt, from, fmt->len);
    bool left_over = arg.kind == RF_JV_TUPLE ? p.used < arg.l->n
                                             : !p.used && arg.kind != RF_JV_DICT && arg.kind != RF_JV_LIST && arg.kind != RF_JV_RANGE &&
                                                   arg.kind != RF_JV_UNDEF && !uses_names;
    if (left_over) return rf_jinja_fail(J, "not all arguments converted during string formatting");
    RF_TRY(rf_jinja_sb_done(&p.b, out));
    out->s->markup = fmt->markup;
    return RF_OK;
}

/* ---- str.format ----------------------------------------------------------------------------------------------- */

struct formatter {
    struct rf_jinja *J;
    const struct rf_jargs *args;
    int64_t auto_index; /* next {}; -1 once numbers were used */
    bool markup;
};

static rf_status format_into(struct formatter *f, const struct rf_jstr *fmt, struct rf_jsb *b, unsigned depth);

static bool all_digits(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9') return false;
    return n > 0 && n < 10;
}

static rf_status format_arg(struct formatter *f, const struct rf_jstr *name, struct rf_jv *out)
{
    struct rf_jinja *J = f->J;
    int64_t i = -1;
    if (!name->len) {
        if (f->auto_index < 0) return rf_jinja_fail(J, "cannot switch from manual field specification to automatic field numbering");
        i = f->auto_index++;
    } else if (all_digits(name->p, name->len)) {
        if (f->auto_index > 0) return rf_jinja_fail(J, "cannot switch from automatic field numbering to manual field specification");
        f->auto_index = -1;
        i = 0;
        for (size_t k = 0; k < name->len; k++) i = 10 * i + (name->p[k] - '0');
    }
    if (i >= 0) {
        if (i >= f->args->n_pos) return rf_jinja_fail(J, "Replacement index %lld out of range for positional args tuple", (long long)i);
        *out = f->args->pos[i];
        return RF_OK;
    }
    for (uint32_t k = 0; k < f->args->n_kw; k++) {
        if (!rf_jinja_str_eq(f->args->kw_name[k], name)) continue;
        *out = f->args->kw[k];
        return RF_OK;
    }
    return rf_jinja_fail(J, "format: no argument '%.*s'", (int)RF_MIN(name->len, 100u), name->p);
}

/* name.attr[item]... */
static rf_status format_field(struct formatter *f, struct rf_jstr *field, struct rf_jv *out)
{
    struct rf_jinja *J = f->J;
    struct rf_jv part;
    size_t i = 0;
    while (i < field->len && field->p[i] != '.' && field->p[i] != '[') i++;
    RF_TRY(rf_jinja_str_slice(J, field, 0, i, &part));
    RF_TRY(format_arg(f, part.s, out));
    while (i < field->len) {
        bool item = field->p[i++] == '[';
        size_t from = i;
        while (i < field->len && (item ? field->p[i] != ']' : field->p[i] != '.' && field->p[i] != '[')) i++;
        if (i == from || (item && i >= field->len)) return rf_jinja_fail(J, "Empty attribute in format string");
        RF_TRY(rf_jinja_str_slice(J, field, from, i, &part));
        i += item;
        if (item && all_digits(part.s->p, part.s->len)) {
            int64_t n = 0;
            for (size_t k = 0; k < part.s->len; k++) n = 10 * n + (part.s->p[k] - '0');
            part = rf_jv_int(n);
        }
        RF_TRY(item ? rf_jinja_item(J, *out, part, out) : rf_jinja_attr(J, *out, part.s, out));
        if (item && i < field->len && field->p[i] != '.' && field->p[i] != '[')
            return rf_jinja_fail(J, "Only '.' or '[' may follow ']' in format field specifier");
    }
    return RF_OK;
}

static bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

static rf_status parse_spec(struct rf_jinja *J, struct rf_jstr *s, struct spec *sp)
{
    size_t i = 0, first = 1;
    struct rf_jv fill;
    static const struct rf_jstr zero = {.p = "0", .len = 1, .n_chars = 1, .trusted = true};
    *sp = (struct spec){.precision = -1};
    while (first < s->len && (s->p[first] & 0xc0) == 0x80) first++;
    if (first < s->len && is_align(s->p[first])) {
        RF_TRY(rf_jinja_str_slice(J, s, 0, first, &fill));
        sp->fill = fill.s;
        sp->align = s->p[first];
        i = first + 1;
    } else if (s->len && is_align(s->p[0])) {
        sp->align = s->p[i++];
    }
    if (i < s->len && (s->p[i] == '+' || s->p[i] == '-' || s->p[i] == ' ')) {
        sp->sign = s->p[i] == '-' ? 0 : s->p[i];
        i++;
    }
    if (i < s->len && s->p[i] == '#') sp->alt = true, i++;
    if (i < s->len && s->p[i] == '0') {
        if (!sp->align) sp->align = '=', sp->fill = &zero;
        i++;
    }
    for (; i < s->len && s->p[i] >= '0' && s->p[i] <= '9' && sp->width <= MAX_WIDTH; i++) sp->width = 10 * sp->width + (s->p[i] - '0');
    if (i < s->len && (s->p[i] == ',' || s->p[i] == '_')) sp->group = s->p[i++];
    if (i < s->len && s->p[i] == '.') {
        sp->precision = 0;
        for (i++; i < s->len && s->p[i] >= '0' && s->p[i] <= '9' && sp->precision <= MAX_PRECISION; i++)
            sp->precision = 10 * sp->precision + (s->p[i] - '0');
    }
    if (i < s->len) sp->type = s->p[i++];
    if (i < s->len || sp->width > MAX_WIDTH || sp->precision > MAX_PRECISION) return rf_jinja_fail(J, "Invalid format specifier");
    return RF_OK;
}

static rf_status format_value(struct rf_jinja *J, struct rf_jv v, struct rf_jstr *spec_text, struct rf_jsb *b)
{
    struct spec sp;
    struct rf_jv s;
    RF_TRY(parse_spec(J, spec_text, &sp));
    bool plain = !spec_text->len;
    if (rf_jv_is_num(v) && !plain) return add_number(b, v, &sp);
    RF_TRY(rf_jinja_str(J, v, &s));
    if (!plain && v.kind != RF_JV_STR && !rf_jv_is_num(v))
        return rf_jinja_fail(J, "unsupported format string passed to %s.__format__", rf_jinja_type(v));
    if (sp.type && sp.type != 's')
        return rf_jinja_fail(J, "Unknown format code '%c' for object of type '%s'", sp.type, rf_jinja_type(v));
    if (sp.align == '=' && !sp.fill) return rf_jinja_fail(J, "'=' alignment not allowed in string format specifier");
    if (sp.align == '=') sp.align = '<';
    if (sp.precision >= 0 && sp.precision < s.s->n_chars)
        RF_TRY(rf_jinja_str_slice(J, s.s, 0, rf_jinja_char_at(s.s, (size_t)sp.precision), &s));
    return add_padded(b, &sp, "", s.s);
}

/* One {field!conversion:spec} whose text is fmt[from, to). */
static rf_status format_one(struct formatter *f, const struct rf_jstr *fmt, size_t from, size_t to, struct rf_jsb *b, unsigned depth)
{
    struct rf_jinja *J = f->J;
    struct rf_jsb sb = {.J = J};
    struct rf_jv field, spec, v;
    size_t end = from;
    char conversion = 0;
    for (bool in_item = false; end < to && (in_item || (fmt->p[end] != '!' && fmt->p[end] != ':')); end++) {
        if (fmt->p[end] == '[') in_item = true;
        if (fmt->p[end] == ']') in_item = false;
    }
    RF_TRY(rf_jinja_str_slice(J, (struct rf_jstr *)fmt, from, end, &field));
    if (end < to && fmt->p[end] == '!') {
        conversion = end + 1 < to ? fmt->p[end + 1] : 0;
        end += 2;
        if (end > to || (end < to && fmt->p[end] != ':')) return rf_jinja_fail(J, "expected ':' after conversion specifier");
    }
    RF_TRY(format_field(f, field.s, &v));
    RF_TRY(rf_jinja_str_slice(J, (struct rf_jstr *)fmt, end < to ? end + 1 : to, to, &spec));
    RF_TRY(format_into(f, spec.s, &sb, depth + 1));
    RF_TRY(rf_jinja_sb_done(&sb, &spec));
    if (conversion == 's') {
        RF_TRY(rf_jinja_str(J, v, &v));
    } else if (conversion == 'r' || conversion == 'a') {
        sb = (struct rf_jsb){.J = J};
        RF_TRY(rf_jinja_repr(&sb, v));
        RF_TRY(rf_jinja_sb_done(&sb, &v));
    } else if (conversion) {
        return rf_jinja_fail(J, "Unknown conversion specifier '%c'", conversion);
    }
    if (!f->markup) return format_value(J, v, spec.s, b);
    /* Markup's format escapes each field; what is Markup itself it takes as it is, without a specification */
    const bool as_it_is = !conversion && v.kind == RF_JV_STR && v.s->markup;
    if (as_it_is && spec.s->len) return rf_jinja_fail(J, "Unsupported format specification for Markup.");
    if (as_it_is) return format_value(J, v, spec.s, b);
    sb = (struct rf_jsb){.J = J};
    RF_TRY(format_value(J, v, spec.s, &sb));
    RF_TRY(rf_jinja_sb_done(&sb, &v));
    RF_TRY(rf_jinja_escape(J, v.s, &v));
    rf_jinja_sb_slice(b, v.s, 0, v.s->len);
    return b->bad;
}

static rf_status format_into(struct formatter *f, const struct rf_jstr *fmt, struct rf_jsb *b, unsigned depth)
{
    if (depth > 2) return rf_jinja_fail(f->J, "Max string recursion exceeded");
    RF_TRY(rf_jinja_step(f->J, fmt->len));
    for (size_t i = 0; i < fmt->len;) {
        char c = fmt->p[i];
        bool twice = i + 1 < fmt->len && fmt->p[i + 1] == c;
        if (c != '{' && c != '}') {
            size_t from = i;
            while (i < fmt->len && fmt->p[i] != '{' && fmt->p[i] != '}') i++;
            rf_jinja_sb_slice(b, fmt, from, i);
            continue;
        }
        if (twice && (depth == 0 || c == '}')) {
            rf_jinja_sb_slice(b, fmt, i, i + 1);
            i += 2;
            continue;
        }
        if (c == '}') return rf_jinja_fail(f->J, "Single '}' encountered in format string");
        size_t open = 1, end = i + 1;
        for (; end < fmt->len; end++) {
            open += fmt->p[end] == '{';
            open -= fmt->p[end] == '}';
            if (!open) break;
        }
        if (open) return rf_jinja_fail(f->J, "expected '}' before end of string");
        RF_TRY(format_one(f, fmt, i + 1, end, b, depth));
        i = end + 1;
    }
    return b->bad;
}

rf_status rf_jinja_format(struct rf_jinja *J, const struct rf_jstr *fmt, const struct rf_jargs *args, struct rf_jv *out)
{
    struct formatter f = {.J = J, .args = args, .markup = fmt->markup};
    struct rf_jsb b = {.J = J};
    RF_TRY(format_into(&f, fmt, &b, 0));
    RF_TRY(rf_jinja_sb_done(&b, out));
    out->s->markup = fmt->markup;
    return RF_OK;
}
