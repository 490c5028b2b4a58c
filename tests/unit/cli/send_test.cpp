// `icbd send` of a server's version, as whole command lines, in this process.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "icbd/base/file.h"
#include "icbd/cli/cli.h"
#include "icbd/codec/stream.h"

#include "fake_server.h"
#include "harness/temporary_directory.h"

namespace icbd::cli {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::FakeTerminal;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A server with one version, of which it streams what the test says.
class SendCommand : public ::testing::Test {
 protected:
  SendCommand() {
    harness::Listener listener;
    url_ = listener.url();
    server_.emplace(
        std::move(listener.socket),
        [this](const rest::Request& request) { return answer(request); }, make_silent_logger(),
        rest::HttpServerOptions{.threads = 1});
  }
  ~SendCommand() override { server_.reset(); }

  Result<rest::Response> answer(const rest::Request& request) {
    const bool is_stream = request.path.back() == "stream";
    if (request.path.size() < 5 || request.path[2] != "win11" ||
        (is_stream ? request.path[4] != "3" : request.path[4] != "stable"))
      return fail(ErrorCode::not_found, "there is no such version");
    if (!is_stream) return rest::Response{.body = testing::version(3, "complete")};
    for (const auto& [key, value] : request.query) query_.push_back(key + "=" + value);
    return rest::Response{.stream = writer_};
  }

