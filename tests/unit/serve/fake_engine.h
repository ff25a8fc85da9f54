/* fake_engine.h - see fake_engine.c; what rocmforge.h has no word for. */
#ifndef RF_TESTS_FAKE_ENGINE_H
#define RF_TESTS_FAKE_ENGINE_H

#include "rocmforge.h"

struct rf_model *fake_model_create(void);
void fake_model_free(struct rf_model *m);
struct rf_engine *fake_engine_create(uint32_t max_running, uint32_t max_queue);

#endif
