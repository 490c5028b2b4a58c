#include "icbd/catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "icbd/base/limits.h"

#include "unit/catalog/database.h"

namespace icbd::catalog {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

VersionFacts make_facts(std::string image, std::uint32_t number) {
  VersionFacts facts;
  facts.image = std::move(image);
  facts.number = VersionNumber(number);
  facts.uuid = Uuid::random();
  facts.manifest = sha256(facts.uuid.bytes);
  if (number > 1) facts.parent = VersionNumber(number - 1);
  facts.message = "It's \"new\"; DROP TABLE versions;\nwith grün";
  facts.published = {1'790'000'000, 999'999'999};
  facts.root = {01777, 1000, 4'000'000'000, {-5, 7}};
  facts.entries = 123'456;
  facts.file_bytes = UINT64_MAX;  // SQLite's own integers are signed
  facts.data_bytes = UINT64_MAX - 1;
  facts.send_transaction = 42;
  return facts;
}

class CatalogTest : public CatalogFileTest {
 protected:
  VersionSerial add(const VersionFacts& facts, VersionState state = VersionState::complete) {
    const auto serial = catalog_->add_version(facts, state);
    EXPECT_TRUE(serial) << serial.error().message();
    return serial.value_or(VersionSerial());
  }
  // What the change number grows by while `action` runs.
  std::uint64_t changes(const std::function<void()>& action) {
    const std::uint64_t before = catalog_->change_number().value();
    action();
    return catalog_->change_number().value() - before;
  }
  void reopen() {
    catalog_.reset();
    catalog_ = open();
  }

  std::unique_ptr<Catalog> catalog_ = open();
};

TEST_F(CatalogTest, BeginsEmpty) {
  EXPECT_THAT(catalog_->images().value(), IsEmpty());
  EXPECT_THAT(catalog_->versions().value(), IsEmpty());
  EXPECT_THAT(catalog_->versions("win11").value(), IsEmpty());
  EXPECT_EQ(catalog_->next_number("win11").value(), VersionNumber(1));
  EXPECT_EQ(catalog_->version("win11", VersionNumber(1)).error().code(), ErrorCode::not_found);
  EXPECT_EQ(catalog_->version(VersionSerial(1)).error().code(), ErrorCode::not_found);
}

TEST_F(CatalogTest, HasOneIdentityForItsWholeLife) {
  const NodeIdentity identity = catalog_->identity();
  EXPECT_FALSE(identity.uuid.is_null());
  EXPECT_FALSE(identity.epoch.is_null());
  EXPECT_NE(identity.epoch, identity.uuid);
  reopen();
  EXPECT_EQ(catalog_->identity().uuid, identity.uuid);
  EXPECT_EQ(catalog_->identity().epoch, identity.epoch);
}

TEST_F(CatalogTest, RemembersTheSourceThatItFollows) {
  EXPECT_EQ(catalog_->followed_source().value(), std::nullopt);
  FollowedSource source{Uuid::random(), Uuid::random(), UINT64_MAX};
  ASSERT_TRUE(catalog_->set_followed_source(source));
  source.change_number = 3;  // after the master's catalog came back from a backup
  EXPECT_EQ(changes([&] { ASSERT_TRUE(catalog_->set_followed_source(source)); }), 0u);
  reopen();
  EXPECT_EQ(catalog_->followed_source().value(), source);
}

TEST_F(CatalogTest, FollowsNoSourceWithoutIdentity) {
  for (const FollowedSource& source :
       {FollowedSource{Uuid{}, Uuid::random(), 1}, FollowedSource{Uuid::random(), Uuid{}, 1}})
    EXPECT_EQ(catalog_->set_followed_source(source).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(catalog_->followed_source().value(), std::nullopt);
}

TEST_F(CatalogTest, KeepsEveryFactAcrossOpens) {
  const VersionFacts first = make_facts("win11", 1), second = make_facts("win11", 2);
  const VersionSerial first_serial = add(first);
  const VersionSerial second_serial = add(second, VersionState::arriving);
  ASSERT_TRUE(catalog_->begin_arrival(second_serial, first_serial));
  const std::uint64_t change_number = catalog_->change_number().value();
  reopen();
  const Version complete = catalog_->version("win11", VersionNumber(1)).value();
  EXPECT_EQ(complete.serial, first_serial);
  EXPECT_EQ(complete.facts, first);
  EXPECT_EQ(complete.state, VersionState::complete);
  EXPECT_FALSE(complete.shaped);
  EXPECT_EQ(complete.shape_parent, std::nullopt);
  const Version arriving = catalog_->version(second_serial).value();
  EXPECT_EQ(arriving.facts, second);
  EXPECT_EQ(arriving.state, VersionState::arriving);
  EXPECT_TRUE(arriving.shaped);
  EXPECT_EQ(arriving.shape_parent, first_serial);
  EXPECT_EQ(catalog_->change_number().value(), change_number);
}

TEST_F(CatalogTest, ListsByImageAndNumber) {
  for (const auto& [image, number] : {std::pair("b", 2), {"a", 10}, {"b", 1}, {"a", 9}})
    add(make_facts(image, static_cast<std::uint32_t>(number)));
  ASSERT_TRUE(catalog_->add_image("empty"));
  EXPECT_THAT(catalog_->images().value(), ElementsAre("a", "b", "empty"));
  std::vector<std::string> names;
  const auto versions = catalog_->versions().value();
  for (const Version& version : versions)
    names.push_back(version.facts.image + std::to_string(version.facts.number.value()));
  EXPECT_THAT(names, ElementsAre("a9", "a10", "b1", "b2"));
  EXPECT_EQ(catalog_->versions("b").value().size(), 2u);
  EXPECT_THAT(catalog_->versions("empty").value(), IsEmpty());
}

TEST_F(CatalogTest, RefusesAnImageThatIsThere) {
  ASSERT_TRUE(catalog_->add_image("win11"));
  EXPECT_EQ(catalog_->add_image("win11").error().code(), ErrorCode::already_exists);
  EXPECT_TRUE(catalog_->add_image("Win11"));
  EXPECT_EQ(catalog_->add_image("latest").error().code(), ErrorCode::invalid_argument);
}

TEST_F(CatalogTest, SaysWhatAVersionCollidesWith) {
  const VersionFacts facts = make_facts("win11", 1);
  add(facts);
  const auto refused = [this](const VersionFacts& other) {
    std::string message;
    EXPECT_EQ(changes([&] {
                const auto added = catalog_->add_version(other, VersionState::remote);
                ASSERT_FALSE(added);
                EXPECT_EQ(added.error().code(), ErrorCode::already_exists);
                message = added.error().message();
              }),
              0u);
    return message;
  };
  EXPECT_THAT(refused(facts), HasSubstr("win11@1 is here already, with the same"));

  const VersionFacts same_number = make_facts("win11", 1);
  EXPECT_THAT(refused(same_number), HasSubstr("win11@1 is here already with UUID"));
  EXPECT_THAT(refused(same_number), HasSubstr(facts.manifest.to_string()));

  VersionFacts same_uuid = make_facts("other", 7);
  same_uuid.uuid = facts.uuid;
  EXPECT_THAT(refused(same_uuid), HasSubstr("belongs to win11@1"));
  EXPECT_THAT(catalog_->images().value(), ElementsAre("win11"));  // nothing is left of it
}

TEST_F(CatalogTest, RefusesFactsThatCannotBe) {
  const auto refused = [this](const std::function<void(VersionFacts&)>& spoil) {
    VersionFacts facts = make_facts("win11", 1);
    spoil(facts);
    const auto added = catalog_->add_version(facts, VersionState::complete);
    EXPECT_FALSE(added);
    return !added && added.error().code() == ErrorCode::invalid_argument;
  };
  EXPECT_TRUE(refused([](auto& facts) { facts.image = "../etc"; }));
  EXPECT_TRUE(refused([](auto& facts) { facts.number = VersionNumber(0); }));
  EXPECT_TRUE(refused([](auto& facts) { facts.parent = VersionNumber(0); }));
  EXPECT_TRUE(refused([](auto& facts) { facts.uuid = Uuid{}; }));
  EXPECT_TRUE(refused([](auto& facts) { facts.message.assign(limits::message_length + 1, 'm'); }));
  EXPECT_TRUE(refused([](auto& facts) { facts.root.mode = 040755; }));
  EXPECT_TRUE(refused([](auto& facts) { facts.published.nanoseconds = 1'000'000'000; }));
  EXPECT_TRUE(refused([](auto& facts) { facts.root.modified.nanoseconds = 1'000'000'000; }));
  EXPECT_THAT(catalog_->images().value(), IsEmpty());
}

TEST_F(CatalogTest, NeverUsesANumberTwice) {
  add(make_facts("win11", 1));
  add(make_facts("win11", 7));
  add(make_facts("win11", 3));
  EXPECT_EQ(catalog_->next_number("win11").value(), VersionNumber(8));
  catalog_.reset();
  sql("DELETE FROM versions");
  catalog_ = open();
  EXPECT_EQ(catalog_->next_number("win11").value(), VersionNumber(8));
}

TEST_F(CatalogTest, SaysWhenAllNumbersAreUsed) {
  add(make_facts("win11", UINT32_MAX));
  EXPECT_EQ(catalog_->next_number("win11").error().code(), ErrorCode::too_large);
}

TEST_F(CatalogTest, NeverUsesASerialTwice) {
  const VersionSerial first = add(make_facts("win11", 1));
  catalog_.reset();
  sql("DELETE FROM versions");
  catalog_ = open();
  EXPECT_GT(add(make_facts("win11", 2)), first);
}

TEST_F(CatalogTest, SaysWhenAllSerialsAreUsed) {
  add(make_facts("win11", 1));
  catalog_.reset();
  sql("UPDATE sqlite_sequence SET seq = " + std::to_string(limits::version_serial - 1));
  catalog_ = open();
  EXPECT_EQ(add(make_facts("win11", 2)), VersionSerial(limits::version_serial));
  const auto added = catalog_->add_version(make_facts("win11", 3), VersionState::complete);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::too_large);
  EXPECT_EQ(catalog_->next_number("win11").value(), VersionNumber(3));
}

TEST_F(CatalogTest, FollowsAnArrivalToItsEnd) {
  const VersionSerial parent = add(make_facts("win11", 1));
  const VersionSerial serial = add(make_facts("win11", 2), VersionState::remote);
  ASSERT_TRUE(catalog_->set_state(serial, VersionState::arriving));
  EXPECT_FALSE(catalog_->version(serial)->shaped);
  ASSERT_TRUE(catalog_->begin_arrival(serial, parent));
  EXPECT_TRUE(catalog_->version(serial)->shaped);
  ASSERT_TRUE(catalog_->set_state(serial, VersionState::complete));
  const Version version = catalog_->version(serial).value();
  EXPECT_EQ(version.state, VersionState::complete);
  EXPECT_FALSE(version.shaped);
  EXPECT_EQ(version.shape_parent, std::nullopt);
}

TEST_F(CatalogTest, ForgetsAnArrivalThatIsCleared) {
  const VersionSerial parent = add(make_facts("win11", 1));
  const VersionSerial serial = add(make_facts("win11", 2), VersionState::arriving);
  ASSERT_TRUE(catalog_->begin_arrival(serial, parent));
  ASSERT_TRUE(catalog_->clear_arrival(serial));
  EXPECT_EQ(catalog_->version(serial)->state, VersionState::remote);
  EXPECT_FALSE(catalog_->version(serial)->shaped);
  ASSERT_TRUE(catalog_->set_state(serial, VersionState::arriving));
  EXPECT_FALSE(catalog_->version(serial)->shaped);
}

TEST_F(CatalogTest, ShapesOnlyWhatIsArriving) {
  const VersionSerial complete = add(make_facts("win11", 1));
  const VersionSerial arriving = add(make_facts("win11", 2), VersionState::arriving);
  EXPECT_EQ(catalog_->begin_arrival(complete, {}).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(catalog_->begin_arrival(arriving, VersionSerial(99)).error().code(),
            ErrorCode::not_found);
  EXPECT_TRUE(catalog_->begin_arrival(arriving, std::nullopt));  // against nothing
  EXPECT_EQ(catalog_->version(complete)->state, VersionState::complete);
}

TEST_F(CatalogTest, AShapeMakesARemoteVersionArriving) {
  const VersionSerial remote = add(make_facts("win11", 1), VersionState::remote);
  EXPECT_EQ(changes([&] { ASSERT_TRUE(catalog_->begin_arrival(remote, std::nullopt)); }), 1u);
  EXPECT_EQ(catalog_->version(remote)->state, VersionState::arriving);
  EXPECT_TRUE(catalog_->version(remote)->shaped);
}

TEST_F(CatalogTest, KnowsNoOtherSerials) {
  const VersionSerial unknown(99);
  EXPECT_EQ(catalog_->set_state(unknown, VersionState::remote).error().code(),
            ErrorCode::not_found);
  EXPECT_EQ(catalog_->begin_arrival(unknown, {}).error().code(), ErrorCode::not_found);
  EXPECT_EQ(catalog_->clear_arrival(unknown).error().code(), ErrorCode::not_found);
}

TEST_F(CatalogTest, CountsChangesAndNothingElse) {
  EXPECT_EQ(changes([&] { ASSERT_TRUE(catalog_->add_image("empty")); }), 1u);
  VersionSerial serial;
  EXPECT_EQ(changes([&] { serial = add(make_facts("win11", 1), VersionState::remote); }), 1u);
  EXPECT_EQ(changes([&] { ASSERT_TRUE(catalog_->set_state(serial, VersionState::remote)); }), 0u);
  EXPECT_EQ(changes([&] { ASSERT_TRUE(catalog_->set_state(serial, VersionState::arriving)); }), 1u);
  EXPECT_EQ(changes([&] { ASSERT_TRUE(catalog_->begin_arrival(serial, {})); }), 1u);
  EXPECT_EQ(changes([&] { ASSERT_TRUE(catalog_->set_state(serial, VersionState::complete)); }), 1u);
  EXPECT_EQ(changes([&] { ASSERT_TRUE(catalog_->versions()); }), 0u);
}

TEST_F(CatalogTest, KeepsThePlaceOfAnAdoptedVersion) {
  const AdoptedPlace place{.path = "/srv/snapshots/win11.20260101", .subvolume = SubvolumeId(300)};
  const auto serial = catalog_->add_version(make_facts("win11", 1), VersionState::complete, place);
  ASSERT_TRUE(serial);
  add(make_facts("win11", 2));
  reopen();
  EXPECT_EQ(catalog_->version(*serial)->place, place);
  EXPECT_EQ(catalog_->version("win11", VersionNumber(2))->place, std::nullopt);
}

TEST_F(CatalogTest, KeepsWhatIsToBeAdoptedInItsOrder) {
  const auto adoption = [](const std::string& path) {
    return Adoption{.id = 0,
                    .job = 0,
                    .image = "win11",
                    .place = {.path = path, .subvolume = SubvolumeId(300)},
                    .uuid = Uuid::random()};
  };
  const std::vector<Adoption> first = {adoption("/b"), adoption("/a")};
  const std::uint64_t job = catalog_->add_adoptions(first).value();
  const std::uint64_t other = catalog_->add_adoptions({adoption("/c")}).value();
  EXPECT_NE(job, other);
  reopen();
  const auto adoptions = catalog_->adoptions().value();
  ASSERT_EQ(adoptions.size(), 3u);
  EXPECT_EQ(adoptions[0].place, first[0].place);
  EXPECT_EQ(adoptions[0].uuid, first[0].uuid);
  EXPECT_EQ(adoptions[1].place.path, "/a");
  EXPECT_EQ(adoptions[1].job, job);
  EXPECT_EQ(adoptions[2].job, other);
  for (const Adoption& each : adoptions) ASSERT_TRUE(catalog_->remove_adoption(each.id));
  EXPECT_THAT(catalog_->adoptions().value(), IsEmpty());
  EXPECT_GT(catalog_->add_adoptions({adoption("/d")}).value(), other);
}

TEST_F(CatalogTest, IsThreadSafe) {
  constexpr std::uint32_t versions = 50;
  const std::uint64_t before = catalog_->change_number().value();
  const auto publish = [this](const std::string& image) {
    for (std::uint32_t i = 0; i < versions; ++i) {
      const auto number = catalog_->next_number(image);
      ASSERT_TRUE(number);
      const auto serial =
          catalog_->add_version(make_facts(image, number->value()), VersionState::arriving);
      ASSERT_TRUE(serial) << serial.error().message();
      EXPECT_TRUE(catalog_->set_state(*serial, VersionState::complete));
      EXPECT_GE(catalog_->versions().value().size(), i);
    }
  };
  {
    const std::jthread first(publish, "first"), second(publish, "second");
  }
  EXPECT_EQ(catalog_->versions("first").value().size(), versions);
  EXPECT_EQ(catalog_->versions("second").value().size(), versions);
  EXPECT_EQ(catalog_->change_number().value(), before + 2 * 2 * versions);
}

// A person, or a script, that writes past the daemon.
TEST_F(CatalogTest, NobodyElseWritesWhileItIsOpen) {
  add(make_facts("win11", 1));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(file_.c_str(), &other), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE; DELETE FROM versions", nullptr, nullptr, nullptr),
            SQLITE_BUSY);
  EXPECT_EQ(catalog_->versions().value().size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(file_.string() + "-shm"))
      << "a mapped file on a full disk ends the process that writes to it";
  sqlite3_close(other);
}

}  // namespace
}  // namespace icbd::catalog
