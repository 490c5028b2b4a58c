// Publishing a virtual machine's disk.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <thread>

#include "harness/temporary_directory.h"
#include "harness/tree.h"
#include "repository_fixture.h"

namespace icbd::repository {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PublishDiskTest : public RepositoryTest {
 protected:
  // On another filesystem than the repository.
  std::filesystem::path far(const std::string& name) const { return folder_.path() / name; }
  std::filesystem::path near(const std::string& name) const { return path() / name; }
  std::filesystem::path version(int number) const {
    return directory() / "disk" / std::to_string(number);
  }
  void in(const std::filesystem::path& folder, const std::string& script) {
    const auto done = harness::shell_checked(fmt::format("cd '{}'\n{}", folder.string(), script));
    ASSERT_TRUE(done) << done.error().message();
  }
  void in_far(const std::string& script) { in(folder_.path(), script); }

  Result<PublishReport> try_it(PublishRequest request) {
    PublishProgress progress;
    request.image = "disk";
    return publish(*repository_, request, progress);
  }
  PublishReport publish_it(const std::filesystem::path& file) {
    auto report = try_it({.image = {}, .path = file, .message = {}});
    EXPECT_TRUE(report) << report.error().message();
    return report ? std::move(*report) : PublishReport{};
  }
  std::string refused(const std::filesystem::path& file, const std::string& format = "") {
    const auto report = try_it({.image = {}, .path = file, .message = {}, .format = format});
    EXPECT_FALSE(report);
    EXPECT_FALSE(std::filesystem::exists(directory() / "disk/.publishing-1"));
    return report ? "it was published" : report.error().message();
  }
  static std::string hash(const std::filesystem::path& file) {
    const auto hashed = harness::hash_file(file);
    return hashed ? *hashed : hashed.error().message();
  }
  static std::uint64_t bytes_on_disk(const std::filesystem::path& file) {
    struct stat status{};
    return stat(file.c_str(), &status) == 0 ? std::uint64_t(status.st_blocks) * 512 : 0;
  }

  harness::TemporaryDirectory folder_ = harness::TemporaryDirectory::create().value();
};

constexpr const char* make_raw =
    "truncate -s 64M disk.raw; dd if=/dev/urandom of=disk.raw bs=1M seek=8 count=8 conv=notrunc "
    "status=none; dd if=/dev/zero of=disk.raw bs=1M seek=20 count=4 conv=notrunc status=none; "
    "chmod 640 disk.raw; touch -d @1000000000.25 disk.raw";
constexpr const char* change_raw =
    "dd if=/dev/urandom of=disk.raw bs=4096 seek=2500 count=1 conv=notrunc status=none; "
    "fallocate -p -o 12M -l 1M disk.raw";

TEST_F(PublishDiskTest, ARawDiskBecomesDiskRaw) {
  for (const auto& folder : {folder_.path(), path()}) {
    in(folder, make_raw);
    const PublishReport report = publish_it(folder / "disk.raw");
    const auto number = static_cast<int>(report.version.facts.number.value());
    EXPECT_EQ(report.kind, "raw");
    EXPECT_EQ(report.version.facts.target_file, "disk.raw");
    EXPECT_EQ(hash(version(number) / "disk.raw"), hash(folder / "disk.raw"));
    EXPECT_LE(bytes_on_disk(version(number) / "disk.raw"), 13u << 20) << "holes stay holes";
    const auto entries = entries_of(report.version);
    ASSERT_EQ(entries.size(), 2u);
    EXPECT_EQ(entries[1].mode, 0640u);
    EXPECT_EQ(entries[1].modified, (Timestamp{1000000000, 250000000}));
  }
}

TEST_F(PublishDiskTest, OnlyWhatChangedIsHashedAgain) {
  for (const auto& folder : {folder_.path(), path()}) {
    in(folder, make_raw);
    publish_it(folder / "disk.raw");
    in(folder, change_raw);
    const PublishReport report = publish_it(folder / "disk.raw");
    const auto number = static_cast<int>(report.version.facts.number.value());
    EXPECT_EQ(hash(version(number) / "disk.raw"), hash(folder / "disk.raw"));
    EXPECT_EQ(report.bytes_hashed, limits::chunk_size) << folder;
    EXPECT_GE(report.bytes_inherited, (62u << 20)) << folder;
  }
}

TEST_F(PublishDiskTest, OtherFormatsAreConverted) {
  in_far(make_raw);
  for (const char* format : {"qcow2", "vmdk", "vdi", "vhdx"}) {
    in_far(fmt::format("qemu-img convert -f raw -O {0} disk.raw disk.{0}", format));
    const PublishReport report = publish_it(far(fmt::format("disk.{}", format)));
    EXPECT_EQ(report.kind, format);
    const auto at = version(static_cast<int>(report.version.facts.number.value()));
    EXPECT_EQ(hash(at / "disk.raw"), hash(far("disk.raw"))) << format;
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(at), {}), 1) << format;
  }
}

