// The listener: accepts, keeps the limits, takes up renewed files.
#pragma once

#include "agent/api/admission.hpp"
#include "agent/api/session.hpp"
#include "agent/api/tls.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace penstock::api {

class Server {
public:
    // lan: interface names. The service outlives io.
    Server(asio::io_context& io, Service& service, const std::vector<std::string>& lan);

    // An error if it must not or cannot listen as configured; an address that is not there yet is waited for.
    Status start();

private:
    [[nodiscard]] const core::ApiConfig& config() const { return service_.config; }
    Result<bool> listen(); // false: the address is not there
    asio::awaitable<void> accept();
    asio::awaitable<void> tick();
    void welcome(tcp::socket socket);
    void look_at_files();
    void look_at_address();
    void tell_failures();

    asio::io_context& io_;
    Service& service_;
    const std::vector<std::string>& lan_;
    Admission admission_{service_.limits};
    FileWatch watch_;
    std::shared_ptr<asio::ssl::context> tls_;
    std::optional<tcp::acceptor> acceptor_;
    std::map<Admission::Id, std::weak_ptr<Session>> sessions_;
    std::string said_; // why it does not listen
    std::uint64_t failures_told_ = 0;
};

} // namespace penstock::api
