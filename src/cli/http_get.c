#include "cli/http_get.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TIMEOUT_S = 10, MAX_ANSWER = 16 << 20 };

static int connect_to(const char *host, uint16_t port, struct rf_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    const struct timeval wait = {.tv_sec = TIMEOUT_S};
    char text[8];
    int fd = -1, e;
    snprintf(text, sizeof text, "%u", port);
    if ((e = getaddrinfo(host, text, &hints, &list))) {
        rf_fail(err, RF_IO, "host %.200s: %s", host, gai_strerror(e));
        return -1;
    }
    e = ECONNREFUSED;
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        if ((fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol)) < 0) continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
        if (!connect(fd, a->ai_addr, a->ai_addrlen)) break;
        e = errno;
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    if (fd < 0) rf_fail(err, RF_IO, "no server answers at %.200s port %u (%s); start one with: rocmforge serve", host, port, strerror(e));
    return fd;
}

static rf_status exchange(int fd, const struct rf_buf *request, struct rf_buf *answer, struct rf_error *err)
{
    for (size_t at = 0; at < request->len;) {
        ssize_t n = send(fd, request->data + at, request->len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) return rf_fail(err, RF_IO, "the server's connection: %s", strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    answer->max = MAX_ANSWER;
    for (;;) {
        if (rf_buf_reserve(answer, 65536)) return rf_fail(err, RF_TOO_LARGE, "the server's answer is over %d bytes", MAX_ANSWER);
        ssize_t n = recv(fd, answer->data + answer->len, 65536, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return rf_fail(err, RF_IO, "the server's connection: %s", strerror(errno));
        if (!n) return RF_OK;
        answer->len += (size_t)n;
        answer->data[answer->len] = 0;
    }
}

rf_status rf_cli_http_get(const char *host, uint16_t port, const char *path, const char *key, struct rf_buf *body, unsigned *status,
                          struct rf_error *err)
{
    struct rf_buf request = {0}, answer = {0};
    unsigned minor;
    bool six = strchr(host, ':') != NULL;
    int fd = connect_to(host, port, err);
    if (fd < 0) return RF_IO;
    rf_buf_printf(&request, "GET %s HTTP/1.0\r\nHost: %s%s%s:%u\r\n", path, six ? "[" : "", host, six ? "]" : "", port);
    if (key && !strpbrk(key, "\r\n")) rf_buf_printf(&request, "Authorization: Bearer %s\r\n", key);
    rf_buf_puts(&request, "\r\n");
    rf_status s = exchange(fd, &request, &answer, err);
    close(fd);
    const char *end = s ? NULL : strstr(rf_buf_str(&answer), "\r\n\r\n");
    if (!s && (!end || sscanf(rf_buf_str(&answer), "HTTP/1.%1u %3u", &minor, status) != 2))
        s = rf_fail(err, RF_IO, "what answers at %.200s port %u does not speak HTTP", host, port);
    if (!s) s = rf_buf_append(body, end + 4, answer.len - (size_t)(end + 4 - answer.data));
    rf_buf_release(&request);
    rf_buf_release(&answer);
    return s;
}
