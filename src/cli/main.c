#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Output that did not arrive is a failure. A reader that went away needs no words. */
static int finish(int code)
{
    bool lost = fflush(stdout) != 0;
    int why = errno;
    if (!lost && !ferror(stdout)) return code;
    struct rf_error err = {0};
    if (lost && why != EPIPE) {
        rf_fail(&err, RF_IO, "standard output: %s", strerror(why));
        return rf_cli_fail(&err, RF_EXIT_FAILED);
    }
    return code ? code : RF_EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct rf_cli c;
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of write, told where it happens */
    if (argc < 2) {
        rf_cli_welcome();
        return finish(RF_EXIT_OK);
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || (!strcmp(argv[1], "help") && argc == 2)) {
        rf_cli_overview();
        return finish(RF_EXIT_OK);
    }
    if (!strcmp(argv[1], "--version")) return finish(rf_cli_version(&(struct rf_cli){0}));
    char *swapped[] = {argv[0], argc > 2 ? argv[2] : NULL, (char[]){"--help"}};
    bool help = !strcmp(argv[1], "help"); /* "help run" is "run --help" */
    int code = RF_EXIT_USAGE;
    struct rf_error err = {0};
    if (rf_cli_parse(&c, help ? 3 : argc, help ? swapped : argv)) {
        code = RF_EXIT_OK;
        if (c.help) rf_cli_help(c.command);
        else if (rf_guard_files(&err)) code = rf_cli_fail(&err, RF_EXIT_FAILED);
        else code = c.command->main(&c);
    }
    rf_cli_release(&c);
    return finish(code);
}
