/* penstock-ike's end of the channel: requests with their answers, events, and libcharon's values as wire values. */
#include "agent/ike/shim.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

enum { kAnswerMillis = 3000, kEventMillis = 200 };

static mutex_t* mutex; /* one request in flight */
static uint32_t sequence;

void rpc_init(void) { mutex = mutex_create(MUTEX_TYPE_DEFAULT); }

/* penstockd is gone: leave at once and say nothing to the peers, so that kernel SAs and the peers' state stay. */
static void leave(void) { _exit(0); }

static bool send_with_fd(int socket, void* message, size_t length, int fd, int flags) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {};
    struct iovec io = {message, length};
    struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1};
    if (fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr* rights = CMSG_FIRSTHDR(&msg);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(socket, &msg, MSG_NOSIGNAL | flags);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
        leave();
    return sent == (ssize_t)length;
}

static bool wait_for(int socket, short events, int millis) {
    struct pollfd waiting = {socket, events, 0};
    int ready;
    do
        ready = poll(&waiting, 1, millis);
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

/* Answers to calls that were given up arrive late: skipped by their sequence. */
static bool receive_answer(uint32_t type, uint32_t seq, struct pike_answer* answer) {
    while (wait_for(PIKE_REQUESTS_FD, POLLIN, kAnswerMillis)) {
        ssize_t got = recv(PIKE_REQUESTS_FD, answer, sizeof(*answer), MSG_DONTWAIT);
        if (got == 0)
            leave();
        if (got == sizeof(*answer) && answer->header.seq == seq && answer->header.type == type)
            return TRUE;
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            return FALSE;
    }
    return FALSE;
}

enum pike_status rpc_call(void* message, size_t length, int fd, struct pike_answer* answer) {
    struct pike_header* header = message;
    struct pike_answer ignored;
    if (!answer)
        answer = &ignored;
    mutex->lock(mutex);
    header->seq = ++sequence;
    bool answered =
        send_with_fd(PIKE_REQUESTS_FD, message, length, fd, 0) && receive_answer(header->type, header->seq, answer);
    mutex->unlock(mutex);
    if (!answered) {
        DBG1(DBG_KNL, "no answer from penstockd");
        return PIKE_FAILED;
    }
    return answer->status;
}

void rpc_event_nowait(void* message, size_t length) { send_with_fd(PIKE_EVENTS_FD, message, length, -1, MSG_DONTWAIT); }

void rpc_event_with_fd(void* message, size_t length, int fd) {
    if (!send_with_fd(PIKE_EVENTS_FD, message, length, fd, MSG_DONTWAIT) &&
        wait_for(PIKE_EVENTS_FD, POLLOUT, kEventMillis))
        send_with_fd(PIKE_EVENTS_FD, message, length, fd, MSG_DONTWAIT);
}

void rpc_event(void* message, size_t length) { rpc_event_with_fd(message, length, -1); }

ssize_t rpc_receive(void* buffer, size_t size, int* fd, bool wait) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec io = {buffer, size};
    struct msghdr msg = {.msg_iov = &io,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_LEN(sizeof(int))}; /* room for one: the kernel closes a second */
    *fd = -1;
    ssize_t got;
    do
        got = recvmsg(PIKE_EVENTS_FD, &msg, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        leave();
    struct cmsghdr* rights = CMSG_FIRSTHDR(&msg);
    if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS &&
        rights->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd, CMSG_DATA(rights), sizeof(int));
    return got;
}

status_t rpc_status(enum pike_status status) {
    switch (status) {
    case PIKE_OK:
        return SUCCESS;
    case PIKE_NOT_FOUND:
        return NOT_FOUND;
    case PIKE_NOT_SUPPORTED:
        return NOT_SUPPORTED;
    default:
        return FAILED;
    }
}

void put_address(struct pike_address* out, host_t* host) {
    memset(out, 0, sizeof(*out));
    if (!host)
        return;
    chunk_t bytes = host->get_address(host);
    out->family = host->get_family(host);
    out->port = host->get_port(host);
    memcpy(out->bytes, bytes.ptr, min(bytes.len, sizeof(out->bytes)));
}

host_t* get_address(const struct pike_address* in) {
    if (in->family != AF_INET && in->family != AF_INET6)
        return NULL;
    return host_create_from_chunk(in->family, chunk_create((u_char*)in->bytes, in->family == AF_INET ? 4 : 16),
                                  in->port);
}

void put_selector(struct pike_selector* out, traffic_selector_t* selector) {
    chunk_t from = selector->get_from_address(selector);
    chunk_t to = selector->get_to_address(selector);
    memset(out, 0, sizeof(*out));
    out->family = selector->get_type(selector) == TS_IPV6_ADDR_RANGE ? AF_INET6 : AF_INET;
    out->protocol = selector->get_protocol(selector);
    out->from_port = selector->get_from_port(selector);
    out->to_port = selector->get_to_port(selector);
    memcpy(out->from, from.ptr, min(from.len, sizeof(out->from)));
    memcpy(out->to, to.ptr, min(to.len, sizeof(out->to)));
}

void put_text(char* out, size_t size, const char* text) { snprintf(out, size, "%s", text ? text : ""); }

void put_sa_id(struct pike_sa_id* out, kernel_ipsec_sa_id_t* id) {
    memset(out, 0, sizeof(*out));
    put_address(&out->source, id->src);
    put_address(&out->destination, id->dst);
    out->spi_be = id->spi;
    out->protocol = id->proto;
}

static bool put_selectors(struct pike_add_sa* out, linked_list_t* list, uint8_t* count) {
    traffic_selector_t* selector;
    bool fits = TRUE;
    *count = 0;
    if (!list)
        return TRUE;
    enumerator_t* each = list->create_enumerator(list);
    while (each->enumerate(each, &selector)) {
        fits = *count < PIKE_SELECTORS;
        if (!fits)
            break;
        put_selector(&out->selectors[out->source_count + out->destination_count], selector);
        ++*count;
    }
    each->destroy(each);
    return fits;
}

size_t put_add_sa(struct pike_add_sa* out, kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data) {
    if (data->ipcomp != IPCOMP_NONE || data->label || id->if_id || id->mark.value || data->mark.value ||
        data->enc_key.len > sizeof(out->key) || !cipher_is_aead(data->enc_alg))
        return 0;
    ike_sa_t* ike = charon->bus->get_sa(charon->bus);
    memset(out, 0, sizeof(*out));
    put_sa_id(&out->id, id);
    out->reqid = data->reqid;
    out->replay_window = data->replay_window;
    out->soft_seconds = data->lifetime->time.rekey;
    out->hard_seconds = data->lifetime->time.life;
    out->encryption = data->enc_alg;
    out->tunnel_mode = data->mode == MODE_TUNNEL;
    out->encapsulate = data->encap;
    out->esn = data->esn;
    out->inbound = data->inbound;
    out->initiator = data->initiator;
    out->update = data->update;
    put_text(out->tunnel, sizeof(out->tunnel), ike && ike->get_peer_cfg(ike) ? ike->get_name(ike) : "");
    if (!put_selectors(out, data->src_ts, &out->source_count) ||
        !put_selectors(out, data->dst_ts, &out->destination_count))
        return 0;
    return offsetof(struct pike_add_sa, selectors) +
           (out->source_count + out->destination_count) * sizeof(struct pike_selector);
}
