/* listener_t: what happens to tunnels, as events; what goes wrong, as sentences for a person. */
#include "agent/ike/shim.h"

#include <stdio.h>

enum { kPeerNotify = 0x10000, kFirstStatusNotify = 16384 };

void alert(const char* tunnel, uint32_t code, const char* text) {
    struct pike_alert event = {.header.type = PIKE_ALERT, .code = code};
    put_text(event.tunnel, sizeof(event.tunnel), tunnel);
    put_text(event.text, sizeof(event.text), text);
    rpc_event(&event, sizeof(event));
}

static const char* name_of(ike_sa_t* ike) { return ike && ike->get_peer_cfg(ike) ? ike->get_name(ike) : ""; }

static uint32_t seconds_until(time_t when) {
    time_t now = time_monotonic(NULL);
    return when > now ? when - now : 0;
}

static void send_tunnel_event(enum pike_tunnel_state state, ike_sa_t* ike, child_sa_t* child, child_sa_t* old) {
    struct pike_tunnel_event event = {.header.type = PIKE_TUNNEL_EVENT, .state = state};
    proposal_t* proposal = child ? child->get_proposal(child) : ike->get_proposal(ike);
    put_text(event.tunnel, sizeof(event.tunnel), name_of(ike));
    event.ike_id = ike->get_unique_id(ike);
    put_address(&event.local, ike->get_my_host(ike));
    put_address(&event.peer, ike->get_other_host(ike));
    if (proposal)
        snprintf(event.cipher, sizeof(event.cipher), "%P", proposal);
    if (child) {
        event.reqid = child->get_reqid(child);
        event.child_id = child->get_unique_id(child);
        event.spi_in_be = child->get_spi(child, TRUE);
        event.spi_out_be = child->get_spi(child, FALSE);
        event.rekey_seconds = seconds_until(child->get_lifetime(child, FALSE));
        event.encapsulated = child->has_encap(child);
    } else
        event.rekey_seconds = seconds_until(ike->get_statistic(ike, STAT_REKEY));
    if (old) {
        event.old_spi_in_be = old->get_spi(old, TRUE);
        event.old_spi_out_be = old->get_spi(old, FALSE);
    }
    rpc_event(&event, sizeof(event));
}

static bool ike_state_change(listener_t* this, ike_sa_t* ike, ike_sa_state_t state) {
    if (state == IKE_CONNECTING)
        send_tunnel_event(PIKE_IKE_CONNECTING, ike, NULL, NULL);
    return TRUE;
}

static bool ike_updown(listener_t* this, ike_sa_t* ike, bool up) {
    send_tunnel_event(up ? PIKE_IKE_UP : PIKE_IKE_DOWN, ike, NULL, NULL);
    return TRUE;
}

static bool ike_rekey(listener_t* this, ike_sa_t* old, ike_sa_t* new) {
    send_tunnel_event(PIKE_IKE_REKEYED, new, NULL, NULL);
    return TRUE;
}

static bool ike_update(listener_t* this, ike_sa_t* ike, host_t* local, host_t* remote) {
    send_tunnel_event(PIKE_IKE_MOVED, ike, NULL, NULL);
    return TRUE;
}

static bool child_updown(listener_t* this, ike_sa_t* ike, child_sa_t* child, bool up) {
    send_tunnel_event(up ? PIKE_CHILD_UP : PIKE_CHILD_DOWN, ike, child, NULL);
    return TRUE;
}

static bool child_rekey(listener_t* this, ike_sa_t* ike, child_sa_t* old, child_sa_t* new) {
    send_tunnel_event(PIKE_CHILD_REKEYED, ike, new, old);
    return TRUE;
}

/* What the peer says no to. */
static const char* notify_sentence(notify_type_t type) {
    switch (type) {
    case NO_PROPOSAL_CHOSEN:
        return "the peer accepts none of our algorithms";
    case AUTHENTICATION_FAILED:
        return "the peer did not accept our certificate or identity, or has no tunnel for them";
    case TS_UNACCEPTABLE:
        return "the peer does not accept our local and remote networks";
    case INTERNAL_ADDRESS_FAILURE:
        return "the peer has no address for us";
    case FAILED_CP_REQUIRED:
        return "the peer insists on assigning us an address";
    case NO_ADDITIONAL_SAS:
        return "the peer takes no further tunnels on this connection";
    case SINGLE_PAIR_REQUIRED:
        return "the peer takes only one pair of networks a tunnel";
    case TEMPORARY_FAILURE:
        return "the peer is busy with a change of its own and asks to try later";
    case CHILD_SA_NOT_FOUND:
        return "the peer no longer knows this tunnel's keys";
    case INVALID_SYNTAX:
        return "the peer could not read our message";
    case INVALID_MAJOR_VERSION:
        return "the peer does not speak IKEv2";
    case INVALID_KE_PAYLOAD: /* part of an ordinary negotiation */
        return "the peer asks for another key exchange group";
    default:
        return NULL;
    }
}

