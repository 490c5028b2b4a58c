// What people say about versions: tags, pins, pulls, subscriptions.

#include <fmt/format.h>

#include "icbd/base/limits.h"
#include "icbd/base/quote.h"
#include "icbd/catalog/names.h"

#include "database.h"

namespace icbd::catalog {
namespace {

constexpr std::string_view insert_tag =
    "INSERT OR REPLACE INTO tags (image_id, name, version) "
    "SELECT image_id, ?, serial FROM versions JOIN images ON images.id = versions.image_id "
    "WHERE images.name = ? AND number = ?";

Result<std::vector<Tag>> select_tags(Connection& connection) {
  ICBD_ASSIGN(Query query, connection.query("SELECT images.name, tags.name, number FROM tags "
                                            "JOIN images ON images.id = tags.image_id "
                                            "JOIN versions ON versions.serial = tags.version "
                                            "ORDER BY images.name, tags.name"));
  std::vector<Tag> tags;
  while (true) {
    ICBD_ASSIGN(const bool found, query.step());
    if (!found) return tags;
    tags.push_back({.image = query.text(0),
                    .name = query.text(1),
                    .number = VersionNumber(query.number<std::uint32_t>(2))});
  }
}

// For rows that are asked for by name.
Status require_change(const Connection& connection, const std::string& what) {
  if (connection.changed_rows() != 0) return {};
  return fail(ErrorCode::not_found, what);
}

}  // namespace

Status Catalog::set_pulled(VersionSerial serial, bool pulled) {
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_TRY(require_version(connection, serial));
  ICBD_ASSIGN(Query query, connection.query("UPDATE versions SET pulled = ? WHERE serial = ?"));
  return query.bind(static_cast<int>(pulled), serial.value()).run();
}

Status Catalog::set_pin(VersionSerial serial, const std::optional<Pin>& pin) {
  if (pin && pin->reason.size() > limits::message_length)
    return fail(ErrorCode::too_large, fmt::format("the reason has {} bytes, at most {} are kept",
                                                  pin->reason.size(), limits::message_length));
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_TRY(require_version(connection, serial));
  ICBD_ASSIGN(
      Query query,
      connection.query("UPDATE versions SET pin_reason = ?, pin_seconds = ? WHERE serial = ?"));
  std::optional<std::string_view> reason;
  if (pin) reason = pin->reason;
  return query.bind(reason, pin ? pin->since.seconds : 0, serial.value()).run();
}

Result<std::vector<std::uint32_t>> Catalog::view_name_ids(std::span<const std::string> names) {
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  std::vector<std::uint32_t> ids;
  ids.reserve(names.size());
  for (const std::string& name : names) {
    ICBD_ASSIGN(
        Query insert,
        connection.query("INSERT INTO view_names (name) VALUES (?) ON CONFLICT DO NOTHING"));
    ICBD_TRY(insert.bind(name).run());
    ICBD_ASSIGN(Query select, connection.query("SELECT id FROM view_names WHERE name = ?"));
    select.bind(name);
    ICBD_TRY(select.step());
    ids.push_back(select.number<std::uint32_t>(0));
  }
  ICBD_TRY(transaction.commit());
  return ids;
}

Result<std::vector<Tag>> Catalog::tags() const {
  const std::lock_guard lock(database_->mutex);
  return select_tags(*database_->connection);
}

Status Catalog::set_tag(const Tag& tag) {
  ICBD_TRY(check_tag_name(tag.name));
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(Query query, connection.query(insert_tag));
  ICBD_TRY(query.bind(tag.name, tag.image, tag.number.value()).run());
  ICBD_TRY(require_change(connection, fmt::format("there is no version {} of image {} here",
                                                  tag.number.value(), quote(tag.image))));
  return database_->commit_change(transaction);
}

Status Catalog::remove_tag(const std::string& image, const std::string& name) {
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(Query query, connection.query("DELETE FROM tags WHERE name = ? AND image_id = "
                                            "(SELECT id FROM images WHERE name = ?)"));
  ICBD_TRY(query.bind(name, image).run());
  ICBD_TRY(
      require_change(connection, fmt::format("image {} has no tag {}", quote(image), quote(name))));
  return database_->commit_change(transaction);
}

Status Catalog::replace_tags(const std::vector<Tag>& tags) {
  for (const Tag& tag : tags) ICBD_TRY(check_tag_name(tag.name));
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  ICBD_ASSIGN(const auto before, select_tags(connection));
  if (before == tags) return {};
  ICBD_ASSIGN(Query clear, connection.query("DELETE FROM tags"));
  ICBD_TRY(clear.run());
  for (const Tag& tag : tags) {
    ICBD_ASSIGN(Query insert, connection.query(insert_tag));
    ICBD_TRY(insert.bind(tag.name, tag.image, tag.number.value()).run());
  }
  ICBD_ASSIGN(const auto after, select_tags(connection));
  if (before == after) return {};
  return database_->commit_change(transaction);
}

Result<std::vector<Subscription>> Catalog::subscriptions() const {
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(Query query,
              database_->connection->query(
                  "SELECT image, latest, tag, transfer FROM subscriptions ORDER BY image"));
  std::vector<Subscription> subscriptions;
  while (true) {
    ICBD_ASSIGN(const bool found, query.step());
    if (!found) return subscriptions;
    subscriptions.push_back({.image = query.text(0),
                             .latest = query.number<std::uint32_t>(1),
                             .tag = query.text(2),
                             .transfer = query.text(3)});
  }
}

Status Catalog::set_subscription(const Subscription& subscription) {
  ICBD_TRY(check_image_name(subscription.image));
  if (!subscription.tag.empty()) ICBD_TRY(check_tag_name(subscription.tag));
  if ((subscription.latest == 0) == subscription.tag.empty())
    return fail(ErrorCode::invalid_argument,
                fmt::format("a subscription to {} wants the newest versions (at least 1) or a tag",
                            subscription.image));
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(Query query,
              database_->connection->query("INSERT OR REPLACE INTO subscriptions "
                                           "(image, latest, tag, transfer) VALUES (?, ?, ?, ?)"));
  return query
      .bind(subscription.image, subscription.latest, subscription.tag, subscription.transfer)
      .run();
}

Status Catalog::remove_subscription(const std::string& image) {
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Query query, connection.query("DELETE FROM subscriptions WHERE image = ?"));
  ICBD_TRY(query.bind(image).run());
  return require_change(connection, fmt::format("image {} is not subscribed", quote(image)));
}

}  // namespace icbd::catalog
