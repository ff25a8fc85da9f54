/* template.h - an interpreter for the Jinja that models ship as chat templates.
 *
 * Same text as Python's ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True) with Hugging Face's globals.
 * No attribute walk, no I/O: a template is a stranger's program. Steps, depth and output have budgets.
 * Immutable after parse; render is re-entrant.
 *
 * Differences from Jinja, all on purpose: no include, import, extends; the filters random, pprint, urlize and the function
 * lipsum are refused by name; an integer result beyond 64 bits is an error (one that the request brings keeps its digits,
 * but takes no arithmetic); unknown filters and tests fail when they are reached, not before; generators print without an
 * address.
 */
#ifndef RF_TEXT_TEMPLATE_H
#define RF_TEXT_TEMPLATE_H

#include "base/buf.h"
#include "text/tokenizer.h"

struct rf_template;

struct rf_template_limits { /* zero: the default */
    uint64_t steps;         /* 1 M */
    size_t output;          /* 16 MB */
    size_t memory;          /* 48 MB */
    uint32_t depth;         /* 100 */
};

/* Errors name the line: "chat template line 12: ...". */
rf_status rf_template_parse(struct rf_template **out, const char *source, size_t len, struct rf_error *err);
void rf_template_free(struct rf_template *t);

/* The bytes that came from the template itself (literals in it), not from the variables: rising, disjoint, merged. Only
 * there may special tokens be recognised. All-zero is empty. */
struct rf_spans { struct rf_span *span; size_t n, cap; };
void rf_spans_release(struct rf_spans *s);

/* vars: JSON object whose keys become the template's variables (json is parsed inside; at most 512 deep).
 * trusted may be NULL. now is what strftime_now formats, seconds since 1970 in local time. Variables listed in
 * trusted_vars (NULL-terminated, e.g. "bos_token", "eos_token") count as the template's own text. limits may be NULL. */
rf_status rf_template_run(const struct rf_template *t, const char *json, size_t json_len, const char *const *trusted_vars,
                          int64_t now, const struct rf_template_limits *limits, struct rf_buf *out, struct rf_spans *trusted,
                          struct rf_error *err);

#endif
