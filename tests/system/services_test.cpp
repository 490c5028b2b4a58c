// The daemons under systemd: what they tell it, and what the unit files allow them. No systemd runs
// here; a socket of the test's own takes its place, and systemd's tools read the units.

#include <gmock/gmock.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/vfs.h>

#include <fstream>
#include <set>
#include <sstream>

#include "system/site.h"

namespace icbd::system_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;
using namespace std::chrono_literals;

const std::string programs = ICBD_PROGRAMS;
const std::string units = std::string(ICBD_MOUNT_HELPERS) + "/systemd";

// Plays systemd's part of sd_notify(3).
class NotifySocket {
 public:
  explicit NotifySocket(const std::filesystem::path& path)
      : path_(path.string()), socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  std::string variable() const { return "NOTIFY_SOCKET=" + path_; }

  // The next message; "" if none comes in time.
  std::string next(std::chrono::milliseconds deadline = 60s) {
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (poll(&waiting, 1, static_cast<int>(deadline.count())) != 1) return "";
    std::string message(4096, '\0');
    const ssize_t got = recv(socket_.get(), message.data(), message.size(), 0);
    message.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return message;
  }

 private:
  std::string path_;
  unique_fd socket_;
};

class ServicesTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    change("echo hello > file");
    ASSERT_DONE(site->publish("image"));
    systemd_.emplace(site->folder() / "notify");
    configure("");
  }
  void TearDown() override {
    cache_.reset();
    const auto ended = harness::run({"umount", "-l", site->mountpoint().string()});
    SiteTest::TearDown();
  }

  std::filesystem::path configuration() const { return site->folder() / "service.toml"; }
  void configure(const std::string& text) {
    std::ofstream(configuration())
        << "[repository]\npath = \"" << (site->cache_root() / "repository").string()
        << "\"\n[view]\nmountpoint = \"" << site->mountpoint().string() << "\"\n[master]\ndata = \""
        << site->master_data() << "\"\npoll_interval = 0.1\n[rest]\nlisten = \"127.0.0.1:0\"\n"
        << text;
  }
  void start(std::vector<std::string> environment = {}, std::vector<std::string> wrapper = {}) {
    environment.push_back(systemd_->variable());
    wrapper.insert(wrapper.end(), {programs + "/icbd-cache", "--config", configuration().string()});
    auto started =
        harness::Process::start(wrapper, {site->folder(), "service", std::move(environment)});
    ASSERT_DONE(started);
    cache_ = std::move(*started);
  }

  // A second master, beside the site's own.
  std::unique_ptr<harness::Process> start_master(std::vector<std::string> environment,
                                                 std::vector<std::string> wrapper = {}) {
    const auto repository = site->master_root() / "second";
    std::filesystem::create_directory(repository);
    environment.push_back(systemd_->variable());
    wrapper.insert(wrapper.end(),
                   {programs + "/icbd-master", "--set", "repository.path=" + repository.string(),
                    "--set", "rest.listen=127.0.0.1:0", "--set", "data.listen=127.0.0.1:0"});
    auto started =
        harness::Process::start(wrapper, {site->folder(), "second", std::move(environment)});
    EXPECT_TRUE(started) << started.error().message();
    return started ? std::move(*started) : nullptr;
  }
  // What `icbd status` says of the view.
  bool visible() const {
    const std::string line = cache_->wait_for_line("icbd-cache ready", 10s).value();
    const auto begin = line.find("rest=") + 5;
    const auto client =
        rest::HttpClient::make("http://" + line.substr(begin, line.find(' ', begin) - begin));
    return client.value().get("/api/status").value().at("view").at("visible").get<bool>();
  }
  std::string next_but_the_watchdog() {
    std::string message = systemd_->next();
    while (message == "WATCHDOG=1") message = systemd_->next();
    return message;
  }

  std::optional<NotifySocket> systemd_;
  std::unique_ptr<harness::Process> cache_;
};

TEST_F(ServicesTest, IsReadyWhenTheMountAnswers) {
  start();
  const std::string first = systemd_->next();
  struct statfs view{};
  ASSERT_EQ(::statfs(site->mountpoint().c_str(), &view), 0);
  EXPECT_EQ(view.f_type, FUSE_SUPER_MAGIC) << "said it was ready before it was mounted";
  EXPECT_THAT(first, StartsWith("READY=1\nSTATUS=" + site->mountpoint().string() + " shows"));
}

TEST_F(ServicesTest, SaysThatItStopsAndEndsWell) {
  start();
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1"));
  ASSERT_DONE(cache_->signal(SIGTERM));
  EXPECT_THAT(systemd_->next(), StartsWith("STOPPING=1\n"));
  const auto code = cache_->wait_for_exit(60s);
  ASSERT_DONE(code);
  EXPECT_EQ(*code, 0);
}

