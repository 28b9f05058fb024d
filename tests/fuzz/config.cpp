// penstock.toml: of an operator, but perhaps from the machine that manages many.
#include "agent/core/config.hpp"

#include "tests/fuzz/fuzz.hpp"

using namespace penstock;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const fuzz::Folder folder;
    if (const auto config = core::Config::load(folder.write("penstock.toml", fuzz::text(data, size))))
        fuzz::require(!config->tunnels.empty() && !config->device_networks().empty(),
                      "a configuration that is accepted says where the devices are");
    return 0;
}
