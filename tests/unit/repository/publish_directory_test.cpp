// Publishing a directory: the version is the directory, and shares with the version before what is
// the same.

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <atomic>
#include <thread>

#include "icbd/btrfs/file_extents.h"

#include "harness/random_tree.h"
#include "harness/temporary_directory.h"
#include "harness/tree.h"
#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PublishDirectoryTest : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    if (!repository_) return;
    std::filesystem::create_directory(near());
  }
  // On the repository's filesystem; far() is on another.
  std::filesystem::path near() const { return path() / "near"; }
  std::filesystem::path far() const { return folder_.path() / "far"; }
  std::filesystem::path version(int number) const {
    return directory() / "disk" / std::to_string(number);
  }

  static void in(const std::filesystem::path& folder, const std::string& script) {
    std::filesystem::create_directories(folder);
    const auto done = harness::shell_checked(fmt::format("cd '{}'\n{}", folder.string(), script));
    ASSERT_TRUE(done) << done.error().message();
  }
  Result<PublishReport> try_it(PublishRequest request) {
    PublishProgress progress;
    request.image = "disk";
    return publish(*repository_, request, progress);
  }
  PublishReport publish_it(PublishRequest request) {
    auto report = try_it(std::move(request));
    EXPECT_TRUE(report) << report.error().message();
    return report ? std::move(*report) : PublishReport{};
  }
  std::string refused(PublishRequest request) {
    const auto report = try_it(std::move(request));
    EXPECT_FALSE(report);
    // Nothing half-made stays, whatever was refused.
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(directory() / "disk", none)) {
      EXPECT_FALSE(entry.path().filename().string().starts_with(".")) << entry.path();
    }
    return report ? "it was published" : report.error().message();
  }
  // The bytes of a file that two versions have on the same extents.
  static std::uint64_t shared_bytes(const std::filesystem::path& a,
                                    const std::filesystem::path& b) {
    std::vector<std::vector<btrfs::FileExtent>> layouts;
    for (const auto& file : {a, b}) {
      const auto fd = open_file(file, O_RDONLY);
      struct stat status{};
      fstat(fd->get(), &status);
      auto layout = btrfs::file_extents(fd->get(), InodeNumber(status.st_ino),
                                        {0, static_cast<std::uint64_t>(status.st_size)});
      EXPECT_TRUE(layout);
      layouts.push_back(std::move(*layout));
    }
    std::uint64_t bytes = 0;
    for (const auto& one : layouts[0])
      for (const auto& other : layouts[1])
        if (one.kind == btrfs::FileExtent::Kind::shared && one.kind == other.kind &&
            one.disk - one.range.offset + one.disk_offset ==
                other.disk - other.range.offset + other.disk_offset)
          bytes += intersect(one.range, other.range).length;
    return bytes;
  }

  harness::TemporaryDirectory folder_ = harness::TemporaryDirectory::create().value();
};

constexpr const char* one_of_each =
    "mkdir -p d/e; echo x > d/file; ln d/file hard; ln d/file d/e/again; ln -s nowhere soft\n"
    "mkfifo fifo; mknod null c 1 3; mknod disk b 7 200; head -c 300000 /dev/urandom > random\n"
    "setfattr -n user.a -v b random; setfattr -n trusted.t -v v d; cp /bin/true cap\n"
    "setcap cap_net_raw+ep cap; setfacl -m u:7:rx d; setfacl -d -m g:9:rwx d; chmod 4755 hard\n"
    "chown -h 1:2 d soft; truncate -s 32M sparse; printf end >> sparse; chmod 1777 .\n"
    "touch -d '2001-02-03 04:05:06.789' d/e; touch -h -d '1999-01-01 00:00:00.5' soft\n"
    "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'\n"
    "touch \"$(printf 'not\\377utf8')\"";

