/* One tunnel of the configuration as libcharon's peer, IKE and child configuration. Only AEAD, only exact identities.
 */
#include "agent/ike/shim.h"

#include <stdio.h>

bool cipher_is_aead(uint16_t encryption) {
    /* GMAC is AEAD by its interface and encrypts nothing. */
    return encryption_algorithm_is_aead(encryption) && encryption != ENCR_NULL_AUTH_AES_GMAC;
}

static bool only_aead(proposal_t* proposal) {
    uint16_t algorithm;
    unsigned ciphers = 0, good = 0;
    enumerator_t* each = proposal->create_enumerator(proposal, ENCRYPTION_ALGORITHM);
    while (each->enumerate(each, &algorithm, NULL)) {
        ++ciphers;
        good += cipher_is_aead(algorithm);
    }
    each->destroy(each);
    return ciphers > 0 && ciphers == good;
}

/* The next proposal of a comma separated list; NULL at its end, with *bad set if it is not one of ours. */
static proposal_t* next_proposal(char** rest, protocol_id_t protocol, bool* bad) {
    char* text;
    do
        text = strsep(rest, ", ");
    while (text && !*text);
    if (!text)
        return NULL;
    proposal_t* proposal = proposal_create_from_string(protocol, text);
    if (proposal && only_aead(proposal))
        return proposal;
    DESTROY_IF(proposal);
    *bad = TRUE;
    return NULL;
}

/* libipsec has no extended sequence numbers: "a-b-esn" becomes "a-b", which offers plain ones. */
static void without_esn(char* list) {
    char *token = list, *out = list;
    while (*token) {
        size_t length = strcspn(token, "-, ");
        if (length == 3 && strneq(token, "esn", 3)) {
            if (out > list && out[-1] == '-')
                out--;
        } else {
            memmove(out, token, length);
            out += length;
        }
        token += length;
        if (*token)
            *out++ = *token++;
    }
    *out = 0;
}

static bool add_ike_proposals(const char* list, ike_cfg_t* ike) {
    char copy[PIKE_PROPOSAL];
    char* rest = copy;
    proposal_t* proposal;
    unsigned count = 0;
    bool bad = FALSE;
    put_text(copy, sizeof(copy), list);
    for (; (proposal = next_proposal(&rest, PROTO_IKE, &bad)); count++)
        ike->add_proposal(ike, proposal);
    return count > 0 && !bad;
}

static bool add_esp_proposals(const char* list, bool user_mode, child_cfg_t* child) {
    char copy[PIKE_PROPOSAL];
    char* rest = copy;
    proposal_t* proposal;
    unsigned count = 0;
    bool bad = FALSE;
    put_text(copy, sizeof(copy), list);
    if (user_mode)
        without_esn(copy);
    for (; (proposal = next_proposal(&rest, PROTO_ESP, &bad)); count++)
        child->add_proposal(child, proposal);
    return count > 0 && !bad;
}

static void add_selectors(child_cfg_t* child, bool local, const struct pike_prefix* prefixes, unsigned count) {
    for (unsigned i = 0; i < count && i < PIKE_SELECTORS; i++) {
        struct pike_address address = {.family = prefixes[i].family};
        memcpy(address.bytes, prefixes[i].bytes, sizeof(address.bytes));
        host_t* net = get_address(&address);
        if (net)
            child->add_traffic_selector(child, local,
                                        traffic_selector_create_from_subnet(net, prefixes[i].length, 0, 0, 65535));
    }
}

static bool add_auth(peer_cfg_t* peer, const char* id, bool local) {
    identification_t* identity = identification_create_from_string((char*)id);
    if (!*id || identity->get_type(identity) == ID_ANY || identity->contains_wildcards(identity)) {
        identity->destroy(identity);
        return FALSE;
    }
    auth_cfg_t* auth = auth_cfg_create();
    auth->add(auth, AUTH_RULE_AUTH_CLASS, AUTH_CLASS_PUBKEY);
    auth->add(auth, AUTH_RULE_IDENTITY, identity);
    credentials_constrain(auth, local);
    peer->add_auth_cfg(peer, auth, local);
    return TRUE;
}

static child_cfg_t* make_child(const struct pike_config_tunnel* config, bool user_mode) {
    uint32_t rekey = config->child_rekey;
    child_cfg_create_t create = {
        .reqid = config->reqid,
        .mode = MODE_TUNNEL,
        .lifetime = {.time = {.life = rekey + rekey / 10 + 30, .rekey = rekey, .jitter = rekey / 10}},
        .start_action = ACTION_NONE, /* keeper.c starts */
        .dpd_action = ACTION_START,
        .close_action = ACTION_START,
    };
    child_cfg_t* child = child_cfg_create((char*)config->name, &create);
    child->set_replay_window(child, config->replay_window);
    add_selectors(child, TRUE, config->local, config->local_count);
    add_selectors(child, FALSE, config->remote, config->remote_count);
    if (add_esp_proposals(config->esp_proposal, user_mode, child))
        return child;
    child->destroy(child);
    return NULL;
}

static peer_cfg_t* make_peer(const struct pike_config_tunnel* config, ike_cfg_t* ike) {
    peer_cfg_create_t create = {
        .cert_policy = CERT_ALWAYS_SEND,
        .unique = UNIQUE_REPLACE,
        .keyingtries = 0, /* for ever */
        .rekey_time = config->ike_rekey,
        .jitter_time = config->ike_rekey / 10,
        .over_time = config->ike_rekey / 10 + 60,
        .no_mobike = !config->mobike,
        .dpd = config->dpd,
    };
    return peer_cfg_create((char*)config->name, ike, &create);
}

const char* connection_create(const struct pike_config_tunnel* config, bool user_mode, peer_cfg_t** out) {
    char peer_text[64];
    host_t* peer_host = get_address(&config->peer);
    if (!peer_host || !config->reqid || !config->local_count || !config->remote_count) {
        DESTROY_IF(peer_host);
        return "the tunnel's configuration is incomplete";
    }
    snprintf(peer_text, sizeof(peer_text), "%H", peer_host);
    peer_host->destroy(peer_host);

    ike_cfg_create_t create = {
        .version = IKEV2,
        .local = "%any",
        .local_port = charon->socket->get_port(charon->socket, FALSE),
        .remote = peer_text,
        .remote_port = config->peer.port ? config->peer.port : IKEV2_UDP_PORT,
        .force_encap = user_mode,
        .fragmentation = FRAGMENTATION_YES,
    };
    ike_cfg_t* ike = ike_cfg_create(&create);
    if (!add_ike_proposals(config->ike_proposal, ike)) {
        ike->destroy(ike);
        return "the IKE proposal is unknown or not AEAD";
    }
    peer_cfg_t* peer = make_peer(config, ike);
    const char* refused = NULL;
    child_cfg_t* child = NULL;
    if (!add_auth(peer, config->local_id, TRUE) || !add_auth(peer, config->remote_id, FALSE))
        refused = "an identity is empty or has wildcards";
    else if (!(child = make_child(config, user_mode)))
        refused = "the ESP proposal is unknown or not AEAD";
    if (refused) {
        peer->destroy(peer);
        return refused;
    }
    peer->add_child_cfg(peer, child);
    *out = peer;
    return NULL;
}
