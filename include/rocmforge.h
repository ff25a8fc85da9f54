/* rocmforge.h - the public C ABI of ROCmForge.
 *
 * A model is weights, tokenizer and chat template of one file or folder. An engine runs one model for many requests at
 * once. Both are handles; several of each live side by side in one process, there is no global state, no exit() in the
 * library, and no signal handler but where rf_guard_files was called.
 *
 * Threads: every function may be called from any thread. Callbacks run on the engine's thread and must return quickly.
 * Strings are UTF-8. Options structs start as all-zero; zero means "the default" unless a field says otherwise.
 * Errors: functions that can fail return rf_status and, where err is not NULL, fill it with what, where, found, expected.
 */
#ifndef ROCMFORGE_H
#define ROCMFORGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#define RF_API __attribute__((visibility("default")))
#define RF_VERSION "0.1.0"

typedef enum rf_status {
    RF_OK = 0,
    RF_FULL,        /* a pool or queue is full: try later */
    RF_AGAIN,       /* nothing yet (poll timed out) */
    RF_CANCELLED,   /* the caller aborted it */
    RF_INVALID,     /* an argument is out of range; err->param names it */
    RF_NOT_FOUND,   /* no such file, model, request */
    RF_TOO_LONG,    /* prompt + max_tokens exceed the context */
    RF_TOO_LARGE,   /* over a stated limit (bytes, depth, count) */
    RF_UNSUPPORTED, /* well-formed, but this build cannot do it */
    RF_CORRUPT,     /* file contents contradict their format */
    RF_IO,          /* the system refused: errno text is in the message */
    RF_NOMEM,       /* an allocation failed */
    RF_DEADLINE,    /* the request's deadline passed */
    RF_SHUTDOWN,    /* the engine is draining */
    RF_DEVICE,      /* a device or its driver failed */
    RF_NUMERIC,     /* NaN or Inf logits */
    RF_INTERNAL     /* a bug */
} rf_status;

struct rf_error {
    rf_status status;
    char param[64];    /* the offending field, or "" */
    char message[512]; /* one line, no newline */
};

RF_API const char *rf_version(void);
RF_API const char *rf_status_name(rf_status s);

/* ---- model ---------------------------------------------------------------------------------------------------- */

struct rf_model;
enum rf_open_flags {
    RF_OPEN_META = 1u << 0,  /* header facts only: no tokenizer, no weights */
    RF_OPEN_VOCAB = 1u << 1, /* header and tokenizer and template: no weights */
};

struct rf_engine_options;

struct rf_model_options {
    const char *device;        /* "auto" (default), "cpu", "cuda:N", "hip:N" */
    uint32_t n_threads;        /* 0: one per usable core */
    uint32_t flags;            /* enum rf_open_flags */
    const char *isa;           /* "auto" (default) or a cap: "ref", "avx2", "avx512", "avx512bf16", "amx", "neon" */
    const char *chat_template; /* Jinja source that replaces the model's own, or NULL */
    const char *system;        /* begins conversations that bring no system message; NULL or "": nothing */
    const char *sampling;      /* JSON over what the model's files recommend, in Ollama's names (engine/advice.c); num_ctx: most tokens of the
                                  context where the engine's options say nothing; NULL: nothing */
    const char *messages;      /* JSON list of {"role", "content"}: these begin every conversation, behind its system message; NULL: none */
    const char *attention;     /* "auto" (default), "reference", "flash", "paged-split": what a GPU attends with */
    double gpu_memory_fraction; /* of a GPU's memory, most that model and engine take in all; 0: 0.9 */
    const struct rf_engine_options *engine; /* NULL, or what the engine to come will ask for: a GPU too small for it is said before loading */
    bool allow_cpu;            /* device "auto": the CPU serves where a GPU is there but cannot be used */
    void (*progress)(void *ctx, double fraction);
    void *progress_ctx;
};

struct rf_model_info {
    const char *path, *name, *architecture, *quantization, *device; /* live as long as the model */
    const char *system, *messages; /* of the options, else ""; messages as JSON */
    uint64_t file_bytes, resident_bytes, n_params;
    uint32_t n_vocab, n_layer, n_embd, n_head, n_kv_head, head_dim, n_ctx_train;
    int32_t bos, eos;   /* token ids, -1 if none */
    bool has_template, has_weights; /* has_weights: opened without RF_OPEN_META and RF_OPEN_VOCAB */
};

