#include "policy/reader_walk.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace penstock::policy {
namespace {

std::string_view kind_name(Kind kind) {
    constexpr std::array<std::string_view, 5> names{"a map", "a list", "a text", "a number", "something else"};
    return names[static_cast<std::size_t>(kind)];
}

constexpr std::array<std::string_view, 10> kTop{"fleet",    "version", "not_before", "expires", "gateways",
                                                "services", "groups",  "devices",    "lan",     "files"};
constexpr std::array<std::string_view, 8> kPayloadHas{"fleet",    "version", "expires", "gateways",
                                                      "services", "groups",  "devices", "files"};
constexpr std::array<std::string_view, 1> kFileHas{""};

} // namespace

std::string PolicyReader::Path::str() const {
    const std::string before = up == nullptr ? "" : up->str();
    if (index >= 0)
        return before + "[" + std::to_string(index) + "]";
    const std::string mine(is_name(name) || name.empty() ? std::string(name) : quote(name));
    return before.empty() || mine.empty() ? before + mine : before + "." + mine;
}

PolicyReader::Names PolicyReader::mine_of(Names keys) const {
    return form_ == Form::payload && !keys.back().empty() ? keys : keys.first(keys.size() - 1);
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

tl::unexpected<Error> PolicyReader::over_limit(Source at, const std::string& what) const {
    return fail(wrong(at, what).value().message(), EFBIG);
}

tl::unexpected<Error> PolicyReader::over_limit(Value value, const Path& path, const std::string& what) const {
    return fail(wrong(value, path, what).value().message(), EFBIG);
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

Status PolicyReader::add(const Document& document, std::string error_name, std::string label) {
    error_names_.push_back(std::move(error_name));
    if (form_ == Form::authoring)
        policy_.files.push_back(std::move(label));
    const Path top{nullptr, {}};
    const Names required = form_ == Form::payload ? Names(kPayloadHas) : Names(kFileHas);
    return each_field(document.root(), top, kTop, required,
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
            return over_limit(value, path, "more entries than the " + describe(limit));
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
            return over_limit(value, path, "more entries than the " + describe(kMaxDevices));
        return each_item(value, path, kMaxDevices,
                         [this](Value device, const Path& here) { return read_device(device, here); });
    }
    if (key == "lan") {
        LanChoice lan;
        auto ok = read_lan(value, path, lan);
        return ok ? set_once(lan_, lan, value, path) : ok;
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
    if (value.key() == "expires" || value.key() == "not_before") {
        if (auto ok = expect(value, path, Kind::text, "2027-01-01T00:00:00Z"); !ok)
            return ok;
        const auto time = parse_time(value.text());
        if (!time)
            return wrong(value, path, time.error().message());
        return set_once(value.key() == "expires" ? expires_ : not_before_, *time, value, path);
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

} // namespace penstock::policy
