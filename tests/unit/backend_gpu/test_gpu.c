/* The GPU backend as a device on the emulated drivers: opening by name, what auto does, memory and streams, refusals with
 * numbers, and the k-th driver call or allocation of a small life failing. RF_TEST_DEVICE names the device. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/backend.h"
#include "backend/gpu/driver.h"
#include "backend/probe.h"
#include "base/mem.h"
#include "check.h"

static const char *device;
static void set(const char *name, const char *value) { value ? setenv(name, value, 1) : unsetenv(name); }

static rf_status try_open(const char *name, struct rf_backend **b, struct rf_error *err)
{
    *err = (struct rf_error){0};
    return rf_backend_open(b, &(struct rf_backend_options){.device = name, .n_threads = 1}, err);
}

TEST(opens_by_name)
{
    struct rf_backend *b;
    struct rf_error err;
    char kind[8] = "", many[16], word[16];
    memcpy(kind, device, strcspn(device, ":"));
    REQUIRE(try_open(device, &b, &err) == RF_OK);
    CHECK_STR(b->info.name, device);
    CHECK(strstr(b->info.detail, "emulator") && b->info.memory_total == 1u << 30 && b->info.memory_free <= b->info.memory_total);
    CHECK(!b->info.host_memory && b->info.fine_inputs);
    void *const *p = (void *const *)b->mem, *const *q = (void *const *)b->ops;
    for (size_t i = 0; i < sizeof *b->mem / sizeof(void *); i++) CHECK(p[i] != NULL);
    for (size_t i = 0; i < sizeof *b->ops / sizeof(void *); i++) CHECK(q[i] != NULL);
    rf_backend_close(b);
    REQUIRE(try_open(kind, &b, &err) == RF_OK);
    rf_backend_close(b);
    snprintf(many, sizeof many, "%s:7", kind);
    snprintf(word, sizeof word, "%s:x", kind);
    CHECK_INT(try_open(many, &b, &err), RF_INVALID);
    CHECK(strstr(err.message, many) && strstr(err.message, "there is 1"));
    CHECK_INT(try_open(word, &b, &err), RF_INVALID);
    CHECK(strstr(err.message, "auto, cpu, cuda:N, hip:N"));
}

TEST(auto_takes_a_gpu_or_says_why_not)
{
    struct rf_backend *b;
    struct rf_error err;
    REQUIRE(try_open("auto", &b, &err) == RF_OK);
    CHECK_STR(b->info.name, "hip:0"); /* AMD is asked before NVIDIA */
    rf_backend_close(b);
    set("RF_EMU_DEVICES", "0");
    REQUIRE(try_open("auto", &b, &err) == RF_OK);
    CHECK_STR(b->info.name, "cpu");
    rf_backend_close(b);
    CHECK_INT(try_open(device, &b, &err), RF_NOT_FOUND);
    set("RF_EMU_DEVICES", NULL);
    set("RF_EMU_FAIL_AT", "1"); /* a card that is there and does not start: never silently the CPU */
    CHECK_INT(try_open("auto", &b, &err), RF_DEVICE);
    CHECK(strstr(err.message, "hip") && strstr(err.message, "700") && strstr(err.message, "--device cpu"));
    CHECK(strstr(err.message, "--allow-cpu"));
    REQUIRE(try_open("cpu", &b, &err) == RF_OK);
    CHECK(!strstr(b->info.detail, "instead of"));
    rf_backend_close(b);
    REQUIRE(rf_backend_open(&b, &(struct rf_backend_options){.device = "auto", .n_threads = 1, .allow_cpu = true}, &err) == RF_OK);
    CHECK_STR(b->info.name, "cpu"); /* allowed: and it says what it is there for */
    CHECK(strstr(b->info.detail, "instead of") && strstr(b->info.detail, "700"));
    rf_backend_close(b);
    CHECK_INT(rf_backend_open(&b, &(struct rf_backend_options){.device = device, .n_threads = 1, .allow_cpu = true}, &err), RF_DEVICE);
    set("RF_EMU_FAIL_AT", NULL);
}

