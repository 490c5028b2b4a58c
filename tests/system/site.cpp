#include "system/site.h"

#include <fmt/format.h>
#include <sys/mount.h>

#include <fstream>
#include <thread>

namespace icbd::system_test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr auto deadline = 60s;
const std::string programs = ICBD_PROGRAMS;

Status write_file(const std::filesystem::path& path, const std::string& content) {
  std::ofstream file(path);
  file << content;
  file.close();
  if (!file) return fail(ErrorCode::io, "write " + path.string());
  return {};
}

// "… rest=127.0.0.1:5009 data=…" -> what follows "rest=".
std::string field(const std::string& line, const std::string& name) {
  const auto at = line.find(name + "=");
  if (at == std::string::npos) return "";
  const auto begin = at + name.size() + 1;
  return line.substr(begin, line.find(' ', begin) - begin);
}

// How the caches of this run fetch, in TOML: all that is promised is promised for each codec and
// each transfer. CMakeLists.txt has the ways that are tried.
std::string ways_of_fetching() {
  const char* said = std::getenv("ICBD_TEST_FETCH");  // NOLINT(concurrency-mt-unsafe)
  return said ? fmt::format("{}\n", said) : "";
}

Result<json> ask(const std::string& address, const std::string& path) {
  ICBD_ASSIGN(const rest::HttpClient client, rest::HttpClient::make("http://" + address));
  return client.get(path);
}

}  // namespace

Result<std::unique_ptr<Site>> Site::create(std::uint64_t size) {
  ICBD_ASSIGN(auto folder, harness::TemporaryDirectory::create());
  std::unique_ptr<Site> site(new Site(std::move(folder)));
  ICBD_ASSIGN(site->master_btrfs_, harness::LoopBtrfs::create({.size_bytes = size}));
  ICBD_ASSIGN(site->cache_btrfs_, harness::LoopBtrfs::create({.size_bytes = size}));
  site->mountpoint_ = site->folder_.path() / "view";
  std::filesystem::create_directories(site->mountpoint_);
  std::filesystem::create_directories(site->master_btrfs_->path() / "repository");
  std::filesystem::create_directories(site->cache_btrfs_->path() / "repository");
  ICBD_TRY(harness::run_checked({"btrfs", "subvolume", "create", site->live().string()}));
  ICBD_TRY(site->start_master());
  return site;
}

// A view whose daemon was killed keeps the files that the kernel reads for it, and so their disk.
Site::~Site() {
  kill_cache();
  kill_master();
}

std::filesystem::path Site::master_version(const std::string& image, int number) const {
  return master_btrfs_->path() / "repository" / image / std::to_string(number);
}
std::filesystem::path Site::cache_version(const std::string& image, int number) const {
  return cache_btrfs_->path() / "repository" / image / std::to_string(number);
}
std::filesystem::path Site::view(const std::string& image, int number) const {
  return mountpoint_ / image / std::to_string(number);
}

Status Site::launch_master() {
  const auto file = folder_.path() / "master.toml";
  ICBD_TRY(
      write_file(file, fmt::format("[repository]\npath = \"{}\"\n[rest]\nlisten = \"{}\"\n"
                                   "[data]\nlisten = \"{}\"\n[view]\nmountpoint = \"{}\"\n"
                                   "directories = [{}]\n",
                                   (master_btrfs_->path() / "repository").string(), master_rest_,
                                   master_data_, master_mountpoint_.string(), directories_)));
  ICBD_ASSIGN(master_, harness::Process::start({programs + "/icbd-master", "--config", file},
                                               {folder_.path(), "master"}));
  return {};
}

Status Site::start_master() {
  ICBD_TRY(launch_master());
  ICBD_ASSIGN(const std::string ready, master_->wait_for_line("icbd-master ready", deadline));
  master_rest_ = field(ready, "rest");
  master_data_ = field(ready, "data");
  return {};
}

Status Site::launch_cache(const std::string& extra_configuration) {
  const auto file = folder_.path() / "cache.toml";
  ICBD_TRY(write_file(
      file, fmt::format("[repository]\npath = \"{}\"\n[rest]\nlisten = \"{}\"\n"
                        "[view]\nmountpoint = \"{}\"\ndirectories = [{}]\n"
                        "[master]\ndata = \"{}\"\nrest = \"{}\"\n"
                        "poll_interval = {}\n[fetch]\n{}{}{}",
                        (cache_btrfs_->path() / "repository").string(), cache_rest_,
                        mountpoint_.string(), directories_,
                        proxy_ ? proxy_->address() : master_data_, master_rest_, poll_interval_,
                        extra_configuration.find("fill_threshold") == std::string::npos
                            ? "fill_threshold = 0\n"
                            : "",
                        ways_of_fetching(), extra_configuration)));
  std::vector<std::string> words = {
      cache_program_.empty() ? programs + "/icbd-cache" : cache_program_.string(), "--config",
      file};
  for (const std::string& setting : settings_) words.insert(words.end(), {"--set", setting});
  ICBD_ASSIGN(cache_, harness::Process::start(words, {folder_.path(), "cache"}));
  return {};
}

Status Site::start_cache(const std::string& extra_configuration) {
  ICBD_TRY(launch_cache(extra_configuration));
  ICBD_ASSIGN(const std::string ready, cache_->wait_for_line("icbd-cache ready", deadline));
  cache_rest_ = field(ready, "rest");
  return {};
}

