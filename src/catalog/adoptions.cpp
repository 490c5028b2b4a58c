// Snapshots that are still to be adopted.

#include "icbd/catalog/catalog.h"

#include "database.h"

namespace icbd::catalog {

Result<std::vector<Adoption>> Catalog::adoptions() const {
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(Query query,
              database_->connection->query(
                  "SELECT id, job, image, path, subvolume, uuid FROM adoptions ORDER BY id"));
  std::vector<Adoption> adoptions;
  while (true) {
    ICBD_ASSIGN(const bool found, query.step());
    if (!found) return adoptions;
    Adoption adoption{
        .id = query.number<std::uint64_t>(0),
        .job = query.number<std::uint64_t>(1),
        .image = query.text(2),
        .place = {.path = query.text(3), .subvolume = SubvolumeId(query.number<std::uint64_t>(4))},
        .uuid = {}};
    ICBD_TRY(query.blob(5, adoption.uuid.bytes));
    adoptions.push_back(std::move(adoption));
  }
}

Result<std::uint64_t> Catalog::add_adoptions(const std::vector<Adoption>& adoptions) {
  const std::lock_guard lock(database_->mutex);
  Connection& connection = *database_->connection;
  ICBD_ASSIGN(Transaction transaction, Transaction::begin(connection));
  std::uint64_t job = 0;
  for (const Adoption& adoption : adoptions) {
    ICBD_ASSIGN(Query insert,
                connection.query("INSERT INTO adoptions (job, image, path, subvolume, uuid) "
                                 "VALUES (?, ?, ?, ?, ?)"));
    ICBD_TRY(insert
                 .bind(job, adoption.image, adoption.place.path, adoption.place.subvolume.value(),
                       ByteView(adoption.uuid.bytes))
                 .run());
    if (job == 0) job = static_cast<std::uint64_t>(connection.last_insert_row());
  }
  ICBD_ASSIGN(Query update, connection.query("UPDATE adoptions SET job = id WHERE job = 0"));
  ICBD_TRY(update.run());
  ICBD_TRY(transaction.commit());
  return job;
}

Status Catalog::remove_adoption(std::uint64_t id) {
  const std::lock_guard lock(database_->mutex);
  ICBD_ASSIGN(Query query, database_->connection->query("DELETE FROM adoptions WHERE id = ?"));
  return query.bind(id).run();
}

}  // namespace icbd::catalog
