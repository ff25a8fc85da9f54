/* The bytes behind the first one as one of the JSON files of a Hugging Face folder. */
#include "unit/format/ggufmake.h"

static const char *const names[] = {"config.json", "generation_config.json", "tokenizer_config.json",
                                    "model.safetensors.index.json"};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct rf_error err;
    if (!*mk_dir) {
        struct rf_buf b = {0};
        mk_dir_begin();
        atexit(mk_dir_end);
        mk_safetensors(&b, "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
        mk_write("a.safetensors", b.data, b.len);
        rf_buf_release(&b);
    }
    if (!n) return 0;
    const char *name = names[data[0] % 4];
    mk_write(name, data + 1, n - 1);
    mk_open(mk_dir, &err, NULL);
    mk_remove(name);
    return 0;
}
