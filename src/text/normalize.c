/* Normalizer steps. Each takes text and gives text; bytes that are not UTF-8 pass through all of them unchanged. */
#include <string.h>
#include <utf8proc.h>

#include "text/tok.h"

#define SPACE "\xE2\x96\x81" /* U+2581 */

/* ---- normal forms (UAX #15) ---- */

/* Characters that NFC leaves alone and that never join the one before them: text of these needs no work. */
static bool inert_nfc(uint32_t cp)
{
    static const uint32_t rows[][2] = {
        { 0x0400, 0x0482 }, { 0x048A, 0x052F }, { 0x0531, 0x0556 }, { 0x0561, 0x0587 }, { 0x05D0, 0x05EA }, { 0x0620, 0x064A },
        { 0x0E01, 0x0E37 }, { 0x1E00, 0x1EFF }, { 0x2010, 0x2027 }, { 0x2030, 0x205E }, { 0x2190, 0x21FF }, { 0x2500, 0x27BF },
        { 0x3000, 0x3029 }, { 0x3041, 0x3096 }, { 0x30A1, 0x30FA }, { 0x3400, 0x4DBF }, { 0x4E00, 0x9FFF }, { 0xAC00, 0xD7A3 },
        { 0xFF01, 0xFF60 }, { 0x1F300, 0x1FAFF },
    };
    if (cp < 0x300 || cp == 0x11A7) return true; /* U+11A7 is no trailing consonant, though utf8proc would compose it away */
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        if (cp <= rows[i][1]) return cp >= rows[i][0];
    return false;
}

struct run { int32_t *cp, *tmp; size_t n, cap; };

static unsigned ccc(int32_t cp) { return (unsigned)utf8proc_get_property(cp)->combining_class; }

static bool run_push(struct run *r, uint32_t cp, bool compat)
{
    if (r->n + 32 > r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 256;
        int32_t *p = rf_realloc_array(r->cp, cap, sizeof *p);
        if (!p) return false;
        r->cp = p;
        int32_t *q = rf_realloc_array(r->tmp, cap, sizeof *q);
        if (!q) return false;
        r->tmp = q;
        r->cap = cap;
    }
    int last = 0;
    utf8proc_ssize_t k = utf8proc_decompose_char((utf8proc_int32_t)cp, r->cp + r->n, 32,
                                                 UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0), &last);
    if (k > 0 && k <= 32) r->n += (size_t)k;
    return true;
}

/* Canonical ordering: marks between starters sorted by class, stable. Counting sort, since a run may be a megabyte. */
static void order_marks(struct run *r)
{
    for (size_t i = 0; i < r->n;) {
        size_t from = i;
        bool sorted = true;
        unsigned last = 0;
        for (; i < r->n; i++) {
            unsigned c = ccc(r->cp[i]);
            if (!c) break;
            sorted = sorted && c >= last;
            last = c;
        }
        if (!sorted) {
            size_t count[257] = { 0 };
            for (size_t k = from; k < i; k++) count[ccc(r->cp[k]) + 1]++;
            for (unsigned c = 0; c < 256; c++) count[c + 1] += count[c];
            for (size_t k = from; k < i; k++) r->tmp[count[ccc(r->cp[k])]++] = r->cp[k];
            memcpy(r->cp + from, r->tmp, (i - from) * sizeof *r->cp);
        }
        i += i == from;
    }
}

