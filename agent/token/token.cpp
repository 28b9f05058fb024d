#include "agent/token/token.hpp"

#include "agent/token/child.hpp"
#include "agent/token/session.hpp"
#include "policy/bundle/encoding.hpp"
#include "policy/bundle/signature.hpp"
#include "policy/text.hpp"

#include <cstring>

namespace penstock::token {
namespace {

using namespace std::string_view_literals;
using policy::KeyType;
using policy::PublicKey;

// CKA_EC_PARAMS of PKCS #11: an OID (RFC 5480, RFC 8410), of Ed25519 also the curve's name as a PrintableString (v3.0,
// 2.3.10).
constexpr auto kP256 = "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"sv;
constexpr auto kEd25519Oid = "\x06\x03\x2b\x65\x70"sv;
constexpr auto kEd25519Name = "\x13\x0c"
                              "edwards25519"sv;

std::string_view name(CK_OBJECT_CLASS type) { return type == CKO_PRIVATE_KEY ? "private" : "public"; }

std::string listed(const Session& session, const std::vector<CK_OBJECT_HANDLE>& keys) {
    std::vector<std::string> names;
    names.reserve(keys.size());
    for (const CK_OBJECT_HANDLE key : keys)
        names.push_back(policy::quote(session.attribute(key, CKA_LABEL)) + " (id " +
                        policy::hex(session.attribute(key, CKA_ID)) + ")");
    return sorted(std::move(names));
}

// The only one that matches.
Result<CK_OBJECT_HANDLE> find_key(const Session& session, CK_OBJECT_CLASS type, std::vector<CK_ATTRIBUTE> attributes) {
    const auto found = session.find(type, std::move(attributes));
    if (!found)
        return tl::unexpected(found.error());
    if (found->size() == 1)
        return found->front();
    if (found->empty()) {
        const auto others = session.find(type, {});
        return fail("the token has no such " + std::string(name(type)) + " key" +
                    (others && !others->empty() ? "; it has " + listed(session, *others) : ""));
    }
    return fail("several " + std::string(name(type)) + " keys match: " + listed(session, *found) +
                "; name one, as by id=%01");
}

Result<KeyType> key_type(const Session& session, CK_OBJECT_HANDLE key) {
    const std::string value = session.attribute(key, CKA_KEY_TYPE), curve = session.attribute(key, CKA_EC_PARAMS);
    CK_KEY_TYPE type = CK_UNAVAILABLE_INFORMATION;
    if (value.size() == sizeof type)
        std::memcpy(&type, value.data(), sizeof type);
    if (type == CKK_EC && curve == kP256)
        return KeyType::p256;
    if (type == CKK_EC_EDWARDS && (curve == kEd25519Oid || curve == kEd25519Name))
        return KeyType::ed25519;
    const char* what = type == CKK_RSA                            ? "an RSA key"
                       : type == CKK_EC || type == CKK_EC_EDWARDS ? "a key on another curve"
                                                                  : "a key of another type";
    return fail(std::string("is ") + what + "; what signs is Ed25519 or P-256 (EC:edwards25519, EC:prime256v1)");
}

Result<PublicKey> public_key(const Session& session, CK_OBJECT_HANDLE key) {
    const auto type = key_type(session, key);
    if (!type)
        return tl::unexpected(type.error());
    // PKCS #11 wraps the point into an OCTET STRING of DER; not all tokens do.
    std::string point = session.attribute(key, CKA_EC_POINT);
    const std::size_t size = *type == KeyType::p256 ? 65 : 32;
    if (point.size() == size + 2 && point[0] == '\x04' && static_cast<std::size_t>(point[1]) == size)
        point.erase(0, 2);
    return PublicKey::from_point(*type, point);
}

// The public half has the id of the private one; a key without an id is found as the URI says.
Result<PublicKey> public_half(const Session& session, const Uri& uri, CK_OBJECT_HANDLE key) {
    std::string id = session.attribute(key, CKA_ID);
    const auto other = find_key(session, CKO_PUBLIC_KEY,
                                id.empty() ? uri.object() : std::vector<CK_ATTRIBUTE>{{CKA_ID, id.data(), id.size()}});
    if (!other)
        return fail("the public key beside the private one (id " + policy::hex(id) + ")", Error(other.error()));
    return public_key(session, *other);
}

// In the child: the key as DER and the signature as the token gives it, each in base64, with a newline between.
Result<std::string> sign_in_child(const Uri& uri, std::string_view message, const PinSources& pins) {
    const auto modules = Modules::load(uri);
    if (!modules)
        return tl::unexpected(modules.error());
    const auto token = find_token(uri, *modules);
    if (!token)
        return tl::unexpected(token.error());
    auto session = Session::open(*token);
    if (!session)
        return tl::unexpected(session.error());
    if (auto in = session->log_in(uri, pins); !in)
        return tl::unexpected(in.error());
    const auto key = find_key(*session, CKO_PRIVATE_KEY, uri.object());
    if (!key)
        return tl::unexpected(key.error());
    const auto type = key_type(*session, *key);
    if (!type)
        return tl::unexpected(type.error());
    if (session->attribute(*key, CKA_SIGN) == "\0"sv)
        return fail("the token does not let this key sign (CKA_SIGN); make one for signing, as with `pkcs11-tool "
                    "--keypairgen --usage-sign`");
    const auto half = public_half(*session, uri, *key);
    if (!half)
        return tl::unexpected(half.error());
    const auto signature = *type == KeyType::p256 ? session->sign(*key, CKM_ECDSA, policy::sha256(message))
                                                  : session->sign(*key, CKM_EDDSA, message);
    if (!signature)
        return tl::unexpected(signature.error());
    return policy::base64_encode(half->der()) + "\n" + policy::base64_encode(*signature);
}

Result<std::string> read_in_child(const Uri& uri) {
    const auto modules = Modules::load(uri);
    if (!modules)
        return tl::unexpected(modules.error());
    const auto token = find_token(uri, *modules);
    if (!token)
        return tl::unexpected(token.error());
    const auto session = Session::open(*token);
    if (!session)
        return tl::unexpected(session.error());
    const auto key = find_key(*session, CKO_PUBLIC_KEY, uri.object());
    if (!key)
        return tl::unexpected(key.error());
    const auto read = public_key(*session, *key);
    return read ? Result<std::string>(read->der()) : tl::unexpected(read.error());
}

// The module could have changed anything in the child, so only this decides.
Result<Signed> judged(std::string_view answer, std::string_view message) {
    const auto end = answer.find('\n');
    const auto der = policy::base64_decode(answer.substr(0, end));
    const auto raw = policy::base64_decode(end == answer.npos ? "" : answer.substr(end + 1));
    auto key = der ? PublicKey::from_der(*der) : tl::unexpected(der.error());
    if (!key || !raw)
        return fail("the token's module answered something else; nothing was signed");
    auto signature = policy::signature_of_token(key->type(), *raw);
    if (!signature || !key->verify(message, *signature))
        return fail("what the token made is no signature of its key " + key->id() + "; nothing was signed");
    return Signed{std::move(*key), std::move(*signature)};
}

} // namespace

bool is_uri(std::string_view name) { return name.starts_with("pkcs11:"); }

Result<PublicKey> read_public_key(const std::string& text) {
    const auto uri = Uri::parse(text);
    if (!uri)
        return tl::unexpected(uri.error());
    auto der = in_child([&] { return read_in_child(*uri); });
    if (!der)
        return fail(text, std::move(der.error()));
    auto key = PublicKey::from_der(*der);
    return key ? std::move(key) : fail(text, std::move(key.error()));
}

Result<Signed> sign(const std::string& text, std::string_view message, const PinSources& pins) {
    const auto uri = Uri::parse(text);
    if (!uri)
        return tl::unexpected(uri.error());
    auto answer = in_child([&] { return sign_in_child(*uri, message, pins); });
    if (!answer)
        return fail(text, std::move(answer.error()));
    auto made = judged(*answer, message);
    return made ? std::move(made) : fail(text, std::move(made.error()));
}

} // namespace penstock::token
