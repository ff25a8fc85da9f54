/* notify.h - tells the service manager how it stands, in sd_notify(3)'s protocol: one datagram to $NOTIFY_SOCKET. Nothing where the
 * variable is not set.
 */
#ifndef RF_CLI_NOTIFY_H
#define RF_CLI_NOTIFY_H

void rf_cli_notify(const char *state); /* "READY=1" */

#endif
