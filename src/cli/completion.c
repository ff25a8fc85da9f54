/* completion.c - completion scripts for three shells, from the tables. Names of models are asked for when they are needed:
 * `rocmforge list --names`.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/options.h"

/* Text inside '...' of a shell: no quote, no bracket or colon that zsh would read. */
static void plain(const char *s)
{
    for (; *s; s++) {
        if (*s == '\'') printf("'\\''");
        else if (*s == '[' || *s == ']' || *s == ':' || *s == '\\') printf("\\%c", *s);
        else putchar(*s);
    }
}

static void command_names(const char *before)
{
    for (size_t i = 0; i < rf_cli_n_commands; i++) printf("%s%s", i ? before : "", rf_cli_commands[i].name);
}

/* ---- bash ---- */

static void bash_options(const struct rf_cli_command *cmd)
{
    printf("    %s) options='", cmd->name);
    for (size_t i = 0; i < rf_cli_n_options; i++)
        if (rf_cli_options[i].commands & cmd->bit) printf("--%s ", rf_cli_options[i].name);
    printf("'");
    for (const char *p = cmd->arg_kinds; *p; p++) printf(" arg%d=%c", (int)(p - cmd->arg_kinds) + 1, *p);
    printf(" ;;\n");
}

static void bash_values(void)
{
    for (size_t i = 0; i < rf_cli_n_options; i++) {
        const struct rf_option *o = &rf_cli_options[i];
        if (o->words) printf("    --%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", o->name, o->words);
        else if (o->flags & RF_OPTION_DIR) printf("    --%s) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n", o->name);
        else if (o->flags & RF_OPTION_FILE) printf("    --%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", o->name);
        else if (!strcmp(o->name, "model")) printf("    --model) _rocmforge_models; return ;;\n");
        else if (o->arg) printf("    --%s) return ;;\n", o->name);
    }
}

static void bash(void)
{
    printf("# bash completion for rocmforge %s, made by: rocmforge completion bash\n"
           "_rocmforge_models() { # compgen -W would expand what stands in a name\n"
           "    local name\n"
           "    mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
           "    while IFS= read -r name; do [[ $name == \"$cur\"* ]] && COMPREPLY+=(\"$name\"); done < <(rocmforge list --names 2>/dev/null)\n"
           "    __ltrimcolon_completions \"$cur\" 2>/dev/null\n}\n"
           "_rocmforge() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} options='' arg1='' arg2='' i n=0\n"
           "    COMPREPLY=()\n"
           "    if declare -F _get_comp_words_by_ref >/dev/null; then _get_comp_words_by_ref -n : cur prev; fi\n"
           "    if [ \"$COMP_CWORD\" -le 1 ]; then\n        COMPREPLY=($(compgen -W '", rf_version());
    command_names(" ");
    printf(" --help --version' -- \"$cur\"))\n        return\n    fi\n    case $prev in\n");
    bash_values();
    printf("    esac\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < rf_cli_n_commands; i++) bash_options(&rf_cli_commands[i]);
    printf("    *) return ;;\n    esac\n"
           "    case $cur in\n    -*) COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")); return ;;\n    esac\n"
           "    for ((i = 2; i < COMP_CWORD; i++)); do case ${COMP_WORDS[i]} in -*|:) ;; *) n=$((n + 1)) ;; esac; done\n"
           "    case $([ \"$n\" = 0 ] && echo \"$arg1\" || echo \"$arg2\") in\n"
           "    M) _rocmforge_models ;;\n"
           "    F) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
           "    S) COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$cur\")) ;;\n"
           "    C) COMPREPLY=($(compgen -W '");
    command_names(" ");
    printf("' -- \"$cur\")) ;;\n    esac\n}\ncomplete -o filenames -F _rocmforge rocmforge\n");
}

/* ---- zsh ---- */

static void zsh_option(const struct rf_option *o)
{
    printf(" \\\n            '");
    if (o->kind == RF_OPTION_LIST) printf("*");
    printf("--%s%s[", o->name, o->arg ? "=" : "");
    plain(o->help);
    printf("]");
    if (o->words) printf(":%s:(%s)", o->arg, o->words);
    else if (o->flags & RF_OPTION_DIR) printf(":%s:_files -/", o->arg);
    else if (o->flags & RF_OPTION_FILE) printf(":%s:_files", o->arg);
    else if (!strcmp(o->name, "model")) printf(":%s:_rocmforge_models", o->arg);
    else if (o->arg) printf(":%s:", o->arg);
    printf("'");
}

