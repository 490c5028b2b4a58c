// The commands over a server that answers as the test says: what they ask, what they print, and
// how they end.
#include <gmock/gmock.h>

#include <fstream>

#include "fake_server.h"

namespace icbd::cli {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::version;

struct CommandsTest : testing::CliTest {
  static json arriving(unsigned number, unsigned done) {
    json object = version(number, "arriving");
    object["progress"] = {{"bytes_done", done}, {"bytes_total", 100}};
    return object;
  }
};

// --- list, show, holds ---------------------------------------------------------------------------

json many_versions() {
  json complete = version(7, "complete");
  complete["tags"] = {"current", "stable"};
  complete["pin"] = {{"reason", "exams"}, {"since", "2026-11-01T08:00:00Z"}};
  json under_way = version(8, "arriving");
  under_way["message"] = "a message that is much too long for a terminal of eighty columns";
  under_way["progress"] = {{"bytes_done", 1}, {"bytes_total", 3}};
  return {{"name", "win11"}, {"tags", {{"current", 7}}}, {"versions", {complete, under_way}}};
}

TEST_F(CommandsTest, ListFits80Columns) {
  server.on("GET /api/images/win11", many_versions());
  EXPECT_EQ(run({"list", "win11"}, true, 80), exit_done);
  EXPECT_EQ(out(),
            "VERSION  STATE         TAGS          PIN     SIZE     PUBLISHED     MESSAGE\n"
            "7        complete      current, st…  pinned  3.0 MiB  2026-11-20T…  message 7\n"
            "8        arriving 33…                        3.0 MiB  2026-11-20T…  a message t…\n");
}

TEST_F(CommandsTest, ListFits120Columns) {
  server.on("GET /api/images/win11", many_versions());
  EXPECT_EQ(run({"list", "win11"}, true, 120), exit_done);
  EXPECT_EQ(
      out(),
      "VERSION  STATE          TAGS             PIN     SIZE     PUBLISHED             MESSAGE\n"
      "7        complete       current, stable  pinned  3.0 MiB  2026-11-20T13:45:00Z  message 7\n"
      "8        arriving 33 %                           3.0 MiB  2026-11-20T13:45:00Z  a message "
      "that is much too long for a t…\n");
}

TEST_F(CommandsTest, ListAsksOnce) {
  json images = json::array();
  for (int i = 0; i < 100; ++i)
    images.push_back({{"name", fmt::format("image{}", i)},
                      {"versions", 100},
                      {"latest", 100},
                      {"tags", {{"current", 99}}}});
  server.on("GET /api/images", {{"images", images}});
  EXPECT_EQ(run({"list"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("image99  100       100     current=99\n"));
  EXPECT_THAT(server.requests(), ElementsAre("GET /api/images"));
}

TEST_F(CommandsTest, StatesAreColouredWhereThatIsWanted) {
  server.on("GET /api/images/win11", many_versions());
  fake.colours = true;
  EXPECT_EQ(run({"list", "win11"}, true, 120), exit_done);
  EXPECT_THAT(out(), HasSubstr("\x1b[32mcomplete\x1b[0m"));
  EXPECT_THAT(out(), HasSubstr("\x1b[33marriving 33 %\x1b[0m  "));
}

TEST_F(CommandsTest, ShowsAVersionByItsTag) {
  json shown = version(7, "complete");
  shown.update({{"tags", {"stable"}},
                {"parent", 6},
                {"uuid", "0f1e"},
                {"manifest", "ab12"},
                {"entries", 3},
                {"file_bytes", 5u << 20},
                {"boot_directory", "boot"},
                {"target_file", "disk.raw"},
                {"pin", {{"reason", "exams"}, {"since", "2026-11-01T08:00:00Z"}}},
                {"holds", {{{"kind", "open"}, {"detail", "2 files"}}, {{"kind", "pin"}}}}});
  server.on("GET /api/images/win11/versions/stable", shown);
  EXPECT_EQ(run({"show", "win11@stable"}), exit_done);
  EXPECT_EQ(out(),
            "version    win11@7\n"
            "state      complete\n"
            "tags       stable\n"
            "message    message 7\n"
            "published  2026-11-20T13:45:00Z\n"
            "parent     win11@6\n"
            "size       3.0 MiB of data, files of 5.0 MiB\n"
            "entries    3\n"
            "boot       boot\n"
            "target     disk.raw\n"
            "uuid       0f1e\n"
            "manifest   ab12\n"
            "pinned     since 2026-11-01T08:00:00Z: exams\n"
            "held       open: 2 files\n"
            "held       pin\n");
}

TEST_F(CommandsTest, ShowsAnImage) {
  server.on("GET /api/images/win11", many_versions());
  EXPECT_EQ(run({"show", "win11"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("versions   2: 1 arriving, 1 complete\n"));
  EXPECT_THAT(out(), HasSubstr("tags       current=7\n"));
}

TEST_F(CommandsTest, HoldsOfAllAndOfOne) {
  server.on("GET /api/holds",
            {{"holds", {{{"version", "win11@3"}, {"kind", "pin"}, {"detail", "exams"}}}}});
  EXPECT_EQ(run({"holds"}), exit_done);
  EXPECT_EQ(out(),
            "VERSION  HOLD  WHAT\n"
            "win11@3  pin   exams\n");
  fake.out.str("");
  server.on("GET /api/images/win11/versions/4", version(4, "complete"));
  EXPECT_EQ(run({"holds", "win11@4"}), exit_done);
  EXPECT_EQ(out(), "nothing holds it\n");
}

// --- pull, push ----------------------------------------------------------------------------------

TEST_F(CommandsTest, PullsAndWaits) {
  server.on("POST /api/images/win11/versions/latest/pull", version(3, "remote"));
  server.on("GET /api/images/win11/versions/3", arriving(3, 50));
  fake.on_pause = [&] {
    server.on("GET /api/images/win11/versions/3", version(3, "complete"));
    return true;
  };
  EXPECT_EQ(run({"pull", "win11@latest"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("win11@3   50 %"));
  EXPECT_THAT(out(), HasSubstr("win11@3 is complete, 3.0 MiB\n"));
}

TEST_F(CommandsTest, WhoInterruptsAPullIsToldThatItGoesOn) {
  server.on("POST /api/images/win11/versions/3/pull", version(3, "remote"));
  server.on("GET /api/images/win11/versions/3", arriving(3, 50));
  fake.on_pause = [] { return false; };
  EXPECT_EQ(run({"pull", "win11@3"}), exit_interrupted);
  EXPECT_THAT(errors(), HasSubstr("win11@3 goes on arriving, from where it was"));
  EXPECT_THAT(errors(), HasSubstr("icbd pull --cancel win11@3"));
}

TEST_F(CommandsTest, WhatKeepsAPullFromArrivingIsSaidOnce) {
  server.on("POST /api/images/win11/versions/3/pull", version(3, "remote"));
  json stuck = arriving(3, 50);
  stuck["progress"]["failure"] = "the disk is full";
  server.on("GET /api/images/win11/versions/3", stuck);
  int pauses = 0;
  fake.on_pause = [&] { return ++pauses < 5; };
  EXPECT_EQ(run({"pull", "win11@3"}), exit_interrupted);
  EXPECT_THAT(errors(), ::testing::StartsWith("icbd: win11@3: the disk is full\nicbd: interr"));
}

TEST_F(CommandsTest, WhatKeepsAPullFromBeginningIsSaidOnce) {
  json refused = version(3, "remote");
  refused["obstacle"] = "setuid files are forbidden by policy";
  server.on("POST /api/images/win11/versions/3/pull", refused);
  server.on("GET /api/images/win11/versions/3", refused);
  int pauses = 0;
  fake.on_pause = [&] { return ++pauses < 5; };
  EXPECT_EQ(run({"pull", "win11@3"}), exit_interrupted);
  EXPECT_THAT(errors(), ::testing::StartsWith(
                            "icbd: win11@3: setuid files are forbidden by policy\nicbd: interr"));
  EXPECT_EQ(run({"show", "win11@3"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("obstacle   setuid files are forbidden by policy\n"));
}

TEST_F(CommandsTest, APullCanBeLeftToItselfAndCalledOff) {
  server.on("POST /api/images/win11/versions/3/pull", version(3, "remote"));
  server.on("POST /api/images/win11/versions/3/unpull", version(3, "remote"));
  EXPECT_EQ(run({"pull", "win11@3", "--no-wait"}), exit_done);
  EXPECT_EQ(run({"pull", "win11@3", "--cancel"}), exit_done);
  EXPECT_THAT(server.requests(), ElementsAre("POST /api/images/win11/versions/3/pull",
                                             "POST /api/images/win11/versions/3/unpull"));
  EXPECT_EQ(run({"pull", "win11@3", "--no-wait", "--cancel"}), exit_usage);
}

TEST_F(CommandsTest, PushAsksTheOtherCacheToPull) {
  testing::FakeServer node;
  json here = version(3, "complete");
  here["manifest"] = "ab12";
  server.on("GET /api/images/win11/versions/current", here);
  node.on("GET /api/images/win11/versions/3", here);
  node.on("POST /api/images/win11/versions/3/pull", here);
  EXPECT_EQ(run({"push", "win11@current", node.url()}), exit_done);
  EXPECT_THAT(node.requests(), ::testing::Contains("POST /api/images/win11/versions/3/pull"));
  EXPECT_THAT(out(), HasSubstr("win11@3 is complete"));
}

TEST_F(CommandsTest, PushIsRefusedWhereOtherContentHasTheName) {
  testing::FakeServer node;
  json here = version(3, "complete");
  here["manifest"] = "ab12";
  json there = here;
  there["manifest"] = "cd34";
  server.on("GET /api/images/win11/versions/3", here);
  node.on("GET /api/images/win11/versions/3", there);
  EXPECT_EQ(run({"push", "win11@3", node.url()}), exit_usage);
  EXPECT_THAT(errors(), HasSubstr("does that cache follow another master?"));
  EXPECT_THAT(node.requests(), ElementsAre("GET /api/images/win11/versions/3"));
}

// --- drop, pin -----------------------------------------------------------------------------------

TEST_F(CommandsTest, DropsWhatIsNotHeldAndSaysWhatIs) {
  server.refuse("DELETE /api/images/win11/versions/1", ErrorCode::busy,
                "win11@1 is held: pin (exams)");
  server.on("DELETE /api/images/win11/versions/2", version(2, "remote"));
  EXPECT_EQ(run({"drop", "win11@1", "win11@2"}), exit_refused);
  EXPECT_EQ(out(), "dropped win11@2\n");
  EXPECT_EQ(errors(),
            "icbd: win11@1 is held: pin (exams); icbd holds win11@1 shows what holds it\n");
}

TEST_F(CommandsTest, ADryRunDropsNothing) {
  json held = version(1, "complete");
  held["holds"] = {{{"kind", "open"}, {"detail", "2 files"}}};
  server.on("GET /api/images/win11/versions/1", held);
  json free = version(2, "complete");
  free["holds"] = json::array();
  server.on("GET /api/images/win11/versions/2", free);
  EXPECT_EQ(run({"drop", "--dry-run", "win11@2"}), exit_done);
  EXPECT_EQ(out(), "would drop win11@2, complete (3.0 MiB of data)\n");
  EXPECT_EQ(run({"drop", "--dry-run", "win11@1"}), exit_refused);
  EXPECT_EQ(errors(), "icbd: win11@1 is held (open: 2 files)\n");
  EXPECT_THAT(server.requests(), ::testing::Each(::testing::StartsWith("GET ")));
}

TEST_F(CommandsTest, ADryRunOfADropFailsWhereTheDropWould) {
  server.on("GET /api/images/win11/versions/1", version(1, "remote"));
  EXPECT_EQ(run({"drop", "--dry-run", "win11@1"}), exit_not_found);
  EXPECT_EQ(errors(), "icbd: nothing of win11@1 is here\n");
  // A master's answer.
  server.on("GET /api/images/win11/versions/2", version(2, "complete"));
  EXPECT_EQ(run({"drop", "--dry-run", "win11@2"}), exit_failed);
  EXPECT_THAT(errors(), HasSubstr("icbd: the server is no cache: a master drops nothing\n"));
  EXPECT_EQ(out(), "");
}

TEST_F(CommandsTest, NothingIsDroppedIfOneOfTheWordsIsNoVersion) {
  server.on("DELETE /api/images/win11/versions/2", version(2, "remote"));
  EXPECT_EQ(run({"drop", "win11@2", "win11"}), exit_usage);
  EXPECT_THAT(server.requests(), ::testing::IsEmpty());
}

TEST_F(CommandsTest, PinsWithAReason) {
  server.on("PUT /api/images/win11/versions/3/pin", version(3, "complete"));
  EXPECT_EQ(run({"pin", "win11@3", "--reason", "exams"}), exit_done);
  EXPECT_EQ(server.last_body(), (json{{"reason", "exams"}}));
  server.on("DELETE /api/images/win11/versions/3/pin", version(3, "complete"));
  EXPECT_EQ(run({"unpin", "win11@3"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("win11@3 is pinned no longer\n"));
}

// --- upgrade -------------------------------------------------------------------------------------

struct UpgradeCommandTest : CommandsTest {
  void SetUp() override {
    server.on("GET /api/status", status(1, nullptr));
    server.on("POST /api/upgrade", {{"accepted", true}});
  }
  static json status(unsigned starts, const json& last_end) {
    return {{"version", "0.1.0"},
            {"worker",
             {{"process", 100 + starts},
              {"starts", starts},
              {"last_end", last_end},
              {"upgrade_failures", 0},
              {"upgrade_failure", nullptr}}}};
  }
  // What the status says when the command looks for the next worker.
  int upgrade_to(const json& later) {
    fake.on_pause = [this, later] {
      server.on("GET /api/status", later);
      return true;
    };
    return run({"upgrade"});
  }
};

TEST_F(UpgradeCommandTest, EndsWhenTheNextWorkerHasTakenOver) {
  EXPECT_EQ(upgrade_to(status(2, "it handed over")), exit_done);
  EXPECT_EQ(out(), "icbd 0.1.0 (process 102) has taken over from 0.1.0 (process 101)\n");
}

// The server answers all the time: 3 would have scripts try again.
TEST_F(UpgradeCommandTest, AProgramThatDoesNotComeUpIsAFailureAndNoServerThatIsAway) {
  json unprepared = status(1, nullptr);
  unprepared["worker"]["upgrade_failures"] = 1;
  unprepared["worker"]["upgrade_failure"] = "it ended with code 1";
  EXPECT_EQ(upgrade_to(unprepared), exit_failed);
  EXPECT_EQ(errors(), "icbd: the upgrade failed: it ended with code 1; icbd 0.1.0 goes on\n");
}

TEST_F(UpgradeCommandTest, AProgramThatIsTakenBackIsAFailureToo) {
  EXPECT_EQ(upgrade_to(status(3, "the upgrade failed: it ended with code 2")), exit_failed);
  EXPECT_EQ(errors(), "icbd: the upgrade failed: it ended with code 2; icbd 0.1.0 goes on\n");
}

TEST_F(UpgradeCommandTest, AWorkerThatDiesMeanwhileHasNotHandedOver) {
  EXPECT_EQ(upgrade_to(status(2, "it was ended by signal 11 (SEGV)")), exit_failed);
  EXPECT_EQ(out(), "");
  EXPECT_THAT(errors(), HasSubstr("the worker did not hand over: it was ended by signal 11"));
}

// --- tag, subscribe, verify ----------------------------------------------------------------------

TEST_F(CommandsTest, ATagIsGivenToANumber) {
  server.on("GET /api/images/win11/versions/latest", version(9, "complete"));
  server.on("PUT /api/images/win11/tags/stable", json::object());
  EXPECT_EQ(run({"tag", "win11@latest", "stable"}), exit_done);
  EXPECT_EQ(server.last_body(), (json{{"version", 9}}));
  EXPECT_EQ(out(), "win11@stable is win11@9 now\n");
  EXPECT_EQ(run({"tag", "win11@9", "12"}), exit_usage);
  server.on("DELETE /api/images/win11/tags/stable", json::object());
  EXPECT_EQ(run({"untag", "win11", "stable"}), exit_done);
}

TEST_F(CommandsTest, SubscribesToTheLatestOrToATag) {
  server.on("PUT /api/subscriptions/win11", json::object());
  EXPECT_EQ(run({"subscribe", "win11"}), exit_done);
  EXPECT_EQ(server.last_body(), (json{{"latest", 1}}));
  EXPECT_EQ(run({"subscribe", "win11", "--latest", "3"}), exit_done);
  EXPECT_EQ(server.last_body(), (json{{"latest", 3}}));
  EXPECT_EQ(run({"subscribe", "win11", "--tag", "stable"}), exit_done);
  EXPECT_EQ(server.last_body(), (json{{"tag", "stable"}}));
  EXPECT_EQ(run({"subscribe", "win11", "--tag", "stable", "--transfer", "stream"}), exit_done);
  EXPECT_EQ(server.last_body(), (json{{"tag", "stable"}, {"transfer", "stream"}}));
  EXPECT_EQ(run({"subscribe", "win11", "--tag", "stable", "--latest", "3"}), exit_usage);
  EXPECT_EQ(run({"subscribe", "win11", "--latest", "0"}), exit_usage);
  server.on("DELETE /api/subscriptions/win11", json::object());
  EXPECT_EQ(run({"unsubscribe", "win11"}), exit_done);
}

TEST_F(CommandsTest, ShowsSubscriptions) {
  server.on("GET /api/subscriptions",
            {{"subscriptions",
              {{{"image", "debian"}, {"tag", "stable"}, {"state", "complete"}},
               {{"image", "win11"},
                {"latest", 2},
                {"state", "behind"},
                {"behind_versions", 1},
                {"behind_bytes", 1u << 20},
                {"wanted", {"win11@3"}}}}}});
  EXPECT_EQ(run({"subscriptions"}), exit_done);
  EXPECT_EQ(out(),
            "IMAGE   KEEPS       STATE     BEHIND              WANTED\n"
            "debian  tag stable  complete\n"
            "win11   latest 2    behind    1 version, 1.0 MiB  win11@3\n");
}

TEST_F(CommandsTest, VerifySaysWhatIsWrong) {
  server.on("POST /api/images/win11/versions/3/verify", {{"job", "v1"}});
  json done{{"id", "v1"},
            {"state", "done"},
            {"result", {{"verified_bytes", 3u << 20}, {"problems", json::array()}}}};
  server.on("GET /api/jobs/v1", done);
  EXPECT_EQ(run({"verify", "win11@3"}), exit_done);
  EXPECT_EQ(out(), "win11@3: 3.0 MiB compared with the manifest, 0 problems\n");
  done["result"]["problems"] = {"disk.raw: 128 KiB at 0 differ"};
  server.on("GET /api/jobs/v1", done);
  EXPECT_EQ(run({"verify", "win11@3"}), exit_failed);
  EXPECT_THAT(out(), HasSubstr("disk.raw: 128 KiB at 0 differ\n"));
  EXPECT_THAT(errors(), HasSubstr("is not what its manifest says"));
}

// --- status --watch ------------------------------------------------------------------------------

TEST_F(CommandsTest, WatchRedrawsInPlaceAndOutlivesARestart) {
  server.on("GET /api/status", {{"role", "master"}, {"version", "0.1.0"}});
  int pauses = 0;
  fake.on_pause = [&] {
    if (++pauses == 1) server.stop();
    return pauses < 2;
  };
  EXPECT_EQ(run({"status", "--watch"}, true, 40), exit_done);
  EXPECT_THAT(out(), HasSubstr("\x1b[Hrole        master, icbd 0.1.0\x1b[K\n"));
  EXPECT_THAT(out(), HasSubstr("\x1b[Hcannot reach"));
  EXPECT_EQ(errors(), "");
}

// --- did you mean --------------------------------------------------------------------------------

TEST_F(CommandsTest, AMistypedImageOrTagIsGuessed) {
  server.on("GET /api/images", {{"images", {{{"name", "debian"}}, {{"name", "win11"}}}}});
  server.on("GET /api/images/win11",
            {{"name", "win11"}, {"tags", {{"stable", 1}}}, {"versions", {version(1, "complete")}}});
  EXPECT_EQ(run({"list", "win1l"}), exit_not_found);
  EXPECT_EQ(errors(), "icbd: there is no image win1l; did you mean win11?\n");
  fake.errors.str("");
  EXPECT_EQ(run({"show", "win11@stabel"}), exit_not_found);
  EXPECT_EQ(errors(), "icbd: there is no version win11@stabel; did you mean stable?\n");
  fake.errors.str("");
  EXPECT_EQ(run({"show", "win11@7"}), exit_not_found);
  EXPECT_EQ(errors(), "icbd: there is no version win11@7; there are 1, stable\n");
}

TEST_F(CommandsTest, AMistypedOptionIsHeldAgainstTheCommandsOwn) {
  EXPECT_EQ(run({"pull", "win11@1", "--no-wiat"}), exit_usage);
  EXPECT_THAT(errors(), HasSubstr("did you mean --no-wait?"));
}

// --- config --------------------------------------------------------------------------------------

struct ConfigCommandTest : CommandsTest {
  std::string write(const std::string& name, const std::string& text) {
    const std::string file = ::testing::TempDir() + "icbd-config-" + name;
    std::ofstream(file) << text;
    files.push_back(file);
    return file;
  }
  void TearDown() override {
    for (const auto& file : files) std::filesystem::remove(file);
  }
  std::vector<std::string> files;
};

TEST_F(ConfigCommandTest, CheckNamesFileAndLine) {
  const std::string file =
      write("cache.toml", "[repository]\npath = \"/srv/icbd\"\n[fetch]\ntimout = 5\n");
  EXPECT_EQ(run({"config", "check", file}), exit_failed);
  EXPECT_EQ(errors(), fmt::format("icbd: {}:4: unknown key \"timout\" in [fetch]; did you mean "
                                  "\"timeout\"?\n",
                                  file));
}

TEST_F(ConfigCommandTest, CheckFindsOutWhoseItIs) {
  const std::string file = write(
      "some.toml", "[repository]\npath = \"/srv/icbd\"\n[master]\ndata = \"imgs.example:5010\"\n");
  EXPECT_EQ(run({"config", "check", file}), exit_done);
  EXPECT_EQ(out(), fmt::format("{}: no errors, as that of a cache\n", file));
}

TEST_F(ConfigCommandTest, ShowSaysWhatIsNotTheDefault) {
  const std::string file =
      write("cache.toml", "[repository]\npath = \"/srv/icbd\"\n[fetch]\ntimeout = 5\n");
  EXPECT_EQ(run({"config", "show", file}), exit_done);
  EXPECT_THAT(out(), ::testing::ContainsRegex("\\[fetch\\] timeout +5 +20 +0.1 to 3600 seconds"));
  EXPECT_THAT(out(), ::testing::ContainsRegex("\\[repository\\] path +\"/srv/icbd\" +required"));
  EXPECT_THAT(out(), ::testing::ContainsRegex("\\[log\\] level +\"info\" +as it is"));
}

TEST_F(ConfigCommandTest, DefaultPrintsTheExample) {
  EXPECT_EQ(run({"config", "default", "--cache"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("[fetch]\n"));
  EXPECT_EQ(run({"config", "default"}), exit_usage);
  EXPECT_EQ(run({"config", "polish"}), exit_usage);
}

// --- completion ----------------------------------------------------------------------------------

TEST_F(CommandsTest, ServersThatAnswerOtherwiseLeaveTheShellAlone) {
  server.on("GET /api/images", json::array({1, 2}));
  EXPECT_EQ(run({"__complete", "list", ""}), exit_done);
  server.on("GET /api/images", {{"images", {{{"name", 7}}}}});
  EXPECT_EQ(run({"__complete", "list", ""}), exit_done);
  EXPECT_EQ(out(), "");
  EXPECT_EQ(errors(), "");
}

TEST_F(CommandsTest, HelpNamesEveryCommandUnderItsHeading) {
  EXPECT_EQ(run({"--help"}), exit_done);
  for (const char* const heading : {"Looking:", "Versions:", "Subscriptions:", "Here:"})
    EXPECT_THAT(out(), HasSubstr(heading));
  EXPECT_THAT(out(), HasSubstr("130 interrupted"));
  EXPECT_THAT(out(), Not(HasSubstr("__complete")));
}

}  // namespace
}  // namespace icbd::cli
