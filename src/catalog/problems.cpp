#include "problems.h"

#include <fmt/format.h>

#include "icbd/base/quote.h"
#include "icbd/catalog/names.h"

#include "versions.h"

namespace icbd::catalog {
namespace {

// The rows of a query, as one text each.
Status collect(Connection& connection, std::string_view sql, std::string_view prefix,
               std::vector<std::string>& problems) {
  ICBD_ASSIGN(Query query, connection.query(sql));
  while (true) {
    ICBD_ASSIGN(const bool found, query.step());
    if (!found) return {};
    if (std::string text = query.text(0); text != "ok")
      problems.push_back(fmt::format("{}{}", prefix, text));
  }
}

Status check_node(Connection& connection, std::vector<std::string>& problems) {
  return collect(connection,
                 "SELECT 'there are ' || count(*) || ' rows' FROM node HAVING count(*) <> 1 "
                 "UNION ALL SELECT 'a UUID is null' FROM node "
                 "WHERE uuid = zeroblob(16) OR epoch = zeroblob(16)",
                 "the node's identity: ", problems);
}

Status check_images(Connection& connection, std::vector<std::string>& problems) {
  ICBD_ASSIGN(Query query, connection.query("SELECT name FROM images"));
  while (true) {
    ICBD_ASSIGN(const bool found, query.step());
    if (!found) break;
    if (const Status checked = check_image_name(query.text(0)); !checked)
      problems.push_back(checked.error().message());
  }
  return collect(connection,
                 "SELECT name FROM images JOIN versions ON image_id = images.id "
                 "GROUP BY images.id HAVING highest_number < max(number)",
                 "a number higher than the highest was given to a version of image ", problems);
}

Status check_versions(Connection& connection, std::vector<std::string>& problems) {
  ICBD_ASSIGN(const auto versions, select_versions(connection));
  for (const Version& version : versions)
    if (const Status checked = check_facts(version.facts); !checked)
      problems.push_back(checked.error().message());
  return collect(connection,
                 "SELECT seq FROM sqlite_sequence WHERE name = 'versions' "
                 "AND seq < (SELECT max(serial) FROM versions)",
                 "a serial is higher than the last one that was given: ", problems);
}

// What says that the file is damaged becomes a problem; other errors stay errors.
Result<std::vector<std::string>> take_corruption(const Status& checked,
                                                 std::vector<std::string> problems) {
  if (checked) return problems;
  if (checked.error().code() != ErrorCode::corrupt) return std::unexpected(checked.error());
  problems.push_back(checked.error().message());
  return problems;
}

}  // namespace

Result<std::vector<std::string>> file_problems(Connection& connection) {
  std::vector<std::string> problems;
  const auto check = [&]() -> Status {
    ICBD_TRY(collect(connection, "PRAGMA integrity_check(20)", "", problems));
    return collect(connection, "SELECT \"table\" FROM pragma_foreign_key_check",
                   "a broken reference in table ", problems);
  };
  const Status checked = check();
  return take_corruption(checked, std::move(problems));
}

Result<std::vector<std::string>> content_problems(Connection& connection) {
  std::vector<std::string> problems;
  const auto check = [&]() -> Status {
    ICBD_TRY(check_node(connection, problems));
    ICBD_TRY(check_images(connection, problems));
    return check_versions(connection, problems);
  };
  const Status checked = check();
  return take_corruption(checked, std::move(problems));
}

}  // namespace icbd::catalog
