// Attaching, replacing and adopting, with real frames on a veth pair: the far end's capture is the witness.
#include "agent/datapath/hooks.hpp"
#include "agent/datapath/tcx.hpp"
#include "tests/bpf/gateway.hpp"
#include "tests/bpf/wire.hpp"

#include <bpf/bpf.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

namespace penstock::test {
namespace {

namespace utf = boost::unit_test;
using datapath::Hook;
using datapath::Hooks;

const Ethernet kOut{.source = "02:00:00:00:00:a1", .destination = "02:00:00:00:00:a2"};
const Bytes kForbidden = kOut / IPv4{"192.0.2.1", "203.0.113.10"} / Tcp{} / Payload{};
const Bytes kEsp = kOut / IPv4{"192.0.2.1", "192.0.2.2"} / Esp{} / Payload{};

// IDs of all programs on a hook, ours or not.
std::size_t programs_on(const Hooks& hooks, int ifindex, bool ingress) {
    if (std::string(hooks.mechanism()) == "tcx") {
        struct {
            std::uint32_t target_ifindex, attach_type, query_flags, attach_flags;
            std::uint64_t prog_ids;
            std::uint32_t count, pad;
            std::uint64_t attach_flags_of_programs, link_ids, link_attach_flags, revision;
        } query{};
        query.target_ifindex = static_cast<std::uint32_t>(ifindex);
        query.attach_type = ingress ? 46 : 47; // BPF_TCX_INGRESS, BPF_TCX_EGRESS
        BOOST_REQUIRE(syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof query) == 0);
        return query.count;
    }
    char name[IF_NAMESIZE];
    const auto filters =
        output_of(std::string("tc filter show dev ") + if_indextoname(static_cast<unsigned>(ifindex), name) +
                  (ingress ? " ingress" : " egress"));
    std::size_t count = 0;
    for (std::size_t at = 0; (at = filters.find("handle 0x", at)) != std::string::npos; at++)
        count++;
    return count;
}

// A gateway whose interfaces are up, and hooks that leave with the test.
struct Attached : Gateway {
    Attached() : Gateway(Maps::own), hooks(must(Hooks::make(options.bpffs))) {
        for (const char* name : {"lan0", "device0", "wan0", "peer0"})
            shell(std::string("sysctl -qw net.ipv6.conf.") + name + ".disable_ipv6=1 && ip link set " + name + " up");
        BOOST_TEST_MESSAGE("attached by " << hooks.mechanism());
    }
    ~Attached() {
        for (const auto hook : datapath::kHooks)
            for (const int ifindex : {lan, wan})
                (void)hooks.detach(hook, ifindex);
    }
    Attached(const Attached&) = delete;
    Attached& operator=(const Attached&) = delete;
    std::uint64_t drops(std::uint8_t reason) const { return counters.drops().at(reason - 1U).count; }

    Hooks hooks;
};

BOOST_AUTO_TEST_SUITE(hooks, *utf::precondition(can_run_bpf))

BOOST_AUTO_TEST_CASE(uses_tcx_where_the_kernel_has_it) {
    Attached gateway;
    const auto release = output_of("uname -r");
    const int major = std::stoi(release), minor = std::stoi(release.substr(release.find('.') + 1));
    const bool has_tcx = major > 6 || (major == 6 && minor >= 6);
    BOOST_TEST(gateway.hooks.mechanism() == std::string(has_tcx ? "tcx" : "clsact"));
}

BOOST_AUTO_TEST_CASE(guards_the_wire_once_attached) {
    Attached gateway;
    const Wire plain("wan0"), encrypted("wan0", kEspMark), peer("peer0");
    plain.send(kForbidden);
    BOOST_TEST(peer.received(kForbidden) == 1); // the wire works, and nothing guards it yet
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, gateway.wan) == Hooks::State::absent);
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, gateway.wan) == Hooks::State::first);
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, gateway.other) == Hooks::State::absent);
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::lan_ingress, gateway.wan) == Hooks::State::absent);
    for (int i = 0; i < 10; i++) {
        plain.send(kForbidden);
        plain.send(kEsp);
        encrypted.send(kEsp);
    }
    BOOST_TEST(peer.received(kEsp) == 10); // the marked ones
    plain.send(kForbidden);
    BOOST_TEST(peer.received(kForbidden) == 0);
    BOOST_TEST(gateway.drops(PENSTOCK_DROP_ESP_UNKNOWN_SA) == 10U);
    must(gateway.hooks.detach(Hook::uplink_egress, gateway.wan));
    for (int i = 0; i < 100 && programs_on(gateway.hooks, gateway.wan, false) > 0; i++) // the kernel frees links later
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    plain.send(kForbidden);
    BOOST_TEST(peer.received(kForbidden) == 1);
    must(gateway.hooks.detach(Hook::uplink_egress, gateway.wan)); // nothing there: no error
}

