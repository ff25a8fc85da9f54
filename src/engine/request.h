/* request.h - one request: checked and copied in the caller's thread, then owned by the engine's. Private to this room. */
#ifndef RF_ENGINE_REQUEST_H
#define RF_ENGINE_REQUEST_H

#include <stdatomic.h>

#include "engine/handle.h"
#include "sched/sched.h"

enum { RF_REQ_STOPS = 64, RF_REQ_STOP_BYTES = 1024 }; /* most stop strings of a request, most bytes of one */

struct rf_box;

/* A stop string and how much of it the end of the text matches so far (Knuth, Morris, Pratt 1977): text is read once,
 * however it is cut into tokens, and what may yet become a stop string is known at every byte. */
struct rf_stop { char *s; uint32_t n, matched, *fail; };

struct rf_req {
    struct rf_sched_seq seq;       /* first: the scheduler's pointers are ours */
    uint64_t id;
    struct rf_req *next;           /* in the mailbox */
    struct rf_req *hash_next;      /* in the engine's table of live ones, under its lock */
    atomic_bool aborted;
    int32_t *token;                /* [n_prompt + max_new] */
    uint32_t n_prompt, max_new;
    struct rf_sampling params;     /* what it points to is ours */
    uint64_t seed;
    int32_t *ends;                 /* masked until min_tokens */
    size_t n_ends;
    rf_event_fn on_event;
    void *ctx;
    struct rf_box *box;            /* where events wait for rf_engine_poll; NULL with a callback */

    struct rf_detok detok;
    struct rf_buf text;            /* decoded, not yet sent */
    struct rf_stop *stop;

    struct rf_top_logprob *top;    /* [logprobs] of the last token */
    struct rf_logprob logprob;
    struct rf_logprob *prompt_lp;  /* [n_prompt - 1] where asked for */
    struct rf_top_logprob *prompt_top;
    bool prompt_sent;

    uint32_t unknown;              /* 1: the last token is being chosen by a step under way, for row `row` of it; else 0 */
    uint32_t row;
    int32_t place[2];              /* in the engine's flights; -1: none */
    int32_t sampled;               /* by the step being made; -1: none */
    /* What the step found, until it is told: */
    int32_t untold;                /* place in the engine's list, -1 */
    bool has_token, stopped;       /* sampled goes out; a stop string is complete */
    size_t ready;                  /* bytes of text that go with it */
    enum rf_finish why;            /* it ends */
    int32_t stop_token;
    rf_status failed;
    struct rf_error err;
    bool started;
    double t_submit, t_start, t_first, t_last;
    uint32_t n_cached;
};

struct rf_req_limits {             /* of the engine, fixed */
    uint32_t n_vocab, max_model_len;
    size_t max_piece;              /* bytes of the longest token */
    const int32_t *eog;            /* tokens that end generation */
    size_t n_eog;
};

/* Checks and copies; err->param names the bad field. The prompt is tokenised here. */
rf_status rf_req_create(struct rf_req **out, const struct rf_request *in, const struct rf_model *m,
                        const struct rf_req_limits *limits, struct rf_error *err);
void rf_req_free(struct rf_req *r);

/* Tokens generated, without one that only the device knows yet. */
static inline uint32_t rf_req_n_new(const struct rf_req *r) { return r->seq.n_token - r->n_prompt - r->unknown; }

/* Decodes one more token into r->text. *ready: bytes that can be sent now. True if a stop string is complete: `ready` is
 * then all the text there will be. */
rf_status rf_req_text_push(struct rf_req *r, int32_t token, size_t *ready, bool *stopped);
void rf_req_text_sent(struct rf_req *r, size_t n);

#endif