static void run_flush(struct run *r, bool compose, struct rf_buf *out)
{
    char u[4];
    order_marks(r);
    utf8proc_ssize_t n = (utf8proc_ssize_t)r->n;
    if (compose) n = utf8proc_normalize_utf32(r->cp, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (utf8proc_ssize_t i = 0; i < n; i++) rf_buf_append(out, u, rf_utf8_encode((uint32_t)r->cp[i], u));
    r->n = 0;
}

/* Is the character at i one that stays as it is, whatever its neighbours? *alone: not even the next one joins it. */
static bool is_inert(uint32_t cp, bool ok, bool compose, bool compat, bool *alone)
{
    *alone = !ok || rf_uni_is_unknown(cp, RF_UNI_NORM);
    return *alone || (compose && !compat ? inert_nfc(cp) : cp < 0x80);
}

static rf_status normal_form(const char *s, size_t n, bool compose, bool compat, struct rf_buf *out)
{
    struct run r = { 0 };
    size_t plain = 0, prev = 0; /* s[plain..) is not written yet; prev is the character before i */
    bool fine = true, alone;
    for (size_t i = 0; i < n && fine;) {
        uint32_t cp;
        bool ok;
        unsigned len = rf_uni_next(s + i, n - i, &cp, &ok);
        if (is_inert(cp, ok, compose, compat, &alone)) {
            prev = alone ? i + len : i;
            i += len;
            continue;
        }
        rf_buf_append(out, s + plain, prev - plain);
        if (prev < i) {
            rf_uni_next(s + prev, n - prev, &cp, &ok);
            fine = run_push(&r, cp, compat);
        }
        for (; i < n && fine; i += len) {
            len = rf_uni_next(s + i, n - i, &cp, &ok);
            if (is_inert(cp, ok, compose, compat, &alone)) break;
            fine = run_push(&r, cp, compat);
        }
        run_flush(&r, compose, out);
        plain = prev = i;
    }
    rf_buf_append(out, s + plain, n - plain);
    rf_free(r.cp);
    rf_free(r.tmp);
    return fine ? out->bad : RF_NOMEM;
}

/* Do both start with the same character when taken apart? */
static bool same_base(struct rf_str a, struct rf_str b)
{
    struct rf_str both[2] = { a, b };
    int32_t base[2][32];
    int last = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t cp;
        bool ok;
        rf_uni_next(both[i].s, both[i].n, &cp, &ok);
        if (utf8proc_decompose_char((utf8proc_int32_t)cp, base[i], 32, UTF8PROC_DECOMPOSE, &last) < 1) base[i][0] = (int32_t)cp;
    }
    return base[0][0] == base[1][0];
}

static size_t skip_chars(struct rf_str s, size_t at, size_t count)
{
    uint32_t cp;
    bool ok;
    for (; count && at < s.n; count--) at += rf_uni_next(s.s + at, s.n - at, &cp, &ok);
    return at;
}

static size_t count_chars(struct rf_str s)
{
    size_t n = 0;
    for (size_t at = 0; at < s.n; n++) at = skip_chars(s, at, 1);
    return n;
}

/* How much of the form became of s[0..first): its own form as far as that stands there, and what its end was composed into. Marks that were
 * put in order count by their places, and what stands first came of the first. */
static rf_status form_first(const char *s, size_t *first, bool compose, bool compat, const struct rf_buf *form)
{
    struct rf_buf own = { .max = RF_TOK_MAX_TEXT };
    rf_status st = normal_form(s, *first, compose, compat, &own);
    struct rf_str was = { s, *first }, a = { rf_buf_str(&own), own.len }, b = { rf_buf_str(form), form->len };
    size_t k = 0, next;
    for (; k < a.n && k < b.n; k = next) {
        next = skip_chars(a, k, 1);
        if (b.n >= next && !memcmp(a.s + k, b.s + k, next - k)) continue;
        if (same_base((struct rf_str){ a.s + k, a.n - k }, (struct rf_str){ b.s + k, b.n - k })) k = skip_chars(b, k, 1);
        else if (count_chars(was) == count_chars(a)) k = skip_chars(b, 0, count_chars(was));
        break;
    }
    *first = RF_MAX(k, skip_chars(b, 0, 1));
    rf_buf_release(&own);
    return st;
}

static rf_status form_step(const char *s, size_t n, bool compose, bool compat, size_t *first, struct rf_buf *out)
{
    RF_TRY(normal_form(s, n, compose, compat, out));
    return *first ? form_first(s, first, compose, compat, out) : RF_OK;
}

/* ---- character by character ---- */

static void put(struct rf_buf *out, uint32_t cp)
{
    char u[4];
    rf_buf_append(out, u, rf_utf8_encode(cp, u));
}

