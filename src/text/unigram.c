/* Unigram (Kudo 2018): the segmentation with the best sum of scores, by Viterbi over the characters of the text. */
#include <math.h>
#include <string.h>

#include "text/tok.h"

#define UNK_PENALTY 10.0 /* below the worst score, SentencePiece's kUnkPenalty */
#define MAX_PIECE 1024

struct unigram { struct rf_added_set set; double unk_score; };

rf_status rf_unigram_prepare(struct rf_tokenizer *t, struct rf_error *err)
{
    struct unigram *u = rf_alloc_array(1, sizeof *u);
    struct rf_added *a = rf_alloc_array(t->vocab.n, sizeof *a);
    t->unigram = u;
    if (!u || !a) {
        rf_free(a);
        return rf_fail_nomem(err, "vocabulary", t->vocab.n * sizeof *a);
    }
    uint32_t n = 0;
    double low = 0;
    for (uint32_t i = 0; i < t->vocab.n; i++) {
        if ((t->attr[i] != RF_TOKEN_NORMAL && t->attr[i] != RF_TOKEN_USER) || !rf_tok_is_text(t, i)) continue;
        if (t->attr[i] == RF_TOKEN_NORMAL) low = RF_MIN(low, t->score[i]);
        if (t->vocab.piece[i].n <= MAX_PIECE) a[n++] = (struct rf_added){ t->vocab.piece[i], i, 0 };
    }
    u->unk_score = t->float_sums ? (double)(float)(low - UNK_PENALTY) : low - UNK_PENALTY;
    rf_added_build(&u->set, a, n);
    return RF_OK;
}

void rf_unigram_release(struct rf_tokenizer *t)
{
    struct unigram *u = t->unigram;
    if (u) rf_free(u->set.tok);
    rf_free(u);
    t->unigram = NULL;
}

struct best { double score; uint32_t from, id; };

static double sum(const struct rf_tokenizer *t, double a, double b) { return t->float_sums ? (double)(float)(a + b) : a + b; }

/* Relaxes every edge that starts at `at`. */
static void relax(const struct rf_tokenizer *t, const char *s, size_t n, size_t at, struct best *best)
{
    const struct unigram *u = t->unigram;
    const struct rf_added_set *a = &u->set;
    uint32_t cp;
    bool ok, single = false;
    unsigned len = rf_uni_next(s + at, n - at, &cp, &ok);
    unsigned char c = (unsigned char)s[at];
    uint32_t lo = a->first[c], hi = a->first[c + 1u];
    for (size_t d = 1; lo < hi; d++) {
        if (a->tok[lo].text.n == d) {
            uint32_t id = a->tok[lo].id;
            double score = sum(t, best[at].score, t->score[id]);
            single = single || d == len;
            if (best[at + d].from == RF_TOK_NONE || score > best[at + d].score)
                best[at + d] = (struct best){ score, (uint32_t)at, id };
        }
        if (at + d == n) break;
        rf_added_narrow(a, &lo, &hi, d, (unsigned char)s[at + d]);
    }
    double score = sum(t, best[at].score, u->unk_score);
    if (!single && (best[at + len].from == RF_TOK_NONE || score > best[at + len].score))
        best[at + len] = (struct best){ score, (uint32_t)at, RF_TOK_NONE };
}

/* SentencePiece starts to count anew where a sum gets so large that floats are coarse; later sums then round otherwise. */
static void restart_sums(struct best *best, size_t at, size_t n)
{
    double off = best[at].score;
    if (off >= -1e5 && off <= 1e5) return;
    for (size_t i = at; i <= n && i - at <= MAX_PIECE; i++)
        if (best[i].from != RF_TOK_NONE) best[i].score = (float)(best[i].score - off);
}

static rf_status push_piece(struct rf_tok_call *c, const char *s, size_t n, uint32_t id, bool *was_unk)
{
    const struct rf_tokenizer *t = c->t;
    if (id != RF_TOK_NONE && id != t->unk) {
        *was_unk = false;
        return rf_tok_push(c, id);
    }
    bool bytes = t->byte_fallback && id == RF_TOK_NONE; /* else the unknown token's own spelling, which fuses with its likes */
    for (size_t i = 0; i < n && bytes; i++) bytes = t->byte_id[(unsigned char)s[i]] != RF_TOK_NONE;
    for (size_t i = 0; i < n && bytes; i++) RF_TRY(rf_tok_push(c, t->byte_id[(unsigned char)s[i]]));
    if (bytes) return RF_OK;
    if (t->unk != RF_TOK_NONE && !(*was_unk && t->fuse_unk)) RF_TRY(rf_tok_push(c, t->unk));
    *was_unk = true;
    return RF_OK;
}

rf_status rf_unigram_word(struct rf_tok_call *c, const char *s, size_t n)
{
    struct best *best = n ? rf_alloc_array(n + 1, sizeof *best) : NULL;
    if (!n) return RF_OK;
    if (!best) return rf_fail_nomem(c->err, "text", n * sizeof *best);
    for (size_t i = 1; i <= n; i++) best[i].from = RF_TOK_NONE;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        bool ok;
        if (c->t->float_sums) restart_sums(best, at, n);
        if (!at || best[at].from != RF_TOK_NONE) relax(c->t, s, n, at, best);
        at += rf_uni_next(s + at, n - at, &cp, &ok);
    }
    /* The way back names pieces from the last to the first; link it forward through `ahead`. */
    uint32_t *ahead = rf_alloc_array(n + 1, sizeof *ahead);
    rf_status st = ahead ? RF_OK : rf_fail_nomem(c->err, "text", n * sizeof *ahead);
    bool was_unk = false;
    for (size_t at = n; at && !st; at = best[at].from) ahead[best[at].from] = (uint32_t)at;
    for (size_t at = 0; at < n && !st; at = ahead[at]) st = push_piece(c, s + at, ahead[at] - at, best[ahead[at]].id, &was_unk);
    rf_free(ahead);
    rf_free(best);
    return st;
}
