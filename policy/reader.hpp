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
    using Value = Document::Value;
    using Names = std::span<const std::string_view>;

    [[nodiscard]] Source source(Value value) const;
    [[nodiscard]] std::string where(Source at) const; // "policy.yaml:12", or "payload"
    [[nodiscard]] tl::unexpected<Error> wrong(Source at, const std::string& what) const;
    [[nodiscard]] tl::unexpected<Error> wrong(Value value, const Path& path, const std::string& what) const;
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
    Status read_service(Value value, const Path& path);
    Status read_group(Value value, const Path& path);
    Status read_device(Value value, const Path& path);

    Status finish_header();
    Status finish_services();
    Status finish_groups();
    Status finish_devices();
    Status check_device_identities() const;

    Form form_;
    std::vector<std::string> error_names_;
    Once<std::string> fleet_;
    Once<std::uint64_t> version_;
    Once<Time> expires_;
    Once<std::vector<std::string>> gateways_;
    std::vector<std::vector<Reference>> allows_; // beside policy_.groups
    std::vector<Reference> device_groups_;       // beside policy_.devices
    std::vector<std::uint32_t> rules_;           // of each group
    Policy policy_;
};

} // namespace penstock::policy
