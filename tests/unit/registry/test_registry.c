/* The registry over trees as other programs lay them out, made here file by file; every environment variable is ours. */
#include <fcntl.h>

#include "check.h"
#include "registry/registry.h"
#include "../format/ggufmake.h"

static const char hex_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char hex_b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/* Makes the folders above name, below mk_dir. */
static void folders(const char *name)
{
    char part[512];
    for (const char *p = strchr(name, '/'); p; p = strchr(p + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(p - name), name);
        mkdir(mk_path(part), 0700);
    }
}

static const char *text(const char *name, const char *s)
{
    folders(name);
    return mk_text(name, s);
}

/* A GGUF with a header and, unless vocab, one tensor of 32 values; the first of two parts where the name says so. */
static const char *gguf(const char *name, const char *arch, const char *type, int file_type, bool vocab)
{
    struct rf_buf b = {0};
    char key[64];
    const uint64_t dim[] = {32};
    snprintf(key, sizeof key, "%s.context_length", arch);
    bool split = strstr(name, "-of-00002") != NULL;
    mk_begin(&b, 3, vocab ? 0 : 1, split ? 7 : 4);
    mk_key(&b, "general.architecture", MK_STRING);
    mk_str(&b, arch);
    mk_key(&b, "general.type", MK_STRING);
    mk_str(&b, type);
    mk_kv(&b, "general.file_type", MK_U32, (uint64_t)file_type, 4);
    mk_kv(&b, key, MK_U32, 4096, 4);
    if (split) {
        mk_kv(&b, "split.no", MK_U16, 0, 2);
        mk_kv(&b, "split.count", MK_U16, 2, 2);
        mk_kv(&b, "split.tensors.count", MK_I32, 2, 4);
    }
    if (!vocab) mk_tensor(&b, "token_embd.weight", 1, dim, RF_TYPE_F32, 0);
    mk_pad(&b, 32);
    if (!vocab) mk_zeros(&b, 128);
    folders(name);
    const char *path = mk_write(name, b.data, b.len);
    rf_buf_release(&b);
    return path;
}

static int n_warn;
static char last_warning[1024];

static void on_warn(void *ctx, const char *line)
{
    (void)ctx;
    n_warn++;
    snprintf(last_warning, sizeof last_warning, "%s", line);
}

static struct rf_registry *open_with(const char *dir, const char *catalogue)
{
    struct rf_registry *r = NULL;
    const char *dirs[1] = {dir};
    struct rf_registry_options o = {.dirs = dirs, .n_dirs = dir ? 1 : 0, .catalogue = catalogue, .warn = on_warn};
    n_warn = 0;
    last_warning[0] = 0;
    CHECK_INT(rf_registry_open(&r, &o, NULL), RF_OK);
    return r;
}

/* A fresh home with nothing in it; every root is below it. */
static void begin(void)
{
    static const char *const unset[] = {"ROCMFORGE_MODEL_PATH", "XDG_DATA_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE", "HF_HOME",
                                        "OLLAMA_MODELS", "LLAMA_CACHE"};
    mk_dir_begin();
    for (size_t i = 0; i < RF_COUNT(unset); i++) unsetenv(unset[i]);
    setenv("HOME", mk_dir, 1);
    if (chdir(mk_dir)) abort();
}

static void end(void)
{
    if (chdir("/")) abort();
    mk_dir_end();
}

static const struct rf_model_entry *find(const struct rf_registry *r, const char *name)
{
    const struct rf_model_entry *m = rf_registry_find(r, name);
    if (!m) {
        printf("# not found: %s; there are:", name);
        for (size_t i = 0; i < rf_registry_n(r); i++) printf(" %s", rf_registry_at(r, i)->name);
        printf("\n");
    }
    CHECK(m);
    return m;
}

