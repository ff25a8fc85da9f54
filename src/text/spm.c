/* SentencePiece BPE (Kudo and Richardson 2018): of all neighbours whose joined text is a piece, the one with the best score
 * merges first. Works on text whose spaces are "▁" already. */
#include <string.h>

#include "text/merge.h"

#define SPACE "\xE2\x96\x81" /* U+2581 */

/* Larger scores first: the bits of a float, made to order like an unsigned number, upside down. */
static uint32_t score_key(double wide)
{
    float score = (float)wide;
    uint32_t u;
    memcpy(&u, &score, sizeof u);
    u = u >> 31 ? ~u : u | 0x80000000u;
    return RF_MIN(~u, RF_TOK_NONE - 1);
}

static bool is_mergeable(const struct rf_tokenizer *t, uint32_t id)
{
    if (t->outside && t->outside[id]) return false;
    return t->attr[id] == RF_TOKEN_NORMAL || t->attr[id] == RF_TOKEN_USER || t->attr[id] == RF_TOKEN_UNUSED;
}

static inline bool is_kept(const struct rf_tokenizer *t, uint32_t id) { return t->keep.n && id != RF_TOK_NONE && t->attr[id] == RF_TOKEN_USER; }

static inline uint32_t spm_key(const struct rf_tok_call *c, const char *w, size_t n, const struct rf_sym *a,
                               const struct rf_sym *b, uint32_t *id)
{
    size_t end = b->next != RF_TOK_NONE ? c->sym[b->next].off : n;
    if (end - a->off > c->t->max_piece) return RF_TOK_NONE; /* not worth hashing */
    uint32_t found = rf_vocab_find(&c->t->vocab, w + a->off, end - a->off);
    if (found == RF_TOK_NONE || !is_mergeable(c->t, found) || is_kept(c->t, a->id) || is_kept(c->t, b->id)) return RF_TOK_NONE;
    *id = found;
    return score_key(c->t->score[found]);
}

static inline void spm_note(struct rf_tok_call *c, const struct rf_sym *a, const struct rf_sym *b, uint32_t id)
{
    if (c->unused_left && c->t->attr[id] == RF_TOKEN_UNUSED) c->unused_left[id] = b->off - a->off;
}

RF_DEFINE_MERGE(spm, spm_key, spm_note)

static rf_status push_unknown(struct rf_tok_call *c, const char *s, size_t n, bool *was_unk)
{
    const struct rf_tokenizer *t = c->t;
    bool bytes = true;
    for (size_t i = 0; i < n; i++) bytes = bytes && t->byte_id[(unsigned char)s[i]] != RF_TOK_NONE;
    if (bytes) {
        for (size_t i = 0; i < n; i++) RF_TRY(rf_tok_push(c, t->byte_id[(unsigned char)s[i]]));
        return RF_OK;
    }
    if (t->unk != RF_TOK_NONE && !*was_unk) RF_TRY(rf_tok_push(c, t->unk));
    *was_unk = true;
    return RF_OK;
}

static rf_status push_piece(struct rf_tok_call *c, uint32_t id, const char *s, size_t n, bool *was_unk)
{
    if (id == RF_TOK_NONE) return push_unknown(c, s, n, was_unk);
    *was_unk = false;
    return rf_tok_push(c, id);
}

/* An unused piece as its parts, as often as one of them is unused too; one character has none and is unknown. SentencePiece (0.2.3,
 * bpe_model.cc) remembers the parts by the piece's spelling for the whole text: those of the pair that it met last. */
static rf_status push_parts(struct rf_tok_call *c, uint32_t id, const char *s, uint32_t n, bool *was_unk)
{
    RF_TRY(rf_heap_reserve(c, (size_t)n + 1));
    c->n_heap = 0; /* merging is over: a stack of places and lengths */
    c->heap[c->n_heap++] = n;
    while (c->n_heap) {
        uint64_t top = c->heap[--c->n_heap];
        uint32_t from = (uint32_t)(top >> 32), len = (uint32_t)top, left;
        if (len != n) id = rf_vocab_find(&c->t->vocab, s + from, len);
        if (id != RF_TOK_NONE && !is_mergeable(c->t, id)) id = RF_TOK_NONE;
        bool unused = id != RF_TOK_NONE && c->t->attr[id] == RF_TOKEN_UNUSED;
        left = unused ? c->unused_left[id] : 0;
        if (left) {
            c->heap[c->n_heap++] = (uint64_t)(from + left) << 32 | (len - left);
            c->heap[c->n_heap++] = (uint64_t)from << 32 | left;
        } else {
            RF_TRY(push_piece(c, unused ? RF_TOK_NONE : id, s + from, len, was_unk));
        }
    }
    return RF_OK;
}

static rf_status spm_pieces(struct rf_tok_call *c, const char *s, size_t n)
{
    rf_status st = rf_merge_reserve(c, n + 1);
    uint32_t n_sym = 0;
    for (size_t i = 0; i < n && !st;) {
        uint32_t cp;
        bool ok;
        const struct rf_added *kept = c->t->keep.n ? rf_added_match(&c->t->keep, s + i, n - i) : NULL;
        size_t len = kept ? kept->text.n : c->t->byte_symbols ? 1 : rf_uni_next(s + i, n - i, &cp, &ok);
        uint32_t id = kept ? kept->id : rf_vocab_find(&c->t->vocab, s + i, len);
        if (id != RF_TOK_NONE && !is_mergeable(c->t, id)) id = RF_TOK_NONE;
        c->sym[n_sym++] = (struct rf_sym){ .id = id, .off = (uint32_t)i };
        i += len;
    }
    if (!st) st = spm_merge(c, s, n, n_sym);
    bool was_unk = false;
    for (uint32_t i = 0; i != RF_TOK_NONE && !st; i = c->sym[i].next) {
        uint32_t end = c->sym[i].next != RF_TOK_NONE ? c->sym[c->sym[i].next].off : (uint32_t)n;
        uint32_t id = c->sym[i].id, off = c->sym[i].off;
        bool parts = c->unused_left && id != RF_TOK_NONE && c->t->attr[id] == RF_TOKEN_UNUSED;
        st = parts ? push_parts(c, id, s + off, end - off, &was_unk) : push_piece(c, id, s + off, end - off, &was_unk);
    }
    return st;
}

