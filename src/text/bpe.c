/* Merging the cheapest neighbours until none is left: BPE by rank of a pair, SentencePiece by score of the result.
 *
 * Both give a pair a 32-bit key, smaller first, leftmost first among equals. Short words scan for the minimum; long ones
 * keep candidates in a heap, where an entry is stale when the pair at its place has another key by now. O(n log n).
 */
#include <string.h>

#include "base/map.h"
#include "text/merge.h"

rf_status rf_merge_reserve(struct rf_tok_call *c, size_t n)
{
    if (n <= c->cap_sym) return RF_OK;
    size_t cap = RF_MAX(n, (size_t)256);
    struct rf_sym *s = rf_realloc_array(c->sym, cap, sizeof *s);
    if (!s) return rf_fail_nomem(c->err, "symbols of a word", cap * sizeof *s);
    c->sym = s;
    c->cap_sym = cap;
    return RF_OK;
}

rf_status rf_heap_reserve(struct rf_tok_call *c, size_t n)
{
    if (n <= c->cap_heap) return RF_OK;
    uint64_t *h = rf_realloc_array(c->heap, n, sizeof *h);
    if (!h) return rf_fail_nomem(c->err, "merges of a word", n * sizeof *h);
    c->heap = h;
    c->cap_heap = n;
    return RF_OK;
}

void rf_heap_push(struct rf_tok_call *c, uint64_t v)
{
    size_t i = c->n_heap++;
    while (i && c->heap[(i - 1) / 4] > v) {
        c->heap[i] = c->heap[(i - 1) / 4];
        i = (i - 1) / 4;
    }
    c->heap[i] = v;
}

static void sift_down(uint64_t *h, size_t n, size_t i)
{
    uint64_t v = h[i];
    for (;;) {
        size_t k = 4 * i + 1, best = k;
        if (k >= n) break;
        for (size_t j = k + 1; j < RF_MIN(k + 4, n); j++)
            if (h[j] < h[best]) best = j;
        if (h[best] >= v) break;
        h[i] = h[best];
        i = best;
    }
    h[i] = v;
}

uint64_t rf_heap_pop(struct rf_tok_call *c)
{
    uint64_t top = c->heap[0];
    c->heap[0] = c->heap[--c->n_heap];
    if (c->n_heap) sift_down(c->heap, c->n_heap, 0);
    return top;
}

void rf_heap_make(struct rf_tok_call *c)
{
    for (size_t i = c->n_heap / 4 + 1; i-- > 0;)
        if (i < c->n_heap) sift_down(c->heap, c->n_heap, i);
}

/* ---- words seen before in this call ---- */

bool rf_word_recall(struct rf_tok_call *c, const char *s, size_t n, struct rf_word **slot, rf_status *st)
{
    *slot = NULL;
    *st = RF_OK;
    if (!c->cache_mask || n > 64) return false;
    uint64_t h = rf_hash(s, n, 0);
    struct rf_word *w = &c->cache[(uint32_t)h & c->cache_mask];
    if (w->s && w->tag == (uint32_t)(h >> 32) && w->n == n && !memcmp(w->s, s, n)) {
        for (uint32_t i = 0; i < w->count && !*st; i++) *st = rf_tok_push(c, (uint32_t)c->out->id[w->from + i]);
        return true;
    }
    *slot = w;
    *w = (struct rf_word){ .s = s, .n = (uint32_t)n, .tag = (uint32_t)(h >> 32), .from = (uint32_t)c->out->n };
    return false;
}

/* ---- BPE ---- */

static inline uint32_t bpe_key(const struct rf_tok_call *c, const char *w, size_t n, const struct rf_sym *a,
                               const struct rf_sym *b, uint32_t *id)
{
    (void)w;
    (void)n;
    if (a->id == RF_TOK_NONE || b->id == RF_TOK_NONE) return RF_TOK_NONE;
    const struct rf_merge *m = rf_merges_find(&c->t->merges, a->id, b->id);
    if (!m) return RF_TOK_NONE;
    *id = m->id - 1;
    return m->rank;
}

static inline void bpe_note(const struct rf_tok_call *c, const struct rf_sym *a, const struct rf_sym *b, uint32_t id)
{
    (void)c, (void)a, (void)b, (void)id;
}

RF_DEFINE_MERGE(bpe, bpe_key, bpe_note)