TEST(every_store_is_found)
{
    char manifest[512];
    begin();
    gguf("models/plain.gguf", "llama", "model", 15, false);
    gguf(".local/share/rocmforge/models/ours.gguf", "qwen2", "model", 7, false);
    gguf(".lmstudio/models/pub/repo/lm.gguf", "gemma3", "model", 1, false);
    gguf(".cache/llama.cpp/cached.gguf", "qwen3", "model", 2, false);
    gguf(".ollama/models/blobs/x", "llama", "model", 15, false);
    snprintf(manifest, sizeof manifest, ".ollama/models/blobs/sha256-%s", hex_a);
    rename(mk_path(".ollama/models/blobs/x"), mk_path(manifest));
    snprintf(manifest, sizeof manifest, "{\"schemaVersion\":2,\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.license\","
             "\"digest\":\"sha256:%s\"},{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:%s\"}]}", hex_b, hex_a);
    text(".ollama/models/manifests/registry.ollama.ai/library/qwen3/0.6b", manifest);
    text(".ollama/models/manifests/registry.ollama.ai/library/llama/latest", manifest);
    text(".ollama/models/manifests/hf.co/user/repo/Q4", manifest);
    text(".cache/huggingface/hub/models--Org--Name/refs/main", "c0ffee\n");
    text(".cache/huggingface/hub/models--Org--Name/snapshots/c0ffee/config.json",
         "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"max_position_embeddings\":2048}");
    struct rf_buf b = {0};
    mk_safetensors(&b, "{\"w\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}", 8);
    mk_write(".cache/huggingface/hub/models--Org--Name/snapshots/c0ffee/model.safetensors", b.data, b.len);
    rf_buf_release(&b);
    gguf(".cache/huggingface/hub/models--Org--Two/snapshots/1/q4/a.gguf", "llama", "model", 15, false);
    gguf(".cache/huggingface/hub/models--Org--Two/snapshots/1/b.gguf", "llama", "model", 7, false);
    struct rf_registry *r = open_with(NULL, "");
    static const struct { const char *name, *source, *arch, *quant; } want[] = {
        {"plain", "folder", "llama", "Q4_K_M"}, {"ours", "own", "qwen2", "Q8_0"}, {"lm", "lmstudio", "gemma3", "F16"},
        {"cached", "llama.cpp", "qwen3", "Q4_0"}, {"qwen3:0.6b", "ollama", "llama", "Q4_K_M"}, {"llama", "ollama", "llama", "Q4_K_M"},
        {"hf.co/user/repo:Q4", "ollama", "llama", "Q4_K_M"}, {"Org/Name", "huggingface", "llama", "BF16"},
        {"Org/Two:Q4_K_M", "huggingface", "llama", "Q4_K_M"}, {"Org/Two:Q8_0", "huggingface", "llama", "Q8_0"},
    };
    for (size_t i = 0; i < RF_COUNT(want); i++) {
        const struct rf_model_entry *m = find(r, want[i].name);
        if (!m) continue;
        CHECK_STR(m->source, want[i].source);
        CHECK_STR(m->architecture, want[i].arch);
        CHECK_STR(m->quantization, want[i].quant);
        CHECK(m->kind == RF_MODEL_CHAT && m->context && m->bytes);
    }
    CHECK_INT(rf_registry_n(r), RF_COUNT(want));
    CHECK_INT(n_warn, 0);
    rf_registry_close(r);
    end();
}

TEST(kinds_come_from_headers)
{
    begin();
    gguf("d/chat.gguf", "llama", "model", 1, false);
    gguf("d/lora.gguf", "llama", "adapter", 1, false);
    gguf("d/eyes.gguf", "clip", "mmproj", 1, false);
    gguf("d/words.gguf", "llama", "model", 1, true);
    gguf("d/embed.gguf", "bert", "model", 1, false);
    gguf("d/new.gguf", "hyperion", "model", 1, false);
    text("d/bad.gguf", "GGUFnonsense");
    gguf("d/split-00001-of-00002.gguf", "llama", "model", 1, false);
    struct rf_registry *r = open_with(mk_path("d"), "");
    static const struct { const char *name; enum rf_model_kind kind; } want[] = {
        {"chat", RF_MODEL_CHAT}, {"lora", RF_MODEL_ADAPTER}, {"eyes", RF_MODEL_PROJECTOR}, {"words", RF_MODEL_VOCABULARY},
        {"embed", RF_MODEL_EMBEDDING}, {"new", RF_MODEL_OTHER}, {"bad", RF_MODEL_BROKEN}, {"split", RF_MODEL_BROKEN},
    };
    for (size_t i = 0; i < RF_COUNT(want); i++) {
        const struct rf_model_entry *m = find(r, want[i].name);
        if (m) CHECK_STR(rf_model_kind_name(m->kind), rf_model_kind_name(want[i].kind));
        if (m && m->kind == RF_MODEL_BROKEN) CHECK(m->note[0]);
    }
    rf_registry_close(r);
    end();
}

