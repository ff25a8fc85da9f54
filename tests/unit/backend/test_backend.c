/* The door: opening by name, memory, streams and events, what is refused, and what happens when memory runs out. */
#include "backend/backend.h"
#include "base/mem.h"
#include "base/rng.h"
#include "check.h"

/* Under sanitizers an impossible size is NULL, as without them. */
const char *__asan_default_options(void), *__tsan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

TEST(opens_by_name)
{
    struct rf_error err = {0};
    static const char *const good[] = {NULL, "", "auto", "cpu"};
    for (size_t i = 0; i < RF_COUNT(good); i++) {
        struct rf_backend *b;
        struct rf_backend_options o = {.device = good[i], .n_threads = 1};
        REQUIRE(rf_backend_open(&b, &o, &err) == RF_OK);
        CHECK_STR(b->info.name, "cpu");
        CHECK(b->info.memory_total > 0 && b->info.memory_free > 0 && b->info.memory_free <= b->info.memory_total);
        CHECK_INT(b->info.n_threads, 1);
        CHECK(!b->info.fine_inputs);
        CHECK(strstr(b->info.detail, "1 thread of"));
        rf_backend_close(b);
    }
    struct rf_backend *b;
    REQUIRE(rf_backend_open(&b, NULL, &err) == RF_OK);
    CHECK(b->info.n_threads >= 1);
    printf("# %s\n", b->info.detail);
    rf_backend_close(b);
    rf_backend_close(NULL);
}

TEST(unknown_names_list_what_exists)
{
    struct rf_backend *b = (struct rf_backend *)1;
    struct rf_error err = {0};
    CHECK_INT(rf_backend_open(&b, &(struct rf_backend_options){.device = "tpu"}, &err), RF_INVALID);
    CHECK(!b && strstr(err.message, "tpu") && strstr(err.message, "auto, cpu"));
    CHECK_STR(err.param, "device");
    CHECK_INT(rf_backend_open(&b, &(struct rf_backend_options){.isa = "mmx"}, &err), RF_INVALID);
    CHECK_STR(err.param, "isa");
    CHECK_INT(rf_backend_open(&b, &(struct rf_backend_options){.n_threads = 5000}, &err), RF_INVALID);
    CHECK_STR(err.param, "n_threads");
}

TEST(no_hole_in_the_tables)
{
    struct rf_backend *b;
    REQUIRE(rf_backend_open(&b, &(struct rf_backend_options){.n_threads = 1}, NULL) == RF_OK);
    void *const *p = (void *const *)b->mem, *const *q = (void *const *)b->ops;
    for (size_t i = 0; i < sizeof *b->mem / sizeof(void *); i++) CHECK(p[i] != NULL);
    const size_t choose = offsetof(struct rf_backend_ops, choose) / sizeof(void *); /* the one that may be missing, and says so */
    for (size_t i = 0; i < sizeof *b->ops / sizeof(void *); i++) CHECK(q[i] != NULL || (i == choose && !b->info.choose_vocab));
    rf_backend_close(b);
}

TEST(memory_streams_events)
{
    struct rf_backend *b;
    struct rf_error err = {0};
    REQUIRE(rf_backend_open(&b, &(struct rf_backend_options){.n_threads = 1}, &err) == RF_OK);
    for (uint64_t n = 0; n < 10000; n = n * 3 + 1) {
        rf_dev p;
        REQUIRE(b->mem->alloc(b, n, &p, &err) == RF_OK);
        CHECK(p && p % 64 == 0);
        unsigned char *got = calloc(n + 1, 1), *data = malloc(n + 1);
        memset(data, 0xa5, n + 1);
        memset(got, 1, n + 1);
        CHECK_INT(b->mem->download(b, NULL, got, p, n), RF_OK);
        for (uint64_t i = 0; i < n; i++) CHECK_INT(got[i], 0);
        CHECK_INT(b->mem->upload(b, NULL, p, data, n), RF_OK);
        CHECK_INT(b->mem->download(b, NULL, got, p, n), RF_OK);
        CHECK(!memcmp(got, data, n));
        free(got), free(data);
        b->mem->free(b, p);
    }
    b->mem->free(b, 0);
    rf_dev p;
    CHECK_INT(b->mem->alloc(b, UINT64_MAX, &p, &err), RF_NOMEM);
    CHECK(!p);
    CHECK_INT(b->mem->alloc(b, (uint64_t)1 << 62, &p, &err), RF_NOMEM);
    CHECK(strstr(err.message, "4611686018427387904"));
    struct rf_stream *s;
    struct rf_dev_event *e;
    REQUIRE(b->mem->stream_create(b, &s, &err) == RF_OK && b->mem->event_create(b, &e, &err) == RF_OK);
    CHECK_INT(b->mem->event_record(b, e, s), RF_OK);
    CHECK_INT(b->mem->event_wait(b, NULL, e), RF_OK);
    CHECK_INT(b->mem->event_sync(b, e), RF_OK);
    CHECK_INT(b->mem->stream_sync(b, s), RF_OK);
    b->mem->event_free(b, e);
    b->mem->stream_free(b, s);
    rf_backend_close(b);
}

