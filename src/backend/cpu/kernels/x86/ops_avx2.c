#include "backend/cpu/kern.h"

void rf_kern_init_avx2(struct rf_kern *k) { (void)k; }