/* Stands before the C library's: a device node that is there and may not be opened. */
static bool kfd_refuses, kfd_there;
int access(const char *path, int mode)
{
    struct stat st;
    errno = EACCES;
    if (!strcmp(path, "/dev/kfd") && (kfd_there || kfd_refuses)) return mode == F_OK || !kfd_refuses ? 0 : -1;
    return stat(path, &st);
}

TEST(unusable_gpu_is_an_error_with_device_reason_remedy)
{
    bool hip = device[0] == 'h';
    static const struct { const char *init; bool refuses, there, hip, cuda; const char *says; } row[] = {
        {"100", true, true, true, false, "/dev/kfd may not be opened (Permission denied): add this user to the groups render and video"},
        {"101", false, true, true, false, "rocminfo"},
        {"35", false, false, false, true, "too old for this card"},
        {"804", false, false, false, true, "too old for this card"},
        {"803", false, false, false, true, "different versions"},
        {"999", false, true, true, true, "error 999"},
    };
    struct rf_backend *b;
    struct rf_error err;
    for (size_t i = 0; i < RF_COUNT(row); i++) {
        if (!(hip ? row[i].hip : row[i].cuda)) continue;
        set("RF_EMU_INIT", row[i].init);
        kfd_refuses = row[i].refuses, kfd_there = row[i].there;
        CHECK_INT(try_open(device, &b, &err), RF_DEVICE);
        CHECK(!b && strstr(err.message, row[i].says) && strstr(err.message, "--device cpu") && strstr(err.message, "--allow-cpu"));
        CHECK(!strncmp(err.message, hip ? "hip" : "cuda", 3));
        kfd_refuses = kfd_there = false;
    }
    set("RF_EMU_INIT", "100"); /* a driver and no card is no error */
    CHECK_INT(try_open(device, &b, &err), RF_NOT_FOUND);
    REQUIRE(try_open("auto", &b, &err) == RF_OK);
    CHECK_STR(b->info.name, "cpu");
    CHECK(!strstr(b->info.detail, "instead of"));
    rf_backend_close(b);
    set("RF_EMU_INIT", NULL);
}

TEST(no_code_object_for_the_card)
{
    struct rf_backend *b;
    struct rf_error err;
    set("RF_EMU_NO_CODE", "1");
    CHECK_INT(try_open(device, &b, &err), RF_DEVICE);
    CHECK(strstr(err.message, device) && strstr(err.message, "emulator, warp") && strstr(err.message, "no code object for"));
    CHECK(strstr(err.message, "error 209") && strstr(err.message, "-Dgpu_targets=all") && strstr(err.message, "--device cpu"));
    if (device[0] == 'c') CHECK(strstr(err.message, "sm_90"));
    CHECK_INT(try_open("auto", &b, &err), RF_DEVICE); /* the first card's error, not a later one's */
    CHECK(strstr(err.message, "hip:0"));
    REQUIRE(rf_backend_open(&b, &(struct rf_backend_options){.allow_cpu = true, .n_threads = 1}, &err) == RF_OK);
    CHECK(!strcmp(b->info.name, "cpu") && strstr(b->info.detail, "instead of hip:0"));
    rf_backend_close(b);
    set("RF_EMU_DEVICES", "2"); /* a second card that works serves, and says instead of what */
    REQUIRE(try_open("auto", &b, &err) == RF_OK);
    CHECK(!strcmp(b->info.name, "hip:1") && strstr(b->info.detail, "instead of hip:0"));
    rf_backend_close(b);
    set("RF_EMU_DEVICES", NULL);
    set("RF_EMU_NO_CODE", NULL);
}

