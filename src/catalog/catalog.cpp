#include "icbd/catalog/catalog.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "icbd/base/file.h"
#include "icbd/base/quote.h"
#include "icbd/catalog/names.h"

#include "database.h"
#include "problems.h"
#include "schema.h"
#include "versions.h"

namespace icbd::catalog {

namespace {

Result<bool> has_image(Connection& connection, const std::string& name) {
  ICBD_ASSIGN(Query query, connection.query("SELECT 1 FROM images WHERE name = ?"));
  return query.bind(name).step();
}

Result<std::uint64_t> read_change_number(Connection& connection) {
  ICBD_ASSIGN(Query query, connection.query("SELECT change_number FROM node"));
  ICBD_TRY(query.step());
  return query.number<std::uint64_t>(0);
}

Status insert_image(Connection& connection, const std::string& name) {
  ICBD_ASSIGN(Query query, connection.query("INSERT INTO images (name) VALUES (?)"));
  return query.bind(name).run();
}

// already_exists if the image@number or the UUID is taken.
Status check_collision(Connection& connection, const VersionFacts& facts) {
  ICBD_ASSIGN(const auto same_number, find_by_number(connection, facts.image, facts.number));
  if (same_number) {
    const VersionFacts& known = same_number->facts;
    const bool same_content = known.uuid == facts.uuid && known.manifest == facts.manifest;
    return fail(
        ErrorCode::already_exists,
        same_content
            ? fmt::format("{} is here already, with the same UUID and content", describe(facts))
            : fmt::format("{} is here already with UUID {} and manifest {}, but this one "
                          "has UUID {} and manifest {}",
                          describe(facts), known.uuid.to_string(), known.manifest.to_string(),
                          facts.uuid.to_string(), facts.manifest.to_string()));
  }
  ICBD_ASSIGN(const auto same_uuid, find_by_uuid(connection, facts.uuid));
  if (same_uuid)
    return fail(ErrorCode::already_exists,
                fmt::format("{} has UUID {}, which belongs to {} here", describe(facts),
                            facts.uuid.to_string(), describe(same_uuid->facts)));
  return {};
}

Result<NodeIdentity> read_identity(Connection& connection) {
  NodeIdentity identity;
  ICBD_ASSIGN(Query query, connection.query("SELECT uuid, epoch FROM node"));
  ICBD_ASSIGN(const bool found, query.step());
  if (!found) return connection.refuse(ErrorCode::corrupt, "the node's identity is gone");
  ICBD_TRY(query.blob(0, identity.uuid.bytes));
  ICBD_TRY(query.blob(1, identity.epoch.bytes));
  return identity;
}

// SQLite would make it readable for all.
Status make_file(const std::filesystem::path& file) {
  if (const auto made = open_file(file, O_RDWR | O_CREAT | O_EXCL, 0600); !made) {
    if (made.error().code() == ErrorCode::already_exists) return {};
    return std::unexpected(made.error().with_context("catalog"));
  }
  return sync_directory(std::filesystem::absolute(file).parent_path());
}

}  // namespace

Status count_change(Connection& connection) {
  ICBD_ASSIGN(Query query, connection.query("UPDATE node SET change_number = change_number + 1"));
  return query.run();
}

Result<Version> require_version(Connection& connection, VersionSerial serial) {
  ICBD_ASSIGN(auto version, find_by_serial(connection, serial));
  if (!version)
    return fail(ErrorCode::not_found,
                fmt::format("no version has the serial {} here", serial.value()));
  return std::move(*version);
}

std::string_view to_string(VersionState state) {
  switch (state) {
    case VersionState::remote:
      return "remote";
    case VersionState::arriving:
      return "arriving";
    case VersionState::complete:
      return "complete";
  }
  return "remote";
}

Catalog::Catalog(std::unique_ptr<Database> database) : database_(std::move(database)) {}

Catalog::~Catalog() = default;

Result<std::unique_ptr<Catalog>> Catalog::open(const std::filesystem::path& file) {
  ICBD_TRY(make_file(file));
  auto database = std::make_unique<Database>();
  ICBD_ASSIGN(database->connection, Connection::open(file));
  ICBD_TRY(prepare_schema(*database->connection, file));
  ICBD_ASSIGN(database->identity, read_identity(*database->connection));
  return std::unique_ptr<Catalog>(new Catalog(std::move(database)));
}

Result<std::unique_ptr<Catalog>> Catalog::create(const std::filesystem::path& file,
                                                 const Uuid& repository) {
  ICBD_TRY(open_file(file, O_RDWR | O_CREAT | O_EXCL, 0600));
  ICBD_ASSIGN(auto catalog, open(file));
  Database& database = *catalog->database_;
  ICBD_ASSIGN(Query query, database.connection->query("UPDATE node SET uuid = ?"));
  ICBD_TRY(query.bind(ByteView(repository.bytes)).run());
  database.identity.uuid = repository;
  return catalog;
}

Result<std::vector<std::string>> Catalog::problems(const std::filesystem::path& file) {
  ICBD_ASSIGN(const auto connection, Connection::open(file));
  ICBD_ASSIGN(auto problems, file_problems(*connection));
  if (!problems.empty()) return problems;
  ICBD_TRY(prepare_schema(*connection, file));
  return content_problems(*connection);
}

Status Catalog::Database::commit_change(Transaction& transaction) {
  ICBD_TRY(count_change(*connection));
  ICBD_ASSIGN(const std::uint64_t number, read_change_number(*connection));
  ICBD_TRY(transaction.commit());
  if (observer) observer(number);
  return {};
}

void Catalog::set_observer(Observer observer) {
  const std::lock_guard lock(database_->mutex);
  database_->observer = std::move(observer);
}

NodeIdentity Catalog::identity() const {
  return database_->identity;
}

Result<std::uint64_t> Catalog::change_number() const {
  const std::lock_guard lock(database_->mutex);
  return read_change_number(*database_->connection);
}

Result<std::vector<std::string>> Catalog::images() const {
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(Query query, database_->connection->query("SELECT name FROM images ORDER BY name"));
  std::vector<std::string> names;
  while (true) {
    ICBD_ASSIGN(const bool found, query.step());
    if (!found) return names;
    names.push_back(query.text(0));
  }
}

Status Catalog::add_image(const std::string& name) {
  ICBD_TRY(check_image_name(name));
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(const bool taken, has_image(connection, name));
  if (taken)
    return fail(ErrorCode::already_exists, fmt::format("an image {} is here already", name));
  ICBD_TRY(insert_image(connection, name));
  return database_->commit_change(transaction);
}

Result<std::vector<Version>> Catalog::versions() const {
  const std::lock_guard lock(database_->mutex);
  return select_versions(*database_->connection);
}

Result<std::vector<Version>> Catalog::versions(const std::string& image) const {
  const std::lock_guard lock(database_->mutex);
  return select_versions(*database_->connection, image);
}

Result<Version> Catalog::version(VersionSerial serial) const {
  const std::lock_guard lock(database_->mutex);
  return require_version(*database_->connection, serial);
}

Result<Version> Catalog::version(const std::string& image, VersionNumber number) const {
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(auto version, find_by_number(*database_->connection, image, number));
  if (!version)
    return fail(ErrorCode::not_found, fmt::format("there is no version {} of image {} here",
                                                  number.value(), quote(image)));
  return std::move(*version);
}

Result<VersionNumber> Catalog::next_number(const std::string& image) const {
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(Query query,
              database_->connection->query("SELECT highest_number FROM images WHERE name = ?"));
  ICBD_ASSIGN(const bool found, query.bind(image).step());
  const auto highest = found ? query.number<std::uint32_t>(0) : 0;
  if (highest == UINT32_MAX)
    return fail(ErrorCode::too_large, fmt::format("image {} has used all version numbers", image));
  return VersionNumber(highest + 1);
}

Result<VersionSerial> Catalog::add_version(const VersionFacts& facts, VersionState state,
                                           const std::optional<AdoptedPlace>& place) {
  ICBD_TRY(check_facts(facts));
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_TRY(check_collision(connection, facts));
  ICBD_ASSIGN(const bool known, has_image(connection, facts.image));
  if (!known) ICBD_TRY(insert_image(connection, facts.image));
  ICBD_ASSIGN(const VersionSerial serial, insert_version(connection, facts, state, place));
  ICBD_TRY(database_->commit_change(transaction));
  return serial;
}

Status Catalog::reserve_number(const std::string& image, VersionNumber number) {
  ICBD_TRY(check_image_name(image));
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(const bool known, has_image(connection, image));
  if (!known) {
    ICBD_TRY(insert_image(connection, image));
    ICBD_TRY(count_change(connection));
  }
  ICBD_TRY(raise_highest_number(connection, image, number));
  return transaction.commit();
}

Status Catalog::set_state(VersionSerial serial, VersionState state) {
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(const Version version, require_version(connection, serial));
  if (version.state == state) return {};
  ICBD_TRY(update_state(connection, serial, state));
  return database_->commit_change(transaction);
}

Status Catalog::begin_arrival(VersionSerial serial, std::optional<VersionSerial> parent) {
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(const Version version, require_version(connection, serial));
  if (version.state == VersionState::complete)
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} is complete: it does not arrive", describe(version.facts)));
  if (parent) ICBD_TRY(require_version(connection, *parent));
  if (version.state != VersionState::arriving)
    ICBD_TRY(update_state(connection, serial, VersionState::arriving));
  ICBD_TRY(update_shaped(connection, serial, parent));
  return database_->commit_change(transaction);
}

Status Catalog::clear_arrival(VersionSerial serial) {
  return set_state(serial, VersionState::remote);
}

Result<std::optional<FollowedSource>> Catalog::followed_source() const {
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(Query query, database_->connection->query(
                               "SELECT repository, epoch, change_number FROM followed_source"));
  ICBD_ASSIGN(const bool found, query.step());
  if (!found) return std::nullopt;
  FollowedSource source;
  ICBD_TRY(query.blob(0, source.repository.bytes));
  ICBD_TRY(query.blob(1, source.epoch.bytes));
  source.change_number = query.number<std::uint64_t>(2);
  return source;
}

Status Catalog::set_followed_source(const FollowedSource& source) {
  if (source.repository.is_null() || source.epoch.is_null())
    return fail(ErrorCode::invalid_argument, "a source without repository UUID or epoch");
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(Query query, database_->connection->query(
                               "INSERT OR REPLACE INTO followed_source "
                               "(only_row, repository, epoch, change_number) VALUES (1, ?, ?, ?)"));
  return query
      .bind(ByteView(source.repository.bytes), ByteView(source.epoch.bytes), source.change_number)
      .run();
}

}  // namespace icbd::catalog