TEST_F(ServicesTest, UmountEndsItWell) {
  start();
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1"));
  ASSERT_DONE(harness::run_checked({"umount", site->mountpoint().string()}));
  EXPECT_THAT(systemd_->next(), StartsWith("STOPPING=1\n"));
  const auto code = cache_->wait_for_exit(60s);
  ASSERT_DONE(code);
  EXPECT_EQ(*code, 0) << "systemd would start it again";
}

TEST_F(ServicesTest, AnswersTheWatchdogInTime) {
  start({"WATCHDOG_USEC=2400000"});
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1"));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(systemd_->next(1200ms), "WATCHDOG=1");
}

// To start it anew would help nobody.
TEST_F(ServicesTest, GoesOnWhenSomethingIsMountedOverTheView) {
  start({"WATCHDOG_USEC=600000"});
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1"));
  ASSERT_DONE(harness::run_checked({"mount", "-t", "tmpfs", "tmpfs", site->mountpoint().string()}));
  EXPECT_FALSE(visible());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(systemd_->next(), "WATCHDOG=1");
  ASSERT_DONE(harness::run_checked({"umount", site->mountpoint().string()}));
  EXPECT_TRUE(visible());
}

TEST_F(ServicesTest, ReloadsWhatCanChange) {
  start();
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1"));
  configure("[log]\nlevel = \"debug\"\n[node]\nname = \"other\"\n");
  ASSERT_DONE(cache_->signal(SIGHUP));
  EXPECT_THAT(systemd_->next(), ::testing::ContainsRegex("^RELOADING=1\nMONOTONIC_USEC=[0-9]+\n"));
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1\n"));
  EXPECT_THAT(cache_->error_output(), HasSubstr("configuration read again; changed: [log] level"));
  EXPECT_THAT(cache_->error_output(),
              HasSubstr("[node] name is different in the configuration, and changes only with a "
                        "restart"));
}

TEST_F(ServicesTest, AnErrorInAReloadLeavesEverythingAsItWas) {
  start();
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1"));
  configure("[log]\nlevel = \"error\"\n[node]\nnmae = \"other\"\n");
  ASSERT_DONE(cache_->signal(SIGHUP));
  EXPECT_THAT(systemd_->next(), StartsWith("RELOADING=1\n"));
  EXPECT_THAT(systemd_->next(), ::testing::AllOf(StartsWith("READY=1\n"),
                                                 HasSubstr("its configuration has an error")));
  EXPECT_THAT(cache_->error_output(),
              HasSubstr("nothing was reloaded: " + configuration().string()));
  EXPECT_THAT(cache_->error_output(), HasSubstr("did you mean \"name\"?"));
  // The level is still info: the next reload is heard.
  configure("");
  ASSERT_DONE(cache_->signal(SIGHUP));
  EXPECT_THAT(systemd_->next(), StartsWith("RELOADING=1\n"));
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1\n"));
  EXPECT_THAT(cache_->error_output(), HasSubstr("changed: nothing"));
}

TEST_F(ServicesTest, AMasterSpeaksTheSame) {
  auto master = start_master({"WATCHDOG_USEC=2000000"});
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1\nSTATUS=serves "));
  EXPECT_EQ(systemd_->next(1s), "WATCHDOG=1");
  ASSERT_DONE(master->signal(SIGHUP));
  EXPECT_THAT(next_but_the_watchdog(), StartsWith("RELOADING=1\nMONOTONIC_USEC="));
  EXPECT_THAT(next_but_the_watchdog(), StartsWith("READY=1\n"));
  ASSERT_DONE(master->signal(SIGTERM));
  EXPECT_THAT(next_but_the_watchdog(), StartsWith("STOPPING=1\n"));
  const auto code = master->wait_for_exit(60s);
  ASSERT_DONE(code);
  EXPECT_EQ(*code, 0);
}

// The words behind every `KEY=` of a unit file.
std::vector<std::string> words_of(const std::string& unit, const std::string& key) {
  std::ifstream file(units + "/" + unit);
  std::vector<std::string> words;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key + "=")) continue;
    std::istringstream rest(line.substr(key.size() + 1));
    for (std::string word; rest >> word;) words.push_back(word);
  }
  return words;
}

