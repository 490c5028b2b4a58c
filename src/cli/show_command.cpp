#include <fmt/format.h>

#include <map>

#include "icbd/catalog/names.h"

#include "answers.h"
#include "command.h"
#include "version_cells.h"
#include "version_words.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

// Lines of a label and a value, as long as they are: they are there to be read or copied.
class Lines {
 public:
  void add(std::string_view label, std::string_view value) {
    if (!value.empty()) text_ += fmt::format("{:<11}{}\n", label, value);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string describe_pin(const json& pin) {
  const std::string reason = text(pin, "reason");
  return fmt::format("since {}{}", text(pin, "since"), reason.empty() ? "" : ": " + reason);
}

std::string describe_progress(const json& progress) {
  if (progress.empty()) return {};
  std::string description =
      fmt::format("{} of {}, {}/s", format_size(number(progress, "bytes_done")),
                  format_size(number(progress, "bytes_total")),
                  format_size(number(progress, "rate_bytes_per_second")));
  if (const std::string failure = text(progress, "failure"); !failure.empty())
    description += ": " + failure;
  return description;
}

std::string describe_version(const json& version, bool colours) {
  const Cell state = state_cell(version);
  const json pin = object_in(version, "pin");
  Lines lines;
  lines.add("version", version_name(version));
  lines.add("state", paint(state.text, state.style, colours));
  lines.add("progress", describe_progress(object_in(version, "progress")));
  lines.add("obstacle", text(version, "obstacle"));
  lines.add("tags", tags_of_version(version));
  lines.add("message", text(version, "message"));
  lines.add("published", text(version, "published"));
  if (const std::uint64_t parent = number(version, "parent"); parent != 0)
    lines.add("parent", fmt::format("{}@{}", text(version, "image"), parent));
  lines.add("size",
            fmt::format("{} of data, files of {}", format_size(number(version, "data_bytes")),
                        format_size(number(version, "file_bytes"))));
  lines.add("entries", std::to_string(number(version, "entries")));
  lines.add("boot", text(version, "boot_directory"));
  lines.add("target", text(version, "target_file"));
  lines.add("uuid", text(version, "uuid"));
  lines.add("manifest", text(version, "manifest"));
  if (!pin.empty()) lines.add("pinned", describe_pin(pin));
  for (const json& hold : list_in(version, "holds")) lines.add("held", describe_hold(hold));
  return lines.text();
}

std::string describe_image(const json& image) {
  const json versions = list_in(image, "versions");
  std::map<std::string, std::size_t> states;
  for (const json& version : versions) ++states[text(version, "state")];
  std::string by_state;
  for (const auto& [state, count] : states)
    by_state += fmt::format("{}{} {}", by_state.empty() ? "" : ", ", count, state);
  Lines lines;
  lines.add("image", text(image, "name"));
  lines.add("versions",
            versions.empty() ? "none yet" : fmt::format("{}: {}", versions.size(), by_state));
  if (!versions.empty()) {
    const json& latest = versions.back();
    lines.add("latest", fmt::format("{}, published {}: {}", number(latest, "number"),
                                    text(latest, "published"), text(latest, "message")));
  }
  lines.add("tags", tags_of_image(object_in(image, "tags")));
  return lines.text();
}

Status show(const Context& context, const std::string& what) {
  const bool is_image = !what.contains('@');
  std::string path = fmt::format("/api/images/{}", what);
  if (is_image) {
    ICBD_TRY(catalog::check_image_name(what));
  } else {
    ICBD_ASSIGN(const VersionWords words, parse_version_words(what));
    path = words.path();
  }
  ICBD_ASSIGN(const json answer, context.server.get(path));
  if (context.json)
    print_json(context.terminal, answer);
  else
    context.terminal.out << (is_image ? describe_image(answer)
                                      : describe_version(answer, context.terminal.colours));
  return {};
}

}  // namespace

Action define_show(Arguments& arguments) {
  const auto what = std::make_shared<std::string>();
  arguments.word(word_image_or_version, *what,
                 "V is a number, latest, current or a tag; the image itself without it");
  return AskServer([what](const Context& context) { return show(context, *what); });
}

}  // namespace icbd::cli
