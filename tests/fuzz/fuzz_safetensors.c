/* The bytes as a safetensors header (length field made right) or, where the first byte is odd, as a whole file. Behind
 * a header come as many zeros as the second byte says. */
#include "unit/format/ggufmake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct rf_error err;
    struct rf_buf b = {0};
    if (!*mk_dir) {
        mk_dir_begin();
        atexit(mk_dir_end);
    }
    if (n < 2) return 0;
    if (data[0] & 1) {
        rf_buf_append(&b, data + 2, n - 2);
    } else {
        mk_le(&b, n - 2, 8);
        rf_buf_append(&b, data + 2, n - 2);
        mk_zeros(&b, data[1]);
    }
    mk_open(mk_write("in.safetensors", b.data, b.len), &err, NULL);
    rf_buf_release(&b);
    return 0;
}
