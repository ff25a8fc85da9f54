/* help.c - everything printed from the tables: --help, the overview, manual pages. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/options.h"

/* Prints text broken at blanks so that lines stay within 100 columns, each behind `indent` blanks. */
static void wrapped(const char *text, int indent)
{
    int column = indent;
    printf("%*s", indent, "");
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (column > indent && column + n + 1 > 100) {
            printf("\n%*s", indent, "");
            column = indent;
        }
        column += printf("%s%.*s", column > indent ? " " : "", n, text);
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void example_lines(const char *text, const char *before, const char *after)
{
    while (*text) {
        int n = (int)strcspn(text, "\n");
        printf("%s%.*s%s\n", before, n, text, after);
        text += n + (text[n] == '\n');
    }
}

void rf_cli_help(const struct rf_cli_command *cmd)
{
    printf("rocmforge %s%s%s [options]\n  %s\n", cmd->name, cmd->usage[0] ? " " : "", cmd->usage, cmd->summary);
    if (cmd->detail[0]) {
        putchar('\n');
        wrapped(cmd->detail, 2);
    }
    printf("\nExamples:\n");
    example_lines(cmd->examples, "  ", "");
    printf("\nOptions:\n");
    for (size_t i = 0; i < rf_cli_n_options; i++) {
        const struct rf_option *o = &rf_cli_options[i];
        char left[64], letter[8] = "    ";
        if (!(o->commands & cmd->bit)) continue;
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
        printf("  %-30s %s%s%s\n", left, o->help, o->words ? ": " : "", o->words ? o->words : "");
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
           "Options can stand in ROCMFORGE_* variables or in rocmforge.toml: see rocmforge config.\n"
           "Each command explains its options: rocmforge COMMAND --help\n");
}

void rf_cli_welcome(void)
{
    bool colour = rf_cli_colour(STDOUT_FILENO);
    static const struct { const char *command, *what; } rows[] = {
        {"rocmforge run", "talk to the small model that ships, here; rocmforge run NAME to another"},
        {"rocmforge list", "the models that lie on this disk; put GGUF files into ~/models"},
        {"rocmforge serve", "all of them over HTTP: OpenAI's API, and a page for the browser"},
        {"rocmforge --help", "all commands; rocmforge doctor says what this machine can do"},
    };
    printf("ROCmForge %s runs language models on this computer.\n", rf_version());
    for (size_t i = 0; i < RF_COUNT(rows); i++)
        printf("  %s%-18s%s %s\n", colour ? "\033[1m" : "", rows[i].command, colour ? "\033[0m" : "", rows[i].what);
}

/* ---- manual pages, in the macros of man(7) ---- */

static void roff(const char *s) /* text: '-' is a hyphen-minus, a dot at the start of a line is no macro */
{
    if (*s == '.' || *s == '\'') printf("\\&");
    for (; *s; s++) {
        if (*s == '-') printf("\\-");
        else if (*s == '\\') printf("\\e");
        else putchar(*s);
    }
}

static void man_options(unsigned commands)
{
    for (size_t i = 0; i < rf_cli_n_options; i++) {
        const struct rf_option *o = &rf_cli_options[i];
        char env[80];
        if (!(o->commands & commands)) continue;
        printf(".TP\n");
        if (o->letter) printf("\\fB\\-%c\\fR, ", o->letter);
        printf("\\fB\\-\\-");
        roff(o->name);
        printf("\\fR");
        if (o->arg) printf(" \\fI%s\\fR", o->arg);
        putchar('\n');
        roff(o->help);
        if (o->words) printf(": %s", o->words);
        if (!(o->flags & RF_OPTION_LINE)) {
            rf_cli_option_env(o, env, sizeof env);
            printf(". Variable: %s", env);
        }
        putchar('\n');
    }
}

static void man_end(const char *also)
{
    printf(".SH EXIT STATUS\n0 done, 1 failed, 2 wrong command line or settings, 3 model cannot be opened, 130 interrupted.\n"
           ".SH SEE ALSO\n%s\n", also);
}

static void man_command(const struct rf_cli_command *cmd)
{
    char title[64];
    size_t n = (size_t)snprintf(title, sizeof title, "ROCMFORGE\\-%s", cmd->name);
    for (size_t i = 0; i < n; i++) title[i] = (char)toupper((unsigned char)title[i]);
    printf(".TH \"%s\" 1 \"\" \"ROCmForge %s\" \"User Commands\"\n.SH NAME\nrocmforge\\-%s \\- ", title, rf_version(), cmd->name);
    roff(cmd->summary);
    printf("\n.SH SYNOPSIS\n.B rocmforge %s\n", cmd->name);
    if (cmd->usage[0]) {
        roff(cmd->usage);
        putchar('\n');
    }
    printf("[options]\n");
    if (cmd->detail[0]) {
        printf(".SH DESCRIPTION\n");
        roff(cmd->detail);
        putchar('\n');
    }
    printf(".SH OPTIONS\n");
    man_options(cmd->bit);
    printf(".SH EXAMPLES\n.nf\n");
    for (const char *p = cmd->examples; *p;) {
        char line[256];
        int len = (int)strcspn(p, "\n");
        snprintf(line, sizeof line, "%.*s", len, p);
        roff(line);
        putchar('\n');
        p += len + (p[len] == '\n');
    }
    printf(".fi\n");
    man_end(".BR rocmforge (1)");
}

static void man_overview(void)
{
    printf(".TH ROCMFORGE 1 \"\" \"ROCmForge %s\" \"User Commands\"\n.SH NAME\nrocmforge \\- run and serve language models\n"
           ".SH SYNOPSIS\n.B rocmforge\n.I COMMAND\n[arguments] [options]\n.SH DESCRIPTION\n"
           "Runs language models from files that already lie on the disk: GGUF files, safetensors folders, the stores of other\n"
           "programs. MODEL is a file, a folder, or a name that\n.B rocmforge list\nprints.\n.SH COMMANDS\n", rf_version());
    for (size_t i = 0; i < rf_cli_n_commands; i++) {
        printf(".TP\n.BR rocmforge\\-%s (1)\n", rf_cli_commands[i].name);
        roff(rf_cli_commands[i].summary);
        putchar('\n');
    }
    printf(".SH SETTINGS\nEvery option but those that make sense once only has a variable (\\-\\-max\\-seqs: ROCMFORGE_MAX_SEQS; lists are\n"
           "separated by commas) and a key in rocmforge.toml (max\\-seqs = 8), at its top or in a table with a command's name. The\n"
           "command line wins over variables, those over the file; a command's table over the top.\n.B rocmforge config\n"
           "prints what is in force. Folders to look for models in: ROCMFORGE_MODEL_PATH, separated by colons.\n"
           ".SH FILES\n.TP\n~/.config/rocmforge/rocmforge.toml, ./rocmforge.toml, /etc/rocmforge/rocmforge.toml\nsettings\n"
           ".TP\n~/.local/share/rocmforge/models\nour own folder of models\n.TP\n~/.local/state/rocmforge/history\nwhat was typed in\n"
           "conversations (\\-\\-no\\-history keeps none)\n.TP\n~/.cache/rocmforge/catalogue.db\nremembered headers of models\n");
    man_end(".BR rocmforge\\-run (1),\n.BR rocmforge\\-serve (1),\n.BR rocmforge\\-list (1)");
}

int rf_cli_man(const struct rf_cli *c)
{
    const struct rf_cli_command *cmd = c->n_arg ? rf_cli_command_find(c->arg[0]) : NULL;
    if (c->n_arg && !cmd) {
        fprintf(stderr, "rocmforge: man: there is no command \"%.40s\"\n", c->arg[0]);
        return RF_EXIT_USAGE;
    }
    if (cmd) man_command(cmd);
    else man_overview();
    return RF_EXIT_OK;
}
