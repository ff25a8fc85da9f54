/* hf_dir.c - Hugging Face folders. */
#include "format/weights_priv.h"

rf_status rf_hf_facts_add(struct rf_weights *w, struct rf_error *err)
{
    return rf_fail(err, RF_UNSUPPORTED, "%s: a Hugging Face folder, expected a GGUF file", rf_format_short(w->path));
}

rf_status rf_safetensors_add(struct rf_weights *w, const char *path, struct rf_error *err)
{
    (void)w;
    return rf_fail(err, RF_UNSUPPORTED, "%s: a safetensors file, expected a GGUF file", rf_format_short(path));
}

rf_status rf_safetensors_add_index(struct rf_weights *w, const char *path, struct rf_error *err)
{
    return rf_safetensors_add(w, path, err);
}
