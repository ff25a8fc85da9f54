#include "serve/mhd.h"

#include "base/library.h"

#define NAME "libmicrohttpd.so.12" /* packaging/names.sh takes it from here */
#define SYMBOL(f) "MHD_" #f,

rf_status rf_mhd_load(struct rf_mhd *mhd, struct rf_error *err)
{
    static const char *const names[] = {NAME, NULL};
    static const char *const symbols[] = {RF_MHD_CALLS(SYMBOL)};
    const char *why = "";
    void *library = rf_library_open(names, &why);
    if (!library)
        return rf_fail(err, RF_NOT_FOUND, "server: the HTTP library " NAME " does not load (%s): install libmicrohttpd (Debian: apt install libmicrohttpd12)", why);
    const char *missing = rf_library_fill(library, symbols, sizeof symbols / sizeof *symbols, mhd);
    return missing ? rf_fail(err, RF_NOT_FOUND, "server: the HTTP library " NAME " lacks %s: it is too old, 0.9.75 or newer is needed", missing) : RF_OK;
}
