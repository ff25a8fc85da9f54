/* options.c - the tables of commands and options, and the parser that walks them. --help prints from the same tables. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cli/cli.h"

enum {
    RUN = 1 << 0, SERVE = 1 << 1, PPL = 1 << 2, SHOW = 1 << 3, TOK = 1 << 4, TMPL = 1 << 5, BENCH = 1 << 6, VERSION = 1 << 7, LISTING = 1 << 8,
    WEIGHTS = RUN | SERVE | PPL | BENCH,   /* commands that compute */
};

const struct rf_cli_command rf_cli_commands[] = {
    {"run", "MODEL [PROMPT]", "answer one prompt, streamed",
     "The prompt may also come through a pipe. Output to a pipe is the answer alone.", RUN, 1, 2, rf_cli_run},
    {"serve", "MODEL", "serve a model over HTTP (OpenAI API)", "Prints one line with the address when ready. Ctrl-C drains and stops.",
     SERVE, 1, 1, rf_cli_serve},
    {"bench", "MODEL", "measure prompt and generation speed", "Tokens are random, so any model file will do.", BENCH, 1, 1, rf_cli_bench},
    {"perplexity", "MODEL FILE", "perplexity of a text under a model",
     "The text is cut into independent chunks of --ctx tokens (512); every token but a chunk's first is scored.", PPL, 2, 2,
     rf_cli_perplexity},
    {"list", "", "models on this disk", "From named folders, Hugging Face's cache, Ollama's store, LM Studio, llama.cpp's cache, ~/models.",
     LISTING, 0, 0, rf_cli_list},
    {"show", "MODEL", "what is in a model file", "Header facts; -v lists the tensors too.", SHOW, 1, 1, rf_cli_show},
    {"tokenize", "MODEL [TEXT]", "text to token ids", "Reads standard input where no TEXT is given.", TOK, 1, 2, rf_cli_tokenize},
    {"template", "MODEL|FILE.jinja", "render a chat template",
     "--messages names a JSON file: an object with \"messages\" and any other variable of the template.", TMPL, 1, 1, rf_cli_template},
    {"version", "", "print the version", "", VERSION, 0, 0, rf_cli_version},
};
const size_t rf_cli_n_commands = RF_COUNT(rf_cli_commands);

enum kind { FLAG, INT, REAL, TEXT, LIST };
#define AT(f) offsetof(struct rf_cli, f)
#define NO_HAS ((size_t)-1)

struct option {
    const char *name, *arg;
    char letter;
    enum kind kind;
    size_t at, has;
    double min, max;
    unsigned commands;
    const char *help;
};

