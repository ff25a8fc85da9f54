/* tokenizer.json's normalizer, pre_tokenizer, post_processor and decoder, as the PyPI package `tokenizers` defines them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/hfadded.h"

/* ---- the tree ---- */

static struct rf_jnode *node_new(struct rf_json *j, uint32_t *left)
{
    if (!*left) return NULL;
    --*left;
    return rf_arena_alloc(j->arena, sizeof(struct rf_jnode));
}

rf_status rf_jtree_read(struct rf_json *j, uint32_t *left, struct rf_jnode **out)
{
    struct rf_jnode *n = node_new(j, left);
    bool more;
    *out = n;
    if (!n) return rf_fail(j->err, RF_TOO_LARGE, "%s: too many values outside the vocabulary", j->name);
    RF_TRY(rf_json_peek(j, &n->kind));
    if (n->kind == RF_JSON_ARRAY || n->kind == RF_JSON_OBJECT) {
        struct rf_jnode **tail = &n->child;
        rf_status st;
        RF_TRY(rf_json_enter(j, n->kind == RF_JSON_OBJECT ? '{' : '['));
        while (!(st = rf_json_next(j, &more)) && more) {
            struct rf_str key = { "", 0 };
            if (n->kind == RF_JSON_OBJECT) RF_TRY(rf_json_key(j, &key));
            RF_TRY(rf_jtree_read(j, left, tail));
            (*tail)->key = key;
            tail = &(*tail)->next;
        }
        return st;
    }
    struct rf_json_value v;
    RF_TRY(rf_json_scalar(j, &v));
    n->str = v.kind == RF_JSON_STRING ? v.str : (struct rf_str){ "", 0 };
    n->num = v.kind == RF_JSON_BOOL ? (double)v.i : v.f;
    return RF_OK;
}

const struct rf_jnode *rf_jtree_get(const struct rf_jnode *n, const char *key)
{
    for (const struct rf_jnode *c = n && n->kind == RF_JSON_OBJECT ? n->child : NULL; c; c = c->next)
        if (rf_str_is(c->key, key)) return c->kind == RF_JSON_NULL ? NULL : c;
    return NULL;
}

struct rf_str rf_jtree_str(const struct rf_jnode *n, const char *key)
{
    const struct rf_jnode *c = rf_jtree_get(n, key);
    return c && c->kind == RF_JSON_STRING ? c->str : (struct rf_str){ "", 0 };
}

bool rf_jtree_bool(const struct rf_jnode *n, const char *key, bool fallback)
{
    const struct rf_jnode *c = rf_jtree_get(n, key);
    return c && c->kind == RF_JSON_BOOL ? c->num != 0 : fallback;
}

int64_t rf_jtree_int(const struct rf_jnode *n, const char *key, int64_t fallback)
{
    const struct rf_jnode *c = rf_jtree_get(n, key);
    return c && c->kind == RF_JSON_NUMBER && fabs(c->num) < 1e15 ? (int64_t)c->num : fallback;
}

static rf_status unknown(struct rf_error *err, const char *what, struct rf_str type)
{
    return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: %s: found type \"%.*s\", expected a known one", what,
                   (int)RF_MIN(type.n, (size_t)60), type.s);
}

/* ---- normalizer ---- */

static struct rf_norm_step *norm_add(struct rf_tokenizer *t, enum rf_norm_kind kind)
{
    struct rf_norm_step *s = &t->norm[t->n_norm++];
    s->kind = kind;
    return s;
}

static rf_status norm_replace(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    struct rf_norm_step *s = norm_add(t, RF_NORM_REPLACE);
    const struct rf_jnode *p = rf_jtree_get(n, "pattern");
    struct rf_str regex = rf_jtree_str(p, "Regex");
    s->pattern = rf_jtree_str(p, "String");
    s->content = rf_jtree_str(n, "content");
    return s->pattern.n ? RF_OK : rf_regex_compile(&s->regex, regex.s, regex.n, err);
}

static int base64_value(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
}

rf_status rf_tok_base64(struct rf_arena *arena, struct rf_str b, struct rf_str *out, struct rf_error *err)
{
    char *to = rf_arena_alloc(arena, b.n / 4 * 3 + 4);
    size_t o = 0;
    uint32_t acc = 0, bits = 0;
    if (!to) return rf_fail_nomem(err, "base64 text", b.n);
    for (size_t i = 0; i < b.n && b.s[i] != '='; i++) {
        int v = base64_value(b.s[i]);
        if (v < 0) return rf_fail(err, RF_CORRUPT, "tokenizer: found byte %d, expected base64", b.s[i]);
        acc = acc << 6 | (uint32_t)v;
        bits += 6;
        if (bits >= 8) to[o++] = (char)(acc >> (bits -= 8));
    }
    *out = (struct rf_str){ to, o };
    return RF_OK;
}

