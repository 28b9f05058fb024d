/* What penstockd says while we run: kernel upcalls, commands, a new configuration. */
#include "agent/ike/shim.h"

static bool user_mode;
static struct staged_config staged;

static void acquire(const struct pike_acquire* event) {
    kernel_acquire_data_t data = {};
    if (event->has_selectors) {
        data.src = get_selector(&event->source);
        data.dst = get_selector(&event->destination);
    }
    charon->kernel->acquire(charon->kernel, event->reqid, &data);
    DESTROY_IF(data.src); /* whoever needs them cloned them */
    DESTROY_IF(data.dst);
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
    case PIKE_REKEY_IKE:
        tunnel_rekey(name, event->kind == PIKE_REKEY_IKE);
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
