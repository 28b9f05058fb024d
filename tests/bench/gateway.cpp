#include "tests/bench/gateway.hpp"

#include "agent/base/file.hpp"
#include "agent/datapath/early_drop.hpp"
#include "agent/datapath/gate.hpp"
#include "agent/datapath/hooks.hpp"
#include "tests/bench/attach.hpp"

#include <bpf/bpf.h>

#include <cerrno>
#include <fstream>
#include <netinet/in.h>
#include <unistd.h>

namespace penstock::bench {
namespace {

constexpr std::uint32_t kMask = 0x30000000;

IpAddress must_parse(const char* text) { return *IpAddress::parse(text); }

std::uint64_t memory_of(int fd) {
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
    std::string key;
    std::uint64_t value = 0;
    while (info >> key) {
        if (key == "memlock:") {
            info >> value;
            break;
        }
        std::getline(info, key);
    }
    return value;
}

} // namespace

Result<std::unique_ptr<Gateway>> Gateway::make(const std::filesystem::path& folder, const std::string& root,
                                               std::uint32_t devices) {
    std::error_code error;
    std::filesystem::create_directories(folder / "state", error);
    const auto marks = datapath::Marks::from_mask(kMask);
    auto programs =
        datapath::Programs::load({.bpffs = folder / "bpf" / "penstock", .marks = *marks, .device_capacity = devices});
    if (!programs)
        return tl::unexpected(programs.error());
    std::unique_ptr<Gateway> out(new Gateway(std::move(*programs)));
    out->config_ = {.file = folder / "penstock.toml",
                    .gateway = "bench",
                    .root = folder / "root.json",
                    .device_capacity = devices,
                    .storage = {.file = folder / "storage.key", .previous = {}},
                    .state = folder / "state",
                    .bpffs = folder / "bpf" / "penstock"};
    core::TunnelConfig tunnel; // the devices have to be behind one
    tunnel.local_networks = {{must_parse("10.0.0.0"), 10}, {must_parse("fd20::"), 64}};
    out->config_.tunnels = {tunnel};
    if (auto ok = write_file_atomically(out->config_.root, root); !ok)
        return tl::unexpected(ok.error());
    auto loop = EventLoop::make();
    if (!loop)
        return tl::unexpected(loop.error());
    out->loop_ = std::move(*loop);
    auto worker = Worker::make(*out->loop_);
    if (!worker)
        return tl::unexpected(worker.error());
    out->worker_ = std::move(*worker);
    auto store = datapath::PolicyStore::make(out->programs_);
    if (!store)
        return tl::unexpected(store.error());
    out->store_.emplace(std::move(*store));
    auto counters = datapath::Counters::make(out->programs_);
    if (!counters)
        return tl::unexpected(counters.error());
    out->counters_.emplace(std::move(*counters));
    out->state_.emplace(out->config_.state, out->config_.storage);
    if (auto ok = out->state_->open({}, [] { return store::SealedFolder::Change{}; }); !ok)
        return tl::unexpected(ok.error());
    out->policies_ = std::make_unique<core::PolicyManager>(out->config_, *out->worker_, out->events_, *out->store_,
                                                           *out->counters_, *out->state_);
    return out;
}

Status Gateway::drop_early() {
    const auto lan = ifindex_of("lan0");
    if (!lan)
        return tl::unexpected(lan.error());
    return datapath::EarlyDrop(programs_, config_.bpffs).attach(*lan);
}

Status Gateway::guard(bool ipv6) {
    auto gate = datapath::Gate::make(programs_);
    auto hooks = datapath::Hooks::make(config_.bpffs);
    const auto lan = ifindex_of("lan0"), wan = ifindex_of("wan0"), tun = ifindex_of("tun0");
    for (const auto* index : {&lan, &wan, &tun})
        if (!*index)
            return tl::unexpected(index->error());
    if (!gate)
        return tl::unexpected(gate.error());
    if (!hooks)
        return tl::unexpected(hooks.error());
    const auto peer = ipv6 ? must_parse("2001:db8:2::2") : must_parse("192.0.2.2");
    const std::uint32_t tcp_service = 2 * bench_group(0, 0) + 1;
    const Status steps[] = {
        // Answers come back through an interface that stands for the TUN: nothing here can decrypt.
        gate->set_flags({.esp_in_user_space = true}),
        gate->set_link(*lan, PENSTOCK_LINK_LAN, 14),
        gate->set_link(*wan, PENSTOCK_LINK_UPLINK, 14),
        gate->set_link(*tun, PENSTOCK_LINK_TUNNEL, 14),
        gate->set_host_addresses({{*lan, must_parse(ipv6 ? "fd20::1" : "10.0.0.1")},
                                  {*wan, must_parse(ipv6 ? "2001:db8:2::1" : "192.0.2.1")}}),
        gate->set_remote_networks({{all_services(ipv6), 0}}),
        gate->set_guarded_networks({all_services(ipv6), all_devices(ipv6)}),
        gate->set_tunnel(0, true),
        gate->add_sa(peer, BENCH_SPI, 0),
        // The TCP connection keeps its ports where the SPI is looked for.
        gate->add_sa(service_address(tcp_service, ipv6), BENCH_SOURCE_PORT << 16 | bench_port(tcp_service), 0),
        hooks->attach(programs_, datapath::Hook::lan_ingress, *lan),
        hooks->attach(programs_, datapath::Hook::lan_egress, *lan),
        hooks->attach(programs_, datapath::Hook::uplink_egress, *wan),
        hooks->attach(programs_, datapath::Hook::uplink_ingress, *wan),
    };
    for (const auto& step : steps)
        if (!step)
            return step;
    return {};
}

void Gateway::push_next(const Next& next, Status& status) {
    auto bundle = next();
    if (!bundle)
        return loop_->stop();
    policies_->push({std::move(*bundle), nullptr}, {.by = {.uid = getuid()}},
                    [&](const core::PolicyManager::PushAnswer& answer) {
                        status = answer.status;
                        if (!status)
                            return loop_->stop();
                        push_next(next, status);
                    });
}

Status Gateway::push_each(Next next) {
    Status status;
    push_next(next, status);
    if (auto ok = loop_->run(); !ok)
        return ok;
    return status;
}

Result<std::uint64_t> Gateway::map_bytes() const {
    std::uint64_t out = 0;
    for (const auto& name : programs_.map_names()) {
        const auto fd = programs_.map_fd(name);
        if (!fd)
            return tl::unexpected(fd.error());
        out += memory_of(fd->get());
        if (name != "policy" && name != "flows_ipv6")
            continue;
        for (std::uint32_t index = 0, id = 0; index < 2; index++) {
            if (bpf_map_lookup_elem(fd->get(), &index, &id) != 0)
                continue;
            const Fd inner(bpf_map_get_fd_by_id(id));
            out += inner ? memory_of(inner.get()) : 0;
        }
    }
    return out;
}

std::uint64_t Gateway::drops() const {
    std::uint64_t out = 0;
    for (const auto& drop : counters_->drops())
        out += drop.count;
    return out;
}

} // namespace penstock::bench
