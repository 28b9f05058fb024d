/*
 * Userspace ESP: puts penstockd in front of libipsec. Every SA is approved before it exists, and routes are not ours.
 *
 * charon->kernel is a table of functions that everyone calls through; replacing entries right after libcharon_init()
 * is the one hook that no packet can be ahead of (child_updown comes after the first ESP).
 */
#include "agent/ike/shim.h"

static status_t (*next_add_sa)(kernel_interface_t*, kernel_ipsec_sa_id_t*, kernel_ipsec_add_sa_t*);
static status_t (*next_del_sa)(kernel_interface_t*, kernel_ipsec_sa_id_t*, kernel_ipsec_del_sa_t*);

static void report_deletion(kernel_ipsec_sa_id_t* id) {
    struct pike_del_sa request = {.header.type = PIKE_DEL_SA};
    put_sa_id(&request.id, id);
    rpc_call(&request, sizeof(request), -1, NULL);
}

static status_t add_sa(kernel_interface_t* this, kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data) {
    struct pike_add_sa request;
    size_t length = put_add_sa(&request, id, data);
    if (!length || !data->encap) {
        DBG1(DBG_KNL, "refusing an SA that is not AEAD ESP in UDP");
        return NOT_SUPPORTED;
    }
    request.header.type = PIKE_APPROVE_SA;
    enum pike_status verdict = rpc_call(&request, length, -1, NULL);
    if (verdict != PIKE_OK)
        return rpc_status(verdict);
    status_t status = next_add_sa(this, id, data);
    if (status != SUCCESS)
        report_deletion(id);
    return status;
}

/* libipsec cannot move an SA; libcharon then rekeys the CHILD_SA, which is approved like any other. */
static status_t update_sa(kernel_interface_t* this, kernel_ipsec_sa_id_t* id, kernel_ipsec_update_sa_t* data) {
    return NOT_SUPPORTED;
}

static status_t del_sa(kernel_interface_t* this, kernel_ipsec_sa_id_t* id, kernel_ipsec_del_sa_t* data) {
    status_t status = next_del_sa(this, id, data);
    report_deletion(id);
    return status;
}

static bool bypass_socket(kernel_interface_t* this, int fd, int family) {
    struct pike_bypass_socket request = {.header.type = PIKE_BYPASS_SOCKET, .family = family};
    return rpc_call(&request, sizeof(request), fd, NULL) == PIKE_OK;
}

/* kernel-libipsec fails a policy without a route and a local address inside the selector. Routes are penstockd's. */
static status_t get_address_by_ts(kernel_interface_t* this, traffic_selector_t* selector, host_t** ip,
                                  bool* is_virtual) {
    *ip = host_create_any(selector->get_type(selector) == TS_IPV4_ADDR_RANGE ? AF_INET : AF_INET6);
    if (is_virtual)
        *is_virtual = FALSE;
    return SUCCESS;
}

static status_t add_route(kernel_interface_t* this, chunk_t net, uint8_t prefix, host_t* gateway, host_t* source,
                          char* interface, bool pass) {
    return ALREADY_DONE;
}

static status_t del_route(kernel_interface_t* this, chunk_t net, uint8_t prefix, host_t* gateway, host_t* source,
                          char* interface, bool pass) {
    return SUCCESS;
}

void kernel_wrap_user_mode(void) {
    kernel_interface_t* kernel = charon->kernel;
    next_add_sa = kernel->add_sa;
    next_del_sa = kernel->del_sa;
    kernel->add_sa = add_sa;
    kernel->update_sa = update_sa;
    kernel->del_sa = del_sa;
    kernel->bypass_socket = bypass_socket;
    kernel->get_address_by_ts = get_address_by_ts;
    kernel->add_route = add_route;
    kernel->del_route = del_route;
}