Status Site::stop_master() {
  ICBD_ASSIGN(const int code, master_->stop(deadline));
  return code == 0 ? Status() : fail(ErrorCode::internal, master_->error_output());
}

Status Site::stop_cache() {
  ICBD_ASSIGN(const int code, cache_->stop(deadline));
  return code == 0 ? Status() : fail(ErrorCode::internal, cache_->error_output());
}

void Site::kill_master() {
  master_.reset();
  if (!master_mountpoint_.empty()) ::umount2(master_mountpoint_.c_str(), MNT_DETACH);
}

void Site::kill_cache() {
  cache_.reset();
  ::umount2(mountpoint_.c_str(), MNT_DETACH);
}

Status Site::use_master_view() {
  master_mountpoint_ = folder_.path() / "master-view";
  std::error_code error;
  std::filesystem::create_directory(master_mountpoint_, error);
  if (error) return fail_errno(master_mountpoint_.string(), error.value());
  return {};
}

rest::HttpClient Site::master_client() const {
  return rest::HttpClient::make("http://" + master_rest_).value();
}
rest::HttpClient Site::cache_client() const {
  return rest::HttpClient::make("http://" + cache_rest_).value();
}

Status Site::use_proxy() {
  ICBD_ASSIGN(proxy_, harness::FaultProxy::start(master_data_));
  return {};
}

Result<json> Site::ask_master(const std::string& path) const {
  return ask(master_rest_, path);
}
Result<json> Site::tell_master(const std::string& path, const json& body) const {
  ICBD_ASSIGN(const rest::HttpClient client, rest::HttpClient::make("http://" + master_rest_));
  return client.post(path, body);
}
Result<json> Site::ask_cache(const std::string& path) const {
  return ask(cache_rest_, path);
}

Result<json> Site::publish_path(const std::string& image, const std::string& path) {
  ICBD_ASSIGN(const json accepted, tell_master("/api/images/" + image + "/versions",
                                               {{"path", path}, {"message", "a test"}}));
  json job;
  ICBD_TRY(wait_until(
      [&] {
        const auto answer = ask_master("/api/jobs/" + accepted.at("job").get<std::string>());
        if (answer) job = *answer;
        return !answer || job.at("state") != "running";
      },
      "the publication of " + path));
  if (job.at("state") != "done")
    return fail(ErrorCode::invalid_argument, job.at("error").at("message").get<std::string>());
  return job.at("result");
}

Result<int> Site::publish(const std::string& image) {
  ICBD_ASSIGN(const json result, publish_path(image, live().string()));
  return result.at("version").at("number").get<int>();
}

Status Site::wait_until(const std::function<bool()>& condition, const std::string& what) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return fail(ErrorCode::timed_out, what);
    std::this_thread::sleep_for(5ms);
  }
  return {};
}

std::string Site::state(const std::string& image, int number) const {
  const auto version = ask_cache(fmt::format("/api/images/{}/versions/{}", image, number));
  return version ? version->at("state").get<std::string>() : version.error().message();
}

Status Site::wait_until_listed(const std::string& image, int number) const {
  return wait_until([&] { return std::filesystem::exists(view(image, number)); },
                    fmt::format("{}@{} in the view", image, number));
}

Status Site::wait_until_complete(const std::string& image, int number) const {
  const Status done = wait_until([&] { return state(image, number) == "complete"; },
                                 fmt::format("{}@{} to be complete", image, number));
  if (!done) {
    const auto status = ask_cache("/api/status");
    return fail(ErrorCode::timed_out, done.error().message() + "; the cache says " +
                                          (status ? status->dump() : status.error().message()) +
                                          "\n" + cache_->error_output());
  }
  return {};
}

void SiteTest::SetUp() {
  ICBD_SKIP_UNLESS_ROOT();
  auto created = Site::create();
  ASSERT_DONE(created);
  site = std::move(*created);
}

// A worker that dies by itself, or is ended by a sanitizer, is replaced, and the test goes on: that
// is no excuse.
void SiteTest::expect_only_kills() const {
  std::ifstream log(site->folder() / "cache.stderr");
  for (std::string line; std::getline(log, line);) {
    const bool died = line.find("the worker died") != std::string::npos;
    EXPECT_TRUE(!died || line.find("signal 9 (KILL)") != std::string::npos ||
                line.find("it hung") != std::string::npos)
        << line;
  }
}

void SiteTest::TearDown() {
  if (site) expect_only_kills();
  if (site && HasFailure()) {
    if (site->master().running()) std::puts(site->master().error_output().c_str());
    std::ifstream log(site->folder() / "cache.stderr");
    std::puts(std::string(std::istreambuf_iterator<char>(log), {}).c_str());
  }
}

void SiteTest::change(const std::string& script) {
  const auto done = harness::shell_checked("cd '" + site->live().string() + "'\n" + script);
  ASSERT_DONE(done);
}

void SiteTest::expect_equal_through_view(const std::string& image, int number) {
  EXPECT_EQ(harness::diff_trees(site->master_version(image, number), site->view(image, number)),
            "");
}

void SiteTest::expect_landed_equal(const std::string& image, int number) {
  const auto path = site->cache_version(image, number);
  EXPECT_EQ(harness::diff_trees(site->master_version(image, number), path), "");
  const auto property = harness::run_checked({"btrfs", "property", "get", path.string(), "ro"});
  ASSERT_DONE(property);
  EXPECT_EQ(*property, "ro=true\n");
}

}  // namespace icbd::system_test
