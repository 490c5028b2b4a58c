// mount -t icbd and umount, as an administrator types them or writes them into fstab.
//
// Every script has mounts and processes of its own (unshare): mount.icbd lies in its /sbin, and
// what it leaves running ends with it.

#include <gmock/gmock.h>

#include <fstream>

#include "system/site.h"

namespace icbd::system_test {
namespace {

using ::testing::HasSubstr;

// What each script begins with. /run and /etc/icbd are empty; `attempt COMMAND...` prints its exit
// code and what it said.
constexpr const char* prelude = R"bash(
set -eu
mount -t tmpfs tmpfs /run
mkdir -p /run/layers/upper /run/layers/work /run/lock
layers=upperdir=/run/layers/upper,workdir=/run/layers/work
mount -t overlay -o lowerdir=/usr/sbin,$layers overlay /usr/sbin
ln -sf "$HELPER" /usr/sbin/mount.icbd
ln -sf "$PROGRAMS/icbd-cache" /usr/sbin/icbd-cache
attempt() {
  code=0
  said=$("$@" 2>&1) || code=$?
  echo "$code: $said"
}
# All daemons of this script have ended (the script sees no other processes).
no_daemon() { ! ps -eo comm= | grep -qx icbd-cache; }
wait_until() {
  for i in $(seq 600); do
    if "$@"; then return 0; fi
    sleep 0.05
  done
  echo "timed out: $*"
  return 1
}
options="data_port=$PORT,repository=$REPOSITORY,log=$FOLDER/mount.log"
options="$options,set=rest.listen=127.0.0.1:0,set=fetch.fill_threshold=0"
)bash";

class MountTest : public SiteTest {
 protected:
  void SetUp() override {
    SiteTest::SetUp();
    if (!site) return;
    change("echo hello > file");
    ASSERT_DONE(site->publish("image"));
  }

