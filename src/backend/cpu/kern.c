#include "backend/cpu/kern.h"

#include "backend/cpu/isa.h"

void rf_kern_init(struct rf_kern *k, unsigned isa)
{
    (void)isa;
    rf_kern_init_ref(k);
#if defined(RF_KERN_X86)
    if (isa & RF_ISA_AVX2) rf_kern_init_avx2(k);
    if (isa & RF_ISA_AVX512) rf_kern_init_avx512(k);
#elif defined(RF_KERN_ARM)
    if (isa & RF_ISA_NEON) rf_kern_init_neon(k);
#endif
}
