// What comes over the control socket: requests, and the bytes that they announce. The values of the `explain` request
// go on to the one reader of questions.
#include "agent/control/server.hpp"

#include "policy/oracle.hpp"
#include "policy/yaml.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <cstring>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

using namespace penstock;

namespace {

class Handler final : public core::Requests {
public:
    void handle(const nlohmann::json& request, core::Body body, std::shared_ptr<core::Answer> answer) override {
        const auto text = [&](const char* key) {
            const auto found = request.find(key);
            return found != request.end() && found->is_string() ? found->get<std::string>() : "";
        };
        const auto port = request.find("port");
        const auto question =
            policy::read_question(text("device"), text("to"), text("from"), text("proto"),
                                  port != request.end() && port->is_number_unsigned() ? port->get<std::uint64_t>() : 0);
        if (question && policy_)
            (void)policy::explain(*policy_, policy::now(), *question);
        answer->send({{"ok", question.has_value()}, {"size", body.bytes.size()}, {"request", request}});
        answer->finish();
    }

private:
    Result<policy::Policy> policy_ = policy::load_yaml({PENSTOCK_SOURCE_DIR "/policy/examples/thermostats.yaml"});
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const fuzz::Folder folder;
    static Handler handler;
    const auto loop = std::move(*EventLoop::make()); // one that was stopped does not turn again
    const auto path = folder.path() / "control.sock";
    const auto server = control::Server::listen(*loop, path, handler);
    fuzz::require(server.has_value(), "a socket can be had");
    const Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path.c_str());
    if (connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        return 0;
    (void)!::send(client.get(), data, size, MSG_NOSIGNAL);
    shutdown(client.get(), SHUT_WR);
    const auto source = loop->on_fd(client.get(), EPOLLIN, [&](std::uint32_t) {
        char answer[65536];
        if (const auto got = recv(client.get(), answer, sizeof answer, 0); got == 0 || (got < 0 && errno != EAGAIN))
            loop->stop();
    });
    fuzz::require(source.has_value() && loop->run().has_value(), "the loop turns");
    return 0;
}