TEST_F(PublishDirectoryTest, TheVersionIsTheDirectory) {
  for (const auto& folder : {near(), far()}) {
    in(folder, one_of_each);
    const PublishReport report = publish_it({.image = {}, .path = folder, .message = {}});
    EXPECT_EQ(report.kind, "directory");
    EXPECT_THAT(report.warnings, IsEmpty());
    const auto version = report.version.facts.number.value();
    EXPECT_EQ(harness::diff_trees(folder, this->version(static_cast<int>(version))), "");
  }
}

TEST_F(PublishDirectoryTest, AnyChangeIsBroughtOver) {
  in(far(), one_of_each);
  publish_it({.image = {}, .path = far(), .message = {}});
  in(far(),
     "rm hard; mkdir hard; rm -r d/e; echo file > d/e; rm soft; ln -s elsewhere soft\n"
     "rm null; mknod null c 1 5; setfattr -x user.a random; setfacl -b d; echo y >> random\n"
     "setcap -r cap; rm disk; ln random disk; chmod 600 random; truncate -s 8M sparse; mv d f");
  publish_it({.image = {}, .path = far(), .message = {}});
  EXPECT_EQ(harness::diff_trees(far(), version(2)), "");
}

// Whoever writes to one of two names must not change the other.
TEST_F(PublishDirectoryTest, HardLinksComeApartAndTogether) {
  in(far(), "echo same > a; ln a b; ln a c; echo one > x; echo two > y");
  publish_it({.image = {}, .path = far(), .message = {}});
  in(far(), "rm b c x y; echo other > b; ln a c; echo joint > x; ln x y");
  publish_it({.image = {}, .path = far(), .message = {}});
  EXPECT_EQ(harness::diff_trees(far(), version(2)), "");
}

TEST_F(PublishDirectoryTest, ImmutableAndAppendOnlyFilesStayThat) {
  in(near(),
     "mkdir d; echo x > d/frozen; chattr +i d/frozen; echo l > log; chattr +a log\n"
     "chattr +i d");
  const PublishReport first = publish_it({.image = {}, .path = near(), .message = {}});
  in(near(),
     "chattr -i d d/frozen; echo y > d/frozen; touch d/new; chattr +i d d/frozen\n"
     "echo m >> log");
  const PublishReport second = publish_it({.image = {}, .path = near(), .message = {}});
  EXPECT_EQ(harness::diff_trees(near(), version(2)), "");
  for (const auto& entry : entries_of(second.version)) {
    const bool frozen = entry.path == "d" || entry.path == "d/frozen";
    EXPECT_EQ((entry.attributes & manifest::attribute_immutable) != 0, frozen) << entry.path;
  }
  in(near(), "chattr -R -i -a .");
}

TEST_F(PublishDirectoryTest, ADirectoryTakesThePlaceOfASymlink) {
  in(near(), "mkdir real; ln -s real name");
  publish_it({.image = {}, .path = near(), .message = {}});
  in(near(), "rm name; mkdir name; head -c 1M /dev/urandom > name/file");
  publish_it({.image = {}, .path = near(), .message = {}});
  EXPECT_EQ(harness::diff_trees(near(), version(2)), "");
}

TEST_F(PublishDirectoryTest, RandomChangesAreBroughtOver) {
  const std::uint64_t seed = harness::test_seed();
  harness::RandomTree tree(near(), seed);
  for (int round = 1; round <= 6; ++round) {
    const auto changed = tree.change(40);
    ASSERT_TRUE(changed) << changed.error().message();
    publish_it({.image = {}, .path = near(), .message = {}});
    ASSERT_EQ(harness::diff_trees(near(), version(round)), "") << "seed " << seed;
  }
}

