// What a site does with the view: servers export it, and their clients read through them while the
// worker is killed again and again. They see a delay at most. The seed is printed.

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

#include "icbd/base/file.h"

#include "harness/child_process.h"
#include "harness/random_tree.h"
#include "system/export_server.h"
#include "system/qemu_guest.h"
#include "system/site.h"
#include "system/worker_kills.h"

namespace icbd::system_test {
namespace {

using SteadyClock = std::chrono::steady_clock;

const std::string image = "win11";
const std::string disk = "disk.raw";
constexpr std::size_t disk_size = 24 * 1024 * 1024;
// Of each connection to the master: an arrival takes some seconds.
constexpr std::uint64_t bytes_per_second = 16 * 1024 * 1024;
constexpr int least_kills = 10;

std::string digest_of_file(const std::filesystem::path& path) {
  const auto sum = harness::run_checked({"sha256sum", path.string()});
  EXPECT_TRUE(sum) << sum.error().message();
  return sum.value_or("").substr(0, 64);
}

// A client whose output comes through a pipe: while nobody reads it, the client waits, and holds
// open what it has opened.
class PausedClient {
 public:
  explicit PausedClient(const std::string& command) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    output_.reset(ends[0]);
    const unique_fd write_end(ends[1]);
    const auto child = harness::spawn({"setpriv", "--pdeathsig", "KILL", "sh", "-c", command},
                                      {.output_fd = write_end.get()});
    EXPECT_TRUE(child) << child.error().message();
    child_ = child.value_or(-1);
  }
  ~PausedClient() {
    output_.reset();
    if (child_ > 0) static_cast<void>(harness::wait_for(child_));
  }
  PausedClient(const PausedClient&) = delete;
  PausedClient& operator=(const PausedClient&) = delete;

  // The next `length` bytes, or what there is until the end.
  void read(std::size_t length, std::string& into) {
    const std::size_t end = into.size() + length;
    while (into.size() < end) {
      const std::size_t at = into.size();
      into.resize(std::min(end, at + 65536));
      const ssize_t got = ::read(output_.get(), into.data() + at, into.size() - at);
      into.resize(at + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
      if (got <= 0) return;
    }
  }

 private:
  unique_fd output_;
  pid_t child_ = -1;
};

class ExportsTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    fmt::print("ICBD_TEST_SEED={}\n", seed);
    ASSERT_DONE(site->use_proxy());
    ASSERT_DONE(publish_disk());
    ASSERT_DONE(site->start_cache());
    ASSERT_DONE(site->cache_client().post(fmt::format("/api/images/{}/versions/1/pull", image),
                                          nlohmann::json()));
    ASSERT_DONE(site->wait_until_complete(image, 1));
    site->proxy().set_rate(bytes_per_second);
  }

  Status publish_disk() {
    change(fmt::format("head -c {} /dev/urandom > {}", disk_size, disk));
    ICBD_TRY(site->publish(image));
    return {};
  }
  // Nothing of it is here, and it takes its time once somebody reads.
  int next_version() {
    EXPECT_TRUE(publish_disk());
    const Status listed = site->wait_until_listed(image, ++newest_);
    EXPECT_TRUE(listed) << listed.error().message();
    return newest_;
  }
  void land(int version) {
    site->proxy().set_rate(0);
    ASSERT_DONE(site->wait_until_complete(image, version));
  }

  std::string path_in_view(int version) const {
    return fmt::format("{}/{}/{}", image, version, disk);
  }
  std::string digest(int version) const {
    return digest_of_file(site->master_version(image, version) / disk);
  }
  std::filesystem::path copy() const { return site->folder() / "copy"; }
  nlohmann::json served_files() const {
    const auto status = site->ask_cache("/api/status");
    EXPECT_TRUE(status) << status.error().message();
    return status ? status->at("view").at("served_files") : nlohmann::json();
  }
  Status wait_until_served(std::size_t files) const {
    return Site::wait_until([&] { return served_files().size() == files; },
                            fmt::format("{} files to be served", files));
  }