static const struct option options[] = {
    {"help", NULL, 'h', FLAG, AT(help), NO_HAS, 0, 0, ~0u, "print this"},
    {"system", "TEXT", 0, TEXT, AT(system), NO_HAS, 0, 0, RUN, "system message"},
    {"raw", NULL, 0, FLAG, AT(raw), NO_HAS, 0, 0, RUN, "no chat template: the prompt as it is"},
    {"max-tokens", "N", 'n', INT, AT(max_tokens), AT(has_max_tokens), 0, 1 << 30, RUN, "tokens to generate (default: to the end)"},
    {"min-tokens", "N", 0, INT, AT(min_tokens), AT(has_min_tokens), 0, 1 << 30, RUN, "no end before this many tokens"},
    {"temperature", "X", 't', REAL, AT(temperature), AT(has_temperature), 0, 100, RUN, "0 is greedy (default: the model's, else 1)"},
    {"top-k", "N", 0, INT, AT(top_k), AT(has_top_k), 0, 1 << 30, RUN, "keep the N likeliest tokens, 0 = all"},
    {"top-p", "X", 0, REAL, AT(top_p), AT(has_top_p), 0, 1, RUN, "keep the likeliest tokens that make up X"},
    {"min-p", "X", 0, REAL, AT(min_p), AT(has_min_p), 0, 1, RUN, "drop tokens under X times the likeliest"},
    {"typical-p", "X", 0, REAL, AT(typical_p), AT(has_typical_p), 0, 1, RUN, "locally typical sampling"},
    {"repetition-penalty", "X", 0, REAL, AT(repetition_penalty), AT(has_repetition_penalty), 0.01, 100, RUN, "divide seen tokens' logits by X"},
    {"presence-penalty", "X", 0, REAL, AT(presence_penalty), AT(has_presence_penalty), -2, 2, RUN, "subtract X from generated tokens' logits"},
    {"frequency-penalty", "X", 0, REAL, AT(frequency_penalty), AT(has_frequency_penalty), -2, 2, RUN, "the same, times how often"},
    {"seed", "N", 's', INT, AT(seed), AT(has_seed), -9.2e18, 9.2e18, RUN | BENCH, "same seed, same text"},
    {"stop", "TEXT", 0, LIST, AT(stop), NO_HAS, 0, 0, RUN, "end before this text (repeatable)"},
    {"logit-bias", "ID=X", 0, LIST, AT(logit_bias), NO_HAS, 0, 0, RUN, "add X to a token's logit (repeatable)"},
    {"ignore-eos", NULL, 0, FLAG, AT(ignore_eos), NO_HAS, 0, 0, RUN, "go on behind the end-of-text token"},
    {"host", "ADDR", 0, TEXT, AT(host), NO_HAS, 0, 0, SERVE, "address to listen on (default 127.0.0.1)"},
    {"port", "N", 'p', INT, AT(port), NO_HAS, 0, 65535, SERVE, "port (default 8080; 0 = a free one)"},
    {"model-name", "NAME", 0, TEXT, AT(model_name), NO_HAS, 0, 0, SERVE, "name in the API (default: from the file)"},
    {"api-key", "KEY", 0, LIST, AT(api_key), NO_HAS, 0, 0, SERVE, "require this key (repeatable)"},
    {"alias", "NAME", 0, LIST, AT(alias), NO_HAS, 0, 0, SERVE, "a further name that requests may use (repeatable)"},
    {"isolate-keys", NULL, 0, FLAG, AT(isolate_keys), NO_HAS, 0, 0, SERVE, "share the prefix cache only within one API key"},
    {"open-metrics", NULL, 0, FLAG, AT(open_metrics), NO_HAS, 0, 0, SERVE, "/metrics needs no key"},
    {"neutral-sampling", NULL, 0, FLAG, AT(neutral_sampling), NO_HAS, 0, 0, SERVE, "ignore the model's own sampling advice"},
    {"allowed-host", "NAME", 0, LIST, AT(allowed_host), NO_HAS, 0, 0, SERVE, "a further Host accepted on loopback (repeatable)"},
    {"cors-origin", "ORIGIN", 0, LIST, AT(cors), NO_HAS, 0, 0, SERVE, "let pages from here call the API (repeatable)"},
    {"max-connections", "N", 0, INT, AT(max_connections), NO_HAS, 1, 1000000, SERVE, "open connections (default 16384)"},
    {"max-body", "MB", 0, INT, AT(max_body_mb), NO_HAS, 1, 4096, SERVE, "largest request (default 32)"},
    {"drain-timeout", "SECONDS", 0, REAL, AT(drain_timeout), NO_HAS, 0, 1e9, SERVE, "finish requests for this long when stopped (default 30)"},
    {"log-level", "LEVEL", 0, TEXT, AT(log_level), NO_HAS, 0, 0, SERVE, "error, warn, info or debug (default info)"},
    {"log-json", NULL, 0, FLAG, AT(log_json), NO_HAS, 0, 0, SERVE, "log as JSON lines"},
    {"pp", "N", 0, INT, AT(pp), NO_HAS, 0, 1 << 20, BENCH, "prompt tokens (default 512, 0 = skip)"},
    {"tg", "N", 0, INT, AT(tg), NO_HAS, 0, 1 << 20, BENCH, "generated tokens (default 128, 0 = skip)"},
    {"batch", "N,N", 0, TEXT, AT(batch), NO_HAS, 0, 0, BENCH, "sequences together (default 1)"},
    {"reps", "N", 0, INT, AT(reps), NO_HAS, 1, 1000, BENCH, "repetitions (default 5)"},
    {"ids", NULL, 0, FLAG, AT(ids), NO_HAS, 0, 0, TOK, "print the ids alone, separated by spaces"},
    {"no-special", NULL, 0, FLAG, AT(no_special), NO_HAS, 0, 0, TOK, "add no special token, read their spelling as text"},
    {"messages", "FILE", 0, TEXT, AT(messages), NO_HAS, 0, 0, TMPL, "JSON file with the template's variables"},
    {"chat-template", "FILE", 0, TEXT, AT(chat_template), NO_HAS, 0, 0, RUN | SERVE, "use this Jinja file as chat template"},
    {"model-dir", "DIR", 0, LIST, AT(model_dir), NO_HAS, 0, 0, ~(unsigned)VERSION, "a folder to look for models in (repeatable)"},
    {"all", NULL, 'a', FLAG, AT(all), NO_HAS, 0, 0, LISTING, "also what cannot be chatted with: embeddings, projectors, broken files"},
    {"ctx", "N", 'c', INT, AT(ctx), NO_HAS, 1, 1 << 28, WEIGHTS, "context length (default: the model's, cut to memory)"},
    {"threads", "N", 0, INT, AT(threads), NO_HAS, 1, 1024, WEIGHTS, "CPU threads (default: one per usable core)"},
    {"device", "NAME", 0, TEXT, AT(device), NO_HAS, 0, 0, WEIGHTS, "auto, cpu, cuda:0 or hip:0 (default auto: the best there is)"},
    {"isa", "NAME", 0, TEXT, AT(isa), NO_HAS, 0, 0, WEIGHTS, "cap on CPU instructions: ref, avx2, avx512, amx, neon"},
    {"kv-type", "TYPE", 0, TEXT, AT(kv_type), NO_HAS, 0, 0, WEIGHTS, "f16, bf16 or f32 KV cache (default: f16, f32 for F32 models)"},
    {"kv-memory", "MB", 0, INT, AT(kv_memory_mb), NO_HAS, 1, 1 << 30, WEIGHTS, "size of the KV cache"},
    {"kv-blocks", "N", 0, INT, AT(kv_blocks), NO_HAS, 1, 1 << 30, WEIGHTS, "the same in blocks of 16 tokens"},
    {"precise", NULL, 0, FLAG, AT(precise), NO_HAS, 0, 0, WEIGHTS, "keep 16 bits of every product's input; prompts take twice as long"},
    {"max-seqs", "N", 0, INT, AT(max_seqs), NO_HAS, 1, 65536, WEIGHTS, "sequences running together (default 256)"},
    {"max-step-tokens", "N", 0, INT, AT(max_step_tokens), NO_HAS, 1, 1 << 20, WEIGHTS, "token budget of one step (default 512)"},
    {"max-queue", "N", 0, INT, AT(max_queue), NO_HAS, 1, 1 << 24, SERVE, "requests waiting (default 1024)"},
    {"max-queue-tokens", "N", 0, INT, AT(max_queue_tokens), NO_HAS, 1, 1e15, SERVE, "prompt tokens waiting (default 4 M)"},
    {"no-prefix-cache", NULL, 0, FLAG, AT(no_prefix_cache), NO_HAS, 0, 0, RUN | SERVE, "compute every prompt anew"},
    {"json", NULL, 0, FLAG, AT(json), NO_HAS, 0, 0, SHOW | BENCH | TOK | PPL | LISTING, "print JSON"},
    {"verbose", NULL, 'v', FLAG, AT(verbose), NO_HAS, 0, 0, RUN | SHOW | PPL, "more: speed (run), tensors (show), chunks (perplexity)"},
};

