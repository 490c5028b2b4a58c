// Whole command lines, in this process, against a server that answers as the test says.
#include "icbd/cli/cli.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fake_server.h"

namespace icbd::cli {
namespace {

using nlohmann::json;
using testing::CliTest;
using testing::FakeServer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::version;

TEST_F(CliTest, ListsImages) {
  server.on("GET /api/images", {{"images",
                                 {{{"name", "empty"}, {"versions", 0}, {"latest", nullptr}},
                                  {{"name", "win11"}, {"versions", 3}, {"latest", 3}}}}});
  EXPECT_EQ(run({"list"}), exit_done);
  EXPECT_EQ(out(),
            "IMAGE  VERSIONS  LATEST\n"
            "empty  0         -\n"
            "win11  3         3\n");
}

TEST_F(CliTest, ListsVersionsWithHowFarTheyAre) {
  json arriving = version(2, "arriving");
  arriving["progress"] = {{"bytes_done", 42}, {"bytes_total", 100}};
  server.on("GET /api/images/win11",
            {{"name", "win11"}, {"versions", {version(1, "complete"), arriving}}});
  EXPECT_EQ(run({"list", "win11"}), exit_done);
  EXPECT_EQ(out(),
            "VERSION  STATE          SIZE     PUBLISHED             MESSAGE\n"
            "1        complete       3.0 MiB  2026-11-20T13:45:00Z  message 1\n"
            "2        arriving 42 %  3.0 MiB  2026-11-20T13:45:00Z  message 2\n");
}

TEST_F(CliTest, TablesFitTheTerminalAndMessagesCannotSteerIt) {
  json hostile = version(1, "complete");
  hostile["message"] = "\x1b[2J" + std::string(100, 'm');
  server.on("GET /api/images/win11", {{"name", "win11"}, {"versions", json::array({hostile})}});
  EXPECT_EQ(run({"list", "win11"}, true, 70), exit_done);
  EXPECT_EQ(out().find('\x1b'), std::string::npos);
  EXPECT_THAT(out(), HasSubstr("?[2Jm"));
  std::istringstream lines(out());
  for (std::string line; std::getline(lines, line);)
    EXPECT_LE(line.size(), 70 + std::string_view("…").size());
}

TEST_F(CliTest, JsonIsTheServersAnswer) {
  const json answer = {{"images", json::array()}};
  server.on("GET /api/images", answer);
  EXPECT_EQ(run({"--json", "list"}), exit_done);
  EXPECT_EQ(json::parse(out()), answer);
}

TEST_F(CliTest, OptionsOfAllCommandsMayFollowTheCommand) {
  server.on("GET /api/images", {{"images", json::array()}});
  EXPECT_EQ(run({"list", "--json"}), exit_done);
  EXPECT_TRUE(json::parse(out()).contains("images"));
}

TEST_F(CliTest, PublishesAndFollowsTheJob) {
  server.on("POST /api/images/win11/versions", {{"job", "7"}});
  server.on("GET /api/jobs/7",
            {{"id", "7"}, {"state", "running"}, {"bytes_done", 1}, {"bytes_total", 2}});
  fake.on_pause = [this] {
    server.on("GET /api/jobs/7", {{"id", "7"},
                                  {"state", "done"},
                                  {"result",
                                   {{"version", version(4, "complete")},
                                    {"bytes_hashed", 1u << 20},
                                    {"bytes_inherited", 5u << 20},
                                    {"warnings", {"a nested subvolume is left out"}}}}});
    return true;
  };
  EXPECT_EQ(run({"publish", "win11", "images/../disk", "-m", "updates"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("publishing win11   50 %  1 B of 2 B\n"));
  EXPECT_THAT(out(), HasSubstr("published win11@4: 1.0 MiB hashed, 5.0 MiB taken over"));
  EXPECT_EQ(errors(), "warning: a nested subvolume is left out\n");
}

TEST_F(CliTest, ARelativePathIsMadeAbsoluteHere) {
  server.on("POST /api/images/win11/versions", {{"job", "7"}});
  EXPECT_EQ(run({"publish", "win11", "images/../disk", "-m", "updates", "--no-wait"}), exit_done);
  EXPECT_EQ(server.last_body(), (json{{"path", "/home/operator/disk"}, {"message", "updates"}}));
  EXPECT_EQ(out(), "job 7\n");
}

TEST_F(CliTest, PublishSendsWhatWasSaidAndNothingElse) {
  server.on("POST /api/images/win11/versions", {{"job", "7"}});
  EXPECT_EQ(run({"publish",
                 "win11",
                 "disk.qcow2",
                 "-m",
                 "m",
                 "-t",
                 "stable",
                 "-t",
                 "current",
                 "--boot",
                 "./tftp",
                 "--target",
                 "",
                 "--format",
                 "qcow2",
                 "--as",
                 "win.raw",
                 "--checksum",
                 "--allow-changing",
                 "--no-wait"}),
            exit_done);
  EXPECT_EQ(server.last_body(), (json{{"path", "/home/operator/disk.qcow2"},
                                      {"message", "m"},
                                      {"tags", {"stable", "current"}},
                                      {"boot", "/home/operator/tftp"},
                                      {"target", ""},
                                      {"format", "qcow2"},
                                      {"as", "win.raw"},
                                      {"checksum", true},
                                      {"allow_changing", true}}));
  EXPECT_EQ(run({"publish", "win11", "/srv/x", "-m", "m", "--boot", "netboot", "--no-wait"}),
            exit_done);
  EXPECT_EQ(server.last_body()["boot"], "netboot") << "within what is published";
}

TEST_F(CliTest, ADryRunOfAPublicationShowsThePlan) {
  server.on("POST /api/images/win11/versions", {{"plan",
                                                 {{"kind", "qcow2"},
                                                  {"number", 4},
                                                  {"disk_bytes", 64u << 20},
                                                  {"bytes_to_read", 8u << 20},
                                                  {"boot_directory", "boot"},
                                                  {"target_file", "disk.raw"},
                                                  {"warnings", {"careful"}},
                                                  {"notes", json::array()}}}});
  EXPECT_EQ(run({"publish", "win11", "disk.qcow2", "-m", "m", "--dry-run"}), exit_done);
  EXPECT_EQ(out(),
            "would publish win11@4 from a qcow2 disk of 64.0 MiB, about 8.0 MiB to read\n"
            "boot files: boot\ntarget: disk.raw\n");
  EXPECT_EQ(errors(), "warning: careful\n");
}

TEST_F(CliTest, EachPhaseOfAPublicationHasItsBar) {
  server.on("POST /api/images/win11/versions", {{"job", "7"}});
  const auto running = [](const char* phase) {
    return json{
        {"id", "7"}, {"state", "running"}, {"phase", phase}, {"bytes_done", 1}, {"bytes_total", 2}};
  };
  server.on("GET /api/jobs/7", running("converting"));
  int pauses = 0;
  fake.on_pause = [&] {
    server.on("GET /api/jobs/7", ++pauses == 1
                                     ? running("hashing")
                                     : json{{"state", "done"}, {"result", json::object()}});
    return true;
  };
  EXPECT_EQ(run({"publish", "win11", "/disk", "-m", "m"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("converting win11   50 %"));
  EXPECT_THAT(out(), HasSubstr("hashing win11   50 %"));
}

TEST_F(CliTest, AdoptsAndWaits) {
  server.on("POST /api/images/win11/adoptions",
            {{"job", "adopt-7"}, {"snapshots", {{{"path", "/srv/a"}}, {{"path", "/srv/b"}}}}});
  const json done = {{"path", "/srv/a"}, {"version", version(4, "complete")}};
  server.on("GET /api/jobs/adopt-7",
            {{"id", "adopt-7"}, {"state", "running"}, {"snapshots", {done, {{"path", "/srv/b"}}}}});
  fake.on_pause = [&] {
    server.on("GET /api/jobs/adopt-7",
              {{"id", "adopt-7"},
               {"state", "failed"},
               {"snapshots", {done, {{"path", "/srv/b"}, {"error", {{"message", "gone"}}}}}}});
    return true;
  };
  EXPECT_EQ(run({"adopt", "win11", "/srv/a", "b", "--wait"}), exit_failed);
  EXPECT_THAT(out(), HasSubstr("adopted /srv/a as win11@4\n"));
  EXPECT_THAT(errors(), HasSubstr("gone"));
}

TEST_F(CliTest, AdoptsInTheBackgroundUnlessAsked) {
  server.on("POST /api/images/win11/adoptions",
            {{"job", "adopt-7"}, {"snapshots", {{{"path", "/srv/a"}}}}});
  EXPECT_EQ(run({"adopt", "win11", "a"}), exit_done);
  EXPECT_EQ(out(), "job adopt-7\n");
  EXPECT_EQ(server.last_body(),
            (json{{"paths", {"/home/operator/a"}}, {"keep_order", false}, {"dry_run", false}}));
}

TEST_F(CliTest, SaysWhatItWouldAdopt) {
  server.on(
      "POST /api/images/win11/adoptions",
      {{"snapshots", {{{"path", "/srv/a"}, {"uuid", "u"}, {"created", "2026-01-01T03:00:00Z"}}}}});
  EXPECT_EQ(run({"adopt", "win11", "/srv/a", "--dry-run"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("2026-01-01T03:00:00Z  u  /srv/a"));
}

TEST_F(CliTest, AFailedPublicationIsAFailure) {
  server.on("POST /api/images/win11/versions", {{"job", "7"}});
  server.on("GET /api/jobs/7", {{"id", "7"},
                                {"state", "failed"},
                                {"error", {{"code", "io"}, {"message", "read error on disk"}}}});
  EXPECT_EQ(run({"publish", "win11", "/disk", "-m", "m"}), exit_failed);
  EXPECT_EQ(errors(), "icbd: read error on disk\n");
}

TEST_F(CliTest, ABadImageNameIsAUsageErrorFoundHere) {
  EXPECT_EQ(run({"publish", "../x", "/disk", "-m", "m"}), exit_usage);
  EXPECT_THAT(errors(), HasSubstr("../x"));
}

TEST_F(CliTest, StatusOfAMaster) {
  server.on(
      "GET /api/status",
      {{"role", "master"},
       {"version", "0.1.0"},
       {"repository", {{"path", "/srv/icbd"}, {"total_bytes", 8u << 20}, {"free_bytes", 2u << 20}}},
       {"data",
        {{"listen", "127.0.0.1:5010"},
         {"connections", 3},
         {"requests", 12},
         {"bytes_sent", 1u << 20}}},
       {"images", 2},
       {"versions", 5}});
  EXPECT_EQ(run({"status"}), exit_done);
  EXPECT_EQ(out(),
            "role        master, icbd 0.1.0\n"
            "repository  /srv/icbd, 2.0 MiB free of 8.0 MiB\n"
            "data        127.0.0.1:5010, 3 connections, 12 requests, 1.0 MiB sent\n"
            "images      2 with 5 versions\n");
}

json cache_status() {
  json arriving = version(2, "arriving");
  arriving["progress"] = {{"phase", "retrying"},
                          {"bytes_done", 1u << 20},
                          {"bytes_total", 4u << 20},
                          {"rate_bytes_per_second", 1u << 20},
                          {"failure", "the master cannot be reached"}};
  return {{"role", "cache"},
          {"version", "0.1.0"},
          {"repository", {{"path", "/srv/c"}, {"total_bytes", 8u << 20}, {"free_bytes", 0}}},
          {"master",
           {{"address", "127.0.0.1:5010"},
            {"reachable", false},
            {"error", "connection refused"},
            {"warning", "restored from an old backup"},
            {"conflicts", {"win11@1: other content"}}}},
          {"view", {{"mountpoint", "/var/lib/icbd"}}},
          {"wire",
           {{"bytes_received", 1u << 20},
            {"bytes_unpacked", 2u << 20},
            {"packing", "zstd:3: link 12.5 MB/s, packs to 0.49"}}},
          {"images", 1},
          {"versions", {{"remote", 3}, {"arriving", 1}, {"complete", 2}}},
          {"arriving", json::array({arriving})},
          {"refused", {{{"image", "win11"}, {"version", 3}, {"reason", "8 MiB are needed"}}}}};
}

TEST_F(CliTest, StatusOfACache) {
  server.on("GET /api/status", cache_status());
  EXPECT_EQ(run({"status"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("master      127.0.0.1:5010, not reachable\n"));
  EXPECT_THAT(out(), HasSubstr("images      1 with 2 complete, 1 arriving, 3 remote versions\n"));
  EXPECT_THAT(out(), HasSubstr("arriving    win11@2  25 %  1.0 MiB of 4.0 MiB  1.0 MiB/s  "
                               "retrying: the master cannot be reached\n"));
  EXPECT_THAT(out(), HasSubstr("            connection refused\n"));
  EXPECT_THAT(
      out(), HasSubstr("data        1.0 MiB received, 2.0 MiB of files unpacked; zstd:3: link 12.5 "
                       "MB/s, packs to 0.49\n"));
  EXPECT_THAT(out(), HasSubstr("warning     restored from an old backup\n"));
  EXPECT_THAT(out(), HasSubstr("refused     win11@1: other content\n"));
  EXPECT_THAT(out(), HasSubstr("refused     win11@3: 8 MiB are needed\n"));
}

TEST_F(CliTest, StatusOfACacheThatFollowsAMachineWithoutIcbd) {
  json status = cache_status();
  status["master"] = nullptr;
  status["source"] = {
      {"address", "ssh://disks.example/srv"},
      {"reachable", true},
      {"last_contact", "2026-11-20T13:45:00Z"},
      {"trust", "the host key"},
      {"pulls",
       {{{"image", "win11"},
         {"version", 4},
         {"snapshot", "monday"},
         {"parent", "sunday"},
         {"phase", "receiving"},
         {"bytes_received", 3u << 20},
         {"rate_bytes_per_second", 1u << 20},
         {"silent_seconds", 12}}}},
      {"images", {{{"image", "win11"}, {"behind", 2}, {"behind_since", "2026-11-19T00:00:00Z"}}}},
      {"failed",
       {{{"image", "win11"}, {"snapshot", "tuesday"}, {"error", "no route"}, {"refused", false}}}}};
  server.on("GET /api/status", status);
  EXPECT_EQ(run({"status"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("source      ssh://disks.example/srv, reachable, last seen "
                               "2026-11-20T13:45:00Z\n"
                               "trusted     the host key\n"
                               "pulling     win11@4 monday: receiving, 3.0 MiB, 1.0 MiB/s, against "
                               "sunday; nothing has come for 12 s\n"
                               "behind      win11: 2 snapshots not here, the oldest of "
                               "2026-11-19T00:00:00Z\n"
                               "failing     win11 tuesday: no route\n"));
  EXPECT_THAT(out(), Not(HasSubstr("\nmaster ")));
}

TEST_F(CliTest, WatchShowsTheStatusUntilItIsLeft) {
  server.on("GET /api/status", cache_status());
  int pauses = 0;
  fake.on_pause = [&] { return ++pauses < 3; };
  EXPECT_EQ(run({"status", "--watch"}), exit_done);
  EXPECT_EQ(pauses, 3);
}

TEST_F(CliTest, WaitsUntilAVersionIsComplete) {
  json arriving = version(2, "arriving");
  arriving["progress"] = {{"bytes_done", 1}, {"bytes_total", 2}};
  server.on("GET /api/images/win11/versions/latest", arriving);
  server.on("GET /api/images/win11/versions/2", arriving);
  fake.on_pause = [this] {
    server.on("GET /api/images/win11/versions/latest", version(3, "remote"));  // not waited for
    server.on("GET /api/images/win11/versions/2", version(2, "complete"));
    return true;
  };
  EXPECT_EQ(run({"wait", "win11"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("win11@2 is complete, 3.0 MiB\n"));
}

TEST_F(CliTest, WaitsForAVersionThatIsOnItsWayButNotForEver) {
  fake.on_pause = [this] {
    server.on("GET /api/images/win11/versions/2", version(2, "complete"));
    return true;
  };
  EXPECT_EQ(run({"wait", "win11@2"}), exit_done);
  server.forget("GET /api/images/win11/versions/2");
  fake.on_pause = [] { return true; };
  EXPECT_EQ(run({"wait", "win11@2"}), exit_not_found);
}

TEST_F(CliTest, WaitingEndsAtItsTimeout) {
  server.on("GET /api/images/win11/versions/2", version(2, "remote"));
  EXPECT_EQ(run({"wait", "win11@2", "--timeout", "1.5"}), exit_failed);
  EXPECT_THAT(errors(), HasSubstr("win11@2 was not complete within 1.5 s"));
}

TEST_F(CliTest, WhatIsNotThereHasAnExitCodeOfItsOwn) {
  EXPECT_EQ(run({"list", "win12"}), exit_not_found);
  EXPECT_THAT(errors(), HasSubstr("icbd: there is nothing at"));
}

TEST_F(CliTest, AServerThatIsNotThereHasAnExitCodeOfItsOwn) {
  server.stop();
  EXPECT_EQ(run({"list"}), exit_unreachable);
  EXPECT_THAT(errors(), HasSubstr(server.url()));
}

TEST_F(CliTest, TheServerOptionGoesOverTheEnvironment) {
  FakeServer other;
  other.on("GET /api/images", {{"images", json::array()}});
  EXPECT_EQ(run({"--server", other.url(), "list"}), exit_done);
  EXPECT_EQ(run({"--server", "nonsense", "list"}), exit_usage);
}

// A disk that is full.
TEST_F(CliTest, WhatCouldNotBeWrittenIsNoSuccess) {
  server.on("GET /api/images", {{"images", json::array()}});
  server.refuse("DELETE /api/images/win11/versions/1", ErrorCode::busy, "win11@1 is held");
  fake.out.setstate(std::ios::badbit);
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"list", "--json"}, {"config", "default", "--cache"}, {"--help"}}) {
    fake.errors.str("");
    EXPECT_EQ(run(command), exit_failed) << command.front();
    EXPECT_EQ(errors(),
              "icbd: standard output could not be written: what stands there is not all\n");
  }
  EXPECT_EQ(run({"drop", "win11@1"}), exit_refused) << "the first thing that went wrong";
}

TEST_F(CliTest, AnAnswerOfAnotherFormIsAnErrorNotACrash) {
  server.on("GET /api/images", {{"images", {{{"name", 7}}}}});
  EXPECT_EQ(run({"list"}), exit_failed);
  server.on("GET /api/images", json::array());
  EXPECT_EQ(run({"list"}), exit_failed);
}

TEST_F(CliTest, AMistypedCommandIsGuessed) {
  EXPECT_EQ(run({"pubish", "win11", "/disk", "-m", "m"}), exit_usage);
  EXPECT_THAT(errors(), HasSubstr("\"pubish\" is not a command or option of icbd; did you mean "
                                  "publish?"));
}

TEST_F(CliTest, AMistypedOptionIsGuessed) {
  EXPECT_EQ(run({"publish", "win11", "/disk", "--mesage", "m"}), exit_usage);
  EXPECT_THAT(errors(), HasSubstr("did you mean --message?"));
}

TEST_F(CliTest, MissingArgumentsAreUsageErrors) {
  EXPECT_EQ(run({}), exit_usage);
  EXPECT_EQ(run({"publish", "win11"}), exit_usage);
  EXPECT_EQ(run({"publish", "win11", "/disk"}), exit_usage);
  EXPECT_EQ(run({"wait", "win11", "--timeout", "soon"}), exit_usage);
}

TEST_F(CliTest, HelpAndVersionAreNoErrors) {
  EXPECT_EQ(run({"--help"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("publish"));
  EXPECT_EQ(run({"publish", "--help"}), exit_done);
  EXPECT_THAT(out(), HasSubstr("--no-wait"));
  EXPECT_EQ(run({"--version"}), exit_done);
  EXPECT_EQ(errors(), "");
}

}  // namespace
}  // namespace icbd::cli
