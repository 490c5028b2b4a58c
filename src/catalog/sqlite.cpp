#include "sqlite.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace icbd::catalog {
namespace {

// Only another process can hold the lock (a backup, a person with sqlite3); it is soon done.
constexpr std::chrono::milliseconds busy_timeout{5'000};

ErrorCode code_of(int result) {
  switch (result & 0xff) {  // the primary code of an extended one
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::corrupt;
    case SQLITE_FULL:
      return ErrorCode::no_space;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::busy;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return ErrorCode::permission_denied;
    case SQLITE_TOOBIG:
      return ErrorCode::too_large;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_NOMEM:
      return ErrorCode::io;
    default:
      return ErrorCode::internal;
  }
}

}  // namespace

Query::~Query() {
  if (!statement_) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Result<bool> Query::step() {
  if (bind_result_ != SQLITE_OK) return connection_->error(bind_result_);
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  return connection_->error(result);
}

Status Query::run() {
  ICBD_TRY(step());
  return {};
}

bool Query::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

std::string Query::text(int column) const {
  const unsigned char* const text = sqlite3_column_text(statement_, column);
  if (!text) return {};
  const auto length = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return {reinterpret_cast<const char*>(text), length};
}

Status Query::blob(int column, std::span<std::byte> bytes) const {
  const auto* const blob = static_cast<const std::byte*>(sqlite3_column_blob(statement_, column));
  const auto length = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  if (!blob || length != bytes.size())
    return connection_->refuse(
        ErrorCode::corrupt, fmt::format("a field of {} bytes instead of {}", length, bytes.size()));
  std::ranges::copy(std::span(blob, length), bytes.begin());
  return {};
}

// What is bound need not be copied: it outlives the query, which is stepped by the same caller.
void Query::bind_value(int parameter, std::string_view text) {
  keep(sqlite3_bind_text64(statement_, parameter, text.data() ? text.data() : "", text.size(),
                           SQLITE_STATIC, SQLITE_UTF8));
}

void Query::bind_value(int parameter, ByteView blob) {
  keep(sqlite3_bind_blob64(statement_, parameter, blob.data(), blob.size(), SQLITE_STATIC));
}

Result<std::unique_ptr<Connection>> Connection::open(const std::filesystem::path& file) {
  std::unique_ptr<Connection> connection(new Connection(file.string()));
  sqlite3* database = nullptr;
  const int result =
      sqlite3_open_v2(file.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  connection->database_.reset(database);
  if (result != SQLITE_OK) return connection->error(result);
  sqlite3_busy_timeout(database, static_cast<int>(busy_timeout.count()));
  return connection;
}

Result<Query> Connection::query(std::string_view sql) {
  Statement& statement = statements_[sql];
  if (!statement) {
    sqlite3_stmt* prepared = nullptr;
    const int result = sqlite3_prepare_v3(database_.get(), sql.data(), static_cast<int>(sql.size()),
                                          SQLITE_PREPARE_PERSISTENT, &prepared, nullptr);
    if (result != SQLITE_OK) return error(result);
    statement.reset(prepared);
  }
  return Query(*this, statement.get());
}

Status Connection::execute(const std::string& script) {
  const int result = sqlite3_exec(database_.get(), script.c_str(), nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return error(result);
  return {};
}

std::unexpected<Error> Connection::refuse(ErrorCode code, std::string_view reason) const {
  return fail(code, fmt::format("catalog {}: {}", name_, reason));
}

std::unexpected<Error> Connection::error(int result) const {
  const char* const reason = database_ ? sqlite3_errmsg(database_.get()) : sqlite3_errstr(result);
  return refuse(code_of(result), reason);
}

Result<Transaction> Transaction::begin(Connection& connection) {
  // IMMEDIATE: waiting for another writer happens here, and never in the middle.
  ICBD_TRY(connection.execute("BEGIN IMMEDIATE"));
  return Transaction(connection);
}

Transaction::~Transaction() {
  // It fails only where SQLite has rolled back by itself.
  if (connection_) static_cast<void>(connection_->execute("ROLLBACK"));
}

Status Transaction::commit() {
  ICBD_TRY(connection_->execute("COMMIT"));
  connection_ = nullptr;
  return {};
}

}  // namespace icbd::catalog
