// A site: one master and one cache, each on a BTRFS of its own, and the view.
//
// Lifecycle: create() makes the filesystems and starts the master; start_cache() mounts the view.
// The destructor ends both and removes everything.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "icbd/rest/http.h"

#include "harness/fault_proxy.h"
#include "harness/loop_btrfs.h"
#include "harness/process.h"
#include "harness/run.h"
#include "harness/temporary_directory.h"
#include "harness/tree.h"

namespace icbd::system_test {

class Site {
 public:
  // `size` is that of each of the two filesystems.
  static Result<std::unique_ptr<Site>> create(std::uint64_t size = std::uint64_t{4} << 30);
  ~Site();

  // The live subvolume that versions are published from.
  std::filesystem::path live() const { return master_btrfs_->path() / "live"; }
  std::filesystem::path master_version(const std::string& image, int number) const;
  std::filesystem::path cache_version(const std::string& image, int number) const;
  std::filesystem::path view(const std::string& image, int number) const;
  const std::filesystem::path& mountpoint() const { return mountpoint_; }
  // "127.0.0.1:PORT"
  const std::string& master_data() const { return master_data_; }
  const std::filesystem::path& folder() const { return folder_.path(); }
  const std::filesystem::path& cache_root() const { return cache_btrfs_->path(); }
  const std::filesystem::path& master_root() const { return master_btrfs_->path(); }

  // Publishes live() as the next version and returns its number.
  Result<int> publish(const std::string& image);
  Result<nlohmann::json> publish_path(const std::string& image, const std::string& path);

  Status start_master();
  // `extra_configuration` goes on in the table [fetch], where fill_threshold is 0 unless it says
  // something else: the first byte that is read has all of a version fetched.
  Status start_cache(const std::string& extra_configuration = "");
  Status stop_master();
  Status stop_cache();
  // The site's own directories, as TOML: "\"rw\", \"iso=/srv/iso\"". For both, from their next
  // start on.
  void set_view_directories(std::string directories) { directories_ = std::move(directories); }
  // The master mounts a view of its own from its next start on.
  Status use_master_view();
  const std::filesystem::path& master_mountpoint() const { return master_mountpoint_; }
  // What the cache is told with --set, from its next start on.
  void set_cache_settings(std::vector<std::string> settings) { settings_ = std::move(settings); }
  // The cache runs this program from its next start on.
  void set_cache_program(std::filesystem::path program) { cache_program_ = std::move(program); }
  // Seconds between comparisons with the master's catalog while it announces; 0.1 if nothing is
  // said, so that nothing depends on announcements.
  void set_poll_interval(double seconds) { poll_interval_ = seconds; }
  // SIGKILL; what is left of the view is unmounted.
  void kill_master();
  void kill_cache();
  // Starts it as before and does not wait until it is ready.
  Status launch_master();
  Status launch_cache(const std::string& extra_configuration = "");
  // From the next start of the cache on, it reaches the master through this proxy only.
  Status use_proxy();
  harness::FaultProxy& proxy() { return *proxy_; }
  harness::Process& master() { return *master_; }
  harness::Process& cache() { return *cache_; }

  // HOST:PORT, once they have been started.
  const std::string& master_rest() const { return master_rest_; }
  const std::string& cache_rest() const { return cache_rest_; }
  Result<nlohmann::json> ask_master(const std::string& path) const;
  Result<nlohmann::json> tell_master(const std::string& path, const nlohmann::json& body) const;
  Result<nlohmann::json> ask_cache(const std::string& path) const;
  rest::HttpClient master_client() const;
  rest::HttpClient cache_client() const;
  // Until the cache says so, or the deadline.
  Status wait_until_listed(const std::string& image, int number) const;
  Status wait_until_complete(const std::string& image, int number) const;
  static Status wait_until(const std::function<bool()>& condition, const std::string& what);
  // "remote", "arriving", "complete".
  std::string state(const std::string& image, int number) const;

 private:
  explicit Site(harness::TemporaryDirectory folder) : folder_(std::move(folder)) {}

  harness::TemporaryDirectory folder_;
  std::filesystem::path mountpoint_, master_mountpoint_;
  std::string directories_;
  std::vector<std::string> settings_;
  std::filesystem::path cache_program_;
  double poll_interval_ = 0.1;
  std::unique_ptr<harness::LoopBtrfs> master_btrfs_, cache_btrfs_;
  std::unique_ptr<harness::Process> master_, cache_;
  // Fixed once taken, so that a restarted daemon is found again.
  std::string master_rest_ = "127.0.0.1:0", master_data_ = "127.0.0.1:0",
              cache_rest_ = "127.0.0.1:0";
  std::unique_ptr<harness::FaultProxy> proxy_;
};

// Base of the tests: a site with a running master.
class SiteTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  // In the live subvolume, with `sh -e -u`.
  void change(const std::string& script);
  // EXPECTs that the version is the master's: through the view, byte by byte.
  void expect_equal_through_view(const std::string& image, int number);
  // EXPECTs that the landed subvolume is the master's and read-only.
  void expect_landed_equal(const std::string& image, int number);

  std::unique_ptr<Site> site;

 private:
  void expect_only_kills() const;
};

#define ASSERT_DONE(expression)                                        \
  do {                                                                 \
    const auto& icbd_done = (expression);                              \
    ASSERT_TRUE(icbd_done.has_value()) << icbd_done.error().message(); \
  } while (false)

}  // namespace icbd::system_test
