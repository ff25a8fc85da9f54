#include "text/unicode.h"

#include <utf8proc.h>

_Static_assert((int)UTF8PROC_CATEGORY_CO == RF_CAT_CO && (int)UTF8PROC_CATEGORY_LU == RF_CAT_LU, "category numbers");

unsigned rf_uni_cat(uint32_t cp)
{
    if (cp < 0x20 || cp == 0x85) return (cp >= 9 && cp <= 13) || cp == 0x85 ? RF_CAT_CC_SPACE : RF_CAT_CC;
    if (cp > 0x10FFFF) return RF_CAT_CN;
    return (unsigned)utf8proc_category((utf8proc_int32_t)cp);
}

/* Printable bytes stand for themselves; the other 68 are numbered from U+0100 on. */
static bool byte_is_plain(unsigned b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

uint32_t rf_byte_to_char(uint8_t b)
{
    if (byte_is_plain(b)) return b;
    if (b <= 0x20) return 0x100u + b;
    if (b <= 0xA0) return 0x100u + 33 + (b - 0x7Fu);
    return 0x100u + 67; /* 0xAD */
}

int rf_char_to_byte(uint32_t cp)
{
    if (cp < 0x100) return byte_is_plain(cp) ? (int)cp : -1;
    if (cp <= 0x120) return (int)(cp - 0x100);
    if (cp <= 0x142) return (int)(cp - 0x121 + 0x7F);
    return cp == 0x143 ? 0xAD : -1;
}
