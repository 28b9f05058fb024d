#include "agent/api/backend.hpp"

namespace penstock::api {
namespace {

constexpr std::size_t kMaxLine = 8U << 20; // penstockd keeps no more for us

} // namespace

asio::awaitable<Status> Backend::ask(const std::filesystem::path& path, std::string request,
                                     std::chrono::seconds patience) {
    error_code error;
    socket_.expires_after(patience);
    co_await socket_.async_connect(asio::local::stream_protocol::endpoint(path.string()), into(error));
    if (error)
        co_return fail("penstockd does not answer the API (" + error.message() + "); it may be starting, try again");
    co_return co_await send(request, patience);
}

asio::awaitable<Status> Backend::send(std::string_view bytes, std::chrono::seconds patience) {
    error_code error;
    socket_.expires_after(patience);
    co_await asio::async_write(socket_, asio::buffer(bytes), into(error));
    if (error)
        co_return fail("penstockd closed the connection");
    co_return Status{};
}

asio::awaitable<Result<std::string>> Backend::line(std::chrono::seconds patience) {
    if (patience.count() == 0)
        socket_.expires_never();
    else
        socket_.expires_after(patience);
    error_code error;
    const auto size =
        co_await asio::async_read_until(socket_, asio::dynamic_buffer(buffer_, kMaxLine), '\n', into(error));
    if (error == beast::error::timeout)
        co_return fail("penstockd does not answer in time");
    if (error)
        co_return fail("penstockd closed the connection");
    auto out = buffer_.substr(0, size - 1);
    buffer_.erase(0, size);
    co_return out;
}

} // namespace penstock::api
