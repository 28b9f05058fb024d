#include "policy/bundle/root.hpp"

#include "policy/bundle/encoding.hpp"
#include "policy/bundle/fields.hpp"
#include "policy/bundle/signature.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <set>

namespace penstock::policy {
namespace {

Status read_keys(Document::Value object, const std::string& place, Root& root) {
    if (object.size() > kMaxRootKeys.value)
        return fail(place + ": more keys than the " + describe(kMaxRootKeys), EFBIG);
    for (const auto value : object) {
        const std::string here = place + "." + std::string(value.key().substr(0, 64));
        if (!is_key_id(value.key()))
            return fail(place + ": " + quote(value.key()) + " is not a key id (64 lower-case hex digits)");
        const auto fields = Fields::read(value, here, {"public", "type"});
        if (!fields)
            return tl::unexpected(fields.error());
        const auto type = fields->text("type");
        const auto text = fields->text("public");
        if (!type || !text)
            return tl::unexpected((!type ? type : text).error());
        const auto der = base64_decode(*text);
        if (!der)
            return fail(fields->place("public") + ": " + der.error().message());
        const auto key = PublicKey::from_der(*der);
        if (!key)
            return fail(fields->place("public") + ": " + key.error().message());
        if (key_type_name(key->type()) != *type)
            return fail(fields->place("type") + ": is not the type of the key");
        if (key->id() != value.key())
            return fail(here + ": the id is not the SHA-256 of the key");
        root.keys.emplace(key->id(), *key);
    }
    return {};
}

Result<Role> read_role(const Fields& roles, std::string_view name, const Root& root) {
    const auto object = roles.map(name);
    if (!object)
        return tl::unexpected(object.error());
    const auto fields = Fields::read(*object, roles.place(name), {"keys", "threshold"});
    if (!fields)
        return tl::unexpected(fields.error());
    const auto list = fields->list("keys", kMaxRootKeys);
    const auto threshold = fields->number("threshold");
    if (!list)
        return tl::unexpected(list.error());
    if (!threshold)
        return tl::unexpected(threshold.error());
    Role role{{}, *threshold};
    for (const auto id : *list) {
        if (id.kind() != Kind::text || !root.keys.contains(std::string(id.text())))
            return fail(fields->place("keys") + ": names a key that is not in \"keys\"");
        role.keys.emplace_back(id.text());
    }
    std::ranges::sort(role.keys);
    if (std::ranges::adjacent_find(role.keys) != role.keys.end())
        return fail(fields->place("keys") + ": the same key is there twice");
    if (role.threshold < 1 || role.threshold > role.keys.size())
        return fail(fields->place("threshold") + ": " + std::to_string(role.threshold) + " is not between 1 and the " +
                    std::to_string(role.keys.size()) + " keys of the role");
    return role;
}

Status read_header(const Fields& fields, Root& root) {
    const auto fleet = fields.text("fleet");
    const auto version = fields.number("version");
    const auto expires = fields.text("expires");
    if (!fleet || !expires)
        return tl::unexpected((!fleet ? fleet : expires).error());
    if (!version)
        return tl::unexpected(version.error());
    if (!is_name(*fleet))
        return fail("root.fleet: a name is 1 to 64 letters, digits, '.', '_' or '-'");
    if (*version < 1 || *version > kMaxVersion.value)
        return fail("root.version: must be from 1 to the " + describe(kMaxVersion));
    const auto time = parse_time(*expires);
    if (!time)
        return fail("root.expires: " + time.error().message());
    root.fleet = *fleet;
    root.version = *version;
    root.expires = *time;
    return {};
}

// A key of `valid` whose signature is there again, or is there under another id too. Empty: none.
std::string signed_twice(const Envelope& envelope, const std::set<std::string>& valid) {
    for (const Signature& one : envelope.signatures)
        for (const Signature& other : envelope.signatures)
            if (&one != &other && valid.contains(one.key_id) &&
                (one.key_id == other.key_id || one.bytes == other.bytes))
                return one.key_id;
    return {};
}

} // namespace

Result<Root> Root::from_payload(std::string_view payload) {
    const auto document = parse_json(payload, "root");
    if (!document)
        return tl::unexpected(document.error());
    const auto fields = Fields::read(document->root(), "root", {"fleet", "version", "expires", "keys", "roles"});
    if (!fields)
        return tl::unexpected(fields.error());
    Root root;
    if (auto header = read_header(*fields, root); !header)
        return tl::unexpected(header.error());
    const auto keys = fields->map("keys");
    const auto roles = fields->map("roles");
    if (!keys || !roles)
        return tl::unexpected((!keys ? keys : roles).error());
    if (auto read = read_keys(*keys, "root.keys", root); !read)
        return tl::unexpected(read.error());
    const auto role_fields = Fields::read(*roles, "root.roles", {"root", "policy"});
    if (!role_fields)
        return tl::unexpected(role_fields.error());
    auto root_role = read_role(*role_fields, "root", root);
    auto policy_role = read_role(*role_fields, "policy", root);
    if (!root_role || !policy_role)
        return tl::unexpected((!root_role ? root_role : policy_role).error());
    root.root = std::move(*root_role);
    root.policy = std::move(*policy_role);
    for (const auto& [id, key] : root.keys)
        if (!std::ranges::binary_search(root.root.keys, id) && !std::ranges::binary_search(root.policy.keys, id))
            return fail("root.keys." + id + ": no role uses this key");
    return root;
}

std::string Root::to_payload() const {
    const auto role = [](const Role& r) { return nlohmann::json{{"keys", r.keys}, {"threshold", r.threshold}}; };
    nlohmann::json list = nlohmann::json::object();
    for (const auto& [id, key] : keys)
        list[id] = {{"public", base64_encode(key.der())}, {"type", key_type_name(key.type())}};
    return nlohmann::json{{"expires", format_time(expires)},
                          {"fleet", fleet},
                          {"keys", list},
                          {"roles", {{"policy", role(policy)}, {"root", role(root)}}},
                          {"version", version}}
        .dump();
}

SignatureCount count_signatures(const Envelope& envelope, const Root& root, const Role& role) {
    SignatureCount count;
    std::set<std::string> valid, invalid, not_canonical;
    const std::string message = envelope.signed_bytes();
    for (const Signature& signature : envelope.signatures) {
        if (!std::ranges::binary_search(role.keys, signature.key_id)) {
            (root.keys.contains(signature.key_id) ? count.wrong_role : count.unknown)++;
            continue;
        }
        if (valid.contains(signature.key_id))
            continue;
        const PublicKey& key = root.keys.at(signature.key_id);
        if (!is_canonical_signature(key.type(), signature.bytes))
            not_canonical.insert(key.id());
        else if (key.verify(message, signature.bytes))
            valid.insert(key.id());
        else
            invalid.insert(key.id());
    }
    count.valid.assign(valid.begin(), valid.end());
    count.twice = signed_twice(envelope, valid);
    std::ranges::set_difference(invalid, valid, std::back_inserter(count.invalid));
    std::ranges::set_difference(not_canonical, valid, std::back_inserter(count.not_canonical));
    return count;
}

namespace {

std::string short_id(const std::string& key_id) { return key_id.substr(0, 16); }

// Of the role, those that have not signed, for a person who looks for them.
std::string missing_keys(const SignatureCount& count, const Role& role) {
    constexpr std::size_t kShown = 4;
    std::vector<std::string> missing;
    for (const auto& id : role.keys)
        if (std::ranges::find(count.valid, id) == count.valid.end())
            missing.push_back(id);
    std::string out;
    for (std::size_t i = 0; i < missing.size() && i < kShown; i++)
        out += (i == 0 ? "" : ", ") + short_id(missing[i]);
    return out + (missing.size() > kShown ? " and " + std::to_string(missing.size() - kShown) + " more" : "");
}

} // namespace

tl::expected<void, Refused> check_threshold(const SignatureCount& count, const Role& role, std::string_view role_name) {
    if (count.valid.size() >= role.threshold)
        return {};
    const std::string tally =
        std::to_string(count.valid.size()) + " of " + std::to_string(role.threshold) + " valid signatures";
    if (!count.twice.empty())
        return refuse(Refusal::duplicate_key, "the key " + short_id(count.twice) +
                                                  " signed twice, or under two ids, and counts once; " + tally);
    if (!count.not_canonical.empty())
        return refuse(Refusal::signature_not_canonical,
                      "the signature by key " + short_id(count.not_canonical.front()) +
                          " is not in its canonical form (Ed25519: S below the order; P-256: DER with the lower s); " +
                          tally);
    if (!count.invalid.empty())
        return refuse(Refusal::signature_invalid, "the signature by key " + short_id(count.invalid.front()) +
                                                      " does not match the payload: it was changed after signing; " +
                                                      tally);
    if (count.valid.empty() && count.wrong_role > 0)
        return refuse(Refusal::wrong_role, "signed by keys that the root lists, but not for the role " +
                                               std::string(role_name) + "; " + tally +
                                               "; its keys: " + missing_keys(count, role));
    if (count.valid.empty() && count.unknown > 0)
        return refuse(Refusal::unknown_key, "signed only by keys that the root does not list for the role " +
                                                std::string(role_name) + "; " + tally +
                                                "; its keys: " + missing_keys(count, role));
    return refuse(Refusal::too_few_signatures, tally + "; more of the root's " + std::string(role_name) +
                                                   " keys must sign: " + missing_keys(count, role));
}

} // namespace penstock::policy
