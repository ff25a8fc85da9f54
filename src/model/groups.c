/* groups.c - which layers share KV block tables.
 *
 * Layers of one kind (full attention, or one window) can share a table, but all blocks come from one pool and so have one
 * size: n_slot layers. A kind with more layers than n_slot is cut into several groups. n_slot is chosen so that the
 * fewest slots stay empty, then for the fewest groups.
 */
#include "base/mem.h"
#include "model/lm.h"

static uint32_t groups_of(uint32_t layers, uint32_t slots) { return (layers + slots - 1) / slots; }

rf_status rf_kv_groups_plan(struct rf_lm_shape *shape, struct rf_lm_layer *layers, struct rf_error *err)
{
    uint32_t n = shape->n_layer, full = 0, window = 0, best = 0, best_waste = UINT32_MAX;
    for (uint32_t i = 0; i < n; i++) {
        if (!layers[i].window)
            full++;
        else if (window && window != layers[i].window)
            return rf_fail(err, RF_UNSUPPORTED, "layers with windows of %u and %u tokens in one model", window, layers[i].window);
        else
            window = layers[i].window;
    }
    for (uint32_t slots = 1; slots <= n; slots++) {
        uint32_t g = groups_of(full, slots) + groups_of(n - full, slots);
        if (g <= RF_MAX_KV_GROUPS && g * slots - n <= best_waste) {
            best = slots;
            best_waste = g * slots - n;
        }
    }
    shape->n_slot = best;
    shape->n_group = groups_of(full, best) + groups_of(n - full, best);
    uint32_t next_group = 0;
    for (int kind = 0; kind < 2; kind++) {
        uint32_t used = best; /* the first layer of a kind opens a group */
        for (uint32_t i = 0; i < n; i++) {
            if ((layers[i].window != 0) != (kind == 1)) continue;
            if (used == best) {
                shape->group[next_group++] = (struct rf_kv_group){.window = layers[i].window};
                used = 0;
            }
            layers[i].group = next_group - 1;
            layers[i].slot = used++;
            shape->group[next_group - 1].n_layer++;
        }
    }
    return RF_OK;
}
