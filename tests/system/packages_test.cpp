// The Debian packages: what is in them, and what installing, upgrading, removing and purging them
// does, in a fresh Debian 12 that debootstrap fetches. Minutes long: only with ICBD_LONG=1.

#include <gmock/gmock.h>

#include <fstream>

#include "system/long_run.h"
#include "system/site.h"

namespace icbd::system_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* build =
    "cmake --build '" ICBD_BUILD "' --target packages && cp '" ICBD_BUILD "'/packages/*.deb .";

class PackagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ICBD_SKIP_UNLESS_ROOT();
    if (!is_long_run()) GTEST_SKIP() << "builds packages and fetches a Debian; set ICBD_LONG=1";
    auto folder = harness::TemporaryDirectory::create();
    ASSERT_DONE(folder);
    folder_.emplace(std::move(*folder));
    ASSERT_DONE(harness::shell_checked("rm -f '" ICBD_BUILD "'/packages/*.deb"));
    const auto built = in_folder(build);
    ASSERT_EQ(built.exit_code, 0) << built.output;
  }
  harness::RunResult in_folder(const std::string& script) {
    const auto result = harness::shell("cd '" + folder_->path().string() + "'; " + script);
    EXPECT_TRUE(result) << result.error().message();
    return result ? *result : harness::RunResult{.exit_code = -1, .output = {}};
  }
  std::optional<harness::TemporaryDirectory> folder_;
};

TEST_F(PackagesTest, HoldWhatTheySay) {
  const std::string command = in_folder("dpkg-deb -c icbd_*.deb").output;
  const std::string master = in_folder("dpkg-deb -c icbd-master_*.deb").output;
  const std::string cache = in_folder("dpkg-deb -c icbd-cache_*.deb").output;
  const std::string library = in_folder("dpkg-deb -c libicbd-dev_*.deb").output;
  EXPECT_THAT(command, HasSubstr(" ./usr/bin/icbd\n"));
  EXPECT_THAT(command, HasSubstr(" ./usr/share/doc/icbd/semantics.md"));
  EXPECT_THAT(command, Not(HasSubstr("sbin")));
  for (const char* file :
       {" ./usr/sbin/icbd-master\n", " ./lib/systemd/system/icbd-master.service\n",
        " ./etc/icbd/master.toml\n"})
    EXPECT_THAT(master, HasSubstr(file));
  for (const char* file :
       {" ./usr/sbin/icbd-cache\n", " ./usr/sbin/mount.icbd\n", " ./etc/icbd/cache.toml\n",
        " ./lib/systemd/system/icbd-cache@.service\n", " ./usr/lib/tmpfiles.d/icbd.conf\n",
        " ./usr/share/doc/icbd-cache/examples/updatedb-icbd.conf\n"})
    EXPECT_THAT(cache, HasSubstr(file));
  EXPECT_THAT(library, HasSubstr(" ./usr/include/icbd/sendstream/decoder.h\n"));
  EXPECT_THAT(library, Not(HasSubstr("include/icbd/cache")));
  // An administrator's changes to the configuration survive.
  EXPECT_EQ(in_folder("dpkg-deb -I icbd-cache_*.deb conffiles").output, "/etc/icbd/cache.toml\n");
  EXPECT_EQ(in_folder("dpkg-deb -I icbd-master_*.deb conffiles").output, "/etc/icbd/master.toml\n");
}

TEST_F(PackagesTest, HaveNoErrorsForLintian) {
  const auto judged = in_folder("lintian --allow-root --fail-on error *.deb");
  EXPECT_EQ(judged.exit_code, 0) << judged.output;
}

