// Programs that skip holes give every byte of a file that is still arriving.

#include "system/site.h"

namespace icbd::system_test {
namespace {

class SparseReadersTest : public SiteTest, public testing::WithParamInterface<std::string> {};

// $SOURCE is the arriving file's folder, $OUT an empty folder; disk.raw must come out in it.
TEST_P(SparseReadersTest, GivesEveryByte) {
  change(
      "truncate -s 40M disk.raw\n"
      "dd if=/dev/urandom of=disk.raw bs=1M count=3 seek=2 conv=notrunc status=none\n"
      "dd if=/dev/urandom of=disk.raw bs=4096 count=1 seek=5000 conv=notrunc status=none\n"
      "dd if=/dev/urandom of=disk.raw bs=1M count=4 seek=36 conv=notrunc status=none\n");
  ASSERT_DONE(site->publish("image"));
  ASSERT_DONE(site->start_cache());
  ASSERT_EQ(site->state("image", 1), "remote");
  const auto out = site->folder() / "out";
  const auto copied =
      harness::shell_checked("SOURCE='" + site->view("image", 1).string() + "' OUT='" +
                             out.string() + "'; mkdir $OUT\n" + GetParam());
  ASSERT_DONE(copied);
  const auto expected = harness::hash_file(site->master_version("image", 1) / "disk.raw");
  const auto actual = harness::hash_file(out / "disk.raw");
  ASSERT_DONE(expected);
  ASSERT_DONE(actual);
  EXPECT_EQ(*expected, *actual);
}

INSTANTIATE_TEST_SUITE_P(
    Programs, SparseReadersTest,
    testing::Values("cp --sparse=auto $SOURCE/disk.raw $OUT/",
                    "tar -C $SOURCE -S -c disk.raw | tar -C $OUT -x",
                    "qemu-img convert -f raw -O raw $SOURCE/disk.raw $OUT/disk.raw"),
    [](const auto& program) { return program.param.substr(0, program.param.find_first_of(" -")); });

}  // namespace
}  // namespace icbd::system_test
