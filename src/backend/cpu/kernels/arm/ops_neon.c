#include "backend/cpu/kernels/arm/vec_neon.h"

#include "backend/cpu/kernels/vec_ops.h"

void rf_kern_init_neon(struct rf_kern *k) { vec_init(k); }
