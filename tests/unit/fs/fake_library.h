// A library of images without content, which the test changes.
#pragma once

#include <memory>
#include <mutex>

#include "icbd/fs/library.h"

namespace icbd::fs {

class FakeLibrary : public Library {
 public:
  std::shared_ptr<const Images> images() override {
    const std::lock_guard lock(mutex_);
    return images_;
  }
  void show(Images images) {
    const std::lock_guard lock(mutex_);
    images_ = std::make_shared<const Images>(std::move(images));
  }
  std::optional<VersionEntry> version(VersionSerial) override { return std::nullopt; }
  std::shared_ptr<Tree> tree(VersionSerial) override { return nullptr; }
  void prepare(VersionSerial, TreeDone done) override { done(fail(ErrorCode::io, "no content")); }
  Result<struct statvfs> space() override { return fail(ErrorCode::internal, "not asked"); }

 private:
  std::mutex mutex_;
  std::shared_ptr<const Images> images_ = std::make_shared<const Images>();
};

}  // namespace icbd::fs