TEST(kv_stores_that_cannot_be)
{
    struct rf_backend *b;
    struct rf_error err = {0};
    struct rf_kv_store *kv = (struct rf_kv_store *)1;
    REQUIRE(rf_backend_open(&b, &(struct rf_backend_options){.n_threads = 1}, &err) == RF_OK);
    struct rf_kv_desc good = {.n_block = 4, .n_slot = 2, .n_kv_head = 2, .head_dim = 64, .type = RF_KV_F16}, d = good;
    CHECK_INT(b->mem->kv_block_bytes(b, &good), 2 * 2 * 2 * 16 * 64 * 2);
    d.head_dim = 60;
    CHECK_INT(b->mem->kv_create(b, &d, &kv, &err), RF_UNSUPPORTED);
    CHECK(!kv && strstr(err.message, "60"));
    d.head_dim = 264;
    CHECK_INT(b->mem->kv_create(b, &d, &kv, &err), RF_UNSUPPORTED);
    d.head_dim = 0;
    CHECK_INT(b->mem->kv_create(b, &d, &kv, &err), RF_UNSUPPORTED);
    d = good, d.type = RF_KV_AUTO;
    CHECK_INT(b->mem->kv_create(b, &d, &kv, &err), RF_INVALID);
    d = good, d.n_block = d.n_slot = d.n_kv_head = UINT32_MAX;
    CHECK_INT(b->mem->kv_create(b, &d, &kv, &err), RF_TOO_LARGE);
    CHECK(b->mem->kv_block_bytes(b, &d) > (uint64_t)1 << 62);
    d = good, d.n_block = UINT32_MAX, d.n_slot = 1u << 16;
    CHECK_INT(b->mem->kv_create(b, &d, &kv, &err), RF_NOMEM);
    d = good, d.n_block = 0;
    CHECK_INT(b->mem->kv_create(b, &d, &kv, &err), RF_OK);
    b->mem->kv_free(b, kv);
    b->mem->kv_free(b, NULL);
    rf_backend_close(b);
}

/* ---- a small life: open, weights, cache, a step; every allocation of it fails once ---- */

enum { VOCAB = 64, EMBD = 64, HEADS = 2, DIM = 32, PAST = 40 };

static rf_status one_step(struct rf_backend *b, struct rf_weight *embd, struct rf_weight *wq, struct rf_kv_store *kv, const float *ones,
                          float *x)
{
    static int32_t pos[PAST + 1], token[PAST + 1], first[] = {0, PAST, PAST + 1}, table[] = {3, 1, 0, -1, -1, 2, -1, -1, -1, -1};
    for (int i = 0; i < PAST; i++) pos[i] = i, token[i] = i;
    const int32_t *tables[] = {table};
    struct rf_batch batch = {.n_tok = PAST + 1, .n_seq = 2, .n_group = 1, .token = token, .pos = pos, .seq_first = first,
                             .block_table = tables, .table_stride = 5};
    size_t n = (PAST + 1) * EMBD;
    float *k = x + n, *v = k + n, *o = v + n, inv_freq[DIM / 2];
    for (int i = 0; i < DIM / 2; i++) inv_freq[i] = 1.0f / (float)(1 + i);
    RF_TRY(b->ops->batch_begin(b, NULL, &batch));
    RF_TRY(b->ops->embed(b, NULL, &(struct rf_embed_args){.w = embd, .out = (rf_dev)x, .scale = 1}));
    RF_TRY(b->ops->rmsnorm(b, NULL, &(struct rf_rmsnorm_args){.x = (rf_dev)x, .w = (rf_dev)ones, .y = (rf_dev)x, .rows = PAST + 1,
                           .cols = EMBD, .x_stride = EMBD, .y_stride = EMBD, .eps = 1e-6f}));
    struct rf_matmul_args m = {.x = (rf_dev)x, .rows = PAST + 1, .n_w = 2, .w = {wq, wq}, .out = {(rf_dev)k, (rf_dev)v},
                               .out_stride = {EMBD, EMBD}};
    RF_TRY(b->ops->matmul(b, NULL, &m));
    RF_TRY(b->ops->rope_kv(b, NULL, &(struct rf_rope_kv_args){.q = (rf_dev)x, .k = (rf_dev)k, .v = (rf_dev)v, .q_stride = EMBD,
                           .kv_stride = EMBD, .n_head = HEADS, .n_kv_head = HEADS, .head_dim = DIM, .rot_dim = DIM,
                           .style = RF_ROPE_NEOX, .inv_freq = (rf_dev)inv_freq, .mscale = 1, .kv = kv}));
    return b->ops->attention(b, NULL, &(struct rf_attention_args){.q = (rf_dev)x, .out = (rf_dev)o, .q_stride = EMBD, .out_stride = EMBD,
                             .n_head = HEADS, .n_kv_head = HEADS, .head_dim = DIM, .scale = 0.2f, .kv = kv});
}