RF_API rf_status rf_model_open(struct rf_model **out, const char *path, const struct rf_model_options *opt, struct rf_error *err);
RF_API void rf_model_close(struct rf_model *m); /* NULL is fine; engines on it must be freed first */
RF_API void rf_model_info_get(const struct rf_model *m, struct rf_model_info *out);
/* RF_IO once a file of the model was written to or cut off in place: requests on it end with this error. A file that was
 * replaced by renaming is another file and changes nothing. */
RF_API rf_status rf_model_check(struct rf_model *m, struct rf_error *err);
/* For programs that own their signals: a process-wide SIGBUS handler, so that a cut-off file is such an error, not death. */
RF_API rf_status rf_guard_files(struct rf_error *err);

/* Header facts and tensor list as JSON text; *out is freed with rf_free. with_tensors adds "tensors":[...]. */
RF_API rf_status rf_model_describe(const struct rf_model *m, bool with_tensors, char **out, struct rf_error *err);

enum rf_tokenize_flags {
    RF_TOK_ADD_SPECIAL = 1u << 0,   /* add BOS/EOS as the model wants */
    RF_TOK_PARSE_SPECIAL = 1u << 1, /* "<|im_end|>" in the text becomes the control token */
};

/* *ids is freed with rf_free. An empty result is *n = 0 with *ids NULL or not. */
RF_API rf_status rf_model_tokenize(const struct rf_model *m, const char *text, size_t len, uint32_t flags, int32_t **ids,
                                   size_t *n, struct rf_error *err);
/* Bytes of the tokens, joined as the model's decoder joins them; may be broken UTF-8 if the ids are cut mid-character.
 * *out is NUL-terminated, freed with rf_free. skip_special leaves control tokens out. */
RF_API rf_status rf_model_detokenize(const struct rf_model *m, const int32_t *ids, size_t n, bool skip_special, char **out,
                                     size_t *len, struct rf_error *err);
/* The bytes that one token stands for in running text; borrowed, NULL with *len 0 for an id out of range. */
RF_API const char *rf_model_token_bytes(const struct rf_model *m, int32_t id, size_t *len);

/* Renders the chat template. json is an object with "messages" and, at will, "tools", "add_generation_prompt" and any
 * other variable. Either out may be NULL. Text that came from the messages never becomes a control token. */
RF_API rf_status rf_model_chat(const struct rf_model *m, const char *json, size_t json_len, char **text, size_t *text_len,
                               int32_t **ids, size_t *n_ids, struct rf_error *err);
/* The same without a model, from template source. */
RF_API rf_status rf_template_render(const char *source, size_t source_len, const char *json, size_t json_len, char **text,
                                    size_t *text_len, struct rf_error *err);
RF_API void rf_free(void *p);

/* What this machine has, as JSON (rf_free): {"cpu":{"instructions","usable_cores","threads","memory_total","memory_free",
 * "read_gb_per_s"},"gpus":[{"device","found","usable","reason",...}],"code_objects":[{"vendor","arch","bytes"}]}. Measures memory for
 * about a second, with n_threads threads (0: one per usable core). */
RF_API rf_status rf_machine_describe(uint32_t n_threads, char **json, struct rf_error *err);

/* One kernel's speed. Bytes: weights, keys and values, or logits, read once. */
struct rf_kernel_speed {
    const char *kernel, *what;       /* "sum" (the first: memory's speed), "product" and a type, "attention" and decode or prompt, "choice" and how */
    uint32_t rows, outputs, inputs;  /* product: rows of x, of the weight, its columns. attention: tokens, width, tokens before. choice: rows, vocabulary, 0 */
    double us, gb_per_s, tflop_per_s;
    double share;                    /* of memory's speed, as "sum" was measured */
};
struct rf_kernel_shape { uint32_t outputs, inputs; };
struct rf_kernel_bench {
    const struct rf_model_options *open; /* device, n_threads, isa, attention, gpu_memory_fraction, allow_cpu */
    const struct rf_kernel_shape *shapes; size_t n_shapes; /* of products; the first's inputs are attention's width */
    const uint32_t *rows; size_t n_rows; /* of x, for each shape */
    uint32_t context, reps;          /* tokens that attention looks back to; repetitions, whose median counts: 1 to 1000 */
    bool (*on_device)(void *ctx, const char *name, const char *detail); /* NULL, or called first */
    bool (*on_row)(void *ctx, const struct rf_kernel_speed *row);       /* false from either: enough, RF_CANCELLED */
    void *ctx;
};
/* Measures the device's kernels one by one, without a model. Seconds to minutes. */
RF_API rf_status rf_bench_kernels(const struct rf_kernel_bench *b, struct rf_error *err);

