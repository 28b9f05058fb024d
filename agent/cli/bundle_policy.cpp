// `penstock bundle build|diff`, and what `inspect` says of a policy.
#include "agent/base/file.hpp"
#include "agent/cli/bundle_answer.hpp"
#include "policy/bundle/encoding.hpp"
#include "policy/diff.hpp"
#include "policy/payload.hpp"
#include "policy/warnings.hpp"
#include "policy/yaml.hpp"

namespace penstock::cli {

using namespace penstock::policy;

Result<std::string> read_bundle_file(const std::string& path) {
    if (path.ends_with(".yaml") || path.ends_with(".yml"))
        return fail(path + " is a policy as people write it; make a bundle of it first: penstock bundle build " + path +
                    " --out policy.bundle");
    return read_file(path, kMaxEnvelopeBytes.value);
}

Result<Envelope> load_envelope(const std::string& path) {
    const auto bytes = read_bundle_file(path);
    if (!bytes)
        return tl::unexpected(bytes.error());
    auto envelope = Envelope::parse(*bytes);
    return envelope ? std::move(envelope) : fail(path, std::move(envelope.error()));
}

Result<Answer> describe_policy(const Envelope& envelope) {
    Answer answer;
    const auto policy = from_payload(envelope.payload);
    if (!policy)
        return tl::unexpected(policy.error());
    answer.text = "policy " + policy->title() + ", expires " + format_time(policy->expires) + "\nfor the gateways " +
                  joined(policy->gateways) + "\n" + plural(policy->services.size(), "service") + ", " +
                  plural(policy->groups.size(), "group") + ", " + plural(policy->devices.size(), "device");
    for (const Service& service : policy->services) {
        answer.text += "\n  " + service.name + " (" + policy->cite(service.at) + "):";
        answer.text += service.direction == Direction::to ? " to" : " from";
        for (const auto& peer : service.peers)
            answer.text += " " + policy->str(peer);
        for (const auto& ports : service.ports)
            answer.text += " " + ports.str();
        if (service.require != Require::none)
            answer.text += " require " + std::string(require_name(service.require));
    }
    answer.json = {{"kind", "policy"},
                   {"fleet", policy->fleet},
                   {"version", policy->version},
                   {"expires", format_time(policy->expires)},
                   {"gateways", policy->gateways},
                   {"services", policy->services.size()},
                   {"groups", policy->groups.size()},
                   {"devices", policy->devices.size()},
                   {"policy", Json::parse(envelope.payload)}};
    return answer;
}

namespace {

// What was built: a line for each part, so that a slip of the pen shows in the numbers.
std::string summary(const Policy& policy) {
    std::size_t allowed = 0, windows = 0, learning = 0;
    for (const Group& group : policy.groups) {
        allowed += group.allow.size();
        windows += group.when.has_value();
    }
    for (const Device& device : policy.devices)
        learning += device.learns();
    std::string out = plural(policy.devices.size(), "device") + " in " + plural(policy.groups.size(), "group") + ", " +
                      plural(policy.services.size(), "service") + " allowed " + plural(allowed, "time");
    if (windows != 0)
        out += ", " + plural(windows, "group") + " at certain hours";
    if (learning != 0)
        out += ", " + plural(learning, "device") + " with learnt addresses";
    return out + "; for the gateways " + joined(policy.gateways) +
           (policy.not_before ? ", from " + format_time(*policy.not_before) : "") + ", until " +
           format_time(policy.expires);
}

Result<Policy> load_policy(const std::string& path) {
    const auto envelope = load_envelope(path);
    if (!envelope)
        return tl::unexpected(envelope.error());
    if (envelope->payload_type != kPolicyPayloadType)
        return fail(path + ": the payload is " + quote(envelope->payload_type) + ": not a policy");
    auto policy = from_payload(envelope->payload);
    return policy ? std::move(policy) : fail(path, std::move(policy.error()));
}

} // namespace

Answer build_bundle(const Options& options) {
    const auto policy = load_yaml(options.sources);
    if (!policy)
        return failure(policy.error());
    const Envelope envelope{std::string(kPolicyPayloadType), to_payload(*policy), {}};
    if (const auto again = from_payload(envelope.payload); !again)
        return failure(again.error());
    if (auto written = write_file_atomically(options.out, envelope.dump(), 0644); !written)
        return failure(written.error());
    const auto warned = warnings(*policy, now());
    std::string text;
    for (const auto& warning : warned)
        text += "warning: " + warning + "\n";
    return {text + "wrote " + options.out + ": " + policy->title() + ", not signed yet\n" + summary(*policy),
            {{"out", options.out},
             {"fleet", policy->fleet},
             {"version", policy->version},
             {"devices", policy->devices.size()},
             {"groups", policy->groups.size()},
             {"services", policy->services.size()},
             {"warnings", warned},
             {"digest", sha256_hex(envelope.payload)}}};
}

Answer diff_bundles(const Options& options) {
    const auto before = load_policy(options.file), after = load_policy(options.other);
    if (!before || !after)
        return failure((!before ? before : after).error());
    const Difference difference = compare(*before, *after);
    Json changes = Json::array();
    for (const Change& change : difference.changes)
        changes.push_back(
            {{"devices", change.devices}, {"gains", change.gains}, {"losses", change.losses}, {"other", change.other}});
    return {in_words(difference),
            {{"old", before->title()},
             {"new", after->title()},
             {"policy", difference.header},
             {"added", difference.added},
             {"removed", difference.removed},
             {"changes", std::move(changes)}}};
}

} // namespace penstock::cli
