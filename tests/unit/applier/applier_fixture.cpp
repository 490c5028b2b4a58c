#include "applier_fixture.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/sendstream/decoder.h"

#include "harness/run.h"

namespace icbd::applier {

Status KnownVersions::add(const std::filesystem::path& subvolume) {
  ICBD_ASSIGN(unique_fd root, open_file(subvolume, O_RDONLY | O_DIRECTORY));
  ICBD_ASSIGN(const auto info, btrfs::subvolume_info(root.get()));
  roots_[info.identity()] = std::move(root);
  return {};
}

Result<int> KnownVersions::root_of(const Uuid& uuid) {
  const auto root = roots_.find(uuid);
  if (root == roots_.end())
    return fail(ErrorCode::not_found, fmt::format("no version has the UUID {}", uuid.to_string()));
  return root->second.get();
}

void ApplierTest::shell(const std::string& script) {
  const auto done = harness::shell_checked(fmt::format("cd '{}'\n{}", path().string(), script));
  ASSERT_TRUE(done) << done.error().message();
}

void ApplierTest::make_subvolume(const std::string& name) {
  const Status made = btrfs::create_subvolume(path() / name);
  ASSERT_TRUE(made) << made.error().message();
}

void ApplierTest::publish(const std::string& source, const std::string& name) {
  const Status made = btrfs::create_snapshot(path() / source, path() / name, true);
  ASSERT_TRUE(made) << made.error().message();
  const Status added = known_.add(path() / name);
  ASSERT_TRUE(added) << added.error().message();
}

void ApplierTest::stage(const std::string& parent, const std::string& name) {
  const Status made = btrfs::create_snapshot(path() / parent, path() / name, false);
  ASSERT_TRUE(made) << made.error().message();
}

Bytes ApplierTest::send(const std::string& arguments) {
  auto folder = harness::TemporaryDirectory::create();
  EXPECT_TRUE(folder);
  const auto file = folder->path() / "stream";
  shell(fmt::format("btrfs -q send {} -f '{}'", arguments, file.string()));
  auto stream = read_file(file, std::size_t{1} << 28);
  EXPECT_TRUE(stream) << stream.error().message();
  return stream ? *stream : Bytes{};
}

unique_fd ApplierTest::open_root(const std::string& name) {
  auto root = open_file(path() / name, O_RDONLY | O_DIRECTORY);
  EXPECT_TRUE(root) << root.error().message();
  return root ? std::move(*root) : unique_fd();
}

Applier ApplierTest::make_applier(const unique_fd& root, Options options) {
  return Applier(root.get(), known_, options);
}

Status ApplierTest::apply_stream(ByteView stream, const std::string& name, Options options) {
  const unique_fd root = open_root(name);
  Applier applier = make_applier(root, options);
  sendstream::Decoder decoder;
  decoder.feed(stream);
  for (;;) {
    ICBD_ASSIGN(const auto command, decoder.next());
    if (!command) break;
    ICBD_TRY(applier.apply(*command));
  }
  ICBD_TRY(decoder.finish());
  return applier.finish();
}

Status ApplierTest::apply_all(Applier& applier, const std::vector<sendstream::Command>& commands) {
  for (const auto& command : commands) ICBD_TRY(applier.apply(command));
  return {};
}

std::string ApplierTest::difference(const std::string& expected, const std::string& actual) {
  return harness::diff_trees(path() / expected, path() / actual);
}

}  // namespace icbd::applier
