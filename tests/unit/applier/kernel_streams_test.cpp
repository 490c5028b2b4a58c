// Real streams of the running kernel, applied and compared with what was sent.
#include <gtest/gtest.h>

#include "icbd/sendstream/decoder.h"

#include "applier_fixture.h"

namespace icbd::applier {
namespace {

constexpr const char* first_version = R"sh(
cd tree
head -c 1M /dev/urandom >disk.raw
truncate -s 8M disk.raw
head -c 100000 /dev/urandom >replaced
head -c 200000 /dev/urandom >shrinks
head -c 300000 /dev/urandom >shared
mkdir -p directory/below/deep etc/ssl
echo file >directory/below/deep/file
echo other >directory/other
ln replaced hard-link
ln replaced etc/third-name
ln -s ../directory/other etc/relative
ln -s /etc/passwd etc/absolute
ln -s nowhere dangling
mkfifo fifo
mknod character c 1 3
mknod block b 7 200
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
for i in $(seq 200); do echo "small file $i" >"etc/small-$i"; done
setfattr -n user.comment -v hello disk.raw
setfattr -n user.empty disk.raw
setfattr -n trusted.on-a-link -v yes -h dangling
cp /bin/true program
setcap cap_net_raw+ep program
cp /bin/true setuid
chown 1000:1001 setuid disk.raw
chmod 6755 setuid
chmod 2775 directory
chmod 1777 etc
setfacl -m u:1000:r directory/other
setfacl -d -m u:1000:rx etc/ssl
chattr +d shared
touch -d '2001-02-03 04:05:06.789' directory/other
touch -d '1965-01-01' -h dangling
touch 'a name with spaces' "$(printf 'control\001\377')"
)sh";

constexpr const char* second_version = R"sh(
cd tree
dd if=/dev/urandom of=disk.raw bs=4096 seek=10 count=3 conv=notrunc status=none
dd if=/dev/urandom of=disk.raw bs=4096 seek=1500 count=1 conv=notrunc status=none
fallocate -p -o 400000 -l 200000 disk.raw
head -c 120000 /dev/urandom >new && mv new replaced
truncate -s 70001 shrinks
cp --reflink=always shared shared-again
cp --reflink=always disk.raw disk-copy.raw
mv directory moved
mkdir directory
echo "another file" >directory/other
mv moved/below directory/below
rm hard-link dangling
ln -s elsewhere dangling
ln etc/third-name directory/fourth-name
mv etc/small-1 etc/first
rm etc/small-2 etc/small-3
echo changed >etc/small-4
rm fifo block
mkfifo block
mknod fifo b 7 201
setfattr -n user.comment -v changed disk.raw
setfattr -x user.empty disk.raw
setcap -r program
chown 1002 setuid
chmod 6755 setuid
cp /bin/true capable && setcap cap_net_bind_service+ep capable
setfacl -b moved/other
chmod 700 etc
touch -d '2031-01-01' etc/small-5
)sh";

class KernelStreams : public ApplierTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    ApplierTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    make_subvolume("tree");
    shell(first_version);
    publish("tree", "one");
    shell(second_version);
    publish("tree", "two");
  }
};

TEST_P(KernelStreams, AFullStreamIntoAnEmptySubvolume) {
  for (const std::string version : {"one", "two"}) {
    const std::string copy = "copy-of-" + version;
    make_subvolume(copy);
    const Status applied =
        apply_stream(send(std::string("--proto ") + GetParam() + " " + version), copy);
    ASSERT_TRUE(applied) << applied.error().message();
    EXPECT_EQ(difference(version, copy), "");
  }
}

TEST_P(KernelStreams, AnIncrementalStreamIntoASnapshotOfItsParent) {
  stage("one", "copy");
  const Status applied =
      apply_stream(send(std::string("--proto ") + GetParam() + " -p one two"), "copy");
  ASSERT_TRUE(applied) << applied.error().message();
  EXPECT_EQ(difference("two", "copy"), "");
}