BOOST_AUTO_TEST_CASE(judges_what_comes_in_from_the_wire) {
    Attached gateway;
    must(gateway.hooks.attach(gateway.programs, Hook::lan_ingress, gateway.lan));
    const Wire device("device0");
    device.send(Ethernet{} / IPv4{} / Udp{} / Payload{});
    device.send(Ethernet{.source = "02:00:00:00:00:99"} / IPv4{.source = "10.20.0.99"} / Udp{} / Payload{});
    device.send(Ethernet{} / Vlan{} / IPv4{} / Udp{} / Payload{}); // the kernel moves the tag out of the frame
    device.send(Ethernet{.destination = "ff:ff:ff:ff:ff:ff"} / IPv4{} / Udp{} / Payload{});
    const Wire wait("device0");
    (void)wait.received({});
    BOOST_TEST(gateway.counters.device(1).out_packets == 1U);
    BOOST_TEST(gateway.drops(PENSTOCK_DROP_UNKNOWN_DEVICE) == 1U);
    BOOST_TEST(gateway.drops(PENSTOCK_DROP_VLAN) == 1U);
    BOOST_TEST(gateway.drops(PENSTOCK_DROP_MULTICAST) == 1U);
}

// Half an IP header is what BPF_PROG_TEST_RUN refuses to make.
BOOST_AUTO_TEST_CASE(drops_every_truncation_on_the_wire) {
    Attached gateway;
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    const Wire encrypted("wan0", kEspMark), peer("peer0");
    std::uint64_t truncated = 0;
    for (const Bytes& whole : {kEsp, Bytes(kOut / IPv6{"2001:db8:2::1", "2001:db8:2::2"} / Esp{} / Payload{})}) {
        for (std::size_t length = 15; length < whole.size(); length++, truncated++)
            BOOST_TEST(!encrypted.send(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))));
        BOOST_TEST(encrypted.send(whole));
    }
    BOOST_TEST(gateway.drops(PENSTOCK_DROP_MALFORMED) == truncated);
    BOOST_TEST(peer.received(kEsp) == 1);
}