static rf_status spm_word(struct rf_tok_call *c, const char *s, size_t n)
{
    struct rf_word *slot;
    rf_status st;
    if (rf_word_recall(c, s, n, &slot, &st)) return st;
    uint32_t whole = c->t->byte_symbols ? rf_vocab_find(&c->t->vocab, s, n) : RF_TOK_NONE;
    st = whole != RF_TOK_NONE && is_mergeable(c->t, whole) ? rf_tok_push(c, whole) : spm_pieces(c, s, n);
    if (slot) {
        if (st) slot->s = NULL;
        else slot->count = (uint32_t)c->out->n - slot->from;
    }
    return st;
}

static inline bool bit(const uint8_t *set, uint32_t i) { return set[(i & 0xFFFF) >> 3] >> (i & 7) & 1; }

/* Cuts before a "▁" whose left neighbour no piece joins it with: no merge can cross there, so words are independent and
 * can be remembered. (Unknown characters in a row become one token: "▁" is known, or nothing is cut.) */
static rf_status cut_words(struct rf_tok_call *c, const char *s, size_t n,
                           rf_status (*word)(struct rf_tok_call *c, const char *s, size_t n))
{
    size_t from = 0;
    uint32_t last = 0x2581;
    bool last_ok = false;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        bool ok;
        unsigned len = rf_uni_next(s + i, n - i, &cp, &ok);
        if (cp == 0x2581 && last_ok && !bit(c->t->space_after, last)) {
            RF_TRY(word(c, s + from, i - from));
            from = i;
        }
        last = cp;
        last_ok = ok && cp != 0x2581;
        i += len;
    }
    return from < n ? word(c, s + from, n - from) : RF_OK;
}

rf_status rf_spm_text(struct rf_tok_call *c, const char *s, size_t n)
{
    if (c->t->splits_unused) { /* one word, not remembered */
        if (!c->unused_left) c->unused_left = rf_alloc_array(c->t->vocab.n, sizeof *c->unused_left);
        if (!c->unused_left) return rf_fail_nomem(c->err, "unused pieces", c->t->vocab.n * sizeof *c->unused_left);
        return spm_pieces(c, s, n);
    }
    return c->t->space_after ? cut_words(c, s, n, spm_word) : spm_word(c, s, n);
}

rf_status rf_bpe_text(struct rf_tok_call *c, const char *s, size_t n)
{
    return c->t->space_after ? cut_words(c, s, n, rf_bpe_word) : rf_bpe_word(c, s, n);
}

/* Can text come to this piece? It is one character, or each of two parts is a piece or one. */
static bool has_parts(const struct rf_tokenizer *t, struct rf_str p)
{
    uint32_t cp;
    bool ok;
    for (size_t k = 0, first = 0; k < p.n;) {
        size_t len = rf_uni_next(p.s + k, p.n - k, &cp, &ok);
        k += len;
        if (!first) first = k;
        if (first == p.n) return true;
        bool left = k == first || rf_vocab_find(&t->vocab, p.s, k) != RF_TOK_NONE;
        if (left && k < p.n && (k + rf_uni_next(p.s + k, p.n - k, &cp, &ok) == p.n || rf_vocab_find(&t->vocab, p.s + k, p.n - k) != RF_TOK_NONE)) return true;
    }
    return false;
}

/* Finds out whether unused pieces have to come apart, and the characters that stand right before a "▁" inside some piece. */
rf_status rf_spm_prepare(struct rf_tokenizer *t, struct rf_error *err)
{
    for (uint32_t i = 0; i < t->vocab.n && t->model == RF_TOK_SPM && !t->splits_unused; i++)
        t->splits_unused = t->attr[i] == RF_TOKEN_UNUSED && has_parts(t, t->vocab.piece[i]);
    t->space_after = rf_alloc_array(8192, 1);
    if (!t->space_after) return rf_fail_nomem(err, "vocabulary", 8192);
    if (rf_vocab_find(&t->vocab, SPACE, 3) == RF_TOK_NONE) memset(t->space_after, 0xFF, 8192);
    for (uint32_t i = 0; i < t->vocab.n; i++) {
        struct rf_str p = t->vocab.piece[i];
        for (size_t k = 1; k + 3 <= p.n;) {
            const char *hit = memchr(p.s + k, '\xE2', p.n - 2 - k);
            if (!hit) break;
            k = (size_t)(hit - p.s);
            if (memcmp(hit, SPACE, 3)) {
                k++;
                continue;
            }
            size_t b = k;
            while (b && ((unsigned char)p.s[--b] & 0xC0) == 0x80) { }
            uint32_t cp;
            bool ok;
            rf_uni_next(p.s + b, k - b, &cp, &ok);
            if (cp != 0x2581) t->space_after[(cp & 0xFFFF) >> 3] |= (uint8_t)(1u << (cp & 7));
            k += 3;
        }
    }
    return RF_OK;
}
