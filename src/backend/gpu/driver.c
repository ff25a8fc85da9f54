/* driver.c - fills the table and reports what a driver says. */
#include "backend/gpu/driver.h"

#include <stdio.h>

#include "base/library.h"

static rf_status library_open(struct rf_gpu_device *d, struct rf_error *err)
{
    const struct rf_gpu_vendor *v = d->vendor;
    const char *why;
    d->library = rf_library_open(v->libraries, &why);
    if (!d->library) return rf_fail(err, RF_NOT_FOUND, "%s: no driver library (%s)", d->id, v->libraries[0]);
    const char *missing = rf_library_fill(d->library, v->names, RF_GPU_API_COUNT, &d->api);
    return !missing ? RF_OK
                    : rf_fail(err, RF_DEVICE, "%s: the driver library lacks %s: it is too old, install a newer driver or use --device cpu or --allow-cpu",
                              d->id, missing);
}

rf_status rf_gpu_device_open(struct rf_gpu_device *d, const struct rf_gpu_vendor *v, int index, struct rf_error *err)
{
    *d = (struct rf_gpu_device){.vendor = v, .index = index};
    snprintf(d->id, sizeof d->id, "%s:%d", v->name, index);
    rf_status s = library_open(d, err);
    int n = 0, rc = 0;
    if (!s) {
        rc = d->api.init(0);
        if (!rc) rc = d->api.count(&n);
        if (rc || !n) s = v->absent(rc, err);
    }
    if (!s && index >= n)
        s = rf_fail_param(err, RF_INVALID, "device", "device %s does not exist: there %s %d %s device%s", d->id, n == 1 ? "is" : "are", n,
                          v->name, n == 1 ? "" : "s");
    if (!s) s = rf_gpu_check(d, d->api.device_get(&d->handle, index), "finding the device", err);
    if (!s) s = rf_gpu_check(d, d->api.device_name(d->name, sizeof d->name, d->handle), "reading its name", err);
    if (!s) s = rf_gpu_check(d, d->api.version(&d->version), "reading the driver's version", err);
    if (!s) s = rf_gpu_check(d, v->start(d), "starting the device", err);
    if (s) rf_gpu_device_close(d);
    return s;
}

void rf_gpu_device_close(struct rf_gpu_device *d)
{
    if (d->context) d->vendor->stop(d);
    d->context = NULL;
}

void *rf_gpu_symbol(struct rf_gpu_device *d, const char *name) { return rf_library_symbol(d->library, name); }

rf_status rf_gpu_check(struct rf_gpu_device *d, int rc, const char *what, struct rf_error *err)
{
    if (!rc) return RF_OK;
    const char *text = d->vendor->text(d, rc);
    return rf_fail(err, rc == 2 ? RF_NOMEM : RF_DEVICE, "%s: %s: %s (error %d)", d->id, what, text ? text : "unknown", rc);
}
