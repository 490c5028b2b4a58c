#include "evil_corpus.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "icbd/base/limits.h"
#include "icbd/sendstream/command.h"
#include "icbd/sendstream/encoder.h"

namespace icbd::applier {
namespace {

using namespace sendstream;

constexpr InodeNumber inode(300);
constexpr std::uint32_t version = 3;
constexpr std::uint64_t huge = std::uint64_t{1} << 62;

Bytes joined(const std::vector<Bytes>& pieces) {
  Bytes all;
  for (const Bytes& piece : pieces) all.insert(all.end(), piece.begin(), piece.end());
  return all;
}

Bytes encoded(const std::vector<Command>& commands) {
  std::vector<Bytes> pieces;
  for (const Command& command : commands) pieces.push_back(encode(command, version).value());
  return joined(pieces);
}

class Corpus {
 public:
  explicit Corpus(const Target& target) : target_(target) {}

  std::vector<EvilStream> take() {
    add_paths();
    add_links();
    add_names();
    add_renames();
    add_clones();
    add_sizes();
    add_orders();
    add_nodes();
    add_attributes();
    add_compressed();
    return std::move(streams_);
  }

 private:
  // These commands between the beginning of a stream and its end.
  void add(const std::string& name, const std::vector<Command>& commands,
           const std::string& reason) {
    add_raw(name,
            {encoded({Subvolume{"tree", target_.own, 1}}), encoded(commands), encoded({End{}})},
            reason);
  }
  void add_raw(const std::string& name, const std::vector<Bytes>& pieces,
               const std::string& reason) {
    streams_.push_back({name, joined({encode_header(version), joined(pieces)}), reason});
  }
  // A file and a directory to begin with.
  static std::vector<Command> with_file(const Command& command) {
    return {MakeFile{"file", inode}, Truncate{"file", 8192}, MakeDirectory{"directory", inode},
            command};
  }

  void add_paths() {
    const std::string not_inside = "not a path inside";
    // A new file beside the subvolume.
    add("MakeBeside", {MakeFile{"../evil", inode}}, not_inside);
    // The same, by a directory that is there.
    add("MakeBesideByDirectory", with_file(MakeFile{"directory/../../evil", inode}), not_inside);
    // Anywhere in the filesystem.
    add("AbsoluteName", {MakeFile{target_.outside_file + "-evil", inode}}, not_inside);
    // Overwrite a file that is there.
    add("WriteOutside", {Write{"../outside/file", 0, as_bytes("evil")}}, not_inside);
    // Empty it.
    add("TruncateOutside", {Truncate{"../outside/file", 0}}, not_inside);
    // Give it away.
    add("ChangeOwnerOutside", {ChangeOwner{"../outside/file", 1, 1}}, not_inside);
    // Make it setuid.
    add("ChangeModeOutside", {ChangeMode{"../outside/file", 04777}}, not_inside);
    // Remove it.
    add("UnlinkOutside", {Unlink{"../outside/file"}}, not_inside);
    // Remove the directory above.
    add("RemoveDirectoryAbove", {RemoveDirectory{".."}}, not_inside);
    // The subvolume itself has no name in itself.
    add("RemoveTheRoot", {RemoveDirectory{""}}, "has no name");
    add("UnlinkTheRoot", {Unlink{""}}, "has no name");
  }