TEST_F(PublishDirectoryTest, WhatIsTheSameStaysShared) {
  for (const auto& folder : {near(), far()}) {
    in(folder, "head -c 8M /dev/urandom > big; head -c 1M /dev/urandom > same; sync -f .");
    const int first = static_cast<int>(
        publish_it({.image = {}, .path = folder, .message = {}}).version.facts.number.value());
    in(folder, "dd if=/dev/urandom of=big bs=4096 seek=300 count=1 conv=notrunc status=none");
    const PublishReport second = publish_it({.image = {}, .path = folder, .message = {}});
    EXPECT_EQ(second.bytes_hashed, limits::chunk_size) << folder;
    EXPECT_EQ(shared_bytes(version(first) / "same", version(first + 1) / "same"), 1u << 20);
    EXPECT_GE(shared_bytes(version(first) / "big", version(first + 1) / "big"),
              (8u << 20) - limits::chunk_size);
  }
}

TEST_F(PublishDirectoryTest, EqualSizeAndTimeIsUnchangedUnlessAskedFor) {
  in(far(), "echo one > file; touch -d @1000000000 file");
  publish_it({.image = {}, .path = far(), .message = {}});
  in(far(), "echo two > file; touch -d @1000000000 file");
  publish_it({.image = {}, .path = far(), .message = {}});
  EXPECT_EQ(as_text(*read_file(version(2) / "file", 10)), "one\n");
  publish_it({.image = {}, .path = far(), .message = {}, .checksum = true});
  EXPECT_EQ(as_text(*read_file(version(3) / "file", 10)), "two\n");
}

TEST_F(PublishDirectoryTest, MountsAreLeftOut) {
  in(near(), "mkdir proc; echo x > file; touch bound");
  ASSERT_TRUE(btrfs::create_subvolume(near() / "nested"));
  in(near() / "nested", "echo y > inside");
  in(near(), "mount -t tmpfs none proc; touch proc/inside; mount --bind file bound");
  const auto report = try_it({.image = {}, .path = near(), .message = {}});
  in(near(), "umount proc bound");
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_THAT(report->warnings, ElementsAre(HasSubstr("\"bound\" is a mountpoint"),
                                            HasSubstr("\"nested\" is a nested subvolume"),
                                            HasSubstr("\"proc\" is a mountpoint")));
  EXPECT_TRUE(std::filesystem::is_empty(version(1) / "proc"));
  EXPECT_TRUE(std::filesystem::is_empty(version(1) / "nested"));
  EXPECT_FALSE(std::filesystem::exists(version(1) / "bound"));
}

TEST_F(PublishDirectoryTest, ADirectoryWithTheRepositoryInItIsRefused) {
  EXPECT_THAT(refused({.image = {}, .path = path(), .message = {}}),
              HasSubstr("part of this subvolume"));
  // A plain directory above it.
  in(path() / "above", "true");
  repository_.reset();
  std::filesystem::rename(directory(), path() / "above/repository");
  auto opened = Repository::open(path() / "above/repository", logger_);
  ASSERT_TRUE(opened);
  repository_ = std::move(*opened);
  EXPECT_THAT(refused({.image = {}, .path = path() / "above", .message = {}}),
              HasSubstr("\"repository\" is the repository"));
  repository_.reset();
}

// Files that somebody writes to all the time.
TEST_F(PublishDirectoryTest, AChangingFileIsRefusedByName) {
  in(far(), "head -c 64M /dev/zero | tr '\\0' x > busy; echo x > quiet");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    const auto file = open_file(far() / "busy", O_RDWR);
    for (std::uint64_t i = 0; !stop; ++i)
      static_cast<void>(write_at(file->get(), as_bytes("y"), i % (64u << 20)));
  });
  const std::string error = refused({.image = {}, .path = far(), .message = {}});
  const auto allowed = try_it({.image = {}, .path = far(), .message = {}, .allow_changing = true});
  stop = true;
  writer.join();
  EXPECT_THAT(error, HasSubstr("\"busy\" changed while it was read"));
  EXPECT_THAT(error, HasSubstr("--allow-changing"));
  ASSERT_TRUE(allowed) << allowed.error().message();
  EXPECT_THAT(allowed->warnings, ElementsAre(HasSubstr("\"busy\" changed")));
}

