// RemoteSource over a real server over a real repository does what every Source has to do.
#include <gtest/gtest.h>

#include <optional>

#include "icbd/source/repository_source.h"
#include "icbd/wire/remote_source.h"
#include "icbd/wire/server.h"

#include "unit/source/source_contract.h"

namespace icbd::source {
namespace {

class RemoteSourceFactory {
 public:
  Result<std::unique_ptr<Source>> make(repository::Repository& repository) {
    local_.emplace(repository);
    ICBD_ASSIGN(unique_fd listening, wire::listen_on("127.0.0.1:0"));
    ICBD_ASSIGN(const std::string address, wire::bound_address(listening.get()));
    server_.emplace(std::move(listening), *local_, make_silent_logger());
    return std::make_unique<wire::RemoteSource>(
        wire::tcp_connector(address, std::chrono::seconds(5)),
        wire::RemoteSourceOptions{.node_name = "contract"}, make_silent_logger());
  }

 private:
  std::optional<RepositorySource> local_;
  std::optional<wire::Server> server_;
};

}  // namespace

INSTANTIATE_TYPED_TEST_SUITE_P(Remote, SourceContract, RemoteSourceFactory);

}  // namespace icbd::source
