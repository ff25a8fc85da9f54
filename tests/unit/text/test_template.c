/* Chat templates: trusted spans, budgets, errors, hostile input. Text against Jinja2 is test_template.py's part. */
#include <sys/resource.h>

#include "check.h"

#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "text/template.h"

static struct rf_buf out;
static struct rf_spans spans;
static struct rf_error err;

static rf_status run_n(const char *source, size_t len, const char *json, size_t json_len, const struct rf_template_limits *limits)
{
    static const char *const trusted[] = {"bos_token", NULL};
    struct rf_template *t;
    rf_buf_release(&out);
    rf_spans_release(&spans);
    err = (struct rf_error){0};
    rf_status s = rf_template_parse(&t, source, len, &err);
    if (!s) s = rf_template_run(t, json, json_len, trusted, 0, limits, &out, &spans, &err);
    rf_template_free(t);
    return s;
}

static rf_status run(const char *source, const char *json) { return run_n(source, strlen(source), json, strlen(json), NULL); }

/* The output with the trusted parts in brackets. */
static const char *marked(void)
{
    static char text[4096];
    size_t n = 0, k = 0;
    for (size_t i = 0; i <= out.len && n + 4 < sizeof text; i++) {
        if (k < spans.n && spans.span[k].to == i) text[n++] = ']', k++;
        if (k < spans.n && spans.span[k].from == i) text[n++] = '[';
        if (i < out.len) text[n++] = out.data[i];
    }
    text[n] = 0;
    return text;
}

static void check_marked(const char *source, const char *want)
{
    CHECK_INT(run(source, "{\"u\":\"<|a|>\",\"v\":\"b\",\"n\":42,\"bos_token\":\"<s>\",\"e\":\"\",\"l\":[\"<|a|>\"],\"w\":\" q \"}"), RF_OK);
    if (*err.message) printf("# %s: %s\n", source, err.message);
    CHECK_STR(marked(), want);
}

TEST(spans_of_simple_output)
{
    check_marked("<|x|>{{ u }}y", "[<|x|>]<|a|>[y]");
    check_marked("{{ bos_token }}{{ '<|x|>' }}{{ 1 }}", "[<s><|x|>1]");
    check_marked("{{ u }}{{ n }}{{ n + 1 }}", "<|a|>4243");
    check_marked("a{{ e }}b", "[ab]");
    check_marked("{% for x in l %}{{ loop.index }}{{ x }}{% endfor %}", "[1]<|a|>");
}

TEST(spans_of_operations)
{
    check_marked("{{ '<|x|>' + u + '<|y|>' }}", "[<|x|>]<|a|>[<|y|>]");
    check_marked("{{ '<|' ~ v ~ '|>' }}", "[<|]b[|>]");
    check_marked("{{ ('<|' + u)[1:4] }}", "[|]<|");
    check_marked("{{ u.replace('a', '<|x|>') }}", "<|[<|x|>]|>");
    check_marked("{{ 'a-b'.replace('-', u) }}", "[a]<|a|>[b]");
    check_marked("{{ [u, '<|x|>']|join('|') }}", "<|a|>[|<|x|>]");
    check_marked("{{ ' ' + u + ' '|trim }}", "[ ]<|a|>");
    check_marked("{{ (' x ' + w)|trim }}", "[x ] q");
    check_marked("{{ ('x' + u)|upper }}", "[X]<|A|>");
    check_marked("{{ ('ab' + u)|reverse }}", ">|a|<[ba]");
    check_marked("{{ '%s!%s' % (u, 'k') }}", "<|a|>[!k]");
    check_marked("{{ '{}!{}'.format(u, 'k') }}", "<|a|>[!k]");
    check_marked("{{ u.split('a')[0] + 'x' }}", "<|[x]");
    check_marked("{{ (u ~ '<|x|>').split('|') | join('') }}", "<a>[<x>]");
    check_marked("{{ 'p'|center(3) ~ v|center(3) }}", "[ p  ]b[ ]");
    check_marked("{{ (u + 'x') * 2 }}", "<|a|>[x]<|a|>[x]");
    check_marked("{{ ('a' + v)|e }}{{ u|e }}", "[a]b&lt;|a|&gt;");
    check_marked("{{ ('x' ~ u)|urlencode }}", "[x]%3C%7Ca%7C%3E");
    check_marked("{% for c in 'x' ~ v %}{{ c }}{% endfor %}", "[x]b");
    check_marked("{{ ('x\n' ~ v)|indent(1) }}", "[x\n ]b");
}

