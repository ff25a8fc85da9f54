/* cli.h - the command line: one table of commands, one table of options, one file per command.
 *
 * Exit codes: 0 done; 1 it failed while running; 2 the command line or the settings are wrong; 3 the model cannot be opened;
 * 130 interrupted by Ctrl-C. Answers go to standard output, everything else to standard error.
 */
#ifndef RF_CLI_CLI_H
#define RF_CLI_CLI_H

#include "base/arena.h"
#include "base/buf.h"
#include "registry/registry.h"
#include "rocmforge.h"

enum rf_exit { RF_EXIT_OK = 0, RF_EXIT_FAILED = 1, RF_EXIT_USAGE = 2, RF_EXIT_MODEL = 3, RF_EXIT_INTERRUPTED = 130 };

enum { RF_CLI_LIST_MAX = 64, RF_CLI_ARGS_MAX = 2, RF_CLI_OPTIONS_MAX = 96, RF_CLI_PATH_MAX = 4096 };

struct rf_cli_words { const char *item[RF_CLI_LIST_MAX]; size_t n; };

/* Where an option's value comes from; later ones win. */
enum rf_cli_from { RF_FROM_DEFAULT, RF_FROM_FILE, RF_FROM_ENV, RF_FROM_LINE };

/* What the command line, the environment and rocmforge.toml said, over the defaults. */
struct rf_cli {
    const struct rf_cli_command *command;
    const char *arg[RF_CLI_ARGS_MAX]; /* positional */
    size_t n_arg;
    bool help;
    /* model and device */
    const char *model, *device, *isa, *attention, *chat_template;
    int64_t threads;
    double gpu_memory_fraction, step_timeout;
    struct rf_cli_words model_dir;
    bool all, names, yes, allow_cpu;
    /* engine */
    int64_t ctx, kv_blocks, kv_memory_mb, max_seqs, max_step_tokens, max_queue, max_queue_tokens;
    const char *kv_type;
    bool no_prefix_cache, precise, no_async_scheduling;
    /* sampling; has_* say that a value was given, so that the model's own recommendation stays otherwise */
    double temperature, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty;
    int64_t top_k, seed, max_tokens, min_tokens;
    bool has_temperature, has_top_p, has_min_p, has_typical_p, has_repetition_penalty, has_presence_penalty,
        has_frequency_penalty, has_top_k, has_seed, has_max_tokens, has_min_tokens;
    bool ignore_eos;
    struct rf_cli_words stop, logit_bias;
    /* run */
    bool raw, verbose, json, no_history;
    const char *system, *server;
    /* tokenize, template */
    bool ids, no_special;
    const char *messages;
    /* bench */
    int64_t pp, tg, reps;
    const char *batch, *shapes;
    bool kernels;
    /* serve, ps */
    const char *host, *model_name, *log_level;
    int64_t port, max_connections, max_body_mb;
    double drain_timeout;
    struct rf_cli_words api_key, cors, alias, allowed_host;
    bool log_json, isolate_keys, open_metrics, neutral_sampling;
    /* settings */
    const char *config;               /* --config */
    const char *config_path;          /* the file that was read, NULL if none */
    struct { uint8_t from; unsigned line; } origin[RF_CLI_OPTIONS_MAX]; /* by place in the option table */
    struct rf_arena arena;            /* strings from the file and the environment */
};

struct rf_cli_command {
    const char *name, *usage, *summary, *detail, *examples; /* examples: one a line */
    unsigned bit;               /* which options belong to it */
    size_t min_arg, max_arg;
    const char *arg_kinds;      /* what each argument is: M model, P text, F file, C command, S shell; for completion */
    int (*main)(const struct rf_cli *c);
};

extern const struct rf_cli_command rf_cli_commands[];
extern const size_t rf_cli_n_commands;

/* Fills c from the line, then from the environment and the file. On a wrong one prints what and the nearest name, returns
 * false. c is released in any case. */
bool rf_cli_parse(struct rf_cli *c, int argc, char **argv);
void rf_cli_defaults(struct rf_cli *c);
void rf_cli_release(struct rf_cli *c);
void rf_cli_help(const struct rf_cli_command *cmd);          /* to standard output */
void rf_cli_overview(void);
void rf_cli_welcome(void);                                   /* what to do next, in five lines */
/* The name among n that is fewest edits away, NULL if none is near. */
const char *rf_cli_nearest(const char *word, const char *const *names, size_t n);

/* ---- shared by commands ---- */

/* names.c: what a model is called and where it lies. */