/* ---- engine --------------------------------------------------------------------------------------------------- */

struct rf_engine;
enum rf_kv_type { RF_KV_AUTO = 0, RF_KV_F16, RF_KV_F32, RF_KV_BF16 };

struct rf_engine_options {
    uint32_t max_model_len;      /* tokens per sequence; 0: the model's own, cut to what the pool holds */
    uint64_t kv_bytes;           /* size of the KV pool; 0: 8 (or max_seqs) sequences, at most 1/4 of free memory; on a GPU max_seqs, at most what its fraction leaves */
    uint32_t kv_blocks;          /* overrides kv_bytes when not 0 */
    enum rf_kv_type kv_type;
    uint32_t max_seqs;           /* sequences running together; 0: 256 */
    uint32_t max_step_tokens;    /* token budget of one step; 0: 512, on a GPU 2048 */
    uint32_t max_queue;          /* waiting requests; 0: 1024 */
    uint64_t max_queue_tokens;   /* prompt tokens waiting; 0: 4 M */
    double step_timeout_s;       /* a step that takes longer has hung: all requests end with RF_DEVICE, no more are taken; 0: 120 on a GPU,
                                    never on a CPU; < 0: never */
    bool no_prefix_cache, precise; /* precise: inputs of products keep 16 bits, not 8; prompts take about twice as long */
    bool no_async_scheduling;    /* on a GPU, no step begins before the tokens of the one before are here */
};

struct rf_logit_bias { int32_t token; float bias; };

/* rf_sampling_default() fills a neutral greedy-free set: temperature 1, everything else off. */
struct rf_sampling {
    float temperature;           /* 0: greedy, exact */
    int32_t top_k;               /* <= 0: off */
    float top_p, min_p, typical_p; /* 1, 0, 1: off */
    float repetition_penalty;    /* 1: off */
    float presence_penalty, frequency_penalty; /* 0: off */
    bool has_seed; uint64_t seed;
    const struct rf_logit_bias *logit_bias; size_t n_logit_bias;
    int32_t max_tokens;          /* < 0: to the end of the context (-2: as the options of rf_model_open advise); 0: prompt only */
    int32_t min_tokens;          /* before them no token and no string ends the text */
    bool ignore_eos;
    const char *const *stop; size_t n_stop; /* stop strings, left out of the text */
    bool include_stop;           /* leave the stop string, or the text of the stop token, in */
    const int32_t *stop_tokens; size_t n_stop_tokens;
    int32_t logprobs;            /* -1: none; k >= 0: the chosen token and the k best */
    int32_t prompt_logprobs;     /* -1: none; k >= 0: for every prompt token but the first */
};

RF_API void rf_sampling_default(struct rf_sampling *s);
/* What generation_config.json or the GGUF recommends, over rf_sampling_default; over that what the options said. */
RF_API void rf_model_sampling_default(const struct rf_model *m, struct rf_sampling *s);

enum rf_finish { RF_FINISH_NONE = 0, RF_FINISH_STOP, RF_FINISH_LENGTH, RF_FINISH_ABORT, RF_FINISH_ERROR };

struct rf_top_logprob { int32_t token; float logprob; };
struct rf_logprob {
    int32_t token;
    float logprob;               /* of log softmax before temperature and filters */
    const struct rf_top_logprob *top; uint32_t n_top;
};

struct rf_usage {
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
    double queue_s, prefill_s, decode_s; /* seconds waiting, to the first token, from then on */
};

enum rf_event_kind {
    RF_EVENT_PROMPT, /* prompt ids and their logprobs (from the second on), once, when asked for; before any text */
    RF_EVENT_TOKENS, /* new tokens, the one that ends it included; text may lag (UTF-8 and stop strings are held back) */
    RF_EVENT_DONE,   /* last: finish, usage and any held-back text */
    RF_EVENT_ERROR,  /* last instead of DONE: error */
};

struct rf_event {
    enum rf_event_kind kind;
    uint64_t id;
    const int32_t *tokens; size_t n_tokens;
    const char *text; size_t text_len; /* whole UTF-8 characters, not NUL-terminated */
    const struct rf_logprob *logprobs; size_t n_logprobs; /* one per token where asked for */
    enum rf_finish finish;       /* on DONE and ERROR */
    int32_t stop_token;          /* the token that ended it, -1 if none */
    struct rf_usage usage;       /* on DONE and ERROR */
    const struct rf_error *error; /* on ERROR */
};

