/*
 * The wire format between penstockd and penstock-ike. Compiles as C and as C++.
 *
 * Two SOCK_SEQPACKET pairs on one host, one message a datagram; both ends come from one build.
 *   requests: penstock-ike asks, penstockd answers with one pike_answer that repeats type and sequence.
 *   events:   one way, both directions, never answered.
 * Every message starts with pike_header. Integers are in host byte order, addresses, SPIs (..._be) in network order.
 * Text is zero-terminated UTF-8, cut to fit. Unused bytes are zero.
 */
#pragma once

#ifdef __cplusplus
#include <cstdint>
#define PIKE_ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), #type)
extern "C" {
#else
#include <stdint.h>
#define PIKE_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#endif

enum {
    PIKE_VERSION = 1,
    PIKE_REQUESTS_FD = 3, /* in penstock-ike */
    PIKE_EVENTS_FD = 4,
    PIKE_NAME = 64, /* tunnel name with its zero */
    PIKE_ID = 256,  /* IKE identity with its zero */
    PIKE_TEXT = 512,
    PIKE_PROPOSAL = 256,
    PIKE_SELECTORS = 32, /* a side */
    PIKE_KEY = 128,
    PIKE_MAX_MESSAGE = 8192,
    PIKE_MAX_CREDENTIAL = 65536, /* bytes of a certificate or key file */
};

enum pike_type {
    /* requests of penstock-ike */
    PIKE_GET_SPI = 1,
    PIKE_ADD_SA = 2,
    PIKE_UPDATE_SA = 3,
    PIKE_DEL_SA = 4, /* userspace ESP: sent after libipsec removed it; also for an SA whose add was refused */
    PIKE_QUERY_SA = 5,
    PIKE_ADD_POLICY = 6,
    PIKE_DEL_POLICY = 7,
    PIKE_QUERY_POLICY = 8,
    PIKE_FLUSH_SAS = 9,
    PIKE_FLUSH_POLICIES = 10,
    PIKE_BYPASS_SOCKET = 11, /* one fd by SCM_RIGHTS: exempt it from XFRM and give it the IKE mark */
    PIKE_APPROVE_SA = 12,    /* userspace ESP: pike_add_sa without keys, before libipsec has the SA */

    /* events of penstockd; configure: BEGIN, CREDENTIAL..., TUNNEL..., COMMIT. Only COMMIT changes anything. */
    PIKE_CONFIG_BEGIN = 32,
    PIKE_CONFIG_CREDENTIAL = 33, /* one fd by SCM_RIGHTS */
    PIKE_CONFIG_TUNNEL = 34,
    PIKE_CONFIG_COMMIT = 35,
    PIKE_ACQUIRE = 36,
    PIKE_EXPIRE = 37,
    PIKE_MAPPING = 38,
    PIKE_COMMAND = 39,

    /* events of penstock-ike */
    PIKE_HELLO = 64, /* after the first COMMIT, when the sockets are bound; userspace ESP: with the TUN by SCM_RIGHTS */
    PIKE_LOG = 65,
    PIKE_TUNNEL_EVENT = 66,
    PIKE_ALERT = 67,
    PIKE_ALIVE = 68, /* the header alone, once a second: jobs run, and no IKE_SA is held for ever */
};

enum pike_status { PIKE_OK = 0, PIKE_FAILED = 1, PIKE_NOT_FOUND = 2, PIKE_NOT_SUPPORTED = 3 };
enum pike_esp_mode { PIKE_ESP_KERNEL = 1, PIKE_ESP_USER = 2 };
enum pike_direction { PIKE_DIR_IN = 0, PIKE_DIR_OUT = 1, PIKE_DIR_FWD = 2 }; /* as XFRM_POLICY_* */
enum pike_policy_kind { PIKE_POLICY_IPSEC = 1, PIKE_POLICY_PASS = 2, PIKE_POLICY_DROP = 3 };
enum pike_credential_kind { PIKE_CERTIFICATE = 1, PIKE_PRIVATE_KEY = 2, PIKE_CA = 3 };
enum pike_command_kind { PIKE_INITIATE = 1, PIKE_TERMINATE = 2, PIKE_REKEY_CHILD = 3 };

struct pike_header {
    uint32_t type; /* enum pike_type */
    uint32_t seq;  /* of a request, repeated in its answer; 0 in events */
};
PIKE_ASSERT_SIZE(struct pike_header, 8);

struct pike_address {
    uint8_t bytes[16]; /* IPv4: the first four */
    uint16_t port;     /* UDP port, host order */
    uint8_t family;    /* AF_INET, AF_INET6; 0: none */
    uint8_t pad;
};
PIKE_ASSERT_SIZE(struct pike_address, 20);

struct pike_prefix {
    uint8_t bytes[16];
    uint8_t family;
    uint8_t length; /* bits */
    uint8_t pad[2];
};
PIKE_ASSERT_SIZE(struct pike_prefix, 20);

/* A negotiated traffic selector: inclusive ranges, as in IKEv2. */
struct pike_selector {
    uint8_t from[16];
    uint8_t to[16];
    uint16_t from_port;
    uint16_t to_port;
    uint8_t family;
    uint8_t protocol; /* 0: any */
    uint8_t pad[2];
};
PIKE_ASSERT_SIZE(struct pike_selector, 40);

/* What names one SA in the kernel. */
struct pike_sa_id {
    struct pike_address source;
    struct pike_address destination;
    uint32_t spi_be;
    uint8_t protocol; /* IPPROTO_ESP */
    uint8_t pad[3];
};
PIKE_ASSERT_SIZE(struct pike_sa_id, 48);

/* ---- requests ---- */

struct pike_get_spi {
    struct pike_header header;
    struct pike_address source;
    struct pike_address destination;
    uint8_t protocol;
    uint8_t pad[7];
};
PIKE_ASSERT_SIZE(struct pike_get_spi, 56);

/* PIKE_ADD_SA and PIKE_APPROVE_SA (key_length 0 there). Sent cut after the last selector. */
struct pike_add_sa {
    struct pike_header header;
    struct pike_sa_id id;
    uint32_t reqid;
    uint32_t replay_window; /* packets */
    uint64_t soft_seconds;  /* 0: none */
    uint64_t hard_seconds;
    uint16_t encryption; /* IKEv2 transform id: 20 = AES-GCM-16, 28 = ChaCha20-Poly1305 */
    uint16_t key_length; /* bytes, the salt included */
    uint8_t tunnel_mode; /* 1; anything else is not ours */
    uint8_t encapsulate; /* ESP in UDP, ports in id */
    uint8_t esn;
    uint8_t inbound;
    uint8_t initiator; /* we started the exchange that made it */
    uint8_t update;    /* the SPI came from PIKE_GET_SPI */
    uint8_t source_count;
    uint8_t destination_count;
    uint32_t pad;
    char tunnel[PIKE_NAME]; /* whose CHILD_SA; empty if unknown */
    uint8_t key[PIKE_KEY];
    struct pike_selector selectors[2 * PIKE_SELECTORS]; /* source_count, then destination_count */
};
PIKE_ASSERT_SIZE(struct pike_add_sa, 288 + 2 * PIKE_SELECTORS * 40);

struct pike_update_sa {
    struct pike_header header;
    struct pike_sa_id id;
    struct pike_address new_source;
    struct pike_address new_destination;
    uint32_t new_reqid; /* 0: unchanged */
    uint8_t encapsulate;
    uint8_t new_encapsulate;
    uint8_t pad[2];
};
PIKE_ASSERT_SIZE(struct pike_update_sa, 104);

struct pike_del_sa { /* PIKE_DEL_SA, PIKE_QUERY_SA */
    struct pike_header header;
    struct pike_sa_id id;
};
PIKE_ASSERT_SIZE(struct pike_del_sa, 56);

/* PIKE_ADD_POLICY, PIKE_DEL_POLICY, PIKE_QUERY_POLICY (direction and selectors only). */
struct pike_policy {
    struct pike_header header;
    struct pike_selector source;
    struct pike_selector destination;
    struct pike_address tunnel_source;
    struct pike_address tunnel_destination;
    uint32_t reqid;
    uint32_t spi_be;   /* of the SA, 0: any of the reqid */
    uint8_t direction; /* enum pike_direction */
    uint8_t kind;      /* enum pike_policy_kind */
    uint8_t tunnel_mode;
    uint8_t pad;
};
PIKE_ASSERT_SIZE(struct pike_policy, 140);

struct pike_bypass_socket { /* one fd */
    struct pike_header header;
    uint8_t family;
    uint8_t pad[7];
};
PIKE_ASSERT_SIZE(struct pike_bypass_socket, 16);

struct pike_flush {
    struct pike_header header;
};
PIKE_ASSERT_SIZE(struct pike_flush, 8);

struct pike_answer {
    struct pike_header header;
    uint32_t status; /* enum pike_status */
    uint32_t spi_be; /* PIKE_GET_SPI */
    uint64_t bytes;  /* PIKE_QUERY_SA */
    uint64_t packets;
    int64_t use_time; /* seconds of CLOCK_MONOTONIC, 0: never used; PIKE_QUERY_SA, PIKE_QUERY_POLICY */
};
PIKE_ASSERT_SIZE(struct pike_answer, 40);

/* ---- events of penstockd ---- */

struct pike_config_begin {
    struct pike_header header;
    uint32_t version;   /* PIKE_VERSION */
    uint32_t esp_mode;  /* enum pike_esp_mode; fixed by the first BEGIN */
    uint32_t log_level; /* libcharon's 0..2; more could show secrets and is lowered */
    uint32_t pad;
    char interfaces[256]; /* comma separated: whose addresses IKE may use; empty: all */
};
PIKE_ASSERT_SIZE(struct pike_config_begin, 280);

struct pike_config_credential { /* one fd: PEM or DER, at most PIKE_MAX_CREDENTIAL bytes */
    struct pike_header header;
    uint32_t kind; /* enum pike_credential_kind */
    uint32_t pad;
};
PIKE_ASSERT_SIZE(struct pike_config_credential, 16);

struct pike_config_tunnel {
    struct pike_header header;
    char name[PIKE_NAME];
    char local_id[PIKE_ID];
    char remote_id[PIKE_ID];
    char ike_proposal[PIKE_PROPOSAL];
    char esp_proposal[PIKE_PROPOSAL]; /* userspace ESP has no ESN: "esn" is left out there */
    struct pike_address peer;         /* port: 0 means 500 */
    uint32_t reqid;                   /* not 0 */
    uint32_t ike_rekey;               /* seconds */
    uint32_t child_rekey;
    uint32_t dpd;
    uint32_t replay_window; /* packets */
    uint8_t initiate;       /* 1: bring it up and keep it up; 0: down until PIKE_INITIATE */
    uint8_t mobike;
    uint8_t local_count;
    uint8_t remote_count;
    uint32_t pad;
    struct pike_prefix local[PIKE_SELECTORS];
    struct pike_prefix remote[PIKE_SELECTORS];
};
PIKE_ASSERT_SIZE(struct pike_config_tunnel, 1144 + 2 * PIKE_SELECTORS * 20);

struct pike_config_commit {
    struct pike_header header;
};
PIKE_ASSERT_SIZE(struct pike_config_commit, 8);

struct pike_acquire {
    struct pike_header header;
    uint32_t reqid;
    uint32_t pad;
};
PIKE_ASSERT_SIZE(struct pike_acquire, 16);

struct pike_expire {
    struct pike_header header;
    struct pike_address destination;
    uint32_t spi_be;
    uint8_t protocol;
    uint8_t hard;
    uint8_t pad[6];
};
PIKE_ASSERT_SIZE(struct pike_expire, 40);

struct pike_mapping { /* the peer's NAT changed its address or port */
    struct pike_header header;
    struct pike_address destination;
    struct pike_address remote;
    uint32_t spi_be;
    uint8_t protocol;
    uint8_t pad[3];
};
PIKE_ASSERT_SIZE(struct pike_mapping, 56);

struct pike_command {
    struct pike_header header;
    uint32_t kind; /* enum pike_command_kind */
    uint32_t pad;
    char tunnel[PIKE_NAME];
};
PIKE_ASSERT_SIZE(struct pike_command, 80);

/* ---- events of penstock-ike ---- */

struct pike_hello {
    struct pike_header header;
    uint32_t version; /* PIKE_VERSION */
    uint32_t esp_mode;
    int32_t pid;
    uint16_t ike_port; /* 500 */
    uint16_t natt_port;
    uint8_t ipv4; /* families with a bound socket */
    uint8_t ipv6;
    uint8_t pad[6];
    char strongswan[32]; /* "5.9.8" */
};
PIKE_ASSERT_SIZE(struct pike_hello, 64);

struct pike_log {
    struct pike_header header;
    uint32_t level; /* libcharon's: -1 is sent as 0 */
    uint32_t pad;
    char group[8]; /* "IKE", "KNL", ... */
    char text[PIKE_TEXT];
};
PIKE_ASSERT_SIZE(struct pike_log, 536);

enum pike_tunnel_state {
    PIKE_IKE_CONNECTING = 1,
    PIKE_IKE_UP = 2,
    PIKE_IKE_DOWN = 3,
    PIKE_IKE_REKEYED = 4,
    PIKE_CHILD_UP = 5,
    PIKE_CHILD_DOWN = 6,
    PIKE_CHILD_REKEYED = 7, /* old_spi_..._be name the CHILD_SA it replaces */
    PIKE_IKE_MOVED = 8,     /* MOBIKE or NAT: the addresses changed */
};

struct pike_tunnel_event {
    struct pike_header header;
    uint32_t state; /* enum pike_tunnel_state */
    uint32_t reqid;
    char tunnel[PIKE_NAME];
    uint32_t ike_id; /* libcharon's unique ids */
    uint32_t child_id;
    uint32_t spi_in_be; /* 0 in the events of an IKE_SA */
    uint32_t spi_out_be;
    uint32_t old_spi_in_be;
    uint32_t old_spi_out_be;
    struct pike_address local;
    struct pike_address peer;
    uint32_t rekey_seconds; /* until this SA is rekeyed, 0: unknown */
    uint8_t encapsulated;   /* ESP in UDP */
    uint8_t pad[3];
    char cipher[128]; /* the chosen proposal: "AES_GCM_16_256/ECP_384/EXT_SEQ" */
};
PIKE_ASSERT_SIZE(struct pike_tunnel_event, 280);

struct pike_alert {
    struct pike_header header;
    uint32_t code; /* libcharon's alert_t, or 0x10000 + the notify type of the peer */
    uint32_t pad;
    char tunnel[PIKE_NAME];
    char text[PIKE_TEXT]; /* a sentence for a person */
};
PIKE_ASSERT_SIZE(struct pike_alert, 592);

#ifdef __cplusplus
}
#endif
