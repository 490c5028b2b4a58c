// Random versions of a tree: the kernel's streams, the applier and the tree model must agree.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>

#include "icbd/base/file.h"
#include "icbd/btrfs/subvolume.h"
#include "icbd/sendstream/decoder.h"
#include "icbd/sendstream/tree_model.h"

#include "applier_fixture.h"
#include "random_tree.h"

namespace icbd::applier {
namespace {

namespace fs = std::filesystem;
using sendstream::Lineage;
using sendstream::ParentName;
using sendstream::TreeModel;

constexpr int versions = 25;
constexpr int changes_per_version = 40;

// All names of a tree, relative to it, directories before what is in them.
std::vector<std::string> names_of(const fs::path& root) {
  std::vector<std::string> names = {""};
  for (const auto& entry : fs::recursive_directory_iterator(root))
    names.push_back(entry.path().lexically_relative(root).string());
  std::ranges::sort(names);
  return names;
}

std::string content_of(const fs::path& file) {
  const auto bytes = read_file(file, 1 << 24);
  return bytes ? std::string(as_text(*bytes)) : "unreadable: " + bytes.error().message();
}

class RandomTrees : public ApplierTest {
 protected:
  TreeModel model_of(const fs::path& parent) {
    const std::vector<std::string> names = names_of(parent);
    std::vector<ParentName> entries;
    for (const std::string& name : names) {
      struct stat status{};
      EXPECT_EQ(::lstat((parent / name).c_str(), &status), 0);
      // The inode number serves as the index: it is the same for all names of a file.
      entries.push_back({name, FileIndex(static_cast<std::uint32_t>(status.st_ino)),
                         S_ISDIR(status.st_mode),
                         S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0});
      files_[entries.back().file] = parent / name;
    }
    auto model = TreeModel::from_parent(entries);
    EXPECT_TRUE(model) << model.error().message();
    return std::move(*model);
  }

  // Applies the shape of `version` against `parent` to `target` and to a model of the parent.
  // Against nothing if there is no parent.
  TreeModel apply_shape(const std::optional<std::string>& parent, const std::string& version,
                        const std::string& target) {
    TreeModel model = parent ? model_of(path() / *parent) : TreeModel();
    const unique_fd from = parent ? open_root(*parent) : unique_fd();
    const unique_fd to = open_root(version), root = open_root(target);
    Applier applier = make_applier(root, {.policy = {}, .hold_back = true});
    sendstream::Decoder decoder;
    const Status sent = btrfs::send_shape(to.get(), from.get(), [&](ByteView piece) -> Status {
      decoder.feed(piece);
      for (;;) {
        ICBD_ASSIGN(const auto command, decoder.next());
        if (!command) return {};
        ICBD_TRY(applier.apply(*command));
        ICBD_TRY(model.apply(*command));
      }
    });
    EXPECT_TRUE(sent) << sent.error().message();
    EXPECT_TRUE(applier.finish());
    return model;
  }

  // Every byte that the lineage does not list is the new version's, and the parent's; in a file
  // without a parent it is zero.
  void check_file(const std::string& name, const Lineage& lineage, const fs::path& version,
                  const fs::path& target) {
    SCOPED_TRACE(name);
    const std::string wanted = content_of(version / name);
    const std::string applied = content_of(target / name);
    ASSERT_EQ(applied.size(), wanted.size());
    std::vector<bool> listed(wanted.size());
    for (const auto* ranges : {&lineage.updated, &lineage.rewritten})
      for (const ByteRange& range : *ranges) {
        ASSERT_LE(range.end(), wanted.size());
        std::fill_n(listed.begin() + static_cast<std::ptrdiff_t>(range.offset), range.length, true);
      }
    const std::string parent = lineage.parent ? content_of(files_[*lineage.parent]) : "";
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (listed[i]) continue;
      ASSERT_EQ(applied[i], wanted[i]) << "byte " << i;
      ASSERT_TRUE(!lineage.parent || i < parent.size()) << "the parent has no byte " << i;
      ASSERT_EQ(lineage.parent ? parent[i] : '\0', wanted[i]) << "byte " << i;
    }
    unlisted_ += static_cast<std::size_t>(std::ranges::count(listed, false));
    // What the stream itself rewrote is right in the applied tree, without any fetched byte.
    for (const ByteRange& range : lineage.rewritten)
      ASSERT_EQ(applied.compare(range.offset, range.length, wanted, range.offset, range.length), 0)
          << "rewritten at " << range.offset;
  }

  void check_shape(const std::optional<std::string>& parent, const std::string& version) {
    SCOPED_TRACE("the shape of " + version + " against " + parent.value_or("nothing"));
    const std::string target = version + (parent ? "-shape" : "-full-shape");
    parent ? stage(*parent, target) : make_subvolume(target);
    files_.clear();
    const TreeModel model = apply_shape(parent, version, target);
    std::vector<std::string> paths = model.paths();
    std::ranges::sort(paths);
    const std::vector<std::string> wanted = names_of(path() / version);
    ASSERT_EQ(paths, wanted);
    ASSERT_EQ(names_of(path() / target), wanted);
    for (const std::string& name : wanted) {
      const fs::path file = path() / version / name;
      if (!fs::is_regular_file(fs::symlink_status(file))) continue;
      const Lineage* lineage = model.lineage(name);
      ASSERT_TRUE(lineage) << name;
      ASSERT_NO_FATAL_FAILURE(check_file(name, *lineage, path() / version, path() / target));
    }
  }

  void check_data(const std::string& parent, const std::string& version, int protocol) {
    SCOPED_TRACE("the stream of " + version);
    const std::string target = version + "-copy-" + std::to_string(protocol);
    stage(parent, target);
    const Status applied = apply_stream(
        send("--proto " + std::to_string(protocol) + " -p " + parent + " " + version), target);
    ASSERT_TRUE(applied) << applied.error().message();
    ASSERT_EQ(difference(version, target), "");
  }

  std::map<FileIndex, fs::path> files_;  // of the parent
  std::size_t unlisted_ = 0;
};

TEST_F(RandomTrees, StreamApplierAndModelAgree) {
  const char* given = std::getenv("ICBD_TEST_SEED");
  const std::uint64_t seed = given ? std::stoull(given) : std::random_device{}();
  SCOPED_TRACE("ICBD_TEST_SEED=" + std::to_string(seed));
  make_subvolume("tree");
  RandomTree tree(path() / "tree", seed);
  publish("tree", "v0");
  for (int version = 1; version <= versions; ++version) {
    for (int change = 0; change < changes_per_version; ++change) tree.change();
    const std::string parent = "v" + std::to_string(version - 1);
    const std::string name = "v" + std::to_string(version);
    publish("tree", name);
    ASSERT_NO_FATAL_FAILURE(check_shape(parent, name));
    ASSERT_NO_FATAL_FAILURE(check_data(parent, name, 1 + version % 2));
  }
  ASSERT_NO_FATAL_FAILURE(check_shape(std::nullopt, "v" + std::to_string(versions)));
  // If everything were listed, the test would prove nothing.
  EXPECT_GT(unlisted_, 100'000u);
}

}  // namespace
}  // namespace icbd::applier
