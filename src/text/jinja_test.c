/* Tests: what stands behind "is". */
#include "text/jinja_run.h"

#define TEST(name) static rf_status name(struct rf_jinja *J, struct rf_jv v, struct rf_jv *a, struct rf_jv *out)
#define KIND_TEST(name, cond) \
    TEST(name) { (void)J, (void)a; *out = rf_jv_bool(cond); return RF_OK; }

static bool is_sequence(struct rf_jv v)
{
    size_t n;
    return v.kind != RF_JV_VIEW && rf_jinja_len(v, &n);
}

static bool is_callable(struct rf_jv v)
{
    return v.kind == RF_JV_UNDEF || v.kind == RF_JV_LOOP || v.kind == RF_JV_MACRO || v.kind == RF_JV_GLOBAL ||
           v.kind == RF_JV_METHOD || v.kind == RF_JV_JOINER || (v.kind == RF_JV_SELF && v.part);
}

KIND_TEST(t_boolean, v.kind == RF_JV_BOOL)
KIND_TEST(t_callable, is_callable(v))
KIND_TEST(t_defined, v.kind != RF_JV_UNDEF)
KIND_TEST(t_undefined, v.kind == RF_JV_UNDEF)
KIND_TEST(t_escaped, v.kind == RF_JV_STR && v.s->markup)
KIND_TEST(t_false, v.kind == RF_JV_BOOL && !v.b)
KIND_TEST(t_true, v.kind == RF_JV_BOOL && v.b)
KIND_TEST(t_float, v.kind == RF_JV_FLOAT)
KIND_TEST(t_integer, v.kind == RF_JV_INT || v.kind == RF_JV_BIGINT)
KIND_TEST(t_number, rf_jv_is_num(v) || v.kind == RF_JV_BIGINT)
KIND_TEST(t_iterable, rf_jinja_iterable(v))
KIND_TEST(t_mapping, v.kind == RF_JV_DICT)
KIND_TEST(t_none, v.kind == RF_JV_NONE)
KIND_TEST(t_sequence, is_sequence(v))
KIND_TEST(t_string, v.kind == RF_JV_STR)
KIND_TEST(t_filter, v.kind == RF_JV_STR && rf_jinja_has_filter(v.s))
KIND_TEST(t_test, v.kind == RF_JV_STR && rf_jinja_has_test(v.s))

static rf_status mod_is(struct rf_jinja *J, struct rf_jv v, struct rf_jv by, int64_t want, struct rf_jv *out)
{
    struct rf_jv r;
    bool same;
    RF_TRY(rf_jinja_arith(J, RF_JT_MOD, v, by, &r));
    RF_TRY(rf_jinja_eq(J, r, rf_jv_int(want), &same));
    *out = rf_jv_bool(same);
    return RF_OK;
}
TEST(t_odd) { (void)a; return mod_is(J, v, rf_jv_int(2), 1, out); }
TEST(t_even) { (void)a; return mod_is(J, v, rf_jv_int(2), 0, out); }
TEST(t_divisibleby) { return mod_is(J, v, a[0], 0, out); }

static rf_status cased(struct rf_jinja *J, struct rf_jv v, bool (*test)(const struct rf_jstr *), struct rf_jv *out)
{
    struct rf_jv s;
    RF_TRY(rf_jinja_str(J, v, &s));
    RF_TRY(rf_jinja_step(J, 4 * (size_t)s.s->len));
    *out = rf_jv_bool(test(s.s));
    return RF_OK;
}
TEST(t_lower) { (void)a; return cased(J, v, rf_jinja_islower, out); }
TEST(t_upper) { (void)a; return cased(J, v, rf_jinja_isupper, out); }

TEST(t_sameas)
{
    bool same = v.kind == a[0].kind;
    if (same && (v.kind == RF_JV_BOOL || v.kind == RF_JV_INT || v.kind == RF_JV_STR)) RF_TRY(rf_jinja_eq(J, v, a[0], &same));
    else if (same && v.kind == RF_JV_FLOAT) same = false;
    else if (same && v.kind != RF_JV_NONE) same = v.s == a[0].s;
    *out = rf_jv_bool(same);
    return RF_OK;
}