static void zsh(void)
{
    static const struct { char kind; const char *what; } kinds[] = {
        {'M', ":model:_rocmforge_models"}, {'F', ":file:_files"}, {'P', ":text:"}, {'S', ":shell:(bash zsh fish)"}, {'C', ":command:_rocmforge_commands"}};
    printf("#compdef rocmforge\n# zsh completion for rocmforge %s, made by: rocmforge completion zsh\n"
           "_rocmforge_models() {\n    local -a names\n    names=(${(f)\"$(rocmforge list --names 2>/dev/null)\"})\n"
           "    compadd -a names\n    _files\n}\n_rocmforge_commands() {\n    local -a commands\n    commands=(\n", rf_version());
    for (size_t i = 0; i < rf_cli_n_commands; i++) {
        printf("        '%s:", rf_cli_commands[i].name);
        plain(rf_cli_commands[i].summary);
        printf("'\n");
    }
    printf("    )\n    _describe command commands\n}\n_rocmforge() {\n    if ((CURRENT == 2)); then\n        _rocmforge_commands\n        return\n    fi\n"
           "    local command=$words[2]\n    shift words\n    ((CURRENT--))\n    case $command in\n");
    for (size_t i = 0; i < rf_cli_n_commands; i++) {
        const struct rf_cli_command *cmd = &rf_cli_commands[i];
        printf("        %s) _arguments", cmd->name);
        for (size_t k = 0; k < rf_cli_n_options; k++)
            if (rf_cli_options[k].commands & cmd->bit) zsh_option(&rf_cli_options[k]);
        for (const char *p = cmd->arg_kinds; *p; p++)
            for (size_t k = 0; k < RF_COUNT(kinds); k++)
                if (kinds[k].kind == *p) printf(" \\\n            '%d%s'", (int)(p - cmd->arg_kinds) + 1, kinds[k].what);
        printf(" ;;\n");
    }
    printf("    esac\n}\nif [ \"$funcstack[1]\" = _rocmforge ]; then _rocmforge \"$@\"; else compdef _rocmforge rocmforge; fi\n");
}

/* ---- fish ---- */

static void fish_option(const struct rf_cli_command *cmd, const struct rf_option *o)
{
    printf("complete -c rocmforge -n '__fish_seen_subcommand_from %s' -l %s", cmd->name, o->name);
    if (o->letter) printf(" -s %c", o->letter);
    printf(" -d '");
    for (const char *p = o->help; *p; p++) printf(*p == '\'' ? "\\'" : "%c", *p);
    printf("'");
    if (o->words) printf(" -x -a '%s'", o->words);
    else if (o->flags & (RF_OPTION_FILE | RF_OPTION_DIR)) printf(" -r -F");
    else if (!strcmp(o->name, "model")) printf(" -x -a '(rocmforge list --names 2>/dev/null)'");
    else if (o->arg) printf(" -x");
    putchar('\n');
}

static void fish(void)
{
    printf("# fish completion for rocmforge %s, made by: rocmforge completion fish\ncomplete -c rocmforge -f\n", rf_version());
    for (size_t i = 0; i < rf_cli_n_commands; i++) {
        const struct rf_cli_command *cmd = &rf_cli_commands[i];
        printf("complete -c rocmforge -n __fish_use_subcommand -a %s -d '", cmd->name);
        plain(cmd->summary);
        printf("'\n");
        if (strchr(cmd->arg_kinds, 'M'))
            printf("complete -c rocmforge -n '__fish_seen_subcommand_from %s' -F -a '(rocmforge list --names 2>/dev/null)'\n", cmd->name);
        if (strchr(cmd->arg_kinds, 'S')) printf("complete -c rocmforge -n '__fish_seen_subcommand_from %s' -a 'bash zsh fish'\n", cmd->name);
        if (strchr(cmd->arg_kinds, 'C')) {
            printf("complete -c rocmforge -n '__fish_seen_subcommand_from %s' -a '", cmd->name);
            command_names(" ");
            printf("'\n");
        }
        for (size_t k = 0; k < rf_cli_n_options; k++)
            if (rf_cli_options[k].commands & cmd->bit) fish_option(cmd, &rf_cli_options[k]);
    }
}

int rf_cli_completion(const struct rf_cli *c)
{
    static const struct { const char *name; void (*print)(void); } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < RF_COUNT(shells); i++)
        if (!strcmp(c->arg[0], shells[i].name)) {
            shells[i].print();
            return RF_EXIT_OK;
        }
    fprintf(stderr, "rocmforge: completion: \"%.40s\" is none of bash, zsh, fish\n", c->arg[0]);
    return RF_EXIT_USAGE;
}
