/* replay.c - runs a fuzz target over files and folders of files, without libFuzzer. One TAP line per folder or file. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static long replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f) return -1;
    size_t n = 0, cap = 1 << 16;
    uint8_t *data = malloc(cap);
    for (size_t got; data && (got = fread(data + n, 1, cap - n, f)) > 0;) {
        n += got;
        if (n < cap) continue;
        uint8_t *more = realloc(data, cap *= 2);
        if (!more) free(data);
        data = more;
    }
    fclose(f);
    uint8_t *exact = data ? malloc(n ? n : 1) : NULL; /* so that a sanitizer sees a read past the end */
    if (exact) {
        if (n) memcpy(exact, data, n);
        LLVMFuzzerTestOneInput(exact, n);
    }
    free(data);
    free(exact);
    return exact ? 1 : -1;
}

static long replay(const char *path)
{
    struct stat st;
    if (stat(path, &st)) return -1;
    if (!S_ISDIR(st.st_mode)) return replay_file(path);
    DIR *d = opendir(path);
    long total = 0;
    if (!d) return -1;
    for (struct dirent *e; (e = readdir(d)) && total >= 0;) {
        char name[4096];
        if (e->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        long n = replay_file(name);
        total = n < 0 ? n : total + n;
    }
    closedir(d);
    return total;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        long n = replay(argv[i]);
        failed += n <= 0;
        printf("%s %d - %ld inputs\n", n > 0 ? "ok" : "not ok", i, n);
    }
    printf("1..%d\n", argc - 1);
    return failed != 0;
}
