#include "icbd/config/config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "icbd/base/file.h"

#include "harness/temporary_directory.h"

namespace icbd::config {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using namespace std::chrono_literals;

constexpr std::string_view repository = "[repository]\npath = \"/srv/icbd\"\n";

// The error that a cache's configuration gets; line 3 is the first of `text`.
std::string cache_error(std::string_view text) {
  const auto cache = parse_cache(std::string(repository).append(text), "cache.toml");
  if (cache) return "no error";
  EXPECT_EQ(cache.error().code(), ErrorCode::invalid_argument);
  return cache.error().message();
}

TEST(Config, TakesDefaultsForWhatIsNotSaid) {
  const Cache cache = parse_cache(repository, "cache.toml").value();
  EXPECT_EQ(cache.repository, "/srv/icbd");
  EXPECT_EQ(cache.mountpoint, "/var/lib/icbd");
  EXPECT_EQ(cache.fetch_timeout, 20s);
  EXPECT_TRUE(cache.allow_setuid);
  EXPECT_FALSE(cache.insecure_plaintext);
}

TEST(Config, ReadsEveryKeyOfACache) {
  const auto cache = parse_cache(R"(
    insecure_plaintext = true
    node.name = "rack-7"
    [repository]
    path = "/store"
    [view]
    mountpoint = "/images"
    directories = ["nfs_home", "iso=/srv/iso"]
    [master]
    data = "imgs.example:6010"
    rest = "imgs.example:6009"
    poll_interval = 0.25
    [rest]
    listen = "0.0.0.0:6009"
    [log]
    level = "debug"
    [fetch]
    timeout = 5
    bandwidth_limit = "10 MiB"
    codec = "zstd:3"
    [policy]
    device_nodes = false
    setuid = false
    security_xattrs = false
  )",
                                 "cache.toml");
  ASSERT_TRUE(cache) << cache.error().message();
  Cache expected;
  expected.repository = "/store";
  expected.mountpoint = "/images";
  expected.directories = {{"nfs_home", ""}, {"iso", "/srv/iso"}};
  expected.master_data = "imgs.example:6010";
  expected.master_rest = "imgs.example:6009";
  expected.bandwidth_limit = 10 * 1024 * 1024;
  expected.packing = codec::Setting{codec::Algorithm::zstd, 3};
  expected.rest_listen = "0.0.0.0:6009";
  expected.log_level = "debug";
  expected.node_name = "rack-7";
  expected.fetch_timeout = 5s;
  expected.poll_interval = 250ms;
  expected.allow_device_nodes = expected.allow_setuid = expected.allow_security_xattrs = false;
  expected.insecure_plaintext = true;
  EXPECT_EQ(*cache, expected);
}

TEST(Config, ReadsEveryKeyOfAMaster) {
  const auto master = parse_master(R"(
    insecure_plaintext = true
    repository = { path = "/store" }
    rest = { listen = "[::]:0" }
    data = { listen = "10.0.0.1:6010" }
    log = { level = "error" }
    view = { mountpoint = "/images", directories = ["rw"] }
  )",
                                   "master.toml");
  ASSERT_TRUE(master) << master.error().message();
  Master expected;
  expected.repository = "/store";
  expected.rest_listen = "[::]:0";
  expected.data_listen = "10.0.0.1:6010";
  expected.log_level = "error";
  expected.mountpoint = "/images";
  expected.directories = {{"rw", ""}};
  expected.insecure_plaintext = true;
  EXPECT_EQ(*master, expected);
}

TEST(Config, FindsTheMastersRestBesideItsData) {
  Cache cache;
  cache.master_data = "[fd00::1]:7000";
  EXPECT_EQ(master_rest_of(cache), "[fd00::1]:5009");
  cache.master_rest = "other.example:80";
  EXPECT_EQ(master_rest_of(cache), "other.example:80");
}

