#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

void *rf_library_open(const char *const *names, const char **why)
{
    void *library = NULL;
    for (; *names && !library; names++) library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    if (!library) *why = dlerror();
    return library;
}

const char *rf_library_fill(void *library, const char *const *symbols, size_t n, void *table)
{
    for (size_t i = 0; i < n; i++) {
        void *p = dlsym(library, symbols[i]);
        if (!p) return symbols[i];
        memcpy((char *)table + i * sizeof p, &p, sizeof p); /* ISO C has no cast from object to function pointers */
    }
    return NULL;
}

void *rf_library_symbol(void *library, const char *name) { return dlsym(library, name); }