static rf_status norm_charsmap(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    struct rf_str map;
    RF_TRY(rf_tok_base64(&t->arena, rf_jtree_str(n, "precompiled_charsmap"), &map, err));
    if (!map.n) return RF_OK;
    struct rf_norm_step *st = norm_add(t, RF_NORM_CHARSMAP);
    st->pattern = map;
    st->flags = 1; /* by user-perceived characters */
    return RF_OK;
}

static void norm_bert(struct rf_tokenizer *t, const struct rf_jnode *n)
{
    bool lower = rf_jtree_bool(n, "lowercase", true);
    norm_add(t, RF_NORM_BERT)->flags = (rf_jtree_bool(n, "clean_text", true) ? RF_BERT_CLEAN : 0u) |
                                       (rf_jtree_bool(n, "handle_chinese_chars", true) ? RF_BERT_CJK : 0u) |
                                       (rf_jtree_bool(n, "strip_accents", lower) ? RF_BERT_ACCENTS : 0u) | (lower ? RF_BERT_LOWER : 0u);
}

static bool after_bytes(const struct rf_tokenizer *t)
{
    for (uint32_t i = 0; i < t->n_split; i++)
        if (t->split[i].kind == RF_SPLIT_TO_BYTES) return true;
    return false;
}

static rf_status split_add(struct rf_tokenizer *t, enum rf_split_kind kind, struct rf_split_step **out, struct rf_error *err)
{
    if (t->n_split == RF_TOK_MAX_STEPS) return rf_fail(err, RF_TOO_LARGE, "tokenizer.json: pre_tokenizer: found more than %d steps", RF_TOK_MAX_STEPS);
    if (kind != RF_SPLIT_REGEX && after_bytes(t)) /* it would see the alphabet of bytes, where ours sees the bytes */
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: pre_tokenizer: found a step other than a pattern behind ByteLevel");
    *out = &t->split[t->n_split++];
    (*out)->kind = kind;
    return RF_OK;
}

rf_status rf_json_normalizer(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    static const struct { const char *name; enum rf_norm_kind kind; } plain[] = {
        { "NFC", RF_NORM_NFC }, { "NFD", RF_NORM_NFD }, { "NFKC", RF_NORM_NFKC }, { "NFKD", RF_NORM_NFKD },
        { "Lowercase", RF_NORM_LOWER }, { "StripAccents", RF_NORM_STRIP_ACCENTS }, { "Nmt", RF_NORM_NMT },
    };
    if (!n || n->kind == RF_JSON_NULL) return RF_OK;
    struct rf_str type = rf_jtree_str(n, "type");
    if (rf_str_is(type, "Sequence")) {
        const struct rf_jnode *list = rf_jtree_get(n, "normalizers");
        for (const struct rf_jnode *c = list ? list->child : NULL; c; c = c->next) RF_TRY(rf_json_normalizer(t, c, err));
        return RF_OK;
    }
    if (after_bytes(t))
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: normalizer: found %.*s behind ByteLevel, expected ByteLevel last", (int)RF_MIN(type.n, (size_t)60), type.s);
    if (t->n_norm == RF_TOK_MAX_STEPS) return rf_fail(err, RF_TOO_LARGE, "tokenizer.json: normalizer: found more than %d steps", RF_TOK_MAX_STEPS);
    for (size_t i = 0; i < RF_COUNT(plain); i++)
        if (rf_str_is(type, plain[i].name)) {
            norm_add(t, plain[i].kind);
            return RF_OK;
        }
    if (rf_str_is(type, "Replace")) return norm_replace(t, n, err);
    if (rf_str_is(type, "Precompiled")) return norm_charsmap(t, n, err);
    if (rf_str_is(type, "Prepend")) norm_add(t, RF_NORM_PREPEND)->content = rf_jtree_str(n, "prepend");
    else if (rf_str_is(type, "BertNormalizer")) norm_bert(t, n);
    else if (rf_str_is(type, "Strip"))
        norm_add(t, RF_NORM_STRIP)->flags = (rf_jtree_bool(n, "strip_left", true) ? RF_STRIP_LEFT : 0u) |
                                            (rf_jtree_bool(n, "strip_right", true) ? RF_STRIP_RIGHT : 0u);
    else if (rf_str_is(type, "ByteLevel")) {
        struct rf_split_step *s;
        t->byte_level = true;
        return split_add(t, RF_SPLIT_TO_BYTES, &s, err);
    } else return unknown(err, "normalizer", type);
    return RF_OK;
}

