#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
    struct rf_cli c;
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, told where it happens */
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        rf_cli_overview();
        return RF_EXIT_OK;
    }
    if (!strcmp(argv[1], "--version")) return rf_cli_version(&(struct rf_cli){0});
    if (!rf_cli_parse(&c, argc, argv)) return RF_EXIT_USAGE;
    if (c.help) {
        rf_cli_help(c.command);
        return RF_EXIT_OK;
    }
    struct rf_error err;
    if (rf_guard_files(&err)) return rf_cli_fail(&err, RF_EXIT_FAILED);
    return c.command->main(&c);
}