/* ---- nearest name: Levenshtein distance, two rows ---- */

static size_t distance(const char *a, const char *b)
{
    size_t row[64], n = strlen(b);
    if (n >= RF_COUNT(row)) return 99;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; *a; a++, i++) {
        size_t diag = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t up = row[j], best = RF_MIN(up, row[j - 1]) + 1;
            row[j] = RF_MIN(best, diag + (*a != b[j - 1]));
            diag = up;
        }
    }
    return row[n];
}

const char *rf_cli_nearest(const char *word, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t best_d = strlen(word) / 2 + 1;
    if (strlen(word) >= 64) return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, names[i]);
        if (d < best_d) {
            best = names[i];
            best_d = d;
        }
    }
    return best;
}

static bool complain(const struct rf_cli *c, const char *what, const char *word, const char *near, const char *dashes)
{
    fprintf(stderr, "rocmforge: %s %s%s", what, dashes, word);
    if (near) fprintf(stderr, "; did you mean %s%s?", dashes, near);
    fprintf(stderr, "\n  See: rocmforge %s%s--help\n", c->command ? c->command->name : "", c->command ? " " : "");
    return false;
}

static bool unknown_option(const struct rf_cli *c, const char *word)
{
    const char *names[RF_COUNT(options)];
    size_t n = 0;
    for (size_t i = 0; i < RF_COUNT(options); i++)
        if (options[i].commands & c->command->bit) names[n++] = options[i].name;
    return complain(c, "unknown option", word, rf_cli_nearest(word, names, n), "--");
}

