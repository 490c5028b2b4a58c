// What `icbd doctor` makes of what it sees. Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "icbd/base/types.h"

#include "configuration_files.h"
#include "doctor_facts.h"

namespace icbd::cli {

enum class Verdict { good, note, bad };
std::string_view to_string(Verdict verdict);

struct Finding {
  std::string subject;
  Verdict verdict = Verdict::good;
  std::string found = {};
  std::string cost = {};    // what it costs that it is so; "" if nothing
  std::string advice = {};  // what to do; "" if nothing
};

std::vector<Finding> check_machine(const MachineFacts& machine);
// Of the limit that a daemon may raise its own to.
Finding check_descriptors(std::uint64_t hard_limit);
// Of a repository's directory, or one that it will be made in.
std::vector<Finding> check_repository(const std::filesystem::path& directory,
                                      const std::optional<MountFacts>& mount,
                                      const std::optional<BtrfsFacts>& btrfs);
// `daemon_answers`: where it listens for REST.
std::vector<Finding> check_ports(const Configuration& configuration, const MachineFacts& machine,
                                 bool daemon_answers);
// Of a cache that follows a machine without icbd: what ssh needs here; else nothing.
std::vector<Finding> check_source(const Configuration& configuration, bool ssh_is_there);
// What the server's /api/status says, at what is `now` here.
std::vector<Finding> check_server(const std::string& url, const nlohmann::json& status,
                                  Timestamp now);

}  // namespace icbd::cli