  void add_links() {
    const std::string link = "symbolic link";
    // A symlink to a file outside, then a write to it.
    add("WriteThroughSymlink",
        {MakeSymlink{"link", inode, "../outside/file"}, Write{"link", 0, as_bytes("evil")}},
        "not a regular file");
    // The same with an absolute target.
    add("WriteThroughAbsoluteSymlink",
        {MakeSymlink{"link", inode, target_.outside_file}, Write{"link", 0, as_bytes("evil")}},
        "not a regular file");
    // A symlink to a directory outside, then a file below it.
    add("WriteThroughDirectorySymlink",
        {MakeSymlink{"link", inode, "../outside"}, Write{"link/file", 0, as_bytes("evil")}}, link);
    add("MakeThroughDirectorySymlink",
        {MakeSymlink{"link", inode, "../outside"}, MakeFile{"link/evil", inode}}, link);
    // A chain of symlinks inside that ends outside.
    add("ChainOfSymlinks",
        {MakeSymlink{"first", inode, "second"}, MakeSymlink{"second", inode, "../outside"},
         Unlink{"first/file"}},
        link);
    // A directory that was used is replaced by a symlink: an applier that remembers it is fooled.
    add("DirectoryBecomesSymlink",
        {MakeDirectory{"directory", inode}, MakeFile{"directory/file", inode},
         Write{"directory/file", 0, as_bytes("harmless")}, Rename{"directory", "moved"},
         MakeSymlink{"directory", inode, "../outside"},
         Write{"directory/file", 0, as_bytes("evil")}},
        link);
    // The same with a file.
    add("FileBecomesSymlink",
        {MakeFile{"file", inode}, Write{"file", 0, as_bytes("harmless")}, Unlink{"file"},
         MakeSymlink{"file", inode, target_.outside_file}, Write{"file", 0, as_bytes("evil")}},
        "not a regular file");
    // chmod(2) follows symlinks.
    add("ChangeModeOfSymlink",
        {MakeSymlink{"link", inode, target_.outside_file}, ChangeMode{"link", 04777}}, "chmod");
    // Another name, inside, for a file outside.
    add("HardLinkToOutside", {Link{"mine", "../outside/file"}}, "not a path inside");
    add("HardLinkByAbsoluteName", {Link{"mine", target_.outside_file}}, "not a path inside");
    add("HardLinkThroughSymlink",
        {MakeSymlink{"link", inode, "../outside"}, Link{"mine", "link/file"}}, link);
    // linkat(2) could follow the symlink; then the new name would be the file outside.
    add("HardLinkOfSymlinkThenWrite",
        {MakeSymlink{"link", inode, target_.outside_file}, Link{"mine", "link"},
         Write{"mine", 0, as_bytes("evil")}},
        "not a regular file");
    // Another name, outside, for a file inside.
    add("HardLinkFromOutside", with_file(Link{"../outside/mine", "file"}), "not a path inside");
  }

  void add_names() {
    const std::string not_inside = "not a path inside";
    for (const char* name : {".", "/", "a/", "/a", "a//b", "./a", "a/.", "directory/."})
      add(std::string("Name:") + name, with_file(MakeFile{name, inode}), not_inside);
    // No name at all.
    add("NoName", {MakeFile{"", inode}}, "has no name");
    // One byte more than a name may have.
    add("LongName", {MakeFile{std::string(limits::name_length + 1, 'n'), inode}}, not_inside);
    add("VeryLongName", {MakeFile{std::string(limits::path_length - 1, 'n'), inode}}, not_inside);
    // As long as the codec lets through.
    std::string path = "d";
    while (path.size() + 2 <= limits::path_length) path += "/d";
    path.resize(limits::path_length, 'd');
    add("LongPath", {MakeFile{path, inode}}, "a path of");
    // Directories in directories until no path reaches them.
    std::vector<Command> nested;
    std::string name = "d";
    for (; name.size() < limits::path_length; name += "/d")
      nested.emplace_back(MakeDirectory{name, inode});
    nested.emplace_back(MakeDirectory{name.substr(0, limits::path_length), inode});
    add("NestedDirectories", nested, "a path of");
  }

  void add_renames() {
    // Over a file that is there: what it was is lost without an unlink.
    add("RenameOverFile", with_file(Rename{"directory", "file"}), "rename");
    add("RenameOverDirectory", with_file(Rename{"file", "directory"}), "rename");
    add("RenameOut", with_file(Rename{"file", "../outside/file"}), "not a path inside");
    add("RenameIn", {Rename{"../outside/file", "mine"}}, "not a path inside");
    add("RenameThroughSymlink",
        {MakeFile{"file", inode}, MakeSymlink{"link", inode, "../outside"},
         Rename{"file", "link/file"}},
        "symbolic link");
    // A directory into itself.
    add("RenameIntoItself", with_file(Rename{"directory", "directory/below"}), "rename");
    add("RenameTheRoot", with_file(Rename{"", "directory/root"}), "has no name");
    add("MakeOverFile", with_file(MakeFile{"file", inode}), "mkfile");
    add("SymlinkOverFile", with_file(MakeSymlink{"file", inode, "x"}), "symlink");
  }

