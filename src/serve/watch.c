/* watch.c - a thread that sees what the event loop cannot: clients that leave while their connection sleeps, headers
 * and bodies that trickle in, readers that do not read, streams that have been silent for long.
 *
 * It also sees clients that wait to be let in, and has the longest idle connection make room for them.
 *
 * It never closes a descriptor. It shuts the socket down, or wakes the connection, and the event loop does the rest. A
 * connection is known here from rf_serve_conn_open to rf_serve_conn_close, which comes before its descriptor is closed;
 * serve->lock is held over both and over every use of the descriptor here.
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/events.h"

#define TICK_MS 250
#define SLICE 256         /* connections looked at under one hold of the lock */
#define CHECK_MS 2000     /* between two looks at one idle connection */
#define DOOR_TICKS 4      /* so long may a client wait to be let in before an idle one has to go */
#define LAST_TICKS 20     /* ... and so long before the only one has to */
#define CLOSE_WAIT 8      /* the kernel's TCP_CLOSE_WAIT: the other side has closed, we have not */
#define HOLD_S 2.0        /* a stream's headers wait this long for its first event, which may be an error */
#define WAKE UINT64_MAX

static int64_t now_ms(void) { return (int64_t)(rf_now() * 1e3); }

rf_status rf_serve_conn_open(struct rf_serve *s, int fd, struct rf_conn **out)
{
    struct rf_conn *conn = rf_alloc_array(1, sizeof *conn);
    if (!conn) return RF_NOMEM;
    conn->fd = fd;
    conn->since_ms = conn->seen_since = conn->checked_ms = now_ms();
    rf_status st = RF_OK;
    pthread_mutex_lock(&s->lock);
    if (s->n_conns == s->cap_conns) {
        size_t cap = s->cap_conns ? 2 * s->cap_conns : 64;
        struct rf_conn **p = rf_realloc_array(s->conns, cap, sizeof *p);
        if (p) {
            s->conns = p;
            s->cap_conns = cap;
        } else {
            st = RF_NOMEM;
        }
    }
    if (!st) {
        conn->serial = s->next_serial++;
        conn->slot = s->n_conns;
        s->conns[s->n_conns++] = conn;
    }
    pthread_mutex_unlock(&s->lock);
    if (st) rf_free(conn);
    else *out = conn;
    return st;
}

void rf_serve_conn_close(struct rf_serve *s, struct rf_conn *conn)
{
    if (!conn) return;
    pthread_mutex_lock(&s->lock);
    s->conns[conn->slot] = s->conns[--s->n_conns];
    s->conns[conn->slot]->slot = conn->slot;
    pthread_mutex_unlock(&s->lock);
    rf_free(conn);
}

void rf_serve_conn_enter(struct rf_conn *conn, enum rf_conn_state state)
{
    atomic_store(&conn->since_ms, now_ms());
    atomic_store(&conn->state, state);
}

/* The slot and the serial number name a connection: an event that was fetched before its end finds nobody. */
static struct rf_conn *find(struct rf_serve *s, uint64_t key)
{
    for (size_t i = 0; i < s->n_conns; i++)
        if (s->conns[i]->serial == (uint32_t)key && s->conns[i]->fd == (int)(key >> 32)) return s->conns[i];
    return NULL;
}

void rf_serve_watch_add(struct rf_serve *s, struct rf_conn *conn, struct rf_call *c)
{
    struct epoll_event ev = {.events = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLONESHOT};
    pthread_mutex_lock(&s->lock);
    ev.data.u64 = (uint64_t)(uint32_t)conn->fd << 32 | conn->serial;
    conn->call = c;
    epoll_ctl(s->watch.epoll_fd, EPOLL_CTL_ADD, conn->fd, &ev); /* if it fails, the next write notices */
    pthread_mutex_unlock(&s->lock);
}

