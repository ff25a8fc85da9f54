/* fuzz_tokenizer: the input is a tokenizer.json, a zero byte, and text for it. */
#include "fuzz/tokfuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char usual[] = "Hello  world's 123\n";
    const uint8_t *cut = size ? memchr(data, 0, size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    tokfuzz_start();
    tokfuzz_save("tokenizer.json", data, n);
    tokfuzz_run(cut ? (const char *)cut + 1 : usual, cut ? size - n - 1 : sizeof usual - 1);
    return 0;
}
