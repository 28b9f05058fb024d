#include "policy/bundle/refusal.hpp"

#include <cerrno>

namespace penstock::policy {

std::string_view refusal_name(Refusal refusal) {
    switch (refusal) {
    case Refusal::oversize:
        return "oversize";
    case Refusal::not_an_envelope:
        return "not_an_envelope";
    case Refusal::wrong_payload_type:
        return "wrong_payload_type";
    case Refusal::root_expired:
        return "root_expired";
    case Refusal::over_limit:
        return "over_limit";
    case Refusal::duplicate_json_key:
        return "duplicate_json_key";
    case Refusal::trailing_bytes:
        return "trailing_bytes";
    case Refusal::invalid_utf8:
        return "invalid_utf8";
    case Refusal::wrong_role:
        return "wrong_role";
    case Refusal::duplicate_key:
        return "duplicate_key";
    case Refusal::unknown_key:
        return "unknown_key";
    case Refusal::signature_invalid:
        return "signature_invalid";
    case Refusal::signature_not_canonical:
        return "signature_not_canonical";
    case Refusal::too_few_signatures:
        return "too_few_signatures";
    case Refusal::malformed_policy:
        return "malformed_policy";
    case Refusal::malformed_root:
        return "malformed_root";
    case Refusal::wrong_fleet:
        return "wrong_fleet";
    case Refusal::wrong_gateway:
        return "wrong_gateway";
    case Refusal::rollback:
        return "rollback";
    case Refusal::conflicting_version:
        return "conflicting_version";
    case Refusal::root_rollback:
        return "root_rollback";
    case Refusal::root_version_skipped:
        return "root_version_skipped";
    case Refusal::root_conflict:
        return "root_conflict";
    case Refusal::not_yet_valid:
        return "not_yet_valid";
    case Refusal::expired:
        return "expired";
    case Refusal::gateway_unable:
        return "gateway_unable";
    }
    return "?";
}

Refusal refusal_of(const Error& error, Refusal otherwise) {
    switch (error.code()) {
    case EFBIG:
        return Refusal::over_limit;
    case EEXIST:
        return Refusal::duplicate_json_key;
    case EBADMSG:
        return Refusal::trailing_bytes;
    case EILSEQ:
        return Refusal::invalid_utf8;
    default:
        return otherwise;
    }
}

} // namespace penstock::policy
