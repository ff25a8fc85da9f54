/* regex.h - the regular expressions of pre-tokenizers, run in linear time.
 *
 * A pattern is compiled once, at open, into a DFA over classes of code points. It finds what a backtracking matcher
 * with Oniguruma's syntax finds (first alternative wins, greedy, lazy), but each character costs one table look-up and
 * no input can make it slow or deep. Understood: alternation, groups, (?i:), classes with && and nesting, \p{} of
 * categories and of script Han, quantifiers (possessive ones of one character), one-character lookahead, $. Anything else is spelled
 * anew for PCRE2 (regex_vet.c), which has match, depth and heap limits; what the two would not match alike is refused.
 *
 * Immutable after compile.
 */
#ifndef RF_TEXT_REGEX_H
#define RF_TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

struct rf_regex;

/* RF_UNSUPPORTED names the pattern if neither engine takes it. */
rf_status rf_regex_compile(struct rf_regex **out, const char *pattern, size_t n, struct rf_error *err);
void rf_regex_free(struct rf_regex *re);

bool rf_regex_is_linear(const struct rf_regex *re); /* false: PCRE2 runs it, on valid UTF-8 only */

enum rf_regex_mode {
    RF_REGEX_UTF8,  /* invalid bytes are single characters U+FFFD */
    RF_REGEX_BYTES, /* each byte is the character that stands for it in byte-level BPE's alphabet */
};

struct rf_regex_hit { size_t from, to; };

/* First match at or after `at` in s[0..n). RF_OK; RF_NOT_FOUND; RF_TOO_LARGE if a budget ran out: *steps counts table
 * look-ups (start at 0 per text) and may not exceed 64 per byte. */
rf_status rf_regex_find(const struct rf_regex *re, const char *s, size_t n, size_t at, enum rf_regex_mode mode,
                        uint64_t *steps, struct rf_regex_hit *hit);

/* All matches in s[0..n), one after another, of a pattern or of the literal where regex is NULL: none overlap, no empty one stands right
 * behind another, and an empty text has none (`tokenizers`). Set the first line, leave the rest zero. */
struct rf_scan {
    const struct rf_regex *regex; struct rf_str literal; const char *s; size_t n; enum rf_regex_mode mode;
    size_t at, last; bool any; uint64_t steps;
};
rf_status rf_scan_next(struct rf_scan *scan, struct rf_regex_hit *hit); /* as rf_regex_find */

#endif
