#include <fmt/format.h>

#include "icbd/catalog/names.h"

#include "command.h"
#include "format.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

std::size_t table_width(const Terminal& terminal) {
  return terminal.interactive ? terminal.width : 0;
}

Table images_table(const json& images) {
  Table table({"IMAGE", "VERSIONS", "LATEST"});
  for (const json& image : images) {
    const json latest = image.value("latest", json());
    table.add({printable(image.value("name", "")), std::to_string(image.value("versions", 0u)),
               latest.is_null() ? "-" : std::to_string(latest.get<unsigned>())});
  }
  return table;
}

// "arriving 42 %", or just the state.
std::string describe_state(const json& version) {
  std::string state = printable(version.value("state", ""));
  const auto progress = version.find("progress");
  if (progress == version.end()) return state;
  return fmt::format("{} {}", state,
                     format_percent(progress->value("bytes_done", std::uint64_t{0}),
                                    progress->value("bytes_total", std::uint64_t{0})));
}

Table versions_table(const json& versions) {
  Table table({"VERSION", "STATE", "SIZE", "PUBLISHED", "MESSAGE"});
  for (const json& version : versions)
    table.add({std::to_string(version.value("number", 0u)), describe_state(version),
               format_size(version.value("data_bytes", std::uint64_t{0})),
               printable(version.value("published", "")), printable(version.value("message", ""))});
  return table;
}

Status list(const Context& context, const std::optional<std::string>& image) {
  if (image) ICBD_TRY(catalog::check_image_name(*image));
  const std::string path = image ? fmt::format("/api/images/{}", *image) : "/api/images";
  ICBD_ASSIGN(const json answer, context.server.get(path));
  if (context.json) {
    context.terminal.out << answer.dump(2) << "\n";
    return {};
  }
  const Table table = image ? versions_table(answer.value("versions", json::array()))
                            : images_table(answer.value("images", json::array()));
  context.terminal.out << table.format(table_width(context.terminal));
  return {};
}

}  // namespace

Action define_list(Arguments& arguments) {
  const auto image = std::make_shared<std::optional<std::string>>();
  arguments.word(word_image, *image, "Its versions; all images without it");
  return AskServer([image](const Context& context) { return list(context, *image); });
}

}  // namespace icbd::cli
