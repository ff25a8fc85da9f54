#include <string.h>

#include "text/tok.h"

#define SPACE "\xE2\x96\x81"

/* Byte-level piece: each character back to its byte; a character outside the alphabet leaves the piece as it is. */
static size_t bytes_of_alphabet(struct rf_str p, char *out)
{
    size_t o = 0;
    for (size_t i = 0; i < p.n;) {
        uint32_t cp;
        bool ok;
        i += rf_uni_next(p.s + i, p.n - i, &cp, &ok);
        int b = ok ? rf_char_to_byte(cp) : -1;
        if (b < 0) {
            memcpy(out, p.s, p.n);
            return p.n;
        }
        out[o++] = (char)b;
    }
    return o;
}

static size_t bytes_of_meta(struct rf_str p, char *out)
{
    size_t o = 0;
    for (size_t i = 0; i < p.n;) {
        if (p.n - i >= 3 && !memcmp(p.s + i, SPACE, 3)) {
            out[o++] = ' ';
            i += 3;
        } else {
            out[o++] = p.s[i++];
        }
    }
    return o;
}

/* Hugging Face's clean_up of one word: no space before punctuation and English endings. */
static size_t clean_word(char *s, size_t n)
{
    static const char *const tight[] = { ".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re" };
    for (size_t i = 0; i < RF_COUNT(tight); i++)
        if (n == strlen(tight[i]) + 1 && !memcmp(s + 1, tight[i], n - 1)) {
            memmove(s, s + 1, n - 1);
            return n - 1;
        }
    return n;
}

static size_t bytes_of_wordpiece(const struct rf_tokenizer *t, struct rf_str p, char *out)
{
    size_t skip = 0;
    bool inner;
    if (t->word_first.n) {
        inner = p.n < 3 || memcmp(p.s, SPACE, 3);
        skip = inner ? 0 : 3;
        if (p.n && *p.s == '[') inner = false; /* [CLS] and the like carry no mark */
    } else {
        inner = t->word_prefix.n && p.n >= t->word_prefix.n && !memcmp(p.s, t->word_prefix.s, t->word_prefix.n);
        skip = inner ? t->word_prefix.n : 0;
    }
    size_t o = 0;
    if (!inner) out[o++] = ' ';
    memcpy(out + o, p.s + skip, p.n - skip);
    o += p.n - skip;
    return !inner && t->decode_cleanup ? clean_word(out, o) : o;
}

static size_t bytes_of(const struct rf_tokenizer *t, uint32_t id, char *out)
{
    struct rf_str p = t->vocab.piece[id];
    bool spelled = t->attr[id] == RF_TOKEN_CONTROL || t->attr[id] == RF_TOKEN_USER;
    if (!p.n) return 0;
    if (t->decode == RF_DECODE_WORDPIECE) return bytes_of_wordpiece(t, p, out);
    if (t->attr[id] == RF_TOKEN_BYTE) {
        int b = rf_tok_byte_piece(p);
        if (b >= 0) {
            *out = (char)b;
            return 1;
        }
    }
    if (t->decode == RF_DECODE_BYTES && !spelled) return bytes_of_alphabet(p, out);
    if (t->decode == RF_DECODE_SPM && t->attr[id] != RF_TOKEN_CONTROL) return bytes_of_meta(p, out);
    memcpy(out, p.s, p.n);
    if (t->decode_suffix.n && p.n >= t->decode_suffix.n && !memcmp(p.s + p.n - t->decode_suffix.n, t->decode_suffix.s, t->decode_suffix.n)) {
        p.n -= t->decode_suffix.n;
        out[p.n++] = ' ';
    }
    return p.n;
}

rf_status rf_tok_make_bytes(struct rf_tokenizer *t, struct rf_error *err)
{
    size_t total = 0, o = 0;
    for (uint32_t i = 0; i < t->vocab.n; i++)
        if (!rf_add(total, t->vocab.piece[i].n + 1, &total) || total > UINT32_MAX)
            return rf_fail(err, RF_TOO_LARGE, "vocabulary: found more than 4 GiB of text");
        else t->max_piece = RF_MAX(t->max_piece, (uint32_t)t->vocab.piece[i].n);
    t->byte_off = rf_alloc_array((size_t)t->vocab.n + 1, sizeof *t->byte_off);
    t->bytes = rf_alloc(total);
    if (!t->byte_off || !t->bytes) return rf_fail_nomem(err, "vocabulary", total);
    for (uint32_t i = 0; i < t->vocab.n; i++) {
        t->byte_off[i] = (uint32_t)o;
        o += bytes_of(t, i, t->bytes + o);
    }
    t->byte_off[t->vocab.n] = (uint32_t)o;
    return RF_OK;
}

