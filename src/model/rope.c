/* rope.c - rotary frequencies under the scaling laws in use. */
#include <math.h>

#include "model/lm.h"

/* Llama 3.1: long waves are slowed by the factor, short ones kept, those between blended. */
static double llama3(const struct rf_hparams *hp, double freq)
{
    double wave = 2 * M_PI / freq, low = hp->rope_orig_ctx / hp->rope_low, high = hp->rope_orig_ctx / hp->rope_high;
    if (wave > low) return freq / hp->rope_factor;
    if (wave < high) return freq;
    double blend = (hp->rope_orig_ctx / wave - hp->rope_low) / (hp->rope_high - hp->rope_low);
    return (1 - blend) * freq / hp->rope_factor + blend * freq;
}

/* YaRN: dimensions that turn fewer than beta_slow times over the original context are interpolated, those that turn more
 * than beta_fast times kept, a ramp between. */
static double yarn(const struct rf_hparams *hp, double theta, uint32_t dim, uint32_t i, double freq)
{
    double at[2], betas[2] = {hp->rope_beta_fast, hp->rope_beta_slow};
    for (int k = 0; k < 2; k++) at[k] = dim * log(hp->rope_orig_ctx / (betas[k] * 2 * M_PI)) / (2 * log(theta));
    if (hp->rope_truncate) at[0] = floor(at[0]), at[1] = ceil(at[1]);
    double low = fmax(at[0], 0), high = fmin(at[1], dim - 1);
    if (low == high) high += 0.001;
    double ramp = fmin(fmax((i - low) / (high - low), 0), 1);
    return freq / hp->rope_factor * ramp + freq * (1 - ramp);
}

/* What YaRN multiplies queries and keys by: the longer the context, the sharper attention must be. */
static double yarn_mscale(const struct rf_hparams *hp)
{
    double more = hp->rope_factor > 1 ? 0.1 * log(hp->rope_factor) : 0;
    if (hp->rope_attn_factor > 0) return hp->rope_attn_factor;
    if (hp->rope_mscale > 0 && hp->rope_mscale_all > 0) return (1 + hp->rope_mscale * more) / (1 + hp->rope_mscale_all * more);
    return 1 + more;
}

void rf_rope_inv_freq(const struct rf_hparams *hp, double theta, bool scaled, uint32_t dim, float *inv_freq, float *mscale)
{
    enum rf_rope_scaling kind = scaled ? hp->rope_scaling : RF_ROPE_SCALE_NONE;
    for (uint32_t i = 0; i < dim / 2; i++) {
        double f = pow(theta, -2.0 * i / dim);
        switch (kind) {
        case RF_ROPE_SCALE_NONE: break;
        case RF_ROPE_SCALE_LINEAR: f /= hp->rope_factor; break;
        case RF_ROPE_SCALE_LLAMA3: f = llama3(hp, f); break;
        case RF_ROPE_SCALE_YARN: f = yarn(hp, theta, dim, i, f); break;
        }
        inv_freq[i] = (float)f;
    }
    *mscale = kind == RF_ROPE_SCALE_YARN ? (float)yarn_mscale(hp) : 1;
}
