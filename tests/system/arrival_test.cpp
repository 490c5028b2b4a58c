// A version reads right, bytes and metadata, while it arrives and after it has landed.

#include <fcntl.h>
#include <fmt/format.h>

#include "icbd/base/file.h"

#include "system/site.h"

namespace icbd::system_test {
namespace {

// Each shape that images take between two versions. `first` makes version 1, `second` version 2.
struct Shape {
  std::string name;
  std::string first;
  std::string second;
};

// A disk image that is not all zeros, not all data, and does not compress: 24 MiB with 8 MiB of
// data in three places.
const std::string make_disk =
    "truncate -s 24M disk.raw\n"
    "dd if=/dev/urandom of=disk.raw bs=1M count=4 conv=notrunc status=none\n"
    "dd if=/dev/urandom of=disk.raw bs=1M count=3 seek=10 conv=notrunc status=none\n"
    "dd if=/dev/urandom of=disk.raw bs=1M count=1 seek=23 conv=notrunc status=none\n";

const std::vector<Shape> shapes = {
    {"in_place_changes", make_disk,
     "for at in 3 500 1030 2700 2800; do\n"
     "  dd if=/dev/urandom of=disk.raw bs=4096 count=2 seek=$at conv=notrunc status=none; done\n"},
    {"rewritten_as_a_new_file", make_disk,
     "dd if=/dev/urandom of=disk.raw bs=4096 count=3 seek=40 conv=notrunc status=none\n"
     "cp --sparse=always disk.raw n; mv n disk.raw\n"},
    {"directory_replaced", "mkdir d; echo old > d/file; mkdir d/sub; echo deep > d/sub/deep\n",
     "mv d e; mkdir d; echo new > d/file; mkdir d/sub; echo other > d/sub/shallow\n"},
    {"reflink_within_a_version", make_disk,
     "dd if=/dev/urandom of=disk.raw bs=1M count=2 seek=2 conv=notrunc status=none\n"
     "cp --reflink=always disk.raw copy.raw\n"
     "dd if=/dev/urandom of=copy.raw bs=4096 count=1 seek=7 conv=notrunc status=none\n"},
    {"file_that_shrank", make_disk + "head -c 300000 /dev/urandom > small\n",
     "truncate -s 10000001 disk.raw; truncate -s 131073 small\n"},
    {"shrank_and_grew", make_disk, "truncate -s 5M disk.raw; truncate -s 12M disk.raw\n"},
    {"holes_punched", make_disk,
     "fallocate -p -o 1000000 -l 2000000 disk.raw; fallocate -p -o 131072 -l 131072 disk.raw\n"},
    {"sparse_file", "truncate -s 300M sparse; echo end >> sparse\n",
     "dd if=/dev/urandom of=sparse bs=1M count=1 seek=200 conv=notrunc status=none\n"},
    {"hard_links", "head -c 200000 /dev/urandom > a; ln a b; mkdir d; ln a d/c\n",
     "echo more >> a; ln a z; rm b\n"},
    {"symlinks_and_specials",
     "ln -s target link; ln -s /absolute/nowhere gone; mkfifo pipe; mknod disk b 7 99\n"
     "mknod null c 1 3; chmod 620 null; chown 12:34 pipe; chown -h 5:6 link\n",
     "ln -sfn elsewhere link; rm disk; mknod disk c 5 1\n"},
    {"inline_files", "for i in 1 2 3 4 5; do echo content $i > f$i; done; : > empty\n",
     "echo changed > f2; : > f3; echo filled > empty\n"},
    {"capability_and_setuid",
     "head -c 300000 /dev/urandom > ping; chmod 755 ping; setcap cap_net_raw+ep ping\n"
     "head -c 300000 /dev/urandom > su; chmod 4755 su; chown 1:2 plain 2>/dev/null || true\n"
     "head -c 9000 /dev/urandom > owned; chown 33:44 owned; chmod 2750 owned\n"
     "setfattr -n user.note -v remember owned; touch -d '2001-02-03 04:05:06.789' owned\n",
     "head -c 300000 /dev/urandom > su; chmod 4711 su; setcap cap_net_raw,cap_net_admin+ep ping\n"
     "setfattr -n user.note -v forget owned; setfattr -n user.more -v x owned\n"},
    {"two_thousand_small_files",
     "for d in $(seq 20); do mkdir d$d; for f in $(seq 100); do\n"
     "  echo $d.$f.$d.$f > d$d/f$f; done; done\n",
     "for d in $(seq 1 3 20); do echo changed > d$d/f7; rm d$d/f8; mv d$d/f9 d$d/renamed; done\n"},
    {"immutable_and_empty_directories",
     "mkdir -p a/b/c; echo fixed > fixed; chattr +i fixed; mkdir private; chmod 700 private\n",
     "chattr -i fixed; echo more >> fixed; mv fixed a/; chattr +i a/fixed; rmdir private\n"},
};

class ShapeTest : public SiteTest, public testing::WithParamInterface<Shape> {
 protected:
  void TearDown() override {
    if (site) static_cast<void>(harness::shell("chattr -R -i '" + site->live().string() + "'"));
    SiteTest::TearDown();
  }
};

TEST_P(ShapeTest, ReadsTheSameWhileArrivingAndAfterLanding) {
  change(GetParam().first);
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  EXPECT_EQ(site->state("image", 1), "remote");
  expect_equal_through_view("image", 1);

  // Version 2 is asked for at once: its parent may be complete by now, or still arriving.
  change(GetParam().second);
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->wait_until_listed("image", 2));
  expect_equal_through_view("image", 2);