/* The models on this disk, --model-dir first, the one that ships last; NULL with the error printed. */
struct rf_registry *rf_cli_open_registry(const struct rf_cli *c, bool warn);
/* The entry of a listed name; RF_NOT_FOUND, which says `miss` and the nearest names; RF_CORRUPT where it is listed as broken. */
rf_status rf_cli_find_name(const struct rf_registry *r, const char *name, const char *miss, const struct rf_model_entry **out, struct rf_error *err);
/* What the line asks for: arg[0], else --model, else the path of the model that ships; false if there is none. */
bool rf_cli_wanted_model(const struct rf_cli *c, char *out, size_t cap);
/* Path of the small model that ships: beside this program's build, or below its PREFIX. False if it is not there. */
bool rf_cli_shipped_model(char *path, size_t cap);
/* Where a model lies, and the files with its system message, parameters and first messages ("" if none). */
struct rf_cli_place { char path[RF_CLI_PATH_MAX], system[RF_CLI_PATH_MAX], sampling[RF_CLI_PATH_MAX], messages[RF_CLI_PATH_MAX]; };
/* A path as it is; else what is behind a listed name. False with the nearest names printed. */
bool rf_cli_resolve(const struct rf_cli *c, const char *name, struct rf_cli_place *at);
bool rf_cli_place_of(const struct rf_model_entry *m, struct rf_cli_place *at); /* false if a path is too long */

/* Opens the model that the line asks for (a path, or a name that `list` shows), with a progress bar on a terminal. On failure
 * prints the error, or the nearest names, and returns NULL. */
struct rf_model *rf_cli_open_model(const struct rf_cli *c, uint32_t flags);
/* The same for a place, silently: the error is the caller's to tell. */
rf_status rf_cli_open_place(const struct rf_cli *c, const struct rf_cli_place *at, uint32_t flags, bool progress, struct rf_model **out,
                           struct rf_error *err);
struct rf_engine *rf_cli_open_engine(const struct rf_cli *c, struct rf_model *m);
void rf_cli_engine_options(const struct rf_cli *c, struct rf_engine_options *o);
/* The model's recommendation with the flags of the line over it. bias[RF_CLI_LIST_MAX] backs logit_bias. */
bool rf_cli_sampling(const struct rf_cli *c, const struct rf_model *m, struct rf_sampling *s, struct rf_logit_bias *bias);
bool rf_cli_parse_bias(const char *text, struct rf_logit_bias *b); /* "ID=NUMBER" */
int rf_cli_fail(const struct rf_error *err, int code);      /* prints "rocmforge: message", returns code */
/* All of standard input or of a file, at most 256 MB. */
bool rf_cli_read(const char *path_or_null, struct rf_buf *out);
/* Text from the line into a buffer. False: no memory, and that was said. */
bool rf_cli_put(struct rf_buf *text, const char *s);
/* Set by Ctrl-C or SIGTERM once rf_cli_catch_interrupt was called; a second one ends the process. */
void rf_cli_catch_interrupt(void);
/* For conversations. listen: Ctrl-C sets it, however often. ignore: Ctrl-C does nothing (it may come just behind an answer's end). */
void rf_cli_listen_interrupt(void);
void rf_cli_ignore_interrupt(void);
bool rf_cli_interrupted(void);
bool rf_cli_write(const char *s, size_t n);                  /* to standard output, unbuffered; false if it is gone */
/* A bar on standard error where that is a terminal, nothing elsewhere. ctx is a struct rf_cli_progress; end takes it away. */
struct rf_cli_progress { const char *what; int shown; }; /* shown: percent + 1, 0 = nothing */
void rf_cli_show_progress(void *ctx, double fraction);
void rf_cli_end_progress(struct rf_cli_progress *p);
void rf_cli_human_bytes(uint64_t bytes, char *out, size_t cap); /* "491 MB" */
int rf_cli_print_json(void *json);                           /* a json_t, which it takes; exit code */
/* $variable/rocmforge/name, else ~/fallback/rocmforge/name; makes the folders where make says so. False if there is no home. */
bool rf_cli_own_path(char *out, size_t cap, const char *variable, const char *fallback, const char *name, bool make);
/* Colour on standard output or error: a terminal, no NO_COLOR, TERM not "dumb". */
bool rf_cli_colour(int fd);

int rf_cli_run(const struct rf_cli *c);
int rf_cli_serve(const struct rf_cli *c);
int rf_cli_perplexity(const struct rf_cli *c);
int rf_cli_show(const struct rf_cli *c);
int rf_cli_tokenize(const struct rf_cli *c);
int rf_cli_template(const struct rf_cli *c);
int rf_cli_bench(const struct rf_cli *c);
int rf_cli_list(const struct rf_cli *c);
int rf_cli_ps(const struct rf_cli *c);
int rf_cli_rm(const struct rf_cli *c);
int rf_cli_doctor(const struct rf_cli *c);
int rf_cli_config(const struct rf_cli *c);
int rf_cli_completion(const struct rf_cli *c);
int rf_cli_man(const struct rf_cli *c);
int rf_cli_version(const struct rf_cli *c);

#endif
