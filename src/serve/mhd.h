/* mhd.h - the functions of libmicrohttpd that this room calls, loaded when serving begins: the library brings nine others (TLS
 * and what that needs), whose loading is most of the start of a command that serves nothing. Types and constants are its header's. */
#ifndef RF_SERVE_MHD_H
#define RF_SERVE_MHD_H

#include <microhttpd.h>

#include "base/status.h"

#define RF_MHD_CALLS(X)                                                                                                          \
    X(start_daemon) X(stop_daemon) X(queue_response) X(create_response_from_buffer)                                              \
    X(create_response_from_buffer_with_free_callback) X(create_response_from_callback) X(destroy_response) X(add_response_header) \
    X(get_connection_info) X(get_connection_values) X(lookup_connection_value) X(suspend_connection) X(resume_connection)

#define RF_MHD_POINTER(f) __typeof__(MHD_##f) *f;
struct rf_mhd { RF_MHD_CALLS(RF_MHD_POINTER) };

/* RF_NOT_FOUND with a remedy where the library is absent, or not one we know. */
rf_status rf_mhd_load(struct rf_mhd *mhd, struct rf_error *err);

#endif
