// Planted bugs, one per sanitizer. tests/run builds this with the flags of a sanitizer build and
// trusts that build only if the bug is caught: a sanitizer that is not at work finds nothing, and
// that looks like success.
#include <climits>
#include <cstdio>
#include <memory>
#include <string_view>
#include <thread>

namespace {

int use_after_free() {
  auto owner = std::make_unique<int>(1);
  const volatile int* dangling = owner.get();
  owner.reset();
  return *dangling;
}

int signed_overflow(int argument_count) {
  const volatile int large = INT_MAX;
  return large + argument_count;
}

int data_race() {
  int counter = 0;
  std::thread other([&counter] { ++counter; });
  ++counter;
  other.join();
  return counter;
}

}  // namespace

int main(int argument_count, char** arguments) {
  const std::string_view bug = argument_count > 1 ? arguments[1] : "";
  int result = 0;
  if (bug == "address") {
    result = use_after_free();
  } else if (bug == "undefined") {
    result = signed_overflow(argument_count);
  } else if (bug == "thread") {
    result = data_race();
  } else {
    std::fputs("usage: sanitizer_canary address|undefined|thread\n", stderr);
    return 2;
  }
  std::printf("nothing noticed the bug; result %d\n", result);
  return 0;
}
