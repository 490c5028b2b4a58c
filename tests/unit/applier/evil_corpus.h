// Streams that were made to do harm, one function's worth of each.
#pragma once

#include <string>
#include <vector>

#include "icbd/base/bytes.h"
#include "icbd/base/uuid.h"

namespace icbd::applier {

struct EvilStream {
  std::string name;    // what it tries is said beside it in evil_corpus.cpp
  Bytes stream;        // whole, as a peer would send it
  std::string reason;  // the error says this
};

// What the streams are aimed at.
struct Target {
  std::string outside_file;  // an absolute path
  Uuid own;                  // of the subvolume that is received
  Uuid parent;               // a version that may be cloned from, with `file`
  Uuid foreign;              // one that may not, with `file`
};

std::vector<EvilStream> evil_corpus(const Target& target);

}  // namespace icbd::applier
