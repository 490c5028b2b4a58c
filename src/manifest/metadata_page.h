// A metadata page while it is being written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "icbd/manifest/manifest.h"

namespace icbd::manifest {

// The entry as it stands in a page after an entry with the path `previous` ("" if it is the page's
// first).
Bytes encode_entry(const Entry& entry, std::string_view previous);

class MetadataPageWriter {
 public:
  void add(const Entry& entry) { append(entry.path, encode_entry(entry, last_path_)); }
  // `encoded` is encode_entry() of the entry `path` after last_path().
  void append(std::string_view path, ByteView encoded);

  // "" while the page is empty.
  std::string_view last_path() const { return last_path_; }
  std::uint32_t entries() const { return entries_; }
  // Bytes of the entries so far.
  std::size_t entry_bytes() const { return body_.size(); }
  // What the page would measure with `more` bytes of entries added.
  std::size_t page_size_with(std::size_t more) const;
  // The whole page; the next one begins.
  Bytes take();

 private:
  std::string last_path_;
  std::uint32_t entries_ = 0;
  ByteWriter body_;
};

}  // namespace icbd::manifest