TEST(code_is_tried_nearest_first)
{
    static const unsigned char byte[1];
#define OBJECT(vendor, arch) {vendor, arch, byte, 1, 1, -1}, {vendor, arch, byte, 1, 1, -1}
    static const struct rf_gpu_object all[] = {
        OBJECT("cuda", "sm_80"), OBJECT("cuda", "sm_86"), OBJECT("cuda", "sm_89"), OBJECT("cuda", "sm_90a"), OBJECT("cuda", "sm_100"), OBJECT("cuda", "ptx"),
        OBJECT("hip", "gfx906"), OBJECT("hip", "gfx1100"), OBJECT("hip", "gfx1101"), {NULL, NULL, NULL, 0, 0, -1}};
    static const struct { const char *vendor, *arch, *order; } row[] = {
        {"cuda", "sm_80", "sm_80 ptx sm_86 sm_89 sm_90a sm_100 "},
        {"cuda", "sm_87", "sm_86 sm_80 ptx sm_89 sm_90a sm_100 "},
        {"cuda", "sm_90", "sm_90a sm_89 sm_86 sm_80 ptx sm_100 "},
        {"cuda", "sm_103", "sm_100 sm_90a sm_89 sm_86 sm_80 ptx "},
        {"cuda", "sm_10", "ptx sm_80 sm_86 sm_89 sm_90a sm_100 "}, /* sm_100 is not it */
        {"cuda", "", "sm_80 sm_86 sm_89 sm_90a sm_100 ptx "},
        {"hip", "gfx1101", "gfx1101 gfx906 gfx1100 "},
        {"hip", "gfx90a", "gfx906 gfx1100 gfx1101 "},
        {"hip", "", "gfx906 gfx1100 gfx1101 "},
        {"metal", "sm_80", ""},
    };
    for (size_t i = 0; i < RF_COUNT(row); i++) {
        char order[128] = "";
        for (const struct rf_gpu_object *o = NULL; (o = rf_gpu_object_next(all, row[i].vendor, row[i].arch, o));) {
            size_t n = strlen(order);
            snprintf(order + n, sizeof order - n, "%s ", o->arch);
            CHECK((o - all) % 2 == 0); /* the first part */
        }
        CHECK_STR(order, row[i].order);
    }
}

static void put_node(const char *root, int node, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%d", root, node);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%d/properties", root, node);
    FILE *f = fopen(path, "we");
    REQUIRE(f);
    fputs(text, f);
    fclose(f);
}

TEST(kernel_driver_names_amd_architectures)
{
    char root[] = "/tmp/rf-kfd-XXXXXX", arch[32], command[64];
    REQUIRE(mkdtemp(root));
    put_node(root, 0, "cpu_cores_count 16\nsimd_count 0\ngfx_target_version 0\n");
    put_node(root, 1, "cpu_cores_count 0\nsimd_count 440\ngfx_target_version 90010\n");
    put_node(root, 2, "simd_count 192\ngfx_target_version 110000\n");
    put_node(root, 3, "gfx_target_version 120001\nsimd_count 1\n");
    static const char *const want[] = {"gfx90a", "gfx1100", "gfx1201", ""};
    for (int i = 0; i < 4; i++) {
        rf_gpu_hip_arch(root, i, arch, sizeof arch);
        CHECK_STR(arch, want[i]);
    }
    set("HIP_VISIBLE_DEVICES", "1"); /* which of three different ones is not known */
    rf_gpu_hip_arch(root, 0, arch, sizeof arch);
    CHECK_STR(arch, "");
    put_node(root, 2, "gfx_target_version 90010\n");
    put_node(root, 3, "garbage");
    rf_gpu_hip_arch(root, 0, arch, sizeof arch);
    CHECK_STR(arch, "gfx90a");
    set("HIP_VISIBLE_DEVICES", NULL);
    rf_gpu_hip_arch("/nowhere", 0, arch, sizeof arch);
    CHECK_STR(arch, "");
    snprintf(command, sizeof command, "rm -r %s", root);
    CHECK_INT(system(command), 0);
}

