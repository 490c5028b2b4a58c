#include "system/fio_readers.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "harness/run.h"

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

// Of fio, when SIGTERM has ended jobs that had no error (fio 3.33, seen); one more for each job
// that had one.
constexpr int ended_as_told = 128;

// The same for all: what was laid out with it can be read with it. Threads, so that one process is
// all there is to end; no file with the state of the verification, which fio would leave behind.
const std::vector<std::string> of_all = {"--thread",         "--bs=4k",
                                         "--ioengine=psync", "--verify=crc32c",
                                         "--verify_fatal=1", "--verify_state_save=0"};
const std::vector<std::string> of_readers = {"--readonly", "--rw=randread"};

void append(std::vector<std::string>& words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
}

// A job that goes on until it is told to stop.
void append_endless_job(std::vector<std::string>& words, const std::string& name,
                        const std::filesystem::path& file, bool direct) {
  append(words, {"--name=" + name, "--filename=" + file.string(), "--time_based", "--runtime=1d",
                 fmt::format("--direct={:d}", direct)});
  append(words, of_all);
  append(words, of_readers);
}

// fio says what it thinks of the system and of blocks before the JSON.
std::size_t end_of_words(const std::string& output) {
  return output.starts_with('{') ? 0 : std::min(output.find("\n{"), output.size());
}

// Each opens its file, and may open it once more.
constexpr int jobs_started = 2;

// How often a process has a file open.
int opened(pid_t process, const std::filesystem::path& file) {
  int count = 0;
  std::error_code gone;
  const std::filesystem::path descriptors = fmt::format("/proc/{}/fd", process);
  for (const auto& entry : std::filesystem::directory_iterator(descriptors, gone))
    if (std::filesystem::read_symlink(entry.path(), gone) == file) ++count;
  return count;
}

Result<json> jobs_in(const std::string& output) {
  json parsed = json::parse(output.substr(end_of_words(output)), nullptr, false);
  if (!parsed.is_object() || !parsed.contains("jobs"))
    return fail(ErrorCode::corrupt, "fio says: " + output);
  return parsed.at("jobs");
}

}  // namespace

std::string fio_layout_command(const std::string& file, std::size_t size, unsigned seed) {
  std::string command = fmt::format(
      "fio --name=layout --filename={} --size={} --rw=write --do_verify=0 --randseed={}", file,
      size, seed);
  for (const std::string& word : of_all) command += " " + word;
  return command + " >/dev/null";
}

Result<std::unique_ptr<FioReaders>> FioReaders::start(const Site& site,
                                                      const std::filesystem::path& file) {
  std::vector<std::string> words = {"setpriv", "--pdeathsig", "KILL", "fio",
                                    "--output-format=json"};
  append_endless_job(words, "buffered", file, false);
  append_endless_job(words, "direct", file, true);
  ICBD_ASSIGN(auto process,
              harness::Process::start(words, {.log_directory = site.folder(), .name = "fio"}));
  // While workers die faster than they can answer, it would not even begin.
  ICBD_TRY(Site::wait_until([&] { return opened(process->id(), file) >= jobs_started; },
                            "fio to open what it reads"));
  return std::unique_ptr<FioReaders>(new FioReaders(std::move(process)));
}

Result<FioReaders::Found> FioReaders::stop() {
  // An error if it has ended already.
  const auto code = process_->stop(30s);
  const std::string output = process_->output();
  const std::string said = output.substr(0, end_of_words(output)) + process_->error_output();
  if (!code) return fail(code.error().code(), code.error().message() + "; it says: " + said);
  if (*code != ended_as_told)
    return fail(ErrorCode::corrupt, fmt::format("fio ended with {}; it says: {}", *code, said));
  ICBD_ASSIGN(const json jobs, jobs_in(output));
  Found found;
  for (const json& job : jobs) {
    const json& read = job.at("read");
    const auto reads = read.at("total_ios").get<std::uint64_t>();
    if (job.at("error") != 0 || reads == 0)
      return fail(ErrorCode::corrupt, "a job of fio failed, or has read nothing: " + said);
    found.reads += reads;
    found.longest_wait_milliseconds =
        std::max(found.longest_wait_milliseconds, read.at("clat_ns").at("max").get<double>() / 1e6);
  }
  return found;
}

void add_fio_reader(Readers& readers, const std::vector<std::filesystem::path>& files) {
  readers.add(
      "fio",
      [&files](std::mt19937& random) {
        std::vector<std::string> words = {"fio", "--name=pass", "--allow_file_create=0",
                                          fmt::format("--randseed={}", random()),
                                          "--filename=" + files[random() % files.size()].string()};
        append(words, of_all);
        append(words, of_readers);
        const auto done = harness::run_checked(words);
        if (!done) throw done.error().message();
      },
      Readers::Timed::no);
}

}  // namespace icbd::system_test
