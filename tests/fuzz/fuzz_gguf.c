/* The bytes as one GGUF file. */
#include "unit/format/ggufmake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct rf_error err;
    if (!*mk_dir) {
        mk_dir_begin();
        atexit(mk_dir_end);
    }
    mk_open(mk_write("in.gguf", data, n), &err, NULL);
    return 0;
}
