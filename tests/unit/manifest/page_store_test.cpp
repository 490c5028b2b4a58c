#include "icbd/manifest/page_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "icbd/base/file.h"

#include "harness/temporary_directory.h"
#include "unit/manifest/entries.h"

namespace icbd::manifest {
namespace {

using ::testing::HasSubstr;

Bytes page_of(std::uint64_t number, std::size_t length = 100) {
  Bytes page(length);
  std::memcpy(page.data(), &number, std::min(length, sizeof number));
  return page;
}

// What every page store promises.
struct MemoryBackend {
  MemoryPageStore& store() { return store_; }

 private:
  MemoryPageStore store_;
};

struct FileBackend {
  FilePageStore& store() { return *store_; }

 private:
  harness::TemporaryDirectory directory_ = harness::TemporaryDirectory::create().value();
  std::unique_ptr<FilePageStore> store_ =
      FilePageStore::open(directory_.path() / "manifest", true).value();
};

template <typename Backend>
class PageStoreContract : public ::testing::Test {
 protected:
  PageStore& store() { return backend_.store(); }

 private:
  Backend backend_;
};

using Backends = ::testing::Types<MemoryBackend, FileBackend>;
TYPED_TEST_SUITE(PageStoreContract, Backends);

TYPED_TEST(PageStoreContract, FindsWhatWasAddedByItsDigest) {
  const Bytes page = page_of(1);
  EXPECT_EQ(this->store().add(page).value(), sha256(page));
  EXPECT_TRUE(this->store().contains(sha256(page)));
  EXPECT_EQ(this->store().find(sha256(page)).value(), page);
}

TYPED_TEST(PageStoreContract, SaysWhatIsNotHere) {
  EXPECT_FALSE(this->store().contains(digest_of(1)));
  const auto found = this->store().find(digest_of(1));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), ErrorCode::not_found);
  EXPECT_THAT(found.error().message(), HasSubstr(digest_of(1).to_string()));
}

TYPED_TEST(PageStoreContract, TakesAPageTwice) {
  const Digest first = this->store().add(page_of(1)).value();
  EXPECT_EQ(this->store().add(page_of(1)).value(), first);
  EXPECT_EQ(this->store().find(first).value(), page_of(1));
}

TYPED_TEST(PageStoreContract, TakesPagesFromOneByteToTheLimit) {
  for (const std::size_t length : {std::size_t{1}, limits::manifest_page, limits::manifest_root}) {
    const Bytes page = page_of(length, length);
    EXPECT_EQ(this->store().find(this->store().add(page).value()).value(), page);
  }
}

TYPED_TEST(PageStoreContract, RefusesEmptyAndOversizedPages) {
  EXPECT_EQ(this->store().add({}).error().code(), ErrorCode::invalid_argument);
  const Bytes over(limits::manifest_root + 1);
  EXPECT_EQ(this->store().add(over).error().code(), ErrorCode::too_large);
}

TYPED_TEST(PageStoreContract, IsThreadSafe) {
  constexpr std::uint64_t pages = 500;
  PageStore& store = this->store();
  const auto work = [&store](std::uint64_t shift) {
    for (std::uint64_t i = 0; i < pages; ++i) {
      const Bytes page = page_of((i + shift) % pages);
      EXPECT_TRUE(store.add(page));
      EXPECT_EQ(store.find(sha256(page)).value(), page);
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t thread = 0; thread < 4; ++thread)
      threads.emplace_back(work, thread * pages / 4);
  }
  for (std::uint64_t i = 0; i < pages; ++i) EXPECT_TRUE(store.contains(sha256(page_of(i))));
}

class FilePageStoreTest : public ::testing::Test {
 protected:
  std::unique_ptr<FilePageStore> open(bool create = false) {
    auto store = FilePageStore::open(path_, create);
    EXPECT_TRUE(store) << store.error().message();
    return store ? std::move(*store) : nullptr;
  }
  std::uintmax_t file_size() const { return std::filesystem::file_size(path_); }
  Bytes content() const { return read_file(path_, 1 << 20).value(); }

  harness::TemporaryDirectory directory_ = harness::TemporaryDirectory::create().value();
  std::filesystem::path path_ = directory_.path() / "manifest";
};

TEST_F(FilePageStoreTest, KeepsPagesAcrossOpens) {
  {
    const auto store = open(true);
    for (std::uint64_t i = 0; i < 10; ++i) ASSERT_TRUE(store->add(page_of(i)));
    ASSERT_TRUE(store->sync());
  }
  const auto store = open();
  for (std::uint64_t i = 0; i < 10; ++i)
    EXPECT_EQ(store->find(sha256(page_of(i))).value(), page_of(i));
}