TEST(Config, RefusesDirectoriesThatTheViewCannotShow) {
  EXPECT_THAT(cache_error("[view]\ndirectories = \"rw\""), HasSubstr("must be a list of texts"));
  for (const char* name : {"", "a/b", "..", ".hidden", "=/srv"})
    EXPECT_THAT(cache_error(fmt::format("[view]\ndirectories = [\"{}\"]", name)),
                HasSubstr("cannot name a directory at the root of the view"))
        << name;
  EXPECT_THAT(cache_error("[view]\ndirectories = [\"rw=srv\"]"),
              HasSubstr("must be an absolute path"));
  EXPECT_THAT(cache_error("[view]\ndirectories = [\"rw\", \"rw=/srv\"]"),
              HasSubstr("\"rw\" is there twice"));
}

TEST(Config, SuggestsWhatAnUnknownKeyWasMeantToBe) {
  EXPECT_EQ(cache_error("\n\n\n[view]\nmountpiont = \"/x\""),
            "cache.toml:7: unknown key \"mountpiont\" in [view]; did you mean \"mountpoint\"?");
  EXPECT_EQ(cache_error("[view]\ncolour = 1"), "cache.toml:4: unknown key \"colour\" in [view]");
  EXPECT_EQ(cache_error("[veiw]\n"), "cache.toml:3: unknown table [veiw]; did you mean [view]?");
  EXPECT_EQ(cache_error("[something]\n"), "cache.toml:3: unknown table [something]");
  EXPECT_EQ(parse_cache("insecure_plain_text = true", "c").error().message(),
            "c:1: unknown key \"insecure_plain_text\"; did you mean \"insecure_plaintext\"?");
}

TEST(Config, SaysWhereAKeyBelongs) {
  EXPECT_EQ(parse_cache("mountpoint = \"/x\"", "c").error().message(),
            "c:1: unknown key \"mountpoint\"; it belongs in [view]");
  EXPECT_EQ(cache_error("insecure_plaintext = true"),
            "cache.toml:3: unknown key \"insecure_plaintext\" in [repository]; it belongs at the "
            "top of the file");
}

TEST(Config, NeedsARepository) {
  EXPECT_EQ(parse_cache("", "c").error().message(), "c: [repository] path is missing");
  EXPECT_EQ(parse_master("", "m").error().message(), "m: [repository] path is missing");
}

TEST(Config, RefusesWrongTypes) {
  EXPECT_EQ(cache_error("[view]\nmountpoint = 7"),
            "cache.toml:4: [view] mountpoint must be a text in quotes, not a number");
  EXPECT_EQ(cache_error("[policy]\nsetuid = \"yes\""),
            "cache.toml:4: [policy] setuid must be true or false, not a text");
  EXPECT_EQ(cache_error("[policy]\nsetuid = 1"),
            "cache.toml:4: [policy] setuid must be true or false, not a number");
  EXPECT_EQ(cache_error("[fetch]\ntimeout = \"20s\""),
            "cache.toml:4: [fetch] timeout must be a number of seconds, not a text");
  EXPECT_EQ(cache_error("[[view]]\n"), "cache.toml:3: [view] must be a table, not an array");
  EXPECT_EQ(cache_error("[log.level]\n"),
            "cache.toml:3: [log] level must be a text in quotes, not a table");
  EXPECT_EQ(parse_cache("view = 1979-05-27", "c").error().message(),
            "c:1: [view] must be a table, not a date or time");
}

TEST(Config, RefusesRelativePaths) {
  EXPECT_EQ(cache_error("[view]\nmountpoint = \"images\""),
            "cache.toml:4: [view] mountpoint must be an absolute path, not \"images\"");
  EXPECT_THAT(cache_error("[view]\nmountpoint = \"\""), HasSubstr("absolute path, not \"\""));
  EXPECT_THAT(cache_error("[view]\nmountpoint = \"/a\\u0000b\""), HasSubstr("absolute path"));
}