TEST(equal_names_are_told_apart)
{
    begin();
    gguf("d/a/x/model.gguf", "llama", "model", 1, false);
    gguf("d/b/x/model.gguf", "llama", "model", 1, false);
    gguf("d/c/model.gguf", "llama", "model", 1, false);
    gguf("d/other.gguf", "llama", "model", 1, false);
    struct rf_registry *r = open_with(mk_path("d"), "");
    CHECK_INT(rf_registry_n(r), 4);
    find(r, "a/x/model");
    find(r, "b/x/model");
    find(r, "OTHER");
    CHECK(!rf_registry_find(r, "model"));
    rf_registry_close(r);
    end();
}

TEST(hostile_trees)
{
    begin();
    gguf("d/ok.gguf", "llama", "model", 1, false);
    folders("d/loop/x");
    CHECK(!symlink("..", mk_path("d/loop/up")));
    CHECK(!symlink("nowhere", mk_path("d/dangling.gguf")));
    CHECK(!mkfifo(mk_path("d/pipe.gguf"), 0600));
    text("d/.hidden.gguf", "x");
    /* Manifests that point out of the store, at nothing, at another program's servers. */
    text(".ollama/models/manifests/registry.ollama.ai/library/evil/latest",
         "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:../../../../etc/passwd\"}]}");
    text(".ollama/models/manifests/registry.ollama.ai/library/remote/latest", "{\"remote_host\":\"x\",\"layers\":[]}");
    text(".ollama/models/manifests/registry.ollama.ai/library/broken/latest", "{[[");
    text(".ollama/models/manifests/registry.ollama.ai/library/b ad/latest", "{}");
    char gone[300];
    snprintf(gone, sizeof gone, "{\"layers\":[{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:%s\"}]}", hex_b);
    text(".ollama/models/manifests/registry.ollama.ai/library/gone/latest", gone);
    struct rf_registry *r = open_with(mk_path("d"), "");
    find(r, "ok");
    const struct rf_model_entry *m = find(r, "gone");
    if (m) CHECK_INT(m->kind, RF_MODEL_BROKEN);
    CHECK(!rf_registry_find(r, "evil") && !rf_registry_find(r, "remote") && !rf_registry_find(r, "broken"));
    CHECK_INT(rf_registry_n(r), 2);
    CHECK_INT(n_warn, 3); /* dangling link, evil digest, broken manifest */
    rf_registry_close(r);
    end();
}

TEST(catalogue_remembers_and_notices)
{
    begin();
    const char *cat = "catalogue.db";
    gguf("d/a.gguf", "llama", "model", 15, false);
    struct rf_registry *r = open_with(mk_path("d"), mk_path(cat));
    CHECK_STR(find(r, "a")->quantization, "Q4_K_M");
    rf_registry_close(r);
    /* Same bytes of identity, other content: the remembered header answers, so nothing was opened. */
    struct stat st;
    CHECK(!stat(mk_path("d/a.gguf"), &st));
    FILE *f = fopen(mk_path("d/a.gguf"), "r+b");
    CHECK(f && fwrite("XXXX", 1, 4, f) == 4);
    if (f) fclose(f);
    struct timespec times[2] = {st.st_mtim, st.st_mtim};
    CHECK(!utimensat(AT_FDCWD, mk_path("d/a.gguf"), times, 0));
    r = open_with(mk_path("d"), mk_path(cat));
    CHECK_STR(find(r, "a")->quantization, "Q4_K_M");
    rf_registry_close(r);
    /* A new time: it is looked at again. */
    times[1].tv_sec++;
    CHECK(!utimensat(AT_FDCWD, mk_path("d/a.gguf"), times, 0));
    r = open_with(mk_path("d"), mk_path(cat));
    CHECK_INT(find(r, "a")->kind, RF_MODEL_BROKEN);
    rf_registry_close(r);
    /* A catalogue that is no database costs a warning. */
    text("junk.db", "this is no database, but it is long enough to be looked at as one ..................................");
    r = open_with(mk_path("d"), mk_path("junk.db"));
    CHECK_INT(n_warn, 1);
    CHECK_INT(rf_registry_n(r), 1);
    rf_registry_close(r);
    end();
}

TEST(the_shipped_model_is_listed_once)
{
    begin();
    const char *shipped = gguf("share/demo.gguf", "llama", "model", 7, false);
    for (int found_before = 0; found_before < 2; found_before++) {
        struct rf_registry *r = NULL;
        struct rf_registry_options o = {.catalogue = "", .shipped = shipped};
        if (found_before) {
            folders("models/x");
            CHECK(!symlink(shipped, mk_path("models/demo.gguf")));
        }
        CHECK_INT(rf_registry_open(&r, &o, NULL), RF_OK);
        CHECK_INT(rf_registry_n(r), 1);
        const struct rf_model_entry *m = find(r, "demo");
        if (m) CHECK_STR(m->source, found_before ? "folder" : "shipped");
        rf_registry_close(r);
    }
    end();
}

