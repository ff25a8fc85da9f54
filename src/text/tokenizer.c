#include "text/tokenizer.h"

#include <string.h>

#include "text/hfadded.h"

/* ---- open and close ---- */

/* tokenizer.json, else one of the older or rarer files; with none of them the first message stands. */
static rf_status open_folder(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    static rf_status (*const others[])(struct rf_tokenizer *, const struct rf_weights *, struct rf_error *) = {
        rf_tok_open_tiktoken, rf_tok_open_spproto, rf_tok_open_tekken, rf_tok_open_pair, rf_tok_open_vocab_txt,
    };
    rf_status st = rf_tok_open_json(t, w, err);
    for (size_t i = 0; i < RF_COUNT(others) && st == RF_NOT_FOUND; i++) {
        struct rf_error own = { 0 };
        rf_status other = others[i](t, w, &own);
        if (other == RF_NOT_FOUND) continue;
        if (err && other) *err = own;
        return other;
    }
    return st;
}

rf_status rf_tokenizer_open(struct rf_tokenizer **out, const struct rf_weights *w, struct rf_error *err)
{
    struct rf_tokenizer *t = rf_alloc_array(1, sizeof *t);
    *out = NULL;
    if (!t) return rf_fail_nomem(err, "tokenizer", sizeof *t);
    t->bos = t->eos = -1;
    t->unk = RF_TOK_NONE;
    rf_status st = rf_weights_source(w) == RF_SOURCE_GGUF ? rf_tok_open_gguf(t, w, err) : open_folder(t, w, err);
    if (st) {
        rf_tokenizer_close(t);
        return st;
    }
    *out = t;
    return RF_OK;
}

void rf_tokenizer_close(struct rf_tokenizer *t)
{
    if (!t) return;
    for (uint32_t i = 0; i < t->n_norm; i++) rf_regex_free(t->norm[i].regex);
    for (uint32_t i = 0; i < t->n_split; i++) rf_regex_free(t->split[i].regex);
    for (uint32_t i = 0; i < t->n_dec; i++) rf_regex_free(t->dec[i].replace.regex);
    rf_free(t->dec);
    rf_unigram_release(t);
    rf_vocab_release(&t->vocab);
    rf_free(t->attr);
    rf_free(t->outside);
    rf_free(t->score);
    rf_free(t->eog);
    rf_free(t->merges.slot);
    rf_free(t->added.tok);
    rf_free(t->added_norm.tok);
    rf_free(t->added_plain.tok);
    rf_free(t->keep.tok);
    rf_free(t->space_after);
    rf_free(t->prefix_ids);
    rf_free(t->suffix_ids);
    rf_free(t->byte_off);
    rf_free(t->bytes);
    rf_arena_release(&t->arena);
    rf_buf_release(&t->file);
    rf_free(t);
}

/* ---- facts ---- */

static bool in_range(const struct rf_tokenizer *t, int32_t id) { return id >= 0 && (uint32_t)id < t->vocab.n; }

uint32_t rf_tokenizer_n_vocab(const struct rf_tokenizer *t) { return t->vocab.n; }
int32_t rf_tokenizer_bos(const struct rf_tokenizer *t) { return t->bos; }
int32_t rf_tokenizer_eos(const struct rf_tokenizer *t) { return t->eos; }
bool rf_tokenizer_is_eog(const struct rf_tokenizer *t, int32_t id) { return in_range(t, id) && t->eog[id]; }

enum rf_token_attr rf_tokenizer_attr(const struct rf_tokenizer *t, int32_t id)
{
    return in_range(t, id) ? (enum rf_token_attr)t->attr[id] : RF_TOKEN_UNUSED;
}

int32_t rf_tokenizer_find(const struct rf_tokenizer *t, const char *piece, size_t len)
{
    return (int32_t)rf_vocab_find(&t->vocab, piece, len);
}

/* "<|...|>" and its full-width twin, and the turn markers of families that spell them otherwise. */
bool rf_tok_looks_special(struct rf_str p)
{
    static const char *const names[] = {
        "<start_of_turn>", "<end_of_turn>", "<turn|>", "<|turn>", "<end_of_utterance>", "<EOT>", "_<EOT>", "[INST]", "[/INST]",
        "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
    };
    if (p.n > 4 && !memcmp(p.s, "<|", 2) && !memcmp(p.s + p.n - 2, "|>", 2)) return true;
    if (p.n > 8 && !memcmp(p.s, "<\xEF\xBD\x9C", 4) && !memcmp(p.s + p.n - 4, "\xEF\xBD\x9C>", 4)) return true;
    for (size_t i = 0; i < RF_COUNT(names); i++)
        if (rf_str_is(p, names[i])) return true;
    return false;
}

static void mark(struct rf_tokenizer *t, int64_t id)
{
    if (id >= 0 && id < t->vocab.n) t->eog[id] = 1;
}

