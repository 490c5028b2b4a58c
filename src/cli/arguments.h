// What a command takes: its arguments, each with the kind of word that it is.
//
// Purpose: commands declare their arguments here and see nothing of the option parser (CLI11, which
// is slow to compile); and what kind of word an argument is stands in one place, for --help,
// completion and suggestions.
// Lifecycle: what is referred to is written when the command line is parsed, and must live as long.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}  // namespace CLI

namespace icbd::cli {

// Kinds of words, as --help shows them.
inline constexpr std::string_view word_image = "IMAGE";
inline constexpr std::string_view word_version = "IMAGE@V";
inline constexpr std::string_view word_image_or_version = "IMAGE[@V]";
inline constexpr std::string_view word_tag = "TAG";
inline constexpr std::string_view word_path = "PATH";
inline constexpr std::string_view word_file = "FILE";
inline constexpr std::string_view word_directory = "DIR";
inline constexpr std::string_view word_node = "NODE";
inline constexpr std::string_view word_text = "TEXT";
inline constexpr std::string_view word_number = "N";
inline constexpr std::string_view word_seconds = "S";

enum class Need { optional, required };

class Arguments {
 public:
  explicit Arguments(CLI::App& command) : command_(command) {}

  // Arguments without a dash, in their order.
  void word(std::string_view kind, std::string& value, std::string_view text,
            Need need = Need::required);
  void word(std::string_view kind, std::optional<std::string>& value, std::string_view text);
  void words(std::string_view kind, std::vector<std::string>& values, std::string_view text,
             Need need = Need::required);
  // One of a few.
  void choice(std::string_view name, const std::vector<std::string>& choices, std::string& value,
              std::string_view text);

  // `names` as in "-m,--message".
  void flag(std::string_view names, bool& value, std::string_view text);
  // How often it was given.
  void flag(std::string_view names, unsigned& times, std::string_view text);
  void option(std::string_view names, std::string_view kind, std::string& value,
              std::string_view text, Need need = Need::optional);
  void option(std::string_view names, std::string_view kind, std::optional<std::string>& value,
              std::string_view text);
  // May be given several times.
  void option(std::string_view names, std::string_view kind, std::vector<std::string>& values,
              std::string_view text);
  // More than 0.
  void option(std::string_view names, std::string_view kind, std::optional<unsigned>& value,
              std::string_view text);
  // 0 or more.
  void option(std::string_view names, std::string_view kind, std::uint64_t& value,
              std::string_view text);
  void option(std::string_view names, std::string_view kind, std::optional<double>& value,
              std::string_view text);
  // At most one of these two.
  void exclude(std::string_view one, std::string_view other);

  // Stands at the end of the command's --help.
  void footer(std::string_view text);

 private:
  CLI::App& command_;
};

}  // namespace icbd::cli
