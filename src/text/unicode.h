/* unicode.h - what the tokenizers ask about a code point.
 *
 * Categories are utf8proc's (UAX #44 General_Category), with two changes: control characters that are White_Space form a
 * category of their own, so that \s is a set of categories; and letters, marks and digits that Unicode gained after
 * utf8proc's tables come from a short list in unicode.c.
 */
#ifndef RF_TEXT_UNICODE_H
#define RF_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/utf8.h"

enum {
    RF_CAT_CN, RF_CAT_LU, RF_CAT_LL, RF_CAT_LT, RF_CAT_LM, RF_CAT_LO, RF_CAT_MN, RF_CAT_MC, RF_CAT_ME, RF_CAT_ND,
    RF_CAT_NL, RF_CAT_NO, RF_CAT_PC, RF_CAT_PD, RF_CAT_PS, RF_CAT_PE, RF_CAT_PI, RF_CAT_PF, RF_CAT_PO, RF_CAT_SM,
    RF_CAT_SC, RF_CAT_SK, RF_CAT_SO, RF_CAT_ZS, RF_CAT_ZL, RF_CAT_ZP, RF_CAT_CC, RF_CAT_CF, RF_CAT_CS, RF_CAT_CO,
    RF_CAT_CC_SPACE, RF_CAT_N
};

#define RF_CATS(c) (1u << RF_CAT_##c)
#define RF_SET_L (RF_CATS(LU) | RF_CATS(LL) | RF_CATS(LT) | RF_CATS(LM) | RF_CATS(LO))
#define RF_SET_M (RF_CATS(MN) | RF_CATS(MC) | RF_CATS(ME))
#define RF_SET_N (RF_CATS(ND) | RF_CATS(NL) | RF_CATS(NO))
#define RF_SET_P (RF_CATS(PC) | RF_CATS(PD) | RF_CATS(PS) | RF_CATS(PE) | RF_CATS(PI) | RF_CATS(PF) | RF_CATS(PO))
#define RF_SET_S (RF_CATS(SM) | RF_CATS(SC) | RF_CATS(SK) | RF_CATS(SO))
#define RF_SET_Z (RF_CATS(ZS) | RF_CATS(ZL) | RF_CATS(ZP))
#define RF_SET_C (RF_CATS(CC) | RF_CATS(CC_SPACE) | RF_CATS(CF) | RF_CATS(CS) | RF_CATS(CO) | RF_CATS(CN))
#define RF_SET_SPACE (RF_SET_Z | RF_CATS(CC_SPACE)) /* White_Space */

unsigned rf_uni_cat(uint32_t cp); /* any number; above U+10FFFF is RF_CAT_CN */
static inline bool rf_uni_in(uint32_t cp, uint32_t set) { return set >> rf_uni_cat(cp) & 1; }

/* The i-th range, all of one category, in which Unicode 15 to 16 assigned characters (or moved one, U+1171E). False: no more. */
bool rf_uni_added(size_t i, uint32_t *lo, uint32_t *hi);

/* UTS #18 \w: letters, marks, decimal digits, letter numbers, connectors, letters in circles, joiners. */
bool rf_uni_is_word(uint32_t cp);

/* Like rf_utf8_decode, but an invalid byte is one character of length 1 with *cp = 0xFFFD and *ok = false. n > 0. */
static inline unsigned rf_uni_next(const char *s, size_t n, uint32_t *cp, bool *ok)
{
    unsigned char c = (unsigned char)*s;
    *ok = true;
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    unsigned len = rf_utf8_decode(s, n, cp);
    *ok = len != 0;
    return len ? len : 1;
}

/* True for a character that PyPI's `tokenizers` takes for unassigned when it normalizes, see unicode_old.c. */
enum rf_uni_tables { RF_UNI_NORM = 1, RF_UNI_CATS = 2 };
bool rf_uni_is_unknown(uint32_t cp, enum rf_uni_tables tables);

/* The printable alphabet of byte-level BPE (GPT-2's bytes_to_unicode): byte to code point (0x21..0x143) and back. */
uint32_t rf_byte_to_char(uint8_t b);
int rf_char_to_byte(uint32_t cp); /* -1: not of the alphabet */

#endif
