/* cmd_doctor.c - what this machine can do and what is in the way, in plain words or as JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <jansson.h>

#include "base/mem.h"
#include "cli/cli.h"

static void cpu_name(char *out, size_t cap)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, cap, "unknown CPU");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon || !colon[1]) continue;
        snprintf(out, cap, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

/* First number in a one-line file; -1 if there is none ("max"). */
static long long file_number(const char *path)
{
    FILE *f = fopen(path, "re");
    long long v = -1;
    if (f && fscanf(f, "%lld", &v) != 1) v = -1;
    if (f) fclose(f);
    return v;
}

static json_t *limit(int what)
{
    struct rlimit r;
    if (getrlimit(what, &r) || r.rlim_cur == RLIM_INFINITY) return json_null();
    return json_integer((json_int_t)r.rlim_cur);
}

static json_t *limits(void)
{
    long long memory = file_number("/sys/fs/cgroup/memory.max");
    if (memory < 0) memory = file_number("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    if (memory > 1LL << 60) memory = -1; /* v1's word for none */
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "open_files", limit(RLIMIT_NOFILE), "locked_memory", limit(RLIMIT_MEMLOCK), "address_space",
                     limit(RLIMIT_AS), "threads", limit(RLIMIT_NPROC), "cgroup_memory", memory < 0 ? json_null() : json_integer(memory));
}

static void models(const struct rf_cli *c, json_t *root)
{
    struct rf_registry *r = rf_cli_open_registry(c, false);
    size_t chat = 0, broken = 0;
    char shipped[RF_CLI_PATH_MAX];
    for (size_t i = 0; r && i < rf_registry_n(r); i++) {
        chat += rf_registry_at(r, i)->kind == RF_MODEL_CHAT;
        broken += rf_registry_at(r, i)->kind == RF_MODEL_BROKEN;
    }
    rf_registry_close(r);
    json_object_set_new(root, "models", json_pack("{s:i, s:i, s:s?}", "chat", (int)chat, "broken", (int)broken, "shipped",
                                                  rf_cli_shipped_model(shipped, sizeof shipped) ? shipped : NULL));
}

/* ---- plain words ---- */

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }
static const char *text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static void print_cpu(const json_t *root)
{
    const json_t *cpu = json_object_get(root, "cpu");
    char total[32], available[32];
    double gbs = number(cpu, "read_gb_per_s");
    rf_cli_human_bytes((uint64_t)number(cpu, "memory_total"), total, sizeof total);
    rf_cli_human_bytes((uint64_t)number(cpu, "memory_free"), available, sizeof available);
    printf("CPU       %s\n", text(cpu, "name"));
    printf("          instructions used: %s\n", text(cpu, "instructions"));
    printf("          %.0f usable core%s, %.0f thread%s\n", number(cpu, "usable_cores"), number(cpu, "usable_cores") == 1 ? "" : "s",
           number(cpu, "threads"), number(cpu, "threads") == 1 ? "" : "s");
    printf("memory    %s available of %s; read at %.1f GB/s\n", available, total, gbs);
    if (gbs > 0) printf("          so a model of 1 GB can say at most about %.0f tokens/s to one person on this CPU\n", gbs);
}

static void print_gpu(const json_t *g)
{
    char total[32], available[32];
    bool named = json_object_get(g, "name") != NULL;
    rf_cli_human_bytes((uint64_t)number(g, "memory_total"), total, sizeof total);
    rf_cli_human_bytes((uint64_t)number(g, "memory_free"), available, sizeof available);
    if (!json_is_true(json_object_get(g, "found"))) {
        printf("GPU       no %.*s device: %s\n", (int)strcspn(text(g, "device"), ":"), text(g, "device"), text(g, "reason"));
        return;
    }
    printf("GPU       %s %s%s%s\n", text(g, "device"), named ? text(g, "name") : "", *text(g, "arch") ? ", " : "", text(g, "arch"));
    if (named) printf("          driver %.0f; %s free of %s\n", number(g, "driver"), available, total);
    if (!json_is_true(json_object_get(g, "usable"))) {
        printf("          CANNOT BE USED: %s\n", text(g, "reason"));
        return;
    }
    if (!strncmp(text(g, "device"), "hip", 3)) printf("          AMD: compiled for, layouts checked, emulated; not yet run on a card. Tell us what yours does\n");
    printf("          runs code made for %s; copies %.1f GB/s to it, %.1f GB/s from it\n", text(g, "code_object"), number(g, "upload_gb_per_s"),
           number(g, "download_gb_per_s"));
}

