#include <string.h>

#include "text/tok.h"

#define SPACE "\xE2\x96\x81"

size_t rf_bytes_of_alphabet(struct rf_str p, char *out)
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

/* What `tokenizers` calls cleanup: no space before punctuation and English endings. */
static const struct { const char *from, *to; } tidy[] = {
    { " .", "." }, { " ?", "?" }, { " !", "!" }, { " ,", "," }, { " ' ", "'" }, { " n't", "n't" }, { " 'm", "'m" }, { " do not", " don't" },
    { " 's", "'s" }, { " 've", "'ve" }, { " 're", "'re" },
};

/* GGUF's spelling: "▁word" begins a word, "piece" goes on; "[CLS]" and the like carry no mark. */
static size_t bytes_of_wordpiece(struct rf_str p, char *out)
{
    bool begins = p.n >= 3 && !memcmp(p.s, SPACE, 3), marked = begins || (p.n && *p.s == '[');
    size_t skip = begins ? 3 : 0;
    if (marked) *out = ' ';
    memcpy(out + marked, p.s + skip, p.n - skip);
    return marked + p.n - skip;
}

static size_t bytes_of(const struct rf_tokenizer *t, uint32_t id, char *out)
{
    struct rf_str p = t->vocab.piece[id];
    bool spelled = t->attr[id] == RF_TOKEN_CONTROL || t->attr[id] == RF_TOKEN_USER;
    if (!p.n) return 0;
    if (t->decode == RF_DECODE_WORDPIECE) return bytes_of_wordpiece(p, out);
    if (t->attr[id] == RF_TOKEN_BYTE && !(t->n_dec && t->decode == RF_DECODE_BYTES)) {
        int b = rf_tok_byte_piece(p);
        if (b >= 0) {
            *out = (char)b;
            return 1;
        }
    }
    if (t->decode == RF_DECODE_BYTES && !spelled) return rf_bytes_of_alphabet(p, out);
    if (t->unk_text.n && t->attr[id] == RF_TOKEN_UNKNOWN) p = t->unk_text;
    else if (t->decode == RF_DECODE_SPM && (t->n_dec || t->attr[id] != RF_TOKEN_CONTROL)) return bytes_of_meta(p, out);
    memcpy(out, p.s, p.n);
    return p.n;
}

/* ---- tokenizer.json's decoders, one token at a time ---- */

static rf_status replace_text(struct rf_str from, struct rf_str to, struct rf_buf *a, struct rf_buf *b)
{
    struct rf_norm_step st = { .pattern = from, .content = to };
    struct rf_buf t;
    rf_buf_clear(b);
    RF_TRY(rf_norm_replace(&st, rf_buf_str(a), a->len, NULL, b));
    t = *a, *a = *b, *b = t;
    return RF_OK;
}

static rf_status dec_wordpiece(const struct rf_dec_step *d, bool first, struct rf_buf *a, struct rf_buf *b)
{
    struct rf_buf t;
    bool goes_on = !first && a->len >= d->text.n && !memcmp(rf_buf_str(a), d->text.s, d->text.n);
    size_t cut = goes_on ? d->text.n : 0;
    rf_buf_clear(b);
    if (!first && !goes_on) rf_buf_putc(b, ' ');
    rf_buf_append(b, rf_buf_str(a) + cut, a->len - cut);
    t = *a, *a = *b, *b = t;
    for (size_t i = 0; i < RF_COUNT(tidy) && d->flag; i++)
        RF_TRY(replace_text((struct rf_str){ tidy[i].from, strlen(tidy[i].from) }, (struct rf_str){ tidy[i].to, strlen(tidy[i].to) }, a, b));
    return a->bad;
}

static rf_status dec_strip(const struct rf_dec_step *d, struct rf_buf *a, struct rf_buf *b)
{
    const char *s = rf_buf_str(a);
    size_t from = 0, to = a->len, k = d->text.n;
    struct rf_buf t;
    for (uint32_t i = 0; k && i < d->start && to - from >= k && !memcmp(s + from, d->text.s, k); i++) from += k;
    for (uint32_t i = 0; k && i < d->stop && to - from >= k && !memcmp(s + to - k, d->text.s, k); i++) to -= k;
    rf_buf_clear(b);
    rf_buf_append(b, s + from, to - from);
    t = *a, *a = *b, *b = t;
    return a->bad;
}