// What somebody else builds against libicbd-dev.
TEST_F(PackagesTest, TheLibraryCanBeBuiltAgainst) {
  const auto built = in_folder(R"(
    dpkg-deb -x libicbd-dev_*.deb root
    cat > reader.cpp <<END
#include <icbd/sendstream/decoder.h>
#include <icbd/base/digest.h>
int main() { return icbd::sha256({}).to_string().size() == 64 ? 0 : 1; }
END
    pc=$(dirname root/usr/lib/*/pkgconfig/icbd.pc)
    export PKG_CONFIG_PATH=$pc
    g++ -std=c++23 reader.cpp -o reader \
      $(pkg-config --define-variable=prefix=$PWD/root/usr --cflags --libs icbd)
    ./reader
  )");
  EXPECT_EQ(built.exit_code, 0) << built.output;
}

// What the chroot is for: $CHROOT, a fresh Debian with the packages in /packages and, as revision
// 2, in /packages2; BTRFS at /srv/icbd. `inside COMMAND...` runs there.
constexpr const char* prelude = R"bash(
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
CHROOT=$PWD/chroot
inside() { chroot "$CHROOT" "$@"; }
quietly() { "$@" > log 2>&1 || { tail log; exit 1; } }
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' |
  grep '/debian/*$' | head -n 1)
quietly debootstrap --variant=minbase bookworm "$CHROOT" "$mirror"
for file in /etc/apt/apt.conf.d/*proxy*; do
  if [ -e "$file" ]; then cp "$file" "$CHROOT/etc/apt/apt.conf.d/"; fi
done
mount -t proc proc "$CHROOT/proc"
mkdir -p "$CHROOT/packages" "$CHROOT/packages2"
mount -o bind "$STORE" "$CHROOT/srv"
mkdir "$CHROOT/srv/icbd"
cp icbd_*.deb icbd-master_*.deb icbd-cache_*.deb "$CHROOT/packages"
for file in "$CHROOT"/packages/*.deb; do
  dpkg-deb -R "$file" unpacked
  sed -i -E 's/^(Version: .*)-1$/\1-2/; s/\(= ([^)]*)-1\)/(= \1-2)/' unpacked/DEBIAN/control
  dpkg-deb -b unpacked "$CHROOT/packages2" > /dev/null
  rm -r unpacked
done
# The master answers on ports of the kernel's choice: $server.
# Started by its own name, not through inside(): it is the daemon that is to be ended.
with_master() {
  : > ready
  chroot "$CHROOT" icbd-master --config /etc/icbd/master.toml --set rest.listen=127.0.0.1:0 \
    --set data.listen=127.0.0.1:0 > ready 2> master.log &
  master=$!
  until grep -q ready ready; do kill -0 $master || { cat master.log; exit 1; }; sleep 0.1; done
  server=http://$(sed 's/.*rest=\([^ ]*\).*/\1/' ready)
  "$@"
  kill $master
  wait $master
}
publish() {
  btrfs subvolume create "$CHROOT/srv/live" > /dev/null
  echo hello > "$CHROOT/srv/live/file"
  inside icbd --server "$server" publish win11 /srv/live -m first
}
list() { inside icbd --server "$server" list win11; }
)bash";

TEST_F(PackagesTest, VersionsSurviveUpgradeRemovalAndPurge) {
  auto store = harness::LoopBtrfs::create();
  ASSERT_DONE(store);
  std::ofstream(folder_->path() / "script") << prelude << R"bash(
    inside apt-get -qq update
    quietly inside sh -c 'apt-get -qq -y --no-install-recommends install /packages/*.deb'
    inside icbd-cache --config /etc/icbd/cache.toml --check-config
    with_master publish
    echo '# mine' >> "$CHROOT/etc/icbd/master.toml"
    find "$CHROOT/srv/icbd" ! -name 'catalog*' | sort > before

    echo "--- upgrade"
    quietly inside sh -c 'apt-get -qq -y install /packages2/*.deb'
    inside dpkg-query -W -f '${Package} ${Version}\n' icbd-master
    tail -n 1 "$CHROOT/etc/icbd/master.toml"
    with_master list

    echo "--- remove"
    inside apt-get -qq -y remove icbd icbd-master icbd-cache
    if inside sh -c 'command -v icbd icbd-master icbd-cache mount.icbd'; then echo "still there"; fi
    ls "$CHROOT/etc/icbd"

    echo "--- purge"
    inside apt-get -qq -y purge icbd icbd-master icbd-cache
    if [ -e "$CHROOT/etc/icbd" ]; then echo "/etc/icbd is still there"; fi
    find "$CHROOT/srv/icbd" ! -name 'catalog*' | sort | diff before - && echo "nothing is missing"
    cat "$CHROOT/srv/icbd/win11/1/file"
  )bash";
  const auto result = in_folder("STORE='" + (*store)->path().string() +
                                "' unshare --mount --pid --fork --kill-child bash script");
  EXPECT_EQ(result.exit_code, 0) << result.output;
  for (const char* line :
       {"/etc/icbd/cache.toml: no errors", "--- upgrade\nicbd-master ", "-2\n# mine\n",
        "cache.toml\nmaster.toml\n", "icbd-master: the repository with its versions (/srv/icbd, ",
        "icbd-cache: the repository with its versions (/srv/icbd, ", "nothing is missing\nhello\n"})
    EXPECT_THAT(result.output, HasSubstr(line));
  EXPECT_THAT(result.output, Not(HasSubstr("still there")));
}

}  // namespace
}  // namespace icbd::system_test