/* Engine thread (after a step that hung: the one that watched it); must not block. ev and all it points to are valid during the call only. It may call rf_engine_abort and
 * rf_engine_submit, never rf_engine_drain, rf_engine_free or rf_engine_poll. */
typedef void (*rf_event_fn)(void *ctx, const struct rf_event *ev);

struct rf_request {
    const int32_t *tokens; size_t n_tokens; /* the prompt as ids ... */
    const char *text; size_t text_len;      /* ... or, where tokens is NULL, as text (special tokens added and parsed) */
    struct rf_sampling sampling;
    int32_t priority;            /* smaller runs sooner; 0 is usual */
    double deadline_s;           /* seconds from now until it fails with RF_DEADLINE; 0: none */
    uint64_t cache_salt;         /* prefix blocks are shared only between equal salts */
    rf_event_fn on_event;        /* NULL: events wait for rf_engine_poll */
    void *ctx;
};

RF_API rf_status rf_engine_create(struct rf_engine **out, struct rf_model *m, const struct rf_engine_options *opt, struct rf_error *err);
/* Aborts what runs, waits for the engine's thread, frees all. NULL is fine. A thread that hangs in a driver is left behind after a
 * second, with the engine's and its model's memory: end the process. */
RF_API void rf_engine_free(struct rf_engine *e);

/* Admits all n requests or none. Everything pointed to is copied. ids[n] name them from then on. Fails with RF_INVALID,
 * RF_TOO_LONG, RF_FULL, RF_SHUTDOWN, RF_DEVICE (a step hung). */
RF_API rf_status rf_engine_submit(struct rf_engine *e, const struct rf_request *reqs, size_t n, uint64_t *ids, struct rf_error *err);
/* Next event of a request without callback. timeout_ms < 0 waits for ever. RF_AGAIN on timeout, RF_NOT_FOUND for an
 * unknown id or after its last event. *out is freed with rf_event_free. */
RF_API rf_status rf_engine_poll(struct rf_engine *e, uint64_t id, int timeout_ms, struct rf_event **out);
RF_API void rf_event_free(struct rf_event *ev);
/* Ends a request within one step, also while queued; its last event says RF_FINISH_ABORT. Unknown ids are ignored. */
RF_API void rf_engine_abort(struct rf_engine *e, uint64_t id);
/* No new requests; waits until the running ones end; RF_DEADLINE if timeout_s passed and it had to abort the rest. */
RF_API rf_status rf_engine_drain(struct rf_engine *e, double timeout_s);
#define RF_HIST_BUCKETS 20
struct rf_histogram { uint64_t bucket[RF_HIST_BUCKETS + 1]; double sum; uint64_t count; }; /* last bucket: +Inf */

struct rf_stats {
    uint32_t n_running, n_waiting, n_blocks, n_blocks_free, block_tokens, max_model_len;
    uint64_t waiting_tokens;
    uint64_t prompt_tokens, generation_tokens, cached_tokens, n_preemptions, n_steps;
    uint64_t prefix_queries, prefix_hits;           /* tokens asked for, tokens found */
    uint64_t finished[5];                           /* by enum rf_finish */
    uint64_t rejected, n_failed_steps;              /* forward passes that failed: the device is in doubt */
    uint64_t n_step_seqs;                           /* sequences in all steps, summed */
    uint32_t max_seq_tokens;                        /* most tokens that one sequence has had */
    struct rf_histogram ttft, itl, e2e, queue, prefill, decode, inference; /* seconds; the last: prefill and decode together */
    struct rf_histogram prompt_len, generation_len, step_tokens; /* tokens; bounds from rf_histogram_bounds */
    double prefill_s, decode_s;
    uint64_t n_async_steps; /* those that began while the step before was still running (struct rf_engine_options) */
    const char *attention; /* on a GPU: what attends, and why; "" elsewhere. Lives as long as the model */
};
RF_API void rf_engine_stats(struct rf_engine *e, struct rf_stats *out);
/* Upper bounds of the buckets: [RF_HIST_BUCKETS] values for seconds (of_tokens false) or tokens (true). */
RF_API const double *rf_histogram_bounds(bool of_tokens);
#ifdef __cplusplus
}
#endif
#endif
