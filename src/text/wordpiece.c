/* WordPiece (Devlin et al. 2018): longest piece first, from the left; a word with a gap is unknown as a whole. And
 * WordLevel: a word is a token or unknown. */
#include <string.h>

#include "text/tok.h"

rf_status rf_wordlevel_word(struct rf_tok_call *c, const char *s, size_t n)
{
    uint32_t id = rf_tok_find_text(c->t, s, n);
    if (id == RF_TOK_NONE) id = c->t->unk;
    return id == RF_TOK_NONE ? RF_OK : rf_tok_push(c, id);
}

/* Longest piece that mark + s[at..] starts with; *end behind it. */
static uint32_t longest(const struct rf_tok_call *c, struct rf_str mark, const char *s, size_t n, size_t at, size_t *end)
{
    char tmp[512];
    size_t most = RF_MIN(sizeof tmp, (size_t)c->t->max_piece);
    if (mark.n >= most) return RF_TOK_NONE;
    n = RF_MIN(n, at + (most - mark.n) + 1); /* one more: whether a character ends there shows in the next byte */
    memcpy(tmp, mark.s, mark.n);
    memcpy(tmp + mark.n, s + at, RF_MIN(n - at, most - mark.n));
    for (size_t e = RF_MIN(n, at + (most - mark.n)); e > at; e--) {
        if (e < n && ((unsigned char)s[e] & 0xC0) == 0x80) continue;
        uint32_t id = rf_tok_find_text(c->t, tmp, mark.n + e - at);
        if (id == RF_TOK_NONE) continue;
        if (c->t->word_first.n && !mark.n && e - at > 3 && !memcmp(s + at, c->t->word_first.s, 3)) continue; /* a "▁" of the text's own */
        *end = e;
        return id;
    }
    return RF_TOK_NONE;
}

rf_status rf_wordpiece_word(struct rf_tok_call *c, const char *s, size_t n)
{
    const struct rf_tokenizer *t = c->t;
    static const struct rf_str none = { "", 0 };
    size_t chars = 0, at = 0, before = c->out->n;
    for (size_t i = 0; i < n; i++) chars += ((unsigned char)s[i] & 0xC0) != 0x80;
    bool unknown = chars > t->max_word_chars;
    while (at < n && !unknown) {
        struct rf_str mark = at ? t->word_prefix : t->word_first;
        uint32_t id = longest(c, mark.n ? mark : none, s, n, at, &at);
        if (id == RF_TOK_NONE) unknown = true;
        else RF_TRY(rf_tok_push(c, id));
    }
    if (!unknown) return RF_OK;
    c->out->n = before;
    return t->unk == RF_TOK_NONE ? RF_OK : rf_tok_push(c, t->unk);
}