BOOST_AUTO_TEST_CASE(attaching_again_keeps_one_program) {
    Attached gateway;
    const auto egress = [&] { return programs_on(gateway.hooks, gateway.wan, false); };
    BOOST_TEST(egress() == 0U);
    for (int i = 0; i < 3; i++) {
        must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
        BOOST_TEST(egress() == 1U);
    }
    auto other = must(Hooks::make(gateway.options.bpffs)); // the agent after a restart
    must(other.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    BOOST_TEST(egress() == 1U);
    must(other.attach(gateway.programs, Hook::lan_ingress, gateway.lan));
    must(other.attach(gateway.programs, Hook::lan_egress, gateway.lan));
    BOOST_TEST(programs_on(gateway.hooks, gateway.lan, true) == 1U);
    BOOST_TEST(programs_on(gateway.hooks, gateway.lan, false) == 1U);
}

BOOST_AUTO_TEST_CASE(an_upgrade_adopts_the_maps_and_replaces_the_programs) {
    Attached gateway;
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Udp{}) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{.destination = 80}) == "not_allowed");
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    const auto generation = gateway.store.generation();

    const auto programs = must(datapath::Programs::load(gateway.options)); // the new agent's
    auto hooks = must(Hooks::make(gateway.options.bpffs));
    const auto counters = must(datapath::Counters::make(programs));
    BOOST_TEST(counters.drops().at(PENSTOCK_DROP_NOT_ALLOWED - 1).count == 1U);
    BOOST_TEST(counters.device(1).out_packets == 1U);
    BOOST_TEST(must(datapath::PolicyStore::make(programs)).generation() == generation);
    const auto owners = counters.owners(gateway.options.device_capacity);
    BOOST_TEST((owners.at(3) == std::pair(mac("02:00:00:00:00:99"), 3U)));
    const auto gate = must(datapath::Gate::make(programs));
    BOOST_TEST(gate.sas().size() == 4U);
    BOOST_TEST(gate.tunnel_up(0));
    BOOST_TEST(!gate.tunnel_up(1));
    BOOST_TEST(gate.role(gateway.wan) == PENSTOCK_LINK_UPLINK);

    BOOST_CHECK(hooks.state(programs, Hook::uplink_egress, gateway.wan) ==
                Hooks::State::absent); // still the old agent's program
    must(hooks.attach(programs, Hook::uplink_egress, gateway.wan));
    BOOST_CHECK(hooks.state(programs, Hook::uplink_egress, gateway.wan) == Hooks::State::first);
    BOOST_CHECK(hooks.state(gateway.programs, Hook::uplink_egress, gateway.wan) == Hooks::State::absent);
    BOOST_TEST(programs_on(hooks, gateway.wan, false) == 1U);
    // The reply to what the old programs saw passes under the new ones.
    const auto outcome = run_program(programs, Hook::lan_egress,
                                     Ethernet{.destination = "02:00:00:00:00:12"} / IPv4{"203.0.113.10", "10.20.0.12"} /
                                         Udp{5000, 40000},
                                     {.ifindex = gateway.lan, .ingress_ifindex = gateway.tun});
    BOOST_TEST(outcome.action == -1);
}

BOOST_AUTO_TEST_CASE(an_upgrade_leaves_no_gap) {
    Attached gateway;
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    const auto next = must(datapath::Programs::load(gateway.options));
    const Wire plain("wan0"), encrypted("wan0", kEspMark), peer("peer0"), esp_witness("peer0");
    std::atomic<bool> stop = false;
    std::atomic<int> sent = 0;
    std::thread flood([&] {
        for (; !stop; sent++) {
            plain.send(kForbidden);
            if (sent % 16 == 0)
                encrypted.send(kEsp);
        }
    });
    for (int i = 0; i < 200 || sent < 2000; i++)
        must(gateway.hooks.attach(i % 2 == 0 ? next : gateway.programs, Hook::uplink_egress, gateway.wan));
    stop = true;
    flood.join();
    BOOST_TEST(peer.received(kForbidden) == 0);
    BOOST_TEST(esp_witness.received(kEsp) == (sent + 15) / 16);
    BOOST_TEST(gateway.drops(PENSTOCK_DROP_HOST_CLEAR) == static_cast<std::uint64_t>(sent));
    BOOST_TEST(programs_on(gateway.hooks, gateway.wan, false) == 1U);
}

BOOST_AUTO_TEST_CASE(the_guard_outlives_the_process_that_attached_it) {
    Attached gateway;
    {
        const auto programs = must(datapath::Programs::load(gateway.options));
        auto hooks = must(Hooks::make(gateway.options.bpffs));
        must(hooks.attach(programs, Hook::uplink_egress, gateway.wan));
    } // every fd is closed
    const Wire plain("wan0"), encrypted("wan0", kEspMark), peer("peer0"), esp_witness("peer0");
    plain.send(kForbidden);
    encrypted.send(kEsp);
    BOOST_TEST(peer.received(kForbidden) == 0);
    BOOST_TEST(esp_witness.received(kEsp) == 1);
    BOOST_TEST(programs_on(gateway.hooks, gateway.wan, false) == 1U);
}

BOOST_AUTO_TEST_CASE(follows_an_interface_that_was_deleted_and_made_again) {
    Attached gateway;
    shell("ip link add again0 type veth peer name again1");
    const int before = ifindex_of("again0");
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, before));
    shell("ip link del again0");
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, before) == Hooks::State::absent);
    shell("ip link add again0 index " + std::to_string(before) + " type veth peer name again1");
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, before) ==
                Hooks::State::absent); // the old pin proves nothing
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, before));
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, before) == Hooks::State::first);
    BOOST_TEST(programs_on(gateway.hooks, before, false) == 1U);
    shell("ip link del again0");
    gateway.hooks.forget_absent({gateway.lan, gateway.wan});
    const auto folder = gateway.options.bpffs / "links";
    BOOST_TEST(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()) == 0);
}

