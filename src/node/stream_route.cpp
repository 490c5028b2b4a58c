#include "icbd/node/stream_route.h"

#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <vector>

#include "icbd/base/limits.h"
#include "icbd/base/quote.h"
#include "icbd/base/unique_fd.h"
#include "icbd/btrfs/send.h"

namespace icbd::node {
namespace {

struct Wish {
  std::string parent;  // "" for none
  std::vector<std::string> clones;
  std::optional<std::uint32_t> protocol;
  bool compressed_data = false;
  bool no_data = false;
};

Result<bool> read_flag(const std::string& key, const std::string& value) {
  if (value == "1" || value == "0") return value == "1";
  return fail(ErrorCode::invalid_argument, fmt::format("{} has to be 1 or 0", key));
}

Result<std::uint32_t> read_protocol(const std::string& value) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc() || end != value.data() + value.size())
    return fail(ErrorCode::invalid_argument, fmt::format("{} is no protocol", quote(value)));
  return number;
}

Status read_member(Wish& wish, const std::string& key, const std::string& value) {
  if (key == "parent") {
    wish.parent = value;
  } else if (key == "clone") {
    if (wish.clones.size() == limits::offered_parents)
      return fail(ErrorCode::too_large,
                  fmt::format("more than {} clone sources", limits::offered_parents));
    wish.clones.push_back(value);
  } else if (key == "proto") {
    ICBD_ASSIGN(wish.protocol, read_protocol(value));
  } else if (key == "compressed_data") {
    ICBD_ASSIGN(wish.compressed_data, read_flag(key, value));
  } else if (key == "no_data") {
    ICBD_ASSIGN(wish.no_data, read_flag(key, value));
  } else {
    return fail(ErrorCode::invalid_argument,
                fmt::format("a stream has no {}, only parent, clone, proto, compressed_data and "
                            "no_data",
                            quote(key)));
  }
  return {};
}

// What the kernel reads from: everything stays open until the stream has ended.
struct Sending {
  unique_fd root;
  unique_fd parent;
  std::vector<unique_fd> clones;
  btrfs::SendOptions options;
};

class Opener {
 public:
  Opener(const rest::CatalogReader& reader, const repository::Repository& repository,
         std::string image)
      : reader_(reader), repository_(repository), image_(std::move(image)) {}

  Result<unique_fd> open(const std::string& word) const {
    ICBD_ASSIGN(const catalog::Version version,
                rest::find_version(reader_, {{"image", image_}, {"version", word}}));
    return repository_.open_version(version.facts.image, version.facts.number);
  }

  Result<std::shared_ptr<Sending>> open_all(const std::string& version, const Wish& wish) const {
    auto sending = std::make_shared<Sending>();
    ICBD_ASSIGN(sending->root, open(version));
    if (!wish.parent.empty()) {
      ICBD_ASSIGN(sending->parent, open(wish.parent));
      sending->options.parent_root_fd = sending->parent.get();
    }
    for (const std::string& clone : wish.clones) {
      ICBD_ASSIGN(unique_fd root, open(clone));
      sending->options.clone_root_fds.push_back(root.get());
      sending->clones.push_back(std::move(root));
    }
    sending->options.protocol = wish.protocol.value_or(wish.compressed_data ? 2 : 1);
    sending->options.compressed_data = wish.compressed_data;
    sending->options.no_data = wish.no_data;
    return sending;
  }

 private:
  const rest::CatalogReader& reader_;
  const repository::Repository& repository_;
  const std::string image_;
};

}  // namespace

void add_stream_route(rest::Router& router, const rest::CatalogReader& reader,
                      const repository::Repository& repository) {
  router.add(
      "GET", "/api/images/{image}/versions/{version}/stream",
      [reader, &repository](const rest::Request& request,
                            const rest::Router::Parameters& parameters) -> Result<rest::Response> {
        Wish wish;
        for (const auto& [key, value] : request.query) ICBD_TRY(read_member(wish, key, value));
        const Opener opener(reader, repository, parameters.at("image"));
        ICBD_ASSIGN(const auto sending, opener.open_all(parameters.at("version"), wish));
        return rest::Response{.stream = [sending](const rest::BodySink& sink) {
          return btrfs::send(sending->root.get(), sending->options, sink);
        }};
      });
}

}  // namespace icbd::node