void rf_serve_watch_remove(struct rf_serve *s, struct rf_conn *conn)
{
    pthread_mutex_lock(&s->lock);
    if (conn->call) epoll_ctl(s->watch.epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
    conn->call = NULL;
    pthread_mutex_unlock(&s->lock);
}

/* A client has closed: its call is abandoned, outside the lock. */
static void hangup(struct rf_serve *s, uint64_t key)
{
    struct rf_call *c = NULL;
    pthread_mutex_lock(&s->lock);
    struct rf_conn *conn = find(s, key);
    if (conn && conn->call) {
        c = conn->call;
        rf_serve_call_ref(c);
    }
    pthread_mutex_unlock(&s->lock);
    if (!c) return;
    rf_serve_call_abandon(c);
    rf_serve_call_unref(c);
}

/* ---- trickling requests ------------------------------------------------------------------------------------------ */

static uint64_t received_bytes(int fd, bool *half_closed)
{
    struct tcp_info ti;
    socklen_t n = sizeof ti;
    memset(&ti, 0, sizeof ti);
    *half_closed = false;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &n)) return 0;
    *half_closed = ti.tcpi_state == CLOSE_WAIT;
    return ti.tcpi_bytes_received;
}

/* The event loop is told once of what comes; an end that comes together with bytes it may overlook. */
static bool cut_off(const struct rf_conn *conn)
{
    bool half_closed;
    received_bytes(conn->fd, &half_closed);
    return half_closed;
}

/* The event loop says nothing before a request line is complete; the kernel's count of bytes shows that one has
 * begun. */
static bool idle_too_slow(const struct rf_serve *s, struct rf_conn *conn, int64_t now, int64_t since)
{
    bool half_closed;
    if (conn->seen_since != since) { /* idle anew: what has come so far belongs to the last request */
        conn->seen_since = since;
        conn->seen_bytes = received_bytes(conn->fd, &half_closed);
        conn->begun_ms = 0;
        conn->checked_ms = now;
        return false;
    }
    if (now - conn->checked_ms < CHECK_MS) return false;
    conn->checked_ms = now;
    if (received_bytes(conn->fd, &half_closed) > conn->seen_bytes && !conn->begun_ms) conn->begun_ms = now;
    if (half_closed) return true;
    return conn->begun_ms && (double)(now - conn->begun_ms) > s->opt.header_timeout_s * 1e3;
}

static bool too_slow(const struct rf_serve *s, struct rf_conn *conn, int64_t now)
{
    int64_t since = atomic_load(&conn->since_ms), age = now - since;
    switch ((enum rf_conn_state)atomic_load(&conn->state)) {
    case RF_CONN_IDLE: return idle_too_slow(s, conn, now, since);
    case RF_CONN_HEAD: return (double)age > s->opt.header_timeout_s * 1e3;
    case RF_CONN_BODY: return age > atomic_load(&conn->allowance_ms) || (age > CHECK_MS && cut_off(conn));
    case RF_CONN_BUSY: return false;
    }
    return false;
}

static void check_conns(struct rf_serve *s)
{
    int64_t now = now_ms();
    for (size_t i = 0;;) {
        pthread_mutex_lock(&s->lock);
        size_t end = RF_MIN(s->n_conns, i + SLICE);
        for (; i < end; i++)
            if (too_slow(s, s->conns[i], now)) shutdown(s->conns[i]->fd, SHUT_RDWR);
        bool more = i < s->n_conns;
        pthread_mutex_unlock(&s->lock);
        if (!more) return;
    }
}

/* Clients wait at the door and none comes in: the limit of connections, or the system's of descriptors, is reached. The
 * connection that has been idle for longest makes room; when one has ended, the HTTP library tries again. */