  // `command` leaves the disk in copy(). Again and again, until the worker has been killed ten
  // times: each time it is the master's.
  void expect_read_right_under_kills(int version, const std::string& command) {
    expect_read_right_under_kills(version, command, digest(version));
  }
  void expect_read_right_under_kills(int version, const std::string& command,
                                     const std::string& wanted) {
    SCOPED_TRACE(fmt::format("version {}: {}", version, command));
    const std::string state = site->state(image, version);
    const auto begun = SteadyClock::now();
    int reads = 0;
    WorkerKills kills(site->cache().id(), static_cast<unsigned>(seed));
    do {
      const auto done = harness::shell_checked(command);
      ASSERT_DONE(done);
      ASSERT_EQ(digest_of_file(copy()), wanted);
      ++reads;
    } while (kills.count() < least_kills && !kills.failed());
    kills.stop();
    EXPECT_FALSE(kills.failed()) << "no other worker has come";
    const std::chrono::duration<double> took = SteadyClock::now() - begun;
    fmt::print("{} version: {} reads under {} kills in {:.1f} s\n", state, reads, kills.count(),
               took.count());
  }
  // One read of a version of which nothing is here when it begins.
  void expect_arriving_read_right_under_kills(int version, const std::string& command) {
    ASSERT_EQ(site->state(image, version), "remote");
    expect_read_right_under_kills(version, command);
  }

  const std::uint64_t seed = harness::test_seed();
  int newest_ = 1;
};

// ---- iSCSI ---------------------------------------------------------------------------------

class IscsiTest : public ExportsTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    ExportsTest::SetUp();
    if (!site || HasFatalFailure()) return;
    auto started = IscsiServer::start(*site);
    ASSERT_DONE(started);
    iscsi = std::move(*started);
  }
  void TearDown() override {
    iscsi.reset();
    ExportsTest::TearDown();
  }
  std::string copy_command(int target) const {
    return fmt::format("qemu-img convert -f raw -O raw {} {}",
                       iscsi->disk_url(std::to_string(target)), copy().string());
  }

  std::unique_ptr<IscsiServer> iscsi;
};

TEST_P(IscsiTest, InitiatorsReadWhatThePublisherWroteWhileTheWorkerIsKilled) {
  ASSERT_DONE(iscsi->export_disk(1, GetParam(), site->mountpoint() / path_in_view(1)));
  expect_read_right_under_kills(1, copy_command(1));
  const int arriving = next_version();
  ASSERT_DONE(iscsi->export_disk(2, GetParam(), site->mountpoint() / path_in_view(arriving)));
  expect_read_right_under_kills(arriving, copy_command(2));

  const auto listed = harness::run_checked({"iscsi-ls", "-s", iscsi->portal()});
  ASSERT_DONE(listed);
  EXPECT_NE(listed->find("imgs:1"), std::string::npos) << *listed;
  EXPECT_NE(listed->find("imgs:2"), std::string::npos) << *listed;
}

// Whoever is logged in stays, if nothing is under way: tgtd can lose a command otherwise, whatever
// the disk lies on.
TEST_P(IscsiTest, ADiskThatWasExportedWhileItArrivedIsReopenedUnderAnIdleInitiator) {
  const int arriving = next_version();
  const auto path = site->mountpoint() / path_in_view(arriving);
  ASSERT_DONE(iscsi->export_disk(1, GetParam(), path));
  ASSERT_EQ(arriving, 2) << "as in the document";
  const auto go_on = site->folder() / "go-on";
  const auto said = site->folder() / "initiator";
  PausedClient initiator(fmt::format(
      "{{ echo 'read 0 64k'; until [ -e {0} ]; do sleep 0.02; done; echo 'read 1M 64k'; }} | "
      "qemu-io -r -f raw {1} > {2} 2>&1",
      go_on.string(), iscsi->disk_url("1"), said.string()));
  const auto has_read = [&](const std::string& what) {
    return Site::wait_until(
        [&] { return harness::run({"grep", "-q", what, said.string()})->exit_code == 0; },
        "the initiator to read");
  };
  ASSERT_DONE(has_read("read 65536/65536 bytes at offset 0"));
  land(arriving);
  ASSERT_EQ(served_files().size(), 1u) << "tgtd holds it";
  EXPECT_EQ(served_files()[0].at("whole"), true);

  ASSERT_DONE(iscsi->reopen_disk(*site, GetParam()));
  ASSERT_DONE(wait_until_served(0));
  std::ofstream(go_on) << "\n";
  ASSERT_DONE(has_read("read 65536/65536 bytes at offset 1048576"));
  expect_read_right_under_kills(arriving, copy_command(1));
}