TEST_F(PublishDiskTest, AConvertedDiskStaysSharedToo) {
  in_far(make_raw);
  in_far("qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2");
  publish_it(far("disk.qcow2"));
  in_far(change_raw);
  in_far("qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2");
  const PublishReport report = publish_it(far("disk.qcow2"));
  EXPECT_EQ(hash(version(2) / "disk.raw"), hash(far("disk.raw")));
  EXPECT_EQ(report.bytes_hashed, limits::chunk_size);
}

TEST_F(PublishDiskTest, AnOverlayIncludesItsBackingFile) {
  in_far(make_raw);
  in_far(
      "qemu-img create -q -f qcow2 -F raw -b disk.raw over.qcow2\n"
      "qemu-io -f qcow2 -c 'write -P 7 1M 64k' over.qcow2");
  const PublishReport report = publish_it(far("over.qcow2"));
  EXPECT_THAT(report.notes, ElementsAre(HasSubstr("disk.raw")));
  in_far("qemu-img convert -f qcow2 -O raw over.qcow2 flat.raw");
  EXPECT_EQ(hash(version(1) / "disk.raw"), hash(far("flat.raw")));

  in_far("mv disk.raw away");
  EXPECT_THAT(refused(far("over.qcow2")), AllOf(HasSubstr("backing file"), HasSubstr("missing")));
}

// A raw backing file is what its guest has written: its format must not be guessed.
TEST_F(PublishDiskTest, ABackingFileWithoutAFormatIsRefused) {
  in_far(make_raw);
  in_far("qemu-img create -q -f qcow2 -F raw -b disk.raw over.qcow2");
  // The header's extension with the format becomes one that nobody knows (docs/interop/qcow2.txt).
  in_far(
      "python3 -c 'import sys; data = open(\"over.qcow2\", \"rb\").read(); "
      "open(\"over.qcow2\", \"wb\").write(data.replace(bytes.fromhex(\"e2792aca\"), b\"none\", "
      "1))'");
  EXPECT_THAT(refused(far("over.qcow2")), HasSubstr("does not say which format"));
}

TEST_F(PublishDiskTest, ARawDiskThatBeginsLikeAnotherIsNotGuessed) {
  in_far(
      "echo secret > secret; truncate -s 512 secret\n"
      "qemu-img create -q -u -f qcow2 -F raw -b $PWD/secret evil.qcow2 1M; mv evil.qcow2 "
      "disk.raw; truncate -s 1M disk.raw");
  EXPECT_THAT(refused(far("disk.raw")), HasSubstr("--format raw or --format qcow2"));
  const auto report =
      try_it({.image = {}, .path = far("disk.raw"), .message = {}, .format = "raw"});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(hash(version(1) / "disk.raw"), hash(far("disk.raw")));
}

TEST_F(PublishDiskTest, RefusesWhatIsNoWholeDisk) {
  in_far(
      "head -c 1000 /dev/zero > odd.raw; : > empty.raw; echo x > text.qcow2\n"
      "gzip -c odd.raw > disk.raw.gz; truncate -s 1M data.raw\n"
      "qemu-img create -q -f qcow2 -o data_file=data.raw split.qcow2 1M\n"
      "qemu-img create -q -f qcow2 good.qcow2 64M; qemu-io -f qcow2 -c 'write -P 7 1M 2M' "
      "good.qcow2\n"
      "head -c 1000000 good.qcow2 > cut.qcow2");
  EXPECT_THAT(refused(far("odd.raw")), HasSubstr("multiple of 512"));
  EXPECT_THAT(refused(far("empty.raw")), HasSubstr("empty"));
  EXPECT_THAT(refused(far("text.qcow2")), HasSubstr("nothing of it inside"));
  EXPECT_THAT(refused(far("disk.raw.gz")), HasSubstr("unpack it first"));
  EXPECT_THAT(refused(far("split.qcow2")), HasSubstr("data in another file"));
  EXPECT_THAT(refused(far("cut.qcow2")), HasSubstr("not all of it is there"));
  EXPECT_THAT(refused(far("good.qcow2"), "tar"), HasSubstr("\"tar\" is no format"));
}

// As QEMU does it: a byte for each right, locked by the open file description.
class VirtualMachine {
 public:
  explicit VirtualMachine(const std::filesystem::path& disk) {
    fd_ = std::move(*open_file(disk, O_RDWR));
    for (const off_t offset : {100, 101, 201}) {
      struct flock lock{};
      lock.l_type = F_RDLCK;
      lock.l_whence = SEEK_SET;
      lock.l_start = offset;
      lock.l_len = 1;
      EXPECT_EQ(fcntl(fd_.get(), F_OFD_SETLK, &lock), 0);
    }
  }

 private:
  unique_fd fd_;
};

