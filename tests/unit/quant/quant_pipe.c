/* quant_pipe.c - decodes or encodes standard input to standard output; test_quant_gguf.py compares with PyPI gguf.
 *   quant_pipe decode|encode TYPE_ID N_VALUES
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/type.h"

int main(int argc, char **argv)
{
    if (argc != 4) return 2;
    const struct rf_type_info *t = rf_type_get((uint32_t)atoi(argv[2]));
    size_t n = strtoul(argv[3], NULL, 10);
    uint64_t bytes;
    if (!t || !rf_type_row_bytes((uint32_t)atoi(argv[2]), n, &bytes)) return 3;
    float *x = calloc(n + 1, 4);
    void *q = calloc(bytes + 1, 1);
    if (!x || !q) return 4;
    int rc = 5;
    if (!strcmp(argv[1], "decode") && fread(q, 1, bytes, stdin) == bytes) {
        t->decode(q, x, n);
        rc = fwrite(x, 4, n, stdout) == n ? 0 : 6;
    } else if (!strcmp(argv[1], "encode") && fread(x, 4, n, stdin) == n) {
        t->encode(x, q, n);
        rc = fwrite(q, 1, bytes, stdout) == bytes ? 0 : 6;
    }
    free(x);
    free(q);
    return rc;
}
