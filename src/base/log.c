#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/utf8.h"

static const char *const names[] = {"error", "warn", "info", "debug"};

/* Control bytes and broken UTF-8 are escaped; JSON needs quote and backslash escaped as well. */
static size_t escape(char *out, size_t cap, const char *s, bool json)
{
    size_t n = 0;
    for (size_t left = strlen(s); *s && n + 8 < cap; s++, left--) {
        unsigned char c = (unsigned char)*s;
        uint32_t cp;
        unsigned len = c >= 0x80 ? rf_utf8_decode(s, left, &cp) : 0;
        if (len) {
            memcpy(out + n, s, len);
            n += len;
            s += len - 1;
            left -= len - 1;
        } else if (c < 0x20 || c >= 0x7f)
            n += (size_t)snprintf(out + n, cap - n, json ? "\\u%04x" : "\\x%02x", c);
        else {
            if (json && (c == '"' || c == '\\')) out[n++] = '\\';
            out[n++] = (char)c;
        }
    }
    out[n] = 0;
    return n;
}

void rf_log(const struct rf_log *l, enum rf_log_level level, const char *fmt, ...)
{
    if (!l || level > l->level) return;
    char text[1024], safe[2048], line[2304], when[32];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    escape(safe, sizeof safe, text, l->json);
    struct timespec t;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(line, sizeof line,
                     l->json ? "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"message\":\"%s\"}\n" : "%s.%03ldZ %s: %s\n",
                     when, t.tv_nsec / 1000000, names[level], safe);
    /* One write per line: lines of several threads never mix. */
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0) return; /* nowhere left to tell */
}