TEST_F(PublishDirectoryTest, ACancelledPublicationLeavesNothing) {
  in(far(), "head -c 1M /dev/urandom > file");
  PublishProgress progress;
  progress.cancelled = true;
  const auto report =
      publish(*repository_, {.image = "disk", .path = far(), .message = {}}, progress);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code(), ErrorCode::cancelled);
  EXPECT_FALSE(std::filesystem::exists(directory() / "disk"));
}

TEST_F(PublishDirectoryTest, MarksWhatClientsBootFrom) {
  in(far(), "mkdir -p netboot; echo k > netboot/vmlinuz; truncate -s 1M disk.img");
  const PublishReport first = publish_it(
      {.image = {}, .path = far(), .message = {}, .boot = "netboot", .target = "disk.img"});
  EXPECT_EQ(first.version.facts.boot_directory, "netboot");
  EXPECT_EQ(first.version.facts.target_file, "disk.img");
  EXPECT_THAT(first.notes, IsEmpty());

  const PublishReport second = publish_it({.image = {}, .path = far(), .message = {}});
  EXPECT_EQ(second.version.facts.boot_directory, "netboot") << "as before";
  EXPECT_THAT(second.notes, ElementsAre(HasSubstr("netboot"), HasSubstr("disk.img")));

  in(far(), "rm -r netboot");
  const PublishReport third = publish_it({.image = {}, .path = far(), .message = {}, .target = ""});
  EXPECT_EQ(third.version.facts.boot_directory, "");
  EXPECT_EQ(third.version.facts.target_file, "") << "dropped by an empty path";
  EXPECT_THAT(third.warnings, ElementsAre(HasSubstr("\"netboot\" of the version before")));
}

TEST_F(PublishDirectoryTest, RefusesMarksThatFitNothing) {
  in(far(),
     "mkdir d; echo x > d/odd; ln -s /etc outside; qemu-img create -q -f qcow2 q.qcow2 1M; "
     "truncate -s 256K q.qcow2");
  const auto with = [&](std::optional<std::filesystem::path> boot,
                        std::optional<std::filesystem::path> target) {
    return refused({.image = {},
                    .path = far(),
                    .message = {},
                    .boot = std::move(boot),
                    .target = std::move(target)});
  };
  EXPECT_THAT(with("d/odd", {}), HasSubstr("no directory"));
  EXPECT_THAT(with("missing", {}), HasSubstr("No such file"));
  EXPECT_THAT(with(".", {}), HasSubstr("mark a part of it"));
  EXPECT_THAT(with("outside", {}), HasSubstr("leads out"));
  EXPECT_THAT(with("../..", {}), HasSubstr("leads out"));
  EXPECT_THAT(with({}, "d"), HasSubstr("multiple of 512"));
  EXPECT_THAT(with({}, "d/odd"), HasSubstr("multiple of 512"));
  EXPECT_THAT(with({}, "q.qcow2"), HasSubstr("no raw disk"));
  EXPECT_THAT(with("/etc/passwd", {}), HasSubstr("boot files are a directory"));
}

