// Directory listings that need nothing remembered per open directory.
//
// Purpose: the kernel reads a directory in pieces, and goes on from the last entry's cookie; each
// piece may be answered by another process. A cookie is made of what the entry is, not of its
// place, so that entries which come or go meanwhile move no others.
// Guarantees: ListingCache is thread-safe; a listing is immutable.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "icbd/fs/node_id.h"

namespace icbd::fs {

struct Listing {
  struct Item {
    std::uint64_t cookie = 0;  // ascending; 0 is before the first
    std::string name;
    NodeId node;
    std::uint32_t mode = 0;  // file type bits
  };
  std::vector<Item> items;
  std::shared_ptr<const void> made_of;  // null: of what never changes

  // The first item behind the cookie.
  std::size_t after(std::uint64_t cookie) const;
};

// The last listings that were read: reading on in a long one must not make it again.
class ListingCache {
 public:
  static constexpr std::size_t most_items = 200'000;

  // Null if there is none, or if it was made of something else.
  std::shared_ptr<const Listing> find(std::uint64_t node, const std::shared_ptr<const void>& of);
  void keep(std::uint64_t node, std::shared_ptr<const Listing> listing);

 private:
  struct Entry {
    std::uint64_t node = 0;
    std::shared_ptr<const Listing> listing;
  };
  void forget(std::uint64_t node);

  std::mutex mutex_;          // guards what is below
  std::list<Entry> entries_;  // the one used last in front
  std::unordered_map<std::uint64_t, std::list<Entry>::iterator> by_node_;
  std::size_t items_ = 0;
};

}  // namespace icbd::fs
