#include "versions.h"

#include <fmt/format.h>

#include <array>

#include "icbd/base/limits.h"
#include "icbd/catalog/names.h"

namespace icbd::catalog {
namespace {

// The columns that read_version() reads, in its order.
#define ICBD_SELECT_VERSIONS                                                               \
  "SELECT serial, name, number, uuid, manifest, parent, message, published_seconds, "      \
  "published_nanoseconds, root_mode, root_uid, root_gid, root_seconds, root_nanoseconds, " \
  "entries, file_bytes, data_bytes, send_transaction, state, shaped, shape_parent, "       \
  "place, place_subvolume, boot_directory, target_file, pulled, pin_reason, pin_seconds, " \
  "generation "                                                                            \
  "FROM versions JOIN images ON images.id = versions.image_id "
constexpr std::string_view select_all = ICBD_SELECT_VERSIONS "ORDER BY name, number";
constexpr std::string_view select_of_image = ICBD_SELECT_VERSIONS "WHERE name = ? ORDER BY number";
constexpr std::string_view select_by_serial = ICBD_SELECT_VERSIONS "WHERE serial = ?";
constexpr std::string_view select_by_number = ICBD_SELECT_VERSIONS "WHERE name = ? AND number = ?";
constexpr std::string_view select_by_uuid = ICBD_SELECT_VERSIONS "WHERE uuid = ?";
#undef ICBD_SELECT_VERSIONS

constexpr std::string_view insert_row =
    "INSERT INTO versions (image_id, number, uuid, manifest, parent, message, published_seconds, "
    "published_nanoseconds, root_mode, root_uid, root_gid, root_seconds, root_nanoseconds, "
    "entries, file_bytes, data_bytes, send_transaction, state, place, place_subvolume, "
    "boot_directory, target_file) "
    "SELECT id, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM images "
    "WHERE name = ?";

constexpr std::array all_states = {VersionState::remote, VersionState::arriving,
                                   VersionState::complete};

template <typename Strong>
std::optional<std::uint32_t> plain(const std::optional<Strong>& number) {
  return number ? std::optional(number->value()) : std::nullopt;
}

// The next column at each call.
class Row {
 public:
  explicit Row(const Query& query) : query_(query) {}

  template <std::integral Number>
  Number number() {
    return query_.number<Number>(column_++);
  }
  template <typename Strong>
  std::optional<Strong> optional_number() {
    const int column = column_++;
    if (query_.is_null(column)) return std::nullopt;
    return Strong(query_.number<std::uint32_t>(column));
  }
  std::optional<AdoptedPlace> place() {
    const int path = column_++, subvolume = column_++;
    if (query_.is_null(path)) return std::nullopt;
    return AdoptedPlace{.path = query_.text(path),
                        .subvolume = SubvolumeId(query_.number<std::uint64_t>(subvolume))};
  }
  std::optional<Pin> pin() {
    const int reason = column_++, since = column_++;
    if (query_.is_null(reason)) return std::nullopt;
    return Pin{.reason = query_.text(reason), .since = {query_.number<std::int64_t>(since), 0}};
  }
  Timestamp timestamp() {
    const auto seconds = number<std::int64_t>();
    return {seconds, number<std::uint32_t>()};
  }
  std::string text() { return query_.text(column_++); }
  Status blob(std::span<std::byte> bytes) { return query_.blob(column_++, bytes); }