TEST_P(KernelStreams, AnIncrementalStreamTheOtherWayRound) {
  stage("two", "copy");
  const Status applied =
      apply_stream(send(std::string("--proto ") + GetParam() + " -p two one"), "copy");
  ASSERT_TRUE(applied) << applied.error().message();
  EXPECT_EQ(difference("one", "copy"), "");
}

INSTANTIATE_TEST_SUITE_P(Versions, KernelStreams, testing::Values("1", "2"));

// Compressed extents as they are, for each algorithm: handed to the kernel, and unpacked here.
class CompressedStreams : public ApplierTest, public testing::WithParamInterface<const char*> {
 protected:
  harness::LoopBtrfsOptions btrfs_options() const override {
    return {.size_bytes = 1u << 30,
            .mkfs_options = {},
            .mount_options = std::string("compress-force=") + GetParam()};
  }
  void SetUp() override {
    ApplierTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    make_subvolume("tree");
    shell(R"(cd tree
      cat /usr/share/common-licenses/* >text; cat text text text >long
      head -c 300000 /dev/zero >zeros
      head -c 1000 text >inline
      head -c 200000 /dev/urandom >random
      cp /bin/bash program)");
    publish("tree", "one");
    shell(R"(cd tree
      dd if=/dev/urandom of=long bs=1000 seek=77 count=1 conv=notrunc status=none
      truncate -s 150001 zeros
      cp --reflink=always program shared
      rm program
      cat text >>inline)");
    publish("tree", "two");
    ASSERT_GT(count_encoded(send("--proto 2 --compressed-data two")), 10);
  }
  // So that what the kernel was given is unpacked from the disk.
  void forget_what_is_cached() {
    known_ = {};
    const Status remounted = btrfs_->remount();
    ASSERT_TRUE(remounted) << remounted.error().message();
    ASSERT_TRUE(known_.add(path() / "one"));
  }
  static int count_encoded(ByteView stream) {
    sendstream::Decoder decoder;
    decoder.feed(stream);
    int count = 0;
    while (!decoder.ended()) {
      const auto command = decoder.next();
      if (!command || !*command) return -1;
      if (std::holds_alternative<sendstream::EncodedWrite>(**command)) ++count;
    }
    return count;
  }
};

TEST_P(CompressedStreams, AreHandedToTheKernelOrUnpacked) {
  for (const bool write_encoded : {true, false}) {
    SCOPED_TRACE(write_encoded ? "handed to the kernel" : "unpacked");
    const Options options{.policy = {}, .hold_back = false, .write_encoded = write_encoded};
    const std::string full = write_encoded ? "full-1" : "full-2";
    const std::string incremental = write_encoded ? "incremental-1" : "incremental-2";
    make_subvolume(full);
    stage("one", incremental);
    const Status whole = apply_stream(send("--proto 2 --compressed-data two"), full, options);
    ASSERT_TRUE(whole) << whole.error().message();
    const Status part =
        apply_stream(send("--proto 2 --compressed-data -p one two"), incremental, options);
    ASSERT_TRUE(part) << part.error().message();
    forget_what_is_cached();
    EXPECT_EQ(difference("two", full), "");
    EXPECT_EQ(difference("two", incremental), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Algorithms, CompressedStreams, testing::Values("zlib", "lzo", "zstd"));

class InheritedAttributes : public ApplierTest {};

// The sender sets ACLs and properties of directories before it makes the files in them; the new
// files must not take them over.
TEST_F(InheritedAttributes, StayWithTheirDirectory) {
  make_subvolume("tree");
  shell(R"(cd tree
    mkdir directory plain
    echo x >directory/file
    echo y >file
    ln -s file symlink
    mkfifo fifo
    setfacl -d -m u:1000:rwx . directory
    setfattr -n btrfs.compression -v zstd .
    setfattr -n btrfs.compression -v zstd directory)");
  publish("tree", "one");
  make_subvolume("copy");
  const Status applied = apply_stream(send("one"), "copy");
  ASSERT_TRUE(applied) << applied.error().message();
  EXPECT_EQ(difference("one", "copy"), "");
}

}  // namespace
}  // namespace icbd::applier
