/* sample.c - the slot choose: choices go up with the step's plan, kernels/sample.gpu makes tokens of them. */
#include <string.h>

#include "backend/gpu/gpu.h"
#include "base/mem.h"

enum { ROW_INTS = sizeof(struct sample_row) / sizeof(int32_t), EDIT_INTS = sizeof(struct sample_edit) / sizeof(int32_t) };

_Static_assert(sizeof(struct sample_chosen) == sizeof(struct rf_chosen) && sizeof(struct rf_chosen_top) == 8, "the device writes these");
_Static_assert((int)RF_GPU_CHOSEN_TOKEN == (int)RF_CHOSEN_TOKEN, "the device reads it");
_Static_assert((int)RF_GPU_SAMPLE_TOP == (int)RF_CHOICE_TOP, "lists of logprobs");

size_t rf_gpu_sample_ints(const struct rf_batch *batch, size_t n_out)
{
    size_t n = 1 + n_out * ROW_INTS; /* 1: rows begin at a multiple of 8 bytes */
    if (!batch->choice) return 0;
    for (uint32_t i = 0; i < batch->n_out; i++) n += (size_t)batch->choice[i].n_edit * EDIT_INTS;
    return n;
}

void rf_gpu_sample_plan(const struct rf_batch *batch, size_t n_out, int32_t *plan, size_t at)
{
    if (!batch->choice) return;
    at = (at + 1) & ~(size_t)1;
    struct sample_row *row = (struct sample_row *)(plan + at);
    struct sample_edit *edit = (struct sample_edit *)(row + n_out);
    uint32_t n_edit = 0;
    plan[RF_GPU_PLAN_ROWS] = (int32_t)at;
    plan[RF_GPU_PLAN_EDITS] = (int32_t)(at + n_out * ROW_INTS);
    memset(row, 0, n_out * sizeof *row);
    for (uint32_t i = 0; i < batch->n_out; i++) {
        const struct rf_choice *c = &batch->choice[i];
        row[i] = (struct sample_row){.draw = c->draw, .top_p = c->top_p, .by = c->by, .top_k = c->top_k, .edit_first = n_edit, .n_edit = c->n_edit,
                                     .scale = c->scale, .min_p = c->min_p, .n_top = RF_MIN(c->n_top, (int32_t)RF_CHOICE_TOP)};
        for (uint32_t k = 0; k < c->n_edit; k++, n_edit++) {
            const struct rf_choice_edit *e = &c->edit[k];
            edit[n_edit] = (struct sample_edit){.token = (unsigned)e->token, .add = e->add, .divide = e->divide, .minus = e->minus};
        }
    }
}

static uint32_t strips_of(uint32_t n_vocab) { return (n_vocab + RF_GPU_SAMPLE_STRIP - 1) / RF_GPU_SAMPLE_STRIP; }

/* Places of what `n` strips leave for each other, behind their structs. */
struct places { uint64_t top, group, list, all; };
static struct places places_of(uint64_t n)
{
    struct places p = {.top = n * sizeof(struct sample_strip)};
    p.group = p.top + n * RF_GPU_SAMPLE_TOP * sizeof(struct rf_chosen_top);
    p.list = p.group + n * RF_GPU_SAMPLE_GROUPS * sizeof(float);
    p.all = p.list + n * RF_GPU_SAMPLE_LIST * sizeof(uint16_t);
    return p;
}

uint64_t rf_gpu_sample_scratch(uint32_t n_vocab, uint32_t rows) { return places_of((uint64_t)strips_of(n_vocab) * rows).all; }

rf_status rf_gpu_choose(struct rf_backend *b, struct rf_stream *s, const struct rf_choose_args *a)
{
    struct rf_gpu *g = rf_gpu_of(b);
    uint32_t n_strip = strips_of(a->n_vocab), n_row = g->at.n_out;
    if (!g->batch->choice || n_strip > RF_GPU_SAMPLE_STRIPS) return RF_INTERNAL;
    struct places at = places_of((uint64_t)n_strip * n_row);
    RF_TRY(rf_gpu_scratch_need(g, &g->work, at.all, "choosing tokens"));
    rf_dev dev = g->work.dev;
    struct sample_args p = {.logits = a->logits, .plan = g->plan.dev, .strip = dev, .group = dev + at.group, .list = dev + at.list, .top = dev + at.top,
                            .out = a->chosen, .out_top = a->top, .n_vocab = a->n_vocab, .n_strip = n_strip};
    RF_TRY(rf_gpu_launch_early(g, s, RF_GPU_K_sample_scan, n_strip, n_row, 1, 256, 0, &p));
    RF_TRY(rf_gpu_launch_early(g, s, RF_GPU_K_sample_weigh, n_strip, n_row, 1, 256, 0, &p));
    return rf_gpu_launch_early(g, s, RF_GPU_K_sample_pick, n_row, 1, 1, 512, 0, &p);
}
