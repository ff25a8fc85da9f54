#include "text/tok.h"

rf_status rf_tok_open_json(struct rf_tokenizer *t, const struct rf_weights *w, struct rf_error *err)
{
    (void)t;
    return rf_fail(err, RF_UNSUPPORTED, "%s: found a folder, expected a GGUF file", rf_weights_path(w));
}
