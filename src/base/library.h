/* library.h - a shared library looked for at run time: one that may be absent (a driver), or that most commands never use. */
#ifndef RF_BASE_LIBRARY_H
#define RF_BASE_LIBRARY_H

#include <stddef.h>

/* Opens the first of names (NULL ends) that loads. NULL: none does; *why says what the loader found wrong with the last (this
 * thread's text, good until its next call). A library stays loaded: they keep threads and exit handlers of their own. */
void *rf_library_open(const char *const *names, const char **why);

/* Fills table, n function pointers one behind the other, with what symbols names. Returns the first that the library lacks, NULL: none. */
const char *rf_library_fill(void *library, const char *const *symbols, size_t n, void *table);

/* One function; NULL: the library lacks it. */
void *rf_library_symbol(void *library, const char *name);

#endif