  // What a bash script prints, and its exit code.
  harness::RunResult script(const std::string& text) {
    const auto file = site->folder() / "script";
    std::ofstream(file) << prelude << text;
    const std::string address = site->master_data();
    const auto result =
        harness::run({"env", std::string("PROGRAMS=") + ICBD_PROGRAMS,
                      std::string("HELPER=") + ICBD_MOUNT_HELPERS + "/mount.icbd",
                      "PORT=" + address.substr(address.rfind(':') + 1),
                      "REPOSITORY=" + (site->cache_root() / "repository").string(),
                      "MOUNTPOINT=" + site->mountpoint().string(),
                      "FOLDER=" + site->folder().string(), "unshare", "--mount", "--pid", "--fork",
                      "--kill-child", "--mount-proc", "bash", file.string()});
    EXPECT_TRUE(result) << result.error().message();
    return result ? *result : harness::RunResult{.exit_code = -1, .output = {}};
  }
  // The script's output; it has to end well.
  std::string output_of(const std::string& text) {
    const harness::RunResult result = script(text);
    EXPECT_EQ(result.exit_code, 0) << result.output;
    return result.output;
  }
};

TEST_F(MountTest, MountsUnmountsAndMountsAgainAtOnce) {
  EXPECT_EQ(output_of(R"(
    for round in 1 2 3; do
      mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
      cat "$MOUNTPOINT/image/1/file"
      findmnt -n -o SOURCE,FSTYPE "$MOUNTPOINT"
      umount "$MOUNTPOINT"
    done
    wait_until no_daemon
  )"),
            "hello\n127.0.0.1:/ fuse.icbd\n"
            "hello\n127.0.0.1:/ fuse.icbd\n"
            "hello\n127.0.0.1:/ fuse.icbd\n");
}

TEST_F(MountTest, MountsFromFstabOnce) {
  EXPECT_EQ(output_of(R"(
    boot=_netdev,nofail,noexec,x-systemd.automount
    echo "127.0.0.1:/ $MOUNTPOINT icbd $boot,$options 0 0" > /run/fstab
    mount -T /run/fstab -a
    findmnt -n "$MOUNTPOINT" -o OPTIONS | grep -o 'ro,nosuid,nodev,noexec'
    mount -T /run/fstab -a  # mounted already: nothing to do
    ps -eo comm= | grep -c icbd-cache
    umount "$MOUNTPOINT"
    wait_until no_daemon
  )"),
            "ro,nosuid,nodev,noexec\n1\n");
}

TEST_F(MountTest, TakesTheConfigurationFromTheUsualPlace) {
  EXPECT_EQ(output_of(R"(
    mkdir -p /run/layers/etc /run/layers/etc-work
    layers=upperdir=/run/layers/etc,workdir=/run/layers/etc-work
    mount -t overlay -o lowerdir=/etc,$layers overlay /etc
    mkdir /etc/icbd
    cat > /etc/icbd/cache.toml <<END
[repository]
path = "$REPOSITORY"
[master]
data = "127.0.0.1:$PORT"
[rest]
listen = "127.0.0.1:0"
END
    mount -t icbd none "$MOUNTPOINT" -o "log=$FOLDER/mount.log"
    cat "$MOUNTPOINT/image/1/file"
    findmnt -n -o SOURCE "$MOUNTPOINT"
  )"),
            "hello\nnone\n");
}

TEST_F(MountTest, ReplacesWhatADeadDaemonLeft) {
  EXPECT_THAT(output_of(R"(
    mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
    kill -KILL $(ps -eo pid=,comm= | awk '$2 == "icbd-cache" {print $1}')
    wait_until no_daemon
    attempt ls "$MOUNTPOINT"
    mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
    cat "$MOUNTPOINT/image/1/file"
    findmnt -n -o TARGET "$MOUNTPOINT" | wc -l
  )"),
              ::testing::AllOf(HasSubstr("Transport endpoint is not connected\n"),
                               HasSubstr("a mount without a daemon is removed\nhello\n1\n")));
}

TEST_F(MountTest, RefusesALiveMount) {
  EXPECT_THAT(
      output_of(R"(
    mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
    attempt mount.icbd 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
    cat "$MOUNTPOINT/image/1/file"
  )"),
      ::testing::AllOf(HasSubstr("32: mount.icbd: "), HasSubstr("is mounted already\nhello\n")));
}

TEST_F(MountTest, ARemountChangesNothing) {
  const std::string output = output_of(R"(
    mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
    attempt mount.icbd 127.0.0.1:/ "$MOUNTPOINT" -o remount,ro
    attempt mount.icbd 127.0.0.1:/ "$MOUNTPOINT" -o remount,rw
    attempt mount.icbd 127.0.0.1:/ "$MOUNTPOINT" -o remount,fill=never
    cat "$MOUNTPOINT/image/1/file"
  )");
  EXPECT_THAT(output, HasSubstr("0: \n"));
  EXPECT_THAT(output, HasSubstr("32: mount.icbd: the view is read-only"));
  EXPECT_THAT(output, HasSubstr("1: mount.icbd: options do not change with a remount"));
  EXPECT_THAT(output, HasSubstr("\nhello\n"));
}

// Every line: what is wrong, as mount's arguments; the exit code and a part of what is said.
TEST_F(MountTest, SaysWhatIsWrong) {
  const std::string output = output_of(R"(
    try() { printf '%s ' "$1"; shift; attempt mount.icbd "$@"; }
    try option    127.0.0.1:/ "$MOUNTPOINT" -o "$options,fil=never"
    try far       127.0.0.1:/ "$MOUNTPOINT" -o "$options,something=1"
    try value     127.0.0.1:/ "$MOUNTPOINT" -o "$options,fill=nevr"
    try key       127.0.0.1:/ "$MOUNTPOINT" -o "$options,set=fetch.timout=1"
    try source    127.0.0.1 "$MOUNTPOINT" -o "$options"
    try port      127.0.0.1:/ "$MOUNTPOINT" -o "$options,port=70000"
    try two       127.0.0.1:5009:/ "$MOUNTPOINT" -o "$options,port=5011"
    try nowhere   127.0.0.1:/ "$MOUNTPOINT/none" -o "$options"
    try file      127.0.0.1:/ /etc/passwd -o "$options"
    try config    127.0.0.1:/ "$MOUNTPOINT" -o "$options,config=$FOLDER/none.toml"
    try without   127.0.0.1:/ "$MOUNTPOINT" -o "data_port=$PORT"
    try daemon    127.0.0.1:/ "$MOUNTPOINT" -o "$options,repository=$FOLDER/none"
    try names     127.0.0.1:/
    try flag      127.0.0.1:/ "$MOUNTPOINT" -x
    if mountpoint -q "$MOUNTPOINT"; then echo mounted; fi
  )");
  for (const char* line :
       {"option 1: mount.icbd: fil is not an option of icbd; did you mean fill=?\n",
        "far 1: mount.icbd: something is not an option of icbd\n",
        "fill must be one of on-read, demand-only, never, not \"nevr\"; did you mean \"never\"?\n",
        "unknown key \"timout\" in [fetch]; did you mean \"timeout\"?\n",
        "source 1: mount.icbd: 127.0.0.1 is not a source: HOST:/",
        "port 1: mount.icbd: 70000 is not a port",
        "two 1: mount.icbd: 127.0.0.1:5009:/ and port=5011 say different ports\n",
        "nowhere 32: mount.icbd: there is no directory",
        "file 32: mount.icbd: /etc/passwd is not a directory",
        "config 1: icbd-cache: configuration: ",
        "without 1: mount.icbd: there is no /etc/icbd/cache.toml: say config=FILE or repository=",
        "daemon 32: icbd-cache: ", "names 1: mount.icbd: a source and a mountpoint are needed",
        "flag 1: mount.icbd: -x is not an option", "icbd-cache did not start; its log is"})
    EXPECT_THAT(output, HasSubstr(line));
  EXPECT_THAT(output, ::testing::Not(HasSubstr("\nmounted")));
}

TEST_F(MountTest, FakeAndSloppyMountsInAnyOrder) {
  EXPECT_EQ(output_of(R"(
    attempt mount.icbd -f 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
    attempt mount.icbd 127.0.0.1:/ -o "$options" -sfn "$MOUNTPOINT" -o something=1
    attempt mount.icbd -o "$options" -n -t icbd [::1]:5009:/ "$MOUNTPOINT" -f
    attempt mount -f -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
    if mountpoint -q "$MOUNTPOINT"; then echo mounted; fi
    no_daemon
    mount.icbd -s -o "something=1,$options" 127.0.0.1:/ "$MOUNTPOINT" -n
    cat "$MOUNTPOINT/image/1/file"
  )"),
            "0: \n0: \n0: \n0: \nhello\n");
}

// systemctl that starts what the unit's ExecStart says (tests/system/services_test.cpp holds it
// against the unit file), and writes down what it was asked.
constexpr const char* with_systemd = R"bash(
mkdir -p /run/systemd/system /run/fake
cat > /usr/sbin/systemctl <<'END'
#!/bin/bash
echo "systemctl $*" >> /run/fake/log
case $1 in
  cat) exit 0 ;;
  is-active) [[ ${!#} == sysinit.target && ! -e /run/fake/booting ]] && exit 0 || exit 3 ;;
  start | restart)
    instance=${2#icbd-cache@}; instance=${instance%.service}
    . "/run/icbd/$instance.env"
    rm -f /run/fake/ready
    mkfifo /run/fake/ready
    mountpoint=$(systemd-escape -u -p "$instance")
    setsid icbd-cache --config "$ICBD_CONFIG" --set "view.mountpoint=$mountpoint" \
      $ICBD_SETTINGS > /run/fake/ready 2>> /run/fake/daemon.log &
    grep -q ' ready ' /run/fake/ready ;;
esac
END
printf '#!/bin/sh\ncat /run/fake/daemon.log\n' > /usr/sbin/journalctl
chmod +x /usr/sbin/systemctl /usr/sbin/journalctl
)bash";

TEST_F(MountTest, StartsAServiceWhereSystemdRuns) {
  const std::string output = output_of(std::string(with_systemd) + R"(
    mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "_netdev,$options"
    cat "$MOUNTPOINT/image/1/file"
    grep -cF "systemctl start icbd-cache@$(systemd-escape -p "$MOUNTPOINT").service" /run/fake/log
    if [ -e "$FOLDER/mount.log" ]; then echo "the helper started it"; fi
  )");
  EXPECT_EQ(output, "hello\n1\n");
}

TEST_F(MountTest, ShowsWhyTheServiceFailed) {
  const std::string output = output_of(std::string(with_systemd) + R"(
    attempt mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "_netdev,$options,repository=$FOLDER/none"
    attempt mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "_netdev,$options,repository=$FOLDER/a b"
    touch /run/fake/booting
    attempt mount -t icbd 127.0.0.1:/ "$MOUNTPOINT" -o "$options"
  )");
  EXPECT_THAT(output, HasSubstr("32: icbd-cache: "));
  EXPECT_THAT(output, HasSubstr(".service did not start; journalctl -u "));
  EXPECT_THAT(output, HasSubstr("1: mount.icbd: repository.path="));
  EXPECT_THAT(output, HasSubstr("add _netdev to its line in fstab"));
}

}  // namespace
}  // namespace icbd::system_test