// Somebody else's program, before ours, that passes everything on without asking us.
struct Intruder {
    Intruder(const Hooks& hooks, const std::string& interface, int ifindex) {
        if (!hooks.uses_tcx()) {
            shell("tc filter add dev " + interface +
                  " egress pref 1 protocol all handle 1 bpf bytecode '1,6 0 0 4294967295' action ok");
            return;
        }
        const bpf_insn pass[] = {{.code = 0xb7, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}, // TC_ACT_OK
                                 {.code = 0x95, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
        const Fd program(bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "intruder", "GPL", pass, 2, nullptr));
        struct {
            std::uint32_t prog_fd, target_ifindex, attach_type, flags, relative_fd, pad;
            std::uint64_t expected_revision;
        } attr{};
        attr.prog_fd = static_cast<std::uint32_t>(program.get());
        attr.target_ifindex = static_cast<std::uint32_t>(ifindex);
        attr.attach_type = 47; // BPF_TCX_EGRESS
        attr.flags = 1U << 3;  // BPF_F_BEFORE
        link = Fd(static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof attr)));
        BOOST_REQUIRE(link);
    }
    Fd link;
};

BOOST_AUTO_TEST_CASE(takes_the_first_place_back) {
    Attached gateway;
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    const Wire plain("wan0"), encrypted("wan0", kEspMark), peer("peer0"), esp_witness("peer0");
    for (int i = 0; i < 3; i++) {
        const Intruder intruder(gateway.hooks, "wan0", gateway.wan);
        if (gateway.hooks.uses_tcx())
            BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, gateway.wan) ==
                        Hooks::State::behind);
        plain.send(kForbidden);
        BOOST_TEST(peer.received(kForbidden) == 1); // it is really asked first
        must(gateway.hooks.move_first(gateway.programs, Hook::uplink_egress, gateway.wan));
        BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, gateway.wan) == Hooks::State::first);
        BOOST_TEST(programs_on(gateway.hooks, gateway.wan, false) >= 2U);
        plain.send(kForbidden);
        encrypted.send(kEsp);
        BOOST_TEST(peer.received(kForbidden) == 0);
        BOOST_TEST(esp_witness.received(kEsp) == 1);
        if (!gateway.hooks.uses_tcx())
            shell("tc filter del dev wan0 egress pref 1 protocol all handle 1 bpf");
    }
}

BOOST_AUTO_TEST_CASE(a_lost_pin_does_not_take_the_program_along) {
    Attached gateway;
    if (!gateway.hooks.uses_tcx())
        return; // clsact has no pins
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    const Wire plain("wan0"), peer("peer0");
    const auto folder = gateway.options.bpffs / "links";
    std::filesystem::remove_all(folder);
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, gateway.wan) == Hooks::State::unpinned);
    plain.send(kForbidden);
    BOOST_TEST(peer.received(kForbidden) == 0);
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    BOOST_CHECK(gateway.hooks.state(gateway.programs, Hook::uplink_egress, gateway.wan) == Hooks::State::first);
    BOOST_TEST(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()) == 1);
}

// A bpffs that was unmounted here but not in another mount namespace keeps links that nobody here can name by path.
BOOST_AUTO_TEST_CASE(links_of_a_predecessor_out_of_reach_are_taken_away) {
    Attached gateway;
    if (!gateway.hooks.uses_tcx())
        return; // a filter is found by its handle
    must(gateway.hooks.attach(gateway.programs, Hook::uplink_egress, gateway.wan));
    const auto folder = gateway.options.bpffs / "links";
    const auto pin = std::filesystem::directory_iterator(folder)->path();
    const Fd elsewhere(bpf_obj_get(pin.c_str()));
    BOOST_REQUIRE(elsewhere);
    std::filesystem::remove_all(folder);
    auto successor = must(Hooks::make(gateway.options.bpffs));
    const auto fresh = must(datapath::Programs::load(gateway.options));
    must(successor.attach(fresh, Hook::uplink_egress, gateway.wan));
    BOOST_TEST(must(datapath::tcx_programs(gateway.wan, false)).size() == 1U);
    BOOST_CHECK(successor.state(fresh, Hook::uplink_egress, gateway.wan) == Hooks::State::first);
    must(successor.detach(Hook::uplink_egress, gateway.wan));
}