/* Lower case, with what Unicode 16 and 17 added to utf8proc's tables. */
static void put_lower(struct rf_buf *out, uint32_t cp)
{
    static const struct { uint32_t lo, hi, to; } newer[] = {
        { 0x1C89, 0x1C89, 0x1C8A }, { 0xA7CB, 0xA7CB, 0x264 },  { 0xA7CC, 0xA7CC, 0xA7CD }, { 0xA7CE, 0xA7CE, 0xA7CF },
        { 0xA7D2, 0xA7D2, 0xA7D3 }, { 0xA7D4, 0xA7D4, 0xA7D5 }, { 0xA7DA, 0xA7DA, 0xA7DB }, { 0xA7DC, 0xA7DC, 0x19B },
        { 0x10D50, 0x10D65, 0x10D70 }, { 0x16EA0, 0x16EB8, 0x16EBB },
    };
    for (size_t i = 0; i < RF_COUNT(newer) && cp >= 0x1C89; i++)
        if (cp >= newer[i].lo && cp <= newer[i].hi) {
            put(out, newer[i].to + (cp - newer[i].lo));
            return;
        }
    put(out, cp == 0x130 ? 'i' : (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp));
    if (cp == 0x130) put(out, 0x307); /* the only one whose full mapping is longer */
}

