#include "base/utf8.h"

#include <string.h>

/* Length, smallest second byte and largest second byte for a lead byte (Unicode standard, table 3-7). */
static unsigned lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
    *lo = 0x80;
    *hi = 0xbf;
    if (c < 0x80) return 1;
    if (c < 0xc2) return 0;
    if (c < 0xe0) return 2;
    if (c < 0xf0) {
        if (c == 0xe0) *lo = 0xa0;
        if (c == 0xed) *hi = 0x9f;
        return 3;
    }
    if (c > 0xf4) return 0;
    if (c == 0xf0) *lo = 0x90;
    if (c == 0xf4) *hi = 0x8f;
    return 4;
}

unsigned rf_utf8_decode(const char *s, size_t n, uint32_t *cp)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned char lo, hi;
    unsigned len = lead(u[0], &lo, &hi);
    *cp = 0xfffd;
    if (!len || len > n) return 0;
    if (len == 1) {
        *cp = u[0];
        return 1;
    }
    if (u[1] < lo || u[1] > hi) return 0;
    uint32_t c = u[0] & (0x7fu >> len);
    for (unsigned i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (u[i] & 0x3f);
    }
    *cp = c;
    return len;
}

unsigned rf_utf8_bad(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    unsigned char lo, hi;
    unsigned len = lead(u[0], &lo, &hi), k = 1;
    if (len < 2 || n < 2 || u[1] < lo || u[1] > hi) return 1;
    while (k < len && k < n && (u[k] & 0xc0) == 0x80) k++;
    return k;
}

unsigned rf_utf8_encode(uint32_t cp, char *out)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    unsigned len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (unsigned i = len - 1; i > 0; i--, cp >>= 6) out[i] = (char)(0x80 | (cp & 0x3f));
    out[0] = (char)((0xf00u >> len) | cp);
    return len;
}

bool rf_utf8_valid(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint64_t w;
        if (n - i >= sizeof w && (memcpy(&w, s + i, sizeof w), !(w & 0x8080808080808080u))) {
            i += sizeof w;
            continue;
        }
        if (!(s[i] & 0x80)) {
            i++;
            continue;
        }
        const unsigned char *u = (const unsigned char *)s + i;
        if (n - i >= 3 && u[0] > 0xe0 && u[0] < 0xf0 && u[0] != 0xed && (u[1] & 0xc0) == 0x80 && (u[2] & 0xc0) == 0x80) {
            i += 3; /* what most text that is not ASCII consists of */
            continue;
        }
        uint32_t cp;
        unsigned len = rf_utf8_decode(s + i, n - i, &cp);
        if (!len) return false;
        i += len;
    }
    return true;
}

size_t rf_utf8_incomplete_tail(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = u[n - back], lo, hi;
        if ((c & 0xc0) == 0x80) continue;
        unsigned len = lead(c, &lo, &hi);
        if (len <= back) return 0;
        if (back >= 2 && (u[n - back + 1] < lo || u[n - back + 1] > hi)) return 0;
        return back;
    }
    return 0;
}

char *rf_utf8_printable(char *out, size_t cap, const char *s)
{
    size_t n = strlen(s), to = 0, k;
    for (size_t at = 0; at < n; at += k) {
        uint32_t cp;
        k = rf_utf8_decode(s + at, n - at, &cp);
        bool fine = k && cp >= 0x20 && (cp < 0x7f || cp > 0x9f);
        k = k ? k : rf_utf8_bad(s + at, n - at);
        if (to + (fine ? k : 1) >= cap) break;
        if (fine) memmove(out + to, s + at, k);
        else out[to] = '?';
        to += fine ? k : 1;
    }
    out[to] = 0;
    return out;
}
