// What the listener shows of itself and what it believes: TLS 1.3 only, with a client's certificate of one of the CAs
// that no CRL lists. Nothing is resumed: every connection is verified anew.
#pragma once

#include "agent/base/file_watch.hpp"
#include "agent/core/api_config.hpp"

#include <boost/asio/ssl/context.hpp>

#include <memory>

namespace penstock::api {

// As the files were. A connection keeps the one that it began with.
Result<std::shared_ptr<boost::asio::ssl::context>> load_tls(const core::ApiConfig& config);

// What load_tls() reads.
FileWatch::Paths tls_files(const core::ApiConfig& config);

} // namespace penstock::api