struct life { struct rf_backend *b; struct rf_weight *embd, *wq; struct rf_kv_store *kv; rf_dev x; float *ones; bool in_step; };

static rf_status life_begin(struct life *l, const float *data, struct rf_error *err)
{
    bool copied;
    RF_TRY(rf_backend_open(&l->b, &(struct rf_backend_options){.n_threads = 2}, err));
    struct rf_weight_desc d = {.name = "embd", .type = RF_TYPE_F32, .rows = VOCAB, .cols = EMBD, .data = data, .gather = true};
    RF_TRY(l->b->mem->weight_create(l->b, &d, &l->embd, &copied, err));
    d = (struct rf_weight_desc){.name = "wq", .type = RF_TYPE_F32, .rows = EMBD, .cols = EMBD, .data = data};
    RF_TRY(l->b->mem->weight_create(l->b, &d, &l->wq, &copied, err));
    struct rf_kv_desc k = {.n_block = 4, .n_slot = 1, .n_kv_head = HEADS, .head_dim = DIM, .type = RF_KV_F16};
    RF_TRY(l->b->mem->kv_create(l->b, &k, &l->kv, err));
    return l->b->mem->alloc(l->b, 4 * (PAST + 1) * EMBD * sizeof(float), &l->x, err);
}

static void life_end(struct life *l)
{
    if (!l->b) return;
    l->b->mem->free(l->b, l->x);
    l->b->mem->kv_free(l->b, l->kv);
    if (l->wq) l->b->mem->weight_free(l->b, l->wq);
    if (l->embd) l->b->mem->weight_free(l->b, l->embd);
    rf_backend_close(l->b);
}

TEST(every_allocation_may_fail)
{
    static float data[VOCAB * EMBD], ones[EMBD], want[(PAST + 1) * EMBD];
    struct rf_rng r = {check_seed()};
    for (int i = 0; i < VOCAB * EMBD; i++) data[i] = (float)rf_rng_normal(&r);
    for (int i = 0; i < EMBD; i++) ones[i] = 1;
    size_t out = 3 * (PAST + 1) * EMBD;
    int n_fail = 0;
    for (uint64_t k = 0; k < 1000; k++) { /* k = 0: nothing fails */
        struct life l = {0};
        struct rf_error err = {0};
        uint64_t before = rf_mem_count();
        rf_mem_fail_at(k);
        rf_status s = life_begin(&l, data, &err);
        if (s) {
            CHECK_INT(s, RF_NOMEM);
            CHECK_INT(err.status, RF_NOMEM);
            CHECK(strpbrk(err.message, "0123456789")); /* says how much was wanted */
        } else if ((s = one_step(l.b, l.embd, l.wq, l.kv, ones, (float *)l.x))) {
            CHECK_INT(s, RF_NOMEM);
            CHECK_INT(one_step(l.b, l.embd, l.wq, l.kv, ones, (float *)l.x), RF_OK); /* once there is memory, it goes on */
            CHECK(!memcmp((float *)l.x + out, want, sizeof want));
        } else if (k == 0) {
            memcpy(want, (float *)l.x + out, sizeof want);
            uint64_t calls = rf_mem_count();
            CHECK_INT(one_step(l.b, l.embd, l.wq, l.kv, ones, (float *)l.x), RF_OK);
            CHECK_INT(rf_mem_count(), calls); /* a step like the last one allocates nothing */
        }
        rf_mem_fail_at(0);
        bool reached = rf_mem_count() - before >= k;
        life_end(&l);
        n_fail += s != RF_OK;
        if (!s && k && !reached) break;
    }
    printf("# %d failing allocations survived\n", n_fail);
    CHECK(n_fail > 8);
}

int main(void)
{
    RUN(opens_by_name);
    RUN(unknown_names_list_what_exists);
    RUN(no_hole_in_the_tables);
    RUN(memory_streams_events);
    RUN(kv_stores_that_cannot_be);
    RUN(every_allocation_may_fail);
    return check_end();
}
