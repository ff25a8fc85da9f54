/* linear.h - weight matrices on the CPU: packed once at load into panels, multiplied straight from the packed form.
 *
 * A row of the result depends on that row of x alone, and on whether it is marked as bulk: same bits for M = 1 and M = 512, for any
 * thread count.
 */
#ifndef RF_BACKEND_CPU_LINEAR_H
#define RF_BACKEND_CPU_LINEAR_H

#include "backend/backend.h"
#include "backend/cpu/isa.h"
#include "backend/cpu/pool.h"

struct rf_linear;
struct rf_linear_scratch; /* grows to the largest call seen; one per backend */

/* Packs with all threads of the pool. Takes as many bytes as the file form plus padding. *copied as in backend.h. */
rf_status rf_linear_create(struct rf_linear **out, const struct rf_weight_desc *d, unsigned isa, struct rf_pool *pool,
                           bool *copied, struct rf_error *err);
void rf_linear_free(struct rf_linear *w);
uint64_t rf_linear_rows(const struct rf_linear *w);
uint64_t rf_linear_cols(const struct rf_linear *w);
uint64_t rf_linear_bytes(const struct rf_linear *w); /* held beyond the mapped file */
/* Decodes row r into out[cols], bit-equal to rf_type_info.decode. */
void rf_linear_row(const struct rf_linear *w, uint64_t r, float *out);

rf_status rf_linear_scratch_create(struct rf_linear_scratch **out, struct rf_error *err);
void rf_linear_scratch_free(struct rf_linear_scratch *s);

/* The rows of a product in two lots; bulk rows (kernels/linear_kern.h) are those that may wait to be many. */
struct rf_linear_rows {
    const uint32_t *row;        /* [n_plain + n_bulk], the bulk rows behind; NULL where n_bulk is 0: as they come */
    uint32_t n_plain, n_bulk;
};
/* Whether bulk rows are worth marking with these instructions. */
bool rf_linear_has_bulk(unsigned isa);

/* out[i][m][..] = x[m] * w[i]^T + bias[i], see struct rf_matmul_args (device addresses are plain pointers here). With
 * a->precise each row goes twice, as rounded and as what the rounding left, but for bulk rows. rows: NULL for a->rows plain
 * ones. RF_NOMEM: scratch could not grow. */
rf_status rf_linear_run(struct rf_pool *pool, struct rf_linear_scratch *s, const struct rf_matmul_args *a, const struct rf_linear_rows *rows);

#endif