TEST(probe_tells_what_is_there)
{
    struct rf_probe_gpu g[4];
    struct rf_probe_cpu cpu;
    size_t n = rf_probe_gpus(g, RF_COUNT(g)), mine = RF_COUNT(g);
    for (size_t i = 0; i < n; i++)
        if (!strcmp(g[i].id, device)) mine = i;
    REQUIRE(n == 2 && mine < n);
    CHECK(g[mine].found && g[mine].usable && !g[mine].reason[0] && g[mine].memory_total == 1u << 30);
    CHECK(g[mine].code[0] && g[mine].name[0] && g[mine].driver);
    CHECK(g[mine].upload_gbs > 0 && g[mine].download_gbs > 0);
    set("RF_EMU_FAIL_AT", "1");
    CHECK(rf_probe_gpus(g, RF_COUNT(g)) == 2 && g[mine].found && !g[mine].usable && strstr(g[mine].reason, "700"));
    set("RF_EMU_FAIL_AT", NULL);
    set("RF_EMU_DEVICES", "0");
    CHECK(rf_probe_gpus(g, RF_COUNT(g)) == 2 && !g[mine].found && !g[mine].usable && g[mine].reason[0]);
    set("RF_EMU_DEVICES", NULL);
    CHECK_INT(rf_probe_cpu(&cpu, 1, NULL), RF_OK);
    CHECK(cpu.read_gbs > 0 && cpu.n_threads == 1 && cpu.usable_cores > 0 && cpu.memory_free <= cpu.memory_total);
}