/* ---- pre-tokenizer ---- */

static rf_status parse_how(const struct rf_jnode *n, enum rf_split_how fallback, enum rf_split_how *how, struct rf_error *err)
{
    static const char *const names[] = { "Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous" };
    struct rf_str s = rf_jtree_str(n, "behavior");
    *how = fallback;
    if (!s.n) return RF_OK;
    for (unsigned i = 0; i < RF_COUNT(names); i++)
        if (rf_str_is(s, names[i])) {
            *how = (enum rf_split_how)i;
            return RF_OK;
        }
    return unknown(err, "Split behavior", s);
}

static rf_status add_regex(struct rf_tokenizer *t, const char *re, size_t n, enum rf_split_how how, bool invert, struct rf_error *err)
{
    bool bytes = after_bytes(t);
    RF_TRY(rf_pretok_add_regex(t, re, n, how, err));
    struct rf_split_step *s = &t->split[t->n_split - 1];
    s->invert = invert;
    if (bytes && !rf_regex_is_linear(s->regex))
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: pre_tokenizer: found \"%.*s\" behind ByteLevel", (int)RF_MIN(n, (size_t)200), re);
    return RF_OK;
}

static rf_status add_literal(struct rf_tokenizer *t, struct rf_str text, enum rf_split_how how, bool invert, struct rf_error *err)
{
    struct rf_split_step *s;
    RF_TRY(split_add(t, RF_SPLIT_LITERAL, &s, err));
    s->text = text;
    s->how = how;
    s->invert = invert;
    return RF_OK;
}

static rf_status pre_split(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    const struct rf_jnode *p = rf_jtree_get(n, "pattern");
    struct rf_str lit = rf_jtree_str(p, "String"), re = rf_jtree_str(p, "Regex");
    bool invert = rf_jtree_bool(n, "invert", false);
    enum rf_split_how how;
    RF_TRY(parse_how(n, RF_ISOLATED, &how, err));
    if (lit.n) return add_literal(t, lit, how, invert, err);
    /* digits in threes from the right: lookahead over many characters, so not a pattern for the automaton */
    bool any = rf_str_is(re, "(?=(\\d{3})+(?!\\d))"), word = rf_str_is(re, "\\d{1,3}(?=(?:\\d{3})*\\b)");
    if ((any || word) && how == RF_ISOLATED && !invert && !after_bytes(t)) {
        struct rf_split_step *s;
        RF_TRY(split_add(t, RF_SPLIT_DIGITS3, &s, err));
        s->invert = word;
        return RF_OK;
    }
    return add_regex(t, re.s, re.n, how, invert, err);
}

static rf_status pre_bytelevel(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    struct rf_split_step *s;
    if (rf_jtree_bool(n, "add_prefix_space", true)) {
        RF_TRY(split_add(t, RF_SPLIT_PREFIX_SPACE, &s, err));
    }
    if (rf_jtree_bool(n, "use_regex", true)) RF_TRY(add_regex(t, gpt2, sizeof gpt2 - 1, RF_ISOLATED, false, err));
    t->byte_level = true;
    return split_add(t, RF_SPLIT_TO_BYTES, &s, err);
}

static rf_status pre_metaspace(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    struct rf_split_step *s;
    struct rf_str scheme = rf_jtree_str(n, "prepend_scheme");
    RF_TRY(split_add(t, RF_SPLIT_METASPACE, &s, err));
    s->text = rf_jtree_str(n, "replacement");
    s->scheme = rf_str_is(scheme, "never") ? 0 : rf_str_is(scheme, "first") ? 1 : 2;
    if (!scheme.n && !rf_jtree_bool(n, "add_prefix_space", true)) s->scheme = 0;
    s->split = rf_jtree_bool(n, "split", true);
    t->wants_first |= s->scheme == 1;
    return s->text.n ? RF_OK : rf_fail(err, RF_CORRUPT, "tokenizer.json: Metaspace: found an empty replacement");
}

