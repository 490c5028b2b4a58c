#include "version_cells.h"

#include <fmt/format.h>

#include "answers.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

Style style_of(const std::string& state) {
  if (state == "complete") return Style::good;
  return state == "arriving" ? Style::busy : Style::faint;
}

void append(std::string& list, std::string_view separator, std::string_view word) {
  if (!list.empty()) list += separator;
  list += word;
}

}  // namespace

Cell state_cell(const json& version) {
  const std::string state = text(version, "state");
  Cell cell{.text = state, .style = style_of(state)};
  const json progress = object_in(version, "progress");
  if (progress.empty()) return cell;
  cell.text +=
      " " + format_percent(number(progress, "bytes_done"), number(progress, "bytes_total"));
  if (!text(progress, "failure").empty()) cell.style = Style::bad;
  return cell;
}

std::string tags_of_version(const json& version) {
  std::string list;
  for (const json& tag : list_in(version, "tags"))
    append(list, ", ", printable(tag.get<std::string>()));
  return list;
}

std::string tags_of_image(const json& tags) {
  std::string list;
  for (const auto& [tag, version] : tags.items())
    append(list, " ", fmt::format("{}={}", printable(tag), version.get<std::uint64_t>()));
  return list;
}

std::string describe_hold(const json& hold) {
  const std::string detail = text(hold, "detail");
  return text(hold, "kind") + (detail.empty() ? "" : ": " + detail);
}

void print_table(const Terminal& terminal, const Table& table) {
  terminal.out << table.format(terminal.interactive ? terminal.width : 0, terminal.colours);
}

}  // namespace icbd::cli