static void print_limit(const char *what, const json_t *v, bool bytes)
{
    char size[32];
    if (!json_is_integer(v)) return;
    if (bytes) rf_cli_human_bytes((uint64_t)json_integer_value(v), size, sizeof size);
    else snprintf(size, sizeof size, "%lld", (long long)json_integer_value(v));
    printf("          %s: %s\n", what, size);
}

static void print_text(const json_t *root)
{
    size_t i;
    json_t *v;
    const json_t *l = json_object_get(root, "limits"), *m = json_object_get(root, "models");
    bool unusable = false;
    printf("ROCmForge %s on %s\n\n", text(root, "version"), text(root, "system"));
    print_cpu(root);
    json_array_foreach(json_object_get(root, "gpus"), i, v) {
        print_gpu(v);
        unusable |= json_is_true(json_object_get(v, "found")) && !json_is_true(json_object_get(v, "usable"));
    }
    printf("kernels   CPU: all of the above; GPU code in this build:");
    json_array_foreach(json_object_get(root, "code_objects"), i, v) printf("%s %s", i ? "," : "", text(v, "arch"));
    printf("%s\n", json_array_size(json_object_get(root, "code_objects")) ? "" : " none");
    printf("limits    what this process may use\n");
    print_limit("open files (connections of serve)", json_object_get(l, "open_files"), false);
    print_limit("locked memory", json_object_get(l, "locked_memory"), true);
    print_limit("address space", json_object_get(l, "address_space"), true);
    print_limit("threads", json_object_get(l, "threads"), false);
    print_limit("memory of this container", json_object_get(l, "cgroup_memory"), true);
    printf("models    %.0f to talk to%s\n", number(m, "chat"), number(m, "chat") ? ": rocmforge list" : "; put a GGUF file into ~/models");
    if (number(m, "broken")) printf("          %.0f cannot be used: rocmforge list --all says why\n", number(m, "broken"));
    if (unusable)
        printf("\nA GPU is there that cannot be used, so commands stop instead of quietly taking the CPU. Mend it as said above, or\n"
               "say --device cpu (never a GPU) or --allow-cpu (the CPU where the GPU does not work).\n");
}

int rf_cli_doctor(const struct rf_cli *c)
{
    struct rf_error err = {0};
    struct utsname u = {0};
    char *machine = NULL, name[200], system[300];
    if (isatty(STDERR_FILENO)) fprintf(stderr, "measuring ...\r");
    rf_status s = rf_machine_describe((uint32_t)c->threads, &machine, &err);
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\033[K");
    if (s) return rf_cli_fail(&err, RF_EXIT_FAILED);
    json_t *root = json_loads(machine, 0, NULL);
    rf_free(machine);
    if (!root) return RF_EXIT_FAILED;
    cpu_name(name, sizeof name);
    uname(&u);
    snprintf(system, sizeof system, "%s %s, %s", u.sysname, u.release, u.machine);
    json_object_set_new(json_object_get(root, "cpu"), "name", json_string(name));
    json_object_set_new(root, "version", json_string(rf_version()));
    json_object_set_new(root, "system", json_string(system));
    json_object_set_new(root, "limits", limits());
    models(c, root);
    if (c->json) return rf_cli_print_json(root);
    print_text(root);
    json_decref(root);
    return RF_EXIT_OK;
}
