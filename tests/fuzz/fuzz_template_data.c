/* fuzz_template_data - the JSON of a request, through a template that touches all of it. */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char source[] =
        "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ m|tojson }}{{ m|tojson(indent=2) }}"
        "{% for k, v in m.items() %}{{ k|upper|title }}={{ v }};{{ [v]|string|trim|length }}{% endfor %}"
        "{% if m.content is string %}{{ m.content.split()[::-1]|join('-') }}{{ m.content[1:-1]|replace('a', '<|x|>')|e }}"
        "{{ m.content|indent|wordwrap(7)|truncate(30)|reverse|urlencode }}{{ m.content.lower().capitalize() }}"
        "{{ '%5s|%r' % (m.content, m.content) }}{{ m.content.rsplit(none, 1) }}{{ m.content|striptags }}{% endif %}"
        "{{ m.n|int + 1 if m.n is defined }}{{ m.n|float|round(2) }}{% endfor %}{{ messages|map(attribute='role')|unique|list }}"
        "{{ x|default('')|string|sort|join }}{{ x }}";
    static const char *const trusted[] = {"bos_token", NULL};
    static const struct rf_template_limits limits = {.steps = 100000, .output = 1 << 20, .memory = 8 << 20};
    struct rf_template *t;
    struct rf_buf out = {0};
    struct rf_spans spans = {0};
    struct rf_error err = {0};
    if (rf_template_parse(&t, source, strlen(source), &err)) __builtin_trap();
    rf_status s = rf_template_run(t, (const char *)data, n, trusted, 0, &limits, &out, &spans, &err);
    if (!s && !rf_utf8_valid(rf_buf_str(&out), out.len)) __builtin_trap();
    if (s && !*err.message) __builtin_trap();
    rf_spans_release(&spans);
    rf_buf_release(&out);
    rf_template_free(t);
    return 0;
}
