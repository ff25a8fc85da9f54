#include "text/tok.h"

#include <string.h>

/* Contractions of GPT-4's pattern. */
#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define QWEN2 CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(end) "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" end "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" end
#define GPT4O CASED(CONTRACTION "?") "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define TEKKEN CASED("") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES
#define KANA_HAN "[一-龥぀-ゟ゠-ヿ]+"
#define DEEPSEEK3 "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES
#define BLOOM " ?[^(\\s|.,!?…。，、।۔،)]+"
#define NOT_HAN(set) "[" set "&&[^\\p{Han}]]"
#define K2_UPPER NOT_HAN("\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}")
#define K2_LOWER NOT_HAN("\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}")
#define K2_CASED "[^\\r\\n\\p{L}\\p{N}]?" K2_UPPER "*" K2_LOWER "+" CONTRACTION "?|[^\\r\\n\\p{L}\\p{N}]?" K2_UPPER "+" K2_LOWER "*" CONTRACTION "?"
/* Cased letters as DeepSeek-LLM lists them. What NFC would change stands as a number. */
#define DS_LETTERS \
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛ" \
    "Ὕ\\x{1F5F}-\\x{1F7D}ᾀ-ᾴᾶ-ᾼ\\x{1FBE}ῂ-ῄῆ-ῌ\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}ῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ" \
    "\\x{2126}ℨ\\x{212A}-\\x{212D}ℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲" \
    "𑢠-𑣟𞤀-𞥃]+"
#define DIGITS3 "\x01" /* not a pattern: groups of three digits counted from the right */
#define DIGITS3_WORD "\x02" /* the same, only in runs that a word boundary ends */

/* BYTES_FIRST: the steps but the first two see the printable alphabet. CHARS: symbols are characters, spaces are "▁". WORDS: symbols
 * are characters, matches are left out. */
/* RANKS: the model's own tokenizer is a file of ranks, see tiktoken.c. SEP: texts end with a separator, as RoBERTa's. */
enum { NFC = 1, IGNORE_MERGES = 2, BYTES_FIRST = 4, CHARS = 8, BOS = 16, RANKS = 32, SEP = 64, WORDS = 128 };