/* A sign before one digit counts as a digit there. */
static int byte_of(struct rf_str s)
{
    char copy[6];
    if (s.n != sizeof copy) return -1;
    memcpy(copy, s.s, sizeof copy);
    if (copy[3] == '+' && copy[4] != '+') copy[3] = '0';
    return rf_tok_byte_piece((struct rf_str){ copy, sizeof copy });
}

static rf_status dec_step(const struct rf_dec_step *d, bool first, bool last, struct rf_buf *a, struct rf_buf *b)
{
    static const struct rf_str space = { " ", 1 }, none = { "", 0 };
    struct rf_str s = { rf_buf_str(a), a->len };
    struct rf_buf t;
    int byte;
    switch (d->kind) {
    case RF_DEC_BYTE_LEVEL:
        RF_TRY(rf_buf_reserve(b, s.n));
        b->len = rf_bytes_of_alphabet(s, b->data);
        break;
    case RF_DEC_META: return replace_text(d->text, first && d->flag ? none : space, a, b);
    case RF_DEC_SUFFIX: return replace_text(d->text, last ? none : space, a, b);
    case RF_DEC_WORDPIECE: return dec_wordpiece(d, first, a, b);
    case RF_DEC_STRIP: return dec_strip(d, a, b);
    case RF_DEC_REPLACE:
        rf_buf_clear(b);
        RF_TRY(rf_norm_replace(&d->replace, s.s, s.n, NULL, b));
        break;
    case RF_DEC_BYTE:
        byte = byte_of(s);
        if (byte < 0) return RF_OK;
        rf_buf_clear(b);
        rf_buf_putc(b, (char)byte);
        break;
    case RF_DEC_SPACE:
        rf_buf_clear(b);
        if (!first) rf_buf_putc(b, ' ');
        rf_buf_append(b, s.s, s.n);
        break;
    }
    t = *a, *a = *b, *b = t;
    return a->bad;
}

/* Token id at its place into *a; *b is scratch. A step that fails (a regex on bytes that are no text) is left out. */
static rf_status chain(const struct rf_tokenizer *t, uint32_t id, bool first, bool last, struct rf_buf *a, struct rf_buf *b)
{
    rf_buf_clear(a);
    RF_TRY(rf_buf_append(a, t->vocab.piece[id].s, t->vocab.piece[id].n));
    for (uint32_t i = 0; i < t->n_dec; i++)
        if (dec_step(&t->dec[i], first, last, a, b) == RF_NOMEM) return RF_NOMEM;
    return a->bad;
}

static rf_status make_chain_bytes(struct rf_tokenizer *t, struct rf_error *err)
{
    struct rf_buf a = { .max = 1 << 24 }, b = { .max = 1 << 24 }, all = { .max = UINT32_MAX };
    rf_status st = RF_OK;
    for (uint32_t i = 0; i < t->vocab.n && !st; i++) {
        t->byte_off[i] = (uint32_t)all.len;
        st = t->vocab.piece[i].n ? chain(t, i, false, false, &a, &b) : RF_OK;
        if (!st && t->vocab.piece[i].n) st = rf_buf_append(&all, rf_buf_str(&a), a.len);
    }
    t->byte_off[t->vocab.n] = (uint32_t)all.len;
    rf_buf_release(&a);
    rf_buf_release(&b);
    t->bytes = all.data;
    return st ? rf_fail_nomem(err, "vocabulary", all.len) : RF_OK;
}

