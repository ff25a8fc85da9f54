/* cli.h - the command line: one table of commands, one table of options, one file per command.
 *
 * Exit codes: 0 done; 1 it failed while running; 2 the command line is wrong; 3 the model cannot be opened;
 * 130 interrupted by Ctrl-C. Answers go to standard output, everything else to standard error.
 */
#ifndef RF_CLI_CLI_H
#define RF_CLI_CLI_H

#include "base/buf.h"
#include "registry/registry.h"
#include "rocmforge.h"

enum rf_exit { RF_EXIT_OK = 0, RF_EXIT_FAILED = 1, RF_EXIT_USAGE = 2, RF_EXIT_MODEL = 3, RF_EXIT_INTERRUPTED = 130 };

enum { RF_CLI_LIST_MAX = 64, RF_CLI_ARGS_MAX = 2 };

struct rf_cli_words { const char *item[RF_CLI_LIST_MAX]; size_t n; };

/* What the command line said, over the defaults of the option table. */
struct rf_cli {
    const struct rf_cli_command *command;
    const char *arg[RF_CLI_ARGS_MAX]; /* positional */
    size_t n_arg;
    bool help;
    /* model and device */
    const char *device, *isa, *chat_template;
    int64_t threads;
    struct rf_cli_words model_dir;
    bool all;
    /* engine */
    int64_t ctx, kv_blocks, kv_memory_mb, max_seqs, max_step_tokens, max_queue, max_queue_tokens;
    const char *kv_type;
    bool no_prefix_cache, precise;
    /* sampling; has_* say that a flag was given, so that the model's own recommendation stays otherwise */
    double temperature, top_p, min_p, typical_p, repetition_penalty, presence_penalty, frequency_penalty;
    int64_t top_k, seed, max_tokens, min_tokens;
    bool has_temperature, has_top_p, has_min_p, has_typical_p, has_repetition_penalty, has_presence_penalty,
        has_frequency_penalty, has_top_k, has_seed, has_max_tokens, has_min_tokens;
    bool ignore_eos;
    struct rf_cli_words stop, logit_bias;
    /* run */
    bool raw, verbose, json;
    const char *system;
    /* tokenize, template */
    bool ids, no_special;
    const char *messages;
    /* bench */
    int64_t pp, tg, reps;
    const char *batch;
    /* serve */
    const char *host, *model_name, *log_level;
    int64_t port, max_connections, max_body_mb;
    double drain_timeout;
    struct rf_cli_words api_key, cors, alias, allowed_host;
    bool log_json, isolate_keys, open_metrics, neutral_sampling;
};

struct rf_cli_command {
    const char *name, *usage, *summary, *detail;
    unsigned bit;               /* which options belong to it */
    size_t min_arg, max_arg;
    int (*main)(const struct rf_cli *c);
};

extern const struct rf_cli_command rf_cli_commands[];
extern const size_t rf_cli_n_commands;

/* Fills c; on a wrong line prints what and the nearest name, returns false. */
bool rf_cli_parse(struct rf_cli *c, int argc, char **argv);
void rf_cli_help(const struct rf_cli_command *cmd);          /* to standard output */
void rf_cli_overview(void);
/* The name among n (stride bytes apart) that is fewest edits away, NULL if none is near. */
const char *rf_cli_nearest(const char *word, const char *const *names, size_t n);

/* ---- shared by commands ---- */

/* Opens the model that arg[0] names (a path, or a name that `list` shows), with a progress bar on a terminal. On failure
 * prints the error, or the nearest names, and returns NULL. */
struct rf_model *rf_cli_open_model(const struct rf_cli *c, uint32_t flags);
struct rf_engine *rf_cli_open_engine(const struct rf_cli *c, struct rf_model *m);
void rf_cli_engine_options(const struct rf_cli *c, struct rf_engine_options *o);
bool rf_cli_check_kv_type(const struct rf_cli *c);
/* The model's recommendation with the flags of the line over it. bias[RF_CLI_LIST_MAX] backs logit_bias. */
bool rf_cli_sampling(const struct rf_cli *c, const struct rf_model *m, struct rf_sampling *s, struct rf_logit_bias *bias);
/* The models on this disk, --model-dir first; NULL with the error printed. Close with rf_registry_close. */
struct rf_registry *rf_cli_open_registry(const struct rf_cli *c, bool warn);
int rf_cli_fail(const struct rf_error *err, int code);      /* prints "rocmforge: message", returns code */
/* All of standard input or of a file, at most 256 MB. */
bool rf_cli_read(const char *path_or_null, struct rf_buf *out);
/* Set by Ctrl-C once rf_cli_catch_interrupt was called; a second Ctrl-C ends the process. */
void rf_cli_catch_interrupt(void);
bool rf_cli_interrupted(void);
bool rf_cli_write(const char *s, size_t n);                  /* to standard output, unbuffered; false if it is gone */

int rf_cli_run(const struct rf_cli *c);
int rf_cli_serve(const struct rf_cli *c);
int rf_cli_perplexity(const struct rf_cli *c);
int rf_cli_show(const struct rf_cli *c);
int rf_cli_tokenize(const struct rf_cli *c);
int rf_cli_template(const struct rf_cli *c);
int rf_cli_bench(const struct rf_cli *c);
int rf_cli_list(const struct rf_cli *c);
int rf_cli_version(const struct rf_cli *c);

#endif