/* ---- parsing ---- */

static const struct option *find_option(const struct rf_cli *c, const char *name, size_t len, char letter)
{
    for (size_t i = 0; i < RF_COUNT(options); i++) {
        const struct option *o = &options[i];
        if (!(o->commands & c->command->bit)) continue;
        if (letter ? o->letter == letter : strlen(o->name) == len && !memcmp(o->name, name, len)) return o;
    }
    return NULL;
}

static bool set_number(struct rf_cli *c, const struct option *o, const char *v)
{
    char *end;
    void *at = (char *)c + o->at;
    errno = 0;
    long long i = o->kind == INT ? strtoll(v, &end, 10) : 0;
    double x = o->kind == INT ? (double)i : strtod(v, &end);
    if (!*v || *end || errno || !(x >= o->min && x <= o->max)) {
        fprintf(stderr, "rocmforge: --%s is \"%s\", expected a%s number from %g to %g\n", o->name, v, o->kind == INT ? " whole" : "",
                o->min, o->max);
        return false;
    }
    if (o->kind == INT)
        *(int64_t *)at = i;
    else
        *(double *)at = x;
    return true;
}

static bool set_value(struct rf_cli *c, const struct option *o, const char *v)
{
    char *at = (char *)c + o->at;
    struct rf_cli_words *list = (struct rf_cli_words *)at;
    if (o->has != NO_HAS) *(bool *)((char *)c + o->has) = true;
    switch (o->kind) {
    case FLAG: *(bool *)at = true; return true;
    case TEXT: *(const char **)at = v; return true;
    case INT:
    case REAL: return set_number(c, o, v);
    case LIST: break;
    }
    if (list->n == RF_CLI_LIST_MAX) {
        fprintf(stderr, "rocmforge: --%s is given more than %d times\n", o->name, RF_CLI_LIST_MAX);
        return false;
    }
    list->item[list->n++] = v;
    return true;
}

