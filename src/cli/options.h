/* options.h - the tables of commands and options. Everything that names an option comes from here: the parser, ROCMFORGE_*
 * variables, keys of rocmforge.toml, --help, man pages, shell completion, /set in a conversation.
 */
#ifndef RF_CLI_OPTIONS_H
#define RF_CLI_OPTIONS_H

#include "cli/cli.h"

enum {
    RF_CMD_RUN = 1 << 0, RF_CMD_SERVE = 1 << 1, RF_CMD_PPL = 1 << 2, RF_CMD_SHOW = 1 << 3, RF_CMD_TOK = 1 << 4, RF_CMD_TMPL = 1 << 5,
    RF_CMD_BENCH = 1 << 6, RF_CMD_VERSION = 1 << 7, RF_CMD_LIST = 1 << 8, RF_CMD_PS = 1 << 9, RF_CMD_RM = 1 << 10, RF_CMD_DOCTOR = 1 << 11,
    RF_CMD_CONFIG = 1 << 12, RF_CMD_COMPLETION = 1 << 13, RF_CMD_MAN = 1 << 14,
    RF_CMD_WEIGHTS = RF_CMD_RUN | RF_CMD_SERVE | RF_CMD_PPL | RF_CMD_BENCH, /* commands that compute */
    RF_CMD_MODELS = RF_CMD_WEIGHTS | RF_CMD_SHOW | RF_CMD_TOK | RF_CMD_TMPL | RF_CMD_LIST | RF_CMD_RM | RF_CMD_DOCTOR, /* that look for models */
    RF_CMD_ALL = (1 << 15) - 1,
};

enum rf_option_kind { RF_OPTION_FLAG, RF_OPTION_INT, RF_OPTION_REAL, RF_OPTION_TEXT, RF_OPTION_LIST };
enum rf_option_flags {
    RF_OPTION_LINE = 1 << 0,   /* makes sense on one command line only: no variable, no key */
    RF_OPTION_SECRET = 1 << 1, /* `config` does not print its value */
    RF_OPTION_CHAT = 1 << 2,   /* may be changed by /set in a conversation */
    RF_OPTION_FILE = 1 << 3,   /* value is a file: for completion */
    RF_OPTION_DIR = 1 << 4,
    RF_OPTION_REMOTE = 1 << 5, /* of run: means something with --server too */
};
#define RF_OPTION_NO_HAS ((size_t)-1)

struct rf_option {
    const char *name, *arg;
    char letter;
    enum rf_option_kind kind;
    size_t at, has;            /* offsets into struct rf_cli; has: a bool that says it was given */
    double min, max;
    unsigned commands, flags;
    const char *words;         /* the values there are, separated by blanks; NULL: any */
    const char *help;
};

extern const struct rf_option rf_cli_options[];
extern const size_t rf_cli_n_options;

const struct rf_cli_command *rf_cli_command_find(const char *name); /* NULL if there is none */
/* By long name (any of its bytes may be '_' for '-'), among those of the commands in `commands`. */
const struct rf_option *rf_cli_option_find(const char *name, size_t len, unsigned commands);
/* Sets o from text; false with "<where> is ..., expected ..." in err. */
bool rf_cli_option_set(struct rf_cli *c, const struct rf_option *o, const char *where, const char *text, struct rf_error *err);
/* Its value as people read it: "unset" where there is none. */
void rf_cli_option_text(const struct rf_cli *c, const struct rf_option *o, char *out, size_t cap);
/* "max-seqs" -> "ROCMFORGE_MAX_SEQS" */
void rf_cli_option_env(const struct rf_option *o, char *out, size_t cap);

/* config.c: what the environment and rocmforge.toml say, where the command line says nothing. False with the error printed. */
bool rf_cli_config_apply(struct rf_cli *c);

#endif
