/* utf8.h - decoding and checking UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF). */
#ifndef RF_BASE_UTF8_H
#define RF_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at s (1..4), its code point in *cp. An invalid byte gives 0 and *cp = 0xFFFD; n must be > 0. */
unsigned rf_utf8_decode(const char *s, size_t n, uint32_t *cp);
/* Writes cp (must be valid) to out[4], returns the bytes written. */
unsigned rf_utf8_encode(uint32_t cp, char *out);
bool rf_utf8_valid(const char *s, size_t n);
/* Where rf_utf8_decode says 0: how many bytes one U+FFFD stands for (Unicode's maximal subpart, at least 1). */
unsigned rf_utf8_bad(const char *s, size_t n);
/* s cut to cap - 1 bytes, with '?' for every control character (C1 too: terminals obey them) and broken byte, so that a
 * stranger's text is one harmless line. out may be s. Returns out. */
char *rf_utf8_printable(char *out, size_t cap, const char *s);
/* How many bytes at the end of s are the start of a character that more bytes could still complete (0..3). */
size_t rf_utf8_incomplete_tail(const char *s, size_t n);

#endif
