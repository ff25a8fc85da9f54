#include "text/unicode.h"

#include <utf8proc.h>

_Static_assert((int)UTF8PROC_CATEGORY_CO == RF_CAT_CO && (int)UTF8PROC_CATEGORY_LU == RF_CAT_LU, "category numbers");

/* What Unicode 16 assigned beyond utf8proc's Unicode 15 (and one mark it moved), rising. */
static const struct newer { uint32_t lo, hi; uint8_t cat; } newer[] = {
    { 0x897, 0x897, RF_CAT_MN }, { 0x1B4E, 0x1B4F, RF_CAT_PO }, { 0x1B7F, 0x1B7F, RF_CAT_PO },
    { 0x1C89, 0x1C89, RF_CAT_LU }, { 0x1C8A, 0x1C8A, RF_CAT_LL }, { 0x2427, 0x2429, RF_CAT_SO },
    { 0x2FFC, 0x2FFF, RF_CAT_SO }, { 0x31E4, 0x31E5, RF_CAT_SO }, { 0x31EF, 0x31EF, RF_CAT_SO },
    { 0xA7CB, 0xA7CC, RF_CAT_LU }, { 0xA7CD, 0xA7CD, RF_CAT_LL }, { 0xA7DA, 0xA7DA, RF_CAT_LU },
    { 0xA7DB, 0xA7DB, RF_CAT_LL }, { 0xA7DC, 0xA7DC, RF_CAT_LU }, { 0x105C0, 0x105F3, RF_CAT_LO },
    { 0x10D40, 0x10D49, RF_CAT_ND }, { 0x10D4A, 0x10D4D, RF_CAT_LO }, { 0x10D4E, 0x10D4E, RF_CAT_LM },
    { 0x10D4F, 0x10D4F, RF_CAT_LO }, { 0x10D50, 0x10D65, RF_CAT_LU }, { 0x10D69, 0x10D6D, RF_CAT_MN },
    { 0x10D6E, 0x10D6E, RF_CAT_PD }, { 0x10D6F, 0x10D6F, RF_CAT_LM }, { 0x10D70, 0x10D85, RF_CAT_LL },
    { 0x10D8E, 0x10D8F, RF_CAT_SM }, { 0x10EC2, 0x10EC4, RF_CAT_LO }, { 0x10EFC, 0x10EFC, RF_CAT_MN },
    { 0x11380, 0x11389, RF_CAT_LO }, { 0x1138B, 0x1138B, RF_CAT_LO }, { 0x1138E, 0x1138E, RF_CAT_LO },
    { 0x11390, 0x113B5, RF_CAT_LO }, { 0x113B7, 0x113B7, RF_CAT_LO }, { 0x113B8, 0x113BA, RF_CAT_MC },
    { 0x113BB, 0x113C0, RF_CAT_MN }, { 0x113C2, 0x113C2, RF_CAT_MC }, { 0x113C5, 0x113C5, RF_CAT_MC },
    { 0x113C7, 0x113CA, RF_CAT_MC }, { 0x113CC, 0x113CD, RF_CAT_MC }, { 0x113CE, 0x113CE, RF_CAT_MN },
    { 0x113CF, 0x113CF, RF_CAT_MC }, { 0x113D0, 0x113D0, RF_CAT_MN }, { 0x113D1, 0x113D1, RF_CAT_LO },
    { 0x113D2, 0x113D2, RF_CAT_MN }, { 0x113D3, 0x113D3, RF_CAT_LO }, { 0x113D4, 0x113D5, RF_CAT_PO },
    { 0x113D7, 0x113D8, RF_CAT_PO }, { 0x113E1, 0x113E2, RF_CAT_MN }, { 0x116D0, 0x116E3, RF_CAT_ND },
    { 0x1171E, 0x1171E, RF_CAT_MC }, { 0x11BC0, 0x11BE0, RF_CAT_LO }, { 0x11BE1, 0x11BE1, RF_CAT_PO },
    { 0x11BF0, 0x11BF9, RF_CAT_ND }, { 0x11F5A, 0x11F5A, RF_CAT_MN }, { 0x13460, 0x143FA, RF_CAT_LO },
    { 0x16100, 0x1611D, RF_CAT_LO }, { 0x1611E, 0x16129, RF_CAT_MN }, { 0x1612A, 0x1612C, RF_CAT_MC },
    { 0x1612D, 0x1612F, RF_CAT_MN }, { 0x16130, 0x16139, RF_CAT_ND }, { 0x16D40, 0x16D42, RF_CAT_LM },
    { 0x16D43, 0x16D6A, RF_CAT_LO }, { 0x16D6B, 0x16D6C, RF_CAT_LM }, { 0x16D6D, 0x16D6F, RF_CAT_PO },
    { 0x16D70, 0x16D79, RF_CAT_ND }, { 0x18CFF, 0x18CFF, RF_CAT_LO }, { 0x1CC00, 0x1CCEF, RF_CAT_SO },
    { 0x1CCF0, 0x1CCF9, RF_CAT_ND }, { 0x1CD00, 0x1CEB3, RF_CAT_SO }, { 0x1E5D0, 0x1E5ED, RF_CAT_LO },
    { 0x1E5EE, 0x1E5EF, RF_CAT_MN }, { 0x1E5F0, 0x1E5F0, RF_CAT_LO }, { 0x1E5F1, 0x1E5FA, RF_CAT_ND },
    { 0x1E5FF, 0x1E5FF, RF_CAT_PO }, { 0x1F8B2, 0x1F8BB, RF_CAT_SO }, { 0x1F8C0, 0x1F8C1, RF_CAT_SO },
    { 0x1FA89, 0x1FA89, RF_CAT_SO }, { 0x1FA8F, 0x1FA8F, RF_CAT_SO }, { 0x1FABE, 0x1FABE, RF_CAT_SO },
    { 0x1FAC6, 0x1FAC6, RF_CAT_SO }, { 0x1FADC, 0x1FADC, RF_CAT_SO }, { 0x1FADF, 0x1FADF, RF_CAT_SO },
    { 0x1FAE9, 0x1FAE9, RF_CAT_SO }, { 0x1FBCB, 0x1FBEF, RF_CAT_SO }, { 0x2EBF0, 0x2EE5D, RF_CAT_LO },
};