  void add_clones() {
    const auto clone = [&](const Uuid& from, const std::string& path, ByteRange source) {
      return with_file(Clone{"file", {0, source.length}, from, 1, path, source.offset});
    };
    // The bytes of a subvolume that nobody offered.
    add("CloneOfForeign", clone(target_.foreign, "file", {0, 4096}), "no version");
    add("CloneOfNobody", clone(Uuid::random(), "file", {0, 4096}), "no version");
    // The bytes of a file beside a version that was offered.
    add("CloneBesideParent", clone(target_.parent, "../foreign/file", {0, 4}), "not a path inside");
    // Its symlink leads there.
    add("CloneThroughSymlink", clone(target_.parent, "link", {0, 4}), "not a regular file");
    // Beyond the end of the source.
    add("CloneBeyondEnd", clone(target_.parent, "file", {0, 1 << 20}), "bytes");
    add("CloneFromBeyondEnd", clone(target_.own, "file", {1 << 20, 4096}), "bytes");
    // Over 64 bits.
    add("CloneOverflow", clone(target_.own, "file", {~std::uint64_t{0} - 4095, 8192}),
        "over 64 bits");
    add("CloneHugeLength", clone(target_.own, "file", {0, huge}), "limit");
    // To FICLONERANGE, 0 is "up to the end".
    add("CloneOfNothing", clone(target_.own, "file", {0, 0}), "nothing");
    // Onto itself.
    add("CloneOverItself", with_file(Clone{"file", {100, 4096}, target_.own, 1, "file", 0}),
        "overlap");
  }

  void add_sizes() {
    // A file of four exabytes.
    add("HugeTruncate", with_file(Truncate{"file", huge}), "limit");
    add("HugeFallocate", with_file(Fallocate{"file", 0, {0, huge}}), "limit");
    add("HugeFallocateOffset", with_file(Fallocate{"file", 1, {huge, 4096}}), "limit");
    add("HugeUpdateExtent", with_file(UpdateExtent{"file", {0, huge}}), "limit");
    add("WriteAtHugeOffset", with_file(Write{"file", huge, as_bytes("evil")}), "limit");
    // Offset and length each fit, their sum does not.
    add("FallocateOverflow", with_file(Fallocate{"file", 0, {~std::uint64_t{0}, 4096}}),
        "over 64 bits");
    add("UpdateExtentOverflow", with_file(UpdateExtent{"file", {~std::uint64_t{0}, 4096}}),
        "over 64 bits");
    add("WriteOverflow", with_file(Write{"file", ~std::uint64_t{0}, as_bytes("evil")}), "limit");
    // Modes of fallocate(2) that move bytes; the kernel's stream has none of them.
    for (const std::uint32_t mode : {8u, 0x20u, 0x40u, 0x80000000u})
      add("FallocateMode:" + std::to_string(mode), with_file(Fallocate{"file", mode, {0, 4096}}),
          "fallocate mode");
  }

  void add_orders() {
    const Bytes begin = encoded({Subvolume{"tree", target_.own, 1}}), end = encoded({End{}});
    const Bytes make = encoded({MakeFile{"file", inode}});
    // A second stream behind the first, which the stock tool takes for another subvolume.
    add_raw("BytesAfterTheEnd", {begin, end, as_bytes_of("evil")}, "after the end");
    add_raw("ACommandAfterTheEnd", {begin, end, make}, "after the end");
    add_raw("AStreamAfterTheEnd", {begin, end, encode_header(version), begin, end},
            "after the end");
    // Another subvolume within one stream.
    add_raw("ASecondSubvolume", {begin, make, begin, end}, "second subvolume");
    add_raw("ASnapshotInBetween",
            {begin, encoded({Snapshot{"evil", Uuid::random(), 1, target_.parent, 1}}), end},
            "second subvolume");
    // Commands without a subvolume.
    add_raw("NoSubvolume", {make, end}, "begin with a subvolume");
    add_raw("OnlyAnEnd", {end}, "begin with a subvolume");
    // Half a version.
    add_raw("NoEnd", {begin, make}, "stops before its end");
    add_raw("Nothing", {}, "stops before its end");
    // A parent that is the version itself.
    add_raw("ItsOwnParent", {encoded({Snapshot{"tree", target_.own, 1, target_.own, 1}}), end},
            "same UUID");
  }