static bool is_cjk(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
           (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

/* Marks of those older tables that are none any more, or no longer of the kind Mn. */
static bool was_mark(uint32_t cp) { return cp == 0x1CF2 || cp == 0x1CF3; }
static bool was_mn(uint32_t cp) { return cp == 0x1734 || cp == 0x1171E; }

enum char_op { OP_LOWER, OP_DROP_M, OP_DROP_MN, OP_BERT_CLEAN, OP_BERT_CJK, OP_NMT };

static void put_op(struct rf_buf *out, uint32_t cp, enum char_op op)
{
    switch (op) {
    case OP_LOWER: put_lower(out, cp); break;
    case OP_DROP_M:
        if ((!rf_uni_in(cp, RF_SET_M) || rf_uni_is_unknown(cp, RF_UNI_NORM)) && !was_mark(cp)) put(out, cp);
        break;
    case OP_DROP_MN:
        if ((!rf_uni_in(cp, RF_CATS(MN)) || rf_uni_is_unknown(cp, RF_UNI_CATS)) && !was_mn(cp)) put(out, cp);
        break;
    case OP_BERT_CLEAN:
        if (cp == '\t' || cp == '\n' || cp == '\r' || rf_uni_in(cp, RF_SET_Z)) put(out, ' ');
        else if (cp != 0xFFFD && (!rf_uni_in(cp, RF_SET_C & ~RF_CATS(CN)) || rf_uni_is_unknown(cp, RF_UNI_CATS))) put(out, cp);
        break;
    case OP_BERT_CJK:
        if (is_cjk(cp)) put(out, ' ');
        put(out, cp);
        if (is_cjk(cp)) put(out, ' ');
        break;
    case OP_NMT:
        if ((cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F || cp == 0x8F || cp == 0x9F) break;
        if (cp == 9 || cp == 10 || cp == 12 || cp == 13 || cp == 0x1680 || (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 ||
            cp == 0x2581 || cp == 0xFEFF || cp == 0xFFFD)
            put(out, ' ');
        else put(out, cp);
        break;
    }
}

static rf_status each_char(const char *s, size_t n, enum char_op op, size_t *first, struct rf_buf *out)
{
    size_t was = *first;
    *first = 0;
    for (size_t i = 0; i < n && !out->bad;) {
        uint32_t cp;
        bool ok;
        unsigned len = rf_uni_next(s + i, n - i, &cp, &ok);
        if (ok) put_op(out, cp, op);
        else rf_buf_append(out, s + i, 1);
        if (i < was) *first = out->len;
        i += len;
    }
    return out->bad;
}

/* ---- strings ---- */

rf_status rf_norm_replace(const struct rf_norm_step *st, const char *s, size_t n, size_t *first, struct rf_buf *out)
{
    struct rf_scan scan = { .regex = st->regex, .literal = st->pattern, .s = s, .n = n };
    struct rf_regex_hit h;
    size_t done = 0, was = first ? *first : 0, now = 0; /* what comes in belongs to the last character that it replaces */
    rf_status r;
    if (st->regex && !rf_regex_is_linear(st->regex) && !rf_utf8_valid(s, n)) return RF_INVALID;
    while (!(r = rf_scan_next(&scan, &h))) {
        RF_TRY(rf_buf_append(out, s + done, h.from - done));
        if (done < was) now = out->len - (h.from > was ? h.from - was : 0);
        RF_TRY(rf_buf_append(out, st->content.s, st->content.n));
        if (!h.to || h.to <= was) now = out->len;
        done = h.to;
    }
    if (r != RF_NOT_FOUND) return r;
    RF_TRY(rf_buf_append(out, s + done, n - done));
    if (first) *first = done < was ? out->len - (n - was) : now;
    return RF_OK;
}

static rf_status strip(const char *s, size_t n, uint32_t flags, size_t *first, struct rf_buf *out)
{
    uint32_t cp;
    bool ok;
    size_t a = 0, b = n;
    while (flags & RF_STRIP_LEFT && a < n) {
        unsigned len = rf_uni_next(s + a, n - a, &cp, &ok);
        if (!rf_uni_in(cp, RF_SET_SPACE)) break;
        a += len;
    }
    while (flags & RF_STRIP_RIGHT && b > a) {
        size_t k = b - 1;
        while (k > a && b - k < 4 && ((unsigned char)s[k] & 0xC0) == 0x80) k--;
        rf_uni_next(s + k, b - k, &cp, &ok);
        if (!ok || !rf_uni_in(cp, RF_SET_SPACE)) break;
        b = k;
    }
    *first = *first > a ? RF_MIN(*first, b) - a : 0;
    return rf_buf_append(out, s + a, b - a);
}

/* GGUF's remove_extra_whitespaces: none at the ends, one between. U+2581 of the text's own goes from its end too. */
static rf_status squeeze(const char *s, size_t n, struct rf_buf *out)
{
    size_t from = 0;
    while (from < n && s[from] == ' ') from++;
    while (n > from) {
        if (s[n - 1] == ' ') n--;
        else if (n >= from + 3 && !memcmp(s + n - 3, SPACE, 3)) n -= 3;
        else break;
    }
    for (size_t i = from; i < n; i++)
        if (s[i] != ' ' || s[i - 1] != ' ') rf_buf_putc(out, s[i]);
    return out->bad;
}

/* ---- SentencePiece's precompiled map: a double-array trie (Darts) of UTF-8, then NUL-ended replacements ---- */

static uint32_t unit_at(const char *trie, size_t n_unit, size_t i)
{
    uint32_t u = 0;
    if (i < n_unit) memcpy(&u, trie + 4 * i, 4);
    return u;
}

/* Longest (shortest) key that s starts with: its length and its value's place in the replacements. */
static size_t map_find(const char *trie, size_t n_unit, const char *s, size_t n, bool shortest, uint32_t *value)
{
    size_t pos = 0, best = 0;
    uint32_t u = unit_at(trie, n_unit, 0);
    pos ^= (size_t)(u >> 10) << ((u & (1u << 9)) >> 6);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (!c) break;
        pos ^= c;
        if (pos >= n_unit) break;
        u = unit_at(trie, n_unit, pos);
        if ((u & ((1u << 31) | 0xFF)) != c) break;
        pos ^= (size_t)(u >> 10) << ((u & (1u << 9)) >> 6);
        if (u >> 8 & 1) {
            *value = unit_at(trie, n_unit, pos) & 0x7FFFFFFFu;
            best = i + 1;
            if (shortest) break;
        }
    }
    return best;
}

/* Bytes of the user-perceived character at s. */
static size_t cluster(const char *s, size_t n)
{
    uint32_t a, b;
    utf8proc_int32_t state = 0;
    bool ok;
    size_t end = rf_uni_next(s, n, &a, &ok);
    for (size_t k; end < n; end += k, a = b) {
        k = rf_uni_next(s + end, n - end, &b, &ok);
        if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)a, (utf8proc_int32_t)b, &state)) break;
    }
    return end;
}

