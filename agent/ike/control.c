/* What penstockd says while we run: kernel upcalls, commands, a new configuration. */
#include "agent/ike/shim.h"

static bool user_mode;
static struct staged_config staged;

static void acquire(const struct pike_acquire* event) {
    kernel_acquire_data_t data = {};
    charon->kernel->acquire(charon->kernel, event->reqid, &data);
}

static void expire(const struct pike_expire* event) {
    host_t* destination = get_address(&event->destination);
    if (!destination)
        return;
    charon->kernel->expire(charon->kernel, event->protocol, event->spi_be, destination, event->hard);
    destination->destroy(destination);
}

static void mapping(const struct pike_mapping* event) {
    host_t* destination = get_address(&event->destination);
    host_t* remote = get_address(&event->remote);
    if (destination && remote)
        charon->kernel->mapping(charon->kernel, event->protocol, event->spi_be, destination, remote);
    DESTROY_IF(destination);
    DESTROY_IF(remote);
}

enum { kMaxIkeSas = 64 };

static unsigned ike_ids(const char* name, uint32_t* ids) {
    unsigned count = 0;
    ike_sa_t* ike;
    enumerator_t* each = charon->controller->create_ike_sa_enumerator(charon->controller, TRUE);
    while (count < kMaxIkeSas && each->enumerate(each, &ike))
        if (ike->get_peer_cfg(ike) && streq(ike->get_name(ike), name))
            ids[count++] = ike->get_unique_id(ike);
    each->destroy(each);
    return count;
}

/* One DELETE, no wait for its answer: down means that nothing goes through now, also when the peer is silent. */
void tunnel_terminate(const char* name) {
    uint32_t ids[kMaxIkeSas];
    unsigned count = ike_ids(name, ids);
    for (unsigned i = 0; i < count; i++)
        charon->controller->terminate_ike(charon->controller, ids[i], TRUE, NULL, NULL, CONTROLLER_LEVEL 0);
}

static void rekey(const char* name) {
    ike_sa_t* ike;
    child_sa_t* child;
    enumerator_t* each = charon->controller->create_ike_sa_enumerator(charon->controller, TRUE);
    while (each->enumerate(each, &ike)) {
        if (!ike->get_peer_cfg(ike) || !streq(ike->get_name(ike), name) || ike->get_state(ike) != IKE_ESTABLISHED)
            continue;
        enumerator_t* children = ike->create_child_sa_enumerator(ike);
        while (children->enumerate(children, &child))
            if (child->get_state(child) == CHILD_INSTALLED)
                lib->processor->queue_job(lib->processor, (job_t*)rekey_child_sa_job_create(child->get_protocol(child),
                                                                                            child->get_spi(child, TRUE),
                                                                                            ike->get_my_host(ike)));
        children->destroy(children);
    }
    each->destroy(each);
}

static void command(const struct pike_command* event) {
    char name[PIKE_NAME];
    put_text(name, sizeof(name), event->tunnel);
    switch (event->kind) {
    case PIKE_INITIATE:
        if (backend_set_wanted(name, TRUE))
            keeper_kick();
        else
            alert(name, 0, "there is no tunnel of this name");
        break;
    case PIKE_TERMINATE:
        backend_set_wanted(name, FALSE);
        tunnel_terminate(name);
        break;
    case PIKE_REKEY_CHILD:
        rekey(name);
        break;
    }
}

static void dispatch(const void* message, size_t length, int fd) {
    const struct pike_header* header = message;
    switch (header->type) {
    case PIKE_ACQUIRE:
        if (length == sizeof(struct pike_acquire))
            acquire(message);
        break;
    case PIKE_EXPIRE:
        if (length == sizeof(struct pike_expire))
            expire(message);
        break;
    case PIKE_MAPPING:
        if (length == sizeof(struct pike_mapping))
            mapping(message);
        break;
    case PIKE_COMMAND:
        if (length == sizeof(struct pike_command))
            command(message);
        break;
    default:
        if (config_receive(&staged, message, length, fd)) {
            if (credentials_apply(&staged))
                backend_apply(&staged, user_mode);
            config_clear(&staged);
        }
        return;
    }
    if (fd >= 0)
        close(fd);
}

CALLBACK(on_event, bool, void* data, int socket, watcher_event_t event) {
    union {
        struct pike_header header;
        char bytes[PIKE_MAX_MESSAGE];
    } message;
    int fd;
    ssize_t length;
    while ((length = rpc_receive(&message, sizeof(message), &fd, FALSE)) > 0)
        if (length >= (ssize_t)sizeof(message.header))
            dispatch(&message, length, fd);
    return TRUE;
}

void control_start(bool user) {
    user_mode = user;
    lib->watcher->add(lib->watcher, PIKE_EVENTS_FD, WATCHER_READ, on_event, NULL);
}
