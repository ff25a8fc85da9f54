#include "backend/cpu/kernels/x86/vec_avx512.h"

#include "backend/cpu/kernels/vec_ops.h"

void rf_kern_init_avx512(struct rf_kern *k) { vec_init(k); }
