/* backend_t: the tunnels of the current configuration as libcharon's peer and child configurations. */
#include "agent/ike/shim.h"

struct tunnel {
    struct pike_config_tunnel config;
    peer_cfg_t* peer; /* ours; the controller gets references */
    bool wanted;
};

static backend_t backend;
static rwlock_t* lock;
static linked_list_t* tunnels; /* struct tunnel */

static void tunnel_destroy(struct tunnel* tunnel) {
    tunnel->peer->destroy(tunnel->peer);
    free(tunnel);
}

static struct tunnel* find(const char* name) {
    struct tunnel *tunnel, *found = NULL;
    enumerator_t* each = tunnels->create_enumerator(tunnels);
    while (!found && each->enumerate(each, &tunnel))
        if (streq(tunnel->config.name, name))
            found = tunnel;
    each->destroy(each);
    return found;
}

/* An unchanged tunnel keeps its SAs and whether an operator wanted it up; a changed or removed one is closed. */
bool backend_apply(const struct staged_config* config, bool user_mode) {
    bool complete = TRUE;
    linked_list_t* fresh = linked_list_create();
    for (unsigned i = 0; i < config->tunnel_count; i++) {
        peer_cfg_t* peer;
        const char* refused = connection_create(&config->tunnels[i], user_mode, &peer);
        if (refused) {
            alert(config->tunnels[i].name, 0, refused);
            complete = FALSE;
            continue;
        }
        struct tunnel* tunnel = malloc(sizeof(*tunnel));
        *tunnel = (struct tunnel){config->tunnels[i], peer, config->tunnels[i].initiate};
        fresh->insert_last(fresh, tunnel);
    }

    lock->write_lock(lock);
    linked_list_t* old = tunnels;
    tunnels = fresh;
    lock->unlock(lock);

    struct tunnel* tunnel;
    while (old->remove_first(old, (void**)&tunnel) == SUCCESS) {
        lock->write_lock(lock);
        struct tunnel* successor = find(tunnel->config.name);
        bool same = successor && memeq(&successor->config, &tunnel->config, sizeof(tunnel->config));
        if (same)
            successor->wanted = tunnel->wanted;
        lock->unlock(lock);
        if (!same)
            tunnel_terminate(tunnel->config.name);
        tunnel_destroy(tunnel);
    }
    old->destroy(old);
    keeper_kick();
    return complete;
}

bool backend_set_wanted(const char* name, bool wanted) {
    lock->write_lock(lock);
    struct tunnel* tunnel = find(name);
    if (tunnel)
        tunnel->wanted = wanted;
    lock->unlock(lock);
    return tunnel != NULL;
}

bool backend_get(const char* name, peer_cfg_t** peer, child_cfg_t** child) {
    bool found = FALSE;
    lock->read_lock(lock);
    struct tunnel* tunnel = find(name);
    if (tunnel) {
        enumerator_t* each = tunnel->peer->create_child_cfg_enumerator(tunnel->peer);
        found = each->enumerate(each, child);
        if (found) {
            (*child)->get_ref(*child);
            *peer = tunnel->peer->get_ref(tunnel->peer);
        }
        each->destroy(each);
    }
    lock->unlock(lock);
    return found;
}

unsigned backend_wanted(char** names) {
    struct tunnel* tunnel;
    unsigned count = 0;
    lock->read_lock(lock);
    *names = calloc(tunnels->get_count(tunnels) + 1, PIKE_NAME);
    enumerator_t* each = tunnels->create_enumerator(tunnels);
    while (each->enumerate(each, &tunnel))
        if (tunnel->wanted)
            put_text(*names + PIKE_NAME * count++, PIKE_NAME, tunnel->config.name);
    each->destroy(each);
    lock->unlock(lock);
    return count;
}

/* A peer may only open what is to be up: a tunnel that an operator took down is not offered. */
CALLBACK(next_peer, bool, void* data, enumerator_t* original, va_list args) {
    peer_cfg_t** out;
    struct tunnel* tunnel;
    VA_ARGS_VGET(args, out);
    while (original->enumerate(original, &tunnel))
        if (tunnel->wanted) {
            *out = tunnel->peer;
            return TRUE;
        }
    return FALSE;
}

CALLBACK(next_ike, bool, void* data, enumerator_t* original, va_list args) {
    ike_cfg_t** out;
    struct tunnel* tunnel;
    VA_ARGS_VGET(args, out);
    while (original->enumerate(original, &tunnel))
        if (tunnel->wanted) {
            *out = tunnel->peer->get_ike_cfg(tunnel->peer);
            return TRUE;
        }
    return FALSE;
}

CALLBACK(release, void, void* data) { lock->unlock(lock); }

static enumerator_t* ike_configs(backend_t* this, host_t* me, host_t* other) {
    lock->read_lock(lock);
    return enumerator_create_filter(tunnels->create_enumerator(tunnels), next_ike, NULL, release);
}

static enumerator_t* peer_configs(backend_t* this, identification_t* me, identification_t* other) {
    lock->read_lock(lock);
    return enumerator_create_filter(tunnels->create_enumerator(tunnels), next_peer, NULL, release);
}

static peer_cfg_t* peer_by_name(backend_t* this, char* name) {
    lock->read_lock(lock);
    struct tunnel* tunnel = find(name);
    peer_cfg_t* peer = tunnel ? tunnel->peer->get_ref(tunnel->peer) : NULL;
    lock->unlock(lock);
    return peer;
}

void backend_register(void) {
    lock = rwlock_create(RWLOCK_TYPE_DEFAULT);
    tunnels = linked_list_create();
    backend = (backend_t){
        .create_ike_cfg_enumerator = ike_configs,
        .create_peer_cfg_enumerator = peer_configs,
        .get_peer_cfg_by_name = peer_by_name,
    };
    charon->backends->add_backend(charon->backends, &backend);
}