static void make_room(struct rf_serve *s)
{
    struct pollfd door = {.fd = s->watch.door_fd, .events = POLLIN};
    bool waits = poll(&door, 1, 0) > 0 && (door.revents & POLLIN);
    s->watch.n_waits = waits ? s->watch.n_waits + 1 : 0;
    if (s->watch.n_waits < DOOR_TICKS) return;
    struct rf_conn *oldest = NULL;
    int64_t since = now_ms() - DOOR_TICKS * TICK_MS;
    pthread_mutex_lock(&s->lock);
    bool last_too = s->watch.n_waits >= LAST_TICKS; /* without any, the library spins until there is a descriptor */
    for (size_t i = 0; i < s->n_conns && (s->n_conns > 1 || last_too); i++) {
        struct rf_conn *conn = s->conns[i];
        if (atomic_load(&conn->state) != RF_CONN_IDLE || atomic_load(&conn->since_ms) > since) continue;
        since = atomic_load(&conn->since_ms);
        oldest = conn;
    }
    if (oldest) shutdown(oldest->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
}

/* ---- running calls ----------------------------------------------------------------------------------------------- */

/* Under call->lock: wakes a stream that has something to say; true if its reader is too slow. */
static bool check_call(const struct rf_serve *s, struct rf_call *c, double now)
{
    if (c->phase == RF_PHASE_WAIT && c->gen->p.stream && !c->hold_over && now - c->t_wait > HOLD_S) {
        c->hold_over = true;
        c->t_sent = now;
        rf_serve_call_resume_locked(c);
    }
    if (c->phase != RF_PHASE_STREAM || c->gone) return false;
    if (c->suspended && now - c->t_sent > s->opt.ping_s) {
        c->ping = true;
        rf_serve_call_resume_locked(c);
    }
    return c->overflow || (c->over_since > 0 && now - c->over_since > s->opt.slow_reader_s);
}

static void check_calls(struct rf_serve *s)
{
    struct rf_call *slow[16];
    size_t n = 0;
    double now = rf_now();
    pthread_mutex_lock(&s->lock);
    for (struct rf_call *c = s->calls; c && n < RF_COUNT(slow); c = c->next) {
        pthread_mutex_lock(&c->lock);
        bool is_slow = check_call(s, c, now);
        pthread_mutex_unlock(&c->lock);
        if (!is_slow) continue;
        shutdown(c->conn->fd, SHUT_RDWR);
        rf_serve_call_ref(c);
        slow[n++] = c;
        s->n_slow++;
    }
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        rf_serve_call_abandon(slow[i]);
        rf_serve_call_unref(slow[i]);
    }
}

static void *watch(void *arg)
{
    struct rf_serve *s = arg;
    struct epoll_event ev[64];
    int64_t next = now_ms() + TICK_MS;
    while (!atomic_load(&s->watch.stop)) {
        int64_t left = next - now_ms();
        int n = epoll_wait(s->watch.epoll_fd, ev, (int)RF_COUNT(ev), left > 0 ? (int)left : 0);
        for (int i = 0; i < n; i++)
            if (ev[i].data.u64 != WAKE) hangup(s, ev[i].data.u64);
        if (now_ms() < next) continue;
        next = now_ms() + TICK_MS;
        check_calls(s);
        check_conns(s);
        make_room(s);
    }
    return NULL;
}

rf_status rf_serve_watch_start(struct rf_serve *s, struct rf_error *err)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = WAKE};
    s->watch.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s->watch.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->watch.door_fd = s->listen_fd;
    if (s->watch.epoll_fd < 0 || s->watch.wake_fd < 0 ||
        epoll_ctl(s->watch.epoll_fd, EPOLL_CTL_ADD, s->watch.wake_fd, &ev))
        return rf_fail(err, RF_IO, "server: cannot watch connections: %s", strerror(errno));
    int e = pthread_create(&s->watch.thread, NULL, watch, s);
    if (e) return rf_fail(err, RF_IO, "server: cannot start the watcher thread: %s", strerror(e));
    s->watch.running = true;
    return RF_OK;
}

void rf_serve_watch_stop(struct rf_serve *s)
{
    if (s->watch.running) {
        atomic_store(&s->watch.stop, true);
        if (eventfd_write(s->watch.wake_fd, 1) == 0) pthread_join(s->watch.thread, NULL);
        s->watch.running = false;
    }
    if (s->watch.epoll_fd >= 0) close(s->watch.epoll_fd);
    if (s->watch.wake_fd >= 0) close(s->watch.wake_fd);
    s->watch.epoll_fd = s->watch.wake_fd = -1;
}