TEST_P(IscsiTest, TheDocumentedTargetIsThatOfTheCurrentVersion) {
  ASSERT_DONE(iscsi->execute_configuration(*site, GetParam()));
  expect_read_right_under_kills(1, fmt::format("qemu-img convert -f raw -O raw {} {}",
                                               iscsi->disk_url("win11"), copy().string()));
}

INSTANTIATE_TEST_SUITE_P(BackingStores, IscsiTest, testing::Values("aio", "rdwr"),
                         [](const auto& store) { return std::string(store.param); });

// ---- TFTP ----------------------------------------------------------------------------------

class TftpTest : public ExportsTest {
 protected:
  void SetUp() override {
    ExportsTest::SetUp();
    if (!site || HasFatalFailure()) return;
    auto started = TftpServer::start(*site);
    ASSERT_DONE(started);
    tftp = std::move(*started);
  }
  void TearDown() override {
    tftp.reset();
    ExportsTest::TearDown();
  }
  std::string tftp_command(int version) const {
    return fmt::format("tftp -m binary 127.0.0.1 {} -c get {} {}", tftp->port(),
                       path_in_view(version), copy().string());
  }
  std::string curl_command(int version) const {
    return fmt::format(
        "curl --silent --show-error --tftp-blksize 1468 --output {} "
        "tftp://127.0.0.1:{}/{}",
        copy().string(), tftp->port(), path_in_view(version));
  }

  std::unique_ptr<TftpServer> tftp;
};

TEST_F(TftpTest, ClientsReadWhatThePublisherWroteWhileTheWorkerIsKilled) {
  expect_read_right_under_kills(1, tftp_command(1));
  const int arriving = next_version();
  expect_arriving_read_right_under_kills(arriving, tftp_command(arriving));
}

TEST_F(TftpTest, ClientsWithLargerBlocksToo) {
  expect_read_right_under_kills(1, curl_command(1));
  const int arriving = next_version();
  expect_arriving_read_right_under_kills(arriving, curl_command(arriving));
}

// ---- NFS -----------------------------------------------------------------------------------

class NfsTest : public ExportsTest {
 protected:
  void SetUp() override {
    ExportsTest::SetUp();
    if (!site || HasFatalFailure()) return;
    auto started = NfsServer::start(*site);
    ASSERT_DONE(started);
    nfs = std::move(*started);
  }
  void TearDown() override {
    nfs.reset();
    ExportsTest::TearDown();
  }
  std::string cat_command(int version) const {
    return fmt::format("nfs-cat '{}'", nfs->url(path_in_view(version)));
  }

  std::unique_ptr<NfsServer> nfs;
};

TEST_F(NfsTest, ClientsReadWhatThePublisherWroteWhileTheWorkerIsKilled) {
  expect_read_right_under_kills(
      1, fmt::format("rm -f {0}; nfs-cp '{1}' {0}", copy().string(), nfs->url(path_in_view(1))));
  const int arriving = next_version();
  expect_arriving_read_right_under_kills(
      arriving, fmt::format("{} > {}", cat_command(arriving), copy().string()));
}

TEST_F(NfsTest, AFileThatAClientHoldsOutlivesTheKernelsMemoryTheWorkerAndTheLanding) {
  const int arriving = next_version();
  std::string content;
  {
    PausedClient client(cat_command(arriving));
    client.read(1 << 20, content);
    ASSERT_EQ(content.size(), 1u << 20);
    ASSERT_EQ(site->state(image, arriving), "arriving");
    make_the_kernel_forget();
    ASSERT_DONE(kill_worker(site->cache().id()));
    land(arriving);
    make_the_kernel_forget();
    ASSERT_DONE(kill_worker(site->cache().id()));
    client.read(disk_size, content);
  }
  const auto published = read_file(site->master_version(image, arriving) / disk, disk_size);
  ASSERT_DONE(published);
  EXPECT_TRUE(content == std::string_view(reinterpret_cast<const char*>(published->data()),
                                          published->size()));
  // The server lets go of it with the client, and the next one is as fast as any.
  ASSERT_DONE(wait_until_served(0));
  std::string beginning;
  PausedClient next(cat_command(arriving));
  next.read(1 << 20, beginning);
  EXPECT_EQ(beginning, content.substr(0, 1 << 20));
  EXPECT_EQ(served_files().dump(), "[]");
}