TEST_F(FilePageStoreTest, KeepsEqualPagesOnce) {
  const auto store = open(true);
  ASSERT_TRUE(store->add(page_of(1)));
  const std::uintmax_t size = file_size();
  ASSERT_TRUE(store->add(page_of(1)));
  EXPECT_EQ(file_size(), size);
}

TEST_F(FilePageStoreTest, IsMadeForItsOwnerOnly) {
  open(true);
  struct stat status{};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(FilePageStoreTest, IsNotMadeUnasked) {
  EXPECT_EQ(FilePageStore::open(path_, false).error().code(), ErrorCode::not_found);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

// After a crash the file may end anywhere in the last record, or in the middle of the magic.
TEST_F(FilePageStoreTest, CutsOffATornTail) {
  {
    const auto store = open(true);
    ASSERT_TRUE(store->add(page_of(1)));
  }
  const std::uintmax_t whole_first = file_size();
  ASSERT_TRUE(open()->add(page_of(2)));
  const Bytes full = content();
  for (std::size_t length = 0; length < full.size(); ++length) {
    ASSERT_TRUE(replace_file(path_, ByteView(full).first(length)));
    const auto store = open();
    ASSERT_TRUE(store) << length;
    EXPECT_EQ(store->contains(sha256(page_of(1))), length >= whole_first);
    EXPECT_FALSE(store->contains(sha256(page_of(2))));
    ASSERT_TRUE(store->add(page_of(2)));
    EXPECT_EQ(open()->find(sha256(page_of(2))).value(), page_of(2));
  }
}

TEST_F(FilePageStoreTest, ChangesNothingWhenItIsOpenedForLookingOnly) {
  {
    const auto store = open(true);
    ASSERT_TRUE(store->add(page_of(1)));
    ASSERT_TRUE(store->add(page_of(2)));
  }
  const Bytes full = content();
  for (std::size_t length = 0; length <= full.size(); ++length) {
    ASSERT_TRUE(replace_file(path_, ByteView(full).first(length)));
    const auto store = FilePageStore::open_read_only(path_);
    ASSERT_TRUE(store) << length;
    EXPECT_EQ((*store)->contains(sha256(page_of(2))), length == full.size());
    EXPECT_FALSE((*store)->add(page_of(3)));
    EXPECT_EQ(content().size(), length);
  }
}

TEST_F(FilePageStoreTest, CutsOffZerosThatAPowerCutLeft) {
  ASSERT_TRUE(open(true)->add(page_of(1)));
  const std::uintmax_t size = file_size();
  std::filesystem::resize_file(path_, size + 1000);
  EXPECT_TRUE(open()->contains(sha256(page_of(1))));
  EXPECT_EQ(file_size(), size);
}

TEST_F(FilePageStoreTest, RefusesAForeignFileAndLeavesItAlone) {
  for (const std::string_view text : {"#!/bin/sh\necho hello\n", "x", "icbdman2 of tomorrow"}) {
    ASSERT_TRUE(replace_file(path_, as_bytes(text)));
    const auto store = FilePageStore::open(path_, true);
    ASSERT_FALSE(store);
    EXPECT_EQ(store.error().code(), ErrorCode::corrupt);
    EXPECT_THAT(store.error().message(), HasSubstr(path_.string()));
    EXPECT_EQ(as_text(content()), text);
  }
}

TEST_F(FilePageStoreTest, RefusesARecordThatIsNoPage) {
  ASSERT_TRUE(open(true));
  Bytes spoiled = content();
  spoiled.resize(spoiled.size() + 8, std::byte{0xff});
  ASSERT_TRUE(replace_file(path_, spoiled));
  EXPECT_EQ(FilePageStore::open(path_, false).error().code(), ErrorCode::corrupt);
  EXPECT_EQ(content(), spoiled);
}

TEST_F(FilePageStoreTest, NeverHandsOutAPageThatChangedOnDisk) {
  const auto store = open(true);
  const Digest digest = store->add(page_of(1)).value();
  const auto file = open_file(path_, O_WRONLY).value();
  ASSERT_TRUE(write_at(file.get(), as_bytes("!"), file_size() - 1));
  const auto found = store->find(digest);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code(), ErrorCode::corrupt);
  EXPECT_THAT(found.error().message(), HasSubstr(path_.string()));
  // A page that is wrong when the store is opened simply is not that page.
  EXPECT_FALSE(open()->contains(digest));
}

}  // namespace
}  // namespace icbd::manifest