static bool message(listener_t* this, ike_sa_t* ike, message_t* message, bool incoming, bool plain) {
    payload_t* payload;
    if (!incoming || !plain)
        return TRUE;
    enumerator_t* each = message->create_payload_enumerator(message);
    while (each->enumerate(each, &payload)) {
        if (payload->get_type(payload) != PLV2_NOTIFY)
            continue;
        notify_payload_t* notify = (notify_payload_t*)payload;
        notify_type_t type = notify->get_notify_type(notify);
        if ((int)type >= kFirstStatusNotify)
            continue;
        char text[PIKE_TEXT];
        const char* sentence = notify_sentence(type);
        if (sentence)
            snprintf(text, sizeof(text), "%s (%N)", sentence, notify_type_names, type);
        else
            snprintf(text, sizeof(text), "the peer sent %N", notify_type_names, type);
        alert(name_of(ike), kPeerNotify + type, text);
    }
    each->destroy(each);
    return TRUE;
}

static const char* alert_sentence(alert_t code) {
    switch (code) {
    case ALERT_LOCAL_AUTH_FAILED:
        return "authentication failed on our side: the peer refused us, or our key and certificate do not fit";
    case ALERT_PEER_AUTH_FAILED:
        return "the peer could not prove that it is the configured peer";
    case ALERT_PEER_ADDR_FAILED:
        return "the peer's address is not usable";
    case ALERT_PEER_INIT_UNREACHABLE:
        return "the peer does not answer; trying again";
    case ALERT_RETRANSMIT_SEND:
        return "the peer is silent; repeating the message";
    case ALERT_RETRANSMIT_SEND_TIMEOUT:
        return "the peer stopped answering";
    case ALERT_HALF_OPEN_TIMEOUT:
        return "the peer began to connect and did not finish";
    case ALERT_PROPOSAL_MISMATCH_IKE:
        return "no common IKE algorithm; the initiator offered";
    case ALERT_PROPOSAL_MISMATCH_CHILD:
        return "no common ESP algorithm; the initiator offered";
    case ALERT_TS_MISMATCH:
        return "the networks of both sides do not fit together; the initiator offered";
    case ALERT_TS_NARROWED:
        return "the peer accepted only a part of the configured networks";
    case ALERT_INSTALL_CHILD_SA_FAILED:
        return "the SA was refused or could not be installed";
    case ALERT_INSTALL_CHILD_POLICY_FAILED:
        return "the IPsec policy was refused or could not be installed";
    case ALERT_UNIQUE_REPLACE:
        return "replaced by a newer connection of the same peer";
    case ALERT_KEEP_ON_CHILD_SA_FAILURE:
        return "the peer is connected, but the tunnel was refused";
    case ALERT_IKE_SA_EXPIRED:
        return "the IKE SA expired before it could be rekeyed";
    case ALERT_CERT_EXPIRED:
        return "certificate expired or not yet valid";
    case ALERT_CERT_REVOKED:
        return "certificate revoked";
    case ALERT_CERT_NO_ISSUER:
        return "certificate of an unknown CA";
    case ALERT_CERT_UNTRUSTED_ROOT:
        return "certificate of a CA that is not configured";
    case ALERT_CERT_EXCEEDED_PATH_LEN:
        return "certificate chain too long";
    case ALERT_CERT_POLICY_VIOLATION:
        return "certificate violates its CA's constraints";
    case ALERT_AUTHORIZATION_FAILED:
        return "the peer is not authorized";
    default:
        return NULL; /* of no use to a person, or said by another one */
    }
}

/* The argument that says which; the kinds are in strongSwan's bus.h. */
static void add_detail(char* text, size_t size, alert_t code, va_list args) {
    size_t used = strlen(text);
    text += used;
    size -= used;
    switch (code) {
    case ALERT_PROPOSAL_MISMATCH_IKE:
    case ALERT_PROPOSAL_MISMATCH_CHILD: {
        linked_list_t* proposals = va_arg(args, linked_list_t*);
        snprintf(text, size, " %#P", proposals);
        break;
    }
    case ALERT_TS_MISMATCH: {
        linked_list_t* initiator = va_arg(args, linked_list_t*);
        linked_list_t* responder = va_arg(args, linked_list_t*);
        snprintf(text, size, " %#R === %#R", initiator, responder);
        break;
    }
    case ALERT_CERT_EXPIRED:
    case ALERT_CERT_REVOKED:
    case ALERT_CERT_NO_ISSUER:
    case ALERT_CERT_UNTRUSTED_ROOT:
    case ALERT_CERT_EXCEEDED_PATH_LEN:
    case ALERT_CERT_POLICY_VIOLATION: {
        certificate_t* certificate = va_arg(args, certificate_t*);
        snprintf(text, size, ": \"%Y\"", certificate->get_subject(certificate));
        break;
    }
    default:
        break;
    }
}

static bool on_alert(listener_t* this, ike_sa_t* ike, alert_t code, va_list args) {
    char text[PIKE_TEXT];
    const char* sentence = alert_sentence(code);
    if (!sentence)
        return TRUE;
    if (code == ALERT_RETRANSMIT_SEND) {
        (void)va_arg(args, packet_t*);
        if (va_arg(args, u_int) != 1)
            return TRUE; /* once a message is enough */
    }
    put_text(text, sizeof(text), sentence);
    add_detail(text, sizeof(text), code, args);
    alert(name_of(ike), code, text);
    return TRUE;
}

void listener_register(void) {
    static listener_t listener = {
        .alert = on_alert,
        .ike_state_change = ike_state_change,
        .message = message,
        .ike_updown = ike_updown,
        .ike_rekey = ike_rekey,
        .ike_update = ike_update,
        .child_updown = child_updown,
        .child_rekey = child_rekey,
    };
    charon->bus->add_listener(charon->bus, &listener);
}
