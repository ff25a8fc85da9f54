/* queue.h - work that a driver takes now and its device does later: in order, and no sooner than somebody waits for it. So a host that reads
 * a result too early, or writes what an upload has yet to read, fails its test.
 *
 * Thread: any.
 */
#ifndef RF_GPU_EMU_QUEUE_H
#define RF_GPU_EMU_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* run works on `data` (malloc) and releases it; 0 or the driver's code of an error. Returns false without memory: data is released. */
bool rf_emu_queue_add(int (*run)(void *data), void *data);
uint64_t rf_emu_queue_end(void);          /* how much was taken so far */
int rf_emu_queue_wait(uint64_t upto);     /* does what was taken until rf_emu_queue_end was `upto`; the first error since the last wait */

/* Page-locked memory: copies from and to it happen when their turn comes; others a driver makes through memory of its own. */
void *rf_emu_pinned_take(size_t bytes);
void rf_emu_pinned_give(void *p);
bool rf_emu_pinned(const void *p);

#endif