  int run(std::vector<std::string> arguments, bool errors_interactive = false) {
    const Terminal shown = fake_.terminal();
    const Terminal terminal{.out = shown.out,
                            .errors = shown.errors,
                            .errors_interactive = errors_interactive,
                            .clock = shown.clock,
                            .pause = shown.pause};
    arguments.insert(arguments.begin(), "send");
    return cli::run(
        arguments,
        {.server = url_, .working_directory = "/", .input_fd = -1, .output_fd = output_.get()},
        terminal);
  }
  std::string file() const { return (folder_->path() / "stream").string(); }
  std::string content() const {
    std::ifstream stream(file());
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  std::string out() const { return fake_.out.str(); }
  std::string errors() const { return fake_.errors.str(); }

  rest::BodyWriter writer_ = [](const rest::BodySink& sink) -> Status {
    for (int i = 0; i < 100; ++i) ICBD_TRY(sink(as_bytes(std::string(10'000, 's'))));
    return {};
  };
  const std::string all_ = std::string(1'000'000, 's');
  std::vector<std::string> query_;
  std::string url_;
  Result<harness::TemporaryDirectory> folder_ = harness::TemporaryDirectory::create();
  unique_fd output_;
  FakeTerminal fake_;
  std::optional<rest::HttpServer> server_;
};

TEST_F(SendCommand, WritesTheStreamIntoAFile) {
  EXPECT_EQ(run({"win11@stable", "-f", file()}), exit_done) << errors();
  EXPECT_EQ(content(), all_);
  EXPECT_THAT(query_, ElementsAre("proto=1"));
  EXPECT_EQ(out() + errors(), "");
}

TEST_F(SendCommand, AsksForWhatItWasToldTo) {
  EXPECT_EQ(run({"win11@stable", "-f", file(), "-p", "2", "-c", "win11@1", "-c", "testing",
                 "--compressed-data", "--no-data"}),
            exit_done)
      << errors();
  EXPECT_THAT(query_, ElementsAre("proto=2", "parent=2", "clone=1", "clone=testing",
                                  "compressed_data=1", "no_data=1"));
  query_.clear();
  EXPECT_EQ(run({"-c", "1", "-c", "2", "win11@stable", "-q", "-f", file()}), exit_done) << errors();
  EXPECT_THAT(query_, ElementsAre("proto=1", "clone=1", "clone=2"));
  query_.clear();
  EXPECT_EQ(run({"win11@stable", "-f", file(), "--proto", "0"}), exit_done);
  EXPECT_THAT(query_, ElementsAre("proto=0"));
}

TEST_F(SendCommand, WhatIsMistypedIsSaidBeforeAnythingIsWritten) {
  EXPECT_EQ(run({"win11", "-f", file()}), exit_usage);
  EXPECT_EQ(run({"win11@stable", "-f", file(), "-p", "win10@2"}), exit_usage);
  EXPECT_THAT(errors(), HasSubstr("win10@2 is not a version of win11"));
  EXPECT_EQ(run({"win11@stable", "-f", file(), "--proto", "two"}), exit_usage);
  EXPECT_EQ(run({"win11@stable", "-f", file(), "--compress", "zst"}), exit_usage);
  EXPECT_EQ(run({"win11@stable", "-f", file(), "--compress", "zlib:77"}), exit_usage);
  EXPECT_EQ(run({"win11@stable", "--json"}), exit_usage);
  EXPECT_EQ(run({"win11@wrong", "-f", file()}), exit_not_found);
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(SendCommand, GoesToStandardOutputButNotToATerminal) {
  output_ = open_file(file(), O_WRONLY | O_CREAT, 0600).value();
  EXPECT_EQ(run({"win11@stable"}), exit_done) << errors();
  EXPECT_EQ(content(), all_);

  output_ = unique_fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(output_);
  EXPECT_EQ(run({"win11@stable"}), exit_usage);
  EXPECT_THAT(errors(), HasSubstr("is a terminal"));
  EXPECT_EQ(run({"win11@stable", "-f", "-"}), exit_usage);
}

TEST_F(SendCommand, PacksTheWholeStream) {
  for (const std::string codec : {"zstd:1", "lz4", "zlib", "snappy"}) {
    EXPECT_EQ(run({"win11@stable", "-f", file(), "--compress", codec}), exit_done) << errors();
    const std::string packed = content();
    EXPECT_LT(packed.size(), all_.size() / 10) << codec;
    const auto container = codec::detect_container(as_bytes(packed));
    EXPECT_EQ(container, codec::parse_setting(codec)->algorithm);
    std::string plain;
    const auto unpacker = codec::make_stream_unpacker(container).value();
    EXPECT_TRUE(unpacker->unpack(as_bytes(packed), [&](ByteView piece) -> Status {
      plain += as_text(piece);
      return {};
    }));
    EXPECT_TRUE(unpacker->finish());
    EXPECT_EQ(plain, all_) << codec;
  }
}

TEST_F(SendCommand, SaysWhatWasSent) {
  EXPECT_EQ(run({"win11@stable", "-f", file(), "-v", "--compress", "zstd"}), exit_done);
  EXPECT_THAT(errors(), HasSubstr("sent win11@3: 976.6 KiB in "));
  EXPECT_THAT(errors(), HasSubstr(", packed to "));
  EXPECT_EQ(run({"win11@stable", "-f", file(), "--json"}), exit_done);
  const json answer = json::parse(out());
  EXPECT_EQ(answer["bytes"], all_.size());
  EXPECT_EQ(answer["bytes_written"], all_.size());
  EXPECT_EQ(answer["version"]["number"], 3);
}

TEST_F(SendCommand, ProgressIsForTheTerminalOfErrors) {
  EXPECT_EQ(run({"win11@stable", "-f", file()}, true), exit_done);
  EXPECT_THAT(errors(), HasSubstr("sending win11@3"));
  EXPECT_THAT(errors(), HasSubstr("of 3.0 MiB")) << "what the server says that it holds";
  const std::size_t before = errors().size();
  EXPECT_EQ(run({"win11@stable", "-q", "-f", file()}, true), exit_done);
  EXPECT_EQ(errors().size(), before);
}

TEST_F(SendCommand, AStreamThatBreaksLeavesNoFile) {
  writer_ = [](const rest::BodySink& sink) -> Status {
    ICBD_TRY(sink(as_bytes("half")));
    return fail(ErrorCode::io, "the disk is broken");
  };
  EXPECT_EQ(run({"win11@stable", "-f", file()}), exit_unreachable);
  EXPECT_THAT(errors(), HasSubstr("stops before its end"));
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(SendCommand, AnErrorOfTheServerKeepsItsCode) {
  writer_ = [](const rest::BodySink&) { return fail(ErrorCode::busy, "too many at once"); };
  EXPECT_EQ(run({"win11@stable", "-f", file()}), exit_refused);
  EXPECT_THAT(errors(), HasSubstr("too many at once"));
  EXPECT_FALSE(std::filesystem::exists(file()));
}

TEST_F(SendCommand, AFullDiskIsSaid) {
  EXPECT_EQ(run({"win11@stable", "-f", "/dev/full"}), exit_failed);
  EXPECT_THAT(errors(), HasSubstr("No space left"));
  EXPECT_TRUE(std::filesystem::exists("/dev/full"));
}

}  // namespace
}  // namespace icbd::cli
