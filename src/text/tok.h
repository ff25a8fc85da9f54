/* tok.h - private to the tokenizers of this room: what one consists of and how a call walks it.
 *
 * text -> split at added tokens -> normalize -> split by pre-tokenizer steps -> model (bpe, spm, ...) -> ids
 *
 * GGUF keys and tokenizer.json both become this one struct. Everything in it is immutable after open; what a call needs
 * besides (symbols, heap, cache of words) lies in struct rf_tok_call on the caller's stack.
 */
#ifndef RF_TEXT_TOK_H
#define RF_TEXT_TOK_H

#include "base/arena.h"
#include "base/mem.h"
#include "text/regex.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#define RF_TOK_NONE UINT32_MAX
#define RF_TOK_MAX_VOCAB (1u << 24)
#define RF_TOK_MAX_TEXT ((size_t)1 << 30)
#define RF_TOK_MAX_STEPS 32
#define RF_TOK_MAX_ADDED_LEN 4096 /* longer spellings are never looked for in text */

enum rf_tok_model { RF_TOK_BPE, RF_TOK_SPM, RF_TOK_UNIGRAM, RF_TOK_WORDPIECE, RF_TOK_WORDLEVEL };

/* ---- vocabulary: piece text -> id ---- */

/* Own table beside base/map.h, because a vocabulary of 262k pieces is built, and 500k merges looked up in it, at every start:
 * 16 bytes a slot instead of 32, and a piece of at most 8 bytes, as nine of ten are, is found without going to its text. */
struct rf_vocab_slot {
    uint64_t head;     /* its first 8 bytes, or fewer as rf_hash_tail has them */
    uint32_t tag, id;  /* bytes, or from 9 on bits of the hash; id + 1, 0 is empty */
};

struct rf_vocab {
    struct rf_str *piece;    /* [n], borrowed */
    struct rf_vocab_slot *slot;
    uint32_t n, mask;
    uint64_t seed;
};

rf_status rf_vocab_init(struct rf_vocab *v, uint32_t n, struct rf_error *err); /* pieces empty, table sized */
void rf_vocab_add(struct rf_vocab *v, uint32_t id);                            /* the first of equal pieces stays */
uint32_t rf_vocab_find(const struct rf_vocab *v, const char *s, size_t n);     /* RF_TOK_NONE */
void rf_vocab_add_all(struct rf_vocab *v);                                     /* every piece that is not empty, in order */
struct rf_vocab_query { const char *s; size_t n; uint64_t hash; uint32_t id; };
void rf_vocab_find_many(const struct rf_vocab *v, struct rf_vocab_query *q, size_t n); /* fills id; best 16 to 128 at once */
void rf_vocab_release(struct rf_vocab *v);

/* ---- merges: pair of ids -> rank and result ---- */

struct rf_merge { uint32_t left, right, rank, id; }; /* id + 1; 0 is empty */
struct rf_merges { struct rf_merge *slot; uint32_t mask; };

rf_status rf_merges_init(struct rf_merges *m, size_t n, struct rf_error *err);
void rf_merges_add(struct rf_merges *m, uint32_t left, uint32_t right, uint32_t rank, uint32_t id); /* later ones win */
/* A list of merges in order of rank into t->merges: "left right" pairs, asked for one by one through get (false: no pair).
 * strict: a pair that the vocabulary lacks is an error, else it is left out. */
struct rf_merge_pair { struct rf_str left, right; };
struct rf_tokenizer;
rf_status rf_merges_load(struct rf_tokenizer *t, const void *list, size_t n, bool strict,
                         bool (*get)(const void *list, size_t i, struct rf_merge_pair *out), struct rf_error *err);
static inline const struct rf_merge *rf_merges_find(const struct rf_merges *m, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
    for (uint32_t i = (uint32_t)(h >> 32) & m->mask; m->slot[i].id; i = (i + 1) & m->mask)
        if (m->slot[i].left == left && m->slot[i].right == right) return &m->slot[i];
    return NULL;
}

/* ---- added tokens: found in text before anything else ---- */

enum rf_added_flags {
    RF_ADDED_LSTRIP = 1, RF_ADDED_RSTRIP = 2, RF_ADDED_SINGLE_WORD = 4,
    RF_ADDED_NORMALIZED = 8, /* looked for in normalized text */
    RF_ADDED_SPECIAL = 16,   /* only where the caller parses special tokens */
};
struct rf_added { struct rf_str text; uint32_t id, flags; };