BOOST_AUTO_TEST_CASE(lost_map_pins_are_found_and_made_again) {
    Attached gateway;
    BOOST_TEST(must(gateway.programs.lost_pins()).empty());
    const auto pin = gateway.options.bpffs / ("maps-" + std::to_string(PENSTOCK_ABI_VERSION)) / "sas";
    BOOST_REQUIRE(std::filesystem::remove(pin));
    BOOST_TEST((must(gateway.programs.lost_pins()) == std::vector<std::string>{"sas"}));
    must(gateway.programs.pin_map("sas"));
    BOOST_TEST(must(gateway.programs.lost_pins()).empty());
    BOOST_TEST(must(datapath::Gate::make(must(datapath::Programs::load(gateway.options)))).sas().size() == 4U);
}

BOOST_AUTO_TEST_CASE(says_why_it_cannot_attach) {
    Attached gateway;
    const auto result = gateway.hooks.attach(gateway.programs, Hook::uplink_egress, 99999);
    BOOST_REQUIRE(!result.has_value());
    BOOST_TEST(result.error().message().find("cannot attach uplink_egress to interface 99999") == 0U);
}

BOOST_AUTO_TEST_CASE(another_device_capacity_makes_new_device_maps_and_keeps_the_rest) {
    Gateway gateway(Gateway::Maps::own);
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Udp{}) == "pass");
    BOOST_TEST(gateway.from_device(Ethernet{} / IPv4{} / Tcp{.destination = 80}) == "not_allowed");
    datapath::ProgramOptions options = gateway.options;
    options.device_capacity = 16;
    const auto programs = must(datapath::Programs::load(options));
    const auto counters = must(datapath::Counters::make(programs));
    BOOST_TEST(counters.device(1).out_packets == 0U);
    BOOST_TEST(counters.drops().at(PENSTOCK_DROP_NOT_ALLOWED - 1).count == 1U);
    BOOST_TEST(must(datapath::PolicyStore::make(programs)).generation() == gateway.store.generation());
    const auto owner = mac("02:00:00:00:00:97");
    must(counters.assign({{owner, 15}}));
    BOOST_TEST(!counters.assign({{owner, 16}}).has_value());
}

BOOST_AUTO_TEST_CASE(refuses_a_folder_that_is_not_on_a_bpffs) {
    datapath::ProgramOptions options{
        .bpffs = "/proc/self", .marks = must(datapath::Marks::from_mask(kMask)), .device_capacity = 1};
    const auto programs = datapath::Programs::load(options);
    BOOST_REQUIRE(!programs.has_value());
    BOOST_TEST(!programs.error().message().empty());
}

BOOST_AUTO_TEST_CASE(refuses_mark_masks_other_than_two_adjacent_bits) {
    for (const std::uint32_t mask : {0U, 1U, 5U, 7U, 0x80000001U, 0xffffffffU})
        BOOST_TEST(!datapath::Marks::from_mask(mask).has_value());
    for (const std::uint32_t mask : {3U, 0x30000000U, 0xc0000000U, 0x00060000U})
        BOOST_TEST(datapath::Marks::from_mask(mask).has_value());
}

// One bit alone has no second value beside it: the mark of what is encrypted would be 0, that of everything.
BOOST_AUTO_TEST_CASE(refuses_the_top_bit_alone) { BOOST_TEST(!datapath::Marks::from_mask(0x80000000U).has_value()); }

BOOST_AUTO_TEST_CASE(honours_another_mark_mask) {
    Gateway gateway;
    datapath::ProgramOptions options = gateway.options;
    options.bpffs = new_bpffs_folder();
    options.marks = must(datapath::Marks::from_mask(0x00000600));
    const auto programs = must(datapath::Programs::load(options));
    const auto outcome = run_program(programs, Hook::lan_ingress, Ethernet{} / IPv4{} / Tcp{},
                                     {.ifindex = gateway.lan, .ingress_ifindex = gateway.lan, .mark = 0xffffffff});
    BOOST_TEST(outcome.mark == 0xfffffbffU);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace
} // namespace penstock::test