TEST_F(PublishDirectoryTest, CopiesBootFilesAndDiskIn) {
  in(far(), "echo x > file; touch -d @1000000000 .");
  const auto boot = folder_.path() / "tftp";
  in(boot, "echo kernel > vmlinuz; mkdir sub; echo c > sub/cfg");
  in(folder_.path(), "head -c 1M /dev/urandom > win.raw");
  const PublishRequest request{.image = {},
                               .path = far(),
                               .message = {},
                               .boot = boot,
                               .target = folder_.path() / "win.raw"};
  for (const auto& source : {far(), live()}) {
    PublishRequest next = request;
    next.path = source;
    const PublishReport report = publish_it(next);
    const auto at = version(static_cast<int>(report.version.facts.number.value()));
    EXPECT_EQ(report.version.facts.boot_directory, "boot");
    EXPECT_EQ(report.version.facts.target_file, "disk.raw");
    EXPECT_EQ(harness::diff_trees(boot, at / "boot"), "");
    EXPECT_EQ(*harness::hash_file(at / "disk.raw"),
              *harness::hash_file(folder_.path() / "win.raw"));
    EXPECT_EQ(entries_of(report.version)[0].modified.seconds,
              std::filesystem::exists(at / "file")
                  ? 1000000000
                  : entries_of(report.version)[0].modified.seconds);
  }
  // What was copied in stays shared when it is copied in again.
  in(boot, "echo other > vmlinuz");
  const PublishReport again = publish_it(request);
  EXPECT_EQ(harness::diff_trees(boot, version(3) / "boot"), "");
  EXPECT_EQ(shared_bytes(version(2) / "disk.raw", version(3) / "disk.raw"), 1u << 20);

  in(far(), "mkdir boot");
  EXPECT_THAT(refused(request), HasSubstr("has a \"boot\" of its own"));
}

TEST_F(PublishDirectoryTest, GivesTags) {
  in(far(), "echo x > file");
  publish_it({.image = {}, .path = far(), .message = {}, .tags = {"stable", "current"}});
  publish_it({.image = {}, .path = far(), .message = {}, .tags = {"stable"}});
  const auto tags = repository_->catalog().tags();
  ASSERT_TRUE(tags);
  ASSERT_EQ(tags->size(), 2u);
  EXPECT_EQ(tags->at(0), (catalog::Tag{"disk", "current", VersionNumber(1)}));
  EXPECT_EQ(tags->at(1), (catalog::Tag{"disk", "stable", VersionNumber(2)}));
  EXPECT_THAT(refused({.image = {}, .path = far(), .message = {}, .tags = {"7"}}), HasSubstr("7"));
}

TEST_F(PublishDirectoryTest, APlanSaysWhatWouldBeDoneAndDoesNothing) {
  in(near(), "mkdir netboot; head -c 8M /dev/urandom > big; head -c 1M /dev/urandom > same");
  const auto plan = [&] {
    return plan_publication(*repository_,
                            {.image = "disk", .path = near(), .message = {}, .boot = "netboot"});
  };
  const auto first = plan();
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_EQ(first->kind, "directory");
  EXPECT_EQ(first->number, VersionNumber(1));
  EXPECT_EQ(first->boot_directory, "netboot");
  EXPECT_EQ(first->bytes_to_read, 9u << 20);
  EXPECT_FALSE(std::filesystem::exists(directory() / "disk"));

  publish_it({.image = {}, .path = near(), .message = {}, .boot = "netboot"});
  in(near(), "dd if=/dev/urandom of=big bs=4096 seek=300 count=1 conv=notrunc status=none");
  const auto second = plan();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->number, VersionNumber(2));
  EXPECT_EQ(second->parent, VersionNumber(1));
  EXPECT_EQ(second->bytes_to_read, 4096u) << "the extents say what differs";
}

TEST_F(PublishDirectoryTest, WithoutRoomNothingIsBegun) {
  auto small = harness::LoopBtrfs::create({.size_bytes = std::uint64_t{256} << 20});
  ASSERT_TRUE(small);
  std::filesystem::create_directory((*small)->path() / "repository");
  auto opened = Repository::open((*small)->path() / "repository", logger_);
  ASSERT_TRUE(opened);
  in(far(), "head -c 300M /dev/urandom > big");
  PublishProgress progress;
  const auto report = publish(**opened, {.image = "disk", .path = far(), .message = {}}, progress);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code(), ErrorCode::no_space) << report.error().message();
  EXPECT_FALSE(std::filesystem::exists((*small)->path() / "repository/disk"));
  opened->reset();
}

}  // namespace
}  // namespace icbd::repository