struct rf_added_set {
    struct rf_added *tok;    /* sorted by bytes of text */
    uint32_t n;
    uint32_t first[257];     /* tok[first[b]..first[b+1]) start with byte b */
};
/* Sorts tok[n], drops empty, over-long and repeated ones. Takes tok (rf_free). */
void rf_added_build(struct rf_added_set *a, struct rf_added *tok, uint32_t n);
/* tok[*lo..*hi) agree in their first d bytes: keeps those whose byte d is c. */
void rf_added_narrow(const struct rf_added_set *a, uint32_t *lo, uint32_t *hi, size_t d, unsigned char c);
/* Longest token that s starts with, NULL. */
const struct rf_added *rf_added_match(const struct rf_added_set *a, const char *s, size_t n);

/* ---- normalizer and pre-tokenizer steps ---- */

enum rf_norm_kind {
    RF_NORM_NFC, RF_NORM_NFD, RF_NORM_NFKC, RF_NORM_NFKD, RF_NORM_LOWER, RF_NORM_STRIP, RF_NORM_STRIP_ACCENTS,
    RF_NORM_REPLACE, RF_NORM_PREPEND, RF_NORM_BERT, RF_NORM_CHARSMAP, RF_NORM_NMT, RF_NORM_SQUEEZE,
    RF_NORM_SENTENCEPIECE,
};
enum { RF_BERT_CLEAN = 1, RF_BERT_CJK = 2, RF_BERT_ACCENTS = 4, RF_BERT_LOWER = 8, RF_STRIP_LEFT = 1, RF_STRIP_RIGHT = 2,
       RF_SP_SQUEEZE = 1, RF_SP_PREFIX = 2, RF_SP_ESCAPE = 4 /* remove_extra_whitespaces, add_dummy_prefix, escape_whitespaces */ };

struct rf_norm_step {
    enum rf_norm_kind kind;
    uint32_t flags;
    struct rf_str pattern, content;  /* REPLACE (pattern unless regex), PREPEND; CHARSMAP, SENTENCEPIECE: pattern is the blob */
    struct rf_regex *regex;
    const struct rf_added_set *keep; /* SENTENCEPIECE: stay as they are */
};

/* ASCII punctuation and category P as the PyPI package `tokenizers` knows it (tables of Unicode 8): later ones are left out. */
#define RF_PUNCT                                                                                                       \
    "[!-/:-@\\[-`{-~\\p{P}\\x{166D}\\x{111C9}&&[^\\x{61D}\\x{9FD}\\x{A76}\\x{C77}\\x{C84}\\x{1B4E}\\x{1B4F}\\x{1B7D}-\\x{1B7F}"                    \
    "\\x{2E43}-\\x{2E4F}\\x{2E52}-\\x{2E5D}\\x{10D6E}\\x{10EAD}\\x{10F55}-\\x{10F59}\\x{10F86}-\\x{10F89}\\x{113D4}\\x{113D5}"         \
    "\\x{113D7}\\x{113D8}\\x{1144B}-\\x{1144F}\\x{1145A}\\x{1145B}\\x{1145D}\\x{11660}-\\x{1166C}\\x{116B9}\\x{1183B}"               \
    "\\x{11944}-\\x{11946}\\x{119E2}\\x{11A3F}-\\x{11A46}\\x{11A9A}-\\x{11A9C}\\x{11A9E}-\\x{11AA2}\\x{11B00}-\\x{11B09}"           \
    "\\x{11BE1}\\x{11C41}-\\x{11C45}\\x{11C70}\\x{11C71}\\x{11EF7}\\x{11EF8}\\x{11F43}-\\x{11F4F}\\x{11FFF}\\x{12FF1}\\x{12FF2}"    \
    "\\x{16D6D}-\\x{16D6F}\\x{16E97}-\\x{16E9A}\\x{16FE2}\\x{1E5FF}\\x{1E95E}\\x{1E95F}]]"

enum rf_split_kind { RF_SPLIT_REGEX, RF_SPLIT_LITERAL, RF_SPLIT_TO_BYTES, RF_SPLIT_METASPACE, RF_SPLIT_DIGITS3, RF_SPLIT_PREFIX_SPACE };
enum rf_split_how { RF_ISOLATED, RF_REMOVED, RF_MERGED_PREV, RF_MERGED_NEXT, RF_CONTIGUOUS };

struct rf_split_step {
    enum rf_split_kind kind;
    enum rf_split_how how;
    bool invert;
    uint8_t scheme;          /* METASPACE: 0 never, 1 pieces that begin with what became of the text's first character, 2 always */
    bool split;              /* METASPACE: split before each replacement */
    struct rf_regex *regex;
    struct rf_str text;      /* LITERAL; METASPACE: the replacement */
};

/* How a token becomes bytes: the shapes of nearly all families, and tokenizer.json's list of decoders; see detok.c. */
enum rf_decode_kind { RF_DECODE_CONCAT, RF_DECODE_BYTES, RF_DECODE_SPM, RF_DECODE_WORDPIECE, RF_DECODE_CHAIN };