/* Replaces what stands at s[0..n). */
struct charsmap { const char *trie, *text; size_t n_unit, n_text; };

static bool map_put(const struct charsmap *m, const char *s, size_t n, bool shortest, size_t *len, struct rf_buf *out)
{
    uint32_t v = 0;
    *len = map_find(m->trie, m->n_unit, s, n, shortest, &v);
    if (!*len || v >= m->n_text) return false;
    rf_buf_append(out, m->text + v, strnlen(m->text + v, m->n_text - v));
    return true;
}

/* Which characters of a map's result belong to the text's first was bytes: each to the next of the source, those by which a replacement is
 * longer to the one before; what a shorter one leaves out goes with the last character that came out, if there is one. */
struct trail {
    struct rf_str s;
    size_t was, first;       /* first: bytes of the result so far */
    size_t at;               /* where the next of the source stands */
    size_t done;             /* bytes of the result that were looked at */
    size_t len;              /* of the last character that came out, which waits; 0: none */
    long change;             /* above 0: it is one more; below: so many of the source go with it */
};

static void trail_flush(struct trail *t)
{
    if (!t->len) return;
    if (t->change > 0 ? t->at <= t->was : t->at < t->was) t->first += t->len;
    for (; t->change <= 0; t->change++) t->at = skip_chars(t->s, t->at, 1);
    t->len = 0;
}

/* s[from..to) became what out has behind t->done. */
static void trail_add(struct trail *t, size_t from, size_t to, const struct rf_buf *out)
{
    const char *o = rf_buf_str(out);
    long old = 0, added = 0;
    if (!t->was) return;
    for (size_t i = from; i < to; old++) i = skip_chars(t->s, i, 1);
    for (; t->done < out->len && !out->bad; added++) {
        uint32_t cp;
        bool ok;
        trail_flush(t);
        t->len = rf_uni_next(o + t->done, out->len - t->done, &cp, &ok);
        t->change = added >= old;
        t->done += t->len;
    }
    if (added < old && t->len) t->change -= old - added;
}

/* As `tokenizers` reads the map: a user-perceived character below 6 bytes becomes what the shortest key that it starts with becomes,
 * whatever else is in it; of others each code point by itself. */
static void map_clusters(const struct charsmap *m, const char *s, size_t n, size_t *first, struct rf_buf *out)
{
    struct trail t = { .s = { s, n }, .was = *first };
    for (size_t i = 0, k, len; i < n && !out->bad; i += k) {
        k = cluster(s + i, n - i);
        if (k < 6 && map_put(m, s + i, k, true, &len, out)) {
            trail_add(&t, i, i + k, out);
            continue;
        }
        for (size_t at = i, one; at < i + k; at += one) {
            uint32_t cp;
            bool ok;
            one = rf_uni_next(s + at, i + k - at, &cp, &ok);
            if (!map_put(m, s + at, one, true, &len, out)) rf_buf_append(out, s + at, one);
            trail_add(&t, at, at + one, out);
        }
    }
    trail_flush(&t);
    *first = t.first;
}

/* An empty map where the blob is none. */
static struct charsmap map_of(struct rf_str blob)
{
    uint32_t trie_bytes;
    if (blob.n < 8) return (struct charsmap){ 0 };
    memcpy(&trie_bytes, blob.s, 4);
    if (trie_bytes > blob.n - 4) return (struct charsmap){ 0 };
    return (struct charsmap){ blob.s + 4, blob.s + 4 + trie_bytes, trie_bytes / 4, blob.n - 4 - trie_bytes };
}

static rf_status charsmap(struct rf_str blob, bool clusters, const char *s, size_t n, size_t *first, struct rf_buf *out)
{
    struct charsmap m = map_of(blob);
    if (!m.trie) return rf_buf_append(out, s, n);
    if (clusters) map_clusters(&m, s, n, first, out);
    for (size_t i = 0, len; i < n && !clusters && !out->bad; i += len) {
        uint32_t cp;
        bool ok;
        if (map_put(&m, s + i, n - i, false, &len, out)) continue;
        len = rf_uni_next(s + i, n - i, &cp, &ok);
        rf_buf_append(out, s + i, len);
    }
    return out->bad;
}

