/* fuzz_spm: the input is a SentencePiece tokenizer.model; its own pieces and some fixed text go through it. */
#include "fuzz/tokfuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char usual[] = "Hello  world\xE2\x96\x81 \xEF\xBC\xA1\xE2\x91\xA0 e\xCC\x81 \xFF\xF0\x9F <s>\n";
    size_t n = size < 4096 ? size : 4096;
    char text[4096 + sizeof usual];
    tokfuzz_start();
    tokfuzz_save("tokenizer.model", data, size);
    memcpy(text, usual, sizeof usual - 1);
    if (n) memcpy(text + sizeof usual - 1, data, n);
    tokfuzz_run(text, sizeof usual - 1 + n);
    return 0;
}
