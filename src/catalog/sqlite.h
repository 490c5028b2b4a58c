// SQLite's C interface with owners and Results; private to this folder.
//
// A Connection is used by one thread at a time. Statements are prepared once and kept with it.
#pragma once

#include <sqlite3.h>

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "icbd/base/bytes.h"
#include "icbd/base/error.h"

namespace icbd::catalog {

class Connection;

// One run of a prepared statement: bound, stepped, and reset when it goes out of scope.
class Query {
 public:
  Query(const Connection& connection, sqlite3_stmt* statement)
      : connection_(&connection), statement_(statement) {}
  ~Query();
  Query(Query&& other) noexcept
      : connection_(other.connection_),
        statement_(std::exchange(other.statement_, nullptr)),
        bind_result_(other.bind_result_) {}
  Query& operator=(Query&&) = delete;

  // Binds the values to the statement's parameters, in their order.
  template <typename... Values>
  Query& bind(const Values&... values) {
    int parameter = 0;
    (bind_value(++parameter, values), ...);
    return *this;
  }

  // True if there is a row to be read, false when the statement is done.
  Result<bool> step();
  // For statements that return no rows.
  Status run();

  template <std::integral Number>
  Number number(int column) const {
    return static_cast<Number>(sqlite3_column_int64(statement_, column));
  }
  bool is_null(int column) const;
  std::string text(int column) const;
  // Fills `bytes`; corrupt if the column holds another number of bytes.
  Status blob(int column, std::span<std::byte> bytes) const;

 private:
  template <std::integral Number>
  void bind_value(int parameter, Number value) {
    // Unsigned 64-bit numbers keep their bits: SQLite has signed ones only.
    keep(sqlite3_bind_int64(statement_, parameter, static_cast<std::int64_t>(value)));
  }
  template <typename Value>
  void bind_value(int parameter, const std::optional<Value>& value) {
    if (value)
      bind_value(parameter, *value);
    else
      keep(sqlite3_bind_null(statement_, parameter));
  }
  void bind_value(int parameter, std::string_view text);
  void bind_value(int parameter, ByteView blob);
  void keep(int result) {
    if (bind_result_ == SQLITE_OK) bind_result_ = result;
  }

  const Connection* connection_;
  sqlite3_stmt* statement_;
  int bind_result_ = SQLITE_OK;
};

class Connection {
 public:
  // The file must exist; an empty one is a new database.
  static Result<std::unique_ptr<Connection>> open(const std::filesystem::path& file);

  // `sql` must be a constant: it is the key under which the prepared statement is kept.
  Result<Query> query(std::string_view sql);
  // Statements without parameters and rows, separated by semicolons.
  Status execute(const std::string& script);

  std::int64_t last_insert_row() const { return sqlite3_last_insert_rowid(database_.get()); }
  // By the statement that has just run.
  int changed_rows() const { return sqlite3_changes(database_.get()); }
  // An error about this database's file.
  std::unexpected<Error> refuse(ErrorCode code, std::string_view reason) const;
  // The error of the call that just failed with `result`.
  std::unexpected<Error> error(int result) const;

 private:
  struct Close {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Statement = std::unique_ptr<sqlite3_stmt, Finalize>;

  explicit Connection(std::string name) : name_(std::move(name)) {}

  std::string name_;
  std::unique_ptr<sqlite3, Close> database_;
  std::unordered_map<std::string_view, Statement> statements_;
};

// A transaction that writes: rolled back unless it is committed.
class Transaction {
 public:
  static Result<Transaction> begin(Connection& connection);
  Transaction(Transaction&& other) noexcept
      : connection_(std::exchange(other.connection_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  Status commit();

 private:
  explicit Transaction(Connection& connection) : connection_(&connection) {}
  Connection* connection_;
};

}  // namespace icbd::catalog