static void mark_fact(struct rf_tokenizer *t, const struct rf_weights *w, const char *key)
{
    const struct rf_fact *f = rf_weights_fact(w, key);
    int64_t id;
    if (f && f->kind == RF_FACT_INT) mark(t, f->i);
    for (uint64_t i = 0; f && f->kind == RF_FACT_ARRAY && i < RF_MIN(f->n_items, (uint64_t)1024); i++)
        if (rf_fact_item_int(f, i, &id)) mark(t, id);
}

void rf_tok_mark_eog(struct rf_tokenizer *t, const struct rf_weights *w)
{
    static const char *const keys[] = {
        "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id", "tokenizer.ggml.eos_token_ids",
        "generation_config.eos_token_id", "eos_token_id",
    };
    static const char *const names[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<turn|>", "<|endoftext|>", "<|eom_id|>", "<EOT>",
        "_<EOT>", "<|end_of_text|>", "<end_of_utterance>", "<｜end▁of▁sentence｜>", "<|eot|>",
        "<|END_OF_TURN_TOKEN|>", "<|endofturn|>", "<|return_token|>", "<|user_end|>",
    };
    mark(t, t->eos);
    for (size_t i = 0; i < RF_COUNT(keys); i++) mark_fact(t, w, keys[i]);
    for (size_t i = 0; i < RF_COUNT(names); i++) {
        uint32_t id = rf_vocab_find(&t->vocab, names[i], strlen(names[i]));
        if (id == RF_TOK_NONE || (t->attr[id] != RF_TOKEN_CONTROL && t->attr[id] != RF_TOKEN_USER)) continue;
        t->eog[id] = 1;
        t->attr[id] = RF_TOKEN_CONTROL;
    }
    /* In the harmony format <|end|> only closes a message; <|return|> and <|call|> close the turn. */
    uint32_t end = rf_vocab_find(&t->vocab, "<|end|>", 7);
    if (end != RF_TOK_NONE && rf_vocab_find(&t->vocab, "<|return|>", 10) != RF_TOK_NONE && rf_vocab_find(&t->vocab, "<|call|>", 8) != RF_TOK_NONE)
        t->eog[end] = 0;
}

void rf_tok_find_byte_ids(struct rf_tokenizer *t)
{
    for (unsigned b = 0; b < 256; b++) {
        char s[8];
        t->byte_id[b] = RF_TOK_NONE;
        if (t->byte_level) t->byte_id[b] = rf_vocab_find(&t->vocab, s, rf_utf8_encode(rf_byte_to_char((uint8_t)b), s));
    }
    if (t->byte_level || !t->byte_fallback) return;
    for (uint32_t i = 0; i < t->vocab.n; i++) {
        int b = t->vocab.piece[i].n == 6 ? rf_tok_byte_piece(t->vocab.piece[i]) : -1;
        if (b < 0 || t->byte_id[b] != RF_TOK_NONE) continue;
        t->byte_id[b] = i;
        t->attr[i] = RF_TOKEN_BYTE;
    }
}

/* ---- ids ---- */

void rf_ids_release(struct rf_ids *ids)
{
    rf_free(ids->id);
    memset(ids, 0, sizeof *ids);
}

rf_status rf_tok_push(struct rf_tok_call *c, uint32_t id)
{
    struct rf_ids *o = c->out;
    if (o->n == o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 64;
        int32_t *p = o->n < RF_TOK_MAX_TEXT ? rf_realloc_array(o->id, cap, sizeof *p) : NULL;
        if (!p) return rf_fail_nomem(c->err, "token ids", cap * sizeof *p);
        o->id = p;
        o->cap = cap;
    }
    o->id[o->n++] = (int32_t)id;
    return RF_OK;
}

/* ---- encode ---- */

/* Character that ends before s[at]. */
static uint32_t char_before(const char *s, size_t at, size_t *from)
{
    uint32_t cp;
    bool ok;
    size_t b = at - 1;
    while (b && at - b < 4 && ((unsigned char)s[b] & 0xC0) == 0x80) b--;
    if (rf_uni_next(s + b, at - b, &cp, &ok) != at - b) {
        b = at - 1;
        cp = 0xFFFD;
    }
    *from = b;
    return cp;
}

static bool stands_alone(const char *s, size_t n, size_t from, size_t to)
{
    uint32_t cp;
    bool ok;
    size_t b;
    if (from && rf_uni_is_word(char_before(s, from, &b))) return false;
    if (to == n) return true;
    rf_uni_next(s + to, n - to, &cp, &ok);
    return !rf_uni_is_word(cp);
}

/* White space that a token swallows on its sides; not beyond `low`. */
static void widen(const char *s, size_t n, uint32_t flags, size_t low, size_t *from, size_t *to)
{
    uint32_t cp;
    bool ok;
    size_t b;
    if (flags & RF_ADDED_LSTRIP) {
        *from = RF_MAX(*from, low); /* white space that the token before swallowed is gone */
        while (*from > low && rf_uni_in(char_before(s, *from, &b), RF_SET_SPACE)) *from = RF_MAX(b, low);
    }
    while (flags & RF_ADDED_RSTRIP && *to < n) {
        unsigned len = rf_uni_next(s + *to, n - *to, &cp, &ok);
        if (!rf_uni_in(cp, RF_SET_SPACE)) break;
        *to += len;
    }
}

