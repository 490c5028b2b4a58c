#include "arguments.h"

#include <CLI/CLI.hpp>

namespace icbd::cli {
namespace {

// A positional argument is named by its kind, so that usage lines and errors say IMAGE; an option
// has it as its type.
template <typename Value>
CLI::Option* add_word(CLI::App& command, std::string_view kind, Value& value, std::string_view text,
                      Need need) {
  return command.add_option(std::string(kind), value, std::string(text))
      ->required(need == Need::required)
      ->type_name("");
}

template <typename Value>
CLI::Option* add_option(CLI::App& command, std::string_view names, std::string_view kind,
                        Value& value, std::string_view text) {
  return command.add_option(std::string(names), value, std::string(text))
      ->type_name(std::string(kind));
}

}  // namespace

void Arguments::word(std::string_view kind, std::string& value, std::string_view text, Need need) {
  add_word(command_, kind, value, text, need);
}

void Arguments::word(std::string_view kind, std::optional<std::string>& value,
                     std::string_view text) {
  add_word(command_, kind, value, text, Need::optional);
}

void Arguments::words(std::string_view kind, std::vector<std::string>& values,
                      std::string_view text, Need need) {
  add_word(command_, kind, values, text, need);
}

void Arguments::choice(std::string_view name, const std::vector<std::string>& choices,
                       std::string& value, std::string_view text) {
  add_word(command_, name, value, text, Need::required)->check(CLI::IsMember(choices));
}

void Arguments::flag(std::string_view names, bool& value, std::string_view text) {
  command_.add_flag(std::string(names), value, std::string(text));
}

void Arguments::flag(std::string_view names, unsigned& times, std::string_view text) {
  command_.add_flag(std::string(names), times, std::string(text));
}

void Arguments::option(std::string_view names, std::string_view kind, std::uint64_t& value,
                       std::string_view text) {
  add_option(command_, names, kind, value, text);
}

void Arguments::option(std::string_view names, std::string_view kind, std::string& value,
                       std::string_view text, Need need) {
  add_option(command_, names, kind, value, text)->required(need == Need::required);
}

void Arguments::option(std::string_view names, std::string_view kind,
                       std::optional<std::string>& value, std::string_view text) {
  // CLI11 takes an empty word for an optional as none; here it is a word.
  command_
      .add_option_function<std::string>(
          std::string(names), [&value](const std::string& word) { value = word; },
          std::string(text))
      ->type_name(std::string(kind));
}

void Arguments::option(std::string_view names, std::string_view kind,
                       std::vector<std::string>& values, std::string_view text) {
  // Each time it is given it takes one word: what follows is the command's own.
  add_option(command_, names, kind, values, text)
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void Arguments::option(std::string_view names, std::string_view kind,
                       std::optional<unsigned>& value, std::string_view text) {
  add_option(command_, names, kind, value, text)->check(CLI::PositiveNumber);
}

void Arguments::option(std::string_view names, std::string_view kind, std::optional<double>& value,
                       std::string_view text) {
  add_option(command_, names, kind, value, text)->check(CLI::PositiveNumber);
}

void Arguments::exclude(std::string_view one, std::string_view other) {
  command_.get_option(std::string(one))->excludes(command_.get_option(std::string(other)));
}

void Arguments::footer(std::string_view text) {
  command_.footer(std::string(text));
}

}  // namespace icbd::cli
