#include "backend/cpu/kernels/x86/vec_avx2.h"

#include "backend/cpu/kernels/vec_ops.h"

void rf_kern_init_avx2(struct rf_kern *k) { vec_init(k); }
