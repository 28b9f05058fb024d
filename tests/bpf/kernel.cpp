#include "tests/bpf/kernel.hpp"

#include "agent/base/fd.hpp"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <system_error>

namespace penstock::test {
namespace {

// The private bpffs; gone with the process.
class Sandbox {
public:
    Sandbox() {
        if (geteuid() != 0)
            why_not_ = "not root";
        else if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0)
            why_not_ = error("private namespaces");
        else if (mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
            why_not_ = error("private mounts");
        else
            mount_bpffs();
    }
    ~Sandbox() {
        if (folder_.empty())
            return;
        (void)umount2(folder_.c_str(), MNT_DETACH);
        (void)rmdir(folder_.c_str());
    }
    Sandbox(const Sandbox&) = delete;
    Sandbox& operator=(const Sandbox&) = delete;

    [[nodiscard]] const std::string& why_not() const { return why_not_; }
    [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

private:
    static std::string error(const std::string& what) { return what + ": " + std::generic_category().message(errno); }

    void mount_bpffs() {
        auto name = (std::filesystem::temp_directory_path() / "penstock-bpf.XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) {
            why_not_ = error("a temporary folder");
            return;
        }
        folder_ = name;
        if (mount("bpf", name.c_str(), "bpf", 0, nullptr) != 0) {
            why_not_ = error("a bpffs");
            return;
        }
        const Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "probe", 4, 4, 1, nullptr));
        if (!map)
            why_not_ = error("no eBPF");
        else
            shell("ip link set lo up");
    }

    std::string why_not_;
    std::filesystem::path folder_;
};

Sandbox& sandbox() {
    static Sandbox instance;
    return instance;
}

} // namespace

boost::test_tools::assertion_result can_run_bpf(boost::unit_test::test_unit_id) {
    boost::test_tools::assertion_result result(sandbox().why_not().empty());
    result.message() << sandbox().why_not();
    return result;
}

std::filesystem::path new_bpffs_folder() {
    static int number = 0;
    return sandbox().folder() / std::to_string(number++);
}

void shell(const std::string& command) {
    if (std::system(command.c_str()) != 0) // NOLINT(cert-env33-c): constant commands of these tests
        throw std::runtime_error("failed: " + command);
}

std::string output_of(const std::string& command) {
    FILE* pipe = popen(command.c_str(), "r"); // NOLINT(cert-env33-c)
    if (pipe == nullptr)
        throw std::runtime_error("failed: " + command);
    std::string out;
    std::array<char, 4096> block{};
    for (std::size_t n = 0; (n = fread(block.data(), 1, block.size(), pipe)) > 0;)
        out.append(block.data(), n);
    if (pclose(pipe) != 0)
        throw std::runtime_error("failed: " + command);
    return out;
}

int ifindex_of(const std::string& interface) {
    const auto index = if_nametoindex(interface.c_str());
    if (index == 0)
        throw std::system_error(errno, std::generic_category(), interface);
    return static_cast<int>(index);
}

Outcome run_program(const datapath::Programs& programs, datapath::Hook hook, const Bytes& frame, const Context& context,
                    int repeat) {
    __sk_buff skb{}, after{};
    skb.ifindex = static_cast<std::uint32_t>(context.ifindex);
    skb.ingress_ifindex = static_cast<std::uint32_t>(context.ingress_ifindex);
    skb.mark = context.mark;
    Bytes out(frame.size() + 256);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<std::uint32_t>(frame.size());
    options.data_out = out.data();
    options.data_size_out = static_cast<std::uint32_t>(out.size());
    options.ctx_in = &skb;
    options.ctx_size_in = sizeof skb;
    options.ctx_out = &after;
    options.ctx_size_out = sizeof after;
    options.repeat = repeat;
    const int error = bpf_prog_test_run_opts(programs.program_fd(hook), &options);
    if (error != 0)
        throw std::system_error(-error, std::generic_category(),
                                "BPF_PROG_TEST_RUN of " + std::to_string(frame.size()) + " bytes");
    out.resize(options.data_size_out);
    return {.action = static_cast<int>(options.retval), .mark = after.mark, .frame = std::move(out)};
}

} // namespace penstock::test