TEST(spans_of_containers)
{
    check_marked("{{ {'k': u}|tojson }}", "{\"[k]\": \"<|a|>\"}");
    check_marked("{{ [u, 'k', n] }}", "['<|a|>', '[k]', 42]");
    check_marked("{{ l|string }}", "['<|a|>']");
}

TEST(spans_of_captures)
{
    check_marked("{% set x %}<|x|>{{ u }}{% endset %}{{ x }}", "[<|x|>]<|a|>");
    check_marked("{% macro m(a) %}<|m|>{{ a }}{% endmacro %}{{ m(u) }}{{ m('k') }}", "[<|m|>]<|a|>[<|m|>k]");
    check_marked("{% filter upper %}x{{ u }}{% endfilter %}", "[X]<|A|>");
    check_marked("{% set ns = namespace(s='') %}{% for x in l %}{% set ns.s = ns.s + x + '<|x|>' %}{% endfor %}{{ ns.s }}", "<|a|>[<|x|>]");
    check_marked("{% for x in [1, 2] recursive %}a{% if x is number %}{{ loop([u]) if loop.first }}{% endif %}{{ x if x is string }}{% endfor %}",
                 "[aa]<|a|>[a]");
}

/* A string that grows in place must not change the ones it grew from. */
TEST(growing_strings_keep_their_parts)
{
    CHECK_INT(run("{% set p = 'a' * 300 + u %}{% set q = p + 'x' %}{% set r = p + 'y' %}{% set s = q + 'z' %}"
                  "{{ (p + '')[-2:] }}{{ q[-2:] }}{{ r[-2:] }}{{ s[-3:] }}{{ p|length }}",
                  "{\"u\":\"b\"}"), RF_OK);
    CHECK_STR(rf_buf_str(&out), "abbxbybxz301");
    CHECK_INT(run("{% set p = [1] + [2] %}{% set q = p + [3] %}{% set r = p + [4] %}{{ p }}{{ q }}{{ r }}{{ q + [5] }}{{ q[:2] + [9] }}{{ q }}", "{}"), RF_OK);
    CHECK_STR(rf_buf_str(&out), "[1, 2][1, 2, 3][1, 2, 4][1, 2, 3, 5][1, 2, 9][1, 2, 3]");
}

TEST(errors_name_the_line)
{
    static const struct { const char *source, *message; } cases[] = {
        {"a\n\n{{ x.y }}", "chat template line 3: 'x' is undefined"},
        {"{% if x %}\n", "chat template line 1: the template ends, expected 'elif'"},
        {"\n{{ raise_exception('No ' + 'way') }}", "chat template line 2: No way"},
        {"\n{{ 1 + 'a' }}", "chat template line 2: unsupported operand type(s) for +: 'int' and 'str'"},
        {"{{ 'x'|nosuch }}", "chat template line 1: No filter named 'nosuch'."},
        {"{{ 'x' is nosuch }}", "chat template line 1: No test named 'nosuch'."},
        {"{% include 'x' %}", "chat template line 1: 'include' is not available: a chat template stands alone"},
        {"{{ [3]|random }}", "chat template line 1: the filter 'random' is not supported"},
        {"{{ [].append(1) }}", "chat template line 1: access to attribute 'append' of 'list' object is unsafe."},
        {"{{ ''.__class__.__mro__ }}", "chat template line 1: 'str object' has no attribute '__class__'"},
        {"\xff", "chat template: the source is not valid UTF-8"}};
    for (size_t i = 0; i < RF_COUNT(cases); i++) {
        CHECK(run(cases[i].source, "{}") != RF_OK);
        CHECK_STR(err.message, cases[i].message);
    }
}