  for (const int number : {1, 2}) {
    // A version whose files are all empty is never read from; listing it is enough to look.
    ASSERT_DONE(site->wait_until_complete("image", number));
    expect_landed_equal("image", number);
    expect_equal_through_view("image", number);
  }
}

TEST_P(ShapeTest, ReadsTheSameAgainstACompleteParent) {
  change(GetParam().first);
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));

  change(GetParam().second);
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->wait_until_listed("image", 2));
  expect_equal_through_view("image", 2);
  ASSERT_DONE(site->wait_until_complete("image", 2));
  expect_landed_equal("image", 2);
  expect_equal_through_view("image", 1);
}

INSTANTIATE_TEST_SUITE_P(Arrival, ShapeTest, testing::ValuesIn(shapes),
                         [](const auto& shape) { return shape.param.name; });

using ArrivalTest = SiteTest;

TEST_F(ArrivalTest, TwentyVersionsInARowEachReadWhileItArrives) {
  change(make_disk);
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  constexpr int versions = 20;
  for (int number = 1; number <= versions; ++number) {
    if (number > 1) {
      change(
          fmt::format("dd if=/dev/urandom of=disk.raw bs=4096 count=3 seek={} conv=notrunc "
                      "status=none; echo {} > note",
                      number * 211, number));
      ASSERT_DONE(site->publish("image"));
      ASSERT_DONE(site->wait_until_listed("image", number));
    }
    // A few bytes begin the arrival; the next version is asked for while it goes on.
    const auto file = open_file(site->view("image", number) / "disk.raw", O_RDONLY);
    ASSERT_DONE(file);
    Bytes bytes(4096);
    ASSERT_DONE(read_exactly_at(file->get(), bytes, static_cast<std::uint64_t>(number) * 4096));
  }
  for (int number = versions; number >= 1; --number) expect_equal_through_view("image", number);
  for (int number = 1; number <= versions; ++number) {
    ASSERT_DONE(site->wait_until_complete("image", number));
    expect_landed_equal("image", number);
  }
}

TEST_F(ArrivalTest, AHandleThatWasOpenedWhileArrivingGoesOnAfterLanding) {
  change(make_disk);
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  const auto file = open_file(site->view("image", 1) / "disk.raw", O_RDONLY);
  ASSERT_DONE(file);
  Bytes first(4096), again(4096);
  ASSERT_DONE(read_exactly_at(file->get(), first, 4096));
  ASSERT_DONE(site->wait_until_complete("image", 1));
  ASSERT_EQ(posix_fadvise(file->get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  ASSERT_DONE(read_exactly_at(file->get(), again, 4096));
  EXPECT_EQ(first, again);
}

TEST_F(ArrivalTest, BytesOnTheWireFollowTheChange) {
  change("head -c 64M /dev/urandom > disk.raw");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  expect_equal_through_view("image", 1);
  ASSERT_DONE(site->wait_until_complete("image", 1));
  change("dd if=/dev/urandom of=disk.raw bs=128K count=8 seek=100 conv=notrunc status=none");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->wait_until_listed("image", 2));
  const auto before = site->ask_cache("/api/status");
  ASSERT_DONE(before);
  expect_equal_through_view("image", 2);
  ASSERT_DONE(site->wait_until_complete("image", 2));
  const auto after = site->ask_cache("/api/status");
  ASSERT_DONE(after);
  const auto received = [](const nlohmann::json& status) {
    return status.at("wire").at("bytes_received").get<std::uint64_t>();
  };
  constexpr std::uint64_t changed = 8 * 128 * 1024;
  EXPECT_LE(received(*after) - received(*before), changed * 102 / 100 + 64 * 1024);
  EXPECT_GE(received(*after) - received(*before), changed);
}

}  // namespace
}  // namespace icbd::system_test
