/* linear_ref.c - the definition of a product with a weight matrix: decode a row, add up in double. Never optimised. */
#include <string.h>

#include "backend/cpu/kernels/linear_kern.h"
#include "base/mem.h"
#include "quant/type.h"

/* Here "panel" means 32 rows of the file. Each piece of a row is decoded once and taken against every activation row. */
static void run_ref(const struct rf_lin_task *t, size_t p0, size_t p1, size_t m0, size_t m1, struct rf_lin_tmp *tmp)
{
    const struct rf_type_info *ti = rf_type_get(t->l->type);
    size_t cols = t->act->cols, row_bytes = cols / ti->block * ti->bytes;
    size_t end = RF_MIN(p1 * RF_LIN_PANEL, t->n_row);
    for (size_t r = p0 * RF_LIN_PANEL; r < end; r++) {
        memset(tmp->d, 0, sizeof tmp->d);
        for (size_t k = 0; k < cols; k += RF_LIN_SLAB) {
            float w[RF_LIN_SLAB];
            size_t n = RF_MIN(cols - k, (size_t)RF_LIN_SLAB);
            ti->decode(t->w + r * row_bytes + k / ti->block * ti->bytes, w, n);
            for (size_t m = m0; m < m1; m++) {
                const float *x = t->act->x + m * cols + k;
                for (size_t i = 0; i < n; i++) tmp->d[m - m0] += (double)w[i] * (double)x[i];
            }
        }
        for (size_t m = m0; m < m1; m++)
            t->out[m * t->out_stride + r] = (float)(tmp->d[m - m0] + (t->bias ? (double)t->bias[r] : 0.0));
    }
}

void rf_lin_kern_init_ref(struct rf_lin_kern *k)
{
    *k = (struct rf_lin_kern){.name = "ref", .packed = false};
    for (unsigned i = 0; i < RF_LIN_N_LAYOUT; i++) k->run[i] = run_ref;
}