/* What Unicode 15 assigned, rising, cut where the category changes; of which kind it is, utf8proc says. */
static const struct { uint32_t lo, hi; } fifteen[] = {
    { 0xCF3, 0xCF3 }, { 0xECE, 0xECE }, { 0x10EFD, 0x10EFF }, { 0x1123F, 0x11240 }, { 0x11241, 0x11241 }, { 0x11B00, 0x11B09 },
    { 0x11F00, 0x11F01 }, { 0x11F02, 0x11F02 }, { 0x11F03, 0x11F03 }, { 0x11F04, 0x11F10 }, { 0x11F12, 0x11F33 }, { 0x11F34, 0x11F35 },
    { 0x11F36, 0x11F3A }, { 0x11F3E, 0x11F3F }, { 0x11F40, 0x11F40 }, { 0x11F41, 0x11F41 }, { 0x11F42, 0x11F42 }, { 0x11F43, 0x11F4F },
    { 0x11F50, 0x11F59 }, { 0x1342F, 0x1342F }, { 0x13439, 0x1343F }, { 0x13440, 0x13440 }, { 0x13441, 0x13446 }, { 0x13447, 0x13455 },
    { 0x1B132, 0x1B132 }, { 0x1B155, 0x1B155 }, { 0x1D2C0, 0x1D2D3 }, { 0x1DF25, 0x1DF2A }, { 0x1E030, 0x1E06D }, { 0x1E08F, 0x1E08F },
    { 0x1E4D0, 0x1E4EA }, { 0x1E4EB, 0x1E4EB }, { 0x1E4EC, 0x1E4EF }, { 0x1E4F0, 0x1E4F9 }, { 0x1F6DC, 0x1F6DC }, { 0x1F774, 0x1F776 },
    { 0x1F77B, 0x1F77F }, { 0x1F7D9, 0x1F7D9 }, { 0x1FA75, 0x1FA77 }, { 0x1FA87, 0x1FA88 }, { 0x1FAAD, 0x1FAAF }, { 0x1FABB, 0x1FABD },
    { 0x1FABF, 0x1FABF }, { 0x1FACE, 0x1FACF }, { 0x1FADA, 0x1FADB }, { 0x1FAE8, 0x1FAE8 }, { 0x1FAF7, 0x1FAF8 }, { 0x2B739, 0x2B739 },
    { 0x31350, 0x323AF },
};

bool rf_uni_added(size_t i, uint32_t *lo, uint32_t *hi)
{
    size_t n = sizeof fifteen / sizeof *fifteen;
    if (i >= n + sizeof newer / sizeof *newer) return false;
    *lo = i < n ? fifteen[i].lo : newer[i - n].lo;
    *hi = i < n ? fifteen[i].hi : newer[i - n].hi;
    return true;
}

static unsigned newer_cat(uint32_t cp, unsigned cat)
{
    size_t lo = 0, hi = sizeof newer / sizeof *newer;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (newer[mid].hi < cp) lo = mid + 1;
        else hi = mid;
    }
    return lo < sizeof newer / sizeof *newer && newer[lo].lo <= cp ? newer[lo].cat : cat;
}

unsigned rf_uni_cat(uint32_t cp)
{
    if (cp < 0x20 || cp == 0x85) return (cp >= 9 && cp <= 13) || cp == 0x85 ? RF_CAT_CC_SPACE : RF_CAT_CC;
    if (cp > 0x10FFFF) return RF_CAT_CN;
    unsigned cat = (unsigned)utf8proc_category((utf8proc_int32_t)cp);
    return cat == RF_CAT_CN || cp == 0x1171E ? newer_cat(cp, cat) : cat;
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

bool rf_uni_is_word(uint32_t cp)
{
    if (rf_uni_in(cp, RF_SET_L | RF_SET_M | RF_CATS(ND) | RF_CATS(NL) | RF_CATS(PC))) return true;
    return (cp >= 0x24B6 && cp <= 0x24E9) || (cp >= 0x1F130 && cp <= 0x1F149) || (cp >= 0x1F150 && cp <= 0x1F169) ||
           (cp >= 0x1F170 && cp <= 0x1F189) || cp == 0x200C || cp == 0x200D;
}
