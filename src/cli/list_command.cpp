#include <fmt/format.h>

#include <algorithm>

#include "icbd/catalog/names.h"

#include "answers.h"
#include "command.h"
#include "version_cells.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

Table images_table(const json& images) {
  Table table({"IMAGE", "VERSIONS", "LATEST", "TAGS"});
  for (const json& image : images) {
    const json latest = image.value("latest", json());
    table.add({text(image, "name"), std::to_string(image.value("versions", 0u)),
               latest.is_null() ? "-" : std::to_string(latest.get<unsigned>()),
               tags_of_image(object_in(image, "tags"))});
  }
  return table;
}

Table versions_table(const json& versions) {
  Table table({"VERSION", "STATE", "TAGS", "PIN", "SIZE", "PUBLISHED", "MESSAGE"});
  for (const json& version : versions)
    table.add_cells({{.text = std::to_string(version.value("number", 0u))},
                     state_cell(version),
                     {.text = tags_of_version(version)},
                     {.text = !object_in(version, "pin").empty() ? "pinned" : ""},
                     {.text = format_size(number(version, "data_bytes"))},
                     {.text = text(version, "published")},
                     {.text = text(version, "message")}});
  return table;
}

Status list(const Context& context, const std::optional<std::string>& image) {
  if (image) ICBD_TRY(catalog::check_image_name(*image));
  const std::string path = image ? fmt::format("/api/images/{}", *image) : "/api/images";
  ICBD_ASSIGN(const json answer, context.server.get(path));
  if (context.json) {
    print_json(context.terminal, answer);
    return {};
  }
  const Table table =
      image ? versions_table(list_in(answer, "versions")) : images_table(list_in(answer, "images"));
  print_table(context.terminal, table);
  return {};
}

}  // namespace

Action define_list(Arguments& arguments) {
  const auto image = std::make_shared<std::optional<std::string>>();
  arguments.word(word_image, *image, "Its versions; all images without it");
  return AskServer([image](const Context& context) { return list(context, *image); });
}

}  // namespace icbd::cli