rf_status rf_json_pretokenizer(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
#define WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200C}\\x{200D}\\x{24B6}-\\x{24E9}\\x{1F130}-\\x{1F149}\\x{1F150}-\\x{1F169}\\x{1F170}-\\x{1F189}"
    static const char word[] = "[" WORD "]+|[^" WORD "\\s]+"; /* rf_uni_is_word as a class */
    if (!n || n->kind == RF_JSON_NULL) return RF_OK;
    struct rf_str type = rf_jtree_str(n, "type");
    enum rf_split_how how;
    if (rf_str_is(type, "Sequence")) {
        const struct rf_jnode *list = rf_jtree_get(n, "pretokenizers");
        for (const struct rf_jnode *c = list ? list->child : NULL; c; c = c->next) RF_TRY(rf_json_pretokenizer(t, c, err));
        return RF_OK;
    }
    if (rf_str_is(type, "Split")) return pre_split(t, n, err);
    if (rf_str_is(type, "ByteLevel")) return pre_bytelevel(t, n, err);
    if (rf_str_is(type, "Metaspace")) return pre_metaspace(t, n, err);
    if (rf_str_is(type, "Digits")) {
        static const char digit[] = "[\\p{N}\\x{11DE0}-\\x{11DE9}\\x{16FF4}-\\x{16FF6}]"; /* this step alone knows Unicode 17 */
        bool one = rf_jtree_bool(n, "individual_digits", false);
        return add_regex(t, digit, sizeof digit - 1, one ? RF_ISOLATED : RF_CONTIGUOUS, false, err);
    }
    if (rf_str_is(type, "Punctuation")) {
        RF_TRY(parse_how(n, RF_ISOLATED, &how, err));
        return add_regex(t, RF_PUNCT, sizeof RF_PUNCT - 1, how, false, err);
    }
    if (rf_str_is(type, "WhitespaceSplit")) return add_regex(t, "\\s", 2, RF_REMOVED, false, err);
    if (rf_str_is(type, "Whitespace")) return add_regex(t, word, sizeof word - 1, RF_REMOVED, true, err);
    if (rf_str_is(type, "BertPreTokenizer")) {
        RF_TRY(add_regex(t, "\\s", 2, RF_REMOVED, false, err));
        return add_regex(t, RF_PUNCT, sizeof RF_PUNCT - 1, RF_ISOLATED, false, err);
    }
    if (rf_str_is(type, "FixedLength")) {
        char re[48];
        int64_t len = rf_jtree_int(n, "length", 5);
        snprintf(re, sizeof re, "[\\s\\S]{1,%lld}", (long long)len);
        return add_regex(t, re, strlen(re), RF_ISOLATED, false, err);
    }
    if (rf_str_is(type, "CharDelimiterSplit")) return add_literal(t, rf_jtree_str(n, "delimiter"), RF_REMOVED, false, err);
    return unknown(err, "pre_tokenizer", type);
}

/* ---- decoder ---- */

static rf_status dec_add(struct rf_tokenizer *t, enum rf_dec_kind kind, struct rf_str text, struct rf_dec_step **out, struct rf_error *err)
{
    if (!t->dec) t->dec = rf_alloc_array(RF_TOK_MAX_STEPS, sizeof *t->dec);
    if (!t->dec) return rf_fail_nomem(err, "decoder", RF_TOK_MAX_STEPS * sizeof *t->dec);
    if (t->n_dec == RF_TOK_MAX_STEPS) return rf_fail(err, RF_TOO_LARGE, "tokenizer.json: decoder: found more than %d steps", RF_TOK_MAX_STEPS);
    *out = &t->dec[t->n_dec++];
    (*out)->kind = kind;
    (*out)->text = text;
    return RF_OK;
}

static rf_status dec_replace(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    struct rf_dec_step *s;
    const struct rf_jnode *p = rf_jtree_get(n, "pattern");
    struct rf_str regex = rf_jtree_str(p, "Regex"), none = { "", 0 };
    RF_TRY(dec_add(t, RF_DEC_REPLACE, none, &s, err));
    s->replace = (struct rf_norm_step){ .kind = RF_NORM_REPLACE, .pattern = rf_jtree_str(p, "String"), .content = rf_jtree_str(n, "content") };
    return s->replace.pattern.n ? RF_OK : rf_regex_compile(&s->replace.regex, regex.s, regex.n, err);
}

