// Groups: what they allow and deny, how fast, and when; and what the LAN gives.
#include "policy/reader_walk.hpp"
#include "policy/window.hpp"

#include <array>

namespace penstock::policy {
namespace {

constexpr std::array<std::string_view, 8> kGroup{"allow",      "deny", "rate", "packet_rate",
                                                 "total_rate", "when", "lan",  "at"};
constexpr std::array<std::string_view, 2> kGroupHas{"allow", "at"};
constexpr std::array<std::string_view, 4> kWindow{"days", "hours", "zone", ""};
constexpr std::array<std::string_view, 2> kWindowHas{"zone", ""};
constexpr std::array<std::string_view, 5> kLan{"arp_nd", "dhcp", "dns", "ntp", ""};
constexpr std::array<std::string_view, 1> kLanHas{""};

} // namespace

Status PolicyReader::read_references(Value list, const Path& path, const Limit& limit, References& out) {
    return each_item(list, path, limit, [&](Value item, const Path& entry) -> Status {
        if (auto text = expect(item, entry, Kind::text, "telemetry"); !text)
            return text;
        if (std::ranges::any_of(out, [&](const Reference& r) { return r.name == item.text(); }))
            return wrong(item, entry, quote(item.text()) + " is there twice; keep one");
        out.push_back({std::string(item.text()), source(item)});
        return {};
    });
}

Status PolicyReader::read_group(Value value, const Path& path) {
    Group group;
    group.name = value.key();
    group.at = source(value);
    References allows, denies;
    auto ok = each_field(value, path, kGroup, kGroupHas, [&](Value field, const Path& here) {
        const auto key = field.key();
        if (key == "at")
            return read_at(field, here, group.at);
        if (key == "allow" || key == "deny")
            return read_references(field, here, kMaxServicesPerGroup, key == "allow" ? allows : denies);
        if (key == "when")
            return read_when(field, here, group.when.emplace());
        if (key == "lan")
            return read_lan(field, here, group.lan);
        return read_rate(field, here,
                         key == "rate"          ? group.rate
                         : key == "packet_rate" ? group.packet_rate
                                                : group.total_rate,
                         key == "packet_rate");
    });
    if (!ok)
        return ok;
    for (const Reference& deny : denies)
        if (std::ranges::find(allows, deny.name, &Reference::name) != allows.end())
            return wrong(deny.at, path.str() + ".deny: " + quote(deny.name) +
                                      " is also in the group's allow; one of the two is wrong");
    policy_.groups.push_back(std::move(group));
    allows_.push_back(std::move(allows));
    denies_.push_back(std::move(denies));
    return {};
}

Status PolicyReader::read_when(Value value, const Path& path, Window& window) {
    return each_field(value, path, kWindow, kWindowHas, [&](Value field, const Path& here) -> Status {
        if (auto text = expect(field, here, Kind::text, "\"...\""); !text)
            return text;
        if (field.key() == "zone") {
            if (auto zone = check_zone(field.text()); !zone)
                return wrong(field, here, zone.error().message());
            window.zone = field.text();
            return {};
        }
        const auto read = field.key() == "days" ? read_days(field.text(), window) : read_hours(field.text(), window);
        return read ? read : wrong(field, here, read.error().message());
    });
}

Status PolicyReader::read_rate(Value value, const Path& path, std::uint64_t& rate, bool packets) {
    if (auto ok = expect(value, path, packets ? Kind::number : Kind::text, packets ? "1000" : "1mbit or 200kB"); !ok)
        return ok;
    const auto number = packets ? read_number(value.text()) : read_byte_rate(value.text());
    if (!number)
        return wrong(value, path, number.error().message());
    if (packets && (*number < 1 || *number > kMaxPacketRate.value))
        return wrong(value, path, "packets a second are a number from 1 to the " + describe(kMaxPacketRate));
    rate = *number;
    return {};
}

Status PolicyReader::read_lan(Value value, const Path& path, LanChoice& lan) {
    return each_field(value, path, kLan, kLanHas, [&](Value field, const Path& here) -> Status {
        const auto key = field.key(), text = field.text();
        const bool on = text == "on" || text == "true";
        if (!on && text != "off" && text != "false")
            return wrong(field, here, "is either on or off");
        (key == "arp_nd" ? lan.arp_nd : key == "dhcp" ? lan.dhcp : key == "dns" ? lan.dns : lan.ntp) = on;
        return {};
    });
}

} // namespace penstock::policy