enum rf_dec_kind { RF_DEC_BYTE_LEVEL, RF_DEC_META, RF_DEC_WORDPIECE, RF_DEC_SUFFIX, RF_DEC_REPLACE, RF_DEC_STRIP, RF_DEC_BYTE, RF_DEC_SPACE };
struct rf_dec_step {
    enum rf_dec_kind kind;
    bool flag;                  /* META: none in the first token; WORDPIECE: clean up */
    struct rf_str text;         /* META: replacement, WORDPIECE: prefix, SUFFIX: suffix, STRIP: the character */
    uint32_t start, stop;       /* STRIP: how many at most */
    struct rf_norm_step replace; /* REPLACE */
};

struct rf_tokenizer {
    enum rf_tok_model model;
    struct rf_vocab vocab;
    uint8_t *attr;           /* [n] enum rf_token_attr */
    uint8_t *outside;        /* [n] added tokens that the model itself does not know; NULL: none */
    double *score;           /* [n] SPM, UNIGRAM */
    uint8_t *eog;            /* [n] */
    struct rf_merges merges;
    struct rf_added_set added, added_norm; /* on raw text; on normalized text */
    struct rf_added_set added_plain; /* `added` without those special ones that belong to normalized text, where places do not matter */
    bool late_special;       /* there are such */
    bool wants_first;        /* some METASPACE asks what stands first in the text */
    struct rf_added_set keep; /* tokenizer.model's user-defined pieces: the normalizer leaves them whole, and BPE never merges them */
    struct rf_norm_step norm[RF_TOK_MAX_STEPS];
    uint32_t n_norm;
    struct rf_split_step split[RF_TOK_MAX_STEPS];
    uint32_t n_split;
    bool byte_level;         /* symbols are bytes in the printable alphabet */
    bool byte_symbols;       /* SPM: starts from bytes, and a whole word of the vocabulary is itself */
    bool ignore_merges;      /* a whole word of the vocabulary is itself */
    bool byte_fallback;      /* what the vocabulary lacks becomes <0xXX> */
    bool fuse_unk;
    uint32_t byte_id[256];   /* token of a byte: byte-level symbol or <0xXX>; RF_TOK_NONE */
    uint32_t unk;            /* RF_TOK_NONE */
    struct rf_str word_prefix, word_suffix; /* continuing_subword_prefix ("##"), end_of_word_suffix */
    struct rf_str word_first; /* WORDPIECE: before the first piece of a word ("▁" in GGUF) */
    uint32_t max_word_chars; /* WORDPIECE */
    uint32_t max_piece;      /* bytes of the longest piece */
    bool splits_unused;      /* SPM: merges may end in unused pieces, which become the parts that they were merged from */
    uint8_t *space_after;    /* SPM: bit per code point & 0xFFFF: some piece has it right before "▁" */
    void *unigram;           /* unigram.c's trie */
    bool float_sums;         /* UNIGRAM: sums rounded to float, as SentencePiece's, which decides ties */
    int32_t bos, eos;        /* -1 */
    bool add_bos, add_eos, add_sep; /* defaults of the family, where the file is silent */
    bool ranked;             /* GGUF: the family's own file is one of ranks, see rf_tok_set_ranked */
    uint32_t *prefix_ids, *suffix_ids; /* what RF_TOK_ADD_SPECIAL puts around */
    uint32_t n_prefix, n_suffix;
    enum rf_decode_kind decode;
    bool decode_strip;       /* one leading space of the whole is not part of the text */
    bool decode_spelled;     /* ... and only U+2581 at the start of a piece is such a space, no byte */
    bool decode_squeeze;     /* ... and the next piece's neither, until there is text */
    struct rf_str unk_text;  /* tokenizer.model: what the unknown token stands for in text */
    bool decode_first;       /* the first token goes through dec[] instead */
    bool decode_last;        /* the last token has other bytes than dec[] gives it elsewhere: BPEDecoder's suffix is a space, but none there */
    struct rf_dec_step *dec; /* [n_dec], tokenizer.json only */
    uint32_t n_dec;
    uint32_t *byte_off;      /* [n + 1] into bytes: a token in running text */
    char *bytes;
    struct rf_arena arena;   /* strings that are not borrowed from the weights */
    struct rf_buf file;      /* tokenizer.json, borrowed from by pieces */
};

/* ---- one call ---- */

struct rf_word { const char *s; uint32_t n, tag, from, count; }; /* ids out->id[from .. from + count) */

struct rf_sym { uint32_t id, off, prev, next; }; /* off: byte in the word; next's off is its end */

