/* Our certificate and key, and the CAs a peer must be under, from the bytes penstockd passed as descriptors. */
#include "agent/ike/shim.h"

static mem_cred_t* credentials;    /* the set libcharon looks in */
static linked_list_t* authorities; /* certificate_t: the configured CAs */
static certificate_t* own;         /* our end-entity certificate */

void credentials_register(void) {
    credentials = mem_cred_create();
    authorities = linked_list_create();
    lib->credmgr->add_set(lib->credmgr, &credentials->set);
}

/*
 * A builder's argument kind by its name: Debian's security updates of 6.0.1 inserted one in the middle of
 * builder_part_t (BUILD_AGENT_USER), so that upstream's numbers are wrong there. The library's own table of names is
 * right everywhere.
 */
static int part(const char* name) {
    int value = BUILD_END;
    if (!enum_from_name(builder_part_names, name, &value))
        DBG1(DBG_LIB, "libstrongswan has no %s", name);
    return value;
}

static void* parse(credential_type_t type, int subtype, chunk_t data) {
    return lib->creds->create(lib->creds, type, subtype, part("BUILD_BLOB_PEM"), data, part("BUILD_END"));
}

static certificate_t* parse_certificate(chunk_t data) { return parse(CRED_CERTIFICATE, CERT_X509, data); }

static private_key_t* parse_key(chunk_t data) { return parse(CRED_PRIVATE_KEY, KEY_ANY, data); }

/* All of them must parse; otherwise what was in force stays. */
bool credentials_apply(const struct staged_config* config) {
    mem_cred_t* fresh = mem_cred_create();
    linked_list_t* fresh_authorities = linked_list_create();
    certificate_t* fresh_own = NULL;
    const char* refused = NULL;
    bool key = FALSE;
    for (unsigned i = 0; i < config->credential_count && !refused; i++) {
        chunk_t data = config->credentials[i].data;
        if (config->credentials[i].kind == PIKE_PRIVATE_KEY) {
            private_key_t* parsed = parse_key(data);
            if (parsed)
                fresh->add_key(fresh, parsed);
            else
                refused = "the private key cannot be read (PEM or DER, not encrypted)";
            key = parsed != NULL;
            continue;
        }
        bool ca = config->credentials[i].kind == PIKE_CA;
        certificate_t* parsed = parse_certificate(data);
        if (!parsed) {
            refused = ca ? "a CA certificate cannot be read" : "our certificate cannot be read";
            break;
        }
        parsed = fresh->add_cert_ref(fresh, ca, parsed);
        if (ca)
            fresh_authorities->insert_last(fresh_authorities, parsed->get_ref(parsed));
        else if (!fresh_own)
            fresh_own = parsed->get_ref(parsed);
    }
    if (!refused && (!key || !fresh_own || !fresh_authorities->get_count(fresh_authorities)))
        refused = "a certificate, its key and at least one CA are needed";
    if (refused) {
        alert("", 0, refused);
        fresh_authorities->destroy_offset(fresh_authorities, offsetof(certificate_t, destroy));
        DESTROY_IF(fresh_own);
        fresh->destroy(fresh);
        return FALSE;
    }

    lib->credmgr->add_set(lib->credmgr, &fresh->set);
    lib->credmgr->remove_set(lib->credmgr, &credentials->set);
    lib->credmgr->flush_cache(lib->credmgr, CERT_ANY);
    credentials->destroy(credentials);
    authorities->destroy_offset(authorities, offsetof(certificate_t, destroy));
    DESTROY_IF(own);
    credentials = fresh;
    authorities = fresh_authorities;
    own = fresh_own;
    return TRUE;
}

void credentials_constrain(auth_cfg_t* auth, bool local) {
    certificate_t* authority;
    if (local) {
        if (own)
            auth->add(auth, AUTH_RULE_SUBJECT_CERT, own->get_ref(own));
        return;
    }
    enumerator_t* each = authorities->create_enumerator(authorities);
    while (each->enumerate(each, &authority))
        auth->add(auth, AUTH_RULE_CA_CERT, authority->get_ref(authority));
    each->destroy(each);
}