rf_status rf_tok_make_bytes(struct rf_tokenizer *t, struct rf_error *err)
{
    size_t total = 0, o = 0;
    for (uint32_t i = 0; i < t->vocab.n; i++)
        if (!rf_add(total, (t->attr[i] == RF_TOKEN_UNKNOWN ? t->unk_text.n : 0) + t->vocab.piece[i].n + 1, &total) || total > UINT32_MAX)
            return rf_fail(err, RF_TOO_LARGE, "vocabulary: found more than 4 GiB of text");
        else t->max_piece = RF_MAX(t->max_piece, (uint32_t)t->vocab.piece[i].n);
    t->byte_off = rf_alloc_array((size_t)t->vocab.n + 1, sizeof *t->byte_off);
    if (t->byte_off && t->decode == RF_DECODE_CHAIN) return make_chain_bytes(t, err);
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

static bool spelled_space(const struct rf_tokenizer *t, int32_t id)
{
    struct rf_str p = t->vocab.piece[id];
    return t->attr[id] != RF_TOKEN_UNKNOWN && t->attr[id] != RF_TOKEN_CONTROL && p.n >= 3 && !memcmp(p.s, SPACE, 3);
}

static void feed(struct rf_detok *d, struct rf_str b, struct rf_buf *out);

/* Where text goes: as it is (raw), or what is whole UTF-8. */
struct sink { struct rf_detok *d; struct rf_buf *out, tmp[4]; bool raw; };

static struct sink sink_of(struct rf_detok *d, struct rf_buf *out, bool raw)
{
    struct sink k = { .d = d, .out = out, .raw = raw };
    for (size_t i = 0; i < RF_COUNT(k.tmp); i++) k.tmp[i].max = 1 << 24;
    return k;
}

static void sink_release(struct sink *k)
{
    for (size_t i = 0; i < RF_COUNT(k->tmp); i++) rf_buf_release(&k->tmp[i]);
}

static void put_text(struct sink *k, uint32_t id, struct rf_str b)
{
    struct rf_detok *d = k->d;
    const struct rf_tokenizer *t = d->t;
    if (!b.n) return;
    if (d->at_start && t->decode_strip && *b.s == ' ' && (!t->decode_spelled || spelled_space(t, id))) {
        b.s++;
        b.n--;
        if (!b.n && t->decode_squeeze) return;
    }
    d->at_start = false;
    if (k->raw) rf_buf_append(k->out, b.s, b.n);
    else feed(d, b, k->out);
}

/* The token's bytes at its place among the tokens; tmp owns what has no other home. */
static struct rf_str bytes_at(const struct rf_tokenizer *t, uint32_t id, bool first, bool last, struct rf_buf tmp[2])
{
    if (!last && !(first && t->decode_first)) return rf_tokenizer_bytes(t, (int32_t)id);
    if (chain(t, id, first, last, &tmp[0], &tmp[1])) return (struct rf_str){ 0 };
    return (struct rf_str){ rf_buf_str(&tmp[0]), tmp[0].len };
}

/* What waited for whether another token comes. */
static void put_owed(struct sink *k, bool last)
{
    struct rf_detok *d = k->d;
    if (!d->owed) return;
    struct rf_str b = bytes_at(d->t, d->owed - 1, d->owed_first, last, k->tmp);
    size_t from = RF_MIN((size_t)d->owed_from, b.n);
    put_text(k, d->owed - 1, (struct rf_str){ b.s + from, b.n - from });
    d->owed = 0;
}

static void put_token(struct sink *k, int32_t id)
{
    struct rf_detok *d = k->d;
    const struct rf_tokenizer *t = d->t;
    if (id < 0 || (uint32_t)id >= t->vocab.n || !t->vocab.piece[id].n || (d->skip_special && t->attr[id] == RF_TOKEN_CONTROL)) return;
    put_owed(k, false);
    bool first = d->at_start && !d->began;
    struct rf_str b = bytes_at(t, (uint32_t)id, first, false, k->tmp);
    d->began = true;
    if (t->decode_last) {
        struct rf_str e = bytes_at(t, (uint32_t)id, first, true, k->tmp + 2);
        size_t same = 0;
        while (same < b.n && same < e.n && b.s[same] == e.s[same]) same++;
        if (same < b.n || same < e.n) {
            d->owed = (uint32_t)id + 1;
            d->owed_first = first;
            d->owed_from = (uint32_t)same;
            b.n = same;
        }
    }
    put_text(k, (uint32_t)id, b);
}

rf_status rf_tokenizer_decode(const struct rf_tokenizer *t, const int32_t *ids, size_t n, bool skip_special, struct rf_buf *out)
{
    struct rf_detok d;
    struct sink k = sink_of(&d, out, true);
    rf_detok_init(&d, t, skip_special);
    for (size_t i = 0; i < n && !out->bad; i++) put_token(&k, ids[i]);
    put_owed(&k, true);
    sink_release(&k);
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

static void feed(struct rf_detok *d, struct rf_str b, struct rf_buf *out)
{
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
}

rf_status rf_detok_push(struct rf_detok *d, int32_t id, struct rf_buf *out)
{
    struct sink k = sink_of(d, out, false);
    put_token(&k, id);
    sink_release(&k);
    return out->bad;
}

rf_status rf_detok_finish(struct rf_detok *d, struct rf_buf *out)
{
    struct sink k = sink_of(d, out, false);
    put_owed(&k, true);
    sink_release(&k);
    if (d->n_held) rf_buf_append(out, "\xEF\xBF\xBD", 3);
    d->n_held = 0;
    return out->bad;
}
