/* tokenizer.model: SentencePiece's ModelProto (sentencepiece_model.proto), of which we need
 *
 *   1 pieces { 1 piece, 2 score, 3 type }
 *   2 trainer_spec { 3 model_type (1 unigram, 2 bpe), 24 treat_whitespace_as_suffix, 35 byte_fallback, 40 unk_id, 41 bos_id, 42 eos_id,
 *                    44 unk_surface }
 *   3 normalizer_spec { 2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces }
 */
#include <math.h>
#include <string.h>

#include "text/hfadded.h"

struct wire { const uint8_t *p, *end; bool bad; };
struct field { uint32_t number; uint64_t value; struct wire in; float f; };

static uint64_t varint(struct wire *w)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (w->p == w->end) break;
        uint8_t b = *w->p++;
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80)) return v;
    }
    w->bad = true;
    return 0;
}

static const uint8_t *take(struct wire *w, uint64_t n)
{
    if (n > (uint64_t)(w->end - w->p)) {
        w->bad = true;
        return NULL;
    }
    w->p += n;
    return w->p - n;
}

/* The next field of a message; false at its end or where it is broken (w->bad). */
static bool next_field(struct wire *w, struct field *f)
{
    if (w->bad || w->p == w->end) return false;
    uint64_t tag = varint(w);
    const uint8_t *at;
    memset(f, 0, sizeof *f);
    f->number = (uint32_t)(tag >> 3);
    switch (tag & 7) {
    case 0: f->value = varint(w); break;
    case 1: take(w, 8); break;
    case 2: {
        uint64_t n = varint(w);
        at = w->bad ? NULL : take(w, n);
        if (at) f->in = (struct wire){ at, at + n, false };
        break;
    }
    case 5:
        at = take(w, 4);
        if (at) memcpy(&f->f, at, 4);
        break;
    default: w->bad = true;
    }
    return !w->bad;
}

struct spec { uint64_t model_type, byte_fallback, unk, bos, eos, dummy_prefix, squeeze, escape, suffix; struct rf_str charsmap, unk_surface; };

static void read_spec(struct field *f, struct spec *s, bool trainer)
{
    struct { uint32_t message, number; uint64_t *to; } rows[] = {
        { 2, 3, &s->model_type }, { 2, 24, &s->suffix }, { 2, 35, &s->byte_fallback }, { 2, 40, &s->unk }, { 2, 41, &s->bos }, { 2, 42, &s->eos },
        { 3, 3, &s->dummy_prefix }, { 3, 4, &s->squeeze }, { 3, 5, &s->escape },
    };
    struct field g;
    while (next_field(&f->in, &g)) {
        for (size_t i = 0; i < RF_COUNT(rows); i++)
            if (rows[i].message == (trainer ? 2u : 3u) && rows[i].number == g.number) *rows[i].to = g.value;
        if (g.number == (trainer ? 44u : 2u)) *(trainer ? &s->unk_surface : &s->charsmap) = (struct rf_str){ (const char *)g.in.p, (size_t)(g.in.end - g.in.p) };
    }
}

static void read_piece(struct rf_tokenizer *t, uint32_t id, struct field *f)
{
    static const uint8_t attr_of[] = { RF_TOKEN_NORMAL, RF_TOKEN_NORMAL, RF_TOKEN_UNKNOWN, RF_TOKEN_CONTROL,
                                       RF_TOKEN_USER, RF_TOKEN_UNUSED, RF_TOKEN_BYTE };
    struct field g;
    t->vocab.piece[id] = (struct rf_str){ "", 0 };
    while (next_field(&f->in, &g)) {
        if (g.number == 1) t->vocab.piece[id] = (struct rf_str){ (const char *)g.in.p, (size_t)(g.in.end - g.in.p) };
        else if (g.number == 2) t->score[id] = isnan(g.f) ? -1e30 : (double)g.f;
        else if (g.number == 3 && g.value < RF_COUNT(attr_of)) t->attr[id] = attr_of[g.value];
    }
}

static rf_status corrupt(struct rf_error *err, const char *expected)
{
    return rf_fail(err, RF_CORRUPT, "tokenizer.model: found a broken message, expected %s", expected);
}

static rf_status read_model(struct rf_tokenizer *t, struct spec *s, const struct rf_added_list *added, struct rf_error *err)
{
    struct wire all = { (const uint8_t *)t->file.data, (const uint8_t *)t->file.data + t->file.len, false }, w = all;
    struct field f;
    uint32_t n = 0;
    while (next_field(&w, &f)) n += f.number == 1;
    if (w.bad || !n) return corrupt(err, "SentencePiece's ModelProto");
    if (added->end > 4 * (uint64_t)n + 65536) return rf_fail(err, RF_CORRUPT, "tokenizer_config.json: found added token %u beside %u pieces", added->end - 1, n);
    RF_TRY(rf_tok_alloc(t, RF_MAX(n, added->end), true, err));
    memset(t->attr, RF_TOKEN_NORMAL, n);
    n = 0;
    for (w = all; next_field(&w, &f);) {
        if (f.number == 1) read_piece(t, n++, &f);
        else if (f.number == 2 || f.number == 3) read_spec(&f, s, f.number == 2);
        if (f.in.bad) return corrupt(err, "whole fields");
    }
    rf_vocab_add_all(&t->vocab);
    return RF_OK;
}

