#include "snapshots.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "icbd/base/limits.h"
#include "icbd/base/quote.h"
#include "icbd/catalog/names.h"

namespace icbd::pull {
namespace {

// What is kept of what was left out.
constexpr std::size_t skipped_max = 10;

std::unexpected<Error> garbled() {
  return fail(ErrorCode::corrupt,
              "its answer is not a list of images and snapshots: does its shell print something "
              "of its own at a login?");
}

// Texts with a NUL behind each.
class Fields {
 public:
  explicit Fields(std::string_view text) : rest_(text) {}

  std::optional<std::string_view> next() {
    const std::size_t end = rest_.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view field = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return field;
  }

 private:
  std::string_view rest_;
};

void skip(std::vector<std::string>& skipped, std::string what) {
  if (skipped.size() < skipped_max) skipped.push_back(std::move(what));
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number number{};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

// "btrfs-progs v6.2" -> 6. --compressed-data is there from 6.0 on in every distribution.
unsigned major_version(std::string_view said) {
  const std::size_t begin = said.find(" v");
  if (begin == std::string_view::npos) return 0;
  said.remove_prefix(begin + 2);
  return parse_number<unsigned>(said.substr(0, said.find('.'))).value_or(0);
}

// What `btrfs subvolume show` writes: a path, then lines of "\tNAME: \t\tVALUE".
std::string_view value_of(std::string_view shown, std::string_view name) {
  const std::string label = fmt::format("\n\t{}:", name);
  const std::size_t found = shown.find(label);
  if (found == std::string_view::npos) return {};
  std::string_view value = shown.substr(found + label.size());
  value = value.substr(0, value.find('\n'));
  const std::size_t begin = value.find_first_not_of(" \t");
  return begin == std::string_view::npos ? std::string_view() : value.substr(begin);
}

std::optional<Uuid> uuid_of(std::string_view shown, std::string_view name) {
  const auto uuid = Uuid::parse(value_of(shown, name));
  if (!uuid || uuid->is_null()) return std::nullopt;
  return *uuid;
}

// "2026-11-20 13:45:00 +0100"
Timestamp time_of(std::string_view shown) {
  std::tm parts{};
  const std::string text(value_of(shown, "Creation time"));
  const char* const end = ::strptime(text.c_str(), "%Y-%m-%d %H:%M:%S %z", &parts);
  if (end == nullptr || *end != '\0') return {};
  const long ahead = parts.tm_gmtoff;
  return {.seconds = ::timegm(&parts) - ahead};
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= limits::name_length && name != "." && name != ".." &&
         std::ranges::none_of(name, [](char c) {
           return static_cast<unsigned char>(c) < ' ' || c == '\x7f' || c == '/';
         });
}

// "win11/2026-11-20" or, of snapper, "win11/7/snapshot": the name within the image's directory.
std::optional<std::string> name_in(std::string_view path, std::string_view image) {
  constexpr std::string_view below = "/snapshot";
  if (path.size() <= image.size() + 1 || !path.starts_with(image) || path[image.size()] != '/')
    return std::nullopt;
  path.remove_prefix(image.size() + 1);
  if (path.ends_with(below)) path.remove_suffix(below.size());
  if (!is_name(path)) return std::nullopt;
  return std::string(path);
}

// One entry of the image's directory.
class Entry {
 public:
  Entry(std::string_view image, std::string_view path, std::string_view shown,
        std::string_view exit_code)
      : image_(image), path_(path), shown_(shown), exit_code_(exit_code) {}

  void add_to(Listing& listing) const {
    const auto name = name_in(path_, image_);
    if (!name)
      return skip(listing.skipped,
                  fmt::format("{}: it has no name that could be taken over", quote(path_)));
    if (exit_code_ != "0")
      return skip(listing.skipped, fmt::format("{}: btrfs subvolume show ended with {}",
                                               quote(path_), quote(exit_code_)));
    if (value_of(shown_, "Flags").find("readonly") == std::string_view::npos) {
      listing.unfinished = true;
      return;
    }
    const auto uuid = uuid_of(shown_, "UUID");
    const auto transaction = parse_number<std::uint64_t>(value_of(shown_, "Gen at creation"));
    if (!uuid || !transaction)
      return skip(listing.skipped,
                  fmt::format("{}: btrfs subvolume show does not say its UUID and generation",
                              quote(path_)));
    listing.snapshots.push_back({.name = *name,
                                 .path = std::string(path_),
                                 .uuid = *uuid,
                                 .received_uuid = uuid_of(shown_, "Received UUID"),
                                 .parent_uuid = uuid_of(shown_, "Parent UUID"),
                                 .created_transaction = *transaction,
                                 .created = time_of(shown_)});
  }

 private:
  std::string_view image_, path_, shown_, exit_code_;
};

// A snapshot of a received one has its received UUID: of those with one identity, the first counts.
void put_in_order(Listing& listing) {
  std::vector<Snapshot>& all = listing.snapshots;
  std::ranges::stable_sort(all, [](const Snapshot& a, const Snapshot& b) {
    return std::tie(a.created_transaction, a.created, a.name) <
           std::tie(b.created_transaction, b.created, b.name);
  });
  std::vector<Snapshot> kept;
  std::unordered_map<Uuid, std::string> paths;
  for (Snapshot& snapshot : all) {
    const auto [same, is_new] = paths.try_emplace(snapshot.identity(), snapshot.path);
    if (is_new)
      kept.push_back(std::move(snapshot));
    else
      skip(listing.skipped, fmt::format("{}: it is the same snapshot as {}", quote(snapshot.path),
                                        quote(same->second)));
  }
  all = std::move(kept);
}

}  // namespace

Result<Images> parse_images(std::string_view answer) {
  Fields fields(answer);
  const auto begin = fields.next();
  const auto stream_version = fields.next();
  const auto programs = fields.next();
  if (begin != "icbd" || !stream_version || !programs) return garbled();
  Images images;
  constexpr unsigned sends_packed = 6;
  if (major_version(*programs) >= sends_packed)
    images.stream_version =
        parse_number<std::uint64_t>(stream_version->substr(0, stream_version->find('\n')))
            .value_or(1);
  for (std::size_t count = 0;; ++count) {
    const auto tag = fields.next();
    if (tag == "end") return images;
    const auto name = fields.next();
    const auto stamp = fields.next();
    if (tag != "image" || !name || !stamp) return garbled();
    if (count == images_max)
      return fail(ErrorCode::too_large,
                  fmt::format("it has more than {} directories there", images_max));
    if (const Status suitable = catalog::check_image_name(*name); suitable)
      images.stamps.emplace(*name, *stamp);
    else
      skip(images.skipped, suitable.error().message());
  }
}

Result<std::map<std::string, Listing>> parse_snapshots(std::string_view answer) {
  Fields fields(answer);
  std::map<std::string, Listing> listings;
  auto image = listings.end();
  for (std::size_t count = 0;; ++count) {
    const auto tag = fields.next();
    if (tag == "end") break;
    if (count == snapshots_max)
      return fail(ErrorCode::too_large,
                  fmt::format("it has more than {} snapshots there", snapshots_max));
    const auto name = fields.next();
    if (!tag || !name) return garbled();
    if (tag == "image") {
      image = listings.try_emplace(std::string(*name)).first;
      continue;
    }
    const auto shown = fields.next();
    const auto exit_code = fields.next();
    if (tag != "snapshot" || !shown || !exit_code || image == listings.end()) return garbled();
    Entry(image->first, *name, *shown, *exit_code).add_to(image->second);
  }
  for (auto& [name, listing] : listings) put_in_order(listing);
  return listings;
}

}  // namespace icbd::pull
