#include <stdio.h>

#include "cli/cli.h"

int rf_cli_version(const struct rf_cli *c)
{
    (void)c;
    printf("rocmforge %s\n", rf_version());
    return RF_EXIT_OK;
}
