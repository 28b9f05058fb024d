/* kernel_ipsec_t that owns nothing: every SA and policy is a request to penstockd, which may refuse. */
#include "agent/ike/shim.h"

#include <netinet/udp.h>
#include <sys/socket.h>

METHOD(kernel_ipsec_t, get_features, kernel_feature_t, kernel_ipsec_t* this) {
    return KERNEL_ESP_V3_TFC | KERNEL_POLICY_SPI;
}

METHOD(kernel_ipsec_t, get_spi, status_t, kernel_ipsec_t* this, host_t* src, host_t* dst, uint8_t protocol,
       uint32_t* spi) {
    struct pike_get_spi request = {.header.type = PIKE_GET_SPI, .protocol = protocol};
    struct pike_answer answer;
    put_address(&request.source, src);
    put_address(&request.destination, dst);
    enum pike_status status = rpc_call(&request, sizeof(request), -1, &answer);
    if (status == PIKE_OK)
        *spi = answer.spi_be;
    return rpc_status(status);
}

METHOD(kernel_ipsec_t, get_cpi, status_t, kernel_ipsec_t* this, host_t* src, host_t* dst, uint16_t* cpi) {
    return NOT_SUPPORTED;
}

METHOD(kernel_ipsec_t, add_sa, status_t, kernel_ipsec_t* this, kernel_ipsec_sa_id_t* id, kernel_ipsec_add_sa_t* data) {
    struct pike_add_sa request;
    size_t length = put_add_sa(&request, id, data);
    if (!length) {
        DBG1(DBG_KNL, "refusing an SA that is not plain AEAD ESP");
        return NOT_SUPPORTED;
    }
    request.header.type = PIKE_ADD_SA;
    request.key_length = data->enc_key.len;
    memcpy(request.key, data->enc_key.ptr, data->enc_key.len);
    enum pike_status status = rpc_call(&request, length, -1, NULL);
    memwipe(request.key, sizeof(request.key));
    return rpc_status(status);
}

METHOD(kernel_ipsec_t, update_sa, status_t, kernel_ipsec_t* this, kernel_ipsec_sa_id_t* id,
       kernel_ipsec_update_sa_t* data) {
    struct pike_update_sa request = {.header.type = PIKE_UPDATE_SA,
                                     .new_reqid = data->new_reqid,
                                     .encapsulate = data->encap,
                                     .new_encapsulate = data->new_encap};
    put_sa_id(&request.id, id);
    put_address(&request.new_source, data->new_src);
    put_address(&request.new_destination, data->new_dst);
    return rpc_status(rpc_call(&request, sizeof(request), -1, NULL));
}

METHOD(kernel_ipsec_t, query_sa, status_t, kernel_ipsec_t* this, kernel_ipsec_sa_id_t* id,
       kernel_ipsec_query_sa_t* data, uint64_t* bytes, uint64_t* packets, time_t* time) {
    struct pike_del_sa request = {.header.type = PIKE_QUERY_SA};
    struct pike_answer answer;
    put_sa_id(&request.id, id);
    enum pike_status status = rpc_call(&request, sizeof(request), -1, &answer);
    if (status == PIKE_OK) {
        if (bytes)
            *bytes = answer.bytes;
        if (packets)
            *packets = answer.packets;
        if (time)
            *time = answer.use_time;
    }
    return rpc_status(status);
}

METHOD(kernel_ipsec_t, del_sa, status_t, kernel_ipsec_t* this, kernel_ipsec_sa_id_t* id, kernel_ipsec_del_sa_t* data) {
    struct pike_del_sa request = {.header.type = PIKE_DEL_SA};
    put_sa_id(&request.id, id);
    return rpc_status(rpc_call(&request, sizeof(request), -1, NULL));
}

static status_t flush(uint32_t type) {
    struct pike_flush request = {.header.type = type};
    return rpc_status(rpc_call(&request, sizeof(request), -1, NULL));
}

METHOD(kernel_ipsec_t, flush_sas, status_t, kernel_ipsec_t* this) { return flush(PIKE_FLUSH_SAS); }

METHOD(kernel_ipsec_t, flush_policies, status_t, kernel_ipsec_t* this) { return flush(PIKE_FLUSH_POLICIES); }

static status_t manage_policy(uint32_t type, kernel_ipsec_policy_id_t* id, kernel_ipsec_manage_policy_t* data,
                              time_t* use_time) {
    struct pike_policy request = {.header.type = type, .direction = id->dir};
    struct pike_answer answer;
    if (id->label || id->if_id || id->mark.value || id->interface)
        return NOT_SUPPORTED;
    put_selector(&request.source, id->src_ts);
    put_selector(&request.destination, id->dst_ts);
    if (data) {
        request.kind = data->type;
        put_address(&request.tunnel_source, data->src);
        put_address(&request.tunnel_destination, data->dst);
        if (data->sa) {
            request.reqid = data->sa->reqid;
            request.spi_be = data->sa->esp.spi;
            request.tunnel_mode = data->sa->mode == MODE_TUNNEL;
        }
    }
    enum pike_status status = rpc_call(&request, sizeof(request), -1, &answer);
    if (status == PIKE_OK && use_time)
        *use_time = answer.use_time;
    return rpc_status(status);
}

METHOD(kernel_ipsec_t, add_policy, status_t, kernel_ipsec_t* this, kernel_ipsec_policy_id_t* id,
       kernel_ipsec_manage_policy_t* data) {
    return manage_policy(PIKE_ADD_POLICY, id, data, NULL);
}

METHOD(kernel_ipsec_t, query_policy, status_t, kernel_ipsec_t* this, kernel_ipsec_policy_id_t* id,
       kernel_ipsec_query_policy_t* data, time_t* use_time) {
    return manage_policy(PIKE_QUERY_POLICY, id, NULL, use_time);
}

METHOD(kernel_ipsec_t, del_policy, status_t, kernel_ipsec_t* this, kernel_ipsec_policy_id_t* id,
       kernel_ipsec_manage_policy_t* data) {
    return manage_policy(PIKE_DEL_POLICY, id, data, NULL);
}

METHOD(kernel_ipsec_t, bypass_socket, bool, kernel_ipsec_t* this, int fd, int family) {
    struct pike_bypass_socket request = {.header.type = PIKE_BYPASS_SOCKET, .family = family};
    return rpc_call(&request, sizeof(request), fd, NULL) == PIKE_OK;
}

METHOD(kernel_ipsec_t, enable_udp_decap, bool, kernel_ipsec_t* this, int fd, int family, uint16_t port) {
    int type = UDP_ENCAP_ESPINUDP; /* needs no capability */
    return setsockopt(fd, SOL_UDP, UDP_ENCAP, &type, sizeof(type)) == 0;
}

METHOD(kernel_ipsec_t, destroy, void, kernel_ipsec_t* this) { free(this); }

kernel_ipsec_t* rpc_kernel_ipsec_create(void) {
    kernel_ipsec_t* this = malloc(sizeof(*this));
    *this = (kernel_ipsec_t){
        .get_features = _get_features,
        .get_spi = _get_spi,
        .get_cpi = _get_cpi,
        .add_sa = _add_sa,
        .update_sa = _update_sa,
        .query_sa = _query_sa,
        .del_sa = _del_sa,
        .flush_sas = _flush_sas,
        .add_policy = _add_policy,
        .query_policy = _query_policy,
        .del_policy = _del_policy,
        .flush_policies = _flush_policies,
        .bypass_socket = _bypass_socket,
        .enable_udp_decap = _enable_udp_decap,
        .destroy = _destroy,
    };
    return this;
}
