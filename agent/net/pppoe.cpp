#include "agent/net/pppoe.hpp"

#include <arpa/inet.h>

#include <fstream>
#include <iterator>
#include <sstream>

namespace penstock::net {

// "Id       Address              Device", then a line each. The number is in hexadecimal, as it lies in memory.
std::vector<PppoeSession> parse_pppoe_sessions(std::string_view text) {
    std::vector<PppoeSession> out;
    std::istringstream lines{std::string(text)};
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::uint32_t id = 0;
        std::string address, device;
        if (words >> std::hex >> id >> address >> device && id <= 0xffff)
            out.push_back({.id = ntohs(static_cast<std::uint16_t>(id)), .interface = device});
    }
    return out;
}

std::vector<PppoeSession> list_pppoe_sessions() {
    std::ifstream file("/proc/thread-self/net/pppoe");
    return parse_pppoe_sessions(std::string(std::istreambuf_iterator<char>(file), {}));
}

} // namespace penstock::net
