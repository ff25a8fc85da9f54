#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/mem.h"

static bool sizes(const struct rf_kv_desc *d, size_t *slot_bytes, size_t *block_bytes)
{
    return rf_mul(d->n_kv_head, rf_kv_head_bytes(d->type, d->head_dim), slot_bytes) &&
           rf_mul(*slot_bytes, d->n_slot, block_bytes);
}

uint64_t rf_cpu_kv_block_bytes(const struct rf_backend *b, const struct rf_kv_desc *d)
{
    (void)b;
    size_t slot_bytes, block_bytes;
    return sizes(d, &slot_bytes, &block_bytes) ? block_bytes : UINT64_MAX;
}

rf_status rf_cpu_kv_create(struct rf_backend *b, const struct rf_kv_desc *d, struct rf_kv_store **out, struct rf_error *err)
{
    (void)b;
    *out = NULL;
    if (d->type != RF_KV_F16 && d->type != RF_KV_BF16 && d->type != RF_KV_F32)
        return rf_fail(err, RF_INVALID, "kv cache: type %d, expected f16, bf16 or f32", (int)d->type);
    if (!d->head_dim || d->head_dim % 8 || d->head_dim > RF_ATTN_HEAD_MAX)
        return rf_fail(err, RF_UNSUPPORTED, "kv cache: head size %u, this backend has multiples of 8 up to %d", d->head_dim,
                       (int)RF_ATTN_HEAD_MAX);
    struct rf_kv_store *kv = rf_alloc(sizeof *kv);
    if (!kv) return rf_fail_nomem(err, "kv cache", sizeof *kv);
    *kv = (struct rf_kv_store){.desc = *d};
    size_t bytes;
    if (!sizes(d, &kv->slot_bytes, &kv->block_bytes) || !rf_mul(kv->block_bytes, d->n_block, &bytes)) {
        rf_free(kv);
        return rf_fail(err, RF_TOO_LARGE, "kv cache: %u blocks of %u layers, %u heads of %u values overflow", d->n_block,
                       d->n_slot, d->n_kv_head, d->head_dim);
    }
    kv->data = rf_cpu_zeroed(bytes);
    if (!kv->data) {
        rf_free(kv);
        return rf_fail_nomem(err, "kv cache", bytes);
    }
    *out = kv;
    return RF_OK;
}

void rf_cpu_kv_free(struct rf_backend *b, struct rf_kv_store *kv)
{
    (void)b;
    if (!kv) return;
    rf_cpu_zeroed_free(kv->data);
    rf_free(kv);
}

rf_status rf_cpu_kv_copy(struct rf_backend *b, struct rf_stream *s, const struct rf_kv_copy_args *a)
{
    (void)b;
    (void)s;
    for (uint32_t i = 0; i < a->n; i++) {
        const uint8_t *from = rf_cpu_kv_head(a->kv, a->from[i], 0, 0);
        uint8_t *to = rf_cpu_kv_head(a->kv, a->to[i], 0, 0);
        if (!from || !to) return RF_INTERNAL;
        if (from != to) memcpy(to, from, a->kv->block_bytes);
    }
    return RF_OK;
}

bool rf_cpu_kv_fits(const struct rf_kv_store *kv, uint32_t slot, uint32_t n_kv_head, uint32_t head_dim)
{
    return slot < kv->desc.n_slot && head_dim && head_dim % 8 == 0 && head_dim <= RF_ATTN_HEAD_MAX &&
           n_kv_head * rf_kv_head_bytes(kv->desc.type, head_dim) <= kv->slot_bytes;
}