struct rf_str rf_tokenizer_bytes(const struct rf_tokenizer *t, int32_t id)
{
    if (id < 0 || (uint32_t)id >= t->vocab.n) return (struct rf_str){ 0 };
    return (struct rf_str){ t->bytes + t->byte_off[id], t->byte_off[id + 1] - t->byte_off[id] };
}

/* The token's bytes where the text stands, at its start or later. */
static struct rf_str next_bytes(const struct rf_tokenizer *t, int32_t id, bool skip_special, bool *at_start)
{
    struct rf_str b = rf_tokenizer_bytes(t, id);
    if (!b.n || (skip_special && t->attr[id] == RF_TOKEN_CONTROL)) return (struct rf_str){ 0 };
    if (*at_start && t->decode_strip && *b.s == ' ') {
        b.s++;
        b.n--;
    }
    *at_start = false;
    return b;
}

rf_status rf_tokenizer_decode(const struct rf_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct rf_buf *out)
{
    bool at_start = true;
    for (size_t i = 0; i < n; i++) {
        struct rf_str b = next_bytes(t, ids[i], skip_special, &at_start);
        if (b.n) RF_TRY(rf_buf_append(out, b.s, b.n));
    }
    return out->bad;
}

void rf_detok_init(struct rf_detok *d, const struct rf_tokenizer *t, bool skip_special)
{
    memset(d, 0, sizeof *d);
    d->t = t;
    d->skip_special = skip_special;
    d->at_start = true;
}

/* Length of the longest start of s that could begin a character (Unicode 3.9, maximal subpart); *more: it is only short of
 * bytes. A whole character gives its length and *whole. */
static size_t subpart(const char *s, size_t n, bool *whole, bool *more)
{
    unsigned char c = (unsigned char)*s, lo = 0x80, hi = 0xBF;
    size_t need = c < 0x80 ? 1 : c >= 0xC2 && c <= 0xDF ? 2 : c >= 0xE0 && c <= 0xEF ? 3 : c >= 0xF0 && c <= 0xF4 ? 4 : 0;
    *whole = *more = false;
    if (!need) return 1;
    if (c == 0xE0) lo = 0xA0;
    if (c == 0xED) hi = 0x9F;
    if (c == 0xF0) lo = 0x90;
    if (c == 0xF4) hi = 0x8F;
    size_t k = 1;
    for (; k < need; k++) {
        if (k == n) {
            *more = true;
            return k;
        }
        unsigned char b = (unsigned char)s[k];
        if (b < lo || b > hi) return k;
        lo = 0x80;
        hi = 0xBF;
    }
    *whole = true;
    return k;
}

/* Appends what is decided of s[0..n), returns how many bytes it took. */
static size_t put_decided(const char *s, size_t n, struct rf_buf *out)
{
    size_t at = 0, plain = 0;
    while (at < n) {
        bool whole, more;
        size_t k = subpart(s + at, n - at, &whole, &more);
        if (more) break;
        if (!whole) {
            rf_buf_append(out, s + plain, at - plain);
            rf_buf_append(out, "\xEF\xBF\xBD", 3);
            plain = at + k;
        }
        at += k;
    }
    rf_buf_append(out, s + plain, at - plain);
    return at;
}

rf_status rf_detok_push(struct rf_detok *d, int32_t id, struct rf_buf *out)
{
    struct rf_str b = next_bytes(d->t, id, d->skip_special, &d->at_start);
    while (d->n_held && b.n) { /* at most three bytes wait; feed them on one by one */
        d->held[d->n_held++] = *b.s++;
        b.n--;
        size_t took = put_decided(d->held, d->n_held, out);
        memmove(d->held, d->held + took, d->n_held - took);
        d->n_held -= (unsigned)took;
    }
    if (b.n) {
        size_t took = put_decided(b.s, b.n, out);
        d->n_held = (unsigned)(b.n - took);
        memcpy(d->held, b.s + took, d->n_held);
    }
    return out->bad;
}

rf_status rf_detok_finish(struct rf_detok *d, struct rf_buf *out)
{
    if (d->n_held) rf_buf_append(out, "\xEF\xBF\xBD", 3);
    d->n_held = 0;
    return out->bad;
}
