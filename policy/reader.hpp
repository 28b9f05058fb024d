// Documents into a Policy: the one strict reader behind the authoring YAML and the payload JSON.
#pragma once

#include "policy/document.hpp"
#include "policy/model.hpp"

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace penstock::policy {

class PolicyReader {
public:
    enum class Form {
        authoring, // places are file:line; several documents make one policy
        payload,   // places are the path inside the payload; each part carries "at": [file, line]
    };
    explicit PolicyReader(Form form) : form_(form) {}

    // error_name: what errors call this document; label: what citations call it (authoring only).
    Status add(const Document& document, std::string error_name, std::string label);

    // Resolves names, refuses duplicates, contradictions and what is over a limit.
    Result<Policy> finish();

private:
    struct Path { // of the value at hand, spelt out only when an error needs it
        const Path* up;
        std::string_view name;
        std::int64_t index = -1;
        [[nodiscard]] std::string str() const;
    };
    template <class T> struct Once {
        T value{};
        Source at;
        bool set = false;
    };
    struct Reference {
        std::string name;
        Source at;
    };
    using References = std::vector<Reference>;
    struct PeerName { // an item "group:NAME" or "device:NAME" of a service
        Peer::Kind kind;
        Reference name;
    };
    using Value = Document::Value;
    using Names = std::span<const std::string_view>;

    // Of a list of keys whose last one belongs to the payload alone: those of this form.
    [[nodiscard]] Names mine_of(Names keys) const;
    [[nodiscard]] Source source(Value value) const;
    [[nodiscard]] std::string where(Source at) const; // "policy.yaml:12", or "payload"
    [[nodiscard]] tl::unexpected<Error> wrong(Source at, const std::string& what) const;
    [[nodiscard]] tl::unexpected<Error> wrong(Value value, const Path& path, const std::string& what) const;
    // wrong(), with the code EFBIG.
    [[nodiscard]] tl::unexpected<Error> over_limit(Source at, const std::string& what) const;
    [[nodiscard]] tl::unexpected<Error> over_limit(Value value, const Path& path, const std::string& what) const;
    [[nodiscard]] tl::unexpected<Error> twice(const std::string& what, Source first, Source second) const;

    template <class F> Status each_field(Value map, const Path& path, Names known, Names required, F&& read);
    template <class F> Status each_item(Value list, const Path& path, const Limit& limit, F&& read);
    template <class T, class F>
    Status read_set(Value list, const Path& path, const Limit& limit, std::vector<T>& out, F&& parse);
    template <class T> Status set_once(Once<T>& slot, T value, Value at, const Path& path);
    Status expect(Value value, const Path& path, Kind kind, std::string_view example) const;

    Status read_top(Value value, const Path& path);
    Status read_header(Value value, const Path& path);
    Status read_files(Value value, const Path& path);
    Status read_at(Value value, const Path& path, Source& at);
    Status read_references(Value list, const Path& path, const Limit& limit, References& out);
    Status read_service(Value value, const Path& path);
    Status read_peers(Value value, const Path& path, Service& service, std::vector<PeerName>& names);
    Status read_require(Value value, const Path& path, Require& require);
    Status read_group(Value value, const Path& path);
    Status read_when(Value value, const Path& path, Window& window);
    Status read_rate(Value value, const Path& path, std::uint64_t& rate, bool packets);
    Status read_lan(Value value, const Path& path, LanChoice& lan);
    Status read_device(Value value, const Path& path);
    Status read_addresses(Value value, const Path& path, Device& device);

    Status finish_header();
    Status finish_services();
    Status finish_groups();
    Status finish_devices();
    Status finish_peers();
    Status check_rules() const;
    Status check_device_identities() const;

    Form form_;
    std::vector<std::string> error_names_;
    Once<std::string> fleet_;
    Once<std::uint64_t> version_;
    Once<Time> expires_, not_before_;
    Once<std::vector<std::string>> gateways_;
    Once<LanChoice> lan_;
    std::vector<std::vector<PeerName>> peers_; // beside policy_.services
    std::vector<References> allows_, denies_;  // beside policy_.groups
    std::vector<References> device_groups_;    // beside policy_.devices
    Policy policy_;
};

} // namespace penstock::policy
