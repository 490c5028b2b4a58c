// Random opens, closes, drops and deaths of the process, over a kernel that insists on its rules.
//
// As in a mount: requests that were taken when the process dies are sent again to the next one, in
// any order; what had been done of them and what not is up to the moment of death.

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>
#include <random>

#include "icbd/fs/node_id.h"

#include "fake_kernel.h"
#include "kernel_interface.h"
#include "open_nodes.h"

namespace icbd::fs {
namespace {

constexpr std::uint32_t versions = 3;
constexpr std::uint64_t inodes = 4;

struct Request {
  std::uint64_t unique = 0;
  std::uint64_t node = 0;
  std::optional<std::uint64_t> release;  // the handle; an open otherwise
};

class Model {
 public:
  explicit Model(unsigned seed) : random_(seed) { start_process(); }

  void step() {
    const std::uint64_t chance = below(100);
    if (chance < 35)
      requests_.push_back({.unique = unique_ += 2, .node = any_node(), .release = {}});
    else if (chance < 55)
      close_any();
    else if (chance < 90)
      serve_any();
    else if (chance < 95)
      forget(any_version());
    else
      die();
    check();
  }

  // Everything is closed and dropped.
  void end() {
    kernel_.kill_in.reset();
    serve_all();
    while (!kernel_.files().empty()) close_any();
    serve_all();
    for (std::uint32_t serial = 1; serial <= versions; ++serial) forget(VersionSerial(serial));
    check();
    EXPECT_THAT(kernel_.backings(), ::testing::IsEmpty()) << "the kernel still has these";
    for (const auto& handle : memory_->handles().first(memory_->header().handles_used))
      EXPECT_EQ(handle.node, 0u) << "a slot that nobody uses";
    for (const auto& backing : memory_->backings().first(memory_->header().backings_used))
      EXPECT_EQ(backing.node, 0u) << "a slot that nobody uses";
  }

  int deaths() const { return deaths_; }

 private:
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  VersionSerial any_version() {
    return VersionSerial(1 + static_cast<std::uint32_t>(below(versions)));
  }
  std::uint64_t any_node() {
    return encode(NodeId::of_content(any_version(), InodeNumber(257 + below(inodes)), true, 0))
        .value();
  }

  void close_any() {
    if (kernel_.files().empty()) return;
    const auto file = std::next(kernel_.files().begin(),
                                static_cast<std::ptrdiff_t>(below(kernel_.files().size())));
    const std::uint64_t handle = file->first, node = file->second.node;
    kernel_.closed(handle);
    requests_.push_back({.unique = unique_ += 2, .node = node, .release = handle});
  }

  // One thread of the view takes a request; the process may die at any moment of it.
  void serve_any() {
    if (requests_.empty()) return;
    const auto place = requests_.begin() + static_cast<std::ptrdiff_t>(below(requests_.size()));
    if (below(4) == 0) kernel_.kill_in = static_cast<unsigned>(below(4));
    const auto done = act(*place);
    kernel_.kill_in.reset();
    if (!done) return die();
    if (below(8) == 0) return die();  // done, and not answered
    if (done->has_value()) kernel_.opened(place->node, **done);
    requests_.erase(place);
  }
  void serve_all() {
    while (!requests_.empty()) serve_any();
  }

  // Nothing if the process was killed over it; else what an open is answered.
  std::optional<std::optional<OpenNodes::Opened>> act(const Request& request) {
    try {
      if (!request.release) return open(request);
      nodes_->close(*request.release);
      return std::optional<OpenNodes::Opened>();
    } catch (const Killed&) {
      return std::nullopt;
    }
  }
  // Nothing if it was refused.
  std::optional<OpenNodes::Opened> open(const Request& request) {
    auto opened = nodes_->open_known(request.node, request.unique);
    // Another thread may open or close it while the file is being opened.
    const bool whole = below(3) != 0;
    if (!opened)
      opened = nodes_->open(request.node, request.unique, std::make_shared<FakeFile>(whole));
    if (*opened) return **opened;
    EXPECT_EQ(opened->error().errno_value(), ESTALE) << "open when its version went";
    return std::nullopt;
  }

  void forget(VersionSerial serial) {
    if (below(4) == 0) kernel_.kill_in = static_cast<unsigned>(below(6));
    for (bool done = false; !done;) {
      try {
        nodes_->forget(serial);
        done = true;
      } catch (const Killed&) {
        die();  // whoever wants it dropped says so again
      }
      kernel_.kill_in.reset();
    }
  }

  void die() {
    ++deaths_;
    for (Request& request : requests_) request.unique |= kernel::unique_resend;
    std::ranges::shuffle(requests_, random_);
    start_process();
  }
  // Some die while they take over.
  void start_process() {
    for (bool started = false; !started;) {
      unique_fd kept(::fcntl(memory_->fd(), F_DUPFD_CLOEXEC, 0));
      nodes_.reset();
      memory_.emplace(ConnectionMemory::attach(std::move(kept)).value());
      if (below(8) == 0) kernel_.kill_in = static_cast<unsigned>(below(3));
      try {
        nodes_.emplace(*memory_, kernel_, make_silent_logger());
        started = true;
      } catch (const Killed&) {
      }
      kernel_.kill_in.reset();
    }
  }

  void check() const {
    // What is open: files, and what a request under way has opened or not yet closed.
    for (std::uint32_t number = 1; number <= versions; ++number) {
      const VersionSerial serial(number);
      const auto is_of = [serial](std::uint64_t node) { return decode(node)->serial == serial; };
      std::size_t least = 0, most = 0;
      for (const auto& [handle, file] : kernel_.files())
        if (is_of(file.node)) ++least;
      most = least;
      for (const Request& request : requests_)
        if (is_of(request.node)) ++most;
      EXPECT_GE(nodes_->open_handles(serial), least);
      EXPECT_LE(nodes_->open_handles(serial), most);
    }
  }

  std::mt19937_64 random_;
  FakeKernel kernel_;
  std::optional<ConnectionMemory> memory_ = ConnectionMemory::create().value();
  std::optional<OpenNodes> nodes_;
  std::vector<Request> requests_;
  std::uint64_t unique_ = 0;
  int deaths_ = 0;
};

TEST(OpenNodesModel, NeverBreaksTheKernelsRulesNorLosesAnything) {
  constexpr int runs = 40, steps = 500;
  const unsigned first = std::random_device()();
  int deaths = 0;
  for (int run = 0; run < runs && !::testing::Test::HasFailure(); ++run) {
    const unsigned seed = first + static_cast<unsigned>(run);
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Model model(seed);
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) model.step();
    model.end();
    deaths += model.deaths();
  }
  std::cout << fmt::format("seeds from {}, {} deaths\n", first, deaths);
  EXPECT_GT(deaths, runs);
}

}  // namespace
}  // namespace icbd::fs
