#include <fmt/format.h>

#include "answers.h"
#include "following.h"

namespace icbd::cli {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds retry_interval{200};
// A version that was just published is known to a cache when it next asks its master.
constexpr std::chrono::seconds announcement_grace{10};

struct PushOptions {
  std::string version;
  std::string node;
  bool no_wait = false;
};

// "cache7", "cache7:5009", "[fd00::7]:5009" or a URL.
std::string url_of_node(const std::string& node) {
  if (node.contains("://")) return node;
  const std::size_t colon = node.find(':', node.starts_with('[') ? node.find(']') : 0);
  return fmt::format("http://{}{}", node, colon == std::string::npos ? ":5009" : "");
}

// The version as the node knows it, once it does.
Result<json> find_on_node(const rest::HttpClient& node, const Terminal& terminal,
                          const VersionWords& words) {
  const auto started = terminal.clock.now();
  while (true) {
    Result<json> found = node.get(words.path());
    if (found || found.error().code() != ErrorCode::not_found) return found;
    if (terminal.clock.now() - started >= announcement_grace) return found;
    if (!terminal.pause(retry_interval))
      return fail(ErrorCode::cancelled,
                  fmt::format("interrupted before {} was asked for", words.name()));
  }
}

Status push(const Context& context, const PushOptions& options) {
  ICBD_ASSIGN(VersionWords words, parse_version_words(options.version));
  const std::string url = url_of_node(options.node);
  ICBD_ASSIGN(const auto node, rest::HttpClient::make(url));
  ICBD_ASSIGN(const json version, context.server.get(words.path()));
  words.version = std::to_string(number(version, "number"));
  ICBD_ASSIGN(const json there, find_on_node(node, context.terminal, words));
  if (text(there, "manifest") != text(version, "manifest"))
    return fail(ErrorCode::invalid_argument,
                fmt::format("{} at {} has other content than here, and was not asked for: does "
                            "that cache follow another master?",
                            words.name(), url));
  ICBD_ASSIGN(const json asked, node.post(words.path("/pull"), json::object()));
  if (options.no_wait) {
    if (context.json)
      print_json(context.terminal, asked);
    else
      context.terminal.out << fmt::format("{} pulls {}\n", url, words.name());
    return {};
  }
  ICBD_ASSIGN(const json complete,
              follow_arrival(node, context.terminal, words,
                             {.quiet = context.json,
                              .when_interrupted = fmt::format(
                                  "interrupted; {0} goes on arriving at {1}. icbd --server {1} "
                                  "pull --cancel {0} ends it",
                                  words.name(), url)}));
  print_complete(context, complete);
  return {};
}

}  // namespace

Action define_push(Arguments& arguments) {
  const auto options = std::make_shared<PushOptions>();
  arguments.word(word_version, options->version, "The version, as the server here knows it");
  arguments.word(word_node, options->node,
                 "The cache that is asked to pull it: HOST, HOST:PORT or a URL");
  arguments.flag("--no-wait", options->no_wait, "Return once the cache has been asked");
  return AskServer([options](const Context& context) { return push(context, *options); });
}

}  // namespace icbd::cli