static rf_status compare(struct rf_jinja *J, enum rf_jtok_kind op, struct rf_jv v, struct rf_jv other, struct rf_jv *out)
{
    bool yes;
    RF_TRY(rf_jinja_compare(J, op, v, other, &yes));
    *out = rf_jv_bool(yes);
    return RF_OK;
}
TEST(t_eq) { return compare(J, RF_JT_EQ, v, a[0], out); }
TEST(t_ne) { return compare(J, RF_JT_NE, v, a[0], out); }
TEST(t_gt) { return compare(J, RF_JT_GT, v, a[0], out); }
TEST(t_ge) { return compare(J, RF_JT_GTEQ, v, a[0], out); }
TEST(t_lt) { return compare(J, RF_JT_LT, v, a[0], out); }
TEST(t_le) { return compare(J, RF_JT_LTEQ, v, a[0], out); }
TEST(t_in) { return compare(J, RF_JT_IN, v, a[0], out); }

static const struct rf_jbuiltin tests[] = {
    {"boolean", t_boolean, NULL, "", 0}, {"callable", t_callable, NULL, "", 0}, {"defined", t_defined, NULL, "", 0},
    {"divisibleby", t_divisibleby, NULL, "num", 1}, {"escaped", t_escaped, NULL, "", 0}, {"even", t_even, NULL, "", 0},
    {"false", t_false, NULL, "", 0}, {"filter", t_filter, NULL, "", 0}, {"float", t_float, NULL, "", 0},
    {"in", t_in, NULL, "seq", 1}, {"integer", t_integer, NULL, "", 0}, {"iterable", t_iterable, NULL, "", 0},
    {"lower", t_lower, NULL, "", 0}, {"mapping", t_mapping, NULL, "", 0}, {"none", t_none, NULL, "", 0},
    {"number", t_number, NULL, "", 0}, {"odd", t_odd, NULL, "", 0}, {"sameas", t_sameas, NULL, "other", 1},
    {"sequence", t_sequence, NULL, "", 0}, {"string", t_string, NULL, "", 0}, {"test", t_test, NULL, "", 0},
    {"true", t_true, NULL, "", 0}, {"undefined", t_undefined, NULL, "", 0}, {"upper", t_upper, NULL, "", 0},
    {"==", t_eq, NULL, "other", 1}, {"eq", t_eq, NULL, "other", 1}, {"equalto", t_eq, NULL, "other", 1},
    {"!=", t_ne, NULL, "other", 1}, {"ne", t_ne, NULL, "other", 1}, {">", t_gt, NULL, "other", 1},
    {"gt", t_gt, NULL, "other", 1}, {"greaterthan", t_gt, NULL, "other", 1}, {">=", t_ge, NULL, "other", 1},
    {"ge", t_ge, NULL, "other", 1}, {"<", t_lt, NULL, "other", 1}, {"lt", t_lt, NULL, "other", 1},
    {"lessthan", t_lt, NULL, "other", 1}, {"<=", t_le, NULL, "other", 1}, {"le", t_le, NULL, "other", 1}};

rf_status rf_jinja_test(struct rf_jinja *J, const struct rf_jstr *name, struct rf_jv in, const struct rf_jargs *args, bool *out)
{
    struct rf_jv v;
    const struct rf_jbuiltin *b = rf_jinja_builtin(tests, RF_COUNT(tests), name->p, name->len);
    if (!b) return rf_jinja_fail(J, "No test named '%.*s'.", (int)RF_MIN(name->len, 100u), name->p);
    RF_TRY(rf_jinja_builtin_call(J, b, in, args, &v));
    *out = rf_jinja_truth(v);
    return RF_OK;
}

bool rf_jinja_has_test(const struct rf_jstr *name) { return rf_jinja_builtin(tests, RF_COUNT(tests), name->p, name->len) != NULL; }
