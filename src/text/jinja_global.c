/* Functions that every template finds: Jinja's own and those that Hugging Face adds. */
#include "text/jinja_run.h"

#include <time.h>

enum { MAX_RANGE = 100000 }; /* as Jinja's sandbox */

static rf_status fn_range(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    int64_t v[3] = {0, 0, 1};
    struct rf_jrange *r;
    (void)self;
    if (!args->n_pos || args->n_pos > 3 || args->n_kw) return rf_jinja_fail(J, "range expected 1 to 3 arguments, got %u", args->n_pos);
    for (uint32_t i = 0; i < args->n_pos; i++) RF_TRY(rf_jinja_to_int(J, args->pos[i], &v[i]));
    if (args->n_pos == 1) {
        v[1] = v[0];
        v[0] = 0;
    }
    if (!v[2]) return rf_jinja_fail(J, "range() arg 3 must not be zero");
    __int128 span = v[2] > 0 ? (__int128)v[1] - v[0] : (__int128)v[0] - v[1];
    __int128 step = v[2] > 0 ? (__int128)v[2] : -(__int128)v[2];
    __int128 n = span > 0 ? (span + step - 1) / step : 0;
    if (n > MAX_RANGE)
        return rf_jinja_fail(J, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", MAX_RANGE);
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *r, &r));
    *r = (struct rf_jrange){v[0], v[1], v[2], (int64_t)n};
    *out = (struct rf_jv){.kind = RF_JV_RANGE, .r = r};
    return RF_OK;
}

/* dict(mapping or pairs, key=value ...) into d */
static rf_status fill(struct rf_jinja *J, struct rf_jdict *d, const struct rf_jargs *args)
{
    struct rf_jiter it;
    struct rf_jv v, pair, of = args->n_pos ? args->pos[0] : rf_jv_missing();
    bool more;
    if (args->n_pos > 1) return rf_jinja_fail(J, "dict expected at most 1 argument, got %u", args->n_pos);
    if (of.kind == RF_JV_DICT) {
        for (uint32_t i = 0; i < of.d->n; i++) RF_TRY(rf_jinja_dict_set(J, d, of.d->e[i].key, of.d->e[i].value));
    } else if (args->n_pos) {
        RF_TRY(rf_jinja_iter(J, of, &it));
        for (;;) {
            RF_TRY(rf_jinja_next(J, &it, &v, &more));
            if (!more) break;
            RF_TRY(rf_jinja_collect(J, v, &pair));
            if (pair.l->n != 2) return rf_jinja_fail(J, "dictionary update sequence element has length %zu; 2 is required", pair.l->n);
            RF_TRY(rf_jinja_dict_set(J, d, pair.l->v[0], pair.l->v[1]));
        }
    }
    for (uint32_t i = 0; i < args->n_kw; i++)
        RF_TRY(rf_jinja_dict_set(J, d, rf_jv_str((struct rf_jstr *)args->kw_name[i]), args->kw[i]));
    return RF_OK;
}

static rf_status fn_dict(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    (void)self;
    RF_TRY(rf_jinja_dict(J, out));
    return fill(J, out->d, args);
}

static rf_status fn_namespace(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    RF_TRY(fn_dict(J, self, args, out));
    out->kind = RF_JV_NAMESPACE;
    return RF_OK;
}

static rf_status fn_raise(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    struct rf_jv a[1], text;
    (void)self, (void)out;
    RF_TRY(rf_jinja_bind(J, "raise_exception", args, "message", 1, a));
    RF_TRY(rf_jinja_str(J, a[0], &text));
    return rf_jinja_fail(J, "%.*s", (int)RF_MIN(text.s->len, 380u), text.s->p);
}

static rf_status fn_strftime(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    struct rf_jv a[1];
    struct tm tm;
    char fmt[128], text[256];
    time_t t = (time_t)J->now;
    size_t n = 0;
    (void)self;
    RF_TRY(rf_jinja_bind(J, "strftime_now", args, "format", 1, a));
    RF_TRY(rf_jinja_use(J, a[0]));
    if (a[0].kind != RF_JV_STR) return rf_jinja_fail(J, "strftime_now: the format must be str, not %s", rf_jinja_type(a[0]));
    const struct rf_jstr *f = a[0].s;
    for (size_t i = 0; i < f->len; i++) { /* Python gives nothing for %z and %Z of a time without zone */
        bool percent = f->p[i] == '%' && i + 1 < f->len;
        if (n + 8 > sizeof fmt || !f->p[i]) return rf_jinja_fail(J, "strftime_now: the format is too long or not text");
        if (percent && (f->p[i + 1] == 'z' || f->p[i + 1] == 'Z')) {
            i++;
        } else if (percent && f->p[i + 1] == 'f') {
            memcpy(fmt + n, "000000", 6);
            n += 6;
            i++;
        } else {
            fmt[n++] = f->p[i];
            if (percent) fmt[n++] = f->p[++i];
        }
    }
    fmt[n] = 0;
    if (!gmtime_r(&t, &tm)) return rf_jinja_fail(J, "strftime_now: the time is out of range");
    n = n ? strftime(text, sizeof text, fmt, &tm) : 0;
    return rf_jinja_str_from(J, text, n, true, out);
}

static rf_status make_cycler(struct rf_jinja *J, enum rf_jv_kind kind, const struct rf_jv *v, size_t n, struct rf_jv *out)
{
    struct rf_jcycler *c;
    RF_TRY(rf_jinja_alloc(J, 1, sizeof *c, &c));
    RF_TRY(rf_jinja_alloc(J, n, sizeof *c->v, &c->v));
    memcpy(c->v, v, n * sizeof *v);
    c->n = n;
    *out = (struct rf_jv){.kind = (uint8_t)kind, .cycler = c};
    return RF_OK;
}

static rf_status fn_cycler(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    (void)self;
    if (!args->n_pos || args->n_kw) return rf_jinja_fail(J, "at least one item has to be provided");
    return make_cycler(J, RF_JV_CYCLER, args->pos, args->n_pos, out);
}

static rf_status fn_joiner(struct rf_jinja *J, struct rf_jv self, const struct rf_jargs *args, struct rf_jv *out)
{
    struct rf_jv a[1];
    (void)self;
    RF_TRY(rf_jinja_bind(J, "joiner", args, "sep", 0, a));
    if (a[0].kind == RF_JV_MISSING) RF_TRY(rf_jinja_str_from(J, ", ", 2, true, a));
    return make_cycler(J, RF_JV_JOINER, a, 1, out);
}

rf_status rf_jinja_stateful_call(struct rf_jinja *J, struct rf_jv of, struct rf_jv *out)
{
    if (!of.cycler->at) { /* a joiner gives nothing the first time */
        of.cycler->at = 1;
        return rf_jinja_str_from(J, "", 0, true, out);
    }
    *out = of.cycler->v[0];
    return RF_OK;
}

const struct rf_jglobal *rf_jinja_global(const struct rf_jstr *name)
{
    static const struct rf_jglobal globals[] = {
        {"range", fn_range}, {"dict", fn_dict}, {"namespace", fn_namespace}, {"raise_exception", fn_raise},
        {"strftime_now", fn_strftime}, {"cycler", fn_cycler}, {"joiner", fn_joiner}};
    for (size_t i = 0; i < RF_COUNT(globals); i++)
        if (rf_jinja_str_is(name, globals[i].name)) return &globals[i];
    return NULL;
}