static rf_status remove_named(const char *name)
{
    struct rf_registry *r = open_with(NULL, "");
    const struct rf_model_entry *m = rf_registry_find(r, name);
    rf_status s = m ? rf_registry_remove(m, NULL) : RF_NOT_FOUND;
    rf_registry_close(r);
    return s;
}

static bool exists(const char *name)
{
    struct stat st;
    return !lstat(mk_path(name), &st);
}

#define OWN ".local/share/rocmforge/models/"
TEST(remove_touches_our_own_store_alone)
{
    begin();
    gguf("models/theirs.gguf", "llama", "model", 7, false);
    gguf(OWN "a.gguf", "llama", "model", 7, false);
    gguf(OWN "b.gguf", "llama", "model", 7, false);
    gguf(OWN "split-00001-of-00002.gguf", "llama", "model", 7, false);
    gguf(OWN "split-00002-of-00002.gguf", "llama", "model", 7, false);
    gguf("elsewhere/linked.gguf", "llama", "model", 7, false);
    CHECK(!symlink(mk_path("elsewhere/linked.gguf"), mk_path(OWN "linked.gguf")));
    CHECK_INT(remove_named("theirs"), RF_INVALID);
    CHECK(exists("models/theirs.gguf"));
    CHECK_INT(remove_named("a"), RF_OK);
    CHECK(!exists(OWN "a.gguf") && exists(OWN "b.gguf"));
    CHECK_INT(remove_named("split"), RF_OK);
    CHECK(!exists(OWN "split-00001-of-00002.gguf") && !exists(OWN "split-00002-of-00002.gguf"));
    CHECK_INT(remove_named("linked"), RF_OK);
    CHECK(!exists(OWN "linked.gguf") && exists("elsewhere/linked.gguf"));
    /* A folder model: its files go, a GGUF and a sub-folder beside them stay. */
    text(OWN "hf/config.json", "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\"}");
    struct rf_buf b = {0};
    mk_safetensors(&b, "{\"w\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}", 8);
    mk_write(OWN "hf/model.safetensors", b.data, b.len);
    rf_buf_release(&b);
    gguf(OWN "hf/other.gguf", "llama", "model", 7, false);
    CHECK_INT(remove_named("hf"), RF_OK);
    CHECK(!exists(OWN "hf/config.json") && !exists(OWN "hf/model.safetensors") && exists(OWN "hf/other.gguf"));
    /* An entry that lies about its path, and a folder of our store that leads out of it. */
    char outside[600];
    snprintf(outside, sizeof outside, "%s", mk_path("models/theirs.gguf"));
    struct rf_model_entry lie = {.name = "x", .source = "own", .path = outside};
    CHECK_INT(rf_registry_remove(&lie, NULL), RF_INVALID);
    folders("outside/deep/x");
    gguf("outside/deep/c.gguf", "llama", "model", 7, false);
    CHECK(!symlink(mk_path("outside"), mk_path(OWN "out")));
    CHECK_INT(remove_named("c"), RF_INVALID);
    CHECK(exists("outside/deep/c.gguf") && exists("models/theirs.gguf"));
    end();
}

TEST(failing_allocations)
{
    begin();
    gguf("d/a.gguf", "llama", "model", 15, false);
    gguf("d/b.gguf", "llama", "model", 15, false);
    for (uint64_t k = 1; k < 200; k++) {
        struct rf_registry *r = NULL;
        const char *dir = mk_path("d");
        struct rf_registry_options o = {.dirs = &dir, .n_dirs = 1, .catalogue = ""};
        rf_mem_fail_at(k);
        rf_status s = rf_registry_open(&r, &o, NULL);
        rf_mem_fail_at(0);
        CHECK(s == RF_OK || s == RF_NOMEM);
        rf_registry_close(r);
    }
    end();
}

int main(void)
{
    RUN(every_store_is_found);
    RUN(kinds_come_from_headers);
    RUN(equal_names_are_told_apart);
    RUN(hostile_trees);
    RUN(catalogue_remembers_and_notices);
    RUN(the_shipped_model_is_listed_once);
    RUN(remove_touches_our_own_store_alone);
    RUN(failing_allocations);
    return check_end();
}
