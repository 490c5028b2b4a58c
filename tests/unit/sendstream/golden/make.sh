#!/bin/bash
# Makes the golden streams of this directory anew: streams of the running kernel and what the dump
# of each must be. Needs root, btrfs-progs 6.0 or newer, and the built tool that writes the dumps:
#   make.sh BUILD_DIRECTORY/tests/sendstream_dump
# Look through `git diff` of the .dump files afterwards: they are the expectation.
set -euo pipefail

dump_tool=$(realpath "${1:?usage: make.sh DUMP_TOOL}")
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
mountpoint=$work/mount

clean_up() {
  cd /
  mountpoint -q "$mountpoint" && umount "$mountpoint"
  rm -rf "$work"
}
trap clean_up EXIT

# share SOURCE DESTINATION SOURCE_OFFSET DESTINATION_OFFSET LENGTH: the extents, not the bytes
share() {
  python3 - "$@" <<'PYTHON'
import fcntl, os, struct, sys
FICLONERANGE = 0x4020940D
source = os.open(sys.argv[1], os.O_RDONLY)
destination = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT, 0o600)
source_offset, destination_offset, length = map(int, sys.argv[3:6])
fcntl.ioctl(destination, FICLONERANGE,
            struct.pack("=qQQQ", source, source_offset, length, destination_offset))
PYTHON
}

# blocks FILE CHARACTER FIRST COUNT: fills 4 KiB blocks of a file in place
blocks() {
  head -c $(($4 * 4096)) /dev/zero | tr '\0' "$2" |
    dd of="$1" bs=4096 seek="$3" conv=notrunc status=none
}

truncate -s 256M "$work/image"
mkfs.btrfs -q "$work/image"
mkdir "$mountpoint"
mount -o loop "$work/image" "$mountpoint"
cd "$mountpoint"

btrfs -q subvolume create tree
cd tree
truncate -s 256K disk.raw
blocks disk.raw a 0 2
blocks disk.raw b 16 1
echo "a few bytes, inline" >small
blocks shrinks s 0 3
mkdir -p directory/below etc
echo moved >directory/below/file
echo gone >directory/removed
ln small hard-link
ln -s ../small directory/symlink
mkfifo fifo
mknod device c 1 3
python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
setfattr -n user.comment -v "first" small
setfattr -n user.empty small
chown 1000:1001 small
chmod 4755 directory/below/file
touch "name with space"
cd ..
btrfs -q subvolume snapshot -r tree one

cd tree
blocks disk.raw c 1 1
blocks disk.raw d 20 1
fallocate -p -o 65536 -l 4096 disk.raw
share disk.raw disk.raw 0 131072 4096
cp --reflink=always disk.raw copy.raw
truncate -s 5000 shrinks
mv directory renamed
mkdir directory
echo "in its place" >directory/file
rm renamed/removed
rm hard-link
ln disk.raw etc/second-name
setfattr -n user.comment -v "second" small
setfattr -x user.empty small
setfattr -n user.added -v "" renamed
chmod 600 small
chattr +d small
cp small rewritten && mv rewritten "name with space"
rm fifo
cd ..
btrfs -q subvolume snapshot -r tree two

btrfs -q send --proto 1 -f "$here/full-v1.stream" one
btrfs -q send --proto 2 -f "$here/full-v2.stream" one
btrfs -q send --proto 2 -p one -f "$here/incremental-v2.stream" two
btrfs -q send --proto 2 --no-data -p one -f "$here/shape-v2.stream" two
btrfs -q send --proto 1 --no-data -p one -f "$here/shape-v1.stream" two

chmod 644 "$here"/*.stream
for stream in "$here"/*.stream; do
  "$dump_tool" <"$stream" >"${stream%.stream}.dump"
done