// What SystemCallFilter= of a unit lets through, with its groups (@...) resolved.
void add_calls(const std::string& word, std::set<std::string>& calls) {
  if (!word.starts_with('@')) {
    calls.insert(word);
    return;
  }
  const auto listed = harness::run_checked({"systemd-analyze", "syscall-filter", word});
  ASSERT_DONE(listed);
  std::istringstream lines(*listed);
  for (std::string name; lines >> name;) {
    if (name == "#") {
      std::getline(lines, name);  // a description
    } else if (name != word) {
      add_calls(name, calls);
    }
  }
}
std::set<std::string> allowed_calls(const std::string& unit) {
  std::set<std::string> allowed;
  std::set<std::string> denied;
  bool denying = false;
  for (std::string word : words_of(unit, "SystemCallFilter")) {
    // "~" begins a line that takes away; ours ends with it.
    if (word.starts_with('~')) denying = true;
    if (word.starts_with('~')) word.erase(0, 1);
    add_calls(word, denying ? denied : allowed);
  }
  for (const std::string& call : denied) allowed.erase(call);
  return allowed;
}

// A wrapper that runs a program with the unit's capabilities, and writes the names of the system
// calls that it makes into `file`.
std::vector<std::string> as_the_unit(const std::string& unit, const std::filesystem::path& file) {
  std::string bounding = "-all";
  for (const std::string& capability : words_of(unit, "CapabilityBoundingSet")) {
    std::string name = capability.substr(std::string("CAP_").size());
    for (char& c : name) c = static_cast<char>(std::tolower(c));
    bounding += ",+" + name;
  }
  return {"strace",
          "-D",
          "-f",
          "-q",
          "-c",
          "-U",
          "name",
          "-o",
          file.string(),
          "setpriv",
          "--no-new-privs",
          "--bounding-set",
          bounding};
}

// What systemd itself would do with the filter, we can only compare.
void expect_within(const std::filesystem::path& file, const std::set<std::string>& allowed) {
  ASSERT_DONE(Site::wait_until([&] { return std::filesystem::file_size(file) != 0; }, "strace"));
  std::ifstream lines(file);
  std::size_t calls = 0;
  for (std::string name; lines >> name;) {
    if (name == "syscall" || name == "total" || name.starts_with('-')) continue;
    ++calls;
    EXPECT_TRUE(allowed.contains(name)) << name << " is not in SystemCallFilter=";
  }
  EXPECT_GT(calls, 20U) << "strace saw nothing";
}

// Files that need capabilities of who writes them.
constexpr const char* odd_files =
    "mknod null c 1 3; mknod odd b 240 7; mkfifo pipe; cp /bin/true suid; chown 1:2 suid; "
    "chmod 6755 suid; cp /bin/true capable; setcap cap_net_raw+ep capable; "
    "setfattr -n trusted.a -v b file; setfattr -n security.selinux -v x file; "
    "ln -s file link; ln file hard; head -c 3M /dev/urandom > data; chmod 0 data; mkdir -m 0 "
    "shut";

TEST_F(ServicesTest, AMasterWorksWithTheCapabilitiesAndSystemCallsOfItsUnit) {
  change(odd_files);
  const auto trace = site->folder() / "calls";
  auto master = start_master({}, as_the_unit("icbd-master.service", trace));
  const auto ready = master->wait_for_line("icbd-master ready", 60s);
  ASSERT_DONE(ready);
  const std::string rest = ready->substr(ready->find("rest=") + 5);
  const auto published =
      harness::run({programs + "/icbd", "--server", "http://" + rest.substr(0, rest.find(' ')),
                    "publish", "image", site->live().string(), "-m", "odd files"});
  ASSERT_DONE(published);
  EXPECT_EQ(published->exit_code, 0) << published->output;
  EXPECT_EQ(harness::diff_trees(site->live(), site->master_root() / "second/image/1"), "");
  ASSERT_DONE(master->signal(SIGTERM));
  ASSERT_DONE(master->wait_for_exit(60s));
  expect_within(trace, allowed_calls("icbd-master.service"));
}

// From publication to landing.
TEST_F(ServicesTest, ACacheWorksWithTheCapabilitiesAndSystemCallsOfItsUnit) {
  change(odd_files);
  ASSERT_DONE(site->publish("image"));
  const auto trace = site->folder() / "calls";
  start({"WATCHDOG_USEC=1000000"}, as_the_unit("icbd-cache@.service", trace));
  EXPECT_THAT(systemd_->next(), StartsWith("READY=1"));
  ASSERT_DONE(site->wait_until_listed("image", 2));
  expect_equal_through_view("image", 2);
  ASSERT_DONE(Site::wait_until(
      [&] { return std::filesystem::exists(site->cache_version("image", 2)); }, "the landing"));
  expect_landed_equal("image", 2);
  ASSERT_DONE(cache_->signal(SIGTERM));
  ASSERT_DONE(cache_->wait_for_exit(60s));
  EXPECT_THAT(cache_->error_output(), Not(HasSubstr("ermission")));
  expect_within(trace, allowed_calls("icbd-cache@.service"));
}

