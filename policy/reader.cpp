#include "policy/reader.hpp"

#include "policy/read_values.hpp"

#include <algorithm>
#include <array>

namespace penstock::policy {
namespace {

std::string_view kind_name(Kind kind) {
    constexpr std::array<std::string_view, 5> names{"a map", "a list", "a text", "a number", "something else"};
    return names[static_cast<std::size_t>(kind)];
}

bool contains(std::span<const std::string_view> names, std::string_view name) {
    return std::ranges::find(names, name) != names.end();
}

constexpr std::array<std::string_view, 8> kTop{"fleet",    "version", "expires", "gateways",
                                               "services", "groups",  "devices", "files"};
constexpr std::array<std::string_view, 3> kService{"to", "ports", "at"};
constexpr std::array<std::string_view, 2> kGroup{"allow", "at"};
constexpr std::array<std::string_view, 5> kDevice{"name", "mac", "addresses", "group", "at"};

// "files" and "at" belong to the payload only; they stand last in the lists above.
std::span<const std::string_view> known(std::span<const std::string_view> all, PolicyReader::Form form) {
    return form == PolicyReader::Form::payload ? all : all.first(all.size() - 1);
}

} // namespace

std::string PolicyReader::Path::str() const {
    const std::string before = up == nullptr ? "" : up->str();
    if (index >= 0)
        return before + "[" + std::to_string(index) + "]";
    const std::string mine(is_name(name) || name.empty() ? std::string(name) : quote(name));
    return before.empty() || mine.empty() ? before + mine : before + "." + mine;
}

Source PolicyReader::source(Value value) const {
    return {static_cast<std::uint32_t>(error_names_.size() - 1), value.line()};
}

std::string PolicyReader::where(Source at) const {
    if (form_ == Form::payload)
        return error_names_.front();
    return error_names_[at.file] + ":" + std::to_string(std::max(at.line, 1U));
}

tl::unexpected<Error> PolicyReader::wrong(Source at, const std::string& what) const {
    return fail(where(at) + ": " + what);
}

tl::unexpected<Error> PolicyReader::wrong(Value value, const Path& path, const std::string& what) const {
    const std::string place = path.str();
    return wrong(source(value), (place.empty() ? "" : place + ": ") + what);
}

tl::unexpected<Error> PolicyReader::twice(const std::string& what, Source first, Source second) const {
    return wrong(second, what + (form_ == Form::payload ? "" : " (first at " + where(first) + ")") + "; keep one");
}

Status PolicyReader::expect(Value value, const Path& path, Kind kind, std::string_view example) const {
    if (value.kind() == kind)
        return {};
    std::string what = "expected " + std::string(kind_name(kind)) + " such as " + std::string(example) + ", found ";
    what += value.kind() == Kind::other ? quote(value.text()) : std::string(kind_name(value.kind()));
    if (kind == Kind::text && value.kind() == Kind::number)
        what += "; put it in double quotes";
    return wrong(value, path, what);
}

template <class F> Status PolicyReader::each_field(Value map, const Path& path, Names known, Names required, F&& read) {
    if (auto ok = expect(map, path, Kind::map, "{ " + std::string(known.front()) + ": ... }"); !ok)
        return ok;
    std::size_t seen = 0;
    for (const Value field : map) {
        const Path here{&path, field.key()};
        if (!contains(known, field.key())) {
            if (is_later_feature(field.key()))
                return wrong(source(field), here.str() + " " + unsupported("remove it"));
            std::string list;
            for (const auto name : known)
                list += (list.empty() ? "" : ", ") + std::string(name);
            const auto hint = did_you_mean(field.key(), known);
            return wrong(field, path,
                         "unknown key " + quote(field.key()) + hint + (hint.empty() ? "; known: " : " (known: ") +
                             list + (hint.empty() ? "" : ")"));
        }
        seen += contains(required, field.key());
        if (auto ok = read(field, here); !ok)
            return ok;
    }
    if (seen == required.size())
        return {};
    for (const auto name : required) {
        bool there = false;
        for (const Value field : map)
            there = there || field.key() == name;
        if (!there && name == "addresses")
            return wrong(map, path, "has no addresses: learning them " + unsupported("add addresses: [...]"));
        if (!there)
            return wrong(map, path, "the key " + quote(name) + " is missing; add it");
    }
    return {};
}

template <class F> Status PolicyReader::each_item(Value list, const Path& path, const Limit& limit, F&& read) {
    if (auto ok = expect(list, path, Kind::list, "[ ... ]"); !ok)
        return ok;
    if (list.size() > limit.value)
        return wrong(list, path, std::to_string(list.size()) + " entries are more than the " + describe(limit));
    std::int64_t index = 0;
    for (const Value item : list)
        if (auto ok = read(item, Path{&path, {}, index++}); !ok)
            return ok;
    return {};
}

// A list of texts, none twice, sorted: the order an author chose means nothing.
template <class T, class F>
Status PolicyReader::read_set(Value list, const Path& path, const Limit& limit, std::vector<T>& out, F&& parse) {
    const auto each = [&](Value item, const Path& here) -> Status {
        if (auto ok = expect(item, here, Kind::text, "\"...\""); !ok)
            return ok;
        auto parsed = parse(item.text());
        if (!parsed)
            return wrong(item, here, parsed.error().message());
        if (std::ranges::find(out, *parsed) != out.end())
            return wrong(item, here, quote(item.text()) + " is there twice; keep one");
        out.push_back(std::move(*parsed));
        return {};
    };
    if (auto ok = each_item(list, path, limit, each); !ok)
        return ok;
    if (out.empty())
        return wrong(list, path, "is empty; name at least one");
    std::ranges::sort(out);
    return {};
}

template <class T> Status PolicyReader::set_once(Once<T>& slot, T value, Value at, const Path& path) {
    if (slot.set && slot.value != value)
        return wrong(at, path, "contradicts " + where(slot.at) + "; every file of a fleet says the same");
    if (!slot.set)
        slot = {std::move(value), source(at), true};
    return {};
}

Status PolicyReader::add(const Document& document, std::string error_name, std::string label) {
    error_names_.push_back(std::move(error_name));
    if (form_ == Form::authoring)
        policy_.files.push_back(std::move(label));
    const Path top{nullptr, {}};
    constexpr std::array<std::string_view, 0> nothing{};
    const Names required = form_ == Form::payload ? Names(kTop) : Names(nothing);
    return each_field(document.root(), top, known(kTop, form_), required,
                      [this](Value field, const Path& path) { return read_top(field, path); });
}

Status PolicyReader::read_top(Value value, const Path& path) {
    const auto key = value.key();
    if (key == "services" || key == "groups") {
        if (auto ok = expect(value, path, Kind::map, "{ name: { ... } }"); !ok)
            return ok;
        const auto& limit = key == "services" ? kMaxServices : kMaxGroups;
        const auto have = key == "services" ? policy_.services.size() : policy_.groups.size();
        if (have + value.size() > limit.value)
            return wrong(value, path, "more entries than the " + describe(limit));
        for (const Value entry : value) {
            const Path here{&path, entry.key()};
            if (!is_name(entry.key()))
                return wrong(entry, here, "a name is 1 to 64 letters, digits, '.', '_' or '-'");
            if (auto ok = key == "services" ? read_service(entry, here) : read_group(entry, here); !ok)
                return ok;
        }
        return {};
    }
    if (key == "devices") {
        if (policy_.devices.size() + value.size() > kMaxDevices.value)
            return wrong(value, path, "more entries than the " + describe(kMaxDevices));
        return each_item(value, path, kMaxDevices,
                         [this](Value device, const Path& here) { return read_device(device, here); });
    }
    return key == "files" ? read_files(value, path) : read_header(value, path);
}

Status PolicyReader::read_header(Value value, const Path& path) {
    if (value.key() == "fleet") {
        if (auto ok = expect(value, path, Kind::text, "acme-berlin"); !ok)
            return ok;
        if (!is_name(value.text()))
            return wrong(value, path, "a fleet's name is 1 to 64 letters, digits, '.', '_' or '-'");
        return set_once(fleet_, std::string(value.text()), value, path);
    }
    if (value.key() == "version") {
        if (auto ok = expect(value, path, Kind::number, "42"); !ok)
            return ok;
        const auto number = read_number(value.text());
        if (!number || *number == 0 || *number > kMaxVersion.value)
            return wrong(value, path, "a version is a number from 1 to the " + describe(kMaxVersion));
        return set_once(version_, *number, value, path);
    }
    if (value.key() == "expires") {
        if (auto ok = expect(value, path, Kind::text, "2027-01-01T00:00:00Z"); !ok)
            return ok;
        const auto time = parse_time(value.text());
        return time ? set_once(expires_, *time, value, path) : wrong(value, path, time.error().message());
    }
    std::vector<std::string> globs;
    auto ok = read_set(value, path, kMaxGateways, globs, [](std::string_view text) -> Result<std::string> {
        if (!is_glob(text))
            return fail(quote(text) + " is not a gateway's name, or one with '*' and '?'");
        return std::string(text);
    });
    return ok ? set_once(gateways_, std::move(globs), value, path) : ok;
}

Status PolicyReader::read_files(Value value, const Path& path) {
    return each_item(value, path, kMaxYamlFiles, [this](Value item, const Path& here) -> Status {
        if (auto ok = expect(item, here, Kind::text, "\"policy.yaml\""); !ok)
            return ok;
        if (item.text().empty() || item.text().size() > 255 || quote(item.text()).find('?') != std::string::npos)
            return wrong(item, here, "is not a file's name in plain printable characters");
        policy_.files.emplace_back(item.text());
        return {};
    });
}

Status PolicyReader::read_at(Value value, const Path& path, Source& at) {
    std::vector<std::uint64_t> numbers;
    auto ok = each_item(value, path, Limit{"at", 2}, [&](Value item, const Path& here) -> Status {
        if (auto number = expect(item, here, Kind::number, "7"); !number)
            return number;
        numbers.push_back(read_number(item.text()).value_or(UINT64_MAX));
        return {};
    });
    if (!ok)
        return ok;
    if (numbers.size() != 2 || numbers[0] > UINT32_MAX || numbers[1] > UINT32_MAX)
        return wrong(value, path, "expected [file, line]");
    at = {static_cast<std::uint32_t>(numbers[0]), static_cast<std::uint32_t>(numbers[1])};
    return {};
}

Status PolicyReader::read_service(Value value, const Path& path) {
    Service service{std::string(value.key()), {}, {}, source(value)};
    auto ok =
        each_field(value, path, known(kService, form_), known(kService, form_), [&](Value field, const Path& here) {
            if (field.key() == "to")
                return read_set(field, here, kMaxPrefixesPerService, service.to, read_prefix);
            if (field.key() == "ports")
                return read_set(field, here, kMaxPortsPerService, service.ports, read_ports);
            return read_at(field, here, service.at);
        });
    if (ok)
        policy_.services.push_back(std::move(service));
    return ok;
}

Status PolicyReader::read_group(Value value, const Path& path) {
    Group group{std::string(value.key()), {}, source(value)};
    std::vector<Reference> allows;
    auto ok = each_field(value, path, known(kGroup, form_), known(kGroup, form_), [&](Value field, const Path& here) {
        if (field.key() == "at")
            return read_at(field, here, group.at);
        return each_item(field, here, kMaxServicesPerGroup, [&](Value item, const Path& entry) -> Status {
            if (auto text = expect(item, entry, Kind::text, "telemetry"); !text)
                return text;
            if (std::ranges::any_of(allows, [&](const Reference& r) { return r.name == item.text(); }))
                return wrong(item, entry, quote(item.text()) + " is there twice; keep one");
            allows.push_back({std::string(item.text()), source(item)});
            return {};
        });
    });
    if (!ok)
        return ok;
    policy_.groups.push_back(std::move(group));
    allows_.push_back(std::move(allows));
    return {};
}

Status PolicyReader::read_device(Value value, const Path& path) {
    Device device;
    device.at = source(value);
    Reference group;
    // Errors name the device as soon as its name is known.
    std::string_view name;
    if (value.kind() == Kind::map)
        for (const Value field : value)
            if (field.key() == "name" && field.kind() == Kind::text && is_name(field.text()))
                name = field.text();
    const Path named = name.empty() ? path : Path{path.up, name};
    auto ok = each_field(
        value, named, known(kDevice, form_), known(kDevice, form_), [&](Value field, const Path& here) -> Status {
            if (field.key() == "at")
                return read_at(field, here, device.at);
            if (field.key() == "addresses") {
                if (field.kind() == Kind::list && field.size() == 0)
                    return wrong(field, here,
                                 "is empty: learning addresses " + unsupported("list the device's addresses"));
                return read_set(field, here, kMaxAddressesPerDevice, device.addresses, read_address);
            }
            if (field.key() == "group" && field.kind() == Kind::list)
                return wrong(field, here, "several groups: " + unsupported("name one group"));
            if (auto text = expect(field, here, Kind::text, "\"...\""); !text)
                return text;
            if (field.key() == "mac") {
                const auto mac = read_mac(field.text());
                if (!mac)
                    return wrong(field, here, mac.error().message());
                device.mac = *mac;
            } else if (field.key() == "group") {
                group = {std::string(field.text()), source(field)};
            } else if (!is_name(field.text())) {
                return wrong(field, here, "a name is 1 to 64 letters, digits, '.', '_' or '-'");
            } else {
                device.name = field.text();
            }
            return {};
        });
    if (!ok)
        return ok;
    policy_.devices.push_back(std::move(device));
    device_groups_.push_back(std::move(group));
    return {};
}

} // namespace penstock::policy
