/* What the files of penstock-ike know of each other, with strongSwan's types; confine.h and channel.h need none. */
#pragma once

#include "agent/ike/strongswan.h"

#include "agent/ike/channel.h"

/* One configuration as received, owned by whoever holds it; applied as a whole. */
struct staged_credential {
    enum pike_credential_kind kind;
    chunk_t data;
};
struct staged_config {
    struct pike_config_begin begin;
    struct staged_credential* credentials;
    unsigned credential_count;
    struct pike_config_tunnel* tunnels;
    unsigned tunnel_count;
};

/* config.c */
/* Takes one message and the fd that came with it (or -1; closed in any case). TRUE once COMMIT completed the set. */
bool config_receive(struct staged_config* config, const void* message, size_t length, int fd);
void config_clear(struct staged_config* config); /* wipes keys */

/* rpc.c: penstock-ike's end of the two sockets. Every failure of the transport is PIKE_FAILED: nothing is installed. */
void rpc_init(void);
/* Sends one request (and fd, or -1) and waits for its answer. message starts with pike_header; its seq is set here. */
enum pike_status rpc_call(void* message, size_t length, int fd, struct pike_answer* answer);
void rpc_event(void* message, size_t length);                 /* one way; waits at most a moment for a slow reader */
void rpc_event_with_fd(void* message, size_t length, int fd); /* the descriptor stays the caller's; -1: none */
void rpc_event_nowait(void* message, size_t length);
/* One datagram of the event socket. 0: nothing there (only without wait). Ends the process when penstockd is gone. */
ssize_t rpc_receive(void* buffer, size_t size, int* fd, bool wait);
status_t rpc_status(enum pike_status status);
void put_address(struct pike_address* out, host_t* host);
host_t* get_address(const struct pike_address* in);
void put_selector(struct pike_selector* out, traffic_selector_t* selector);
void put_text(char* out, size_t size, const char* text);
/* Fills PIKE_ADD_SA or PIKE_APPROVE_SA but the key; the length to send, 0 if it is not an SA we install. */
size_t put_add_sa(struct pike_add_sa* out, kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data);
void put_sa_id(struct pike_sa_id* out, kernel_ipsec_sa_id_t* id);

/* kernel_ipsec.c, kernel_wrap.c */
kernel_ipsec_t* rpc_kernel_ipsec_create(void);
void kernel_wrap_user_mode(void); /* after libcharon_init(), before initialize() */

/* backend.c */
void backend_register(void);
bool backend_apply(const struct staged_config* config, bool user_mode);
bool backend_set_wanted(const char* tunnel, bool wanted);
/* References to the tunnel's configuration, the caller's to give to the controller. */
bool backend_get(const char* tunnel, peer_cfg_t** peer, child_cfg_t** child);
/* The names of the tunnels that are to be up, each PIKE_NAME bytes; the caller frees. */
unsigned backend_wanted(char** names);

/* connection.c */
/* The reason why the tunnel is refused, or NULL and *peer, which owns the rest. */
const char* connection_create(const struct pike_config_tunnel* config, bool user_mode, peer_cfg_t** peer);
/* AES-GCM, AES-CCM, ChaCha20-Poly1305: encrypts and authenticates. */
bool cipher_is_aead(uint16_t encryption);

/* credentials.c */
void credentials_register(void);
bool credentials_apply(const struct staged_config* config);
/* Adds our certificate, or the CAs a peer must be under, to an auth_cfg. */
void credentials_constrain(auth_cfg_t* auth, bool local);

/* listener.c, logger.c */
void listener_register(void);
void alert(const char* tunnel, uint32_t code, const char* text);
void logger_register(level_t level);
void logger_early(void); /* library messages before the bus exists */

/* keeper.c */
void keeper_start(void);
void keeper_kick(void); /* look at once */

/* control.c */
void control_start(bool user_mode);
void tunnel_terminate(const char* tunnel);