 private:
  const Query& query_;
  int column_ = 0;
};

Result<Version> read_version(const Query& query) {
  Row row(query);
  Version version;
  VersionFacts& facts = version.facts;
  version.serial = VersionSerial(row.number<std::uint32_t>());
  facts.image = row.text();
  facts.number = VersionNumber(row.number<std::uint32_t>());
  ICBD_TRY(row.blob(facts.uuid.bytes));
  ICBD_TRY(row.blob(facts.manifest.bytes));
  facts.parent = row.optional_number<VersionNumber>();
  facts.message = row.text();
  facts.published = row.timestamp();
  facts.root.mode = row.number<std::uint32_t>();
  facts.root.uid = row.number<std::uint32_t>();
  facts.root.gid = row.number<std::uint32_t>();
  facts.root.modified = row.timestamp();
  facts.entries = row.number<std::uint32_t>();
  facts.file_bytes = row.number<std::uint64_t>();
  facts.data_bytes = row.number<std::uint64_t>();
  facts.send_transaction = row.number<std::uint64_t>();
  const std::string state = row.text();
  for (const VersionState candidate : all_states)
    if (to_string(candidate) == state) version.state = candidate;
  version.shaped = row.number<int>() != 0;
  version.shape_parent = row.optional_number<VersionSerial>();
  version.place = row.place();
  facts.boot_directory = row.text();
  facts.target_file = row.text();
  version.pulled = row.number<int>() != 0;
  version.pin = row.pin();
  version.generation = row.number<std::uint64_t>();
  return version;
}

Result<std::vector<Version>> read_versions(Query& query) {
  std::vector<Version> versions;
  while (true) {
    ICBD_ASSIGN(const bool found, query.step());
    if (!found) return versions;
    ICBD_ASSIGN(Version version, read_version(query));
    versions.push_back(std::move(version));
  }
}

template <typename... Values>
Result<std::optional<Version>> find(Connection& connection, std::string_view sql,
                                    const Values&... values) {
  ICBD_ASSIGN(Query query, connection.query(sql));
  ICBD_ASSIGN(const bool found, query.bind(values...).step());
  if (!found) return std::nullopt;
  ICBD_ASSIGN(Version version, read_version(query));
  return version;
}

}  // namespace

std::string describe(const VersionFacts& facts) {
  return fmt::format("{}@{}", facts.image, facts.number.value());
}

Status check_facts(const VersionFacts& facts) {
  ICBD_TRY(check_image_name(facts.image));
  const auto refuse = [&facts](std::string_view reason) {
    return fail(ErrorCode::invalid_argument,
                fmt::format("version {}: {}", describe(facts), reason));
  };
  if (facts.number.value() == 0) return refuse("numbers begin with 1");
  if (facts.parent && facts.parent->value() == 0) return refuse("its parent has no number");
  if (facts.uuid.is_null()) return refuse("it has no UUID");
  if (facts.message.size() > limits::message_length)
    return refuse("its message is over limits::message_length");
  if (facts.root.mode > 07777) return refuse("its root's mode has more than permission bits");
  if (facts.published.nanoseconds > 999'999'999 || facts.root.modified.nanoseconds > 999'999'999)
    return refuse("a time with more nanoseconds than a second has");
  for (const std::string& path : {facts.boot_directory, facts.target_file})
    if (const Status checked = check_marked_path(path); !checked)
      return refuse(checked.error().message());
  return {};
}

Result<std::vector<Version>> select_versions(Connection& connection) {
  ICBD_ASSIGN(Query query, connection.query(select_all));
  return read_versions(query);
}

Result<std::vector<Version>> select_versions(Connection& connection, const std::string& image) {
  ICBD_ASSIGN(Query query, connection.query(select_of_image));
  return read_versions(query.bind(image));
}

Result<std::optional<Version>> find_by_serial(Connection& connection, VersionSerial serial) {
  return find(connection, select_by_serial, serial.value());
}

Result<std::optional<Version>> find_by_number(Connection& connection, const std::string& image,
                                              VersionNumber number) {
  return find(connection, select_by_number, image, number.value());
}

Result<std::optional<Version>> find_by_uuid(Connection& connection, const Uuid& uuid) {
  return find(connection, select_by_uuid, ByteView(uuid.bytes));
}

Result<VersionSerial> insert_version(Connection& connection, const VersionFacts& facts,
                                     VersionState state, const std::optional<AdoptedPlace>& place) {
  ICBD_ASSIGN(Query query, connection.query(insert_row));
  const RootAttributes& root = facts.root;
  std::optional<std::string_view> path;
  std::optional<std::uint64_t> subvolume;
  if (place) {
    path = place->path;
    subvolume = place->subvolume.value();
  }
  ICBD_TRY(query
               .bind(facts.number.value(), ByteView(facts.uuid.bytes),
                     ByteView(facts.manifest.bytes), plain(facts.parent), facts.message,
                     facts.published.seconds, facts.published.nanoseconds, root.mode, root.uid,
                     root.gid, root.modified.seconds, root.modified.nanoseconds, facts.entries,
                     facts.file_bytes, facts.data_bytes, facts.send_transaction, to_string(state),
                     path, subvolume, facts.boot_directory, facts.target_file, facts.image)
               .run());
  const std::int64_t serial = connection.last_insert_row();
  if (serial > std::int64_t{limits::version_serial})
    return connection.refuse(ErrorCode::too_large, "all serials are used (limits::version_serial)");
  ICBD_TRY(raise_highest_number(connection, facts.image, facts.number));
  return VersionSerial(static_cast<std::uint32_t>(serial));
}

Status raise_highest_number(Connection& connection, const std::string& image,
                            VersionNumber number) {
  ICBD_ASSIGN(
      Query raise,
      connection.query("UPDATE images SET highest_number = max(highest_number, ?) WHERE name = ?"));
  return raise.bind(number.value(), image).run();
}

Status update_state(Connection& connection, VersionSerial serial, VersionState state) {
  ICBD_ASSIGN(Query query,
              connection.query("UPDATE versions SET state = ?, shaped = 0, shape_parent = NULL, "
                               "pulled = pulled AND ?, generation = generation + ? "
                               "WHERE serial = ?"));
  return query
      .bind(to_string(state), static_cast<int>(state != VersionState::complete),
            static_cast<int>(state == VersionState::remote), serial.value())
      .run();
}

Status update_shaped(Connection& connection, VersionSerial serial,
                     std::optional<VersionSerial> parent) {
  ICBD_ASSIGN(Query query, connection.query("UPDATE versions SET shaped = 1, shape_parent = ? "
                                            "WHERE serial = ?"));
  return query.bind(plain(parent), serial.value()).run();
}

}  // namespace icbd::catalog