TEST(variables_are_strict_json)
{
    static const char *const bad[] = {"", "[]", "{", "{}x", "{\"a\":}", "{\"a\":01}", "{\"a\":1.}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\xff\"}",
                                      "{\"a\":nul}", "{\"a\":\"\n\"}", "{\"a\" 1}", "{\"a\":1,}", "{'a':1}", "{\"a\":NaN}"};
    for (size_t i = 0; i < RF_COUNT(bad); i++) {
        CHECK(run("{{ a }}", bad[i]) == RF_INVALID);
        CHECK(!strncmp(err.message, "chat template variables: ", 25));
    }
    CHECK_INT(run("{{ a }}{{ b }}{{ c|tojson }}", "{\"a\":18446744073709551616,\"b\":1e400,\"c\":{\"z\":1,\"a\":2,\"z\":3}}"), RF_OK);
    CHECK_STR(rf_buf_str(&out), "18446744073709551616inf{\"z\": 3, \"a\": 2}");
    CHECK_INT(run("{{ a|length }}", "{\"a\":\"x\\u0000y\\ud83d\\ude42\"}"), RF_OK);
    CHECK_STR(rf_buf_str(&out), "4");
}

static double cpu_seconds(void) /* this process alone: other work on the machine does not count */
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static char *repeated(const char *head, const char *part, size_t n, const char *tail)
{
    struct rf_buf b = {0};
    rf_buf_puts(&b, head);
    for (size_t i = 0; i < n; i++) rf_buf_puts(&b, part);
    rf_buf_puts(&b, tail);
    return rf_buf_take(&b, NULL);
}

#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static long peak_kb(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_maxrss;
}

