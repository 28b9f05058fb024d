// A small world for random policies and packets: few addresses and ports, so that packets meet each other's flows, and
// the edges of every range are among them.
#pragma once

#include "policy/oracle_gateway.hpp"
#include "tests/bpf/packet.hpp"

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace penstock::test {

// What a packet is, in words from which both its bytes and the oracle's question are made.
struct Sample {
    policy::Came came = policy::Came::from_device;
    std::string source, destination; // addresses
    Mac mac;                         // source, from a device
    std::uint8_t proto = 6;
    std::uint16_t source_port = 0, destination_port = 0;
    std::uint8_t icmp_type = 0;
    std::uint16_t echo_id = 0;
    std::uint8_t flags = 0x10; // TCP
    Bytes data = {};
    std::shared_ptr<const Sample> quoted = {};
    bool first = false, later = false; // fragments
    std::uint16_t fragment_id = 0, offset = 0;
    int extensions = 0; // IPv6 destination options before all else

    [[nodiscard]] bool six() const { return source.find(':') != std::string::npos; }
    [[nodiscard]] Bytes frame() const;
    [[nodiscard]] policy::Transit transit() const;
};

class World {
public:
    explicit World(std::uint32_t seed) : random_(seed) {}

    // YAML; the reader may refuse it, since not everything that can be said makes sense.
    std::string policy();
    // The next packet, which often has to do with those before it.
    Sample packet();
    void forget() { past_.clear(); }

private:
    std::size_t below(std::size_t n) { return random_() % n; }
    bool chance(unsigned percent) { return random_() % 100 < percent; }
    template <class T> const T& one_of(const std::vector<T>& list) { return list[below(list.size())]; }
    std::string some(const std::vector<std::string>& list, std::size_t most);
    std::string service(int number);
    Sample fresh();
    Sample answer(Sample sample);
    Sample complaint(const Sample& about);
    Bytes some_data(std::uint8_t proto);
    void cut(Sample& sample);

    std::mt19937 random_;
    std::vector<Sample> past_;
    std::uint16_t next_id_ = 1;
};

// The device's MAC that has this address, empty if none has it.
Mac owner(const std::string& address);

} // namespace penstock::test
