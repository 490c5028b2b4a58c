#!/bin/bash
# Makes the golden streams of this directory anew: streams of the running kernel and what the dump
# of each must be. Needs root, btrfs-progs 6.0 or newer, acl, attr, and the built tool that writes
# the dumps:
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

# Extents of their own, shared with another place, another file, and the parent's file.
btrfs -q subvolume create reflinks
for part in a b c d; do blocks reflinks/source "$part" "$(($(printf '%d' "'$part") - 97))" 1; done
share reflinks/source reflinks/other-file 4096 0 8192
btrfs -q subvolume snapshot -r reflinks reflinks-one
share reflinks/source reflinks/source 0 16384 8192
share reflinks/source reflinks/new-file 8192 4096 4096
share reflinks-one/source reflinks/other-file 12288 65536 4096
btrfs -q subvolume snapshot -r reflinks reflinks-two

# Preallocated, punched, cut and grown.
btrfs -q subvolume create holes
blocks holes/punched p 0 6
blocks holes/cut c 0 3
blocks holes/grown g 0 1
fallocate -l 8192 holes/preallocated
btrfs -q subvolume snapshot -r holes holes-one
fallocate -p -o 4096 -l 8192 holes/punched
truncate -s 5000 holes/cut
truncate -s 1M holes/grown
blocks holes/grown g 255 1
blocks holes/preallocated x 1 1
fallocate -l 16384 holes/preallocated
btrfs -q subvolume snapshot -r holes holes-two

# Everything that is not bytes: names, owners, attributes, flags.
btrfs -q subvolume create metadata
mkdir metadata/directory
echo content >metadata/file
echo program >metadata/program
ln metadata/file metadata/directory/second-name
ln metadata/file metadata/third-name
setfattr -n user.goes -v away metadata/file
setfattr -n trusted.stays -v here metadata/file
btrfs -q subvolume snapshot -r metadata metadata-one
setfattr -x user.goes metadata/file
setfattr -n user.long -v "$(printf 'x%.0s' $(seq 2000))" metadata/file
setfattr -n user.binary -v 0x00ff0a metadata/directory
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 metadata/program
setfacl -m u:1000:r metadata/file
setfacl -d -m g:1001:rx metadata/directory
chmod 4755 metadata/program
chown -h 1000:1001 metadata/directory
touch -d '2001-02-03 04:05:06.789' metadata/program
touch -d '1965-01-01' metadata/directory
rm metadata/third-name
ln metadata/file metadata/fourth-name
mv metadata/directory/second-name metadata/second-name
for flag in A S d; do chattr "+$flag" metadata/file; done
chattr +i metadata/program
chattr +a metadata/directory
btrfs -q subvolume snapshot -r metadata metadata-two
chattr -i metadata/program
chattr -a metadata/directory

btrfs -q send --proto 1 -f "$here/full-v1.stream" one
btrfs -q send --proto 2 -f "$here/full-v2.stream" one
btrfs -q send --proto 2 -p one -f "$here/incremental-v2.stream" two
btrfs -q send --proto 2 --no-data -p one -f "$here/shape-v2.stream" two
btrfs -q send --proto 1 --no-data -p one -f "$here/shape-v1.stream" two
for pair in reflinks holes metadata; do
  btrfs -q send --proto 1 -p "$pair-one" -f "$here/$pair-v1.stream" "$pair-two"
  btrfs -q send --proto 2 -p "$pair-one" -f "$here/$pair-v2.stream" "$pair-two"
done

# Compressed extents as they are: whole ones, the last one of a file, an inline one, and one of
# which a file holds only the middle.
for algorithm in zlib lzo zstd; do
  mount -o "remount,compress-force=$algorithm" "$mountpoint"
  tree=compressed-$algorithm
  btrfs -q subvolume create "$tree"
  python3 -c 'print(*(n // 500 for n in range(60000)))' >"$tree/text"
  printf 'inline%.0s' $(seq 250) >"$tree/inline"
  sync -f "$tree"
  share "$tree/text" "$tree/middle" 40960 0 8192
  blocks "$tree/text" x 8 1
  btrfs -q subvolume snapshot -r "$tree" "$tree-one"
  btrfs -q send --proto 2 --compressed-data -f "$here/$tree-v2.stream" "$tree-one"
done

chmod 644 "$here"/*.stream
for stream in "$here"/*.stream; do
  "$dump_tool" <"$stream" >"${stream%.stream}.dump"
done
