/* Attributes and methods of numbers, as Python's int, bool and float have them. */
#include "text/jinja_run.h"

#include <math.h>
#include <stdio.h>

static struct rf_jv as_int(struct rf_jv v, int64_t i) { return (struct rf_jv){.kind = RF_JV_INT, .from_data = v.from_data, .i = i}; }

bool rf_jinja_number_attr(struct rf_jv of, const struct rf_jstr *name, struct rf_jv *out)
{
    bool whole = rf_jv_is_int(of) || of.kind == RF_JV_BIGINT;
    if (!whole && of.kind != RF_JV_FLOAT) return false;
    if (rf_jinja_str_is(name, "real") || (whole && rf_jinja_str_is(name, "numerator"))) {
        *out = of.kind == RF_JV_BOOL ? as_int(of, of.b) : of;
        return true;
    }
    if (rf_jinja_str_is(name, "imag")) {
        *out = whole ? as_int(of, 0) : (struct rf_jv){.kind = RF_JV_FLOAT, .from_data = of.from_data, .f = 0};
        return true;
    }
    if (!whole || !rf_jinja_str_is(name, "denominator")) return false;
    *out = as_int(of, 1);
    return true;
}

#define METHOD(name) rf_status name(struct rf_jinja *J, struct rf_jv self, struct rf_jv *a, struct rf_jv *out)

static uint64_t magnitude(struct rf_jv v)
{
    int64_t i = rf_jv_i64(v);
    return i < 0 ? -(uint64_t)i : (uint64_t)i;
}

METHOD(rf_jinja_bit_length)
{
    (void)J, (void)a;
    uint64_t u = magnitude(self);
    *out = as_int(self, u ? 64 - __builtin_clzll(u) : 0);
    return RF_OK;
}

METHOD(rf_jinja_bit_count)
{
    (void)J, (void)a;
    *out = as_int(self, __builtin_popcountll(magnitude(self)));
    return RF_OK;
}

METHOD(rf_jinja_conjugate)
{
    (void)J, (void)a;
    *out = self.kind == RF_JV_BOOL ? as_int(self, self.b) : self;
    return RF_OK;
}

METHOD(rf_jinja_is_integer)
{
    (void)J, (void)a;
    *out = rf_jv_bool(isfinite(self.f) && floor(self.f) == self.f);
    return RF_OK;
}

METHOD(rf_jinja_ratio)
{
    struct rf_jv one = as_int(self, 1);
    (void)a;
    if (self.kind != RF_JV_FLOAT) return rf_jinja_pair(J, as_int(self, rf_jv_i64(self)), one, out);
    int e;
    double m = frexp(self.f, &e);
    if (!isfinite(self.f)) return rf_jinja_fail(J, "cannot convert %s to integer ratio", isnan(self.f) ? "NaN" : "Infinity");
    for (int i = 0; i < 300 && floor(m) != m; i++) m *= 2, e--;
    if (self.f == 0) e = 0; /* and the zero has lost its sign, as an integer has none */
    if (e > 62 || e < -62 || fabs(m) > ldexp(1, 62 - RF_MAX(e, 0)))
        return rf_jinja_fail(J, "as_integer_ratio: beyond 64 bits, which integers here do not go");
    return rf_jinja_pair(J, as_int(self, (int64_t)ldexp(m, RF_MAX(e, 0))), as_int(self, (int64_t)1 << RF_MAX(-e, 0)), out);
}

METHOD(rf_jinja_hex)
{
    char text[40];
    (void)a;
    if (!isfinite(self.f)) snprintf(text, sizeof text, "%s%s", signbit(self.f) && !isnan(self.f) ? "-" : "", isnan(self.f) ? "nan" : "inf");
    else if (self.f == 0) snprintf(text, sizeof text, "%s0x0.0p+0", signbit(self.f) ? "-" : "");
    else snprintf(text, sizeof text, "%.13a", self.f);
    return rf_jinja_str_from(J, text, strlen(text), !self.from_data, out);
}
