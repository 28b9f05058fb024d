// The kernel as the tests use it: namespaces and a bpffs of their own, interfaces, and one packet through one program.
#pragma once

#include "agent/datapath/programs.hpp"
#include "tests/bpf/packet.hpp"

#include <boost/test/unit_test.hpp>

#include <filesystem>
#include <string>

namespace penstock::test {

// Precondition of every suite: enters private network and mount namespaces once; false, with the reason, where this
// user or kernel cannot.
boost::test_tools::assertion_result can_run_bpf(boost::unit_test::test_unit_id);

// A new empty folder on the private bpffs.
std::filesystem::path new_bpffs_folder();

// Runs a command in the private namespaces; throws if it fails.
void shell(const std::string& command);
// What the command wrote to its standard output.
std::string output_of(const std::string& command);
int ifindex_of(const std::string& interface);

// What surrounds a packet. ifindex 0: loopback's.
struct Context {
    int ifindex = 0;
    int ingress_ifindex = 0;
    std::uint32_t mark = 0;
};
struct Outcome {
    int action;         // TC_ACT_*
    std::uint32_t mark; // after the program
    Bytes frame;        // after the program
};
// The packet comes in (or goes out) on the interface of `context` with a full socket: what BPF_PROG_TEST_RUN makes.
// `repeat` runs it as often over the same packet; the outcome is the last one's.
Outcome run_program(const datapath::Programs& programs, datapath::Hook hook, const Bytes& frame, const Context& context,
                    int repeat = 1);

} // namespace penstock::test
