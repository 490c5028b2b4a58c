#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "icbd/base/file.h"

#include "keys.h"

namespace icbd::config {
namespace {

using ::testing::HasSubstr;

// Every key of the table stands in the example, below the heading of its table.
template <typename Configuration>
void expect_every_key(std::string_view example) {
  Configuration configuration;
  for (const Key& key : keys_of(configuration)) {
    SCOPED_TRACE(fmt::format("[{}] {}", key.table, key.name));
    const std::string heading = key.table.empty() ? "" : fmt::format("\n[{}]\n", key.table);
    const std::size_t begin = example.find(heading);
    ASSERT_NE(begin, std::string_view::npos);
    const std::size_t end = example.find("\n[", begin + 1);
    EXPECT_THAT(std::string(example.substr(begin, end - begin)),
                HasSubstr(fmt::format("\n{} = ", key.name)));
  }
}

TEST(Examples, MentionEveryKey) {
  expect_every_key<Master>(example_master());
  expect_every_key<Cache>(example_cache());
}

TEST(Examples, SayTheDefaults) {
  Master master;
  master.repository = "/srv/icbd";
  EXPECT_EQ(parse_master(example_master(), "example").value(), master);
  Cache cache;
  cache.repository = "/srv/icbd";
  EXPECT_EQ(parse_cache(example_cache(), "example").value(), cache);
}

// "A cache can change `a.b`, … while it runs, a master `c.d`."
template <typename Configuration>
void expect_reloadable_keys(const std::string& said) {
  Configuration configuration;
  for (const Key& key : keys_of(configuration)) {
    const std::string name = fmt::format("`{}.{}`", key.table, key.name);
    EXPECT_EQ(said.find(name) != std::string::npos, key.reloadable) << name;
  }
}

TEST(Operations, SaysWhatChangesWithoutARestart) {
  const Bytes document = read_file(ICBD_OPERATIONS, 1u << 20).value();
  const std::string text(as_text(document));
  const std::size_t cache = text.find("A cache can change"), master = text.find("a master", cache),
                    end = text.find('\n', cache);
  ASSERT_TRUE(cache < master && master < end && end != std::string::npos);
  expect_reloadable_keys<Cache>(text.substr(cache, master - cache));
  expect_reloadable_keys<Master>(text.substr(master, end - master));
}

}  // namespace
}  // namespace icbd::config
