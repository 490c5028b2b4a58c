// The keys that a configuration file may have, and where their values go.
//
// A table of what is allowed instead of code that looks for it: reading, checking, suggesting and
// the tests of the examples all go through it.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "icbd/config/config.h"

namespace icbd::config {

struct FlagTarget {
  bool* value;
};
struct PathTarget {
  std::filesystem::path* value;
  bool optional = false;  // "" for none
};
// An address that is connected to.
struct PeerTarget {
  std::string* value;
  bool optional = false;  // "" for none
};
// A list of "NAME" or "NAME=/PATH".
struct DirectoriesTarget {
  std::vector<ViewDirectory>* value;
};
// An address that is listened on: one on loopback, unless plain text was allowed in so many words.
struct ListenTarget {
  std::string* value;
  const bool* plaintext_allowed;
};
// One of several words.
struct ChoiceTarget {
  std::string* value;
  std::span<const std::string_view> choices;
};
// A number of bytes: 1048576 or "1 MiB".
struct SizeTarget {
  std::uint64_t* value;
  std::uint64_t max;
};
// "" for none.
struct UuidTarget {
  std::optional<Uuid>* value;
};
// A name for this node; "" leaves it to the host.
struct NodeNameTarget {
  std::string* value;
};
// Any text of one line; "" for none.
struct TextTarget {
  std::string* value;
};
// Texts of one line each.
struct TextsTarget {
  std::vector<std::string>* value;
};
// "ssh://USER@HOST/PATH"; "" for none.
struct SshTarget {
  std::string* value;
};
// How bytes are packed: "auto", or one of codec::parse_setting().
struct CodecTarget {
  std::optional<codec::Setting>* value;  // none: "auto"
};
struct DurationTarget {
  std::chrono::milliseconds* value;
  std::chrono::milliseconds min;
  std::chrono::milliseconds max;
};

struct Key {
  std::string_view table;  // "" for the top level
  std::string_view name;
  std::variant<FlagTarget, PathTarget, PeerTarget, DirectoriesTarget, ListenTarget, ChoiceTarget,
               SizeTarget, UuidTarget, NodeNameTarget, TextTarget, TextsTarget, SshTarget,
               CodecTarget, DurationTarget>
      target;
  bool required = false;
  bool reloadable = false;  // can change while the daemon runs
};

// True if what is wanted is a text of any form, so that what looks like a number is one too.
bool takes_text(const decltype(Key::target)& target);

// "[fetch] fill", or only the name of a key at the top.
std::string label(const Key& key);

// In the order in which they are read: what a later key's check looks at comes first. The targets
// point into the configuration.
std::vector<Key> keys_of(Master& master);
std::vector<Key> keys_of(Cache& cache);

}  // namespace icbd::config
