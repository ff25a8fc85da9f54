#include <string.h>

#include "backend/backend.h"
#include "backend/cpu/cpu.h"

/* Best first: "auto" takes the first that opens. */
static const struct {
    const char *name;
    rf_status (*open)(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err);
} devices[] = {
    {"cpu", rf_cpu_open},
};
enum { N_DEVICE = sizeof devices / sizeof *devices };

rf_status rf_backend_open(struct rf_backend **out, const struct rf_backend_options *opt, struct rf_error *err)
{
    static const struct rf_backend_options defaults;
    if (!opt) opt = &defaults;
    *out = NULL;
    const char *want = opt->device && *opt->device ? opt->device : "auto";
    bool any = !strcmp(want, "auto");
    rf_status s = RF_NOT_FOUND;
    for (int i = 0; i < N_DEVICE; i++) {
        if (!any && strcmp(want, devices[i].name)) continue;
        s = devices[i].open(out, opt, err);
        if (!s || !any || s == RF_INVALID) return s;
    }
    if (any) return s;
    char list[128] = "auto";
    for (int i = 0; i < N_DEVICE; i++) {
        strncat(list, ", ", sizeof list - strlen(list) - 1);
        strncat(list, devices[i].name, sizeof list - strlen(list) - 1);
    }
    return rf_fail_param(err, RF_INVALID, "device", "device \"%.40s\" does not exist here: expected one of %s", want, list);
}

void rf_backend_close(struct rf_backend *b)
{
    if (b) b->close(b);
}