struct walk {
    const struct rf_added_set *set;
    bool parse_special;
    const struct rf_span *trusted; /* NULL: everywhere */
    size_t n_trusted;
    size_t span;                   /* first span that may still matter */
    rf_status (*text)(struct rf_tok_call *c, const char *s, size_t n);
};

static bool is_trusted(struct walk *w, size_t from, size_t to)
{
    if (!w->trusted) return true;
    while (w->span < w->n_trusted && w->trusted[w->span].to <= from) w->span++;
    return w->span < w->n_trusted && w->trusted[w->span].from <= from && to <= w->trusted[w->span].to;
}

static rf_status give_text(struct rf_tok_call *c, struct walk *w, const char *s, size_t n)
{
    if (!n) return RF_OK;
    RF_TRY(w->text(c, s, n));
    c->text_start = false;
    return RF_OK;
}

/* Cuts s at the added tokens of the set, longest at each place first, and hands the text between them on. */
static rf_status walk_added(struct rf_tok_call *c, struct walk *w, const char *s, size_t n)
{
    size_t done = 0;
    for (size_t i = 0; i < n && w->set->n;) {
        unsigned char b = (unsigned char)s[i];
        if (w->set->first[b] == w->set->first[b + 1u]) {
            i++;
            continue;
        }
        const struct rf_added *a = rf_added_match(w->set, s + i, n - i);
        if (!a) {
            i++;
            continue;
        }
        size_t from = i, to = i + a->text.n;
        i = to;
        if (a->flags & RF_ADDED_SPECIAL && (!w->parse_special || !is_trusted(w, from, to))) continue;
        if (a->flags & RF_ADDED_SINGLE_WORD && !stands_alone(s, n, from, to)) continue;
        widen(s, n, a->flags, done, &from, &to);
        if (from > done) RF_TRY(give_text(c, w, s + done, from - done));
        if (from < to) RF_TRY(rf_tok_push(c, a->id));
        c->text_start = false;
        done = to; /* the search goes on at the end of the spelling, even inside swallowed white space */
    }
    return done < n ? give_text(c, w, s + done, n - done) : RF_OK;
}

static rf_status normalized_text(struct rf_tok_call *c, const char *s, size_t n)
{
    struct rf_str norm;
    RF_TRY(rf_norm_run(c, s, n, &norm));
    if (!c->t->added_norm.n) return rf_pretok_run(c, norm.s, norm.n);
    struct walk w = { .set = &c->t->added_norm, .parse_special = c->parse_special, .text = rf_pretok_run };
    return walk_added(c, &w, norm.s, norm.n);
}

static void call_release(struct rf_tok_call *c)
{
    rf_arena_release(&c->arena);
    rf_free(c->cache);
    rf_free(c->unused_left);
    rf_free(c->sym);
    rf_free(c->heap);
}

rf_status rf_tokenizer_encode(const struct rf_tokenizer *t, const char *text, size_t len, uint32_t flags,
                              const struct rf_span *trusted, size_t n_trusted, struct rf_ids *ids, struct rf_error *err)
{
    if (len > RF_TOK_MAX_TEXT) return rf_fail(err, RF_TOO_LARGE, "text: found %zu bytes, expected at most %zu", len, RF_TOK_MAX_TEXT);
    struct rf_tok_call c = { .t = t, .out = ids, .err = err, .text_start = true };
    size_t before = ids->n;
    c.parse_special = flags & RF_TOK_PARSE_SPECIAL && !trusted; /* normalized text has lost its places */
    if (len >= 64) {
        uint32_t n = 64;
        while (n < len / 8 && n < 16384) n *= 2;
        c.cache = rf_alloc_array(n, sizeof *c.cache);
        if (!c.cache) return rf_fail_nomem(err, "words", n * sizeof *c.cache);
        c.cache_mask = n - 1;
    }
    struct walk w = { .set = t->late_special && !trusted ? &t->added_plain : &t->added, .parse_special = flags & RF_TOK_PARSE_SPECIAL, .trusted = trusted, .n_trusted = n_trusted,
                      .text = normalized_text };
    rf_status st = RF_OK;
    for (uint32_t i = 0; i < t->n_prefix && flags & RF_TOK_ADD_SPECIAL && !st; i++) st = rf_tok_push(&c, t->prefix_ids[i]);
    if (!st) st = walk_added(&c, &w, text, len);
    for (uint32_t i = 0; i < t->n_suffix && flags & RF_TOK_ADD_SPECIAL && !st; i++) st = rf_tok_push(&c, t->suffix_ids[i]);
    call_release(&c);
    if (st) ids->n = before;
    return st;
}
