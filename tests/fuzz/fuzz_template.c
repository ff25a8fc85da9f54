/* fuzz_template - the source of a chat template, rendered over one fixed conversation. */
#include "base/mem.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char json[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"S <|x|>\"},{\"role\":\"user\",\"content\":\"h\\u00e9 \\ud83d\\ude42\"},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"abcdefghi\",\"function\":{\"name\":\"f\","
        "\"arguments\":{\"a\":[1,2.5,true,null,{\"b\":\"c\"}]}}}]}],\"tools\":[{\"function\":{\"name\":\"f\"}}],\"n\":3,"
        "\"bos_token\":\"<s>\",\"add_generation_prompt\":true}";
    static const char *const trusted[] = {"bos_token", NULL};
    static const struct rf_template_limits limits = {.steps = 50000, .output = 1 << 18, .memory = 4 << 20};
    struct rf_template *t;
    struct rf_buf out = {0};
    struct rf_spans spans = {0};
    struct rf_error err = {0};
    if (n > 4096 || rf_template_parse(&t, (const char *)data, n, &err)) return 0;
    rf_template_run(t, json, sizeof json - 1, trusted, 1760000000, &limits, &out, &spans, &err);
    for (size_t i = 0; i < spans.n; i++) /* rising, disjoint, merged, inside */
        if (spans.span[i].from >= spans.span[i].to || spans.span[i].to > out.len || (i && spans.span[i - 1].to >= spans.span[i].from))
            __builtin_trap();
    rf_spans_release(&spans);
    rf_buf_release(&out);
    rf_template_free(t);
    return 0;
}