struct rf_tok_call {
    const struct rf_tokenizer *t;
    struct rf_ids *out;
    struct rf_error *err;
    struct rf_arena arena;   /* normalized text: words point into it until the call ends */
    struct rf_word *cache;
    uint32_t cache_mask;     /* 0: no cache */
    struct rf_sym *sym;
    uint64_t *heap;
    size_t cap_sym, cap_heap, n_heap;
    uint32_t *unused_left;   /* [vocabulary] with splits_unused: bytes of an unused piece's left part, where merges last met it */
    bool parse_special;
    bool text_start;         /* nothing was tokenized yet */
    const char *first_end;   /* text below is what became of the call's first character: rf_norm_run */
};

rf_status rf_tok_push(struct rf_tok_call *c, uint32_t id);
/* May the model make this piece out of text? Control tokens come from parsing alone. */
static inline bool rf_tok_is_text(const struct rf_tokenizer *t, uint32_t id)
{
    return t->attr[id] != RF_TOKEN_CONTROL && !(t->outside && t->outside[id]);
}
/* Id of a piece that the model may make, RF_TOK_NONE. */
static inline uint32_t rf_tok_find_text(const struct rf_tokenizer *t, const char *s, size_t n)
{
    uint32_t id = rf_vocab_find(&t->vocab, s, n);
    return id != RF_TOK_NONE && rf_tok_is_text(t, id) ? id : RF_TOK_NONE;
}
/* Appends the ids of one word; each model has one. Words are cut so that nothing can merge across them. */
rf_status rf_bpe_word(struct rf_tok_call *c, const char *s, size_t n);
rf_status rf_spm_text(struct rf_tok_call *c, const char *s, size_t n);
rf_status rf_bpe_text(struct rf_tok_call *c, const char *s, size_t n);
rf_status rf_unigram_word(struct rf_tok_call *c, const char *s, size_t n);
rf_status rf_wordpiece_word(struct rf_tok_call *c, const char *s, size_t n);
rf_status rf_wordlevel_word(struct rf_tok_call *c, const char *s, size_t n);
/* Pre-tokenizes and runs the model. */
rf_status rf_pretok_run(struct rf_tok_call *c, const char *s, size_t n);
/* One REPLACE step: appends to out. *first, where not NULL: bytes at the start that became of the text's first character, in s and then in out. */
rf_status rf_norm_replace(const struct rf_norm_step *st, const char *s, size_t n, size_t *first, struct rf_buf *out);
/* *out is s itself or lies in c->arena; sets c->first_end. */
rf_status rf_norm_run(struct rf_tok_call *c, const char *s, size_t n, struct rf_str *out);

/* ---- building ---- */

rf_status rf_tok_open_gguf(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err);
rf_status rf_tok_open_json(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err);
/* tokenizer.model, where a folder has no tokenizer.json. */
rf_status rf_tok_open_spproto(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err);
/* tekken.json, where a folder has neither. */
rf_status rf_tok_open_tekken(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err);
/* USER pieces that are spelled like turn markers become CONTROL. */
void rf_tok_hide_special(struct rf_tokenizer *t);
/* Steps for a `tokenizer.ggml.pre` name; RF_UNSUPPORTED naming it. */
rf_status rf_pretok_by_name(struct rf_tokenizer *t, struct rf_str name, struct rf_error *err);
rf_status rf_pretok_add_regex(struct rf_tokenizer *t, const char *pattern, size_t n, enum rf_split_how how,
                              struct rf_error *err);
/* Pieces are raw bytes and score is -id: neighbours merge if their bytes are a piece, smaller id first. score is there. */
void rf_tok_set_ranked(struct rf_tokenizer *t);
/* byte_id[], byte_off and bytes from vocab, attr and decode. */
rf_status rf_tok_make_bytes(struct rf_tokenizer *t, struct rf_error *err);
/* A byte-level piece with each character back as its byte; one outside the alphabet leaves the piece as it is. out[p.n] */
size_t rf_bytes_of_alphabet(struct rf_str p, char *out);
void rf_tok_find_byte_ids(struct rf_tokenizer *t);
rf_status rf_spm_prepare(struct rf_tokenizer *t, struct rf_error *err);
rf_status rf_unigram_prepare(struct rf_tokenizer *t, struct rf_error *err);
void rf_unigram_release(struct rf_tokenizer *t);
/* Reads "<0x1F>"; -1. */
int rf_tok_byte_piece(struct rf_str p);
void rf_tok_mark_eog(struct rf_tokenizer *t, const struct rf_weights *w);
bool rf_tok_looks_special(struct rf_str p);

static inline bool rf_str_is(struct rf_str s, const char *lit)
{
    size_t n = __builtin_strlen(lit);
    return s.n == n && !__builtin_memcmp(s.s, lit, n);
}

#endif