/* One row per `tokenizer.ggml.pre`: the steps of the model's own tokenizer.json, one regex each, pieces isolated. */
static const struct pre { const char *name; unsigned flags; const char *step[6]; } pres[] = {
    { "default", 0, { "[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" } },
    { "gpt-2", 0, { GPT2 } },
    { "phi-2", 0, { GPT2 } },
    { "gpt-neox", NFC, { GPT2 } },
    { "mpt", NFC, { GPT2 } },
    { "olmo", NFC, { GPT2 } },
    { "jais", 0, { GPT2 } },
    { "trillion", 0, { GPT2 } },
    { "granite-docling", 0, { GPT2 } },
    { "roberta-bpe", SEP, { GPT2 } },
    { "jina-es", 0, { GPT2 } },
    { "jina-de", 0, { GPT2 } },
    { "jina-v1-en", SEP, { GPT2 } },
    { "jina-v2-es", 0, { GPT2 } },
    { "jina-v2-de", 0, { GPT2 } },
    { "jina-v2-code", SEP, { GPT2 } },
    { "gigachat", 0, { GPT2 } },
    { "a.x-4.0", 0, { GPT2 } },
    { "mellum", 0, { GPT2 } },
    { "modern-bert", NFC, { GPT2 } },
    { "exaone4", 0, { GPT2 } },
    { "llama3", BOS | IGNORE_MERGES, { LLAMA3 } },
    { "llama-v3", BOS | IGNORE_MERGES, { LLAMA3 } },
    { "llama-bpe", BOS | IGNORE_MERGES, { LLAMA3 } },
    { "falcon3", BOS | IGNORE_MERGES, { LLAMA3 } },
    { "falcon-h1", BOS | IGNORE_MERGES, { LLAMA3 } },
    { "midm-2.0", BOS | IGNORE_MERGES, { LLAMA3 } },
    { "lfm2", BOS | IGNORE_MERGES, { LLAMA3 } },
    { "jina-v5-nano", BOS | IGNORE_MERGES, { LLAMA3 } },
    { "dbrx", 0, { LLAMA3 } },
    { "smaug-bpe", 0, { LLAMA3 } },
    { "glm4", 0, { LLAMA3 } },
    { "chatglm-bpe", 0, { LLAMA3 } },
    { "qwen2", NFC, { QWEN2 } },
    { "deepseek-r1-qwen", 0, { QWEN2 } },
    { "kormo", 0, { QWEN2 } },
    { "f2llmv2", NFC, { QWEN2 } },
    { "megrez", NFC, { QWEN2 } },
    { "stablelm2", NFC, { QWEN2 } },
    { "hunyuan", 0, { QWEN2 } },
    { "solar-open", 0, { QWEN2 } },
    { "grok-2", 0, { QWEN2 } },
    { "qwen", NFC | RANKS, { QWEN2 } },
    { "minicpm5", IGNORE_MERGES, { "\\p{N}{1,3}", CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}+| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES } },
    { "qwen35", NFC, { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES } },
    { "deepseek-llm", 0, { "[\\r\\n]", DS_LETTERS, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", "[一-龥ࠀ-一가-퟿]+", "\\p{N}" } },
    { "deepseek-coder", 0, { "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}" } },
    { "deepseek-v3", 0, { "\\p{N}{1,3}", KANA_HAN, DEEPSEEK3 } },
    { "hunyuan-dense", 0, { "\\p{N}{1,3}", KANA_HAN, DEEPSEEK3 } },
    { "joyai-llm", 0, { "\\p{N}{1,3}", KANA_HAN, DEEPSEEK3 } },
    { "youtu", IGNORE_MERGES, { "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" KANA_HAN,
        CASED(CONTRACTION "?") "|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES } },
    { "falcon", BYTES_FIRST, { RF_PUNCT "+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]" } },
    { "starcoder", 0, { "\\p{N}", GPT2 } },
    { "refact", 0, { "\\p{N}", GPT2 } },
    { "command-r", NFC, { "\\p{N}", GPT2 } },
    { "smollm", 0, { "\\p{N}", GPT2 } },
    { "codeshell", 0, { "\\p{N}", GPT2 } },
    { "exaone", NFC, { "\\p{N}", GPT2 } },
    { "minerva-7b", 0, { "\\p{N}", GPT2 } },
    { "mellum2", 0, { "\\p{N}", GPT2 } },
    { "poro-chat", 0, { BLOOM } },
    { "bloom", 0, { BLOOM } },
    { "gpt3-finnish", 0, { BLOOM } },
    { "viking", 0, { BLOOM, "\\p{N}" } },
    { "tekken", BOS | IGNORE_MERGES, { TEKKEN } },
    { "pixtral", BOS | IGNORE_MERGES, { TEKKEN } },
    { "gpt-4o", 0, { GPT4O } },
    { "llama4", 0, { GPT4O } },
    { "kanana2", 0, { GPT4O } },
    { "minimax-m2", 0, { GPT4O } },
    { "talkie", 0, { GPT4O } },
    { "granite-embed-multi-97m", IGNORE_MERGES, { GPT4O } },
    { "tiny_aya", 0, { DIGITS3_WORD, GPT4O } },
    { "cohere2moe", 0, { DIGITS3_WORD, GPT4O } },
    { "kimi-k2", 0, { "[\\p{Han}]+|" K2_CASED "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES } },
    { "superbpe", 0, { "\\p{N}+", DIGITS3 } },
    { "bailingmoe", 0, { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" } },
    { "bailingmoe2", 0, { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" } },
    { "llada-moe", 0, { "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" } },
    { "seed-coder", 0, { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES } },
    { "exaone-moe", NFC, { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+" } },
    { "jais-2", 0, { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|"
        "\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}" } },
    { "chameleon", BOS, { "<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2 } },
    { "afmoe", 0, { DIGITS3, "[一-鿿㐀-䶿\\x{F900}-\\x{FAFF}぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+", DEEPSEEK3 } },
    { "ufakzeka", 0, { "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES } },
    { "hy_v4", 0, { "\\p{N}{1,3}", KANA_HAN, DEEPSEEK3 } },
    { "gemma4", CHARS | BOS, { "[^\\n]+|[\\n]+" } },
    { "granite-embed-multi-311m", CHARS, { "[^\\n]+|[\\n]+" } },
    { "sarvam-moe", CHARS, { "[^\\n]+|[\\n]+" } },
    { "spark2_5", 0, { "\\p{N}{1,3}", KANA_HAN, "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
        " ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+", "\\p{N}" } },
    { "k2-horizon", 0, { CONTRACTION "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}\\x{200C}\\x{200D}]+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES } },
    { "sophia", 0, { NULL } }, /* its patterns never match: the whole text is one word */
    { "whitespace", WORDS, { "\\s+" } },
    { "laguna", 0, { "[^\\n]+|[\\n]+", QWEN2 } },
};

static struct rf_split_step *step_add(struct rf_tokenizer *t, struct rf_error *err)
{
    if (t->n_split == RF_TOK_MAX_STEPS) {
        rf_fail(err, RF_TOO_LARGE, "pre-tokenizer: found more than %d steps", RF_TOK_MAX_STEPS);
        return NULL;
    }
    return &t->split[t->n_split++];
}

rf_status rf_pretok_add_regex(struct rf_tokenizer *t, const char *pattern, size_t n, enum rf_split_how how, struct rf_error *err)
{
    struct rf_split_step *s = step_add(t, err);
    if (!s) return RF_TOO_LARGE;
    s->how = how;
    s->kind = RF_SPLIT_REGEX;
    return rf_regex_compile(&s->regex, pattern, n, err);
}

rf_status rf_pretok_by_name(struct rf_tokenizer *t, struct rf_str name, struct rf_error *err)
{
    const struct pre *p = NULL;
    for (size_t i = 0; i < RF_COUNT(pres) && !p; i++)
        if (rf_str_is(name, pres[i].name)) p = &pres[i];
    if (!p)
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.ggml.pre: found \"%.*s\", expected a known pre-tokenizer",
                       (int)RF_MIN(name.n, (size_t)80), name.s);
    for (size_t i = 0; i < RF_COUNT(p->step) && p->step[i]; i++) {
        const char *re = p->step[i];
        if (*re == *DIGITS3 || *re == *DIGITS3_WORD) {
            struct rf_split_step *s = step_add(t, err);
            if (!s) return RF_TOO_LARGE;
            s->kind = RF_SPLIT_DIGITS3;
            s->invert = *re == *DIGITS3_WORD;
        } else {
            RF_TRY(rf_pretok_add_regex(t, re, strlen(re), p->flags & WORDS ? RF_REMOVED : RF_ISOLATED, err));
        }
        if (i == 1 && p->flags & BYTES_FIRST) {
            struct rf_split_step *s = step_add(t, err);
            if (!s) return RF_TOO_LARGE;
            s->kind = RF_SPLIT_TO_BYTES;
        }
    }
    if (p->flags & NFC) t->norm[t->n_norm++].kind = RF_NORM_NFC;
    t->ignore_merges = p->flags & IGNORE_MERGES;
    t->byte_level = !(p->flags & (CHARS | WORDS));
    t->decode = p->flags & CHARS ? RF_DECODE_SPM : p->flags & WORDS ? RF_DECODE_CONCAT : RF_DECODE_BYTES;
    t->byte_fallback = t->fuse_unk = p->flags & CHARS;
    t->add_bos = p->flags & BOS;
    t->add_sep = p->flags & SEP;
    t->ranked = p->flags & RANKS;
    if (p->flags & CHARS)
        t->norm[t->n_norm++] = (struct rf_norm_step){ .kind = RF_NORM_REPLACE, .pattern = { " ", 1 }, .content = { "\xE2\x96\x81", 3 } };
    return RF_OK;
}

/* ---- running ---- */

/* first: bytes at its start that became of the text's first character. */
struct piece { const char *s; size_t n, first; enum rf_regex_mode mode; };

static rf_status run_step(struct rf_tok_call *c, uint32_t k, struct piece p);

static rf_status run_model(struct rf_tok_call *c, const char *s, size_t n)
{
    switch (c->t->model) {
    case RF_TOK_BPE: return rf_bpe_text(c, s, n);
    case RF_TOK_SPM: return rf_spm_text(c, s, n);
    case RF_TOK_UNIGRAM: return rf_unigram_word(c, s, n);
    case RF_TOK_WORDPIECE: return rf_wordpiece_word(c, s, n);
    case RF_TOK_WORDLEVEL: return rf_wordlevel_word(c, s, n);
    }
    return RF_INTERNAL;
}

/* Joins matches and gaps as the step's behaviour says and hands the pieces on: one piece of delay is enough for all. */
struct joiner {
    struct rf_tok_call *c;
    uint32_t k;
    struct piece whole;
    enum rf_split_how how;
    size_t from, to;         /* the piece held back */
    bool held, was_match;
};

static rf_status hand_on(struct joiner *j, size_t from, size_t to)
{
    if (from == to) return RF_OK;
    struct piece p = { j->whole.s + from, to - from, j->whole.first > from ? j->whole.first - from : 0, j->whole.mode };
    return run_step(j->c, j->k + 1, p);
}

static rf_status join(struct joiner *j, size_t from, size_t to, bool match)
{
    bool glue = false;
    if (j->how == RF_ISOLATED) return hand_on(j, from, to);
    if (j->how == RF_REMOVED) return match ? RF_OK : hand_on(j, from, to);
    if (from == to && !match && j->how != RF_CONTIGUOUS) return RF_OK;
    if (j->held) {
        if (j->how == RF_CONTIGUOUS) glue = match == j->was_match;
        else if (j->how == RF_MERGED_PREV) glue = match && !j->was_match;
        else glue = !match && j->was_match;
    }
    if (glue) {
        j->to = to;
    } else {
        size_t a = j->from, b = j->to;
        bool had = j->held;
        j->from = from;
        j->to = to;
        j->held = true;
        if (had) {
            j->was_match = match;
            return hand_on(j, a, b);
        }
    }
    j->was_match = match;
    return RF_OK;
}

/* PCRE2 wants valid UTF-8: each invalid byte becomes a control character, so that places stay the same. */
static const char *valid_copy(struct rf_tok_call *c, const char *s, size_t n)
{
    char *copy = rf_arena_alloc(&c->arena, n);
    for (size_t i = 0; i < n && copy;) {
        uint32_t cp;
        bool ok;
        unsigned len = rf_uni_next(s + i, n - i, &cp, &ok);
        memcpy(copy + i, ok ? s + i : "\x1A", len);
        i += len;
    }
    return copy;
}

static rf_status run_split(struct rf_tok_call *c, uint32_t k, struct piece p)
{
    const struct rf_split_step *st = &c->t->split[k];
    const char *s_regex = p.s;
    if (st->regex && !rf_regex_is_linear(st->regex) && !rf_utf8_valid(p.s, p.n)) {
        s_regex = valid_copy(c, p.s, p.n);
        if (!s_regex) return rf_fail_nomem(c->err, "text", p.n);
    }
    struct joiner j = { .c = c, .k = k, .whole = p, .how = st->how };
    struct rf_scan scan = { .regex = st->regex, .literal = st->text, .s = s_regex, .n = p.n, .mode = p.mode };
    struct rf_regex_hit hit;
    rf_status s;
    size_t done = 0;
    while (!(s = rf_scan_next(&scan, &hit))) {
        if (hit.from > done) RF_TRY(join(&j, done, hit.from, st->invert));
        RF_TRY(join(&j, hit.from, hit.to, !st->invert));
        done = hit.to;
    }
    if (s == RF_NOMEM) return rf_fail_nomem(c->err, "pre-tokenizer", 0);
    if (s != RF_NOT_FOUND) return rf_fail(c->err, s, "text: the pre-tokenizer's regex needs too much time for %zu bytes", p.n);
    if (done < p.n) RF_TRY(join(&j, done, p.n, st->invert));
    return j.held ? hand_on(&j, j.from, j.to) : RF_OK;
}

/* Oniguruma's \w: like rf_uni_is_word, but without joiners and with the Latin-1 fractions and superscripts. */
static bool is_regex_word(uint32_t cp)
{
    if (cp == 0xB2 || cp == 0xB3 || cp == 0xB9 || (cp >= 0xBC && cp <= 0xBE)) return true;
    return cp != 0x200C && cp != 0x200D && rf_uni_is_word(cp);
}

/* Digit runs cut into threes from the right; with invert only runs that no letter, mark or underscore follows. */
static rf_status run_digits3(struct rf_tok_call *c, uint32_t k, struct piece p)
{
    struct joiner j = { .c = c, .k = k, .whole = p, .how = RF_ISOLATED };
    bool need_edge = c->t->split[k].invert;
    size_t done = 0;
    for (size_t i = 0; i < p.n;) {
        size_t from = i, count = 0;
        uint32_t cp = 0;
        bool ok;
        unsigned len = 0;
        for (; i < p.n; i += len, count++) {
            len = rf_uni_next(p.s + i, p.n - i, &cp, &ok);
            if (!rf_uni_in(cp, RF_CATS(ND))) break;
        }
        bool edge = i == p.n || !is_regex_word(cp);
        if (count && (!need_edge || edge)) {
            if (need_edge || count % 3 == 0) {
                RF_TRY(hand_on(&j, done, from));
                done = from;
            }
            for (size_t a = from, left = count; left;) {
                uint32_t x;
                a += rf_uni_next(p.s + a, p.n - a, &x, &ok);
                left--;
                if ((left && left % 3 == 0) || (!left && need_edge)) {
                    RF_TRY(hand_on(&j, done, a));
                    done = a;
                }
            }
        }
        if (i < p.n) i += len;
    }
    return hand_on(&j, done, p.n);
}

static rf_status run_prefix_space(struct rf_tok_call *c, uint32_t k, struct piece p)
{
    if (*p.s != ' ') {
        char *s = rf_arena_alloc(&c->arena, p.n + 1);
        if (!s) return rf_fail_nomem(c->err, "text", p.n + 1);
        *s = ' ';
        memcpy(s + 1, p.s, p.n);
        p.s = s;
        p.n++;
        p.first += p.first != 0;
    }
    return run_step(c, k + 1, p);
}

static rf_status run_metaspace(struct rf_tok_call *c, uint32_t k, struct piece p)
{
    const struct rf_split_step *st = &c->t->split[k];
    size_t m = st->text.n, spaces = 0, cap, o = 0, first = 0;
    for (size_t i = 0; i < p.n; i++) spaces += p.s[i] == ' ';
    if (!rf_mul(spaces + 1, m, &cap) || !rf_add(cap, p.n, &cap)) return rf_fail(c->err, RF_TOO_LARGE, "text: too long");
    char *s = rf_arena_alloc(&c->arena, cap);
    if (!s) return rf_fail_nomem(c->err, "text", cap);
    bool starts = (p.n && *p.s == ' ') || (p.n >= m && !memcmp(p.s, st->text.s, m));
    if (!starts && (st->scheme == 2 || (st->scheme == 1 && p.first))) {
        memcpy(s, st->text.s, m);
        o = m;
    }
    for (size_t i = 0; i < p.n; i++) {
        if (p.s[i] == ' ') {
            memcpy(s + o, st->text.s, m);
            o += m;
        } else {
            s[o++] = p.s[i];
        }
        if (i < p.first) first = o;
    }
    p = (struct piece){ s, o, first, p.mode };
    if (!st->split) return run_step(c, k + 1, p);
    size_t from = 0;
    struct joiner j = { .c = c, .k = k, .whole = p, .how = RF_ISOLATED };
    while (from < o) {
        const char *next = o - from > m ? memmem(s + from + 1, o - from - 1, st->text.s, m) : NULL;
        size_t to = next ? (size_t)(next - s) : o;
        RF_TRY(hand_on(&j, from, to));
        from = to;
    }
    return RF_OK;
}

static rf_status run_step(struct rf_tok_call *c, uint32_t k, struct piece p)
{
    if (!p.n) return RF_OK;
    if (k == c->t->n_split) return run_model(c, p.s, p.n);
    switch (c->t->split[k].kind) {
    case RF_SPLIT_REGEX:
    case RF_SPLIT_LITERAL: return run_split(c, k, p);
    case RF_SPLIT_PREFIX_SPACE: return run_prefix_space(c, k, p);
    case RF_SPLIT_TO_BYTES:
        p.mode = RF_REGEX_BYTES;
        return run_step(c, k + 1, p);
    case RF_SPLIT_METASPACE: return run_metaspace(c, k, p);
    case RF_SPLIT_DIGITS3: return run_digits3(c, k, p);
    }
    return RF_INTERNAL;
}

rf_status rf_pretok_run(struct rf_tok_call *c, const char *s, size_t n)
{
    return run_step(c, 0, (struct piece){ s, n, s < c->first_end ? RF_MIN((size_t)(c->first_end - s), n) : 0, RF_REGEX_UTF8 });
}
