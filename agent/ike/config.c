/* Collects one configuration from its datagrams: BEGIN, credentials as file descriptors, tunnels, COMMIT. */
#include "agent/ike/shim.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { kMaxCredentials = 64, kMaxTunnels = 256 };

void config_clear(struct staged_config* config) {
    for (unsigned i = 0; i < config->credential_count; i++)
        chunk_clear(&config->credentials[i].data);
    free(config->credentials);
    free(config->tunnels);
    memset(config, 0, sizeof(*config));
}

static bool read_file(int fd, chunk_t* out) {
    chunk_t data = chunk_alloc(PIKE_MAX_CREDENTIAL);
    size_t used = 0;
    ssize_t got = 0;
    while (used < data.len && (got = pread(fd, data.ptr + used, data.len - used, used)) > 0)
        used += got;
    if (got < 0 || used == 0 || used == data.len) {
        chunk_clear(&data);
        return FALSE;
    }
    *out = chunk_clone(chunk_create(data.ptr, used));
    chunk_clear(&data);
    return TRUE;
}

static void add_credential(struct staged_config* config, const struct pike_config_credential* message, int fd) {
    chunk_t data;
    if (fd < 0 || config->credential_count == kMaxCredentials || !read_file(fd, &data)) {
        alert("", 0, "a certificate or key file could not be read");
        return;
    }
    config->credentials = realloc(config->credentials, (config->credential_count + 1) * sizeof(*config->credentials));
    config->credentials[config->credential_count++] = (struct staged_credential){message->kind, data};
}

static void add_tunnel(struct staged_config* config, const struct pike_config_tunnel* message) {
    if (config->tunnel_count == kMaxTunnels)
        return;
    config->tunnels = realloc(config->tunnels, (config->tunnel_count + 1) * sizeof(*config->tunnels));
    struct pike_config_tunnel* tunnel = &config->tunnels[config->tunnel_count++];
    *tunnel = *message;
    tunnel->name[PIKE_NAME - 1] = tunnel->local_id[PIKE_ID - 1] = tunnel->remote_id[PIKE_ID - 1] = 0;
    tunnel->ike_proposal[PIKE_PROPOSAL - 1] = tunnel->esp_proposal[PIKE_PROPOSAL - 1] = 0;
}

bool config_receive(struct staged_config* config, const void* message, size_t length, int fd) {
    const struct pike_header* header = message;
    bool complete = FALSE;
    if (header->type == PIKE_CONFIG_BEGIN && length == sizeof(struct pike_config_begin)) {
        config_clear(config);
        memcpy(&config->begin, message, length);
        config->begin.interfaces[sizeof(config->begin.interfaces) - 1] = 0;
    } else if (config->begin.version == PIKE_VERSION) {
        if (header->type == PIKE_CONFIG_CREDENTIAL && length == sizeof(struct pike_config_credential))
            add_credential(config, message, fd);
        else if (header->type == PIKE_CONFIG_TUNNEL && length == sizeof(struct pike_config_tunnel))
            add_tunnel(config, message);
        else if (header->type == PIKE_CONFIG_COMMIT && length == sizeof(struct pike_config_commit))
            complete = TRUE;
    }
    if (fd >= 0)
        close(fd);
    return complete;
}