/* Behind Fuse there is one long text: only taking one space off its start can be done token by token. */
static rf_status dec_strip(struct rf_tokenizer *t, const struct rf_jnode *n, bool fused, struct rf_error *err)
{
    struct rf_dec_step *s;
    struct rf_str c = rf_jtree_str(n, "content");
    int64_t start = rf_jtree_int(n, "start", 0), stop = rf_jtree_int(n, "stop", 0);
    if (start < 0 || stop < 0 || (fused && (stop || start > 1 || (start && (t->decode_strip || !rf_str_is(c, " "))))))
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: decoder: found Strip of \"%.*s\", %lld at the start and %lld at the end%s, expected one space at the start",
                       (int)RF_MIN(c.n, (size_t)8), c.s, (long long)start, (long long)stop, fused ? " behind Fuse" : "");
    if (fused) {
        t->decode_strip |= start == 1;
        return RF_OK;
    }
    RF_TRY(dec_add(t, RF_DEC_STRIP, c, &s, err));
    s->start = (uint32_t)RF_MIN(start, (int64_t)UINT32_MAX);
    s->stop = (uint32_t)RF_MIN(stop, (int64_t)UINT32_MAX);
    return RF_OK;
}

rf_status rf_json_decoder_wordpiece(struct rf_tokenizer *t, struct rf_str prefix, struct rf_error *err)
{
    struct rf_dec_step *s;
    RF_TRY(dec_add(t, RF_DEC_WORDPIECE, prefix, &s, err));
    s->flag = t->decode_first = true;
    t->decode = RF_DECODE_CHAIN;
    return RF_OK;
}

/* Decoders that do the same to bytes one by one as to the text that they are; ByteFallback and those behind it stay apart from others. */
static bool goes_by_bytes(const struct rf_jnode *n, struct rf_str type)
{
    struct rf_str literal = rf_jtree_str(rf_jtree_get(n, "pattern"), "String");
    uint32_t cp;
    return rf_str_is(type, "Fuse") || rf_str_is(type, "Metaspace") || rf_str_is(type, "ByteFallback") ||
           (rf_str_is(type, "Replace") && literal.n && rf_utf8_decode(literal.s, literal.n, &cp) == literal.n);
}

static bool after_byte(const struct rf_tokenizer *t)
{
    for (uint32_t i = 0; i < t->n_dec; i++)
        if (t->dec[i].kind == RF_DEC_BYTE) return true;
    return false;
}

static rf_status dec_read(struct rf_tokenizer *t, const struct rf_jnode *n, bool *fused, struct rf_error *err)
{
    struct rf_str type = rf_jtree_str(n, "type"), none = { "", 0 };
    struct rf_dec_step *s;
    if (rf_str_is(type, "Sequence")) {
        const struct rf_jnode *list = rf_jtree_get(n, "decoders");
        for (const struct rf_jnode *c = list ? list->child : NULL; c; c = c->next) RF_TRY(dec_read(t, c, fused, err));
        return RF_OK;
    }
    if (rf_str_is(type, "Strip") && (*fused || !after_byte(t))) return dec_strip(t, n, *fused, err);
    if (!*fused && after_byte(t) && !goes_by_bytes(n, type))
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: decoder: found %.*s behind ByteFallback, expected Fuse, Metaspace or Replace of one character",
                       (int)RF_MIN(type.n, (size_t)60), type.s);
    if (*fused && !rf_str_is(type, "Fuse"))
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: decoder: found %.*s behind Fuse or ByteLevel, expected nothing but Strip", (int)RF_MIN(type.n, (size_t)60), type.s);
    if (rf_str_is(type, "Fuse")) *fused = true;
    else if (rf_str_is(type, "ByteLevel")) {
        *fused = true;
        return dec_add(t, RF_DEC_BYTE_LEVEL, none, &s, err);
    } else if (rf_str_is(type, "ByteFallback")) return dec_add(t, RF_DEC_BYTE, none, &s, err);
    else if (rf_str_is(type, "Replace")) return dec_replace(t, n, err);
    else if (rf_str_is(type, "Metaspace")) {
        RF_TRY(dec_add(t, RF_DEC_META, rf_jtree_str(n, "replacement"), &s, err));
        s->flag = !rf_str_is(rf_jtree_str(n, "prepend_scheme"), "never") && rf_jtree_bool(n, "add_prefix_space", true);
        t->decode_first |= s->flag;
    } else if (rf_str_is(type, "WordPiece")) {
        RF_TRY(rf_json_decoder_wordpiece(t, rf_jtree_str(n, "prefix"), err));
        t->dec[t->n_dec - 1].flag = rf_jtree_bool(n, "cleanup", true);
    } else if (rf_str_is(type, "BPEDecoder")) {
        t->decode_last = true;
        RF_TRY(dec_add(t, RF_DEC_SUFFIX, rf_jtree_str(n, "suffix"), &s, err));
        if (!s->text.n) return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: decoder: found BPEDecoder with an empty suffix");
    } else return unknown(err, "decoder", type);
    return RF_OK;
}

