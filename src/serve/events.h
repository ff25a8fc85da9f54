/* events.h - from the engine's events to bytes for the client.
 *
 * On the engine's thread an event is only copied, as a record, to the end of its call's log. Whoever answers (the event
 * loop for streams, a worker for whole answers) reads the records back and builds JSON from them.
 */
#ifndef RF_SERVE_EVENTS_H
#define RF_SERVE_EVENTS_H

#include "serve/internal.h"
#include "serve/params.h"

struct rf_record { /* one event; pointers into the log, valid until it changes */
    uint32_t seq;
    enum rf_event_kind kind;
    enum rf_finish finish;
    struct rf_usage usage;
    const char *text;
    size_t text_len;
    uint32_t n_tokens;
    bool has_error;
    struct rf_error error;            /* on RF_EVENT_ERROR, if has_error */
    uint32_t n_logprobs;
    const unsigned char *logprobs;    /* packed; read with rf_serve_logprob_next */
};

struct rf_packed_logprob { int32_t token; float logprob; uint32_t n_top; const unsigned char *top; };

bool rf_serve_record_append(struct rf_buf *log, uint32_t seq, const struct rf_event *ev);
/* The record at *pos, which moves behind it; false at the end. */
bool rf_serve_record_next(const struct rf_buf *log, size_t *pos, struct rf_record *out);
void rf_serve_logprob_next(const unsigned char **p, struct rf_packed_logprob *out);
struct rf_top_logprob rf_serve_logprob_top(const struct rf_packed_logprob *l, uint32_t i);

/* ---- a generation: one request's prompts and sequences ----------------------------------------------------------- */

enum rf_gen_kind { RF_GEN_CHAT, RF_GEN_COMPLETION };

struct rf_prompt { int32_t *ids; size_t n; char *text; size_t text_len; }; /* text: for echo; both rf_free */

struct rf_seq {
    struct rf_call *call;
    uint32_t index, prompt;      /* place among all sequences; its prompt */
    bool began, ended;
    enum rf_finish finish;
    struct rf_usage usage;
    uint32_t n_tokens;
    double sum_logprob;          /* for best_of */
    size_t offset;               /* characters of text so far: completions' text_offset */
    struct rf_buf text;          /* whole answers only */
    struct rf_buf lp[4]; /* whole answers: logprobs JSON; chat [0]; completions tokens, logprobs, top, offsets */
};

struct rf_gen {
    enum rf_gen_kind kind;
    struct rf_params p;
    struct rf_arena arena;
    json_t *root;                /* the request; strings of p point into it */
    char id[48];
    struct rf_prompt *prompts;
    size_t n_prompts;
    uint32_t n_each;             /* sequences per prompt: n, or best_of */
    struct rf_seq *seqs;
    size_t n_seqs;
    uint64_t *ids;
    size_t prompt_tokens;
    bool failed;
    struct rf_error error;
    /* stream */
    struct rf_buf reading, out;
    size_t reading_pos, out_pos;
    bool tail_sent, broken;
};

struct rf_gen *rf_serve_gen_create(struct rf_call *c, enum rf_gen_kind kind);
void rf_serve_gen_free(struct rf_gen *g);
/* Length check, then all sequences go to the engine. On failure c->reply is filled and the connection woken. */
void rf_serve_gen_submit(struct rf_call *c);
void rf_serve_gen_abort(struct rf_call *c);
/* The usage object, from what the sequences have so far. */
void rf_serve_gen_usage(const struct rf_gen *g, struct rf_buf *out);
const char *rf_serve_finish_name(enum rf_finish f);

/* ---- JSON of answers: openai_json.c ------------------------------------------------------------------------------ */

/* Adds the record's logprobs to lp (as in rf_seq.lp) and moves seq->offset and seq->sum_logprob. */
void rf_serve_logprobs_add(struct rf_gen *g, struct rf_seq *q, const struct rf_record *r, struct rf_buf lp[4]);
/* First token of an echoed prompt: it has no probability. */
void rf_serve_logprobs_first(struct rf_gen *g, struct rf_seq *q, struct rf_buf lp[4]);
/* The "logprobs" value of a choice from lp; null if none were asked for. */
void rf_serve_logprobs_json(const struct rf_gen *g, const struct rf_buf lp[4], struct rf_buf *out);
/* The whole answer, all sequences ended. */
void rf_serve_answer_json(struct rf_call *c, struct rf_buf *out);
/* One stream chunk. text or finish or both; first adds the role. */
void rf_serve_chunk_json(struct rf_call *c, struct rf_seq *q, bool first, const char *text, size_t len,
                         enum rf_finish finish, struct rf_buf *out);
void rf_serve_usage_chunk_json(struct rf_call *c, struct rf_buf *out);

/* stream.c: MHD's content reader over a call */
ssize_t rf_serve_stream_read(void *cls, uint64_t pos, char *buf, size_t max);

/* The call's log is complete: a worker's job that builds the whole answer. */
void rf_serve_gen_finish(struct rf_call *c);

#endif
