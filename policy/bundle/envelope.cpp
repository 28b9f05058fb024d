#include "policy/bundle/envelope.hpp"

#include "policy/bundle/encoding.hpp"
#include "policy/bundle/fields.hpp"

#include <nlohmann/json.hpp>

#include <cerrno>

namespace penstock::policy {
namespace {

Result<Signature> read_signature(Document::Value value, const std::string& place) {
    const auto fields = Fields::read(value, place, {"keyid", "sig"});
    if (!fields)
        return tl::unexpected(fields.error());
    const auto id = fields->text("keyid");
    const auto sig = fields->text("sig");
    if (!id || !sig)
        return tl::unexpected((!id ? id : sig).error());
    if (!is_key_id(*id))
        return fail(place + ".keyid: is not a key id (64 lower-case hex digits)");
    auto bytes = base64_decode(*sig);
    if (!bytes)
        return fail(place + ".sig: " + bytes.error().message());
    if (bytes->empty() || bytes->size() > kMaxSignatureBytes.value)
        return fail(place + ".sig: is empty or longer than the " + describe(kMaxSignatureBytes),
                    bytes->empty() ? 0 : EFBIG);
    return Signature{std::string(*id), std::move(*bytes)};
}

} // namespace

Result<Envelope> Envelope::parse(std::string_view bytes, const Limit& limit) {
    if (bytes.size() > limit.value)
        return fail("envelope: " + std::to_string(bytes.size()) + " bytes are more than the " + describe(limit), EFBIG);
    const auto document = parse_json(bytes, "envelope", limit);
    if (!document)
        return tl::unexpected(document.error());
    const auto fields = Fields::read(document->root(), "envelope", {"payload", "payloadType", "signatures"});
    if (!fields)
        return tl::unexpected(fields.error());
    const auto type = fields->text("payloadType");
    const auto encoded = fields->text("payload");
    const auto list = fields->list("signatures", kMaxSignatures);
    if (!type || !encoded)
        return tl::unexpected((!type ? type : encoded).error());
    if (!list)
        return tl::unexpected(list.error());
    if (type->empty() || type->size() > kMaxTextBytes.value)
        return fail("envelope.payloadType: is empty or longer than the " + describe(kMaxTextBytes),
                    type->empty() ? 0 : EFBIG);

    Envelope envelope{std::string(*type), {}, {}};
    std::size_t index = 0;
    for (const auto value : *list) {
        auto signature = read_signature(value, "envelope.signatures[" + std::to_string(index++) + "]");
        if (!signature)
            return tl::unexpected(signature.error());
        envelope.signatures.push_back(std::move(*signature));
    }
    auto payload = base64_decode(*encoded);
    if (!payload)
        return fail("envelope.payload: " + payload.error().message());
    envelope.payload = std::move(*payload);
    return envelope;
}

std::string Envelope::dump() const {
    nlohmann::json list = nlohmann::json::array();
    for (const Signature& signature : signatures)
        list.push_back({{"keyid", signature.key_id}, {"sig", base64_encode(signature.bytes)}});
    return nlohmann::json{{"payload", base64_encode(payload)}, {"payloadType", payload_type}, {"signatures", list}}
        .dump();
}

std::string Envelope::signed_bytes() const { return pae(payload_type, payload); }

std::string pae(std::string_view payload_type, std::string_view payload) {
    std::string out = "DSSEv1 " + std::to_string(payload_type.size()) + " ";
    out += payload_type;
    out += " " + std::to_string(payload.size()) + " ";
    out += payload;
    return out;
}

} // namespace penstock::policy
