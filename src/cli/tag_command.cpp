// `icbd tag` and `icbd untag`.
#include <fmt/format.h>

#include "icbd/catalog/names.h"

#include "answers.h"
#include "command.h"
#include "version_words.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct TagOptions {
  std::string target;  // IMAGE@V, or IMAGE
  std::string tag;
};

std::string path_of(const std::string& image, const std::string& tag) {
  return fmt::format("/api/images/{}/tags/{}", image, tag);
}

Status tag(const Context& context, const TagOptions& options) {
  ICBD_ASSIGN(VersionWords words, parse_version_words(options.target));
  ICBD_TRY(catalog::check_tag_name(options.tag));
  if (!words.is_number()) {
    ICBD_ASSIGN(const json version, context.server.get(words.path()));
    words.version = std::to_string(number(version, "number"));
  }
  ICBD_ASSIGN(const VersionNumber target, catalog::parse_version_number(words.version));
  ICBD_ASSIGN(const json answer,
              context.server.put(path_of(words.image, options.tag), {{"version", target.value()}}));
  if (context.json)
    print_json(context.terminal, answer);
  else
    context.terminal.out << fmt::format("{}@{} is {} now\n", words.image, options.tag,
                                        words.name());
  return {};
}

Status untag(const Context& context, const TagOptions& options) {
  ICBD_TRY(catalog::check_image_name(options.target));
  ICBD_TRY(catalog::check_tag_name(options.tag));
  ICBD_ASSIGN(const json answer, context.server.remove(path_of(options.target, options.tag)));
  if (context.json)
    print_json(context.terminal, answer);
  else
    context.terminal.out << fmt::format("{}@{} is no more\n", options.target, options.tag);
  return {};
}

}  // namespace

Action define_tag(Arguments& arguments) {
  const auto options = std::make_shared<TagOptions>();
  arguments.word(word_version, options->target, "The version that the tag is to stand for");
  arguments.word(word_tag, options->tag,
                 "The tag; it is moved if there is one. \"current\": what clients should boot");
  return AskServer([options](const Context& context) { return tag(context, *options); });
}

Action define_untag(Arguments& arguments) {
  const auto options = std::make_shared<TagOptions>();
  arguments.word(word_image, options->target, "The image");
  arguments.word(word_tag, options->tag, "Its tag");
  return AskServer([options](const Context& context) { return untag(context, *options); });
}

}  // namespace icbd::cli