/* What the first *len bytes of s become: a user-defined piece itself, what the longest key maps to, or the character itself. */
static struct rf_str sp_prefix(const struct rf_added_set *keep, const struct charsmap *m, const char *s, size_t n, size_t *len)
{
    const struct rf_added *kept = keep->n ? rf_added_match(keep, s, n) : NULL;
    uint32_t value, cp;
    bool ok;
    *len = kept ? kept->text.n : m->n_unit ? map_find(m->trie, m->n_unit, s, n, false, &value) : 0;
    if (!kept && *len && value < m->n_text) return (struct rf_str){ m->text + value, strnlen(m->text + value, m->n_text - value) };
    if (!kept) *len = rf_uni_next(s, n, &cp, &ok);
    return (struct rf_str){ s, *len };
}

/* SentencePiece's normalizer, the whole of it (its normalizer.cc): white space is squeezed over user-defined pieces as over all else.
 * start: the text is the first of the call. */
static rf_status sentencepiece(const struct rf_norm_step *st, const char *s, size_t n, bool start, struct rf_buf *out)
{
    static const struct rf_str plain = { " ", 1 }, meta = { SPACE, 3 };
    struct rf_str space = st->flags & RF_SP_ESCAPE ? meta : plain, p;
    struct charsmap m = map_of(st->pattern);
    bool squeeze_it = st->flags & RF_SP_SQUEEZE, after_space = squeeze_it;
    size_t i = 0, len = 0;
    for (; squeeze_it && i < n; i += len) {
        p = sp_prefix(st->keep, &m, s + i, n - i, &len);
        if (p.n != 1 || *p.s != ' ') break;
    }
    if (i == n) return RF_OK;
    if (start && st->flags & RF_SP_PREFIX) rf_buf_append(out, space.s, space.n);
    size_t done = i; /* s[done..i) stays as it is and is not written yet */
    for (; i < n && !out->bad; i += len) {
        p = sp_prefix(st->keep, &m, s + i, n - i, &len);
        if (p.s == s + i && !memchr(p.s, ' ', p.n)) {
            after_space = false;
            continue;
        }
        rf_buf_append(out, s + done, i - done);
        done = i + len;
        for (; after_space && p.n && *p.s == ' '; p.n--) p.s++;
        for (size_t k = 0; k < p.n; k++) rf_buf_append(out, p.s[k] == ' ' ? space.s : p.s + k, p.s[k] == ' ' ? space.n : 1);
        if (p.n) after_space = squeeze_it && p.s[p.n - 1] == ' ';
    }
    rf_buf_append(out, s + done, n - done);
    while (squeeze_it && !out->bad && out->len >= space.n && !memcmp(rf_buf_str(out) + out->len - space.n, space.s, space.n)) out->len -= space.n;
    return out->bad;
}

/* ---- the steps ---- */

static rf_status bert(uint32_t flags, size_t *first, struct rf_buf *a, struct rf_buf *b)
{
    static const struct { uint32_t flag; enum char_op op; } rows[] = {
        { RF_BERT_CLEAN, OP_BERT_CLEAN }, { RF_BERT_CJK, OP_BERT_CJK }, { RF_BERT_ACCENTS, OP_DROP_MN }, { RF_BERT_LOWER, OP_LOWER },
    };
    for (size_t i = 0; i < RF_COUNT(rows); i++) {
        if (!(flags & rows[i].flag)) continue;
        struct rf_buf t;
        if (rows[i].flag == RF_BERT_ACCENTS) {
            rf_buf_clear(b);
            RF_TRY(form_step(rf_buf_str(a), a->len, false, false, first, b));
            t = *a, *a = *b, *b = t;
        }
        rf_buf_clear(b);
        RF_TRY(each_char(rf_buf_str(a), a->len, rows[i].op, first, b));
        t = *a, *a = *b, *b = t;
    }
    return RF_OK;
}

/* Bytes at the start that became of the first character, with the step's content put before the text. */
static size_t prepended(const struct rf_norm_step *st, const char *s, size_t n, size_t first)
{
    uint32_t cp;
    bool ok;
    if (!n || st->content.n) return first ? first + st->content.n : 0;
    return RF_MAX(first, (size_t)rf_uni_next(s, n, &cp, &ok));
}

