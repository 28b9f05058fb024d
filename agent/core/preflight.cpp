#include "agent/core/preflight.hpp"

#include "agent/base/file.hpp"
#include "agent/core/carriers.hpp"
#include "agent/core/credentials.hpp"
#include "agent/core/ike_supervisor.hpp"
#include "agent/core/root_store.hpp"
#include "agent/core/routing.hpp"
#include "agent/core/trusted_time.hpp"
#include "policy/limits.hpp"

#include <algorithm>
#include <cerrno>

namespace penstock::core {
namespace {

void check_root(const Config& config, Preflight& out) {
    store::SealedFolder state(config.state, config.storage);
    const bool elsewhere = !state.keys() && state.keys().error().code() == ENOKEY && store::is_in_credential_store();
    const auto checked = state.check();
    if (!checked && !elsewhere)
        out.wrong.push_back("[storage] key: " + checked.error().message());
    TrustedTime time(state);
    (void)time.load(); // a ledger that cannot be read is told below
    const auto root = RootStore(config, state).load();
    if (!root && root.error().code() == ENOKEY && elsewhere)
        out.warnings.push_back("[policy] root: a newer one that was pushed was not looked at: the storage key is in "
                               "systemd's credential store, which opens it for penstockd.service alone");
    else if (!root && (root.error().code() != ENOKEY || checked)) // else it was said
        out.wrong.push_back("[policy] root: " + root.error().message());
    else if (root && time.now() >= root->expires)
        out.wrong.push_back("[policy] root: version " + std::to_string(root->version) + " expired at " +
                            policy::format_time(root->expires) + "; no bundle is accepted until a newer root is there");
}

void check_credentials(const Config& config, Preflight& out) {
    const auto credentials = read_credentials(config);
    for (const auto& list : {credentials.problems, credentials.problems_at(policy::now())})
        out.wrong.insert(out.wrong.end(), list.begin(), list.end());
}

void check_addresses(const Config& config, const NetworkView& network, Preflight& out) {
    for (const auto& address : network.addresses) {
        const auto* link = network.find(address.ifindex);
        const auto shown = address.address.str() + " of " + (link != nullptr ? link->name : "this gateway");
        const bool uplink = link != nullptr && std::ranges::find(config.uplink, link->name) != config.uplink.end();
        for (const auto& tunnel : config.tunnels) {
            for (const auto& local : tunnel.local_networks)
                if (uplink && local.contains(address.address))
                    out.wrong.push_back("address " + shown + ", an uplink, is inside " + local.str() +
                                        ", where the devices are; take it away or change tunnel " + tunnel.name);
            for (const auto& remote : tunnel.remote_networks)
                if (remote.contains(address.address))
                    out.wrong.push_back("address " + shown + " is inside " + remote.str() + " of tunnel " +
                                        tunnel.name + "; take it away or change the tunnel");
        }
    }
}

void check_network(const Config& config, Preflight& out) {
    const auto network = NetworkView::read();
    if (!network) {
        out.warnings.push_back("the interfaces were not looked at: " + network.error().message());
        return;
    }
    for (const auto& [list, role] : {std::pair{&config.lan, "LAN"}, {&config.uplink, "uplink"}})
        for (const auto& name : *list)
            if (network->find(name) == nullptr)
                out.warnings.push_back("there is no interface " + name + " (" + role +
                                       ") yet; nothing passes it until it comes");
    if (config.api)
        if (auto ok = config.api->check_listen(config.lan); !ok)
            out.wrong.push_back(ok.error().message());
    const auto shared = shared_wires(config, *network);
    out.wrong.insert(out.wrong.end(), shared.begin(), shared.end());
    check_addresses(config, *network, out);
}

} // namespace

Preflight preflight(const Config& config) {
    Preflight out;
    if (auto ok = IkeSupervisor::check(config); !ok)
        out.wrong.push_back(ok.error().message());
    check_credentials(config, out);
    check_root(config, out);
    check_network(config, out);
    return out;
}

} // namespace penstock::core