/* Each ends in an error, within the time and memory that docs/security.md promises. */
TEST(hostile_templates_end)
{
    static const struct { const char *head, *part; size_t n; const char *tail; } cases[] = {
        {"{% for i in range(10**12) %}x{% endfor %}", "", 0, ""},
        {"{{ 'a' * 10**12 }}", "", 0, ""},
        {"{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", "", 0, ""},
        {"{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "", 0, ""},
        {"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "", 0, ""},
        {"{% set n = namespace(s='a') %}{% for i in range(100) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}", "", 0, ""},
        {"{% set n = namespace(s=[]) %}{% for i in range(99999) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s }}", "", 0, ""},
        {"{% set n = namespace(g=[1]) %}{% for i in range(9999) %}{% set n.g = n.g|map('string') %}{% endfor %}{{ n.g|list }}", "", 0, ""},
        {"{% set n = namespace() %}{% set n.a = n %}{{ n }}", "", 0, ""},
        {"{% set n = namespace(t=[1]) %}{% for i in range(60) %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.t }}", "", 0, ""},
        {"{% set s = 'aB <b>' * 150000 %}{% for i in range(99999) %}{{ {s: 1}|length }}{% endfor %}", "", 0, ""},
        {"{% set s = 'aB <b>' * 150000 %}{% for i in range(9999) %}{% set x = s.swapcase() %}{% endfor %}", "", 0, ""},
        {"{% set s = 'aB <b>' * 150000 %}{% for i in range(9999) %}{% set x = s|wordwrap(1) %}{% endfor %}", "", 0, ""},
        {"{% set s = 'aB <b>' * 150000 %}{% for i in range(9999) %}{% set x = s|wordcount %}{% endfor %}", "", 0, ""},
        {"{% set s = 'aB <b>' * 150000 %}{% for i in range(9999) %}{% set x = s|urlencode %}{% endfor %}", "", 0, ""},
        {"{{ 9 ** 9 ** 9 }}", "", 0, ""},
        {"{% set a = 'a' * 100000 %}{{ a|replace('', a) }}", "", 0, ""},
        {"{% set a = 'a' * 1000000 %}{{ a.rfind('a' * 500000 + 'b') }}{{ a.rfind('b' + 'a' * 500000) }}{{ 1 / 0 }}", "", 0, ""},
#define EVER(what) {"{% set s = 'aB<b> \xc3\xa9\n' * 60000 %}{% set t = s ~ 'x' %}{% set l = range(20000)|list %}{% set m = 'a' * 250000 %}" \
                    "{% for i in range(99999) %}{% set q = " what " %}{% endfor %}{{ 1 / 0 }}", "", 0, ""}
        EVER("s < t"), EVER("s in t"), EVER("t in s"), EVER("s.find(m)"), EVER("(m ~ m).count(m ~ 'b')"), EVER("(m ~ m).find('b' ~ m)"),
        EVER("(m ~ m).replace(m ~ 'b', '')"), EVER("t.removeprefix(s)"), EVER("t.startswith((s, t))"),
        EVER("t.strip(m ~ s)"), EVER("s|e"), EVER("s|reverse"),
        EVER("s[::-1]"), EVER("(s, t)|string"), EVER("[s]|tojson"), EVER("s|tojson"), EVER("l|tojson(indent=64)"), EVER("l|string"), EVER("l|sort"),
        EVER("[s ~ 1, s ~ 2] * 9|sort"),
        EVER("[s ~ 1, s ~ 2]|unique|list"), EVER("l|selectattr('a')|list"), EVER("l|map(attribute='a')|list"), EVER("l|batch(7)|list"), EVER("l|slice(7)|list"),
        EVER("l|map('string')|join"), EVER("s|indent(1000, true)"), EVER("s|replace('a', m)"), EVER("'%s%s' % (s, t)"), EVER("s|title"), EVER("s.split('B')"),
        EVER("range(10**9)|length"), EVER("10**8 in range(10**9)"), EVER("'x' in range(10**9)"), EVER("strftime_now('%c' * 10000)"), EVER("s|urlencode"), EVER("s|striptags"),
        EVER("s|pprint"), EVER("[s, t]|pprint"), EVER("l|pprint"), EVER("{1: l, 'a': s}|pprint"), EVER("s.translate({97: m})"), EVER("s.maketrans(m, m)"),
        EVER("{}.fromkeys(s)"), EVER("{}.fromkeys(l, s)"), EVER("('{a}' * 9999).format_map({'a': s})"), EVER("m.isidentifier()"), EVER("dict(l|batch(2))|pprint"),
        {"{% block a %}{{ self.a() }}{% endblock %}", "", 0, ""}, {"{% block a %}{{ self.a() ~ self.a() }}{% endblock %}", "", 0, ""},
        {"{% set n = namespace(s=[]) %}{% for i in range(99999) %}{% set n.s = [n.s] %}{% endfor %}{{ n.s|pprint }}", "", 0, ""},
        {"{% set n = namespace(t=[1]) %}{% for i in range(60) %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.t|pprint }}", "", 0, ""},
        {"{% set n = namespace(t={}) %}{% for i in range(300) %}{% set n.t = {'k' * 9000: n.t} %}{% endfor %}{{ n.t|pprint }}{{ 1 / 0 }}", "", 0, ""},
        {"{% for i in range(99999) %}", "{% block b %}{% endblock %}", 2, "{% endfor %}"}, {"", "{% block ", 100, ""},
        {"{{ range(10**9)|sort }}", "", 0, ""}, {"{{ range(10**9)|groupby('x')|list }}", "", 0, ""}, {"{{ range(10**9)|batch(3)|list }}", "", 0, ""},
        {"{{ range(9)|slice(10**9)|list }}", "", 0, ""}, {"{% set s = 'a' * 500000 %}{{ s.strip('b' * 499999 ~ 'a') }}", "", 0, ""},
        {"{% set n = namespace(a=[1], b=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% set n.b = [n.b, n.b] %}{% endfor %}{{ n.a == n.b }}", "", 0, ""},
        {"{% set n = namespace(a=(1,)) %}{% for i in range(60) %}{% set n.a = (n.a, n.a) %}{% endfor %}{{ {n.a: 1} }}", "", 0, ""},
        {"{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a|tojson(indent=1) }}", "", 0, ""},
        {"{% for i in range(1400) %}{% for j in range(1400) %}{% endfor %}{% endfor %}", "", 0, ""},
        {"{% macro m(a, b=2) %}{{ a }}{{ caller() }}{% endmacro %}{% for i in range(10**6) %}{% call m(i) %}x{% endcall %}{% endfor %}", "", 0, ""},
        {"{% set n = namespace(d={}) %}{% for i in range(99999) %}{% set n.d = dict(n.d, **{'a' ~ i: 1}) %}{% endfor %}", "", 0, ""},
        {"{{ [", "1,", 250000, "] }}{{ 1 / 0 }}"}, {"{{ a", "()", 250000, " }}"}, {"", "{%set a=1%}", 45000, "{{ 1 / 0 }}"}, {"", "{{a.b.c.d.e}}", 40000, "{{ 1 / 0 }}"},
        {"{# ", "x", 500000, " #}{{ 1 / 0 }}"}, {"{{ '", "x", 500000, "' / 1 }}"}, {"{{ ", "9", 500000, " }}"}, {"{{ '", "x", 2000000, "' / 1 }}"},
#undef EVER
        {"{% set a = '\xc3\xa9' * 1000000 %}{% for i in range(9999) %}{{ a.upper()[0] }}{% endfor %}", "", 0, ""},
        {"{{ ", "(", 200000, ""}, {"{{ ", "[", 200000, ""}, {"{{ ", "not ", 200000, ""}, {"{{ ", "-", 500000, ""},
        {"{{ 1", "+1", 200000, " }}"}, {"{{ a", ".a", 200000, " }}"}, {"{{ a", "|e", 200000, " }}"}, {"{{ 1", " if 1", 100000, " }}"},
        {"", "{% if 1 %}", 50000, ""}, {"", "{% for i in x %}", 50000, ""}, {"", "{% raw %}", 50000, ""}, {"", "{# ", 200000, ""},
        {"", "{% macro m() %}", 50000, ""}, {"{{ f(", "a=1,", 200000, ") }}"}, {"", "{", 1000000, ""}};
    struct rf_template_limits limits = {0};
    long before = peak_kb();
    for (size_t i = 0; i < RF_COUNT(cases); i++) {
        char *s = repeated(cases[i].head, cases[i].part, cases[i].n, cases[i].tail), *what = strstr(s, "{% set q");
        double seconds = 9;
        for (int k = 0; k < 3 && seconds > 0.1; k++) {
            double t0 = cpu_seconds();
            CHECK(run_n(s, strlen(s), "{\"a\":1,\"x\":[1]}", 15, &limits) != RF_OK);
            seconds = RF_MIN(seconds, cpu_seconds() - t0);
        }
        CHECK(!strncmp(err.message, "chat template", 13));
        if (seconds > 0.1) printf("# %.90s took %.3f s\n", what ? what : s, seconds);
        if (seconds > (SANITIZED ? 4 : 0.3)) CHECK_FAIL_("%.90s took %.3f s", what ? what : s, seconds); /* 0.1 on a machine of its own */
        rf_free(s);
    }
    CHECK(SANITIZED || peak_kb() - before < 64 * 1024);
}

TEST(hostile_json_ends)
{
    static const struct { const char *head, *part; size_t n; const char *tail; } cases[] = {
        {"{\"a\":", "[", 1000000, ""}, {"{\"a\":[1", ",1", 8000000, "]}"}, {"{\"a\":[{}", ",{}", 2000000, "]}"},
        {"{\"a\":\"", "xxxxxxxxxx", 3000000, "\"}"}, {"{\"a\":", "{\"a\":", 100000, ""}};
    for (size_t i = 0; i < RF_COUNT(cases); i++) {
        char *s = repeated(cases[i].head, cases[i].part, cases[i].n, cases[i].tail);
        CHECK(run("{{ a|tojson }}", s) == RF_TOO_LARGE);
        rf_free(s);
    }
}

TEST(limits_are_kept)
{
    struct rf_template_limits limits = {.output = 10};
    CHECK_INT(run_n("0123456789", 10, "{}", 2, &limits), RF_OK);
    CHECK_INT(run_n("0123456789{{ 1 }}", 17, "{}", 2, &limits), RF_TOO_LARGE);
    limits = (struct rf_template_limits){.steps = 100};
    CHECK_INT(run_n("{% for i in range(99) %}{% endfor %}", 36, "{}", 2, &limits), RF_TOO_LARGE);
    limits = (struct rf_template_limits){.depth = 3};
    const char *rec = "{% macro m(n) %}{{ n }}{% if n > 1 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(%d) }}";
    char s[200];
    for (int n = 3; n <= 4; n++) {
        snprintf(s, sizeof s, "%s", rec);
        char *d = strstr(s, "%d");
        memcpy(d, n == 3 ? "3 " : "4 ", 2);
        CHECK_INT(run_n(s, strlen(s), "{}", 2, &limits), n == 3 ? RF_OK : RF_TOO_LARGE);
    }
}

/* Every allocation fails once: an error each time, no crash, no leak. */
TEST(allocations_fail)
{
    const char *source = "{% macro m(a) %}{{ a|upper }}{% endmacro %}{% for x in l %}{{ m(x) ~ x|tojson }}{% endfor %}{{ l }}";
    for (uint64_t k = 1; k < 200; k++) {
        rf_mem_fail_at(k);
        rf_status s = run(source, "{\"l\":[\"a\",{\"b\":1}]}");
        rf_mem_fail_at(0);
        if (!s) break;
        CHECK_INT(s, RF_NOMEM);
        CHECK(*err.message);
    }
    CHECK_INT(run(source, "{\"l\":[\"a\"]}"), RF_OK);
}

/* Damaged templates: any answer, but one. */
TEST(mutations)
{
    static const char base[] = "{%- set ns = namespace(a=1) %}{% for m in messages if m.role != 'x' recursive %}{{ m['content'][1:-1]|trim|replace('a', \"b\") }}"
                               "{% if loop.first and not (m.x is defined) %}{{ '%s' % m.role ~ {'k': [1, (2,)]}|tojson(indent=2) }}{% elif 1 %}{% break %}"
                               "{% endif %}{% macro q(a, b=2) %}{{ caller() if caller }}{{ varargs }}{% endmacro %}{% call q(1) %}x{% endcall %}{% endfor %}";
    struct rf_rng rng = {check_seed()};
    for (int i = 0; i < 3000; i++) {
        char s[sizeof base];
        memcpy(s, base, sizeof base);
        for (uint32_t k = 1 + rf_rng_below(&rng, 3); k > 0; k--) {
            uint32_t at = rf_rng_below(&rng, sizeof base - 1), from = rf_rng_below(&rng, sizeof base - 1);
            s[at] = rf_rng_below(&rng, 2) ? base[from] : (char)(32 + rf_rng_below(&rng, 95));
        }
        rf_status st = run(s, "{\"messages\":[{\"role\":\"user\",\"content\":\"abc\"},{\"role\":\"x\",\"content\":null}]}");
        CHECK(st == RF_OK || *err.message);
    }
}

int main(void)
{
    RUN(spans_of_simple_output);
    RUN(spans_of_operations);
    RUN(spans_of_containers);
    RUN(spans_of_captures);
    RUN(growing_strings_keep_their_parts);
    RUN(errors_name_the_line);
    RUN(variables_are_strict_json);
    RUN(hostile_templates_end);
    RUN(hostile_json_ends);
    RUN(limits_are_kept);
    RUN(allocations_fail);
    RUN(mutations);
    rf_buf_release(&out);
    rf_spans_release(&spans);
    return check_end();
}
