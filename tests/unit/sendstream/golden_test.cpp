// Streams of a real kernel (made by golden/make.sh) against their expected dumps.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "icbd/base/file.h"

#include "streams.h"

namespace icbd::sendstream {
namespace {

class Golden : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path file(const char* extension) const {
    return std::filesystem::path(ICBD_GOLDEN_STREAMS) / (std::string(GetParam()) + extension);
  }
};

TEST_P(Golden, DumpsAsExpected) {
  const auto stream = read_file(file(".stream"), 1 << 20);
  ASSERT_TRUE(stream) << stream.error().message();
  std::ifstream expected(file(".dump"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(expected, line);) lines.push_back(line);

  const Decoded decoded = decode_all(*stream, 4096);
  EXPECT_TRUE(decoded.status) << decoded.status.error().message();
  EXPECT_EQ(decoded.lines, lines);
}

TEST_P(Golden, SurvivesDecodingAndEncoding) {
  const auto stream = read_file(file(".stream"), 1 << 20);
  ASSERT_TRUE(stream) << stream.error().message();
  Decoder decoder;
  decoder.feed(*stream);
  Bytes again;
  while (!decoder.ended()) {
    const auto command = decoder.next();
    ASSERT_TRUE(command && *command);
    if (again.empty()) again = encode_header(decoder.version());
    const Bytes encoded = encode(**command, decoder.version()).value();
    again.insert(again.end(), encoded.begin(), encoded.end());
  }
  EXPECT_EQ(decode_all(again).lines, decode_all(*stream).lines);
}

INSTANTIATE_TEST_SUITE_P(Kernel, Golden,
                         testing::Values("full-v1", "full-v2", "incremental-v2", "shape-v1",
                                         "shape-v2"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace icbd::sendstream
