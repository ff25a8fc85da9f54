/* cmd_rm.c - deletes a model of our own store. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static bool agreed(const struct rf_cli *c, const struct rf_model_entry *m)
{
    char size[32], answer[16] = "";
    if (c->yes) return true;
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "rocmforge: rm asks before it deletes; without a terminal, say --yes\n");
        return false;
    }
    rf_cli_human_bytes(m->bytes, size, sizeof size);
    fprintf(stderr, "Delete %s, %s (%s)? [y/N] ", m->name, size, m->path);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

int rf_cli_rm(const struct rf_cli *c)
{
    struct rf_error err = {0};
    struct rf_registry *r = rf_cli_open_registry(c, false);
    if (!r) return RF_EXIT_FAILED;
    const struct rf_model_entry *m;
    int code = RF_EXIT_FAILED;
    rf_status s = rf_cli_find_name(r, c->arg[0], "no such model (rocmforge list shows them)", &m, &err);
    if (s && s != RF_CORRUPT) { /* a broken one may go too */
        code = rf_cli_fail(&err, RF_EXIT_MODEL);
    } else if (strcmp(m->source, "own") != 0) {
        rf_registry_remove(m, &err); /* says whose it is */
        rf_cli_fail(&err, 0);
    } else if (agreed(c, m)) {
        s = rf_registry_remove(m, &err);
        code = s ? rf_cli_fail(&err, RF_EXIT_FAILED) : RF_EXIT_OK;
        if (!s) fprintf(stderr, "deleted %s\n", m->name);
    }
    rf_registry_close(r);
    return code;
}