static void set_norm(struct rf_tokenizer *t, const struct spec *s)
{
    uint32_t flags = (s->squeeze ? RF_SP_SQUEEZE : 0u) | (s->dummy_prefix ? RF_SP_PREFIX : 0u) | (s->escape ? RF_SP_ESCAPE : 0u);
    t->norm[t->n_norm++] = (struct rf_norm_step){ .kind = RF_NORM_SENTENCEPIECE, .flags = flags, .pattern = s->charsmap, .keep = &t->keep };
}

/* Which user-defined pieces text is searched for: not those that tokenizer_config.json cuts text at before, nor turn markers. */
static rf_status set_keep(struct rf_tokenizer *t, const struct rf_added_list *added, struct rf_error *err)
{
    uint32_t n = 0;
    struct rf_added *a = rf_alloc_array(t->vocab.n, sizeof *a);
    uint8_t *listed = rf_alloc_array(t->vocab.n, 1);
    for (uint32_t i = 0; i < added->n && listed; i++) listed[added->tok[i].id] = 1;
    for (uint32_t i = 0; i < t->vocab.n && a && listed; i++)
        if (t->attr[i] == RF_TOKEN_USER && !listed[i]) a[n++] = (struct rf_added){ t->vocab.piece[i], i, 0 };
    if (a && listed) rf_added_build(&t->keep, a, n);
    else rf_free(a);
    rf_free(listed);
    return t->keep.tok ? RF_OK : rf_fail_nomem(err, "vocabulary", t->vocab.n * sizeof *a);
}

/* Unigram: SentencePiece (0.2.3, unigram_model.cc) gives user-defined pieces a score above any segmentation's. */
static void score_user_pieces(struct rf_tokenizer *t)
{
    for (uint32_t i = 0; i < t->vocab.n; i++)
        if (t->attr[i] == RF_TOKEN_USER && t->vocab.piece[i].n) t->score[i] = (float)(0.1 * (double)(t->vocab.piece[i].n - 1));
}

/* Configured tokens beyond the pieces, and those of the pieces that it calls special. */
static rf_status open_model(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_added_list *added, struct rf_error *err)
{
    struct spec s = { .model_type = 1, .unk = 0, .bos = 1, .eos = 2, .dummy_prefix = 1, .squeeze = 1, .escape = 1, .unk_surface = { " \xE2\x81\x87 ", 5 } };
    added->raw = true;
    RF_TRY(rf_added_list_folder(added, t, w, err));
    RF_TRY(read_model(t, &s, added, err));
    if (s.model_type != 1 && s.model_type != 2)
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.model: found model type %llu, expected unigram or bpe", (unsigned long long)s.model_type);
    if (s.suffix)
        return rf_fail(err, RF_UNSUPPORTED, "tokenizer.model: found treat_whitespace_as_suffix, expected pieces with white space before words");
    set_norm(t, &s);
    t->model = s.model_type == 1 ? RF_TOK_UNIGRAM : RF_TOK_SPM;
    t->decode = RF_DECODE_SPM;
    t->decode_strip = s.dummy_prefix || s.squeeze;
    t->decode_spelled = true;
    t->decode_squeeze = s.squeeze;
    t->unk_text = s.unk_surface;
    t->byte_fallback = s.byte_fallback;
    t->fuse_unk = true;
    t->float_sums = true;
    t->unk = s.unk < t->vocab.n ? (uint32_t)s.unk : RF_TOK_NONE;
    t->bos = s.bos < t->vocab.n ? (int32_t)s.bos : -1;
    t->eos = s.eos < t->vocab.n ? (int32_t)s.eos : -1;
    RF_TRY(rf_added_apply(t, added, err));
    if (t->unk != RF_TOK_NONE) t->attr[t->unk] = RF_TOKEN_UNKNOWN;
    if (t->model == RF_TOK_UNIGRAM) score_user_pieces(t);
    RF_TRY(t->model == RF_TOK_UNIGRAM ? rf_unigram_prepare(t, err) : rf_spm_prepare(t, err));
    if (rf_tok_config_bool(w, "add_bos_token", t->model == RF_TOK_SPM) && t->bos >= 0) RF_TRY(rf_tok_put_around(t, false, t->bos, err));
    if (rf_tok_config_bool(w, "add_eos_token", t->model == RF_TOK_UNIGRAM) && t->eos >= 0) RF_TRY(rf_tok_put_around(t, true, t->eos, err));
    rf_tok_mark_eog(t, w);
    rf_tok_hide_special(t);
    RF_TRY(set_keep(t, added, err));
    RF_TRY(rf_added_sets(t, added, err));
    rf_tok_find_byte_ids(t);
    return rf_tok_make_bytes(t, err);
}

rf_status rf_tok_open_spproto(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    struct rf_added_list added = { 0 };
    RF_TRY(rf_weights_read_side_file(w, "tokenizer.model", &t->file, err));
    rf_status st = open_model(t, w, &added, err);
    rf_added_list_release(&added);
    return st;
}
