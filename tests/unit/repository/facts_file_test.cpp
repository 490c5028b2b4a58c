#include "facts_file.h"

#include <gtest/gtest.h>

#include "icbd/base/file.h"
#include "icbd/base/limits.h"

#include "harness/temporary_directory.h"

namespace icbd::repository {
namespace {

catalog::VersionFacts make_facts() {
  catalog::VersionFacts facts;
  facts.image = "disk";
  facts.number = VersionNumber(7);
  facts.uuid = Uuid::random();
  facts.manifest = sha256(facts.uuid.bytes);
  facts.parent = VersionNumber(5);
  facts.message = "grün \"and\"\n\xff\xc3";  // the last bytes are no UTF-8
  facts.published = {1'790'000'000, 999'999'999};
  facts.root = {01777, 1000, 4'000'000'000, {-5, 7}};
  facts.entries = 123'456;
  facts.file_bytes = UINT64_MAX;
  facts.data_bytes = UINT64_MAX - 1;
  facts.send_transaction = 42;
  facts.boot_directory = "boot\xff";
  facts.target_file = "disk.raw";
  return facts;
}

TEST(FactsFile, KeepsEveryFact) {
  KeptFacts kept{.facts = make_facts()};
  EXPECT_EQ(decode_facts(encode_facts(kept)).value(), kept);
  kept.facts.parent.reset();
  kept.place = {.path = "/srv/snap\xff shots/1", .subvolume = SubvolumeId(UINT64_MAX)};
  EXPECT_EQ(decode_facts(encode_facts(kept)).value(), kept);
}

TEST(FactsFile, KeepsTheLongestMessageOfAnyBytes) {
  const auto directory = harness::TemporaryDirectory::create().value();
  for (const char byte : {'\0', '\x1f', '"', '\xff'}) {
    KeptFacts kept{.facts = make_facts()};
    kept.facts.message.assign(limits::message_length, byte);
    kept.place = {.path = std::string(limits::path_length, byte), .subvolume = SubvolumeId(1)};
    ASSERT_TRUE(write_facts(directory.path() / "facts", kept));
    EXPECT_EQ(read_facts(directory.path() / "facts").value(), kept);
  }
}

TEST(FactsFile, RefusesWhatIsTruncatedAnywhere) {
  const std::string text = encode_facts({.facts = make_facts()});
  for (std::size_t length = 0; length + 2 < text.size(); ++length)
    EXPECT_FALSE(decode_facts(text.substr(0, length))) << length;
}

TEST(FactsFile, RefusesAnotherFormatByName) {
  std::string text = encode_facts({.facts = make_facts()});
  text.replace(text.find("\"format\": 1"), 11, "\"format\": 2");
  EXPECT_EQ(decode_facts(text).error().code(), ErrorCode::unsupported);
}

TEST(FactsFile, RefusesOtherJson) {
  for (const char* text : {"{}", "[]", "7", "null", R"({"format": "1"})"})
    EXPECT_EQ(decode_facts(text).error().code(), ErrorCode::corrupt) << text;
}

TEST(FactsFile, KeepsTheRepositorysUuid) {
  const auto directory = harness::TemporaryDirectory::create().value();
  const Uuid uuid = Uuid::random();
  ASSERT_TRUE(write_repository_uuid(directory.path() / "repository.json", uuid));
  EXPECT_EQ(read_repository_uuid(directory.path() / "repository.json").value(), uuid);
}

}  // namespace
}  // namespace icbd::repository