/* One option at argv[*i], with its value there or behind it. */
static bool parse_option(struct rf_cli *c, int argc, char **argv, int *i)
{
    const char *a = argv[*i], *value = NULL;
    bool is_long = a[1] == '-';
    const char *eq = is_long ? strchr(a, '=') : NULL;
    size_t len = is_long ? (eq ? (size_t)(eq - a) - 2 : strlen(a) - 2) : 1;
    const struct option *o = find_option(c, a + 2, len, is_long ? 0 : a[1]);
    if (!o) {
        char word[80];
        snprintf(word, sizeof word, "%.*s", (int)RF_MIN(len, sizeof word - 1), is_long ? a + 2 : a + 1);
        return is_long ? unknown_option(c, word) : complain(c, "unknown option", word, NULL, "-");
    }
    if (eq)
        value = eq + 1;
    else if (!is_long && a[2])
        value = a + 2;
    if (o->kind == FLAG) {
        if (!value) return set_value(c, o, NULL);
        fprintf(stderr, "rocmforge: --%s takes no value\n", o->name);
        return false;
    }
    if (!value && *i + 1 < argc) value = argv[++*i];
    if (value) return set_value(c, o, value);
    fprintf(stderr, "rocmforge: --%s needs a value (%s)\n", o->name, o->arg);
    return false;
}

static const struct rf_cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < rf_cli_n_commands; i++)
        if (!strcmp(rf_cli_commands[i].name, name)) return &rf_cli_commands[i];
    return NULL;
}

static void defaults(struct rf_cli *c)
{
    *c = (struct rf_cli){.host = "127.0.0.1", .port = 8080, .pp = 512, .tg = 128, .reps = 5, .batch = "1",
                         .drain_timeout = 30, .log_level = "info", .max_tokens = -1, .max_connections = 16384, .max_body_mb = 32};
}

static bool check_args(const struct rf_cli *c)
{
    const struct rf_cli_command *cmd = c->command;
    if (c->help || c->n_arg >= cmd->min_arg) return true;
    fprintf(stderr, "rocmforge: %s needs %s\n  See: rocmforge %s --help\n", cmd->name, cmd->usage, cmd->name);
    return false;
}

bool rf_cli_parse(struct rf_cli *c, int argc, char **argv)
{
    defaults(c);
    c->command = find_command(argv[1]);
    if (!c->command) {
        const char *names[16];
        for (size_t i = 0; i < rf_cli_n_commands; i++) names[i] = rf_cli_commands[i].name;
        return complain(c, "unknown command", argv[1], rf_cli_nearest(argv[1], names, rf_cli_n_commands), "");
    }
    bool only_args = false;
    for (int i = 2; i < argc; i++) {
        const char *a = argv[i];
        if (!only_args && !strcmp(a, "--")) {
            only_args = true;
        } else if (!only_args && a[0] == '-' && a[1]) {
            if (!parse_option(c, argc, argv, &i)) return false;
        } else if (c->n_arg == c->command->max_arg) {
            fprintf(stderr, "rocmforge: %s takes %s; \"%.80s\" is too many\n", c->command->name,
                    c->command->usage[0] ? c->command->usage : "no argument", a);
            return false;
        } else {
            c->arg[c->n_arg++] = a;
        }
    }
    return check_args(c);
}

/* ---- help ---- */

void rf_cli_help(const struct rf_cli_command *cmd)
{
    printf("rocmforge %s%s%s [options]\n  %s. %s\n\nOptions:\n", cmd->name, cmd->usage[0] ? " " : "", cmd->usage, cmd->summary,
           cmd->detail);
    for (size_t i = 0; i < RF_COUNT(options); i++) {
        const struct option *o = &options[i];
        if (!(o->commands & cmd->bit)) continue;
        char left[64], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-30s %s\n", left, o->help);
    }
    printf("\nExit codes: 0 done, 1 failed, 2 wrong command line, 3 model cannot be opened, 130 interrupted.\n");
}

void rf_cli_overview(void)
{
    printf("rocmforge %s - runs and serves language models\n\nCommands:\n", rf_version());
    for (size_t i = 0; i < rf_cli_n_commands; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", rf_cli_commands[i].name, rf_cli_commands[i].usage);
        printf("  %-28s %s\n", left, rf_cli_commands[i].summary);
    }
    printf("\nMODEL is a GGUF file (or the first of a split one), a Hugging Face folder, or a name from `list`.\n"
           "Each command explains its options: rocmforge COMMAND --help\n");
}