TEST(Config, KeepsRepositoryAndMountpointApart) {
  for (const char* mountpoint : {"/srv/icbd", "/srv/icbd/", "/srv", "/", "/srv/icbd/view",
                                 "/srv/x/../icbd", "/srv//icbd/./view"})
    EXPECT_THAT(cache_error(std::string("[view]\nmountpoint = \"") + mountpoint + "\""),
                HasSubstr("must lie outside each other"))
        << mountpoint;
  for (const char* mountpoint : {"/srv/icbd-view", "/srv/view", "/icbd"})
    EXPECT_EQ(cache_error(std::string("[view]\nmountpoint = \"") + mountpoint + "\""), "no error");
}

TEST(Config, RefusesTimesOutOfRange) {
  for (const char* seconds :
       {"0", "-1", "0.01", "3601", "inf", "-inf", "nan", "1e300", "9223372036854775807"})
    EXPECT_EQ(cache_error(std::string("[fetch]\ntimeout = ") + seconds),
              "cache.toml:4: [fetch] timeout must be 0.1 to 3600 seconds");
}

TEST(Config, RefusesMalformedAddresses) {
  EXPECT_EQ(cache_error("[rest]\nlisten = \"localhost\""),
            "cache.toml:4: [rest] listen must be host:port, for example 127.0.0.1:5009 or "
            "[::1]:5009, not \"localhost\"");
  EXPECT_THAT(cache_error("[master]\ndata = \"imgs.example:0\""), HasSubstr("[master] data must"));
}

TEST(Config, ListensToOtherMachinesOnlyWhenToldInSoManyWords) {
  EXPECT_THAT(cache_error("[rest]\nlisten = \"0.0.0.0:5009\""),
              AllOf(StartsWith("cache.toml:4: [rest] listen \"0.0.0.0:5009\""),
                    HasSubstr("insecure_plaintext = true")));
  const std::string master = std::string(repository) + "[data]\nlisten = \"[::]:5010\"\n";
  EXPECT_THAT(parse_master(master, "m").error().message(), HasSubstr("insecure_plaintext = true"));
  EXPECT_TRUE(parse_master("insecure_plaintext = true\n" + master, "m"));
  EXPECT_FALSE(parse_master("insecure_plaintext = false\n" + master, "m"));
}

TEST(Config, RefusesUnknownLogLevelsAndOddNames) {
  EXPECT_THAT(cache_error("[fetch]\ncodec = \"zstdd\""), HasSubstr("must be \"auto\" or a codec"));
  EXPECT_EQ(cache_error("[log]\nlevel = \"warn\""),
            "cache.toml:4: [log] level must be one of debug, info, warning, error, not \"warn\"");
  EXPECT_THAT(cache_error("[log]\nlevel = \"eror\""), HasSubstr("did you mean \"error\"?"));
  EXPECT_THAT(cache_error("[node]\nname = \"my cache\""), StartsWith("cache.toml:4: [node] name"));
}

// What `--set TEXT` makes of a cache, or its error.
Result<Cache> cache_with(const std::vector<std::string>& texts, std::string_view file = repository,
                         const std::string& name = "cache.toml") {
  std::vector<Setting> settings;
  for (const std::string& text : texts) {
    ICBD_ASSIGN(Setting setting, parse_setting(text));
    settings.push_back(std::move(setting));
  }
  return parse_cache(file, name, settings);
}

std::string setting_error(const std::string& text) {
  const auto cache = cache_with({text});
  return cache ? "no error" : cache.error().message();
}

TEST(Setting, CountsOverTheFileAndTheLastOneMost) {
  const std::string file = std::string(repository) + "[fetch]\ntimeout = 7\nfill = \"never\"\n";
  const auto cache = cache_with({"fetch.timeout=5", "fetch.timeout=2.5"}, file);
  ASSERT_TRUE(cache) << cache.error().message();
  EXPECT_EQ(cache->fetch_timeout, 2500ms);
  EXPECT_EQ(cache->fill, "never") << "what is not set stays as the file says";
}