TEST_F(NfsTest, NewVersionsAreSeenByClientsThatHaveListedBefore) {
  const auto list = [&] {
    const auto listed = harness::run_checked({"nfs-ls", nfs->url(image)});
    EXPECT_TRUE(listed) << listed.error().message();
    return listed.value_or("");
  };
  const std::string before = list();
  EXPECT_NE(before.find(" 1\n"), std::string::npos) << before;
  const std::string name = fmt::format(" {}\n", next_version());
  EXPECT_EQ(before.find(name), std::string::npos) << before;
  const auto begun = SteadyClock::now();
  ASSERT_DONE(Site::wait_until([&] { return list().find(name) != std::string::npos; },
                               "the new version in the listing"));
  fmt::print("seen after {:.1f} s\n",
             std::chrono::duration<double>(SteadyClock::now() - begun).count());
}

// ---- virtual machines ----------------------------------------------------------------------

// How the guest has its disk: what it writes goes into a file of qemu's own, or into a given one.
class QemuTest : public ExportsTest, public testing::WithParamInterface<const char*> {
 protected:
  // The documented ones, of another image.
  std::string of_this_image(const std::string& words) const {
    const auto text = documented(*site, words);
    EXPECT_TRUE(text) << text.error().message();
    return replaced(text.value_or(""), "/debian/", "/" + image + "/");
  }
  // The guest's own file over the disk.
  std::string overlay_command(int version) const {
    const auto overlay = site->folder() / "overlay.qcow2";
    const auto made = harness::run_checked({"qemu-img", "create", "-f", "qcow2", "-F", "raw", "-b",
                                            site->mountpoint() / path_in_view(version), overlay});
    EXPECT_TRUE(made) << made.error().message();
    const std::string command = of_this_image("**Virtual machines**");
    return command.substr(0, command.find("-drive")) +
           fmt::format("-drive file={},if=virtio,backing.node-name=debian", overlay.string());
  }
  // The master's disk with what the guest has written over it.
  std::string digest_with_writes(int version) const {
    const auto disk_with_writes = site->folder() / "with-writes";
    const auto made = harness::shell_checked(fmt::format(
        "cp {0} {1}; head -c 64k /dev/zero | tr '\\0' '\\7' | dd of={1} conv=notrunc status=none",
        (site->master_version(image, version) / disk).string(), disk_with_writes.string()));
    EXPECT_TRUE(made) << made.error().message();
    return digest_of_file(disk_with_writes);
  }
};

TEST_P(QemuTest, ADiskThatWasOpenedWhileItArrivedIsReopenedUnderARunningGuest) {
  const int arriving = next_version();
  ASSERT_EQ(arriving, 2) << "as in the document";
  const auto guest = QemuGuest::start(*site, GetParam() == std::string("snapshot")
                                                 ? of_this_image("**Virtual machines**")
                                                 : overlay_command(arriving));
  ASSERT_DONE(guest);
  ASSERT_DONE((*guest)->export_disk());
  ASSERT_DONE((*guest)->use_disk("write -P 7 0 64k"));
  const std::string wanted = digest_with_writes(arriving);
  const std::string read =
      fmt::format("qemu-img convert -f raw -O raw '{}' {}", (*guest)->disk_url(), copy().string());
  expect_read_right_under_kills(arriving, read, wanted);
  land(arriving);
  ASSERT_EQ(served_files().size(), 1u) << "qemu holds what it opened before";
  EXPECT_EQ(served_files()[0].at("whole"), true);

  // Under reads, and whatever happens to the worker.
  Status reopened;
  {
    const std::jthread reopening(
        [&] { reopened = (*guest)->tell(of_this_image("qemu is told by its monitor")); });
    expect_read_right_under_kills(arriving, read, wanted);
  }
  ASSERT_DONE(reopened);
  ASSERT_DONE(wait_until_served(0));
  expect_read_right_under_kills(arriving, read, wanted);
}

INSTANTIATE_TEST_SUITE_P(Disks, QemuTest, testing::Values("snapshot", "overlay"),
                         [](const auto& kind) { return std::string(kind.param); });

}  // namespace
}  // namespace icbd::system_test