TEST_F(PublishDiskTest, ADiskThatAVirtualMachineHasOpenIsRefused) {
  in_far(make_raw);
  in_far("qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2");
  for (const char* name : {"disk.raw", "disk.qcow2"}) {
    const VirtualMachine machine(far(name));
    EXPECT_THAT(refused(far(name)), HasSubstr("a virtual machine has")) << name;
  }
  publish_it(far("disk.raw"));
}

// And QEMU's own tools agree about the locks.
TEST_F(PublishDiskTest, QemuHasTheSameLocks) {
  in_far(make_raw);
  // The lock is held while qemu-io runs.
  std::thread machine([this] {
    in_far(
        "(echo 'write -P 5 0 512'; while [ ! -e done ]; do sleep 0.05; done) | "
        "stdbuf -oL qemu-io -f raw disk.raw > out2 2>&1");
  });
  while (true) {
    const auto text = read_file(far("out2"), 100000);
    if (text && as_text(*text).find("wrote") != std::string_view::npos) break;
    std::this_thread::yield();
  }
  const std::string error = refused(far("disk.raw"));
  in_far("touch done");
  machine.join();
  EXPECT_THAT(error, HasSubstr("a virtual machine has"));
}

TEST_F(PublishDiskTest, KeepsTheNameAndTheBootFiles) {
  in_far(make_raw);
  in_far("mkdir tftp; echo k > tftp/vmlinuz");
  const auto first = try_it({.image = {},
                             .path = far("disk.raw"),
                             .message = {},
                             .boot = far("tftp"),
                             .disk_name = "win.img"});
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_EQ(first->version.facts.target_file, "win.img");
  EXPECT_EQ(first->version.facts.boot_directory, "boot");

  const PublishReport second = publish_it(far("disk.raw"));
  EXPECT_EQ(second.version.facts.target_file, "win.img");
  EXPECT_EQ(second.version.facts.boot_directory, "boot");
  EXPECT_EQ(harness::diff_trees(version(1) / "boot", version(2) / "boot"), "");
  EXPECT_THAT(second.notes, ElementsAre(HasSubstr("\"boot\"")));
}

TEST_F(PublishDiskTest, NothingElseOfTheVersionBeforeStays) {
  in_live("echo x > note; mkdir d; touch d/e; chattr +i d/e d");
  publish_live();
  in_far(make_raw);
  const PublishReport report = publish_it(far("disk.raw"));
  EXPECT_THAT(report.warnings, ElementsAre(HasSubstr("\"d\" of the version before"),
                                           HasSubstr("\"note\" of the version before")));
  EXPECT_EQ(report.version.facts.entries, 2u);
}

TEST_F(PublishDiskTest, RefusesOptionsThatMeanNothing) {
  in_far(make_raw);
  const auto error = [&](PublishRequest request) {
    const auto report = try_it(std::move(request));
    return report ? "it was published" : report.error().message();
  };
  EXPECT_THAT(error({.image = {}, .path = far("disk.raw"), .message = {}, .target = "disk.raw"}),
              HasSubstr("the target itself"));
  EXPECT_THAT(error({.image = {}, .path = far("disk.raw"), .message = {}, .boot = "boot"}),
              HasSubstr("absolute path"));
  EXPECT_THAT(error({.image = {}, .path = far("disk.raw"), .message = {}, .disk_name = "a/b"}),
              HasSubstr("no name for a disk"));
  EXPECT_THAT(error({.image = {}, .path = live(), .message = {}, .disk_name = "a"}),
              HasSubstr("--as and --format"));
}

TEST_F(PublishDiskTest, APlanOfADisk) {
  in_far(make_raw);
  in_far("qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2");
  for (const char* name : {"disk.raw", "disk.qcow2"}) {
    const auto plan =
        plan_publication(*repository_, {.image = "disk", .path = far(name), .message = {}});
    ASSERT_TRUE(plan) << plan.error().message();
    EXPECT_EQ(plan->disk_bytes, 64u << 20);
    EXPECT_EQ(plan->target_file, "disk.raw");
    EXPECT_GE(plan->bytes_to_read, 8u << 20) << name;
    EXPECT_LE(plan->bytes_to_read, 13u << 20) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(directory() / "disk"));
}

TEST_F(PublishDiskTest, WithoutQemuImgOnlyRawIsRead) {
  in_far(make_raw);
  in_far("qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2");
  const std::string path = getenv("PATH");
  setenv("PATH", "/nowhere", 1);
  const std::string error = refused(far("disk.qcow2"));
  const auto report = try_it({.image = {}, .path = far("disk.raw"), .message = {}});
  setenv("PATH", path.c_str(), 1);
  EXPECT_THAT(error, HasSubstr("qemu-utils"));
  EXPECT_TRUE(report) << report.error().message();
}

}  // namespace
}  // namespace icbd::repository