/* A list of decoders is run over every token at open; the common ones have a quicker way to the same bytes. */
rf_status rf_json_decoder(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    static const struct rf_str none = { "", 0 };
    bool fused = false;
    struct rf_dec_step *s;
    if (!n || n->kind == RF_JSON_NULL) { /* tokens stand side by side with spaces between */
        t->decode = RF_DECODE_CHAIN;
        t->decode_first = true;
        return dec_add(t, RF_DEC_SPACE, none, &s, err);
    }
    RF_TRY(dec_read(t, n, &fused, err));
    const struct rf_dec_step *d = t->dec;
    bool spaces = t->n_dec && d[0].kind == RF_DEC_REPLACE && rf_str_is(d[0].replace.pattern, "\xE2\x96\x81") && rf_str_is(d[0].replace.content, " ");
    t->decode = RF_DECODE_CHAIN;
    if (t->n_dec == 1 && d[0].kind == RF_DEC_BYTE_LEVEL) t->decode = RF_DECODE_BYTES;
    else if (t->n_dec == 2 && spaces && d[1].kind == RF_DEC_BYTE && t->byte_fallback) t->decode = RF_DECODE_SPM;
    else if (t->n_dec == 1 && d[0].kind == RF_DEC_META && rf_str_is(d[0].text, "\xE2\x96\x81") && !t->byte_fallback) t->decode = RF_DECODE_SPM;
    return RF_OK;
}

/* ---- post-processor ---- */

/* "single": special tokens before and behind the sequence A; their ids stand in special_tokens. */
static rf_status template(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    const struct rf_jnode *single = rf_jtree_get(n, "single"), *table = rf_jtree_get(n, "special_tokens");
    bool behind = false;
    for (const struct rf_jnode *c = single ? single->child : NULL; c; c = c->next) {
        const struct rf_jnode *sp = rf_jtree_get(c, "SpecialToken");
        if (!sp) {
            if (behind) return rf_fail(err, RF_UNSUPPORTED, "tokenizer.json: post_processor: found the text twice in a template, expected it once");
            behind = true;
            continue;
        }
        struct rf_str name = rf_jtree_str(sp, "id");
        const struct rf_jnode *entry = table ? table->child : NULL;
        while (entry && (entry->key.n != name.n || memcmp(entry->key.s, name.s, name.n))) entry = entry->next;
        const struct rf_jnode *ids = rf_jtree_get(entry, "ids");
        for (const struct rf_jnode *i = ids ? ids->child : NULL; i; i = i->next)
            RF_TRY(rf_tok_put_around(t, behind, fabs(i->num) < 1e9 ? (int64_t)i->num : -1, err));
    }
    return RF_OK;
}

/* ["</s>", 2] */
static rf_status pair(struct rf_tokenizer *t, const struct rf_jnode *p, bool behind, struct rf_error *err)
{
    const struct rf_jnode *id = p && p->child ? p->child->next : NULL;
    return id ? rf_tok_put_around(t, behind, fabs(id->num) < 1e9 ? (int64_t)id->num : -1, err) : RF_OK;
}

rf_status rf_json_postprocessor(struct rf_tokenizer *t, const struct rf_jnode *n, struct rf_error *err)
{
    if (!n || n->kind == RF_JSON_NULL) return RF_OK;
    struct rf_str type = rf_jtree_str(n, "type");
    if (rf_str_is(type, "Sequence")) {
        const struct rf_jnode *list = rf_jtree_get(n, "processors");
        for (const struct rf_jnode *c = list ? list->child : NULL; c; c = c->next) RF_TRY(rf_json_postprocessor(t, c, err));
        return RF_OK;
    }
    if (rf_str_is(type, "TemplateProcessing")) return template(t, n, err);
    if (rf_str_is(type, "RobertaProcessing") || rf_str_is(type, "BertProcessing")) {
        RF_TRY(pair(t, rf_jtree_get(n, "cls"), false, err));
        return pair(t, rf_jtree_get(n, "sep"), true, err);
    }
    return rf_str_is(type, "ByteLevel") ? RF_OK : unknown(err, "post_processor", type);
}
