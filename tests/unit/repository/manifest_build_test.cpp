// What stands in a published manifest, held against the files themselves.
#include <sys/stat.h>

#include <map>

#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using manifest::Entry;
using manifest::EntryType;

class ManifestBuildTest : public RepositoryTest {
 protected:
  // Publishes what the script makes; the entries by path.
  std::map<std::string, Entry> entries_after(const std::string& script) {
    in_live(script);
    report_ = publish_live();
    std::map<std::string, Entry> entries;
    for (Entry& entry : entries_of(report_.version)) entries[entry.path] = entry;
    return entries;
  }

  PublishReport report_;
};

TEST_F(ManifestBuildTest, EveryTypeIsThere) {
  const auto entries = entries_after(
      "mkdir d; touch d/file; ln -s a/target soft; mkfifo fifo\n"
      "mknod char c 4 5; mknod block b 6 70000\n"
      "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"sock\")'");
  EXPECT_EQ(entries.at("").type, EntryType::directory);
  EXPECT_EQ(entries.at("d").type, EntryType::directory);
  EXPECT_EQ(entries.at("d/file").type, EntryType::file);
  EXPECT_EQ(entries.at("soft").type, EntryType::symlink);
  EXPECT_EQ(entries.at("soft").target, "a/target");
  EXPECT_EQ(entries.at("fifo").type, EntryType::fifo);
  EXPECT_EQ(entries.at("sock").type, EntryType::socket);
  EXPECT_EQ(entries.at("char").type, EntryType::character_device);
  EXPECT_EQ(entries.at("char").device_major, 4u);
  EXPECT_EQ(entries.at("char").device_minor, 5u);
  EXPECT_EQ(entries.at("block").type, EntryType::block_device);
  EXPECT_EQ(entries.at("block").device_minor, 70000u);
}

TEST_F(ManifestBuildTest, MetadataIsThere) {
  const auto entries = entries_after(
      "touch file; chown 12:34 file; chmod 6751 file\n"
      "touch -d @1000000000.123456789 file; chown -h 5:6 .");
  const Entry& file = entries.at("file");
  EXPECT_EQ(file.mode, 06751u);
  EXPECT_EQ(file.uid, 12u);
  EXPECT_EQ(file.gid, 34u);
  EXPECT_EQ(file.modified, (Timestamp{1000000000, 123456789}));
  EXPECT_EQ(entries.at("").uid, 5u);
  EXPECT_EQ(report_.version.facts.root.gid, 6u);
}

TEST_F(ManifestBuildTest, ExtendedAttributesAreSortedAndAlsoOfSymlinks) {
  const auto entries = entries_after(
      "touch file; ln -s nowhere soft; cp /bin/true tool\n"
      "setfattr -n user.b -v 2 file; setfattr -n user.a -v 1 file; setfattr -n user.empty file\n"
      "setfattr -h -n trusted.link -v x soft; setcap cap_net_raw+ep tool");
  const auto names = [&](const std::string& path) {
    std::vector<std::string> result;
    for (const auto& xattr : entries.at(path).xattrs) result.push_back(xattr.name);
    return result;
  };
  EXPECT_EQ(names("file"), (std::vector<std::string>{"user.a", "user.b", "user.empty"}));
  EXPECT_EQ(names("soft"), std::vector<std::string>{"trusted.link"});
  EXPECT_EQ(names("tool"), std::vector<std::string>{"security.capability"});
  EXPECT_EQ(as_text(entries.at("file").xattrs[1].value), "2");
}

TEST_F(ManifestBuildTest, InodeAttributesAreThere) {
  // Immutable files go with their subvolume: deleting a snapshot asks nobody.
  const auto entries = entries_after(
      "touch immutable append nodump; chattr +i immutable; chattr +a append; chattr +d nodump");
  in_live("chattr -i immutable; chattr -a append");
  EXPECT_EQ(entries.at("immutable").attributes, manifest::attribute_immutable);
  EXPECT_EQ(entries.at("append").attributes, manifest::attribute_append_only);
  EXPECT_EQ(entries.at("nodump").attributes, manifest::attribute_no_dump);
}

TEST_F(ManifestBuildTest, TheFirstNameInOrderHasTheInodeTheOthersNameIt) {
  const auto entries = entries_after("mkdir d; echo x > z; ln z d/b; ln z a.txt; mkfifo p; ln p q");
  EXPECT_EQ(entries.at("a.txt").type, EntryType::file);
  EXPECT_EQ(entries.at("a.txt").size, 2u);
  EXPECT_EQ(entries.at("d/b").type, EntryType::hard_link);
  EXPECT_EQ(entries.at("d/b").target, "a.txt");
  EXPECT_EQ(entries.at("z").target, "a.txt");
  EXPECT_EQ(entries.at("q").type, EntryType::hard_link);
  EXPECT_EQ(entries.at("q").target, "p");
}

TEST_F(ManifestBuildTest, DigestsAreThoseOfTheBytes) {
  const auto entries = entries_after(
      "head -c 20000001 /dev/urandom > file\n"
      "fallocate --punch-hole --offset 1M --length 3M file; printf x > tiny; touch empty");
  const auto pages = repository_->pages("disk", VersionNumber(1));
  const auto reader = manifest::Reader::open(**pages, report_.version.facts.manifest);
  ASSERT_TRUE(reader) << reader.error().message();
  for (const char* path : {"file", "tiny", "empty"}) {
    const auto content = read_file(live() / path, 1u << 30);
    ASSERT_TRUE(content);
    const Entry& entry = entries.at(path);
    ASSERT_EQ(entry.size, content->size());
    for (std::uint32_t chunk = 0; chunk < entry.chunk_count(); ++chunk) {
      const ByteRange range = entry.chunk_range(ChunkIndex(chunk));
      const auto digest = reader->chunk_digest(entry, ChunkIndex(chunk));
      ASSERT_TRUE(digest) << digest.error().message();
      EXPECT_EQ(*digest, sha256(ByteView(*content).subspan(range.offset, range.length)))
          << path << " chunk " << chunk;
    }
  }
}

TEST_F(ManifestBuildTest, NamesThatSortOddly) {
  const auto entries = entries_after(
      "mkdir a a.d 'a b'; touch a/x a.d/y 'a b/z' a-b \"$(printf 'new\\nline')\" 'back\\slash'\n"
      "touch \"$(printf '\\377\\376')\"");
  EXPECT_EQ(entries.size(), 11u);
  EXPECT_TRUE(entries.contains("new\nline"));
  EXPECT_TRUE(entries.contains("\377\376"));
}

TEST_F(ManifestBuildTest, DeepTrees) {
  const auto entries =
      entries_after("for i in $(seq 300); do mkdir deeper; cd deeper; done; echo x > file");
  EXPECT_EQ(entries.size(), 302u);
}

TEST_F(ManifestBuildTest, TheSameTreeHasTheSameManifest) {
  in_live("mkdir d; head -c 1M /dev/urandom > d/file; ln d/file link");
  const PublishReport first = publish_live("one");
  const PublishReport second = publish_live("two");
  EXPECT_EQ(first.version.facts.manifest, second.version.facts.manifest);
  EXPECT_NE(first.version.facts.uuid, second.version.facts.uuid);
}

}  // namespace
}  // namespace icbd::repository