TEST(Setting, IsTypedAsItsKeyWantsIt) {
  const auto cache =
      cache_with({"node.name=7", "insecure_plaintext=true", "policy.setuid=false",
                  "fetch.fill_threshold=2 MiB", "repository.reserve=4096", "view.mountpoint=/a=b.c",
                  "log.level=\"debug\"", "view.source=a:/"});
  ASSERT_TRUE(cache) << cache.error().message();
  EXPECT_EQ(cache->node_name, "7");
  EXPECT_TRUE(cache->insecure_plaintext);
  EXPECT_FALSE(cache->allow_setuid);
  EXPECT_EQ(cache->fill_threshold, 2U << 20);
  EXPECT_EQ(cache->space_reserve, 4096U);
  EXPECT_EQ(cache->mountpoint, "/a=b.c");
  EXPECT_EQ(cache->log_level, "debug") << "quotes as in the file are taken too";
  EXPECT_EQ(cache->view_source, "a:/");
}

TEST(Setting, IsCheckedAsTheFileIsAndNamedInTheError) {
  EXPECT_EQ(setting_error("fetch.fil=never"),
            "--set fetch.fil=never: unknown key \"fil\" in [fetch]; did you mean \"fill\"?");
  EXPECT_EQ(setting_error("fetch.fill=nevr"),
            "--set fetch.fill=nevr: [fetch] fill must be one of on-read, demand-only, never, not "
            "\"nevr\"; did you mean \"never\"?");
  EXPECT_EQ(setting_error("fetch.timeout=soon"),
            "--set fetch.timeout=soon: [fetch] timeout must be a number of seconds, not a text");
  EXPECT_EQ(setting_error("mountpoint=/x"),
            "--set mountpoint=/x: unknown key \"mountpoint\"; it belongs in [view]");
  EXPECT_EQ(setting_error("view=/x"), "--set view=/x: [view] must be a table, not a text");
  EXPECT_EQ(
      setting_error("policy.setuid=true\nx=1"),
      "--set \"policy.setuid=true\\x0ax=1\": [policy] setuid must be true or false, not a text");
  EXPECT_THAT(setting_error("rest.listen=0.0.0.0:5009"), HasSubstr("insecure_plaintext = true"));
  for (const char* text : {"", "fetch.fill", "=never"})
    EXPECT_THAT(setting_error(text), HasSubstr("must be TABLE.KEY=VALUE")) << text;
}

TEST(Setting, PlaintextThatIsAllowedThereCountsForTheFile) {
  const std::string file = std::string(repository) + "[rest]\nlisten = \"0.0.0.0:5009\"\n";
  EXPECT_FALSE(cache_with({}, file));
  EXPECT_TRUE(cache_with({"insecure_plaintext=true"}, file));
}

TEST(Setting, IsEnoughWithoutAFile) {
  EXPECT_EQ(load_cache("").error().message(),
            "[repository] path is missing: name a file with --config, or set it with --set "
            "repository.path=…");
  const auto cache = cache_with({"repository.path=/srv/icbd"}, "", "");
  ASSERT_TRUE(cache) << cache.error().message();
  EXPECT_EQ(cache->repository, "/srv/icbd");
  EXPECT_THAT(cache_with({"repository.path=/srv/icbd", "view.mountpoint=/srv/icbd"}, "", "")
                  .error()
                  .message(),
              StartsWith("[repository] path"));
}

TEST(Reload, TakesWhatCanChangeAndNamesTheRest) {
  const Cache running = parse_cache(repository, "c").value();
  const Cache read_again = cache_with({"log.level=debug", "fetch.fill=never", "fetch.timeout=3",
                                       "view.mountpoint=/other", "node.name=b"})
                               .value();
  const Reload<Cache> reload = plan_reload(running, read_again);
  EXPECT_THAT(reload.changed,
              ::testing::UnorderedElementsAre("[log] level", "[fetch] fill", "[fetch] timeout"));
  EXPECT_THAT(reload.deferred, ::testing::UnorderedElementsAre("[view] mountpoint", "[node] name"));
  Cache expected = running;
  expected.log_level = "debug";
  expected.fill = "never";
  expected.fetch_timeout = 3s;
  EXPECT_EQ(reload.effective, expected);
}