TEST(memory_streams_events)
{
    struct rf_backend *b;
    struct rf_error err;
    REQUIRE(try_open(device, &b, &err) == RF_OK);
    for (uint64_t n = 0; n < 10000; n = n * 3 + 1) {
        rf_dev p;
        REQUIRE(b->mem->alloc(b, n, &p, &err) == RF_OK);
        CHECK(p && p % 64 == 0);
        unsigned char *got = calloc(n + 1, 1), *data = malloc(n + 1);
        memset(data, 0xa5, n + 1);
        memset(got, 1, n + 1);
        CHECK_INT(b->mem->download(b, NULL, got, p, n), RF_OK);
        CHECK_INT(b->mem->stream_sync(b, NULL), RF_OK);
        for (uint64_t i = 0; i < n; i++) CHECK_INT(got[i], 0);
        CHECK_INT(b->mem->upload(b, NULL, p, data, n), RF_OK);
        CHECK_INT(b->mem->download(b, NULL, got, p, n), RF_OK);
        CHECK_INT(b->mem->stream_sync(b, NULL), RF_OK);
        CHECK(!memcmp(got, data, n));
        free(got), free(data);
        b->mem->free(b, p);
    }
    b->mem->free(b, 0);
    rf_dev p;
    uint64_t before = b->info.memory_free;
    CHECK_INT(b->mem->alloc(b, UINT64_MAX, &p, &err), RF_NOMEM);
    CHECK(!p && strstr(err.message, "18446744073709551615") && strstr(err.message, "1073741824"));
    REQUIRE(b->mem->alloc(b, 1 << 20, &p, &err) == RF_OK);
    CHECK_INT(b->info.memory_free, before - (1 << 20));
    b->mem->free(b, p);
    CHECK_INT(b->info.memory_free, before);
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

TEST(too_large_is_refused_with_numbers)
{
    struct rf_backend *b;
    struct rf_error err;
    struct rf_weight *w;
    struct rf_kv_store *kv;
    bool copied;
    static float x[1024 * 1024];
    set("RF_EMU_MEMORY", "1048576");
    REQUIRE(try_open(device, &b, &err) == RF_OK);
    struct rf_weight_desc d = {.name = "blk.0.ffn", .type = RF_TYPE_F32, .rows = 1024, .cols = 1024, .data = x};
    CHECK_INT(b->mem->weight_create(b, &d, &w, &copied, &err), RF_NOMEM);
    CHECK(!w && strstr(err.message, "blk.0.ffn needs 4194304 bytes") && strstr(err.message, "of 1048576"));
    struct rf_kv_desc k = {.n_block = 1000, .n_slot = 2, .n_kv_head = 2, .head_dim = 64, .type = RF_KV_F16};
    CHECK_INT(b->mem->kv_create(b, &k, &kv, &err), RF_NOMEM);
    CHECK(!kv && strstr(err.message, "KV cache needs 16384000 bytes"));
    k.n_block = k.n_slot = k.n_kv_head = UINT32_MAX;
    CHECK_INT(b->mem->kv_create(b, &k, &kv, &err), RF_TOO_LARGE);
    k = (struct rf_kv_desc){.n_block = 0, .n_slot = 1, .n_kv_head = 1, .head_dim = 8, .type = RF_KV_F32};
    CHECK_INT(b->mem->kv_create(b, &k, &kv, &err), RF_OK);
    b->mem->kv_free(b, kv);
    b->mem->kv_free(b, NULL);
    b->mem->weight_free(b, NULL);
    rf_backend_close(b);
    set("RF_EMU_MEMORY", NULL);
}

/* ---- a small life: open, weights, cache, a step of every slot ---- */

enum { VOCAB = 32, EMBD = 64, HEADS = 2, DIM = 32, TOKENS = 3 };

static rf_status slots(struct rf_backend *b, struct rf_weight *w, struct rf_kv_store *kv, rf_dev x, rf_dev y, rf_dev ones)
{
    int32_t tok[TOKENS] = {1, 2, 3}, pos[TOKENS] = {0, 1, 2}, first[] = {0, TOKENS}, table[] = {1}, out[] = {2}, from[] = {1}, to[] = {0};
    const int32_t *tables[] = {table};
    struct rf_choice choice = {.by = RF_CHOICE_DRAW, .scale = 1, .top_k = 3, .top_p = RF_CHOICE_ALL, .draw = 1, .n_top = -1};
    struct rf_batch batch = {.n_tok = TOKENS, .n_seq = 1, .n_out = 1, .n_group = 1, .token = tok, .pos = pos, .seq_first = first,
                             .out_row = out, .block_table = tables, .table_stride = 1, .choice = &choice};
    const struct rf_backend_ops *o = b->ops;
    RF_TRY(o->batch_begin(b, NULL, &batch));
    RF_TRY(o->embed(b, NULL, &(struct rf_embed_args){.w = w, .out = x, .scale = 1}));
    RF_TRY(o->rmsnorm(b, NULL, &(struct rf_rmsnorm_args){.x = x, .w = ones, .y = y, .rows = TOKENS, .cols = EMBD, .x_stride = EMBD, .y_stride = EMBD, .eps = 1e-6f}));
    RF_TRY(o->matmul(b, NULL, &(struct rf_matmul_args){.x = y, .rows = TOKENS, .n_w = 1, .w = {w}, .out = {x}, .out_stride = {EMBD}}));
    struct rf_rope_kv_args r = {.q = x, .k = x, .v = x, .q_stride = EMBD, .kv_stride = EMBD, .n_head = HEADS, .n_kv_head = HEADS, .head_dim = DIM,
                                .rot_dim = DIM, .style = RF_ROPE_NEOX, .inv_freq = ones, .mscale = 1, .kv = kv};
    RF_TRY(o->rope_kv(b, NULL, &r));
    struct rf_attention_args a = {.q = x, .out = y, .q_stride = EMBD, .out_stride = EMBD, .n_head = HEADS, .n_kv_head = HEADS, .head_dim = DIM,
                                  .scale = 1, .kv = kv};
    RF_TRY(o->attention(b, NULL, &a));
    RF_TRY(o->glu(b, NULL, &(struct rf_glu_args){.gate = x, .up = y, .out = x, .rows = TOKENS, .cols = EMBD}));
    RF_TRY(o->add(b, NULL, &(struct rf_add_args){.a = x, .b = y, .out = x, .n = TOKENS * EMBD, .b_scale = 1}));
    RF_TRY(o->softcap(b, NULL, &(struct rf_softcap_args){.x = x, .n = TOKENS * EMBD, .cap = 3, .scale = 1}));
    RF_TRY(o->gather(b, NULL, &(struct rf_gather_args){.x = x, .out = y, .cols = EMBD}));
    RF_TRY(o->choose(b, NULL, &(struct rf_choose_args){.logits = x, .chosen = y, .top = y, .n_vocab = EMBD}));
    return o->kv_copy(b, NULL, &(struct rf_kv_copy_args){.kv = kv, .from = from, .to = to, .n = 1});
}

static rf_status life(char *detail, size_t cap)
{
    struct rf_backend *b;
    struct rf_error err;
    struct rf_weight *w = NULL;
    struct rf_kv_store *kv = NULL;
    rf_dev x = 0, y = 0, ones = 0;
    float data[VOCAB * EMBD], one[EMBD], back[TOKENS * EMBD];
    bool copied;
    for (int i = 0; i < VOCAB * EMBD; i++) data[i] = (float)(i % 17) / 16;
    for (int i = 0; i < EMBD; i++) one[i] = 1;
    detail[0] = 0;
    rf_status s = try_open(device, &b, &err);
    if (s) {
        CHECK(!b && err.message[0]);
        return s;
    }
    struct rf_weight_desc d = {.name = "w", .type = RF_TYPE_F32, .rows = VOCAB, .cols = EMBD, .data = data, .gather = true};
    struct rf_kv_desc k = {.n_block = 2, .n_slot = 1, .n_kv_head = HEADS, .head_dim = DIM, .type = RF_KV_F16};
    s = b->mem->weight_create(b, &d, &w, &copied, &err);
    if (!s) s = b->mem->kv_create(b, &k, &kv, &err);
    if (!s) s = b->mem->alloc(b, sizeof back, &x, &err);
    if (!s) s = b->mem->alloc(b, sizeof back, &y, &err);
    if (!s) s = b->mem->alloc(b, sizeof one, &ones, &err);
    if (s) CHECK(err.message[0]);
    if (!s) s = b->mem->upload(b, NULL, ones, one, sizeof one);
    if (!s) s = slots(b, w, kv, x, y, ones);
    if (!s) s = b->mem->download(b, NULL, back, y, sizeof back);
    if (!s) s = b->mem->stream_sync(b, NULL);
    snprintf(detail, cap, "%s", b->info.detail);
    if (strstr(detail, "failed:")) CHECK_INT(b->ops->add(b, NULL, &(struct rf_add_args){.a = x, .b = x, .out = x, .n = 1}), RF_DEVICE); /* sticky */
    b->mem->free(b, x), b->mem->free(b, y), b->mem->free(b, ones);
    b->mem->kv_free(b, kv);
    b->mem->weight_free(b, w);
    rf_backend_close(b);
    return s;
}

TEST(every_driver_call_fails_once)
{
    char detail[256], at[16];
    rf_status s = RF_DEVICE;
    int k = 0, in_slots = 0;
    while (s && k < 2000) {
        snprintf(at, sizeof at, "%d", ++k);
        set("RF_EMU_FAIL_AT", at);
        s = life(detail, sizeof detail);
        if (s) CHECK_INT(s == RF_DEVICE || s == RF_NOMEM, true);
        in_slots += strstr(detail, "failed:") && strstr(detail, "emulated fault (error 700)");
    }
    set("RF_EMU_FAIL_AT", NULL);
    printf("# %d driver calls, %d of them in slots\n", k, in_slots);
    CHECK(!s && k > 100 && in_slots > 20);
}

TEST(every_allocation_fails_once)
{
    char detail[256];
    rf_status s = RF_NOMEM;
    uint64_t k = 0;
    while (s && k < 200) {
        rf_mem_fail_at(++k);
        s = life(detail, sizeof detail);
        rf_mem_fail_at(0);
        if (s) CHECK_INT(s, RF_NOMEM);
    }
    printf("# %d allocations\n", (int)k);
    CHECK(!s && k > 3);
}

int main(void)
{
    device = getenv("RF_TEST_DEVICE") ? getenv("RF_TEST_DEVICE") : "cuda:0";
    RUN(opens_by_name);
    RUN(auto_takes_a_gpu_or_says_why_not);
    RUN(unusable_gpu_is_an_error_with_device_reason_remedy);
    RUN(no_code_object_for_the_card);
    RUN(code_is_tried_nearest_first);
    RUN(kernel_driver_names_amd_architectures);
    RUN(probe_tells_what_is_there);
    RUN(memory_streams_events);
    RUN(too_large_is_refused_with_numbers);
    RUN(every_driver_call_fails_once);
    RUN(every_allocation_fails_once);
    return check_end();
}