// systemd's own tools over the units, which name the programs where they are built.
class UnitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    auto folder = harness::TemporaryDirectory::create();
    ASSERT_DONE(folder);
    folder_.emplace(std::move(*folder));
    ASSERT_DONE(harness::shell_checked("cp '" + units + "'/*.service '" + units + "'/*.mount '" +
                                       path() + "'; cd '" + path() +
                                       "'; sed -i 's|/usr/sbin/icbd|" + programs +
                                       "/icbd|' *.service; "
                                       "cp icbd-cache@.service icbd-cache@var-lib-icbd.service"));
  }
  std::string path() const { return folder_->path().string(); }
  std::optional<harness::TemporaryDirectory> folder_;
};

TEST_F(UnitsTest, HaveNoErrors) {
  const auto verified = harness::shell("cd '" + path() +
                                       "'; systemd-analyze verify --man=no icbd-master.service "
                                       "icbd-cache@var-lib-icbd.service var-lib-icbd.mount");
  ASSERT_DONE(verified);
  EXPECT_EQ(verified->exit_code, 0);
  EXPECT_EQ(verified->output, "");
}

// 5.0 of 10: what is missing needs a mount namespace, or is what the daemons are for (each named in
// the units). Anything above was opened without being noticed.
TEST_F(UnitsTest, AreClosedAsFarAsTheDaemonsStillWork) {
  for (const char* unit : {"icbd-master.service", "icbd-cache@var-lib-icbd.service"}) {
    const auto rated = harness::run({"systemd-analyze", "security", "--offline=true", "--no-pager",
                                     "--threshold=50", path() + "/" + unit});
    ASSERT_DONE(rated);
    EXPECT_EQ(rated->exit_code, 0) << rated->output;
  }
}

TEST_F(UnitsTest, GiveNobodyAMountNamespace) {
  for (const char* unit : {"icbd-master.service", "icbd-cache@.service"})
    for (const char* key : {"PrivateMounts",
                            "PrivateTmp",
                            "PrivateDevices",
                            "ProtectSystem",
                            "ProtectHome",
                            "ProtectProc",
                            "ProcSubset",
                            "ProtectKernelTunables",
                            "ProtectKernelModules",
                            "ProtectKernelLogs",
                            "ProtectControlGroups",
                            "ReadOnlyPaths",
                            "ReadWritePaths",
                            "InaccessiblePaths",
                            "BindPaths",
                            "TemporaryFileSystem",
                            "RootDirectory",
                            "MountFlags",
                            "PrivateIPC",
                            "PrivateUsers",
                            "DynamicUser",
                            "ProtectClock",
                            "DevicePolicy",
                            "DeviceAllow"})
      EXPECT_THAT(words_of(unit, key), ElementsAre()) << unit << " " << key;
}

TEST_F(UnitsTest, StartWhatMountIcbdHandsOver) {
  EXPECT_THAT(words_of("icbd-cache@.service", "ExecStart"),
              ElementsAre("/usr/sbin/icbd-cache", "--config", "${ICBD_CONFIG}", "--set",
                          "view.mountpoint=%f", "$ICBD_SETTINGS"));
  EXPECT_THAT(words_of("icbd-cache@.service", "EnvironmentFile"), ElementsAre("-/run/icbd/%i.env"));
}

TEST_F(UnitsTest, ComeFromALineInFstab) {
  const auto generated = harness::shell_checked(
      "cd '" + path() +
      "'; mkdir -p out early late mountpoint; "
      "echo 'imgs.example:/ /var/lib/icbd icbd _netdev,nofail,port=5009,fill=never 0 0' > fstab; "
      "SYSTEMD_FSTAB=$PWD/fstab /lib/systemd/system-generators/systemd-fstab-generator "
      "$PWD/out $PWD/early $PWD/late; cat out/var-lib-icbd.mount; ls out/remote-fs.target.*");
  ASSERT_DONE(generated);
  for (const char* line : {"What=imgs.example:/\n", "Where=/var/lib/icbd\n", "Type=icbd\n",
                           "Options=_netdev,nofail,port=5009,fill=never\n", "var-lib-icbd.mount"})
    EXPECT_THAT(*generated, HasSubstr(line));
  const auto verified =
      harness::shell_checked("cd '" + path() +
                             "'; sed -i \"s|/var/lib/icbd|$PWD/mountpoint|\" fstab; "
                             "findmnt --verify --tab-file fstab");
  ASSERT_DONE(verified);
  EXPECT_THAT(*verified, HasSubstr("0 parse errors, 0 errors"));
}

}  // namespace
}  // namespace icbd::system_test