/* The word in the printable alphabet, looked up whole. */
static uint32_t find_whole(const struct rf_tokenizer *t, const char *s, size_t n)
{
    char tmp[512];
    size_t k = 0;
    if (!t->byte_level) return rf_tok_find_text(t, s, n);
    if (n > sizeof tmp / 2) return RF_TOK_NONE;
    for (size_t i = 0; i < n; i++) k += rf_utf8_encode(rf_byte_to_char((uint8_t)s[i]), tmp + k);
    return rf_tok_find_text(t, tmp, k);
}

static size_t put_mark(char *to, struct rf_str mark)
{
    size_t n = mark.n < 24 ? mark.n : 0;
    if (n) memcpy(to, mark.s, n);
    return n;
}

/* The symbols of one character (of one byte, in a byte-level vocabulary), spelled with the marks of its place in the word.
 * What the vocabulary lacks becomes bytes, the unknown token, or nothing. */
static void char_symbols(struct rf_tok_call *c, const char *s, size_t n, size_t at, size_t len, uint32_t *n_sym)
{
    const struct rf_tokenizer *t = c->t;
    static const struct rf_str none = { "", 0 };
    char tmp[64];
    size_t k = put_mark(tmp, at ? t->word_prefix : none);
    if (t->byte_level) k += rf_utf8_encode(rf_byte_to_char((uint8_t)s[at]), tmp + k);
    else memcpy(tmp + k, s + at, len), k += len;
    k += put_mark(tmp + k, at + len == n ? t->word_suffix : none);
    uint32_t id = rf_tok_find_text(t, tmp, k);
    bool bytes = id == RF_TOK_NONE && t->byte_fallback;
    for (size_t i = 0; i < k && bytes; i++) bytes = t->byte_id[(unsigned char)tmp[i]] != RF_TOK_NONE;
    if (bytes) { /* of the marks too, as the PyPI package does it */
        for (size_t i = 0; i < k; i++)
            c->sym[(*n_sym)++] = (struct rf_sym){ .id = t->byte_id[(unsigned char)tmp[i]], .off = (uint32_t)at };
        return;
    }
    if (id == RF_TOK_NONE) {
        if (t->unk == RF_TOK_NONE) return;
        if (t->fuse_unk && *n_sym && c->sym[*n_sym - 1].id == t->unk) return;
        id = t->unk;
    }
    c->sym[(*n_sym)++] = (struct rf_sym){ .id = id, .off = (uint32_t)at };
}

rf_status rf_bpe_word(struct rf_tok_call *c, const char *s, size_t n)
{
    const struct rf_tokenizer *t = c->t;
    struct rf_word *slot;
    rf_status st;
    uint32_t n_sym = 0;
    if (!n) return RF_OK;
    if (rf_word_recall(c, s, n, &slot, &st)) return st;
    if (t->ignore_merges) {
        uint32_t id = find_whole(t, s, n);
        if (id != RF_TOK_NONE) {
            if (slot) slot->count = 1;
            return rf_tok_push(c, id);
        }
    }
    bool marks = t->word_prefix.n || t->word_suffix.n;
    st = rf_merge_reserve(c, n * (marks && t->byte_fallback ? t->word_prefix.n + t->word_suffix.n + 1 : 1) + 1);
    if (st) {
        if (slot) slot->s = NULL;
        return st;
    }
    if (t->byte_level && !marks) {
        for (size_t i = 0; i < n; i++) {
            uint32_t id = t->byte_id[(unsigned char)s[i]];
            if (id == RF_TOK_NONE) id = t->unk;
            if (id != RF_TOK_NONE) c->sym[n_sym++] = (struct rf_sym){ .id = id, .off = (uint32_t)i };
        }
    } else {
        for (size_t i = 0; i < n;) {
            uint32_t cp;
            bool ok;
            unsigned len = t->byte_level ? 1 : rf_uni_next(s + i, n - i, &cp, &ok);
            char_symbols(c, s, n, i, len, &n_sym);
            i += len;
        }
    }
    st = bpe_merge(c, s, n, n_sym);
    for (uint32_t i = n_sym ? 0 : RF_TOK_NONE; i != RF_TOK_NONE && !st; i = c->sym[i].next) st = rf_tok_push(c, c->sym[i].id);
    if (slot) {
        if (st) slot->s = NULL;
        else slot->count = (uint32_t)c->out->n - slot->from;
    }
    return st;
}
