/* fuzz_tokfile: the first byte says which file the input is: r ranks (*.tiktoken), t tekken.json, w vocab.txt, p vocab.json, a
 * zero byte and merges.txt, c tokenizer_config.json beside a small vocab.txt. */
#include "fuzz/tokfuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "Hello  world's 123 <|im_start|> [MASK]\n", words[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\nworld\n##s\n";
    static const char class_of_ranks[] = "{\"tokenizer_class\":\"QWenTokenizer\"}";
    static const char *const all[] = { "x.tiktoken", "tekken.json", "vocab.txt", "vocab.json", "merges.txt", "tokenizer_config.json" };
    if (!size) return 0;
    tokfuzz_start();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) tokfuzz_remove(all[i]);
    char kind = (char)*data++;
    const uint8_t *cut = --size ? memchr(data, 0, size) : NULL;
    size_t n = cut ? (size_t)(cut - data) : size;
    switch (kind) {
    case 'r':
        tokfuzz_save("x.tiktoken", data, size);
        tokfuzz_save("tokenizer_config.json", class_of_ranks, sizeof class_of_ranks - 1);
        break;
    case 't': tokfuzz_save("tekken.json", data, size); break;
    case 'w': tokfuzz_save("vocab.txt", data, size); break;
    case 'p':
        tokfuzz_save("vocab.json", data, n);
        tokfuzz_save("merges.txt", cut ? cut + 1 : data, cut ? size - n - 1 : 0);
        tokfuzz_save("tokenizer_config.json", "{}", 2);
        break;
    case 'c':
        tokfuzz_save("tokenizer_config.json", data, size);
        tokfuzz_save("vocab.txt", words, sizeof words - 1);
        break;
    default: return 0;
    }
    tokfuzz_run(text, sizeof text - 1);
    return 0;
}