TEST(Reload, OfWhatIsTheSameChangesNothing) {
  const Master running = parse_master(repository, "m").value();
  const Reload<Master> reload = plan_reload(running, running);
  EXPECT_EQ(reload.effective, running);
  EXPECT_THAT(reload.changed, ::testing::IsEmpty());
  EXPECT_THAT(reload.deferred, ::testing::IsEmpty());
}

// A cache whose mount goes on in another process.
class ContinuationTest : public ::testing::Test {
 protected:
  Result<Continuation> continue_with(std::string_view file, std::string_view last = first) {
    EXPECT_TRUE(write_file(path_, as_bytes(file)));
    return continue_cache({.first = std::string(first), .last = std::string(last)}, path_,
                          settings_);
  }

  static constexpr std::string_view first =
      "[repository]\npath = \"/srv/icbd\"\n[view]\ndirectories = [\"rw\"]\n"
      "[fetch]\ntimeout = 3\n";
  static constexpr std::string_view reloaded =
      "[repository]\npath = \"/srv/icbd\"\n[fetch]\ntimeout = 7\n";
  static constexpr std::string_view damaged = "[repository\npath = \"/srv/icbd\"\n";
  const harness::TemporaryDirectory folder_ = harness::TemporaryDirectory::create().value();
  const std::filesystem::path path_ = folder_.path() / "cache.toml";
  const std::vector<Setting> settings_{parse_setting("node.name=rack-7").value()};
};

TEST_F(ContinuationTest, KeepsWhatTheMountBeganWithAndTakesWhatCanChange) {
  const std::string file =
      "[repository]\npath = \"/srv/other\"\n[view]\nmountpoint = \"/other\"\n"
      "directories = [\"iso\", \"rw\"]\n[fetch]\ntimeout = 9\n";
  const auto next = continue_with(file);
  ASSERT_TRUE(next) << next.error().message();
  Cache expected = parse_cache(first, "c", settings_).value();
  expected.fetch_timeout = 9s;
  EXPECT_EQ(next->configuration, expected);
  EXPECT_EQ(next->configuration.node_name, "rack-7") << "of --set";
  EXPECT_THAT(next->deferred, ::testing::UnorderedElementsAre(
                                  "[repository] path", "[view] mountpoint", "[view] directories"));
  EXPECT_FALSE(next->error);
  EXPECT_EQ(next->last, file);
}

TEST_F(ContinuationTest, GoesOnAsItWasLastIfTheFileHasAnError) {
  const auto next = continue_with(damaged, reloaded);
  ASSERT_TRUE(next) << next.error().message();
  Cache expected = parse_cache(first, "c", settings_).value();
  expected.fetch_timeout = 7s;
  EXPECT_EQ(next->configuration, expected);
  ASSERT_TRUE(next->error);
  EXPECT_THAT(next->error->message(), StartsWith(path_.string() + ":1: "));
  EXPECT_EQ(next->last, reloaded) << "and the one after it, too";
}

TEST_F(ContinuationTest, GoesOnAsItWasLastWithoutTheFile) {
  const auto next = continue_cache({.first = std::string(first), .last = std::string(reloaded)},
                                   folder_.path() / "nowhere", settings_);
  ASSERT_TRUE(next) << next.error().message();
  EXPECT_EQ(next->configuration.fetch_timeout, 7s);
  ASSERT_TRUE(next->error);
  EXPECT_THAT(next->error->message(), HasSubstr("nowhere"));
}

// As one that was kept by a release which knew other keys.
TEST_F(ContinuationTest, FailsIfWhatTheMountBeganWithIsNotUnderstood) {
  const auto next =
      continue_cache({.first = std::string(damaged), .last = std::string(first)}, path_, settings_);
  ASSERT_FALSE(next);
  EXPECT_THAT(next.error().message(), StartsWith(path_.string() + ", as it was before:1: "));
}