  void add_nodes() {
    // Types that are no devices, and bits beyond any mode.
    for (const std::uint64_t mode :
         {std::uint64_t{0600}, std::uint64_t{S_IFREG | 0600}, std::uint64_t{S_IFDIR | 0700},
          std::uint64_t{S_IFLNK | 0777}, std::uint64_t{S_IFIFO | 0600},
          std::uint64_t{S_IFCHR | 0600} | (std::uint64_t{1} << 40), ~std::uint64_t{0}})
      add("NodeMode:" + std::to_string(mode), {MakeNode{"node", inode, 0x103, mode}}, "mode");
    // A fifo that says it is a disk.
    add("FifoThatIsADevice", {MakeFifo{"fifo", inode, 0x800, S_IFBLK | 0600}}, "mode");
    add("SocketThatIsADevice", {MakeSocket{"socket", inode, 0x800, S_IFBLK | 0600}}, "mode");
    // Data into things that hold none: it would reach the device, or wait for ever.
    add("WriteToDevice",
        {MakeNode{"node", inode, 0x105, S_IFCHR | 0600}, Write{"node", 0, as_bytes("evil")}},
        "not a regular file");
    add("WriteToFifo", {MakeFifo{"fifo", inode}, Write{"fifo", 0, as_bytes("evil")}},
        "not a regular file");
    add("TruncateDirectory", with_file(Truncate{"directory", 0}), "not a regular file");
    add("WriteToTheRoot", {Write{"", 0, as_bytes("evil")}}, "not a regular file");
  }

  void add_attributes() {
    // Larger than the filesystem holds; as large as the codec lets through.
    add("HugeXattr", with_file(SetXattr{"file", "user.huge", Bytes(60'000)}), "setxattr");
    // Names without a namespace, of one that is not there, without a name.
    for (const char* name : {"", "evil", "unknown.evil", "user.", "system.evil"})
      add(std::string("XattrName:") + name, with_file(SetXattr{"file", name, {}}), "set_xattr");
    add("XattrThatIsNotThere", with_file(RemoveXattr{"file", "user.none"}), "removexattr");
    // A property that is none.
    add("XattrProperty", with_file(SetXattr{"file", "btrfs.compression", to_bytes("evil")}),
        "setxattr");
    // The type of the file in its mode.
    add("ModeWithType", with_file(ChangeMode{"file", S_IFBLK | 0600}), "mode");
    add("ModeOverflow", with_file(ChangeMode{"file", ~std::uint64_t{0}}), "mode");
    // To chown(2), -1 is "leave it".
    add("OwnerThatIsNone", with_file(ChangeOwner{"file", 0xffffffff, 0}), "owner");
    add("OwnerOverflow", with_file(ChangeOwner{"file", 0, std::uint64_t{1} << 32}), "owner");
    // Flags of the future.
    add("UnknownFlags", with_file(FileAttributes{"file", std::uint64_t{1} << 20}), "attributes");
    add("VerityWithoutVerity", with_file(FileAttributes{"file", std::uint64_t{1} << 32}),
        "fs-verity");
    add("VerityOfDirectory", with_file(EnableVerity{"directory", 1, 4096, {}, {}}),
        "not a regular file");
  }

  void add_compressed() {
    static const Bytes data(64);
    const auto write = [](std::uint64_t offset, std::uint64_t file_length, std::uint64_t length,
                          std::uint64_t from, std::uint32_t compression) {
      return EncodedWrite{"file", offset, file_length, length, from, compression, 0, data};
    };
    // An extent that says it unpacks to a gigabyte.
    add("CompressedBomb", with_file(write(0, 4096, 1 << 30, 0, 2)), "limit");
    // A part that is not in the whole.
    add("CompressedPart", with_file(write(0, 4096, 4096, 1, 2)), "do not fit");
    add("CompressedPartOverflow", with_file(write(0, 4096, 8192, ~std::uint64_t{0}, 2)),
        "do not fit");
    add("CompressedAtHugeOffset", with_file(write(huge, 4096, 4096, 0, 2)), "limit");
    add("UnknownCompression", with_file(write(0, 4096, 4096, 0, 77)), "compression 77");
    // Where the kernel does not take it unseen, what does not unpack is found.
    add("CompressedNonsense", with_file(write(1, 10, 10, 0, 1)), "do not unpack");
    add("CompressedThroughSymlink",
        {MakeSymlink{"file", inode, target_.outside_file}, write(0, 4096, 4096, 0, 2)},
        "not a regular file");
  }

  static Bytes as_bytes_of(std::string_view text) {
    const ByteView view = as_bytes(text);
    return {view.begin(), view.end()};
  }
  static Bytes to_bytes(std::string_view text) { return as_bytes_of(text); }

  const Target& target_;
  std::vector<EvilStream> streams_;
};

}  // namespace

std::vector<EvilStream> evil_corpus(const Target& target) {
  return Corpus(target).take();
}

}  // namespace icbd::applier