/* start: the text is the first of the call. *first: bytes at its start that became of the call's first character. */
static rf_status apply(const struct rf_norm_step *st, bool start, size_t *first, struct rf_buf *a, struct rf_buf *b)
{
    const char *s = rf_buf_str(a);
    size_t n = a->len;
    rf_buf_clear(b);
    switch (st->kind) {
    case RF_NORM_NFC: return form_step(s, n, true, false, first, b);
    case RF_NORM_NFD: return form_step(s, n, false, false, first, b);
    case RF_NORM_NFKC: return form_step(s, n, true, true, first, b);
    case RF_NORM_NFKD: return form_step(s, n, false, true, first, b);
    case RF_NORM_LOWER: return each_char(s, n, OP_LOWER, first, b);
    case RF_NORM_STRIP: return strip(s, n, st->flags, first, b);
    case RF_NORM_STRIP_ACCENTS: return each_char(s, n, OP_DROP_M, first, b);
    case RF_NORM_REPLACE: return rf_norm_replace(st, s, n, first, b);
    case RF_NORM_PREPEND:
        *first = prepended(st, s, n, *first);
        if (n) rf_buf_append(b, st->content.s, st->content.n);
        return rf_buf_append(b, s, n);
    case RF_NORM_CHARSMAP: return charsmap(st->pattern, st->flags, s, n, first, b);
    case RF_NORM_NMT: return each_char(s, n, OP_NMT, first, b);
    case RF_NORM_SQUEEZE: return squeeze(s, n, b);
    case RF_NORM_SENTENCEPIECE: return sentencepiece(st, s, n, start, b);
    case RF_NORM_BERT: break;
    }
    rf_buf_append(b, s, n);
    struct rf_buf t = *a;
    *a = *b;
    *b = t;
    rf_status r = bert(st->flags, first, a, b);
    t = *a, *a = *b, *b = t;
    return r;
}

static bool nfc_is_identity(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        bool ok;
        if ((unsigned char)s[i] < 0xCC) { /* below U+0300 */
            i++;
            continue;
        }
        i += rf_uni_next(s + i, n - i, &cp, &ok);
        if (ok && !inert_nfc(cp)) return false;
    }
    return true;
}

rf_status rf_norm_run(struct rf_tok_call *c, const char *s, size_t n, struct rf_str *out)
{
    const struct rf_tokenizer *t = c->t;
    uint32_t cp;
    bool ok;
    size_t first = n && t->wants_first && c->text_start ? rf_uni_next(s, n, &cp, &ok) : 0;
    *out = (struct rf_str){ s, n };
    c->first_end = first ? s + first : s;
    if (!t->n_norm || (t->n_norm == 1 && t->norm[0].kind == RF_NORM_NFC && nfc_is_identity(s, n))) return RF_OK;
    struct rf_buf a = { .max = RF_TOK_MAX_TEXT }, b = { .max = RF_TOK_MAX_TEXT };
    rf_status st = rf_buf_append(&a, s, n);
    for (uint32_t i = 0; i < t->n_norm && !st; i++) {
        st = apply(&t->norm[i], c->text_start, &first, &a, &b);
        struct rf_buf x = a;
        a = b;
        b = x;
    }
    if (!st) {
        char *copy = rf_arena_alloc(&c->arena, a.len + 1);
        if (copy) memcpy(copy, rf_buf_str(&a), a.len);
        else st = RF_NOMEM;
        *out = (struct rf_str){ copy, a.len };
        c->first_end = copy && c->text_start ? copy + RF_MIN(first, a.len) : copy;
    }
    rf_buf_release(&a);
    rf_buf_release(&b);
    if (st == RF_NOMEM) return rf_fail_nomem(c->err, "normalized text", n);
    if (st == RF_INVALID) return rf_fail(c->err, st, "text: found bytes that are not UTF-8, which this tokenizer's normalizer needs");
    return st ? rf_fail(c->err, st, "text: its normalized form exceeds a limit") : RF_OK;
}