TEST(Config, SaysWhereTheSyntaxIsWrongAndWhy) {
  const std::string unterminated = cache_error("[view]\nmountpoint = \"/x");
  EXPECT_THAT(unterminated, StartsWith("cache.toml:4: "));
  EXPECT_THAT(unterminated, HasSubstr("string"));
  EXPECT_THAT(cache_error("[view]\n\nnonsense"), StartsWith("cache.toml:5: "));
  EXPECT_THAT(cache_error("path = \"/twice\""), StartsWith("cache.toml:3: "));
  EXPECT_THAT(cache_error("\xff"), StartsWith("cache.toml:3: "));
  EXPECT_THAT(cache_error("x = " + std::string(10'000, '[')), StartsWith("cache.toml:3: "));
}

class ConfigFile : public ::testing::Test {
 protected:
  harness::TemporaryDirectory directory_ = harness::TemporaryDirectory::create().value();
  std::filesystem::path file_ = directory_.path() / "icbd.toml";
};

TEST_F(ConfigFile, IsNamedInErrors) {
  ASSERT_TRUE(replace_file(file_, as_bytes("\nnonsense = 1\n")));
  EXPECT_EQ(load_master(file_).error().message(), file_.string() + ":2: unknown key \"nonsense\"");
  EXPECT_THAT(load_cache(file_).error().message(), StartsWith(file_.string()));
}

TEST_F(ConfigFile, IsLoaded) {
  ASSERT_TRUE(replace_file(file_, as_bytes(repository)));
  EXPECT_EQ(load_master(file_)->repository, "/srv/icbd");
  EXPECT_EQ(load_cache(file_)->repository, "/srv/icbd");
}

TEST_F(ConfigFile, MustExist) {
  const auto cache = load_cache(file_);
  ASSERT_FALSE(cache);
  EXPECT_EQ(cache.error().code(), ErrorCode::not_found);
  EXPECT_THAT(cache.error().message(), HasSubstr(file_.string()));
}

TEST_F(ConfigFile, IsOfAModestSize) {
  ASSERT_TRUE(replace_file(file_, Bytes(2 * 1024 * 1024, std::byte{'#'})));
  EXPECT_EQ(load_cache(file_).error().code(), ErrorCode::too_large);
}

TEST(Config, ACacheMayFollowAMachineWithoutIcbd) {
  const auto cache = parse_cache(std::string(repository) + R"(
    [source]
    url = "ssh://backup@disks.example/srv/snap shots"
    key = "/etc/icbd/key"
    ssh_options = ["ProxyJump=gate.example", "Compression=yes"]
    remote_command = "sudo btrfs"
    poll_interval = 300
    )",
                                 "cache.toml");
  ASSERT_TRUE(cache) << cache.error().message();
  EXPECT_EQ(source_of(*cache), "ssh://backup@disks.example/srv/snap shots");
  EXPECT_EQ(cache->source_key, "/etc/icbd/key");
  EXPECT_THAT(cache->source_ssh_options,
              testing::ElementsAre("ProxyJump=gate.example", "Compression=yes"));
  EXPECT_EQ(cache->source_remote_command, "sudo btrfs");
  EXPECT_EQ(cache->source_interval, 300s);
  EXPECT_EQ(source_of(Cache()), "127.0.0.1:5010");
}

TEST(Config, AMachineWithoutIcbdIsNamedAsAUrl) {
  EXPECT_THAT(cache_error("[source]\nurl = \"disks.example:/srv\"\n"),
              AllOf(StartsWith("cache.toml:4: [source] url must be ssh://USER@HOST:PORT/PATH"),
                    HasSubstr("not \"disks.example:/srv\"")));
  EXPECT_THAT(cache_error("[source]\nssh_options = \"Port=1\"\n"), HasSubstr("list of texts"));
  EXPECT_THAT(cache_error("[source]\nremote_command = \" \"\n"), HasSubstr("sudo btrfs"));
}

TEST(Config, ACacheHasOneSource) {
  EXPECT_THAT(cache_error("[source]\nurl = \"ssh://a/b\"\n[master]\ndata = \"c:5010\"\n"),
              HasSubstr("two sources"));
}

}  // namespace
}  // namespace icbd::config
