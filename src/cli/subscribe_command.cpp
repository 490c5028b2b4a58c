// `icbd subscribe`, `icbd unsubscribe` and `icbd subscriptions`.
#include <fmt/format.h>

#include "icbd/catalog/names.h"

#include "answers.h"
#include "command.h"
#include "version_cells.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

struct SubscribeOptions {
  std::string image;
  std::optional<unsigned> latest;
  std::optional<std::string> tag;
  std::optional<std::string> transfer;
};

std::string path_of(const std::string& image) {
  return fmt::format("/api/subscriptions/{}", image);
}

// "latest 2", "tag stable, as stream"
std::string describe_wish(const json& subscription) {
  std::string wish = fmt::format("latest {}", number(subscription, "latest"));
  if (const std::string tag = text(subscription, "tag"); !tag.empty()) wish = "tag " + tag;
  if (const std::string transfer = text(subscription, "transfer"); !transfer.empty())
    wish += ", as " + transfer;
  return wish;
}

std::string describe_lag(const json& subscription) {
  const std::uint64_t versions = number(subscription, "behind_versions");
  if (versions == 0) return {};
  return fmt::format("{}, {}", format_count(versions, "version"),
                     format_size(number(subscription, "behind_bytes")));
}

Cell state_of(const json& subscription) {
  const std::string state = text(subscription, "state");
  if (state == "complete") return {.text = state, .style = Style::good};
  return {.text = state, .style = state == "offline" ? Style::bad : Style::busy};
}

std::string describe_wanted(const json& subscription) {
  std::string wanted;
  for (const json& version : list_in(subscription, "wanted"))
    wanted += (wanted.empty() ? "" : " ") + printable(version.get<std::string>());
  return wanted;
}

Status subscribe(const Context& context, const SubscribeOptions& options) {
  ICBD_TRY(catalog::check_image_name(options.image));
  json wish;
  if (options.tag) {
    ICBD_TRY(catalog::check_tag_name(*options.tag));
    wish["tag"] = *options.tag;
  } else {
    wish["latest"] = options.latest.value_or(1);
  }
  if (options.transfer) wish["transfer"] = *options.transfer;
  ICBD_ASSIGN(const json answer, context.server.put(path_of(options.image), wish));
  if (context.json)
    print_json(context.terminal, answer);
  else
    context.terminal.out << fmt::format("subscribed to {}, {}\n", options.image,
                                        describe_wish(wish));
  return {};
}

Status unsubscribe(const Context& context, const std::string& image) {
  ICBD_TRY(catalog::check_image_name(image));
  ICBD_ASSIGN(const json answer, context.server.remove(path_of(image)));
  if (context.json)
    print_json(context.terminal, answer);
  else
    context.terminal.out << fmt::format(
        "not subscribed to {} any longer; what is here of it stays\n", image);
  return {};
}

Status show_subscriptions(const Context& context) {
  ICBD_ASSIGN(const json answer, context.server.get("/api/subscriptions"));
  if (context.json) {
    print_json(context.terminal, answer);
    return {};
  }
  Table table({"IMAGE", "KEEPS", "STATE", "BEHIND", "WANTED", "ERROR"});
  for (const json& subscription : list_in(answer, "subscriptions"))
    table.add_cells({{.text = text(subscription, "image")},
                     {.text = describe_wish(subscription)},
                     state_of(subscription),
                     {.text = describe_lag(subscription)},
                     {.text = describe_wanted(subscription)},
                     {.text = text(subscription, "error"), .style = Style::bad}});
  if (table.empty())
    context.terminal.out << "there are no subscriptions: versions arrive when they are read or "
                            "pulled\n";
  else
    print_table(context.terminal, table);
  return {};
}

}  // namespace

Action define_subscribe(Arguments& arguments) {
  const auto options = std::make_shared<SubscribeOptions>();
  arguments.word(word_image, options->image, "The image to keep complete on this cache");
  arguments.option("--latest", word_number, options->latest,
                   "Its N newest versions; 1 if not said");
  arguments.option("--tag", word_tag, options->tag, "The version of this tag");
  arguments.exclude("--latest", "--tag");
  arguments.option("--transfer", word_text, options->transfer,
                   "How its versions come: auto, extents or stream; as the cache is configured if "
                   "not said");
  return AskServer([options](const Context& context) { return subscribe(context, *options); });
}

Action define_unsubscribe(Arguments& arguments) {
  const auto image = std::make_shared<std::string>();
  arguments.word(word_image, *image, "The image");
  return AskServer([image](const Context& context) { return unsubscribe(context, *image); });
}

Action define_subscriptions(Arguments&) {
  return AskServer(show_subscriptions);
}

}  // namespace icbd::cli
