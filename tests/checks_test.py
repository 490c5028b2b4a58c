#!/usr/bin/env python3
"""Tests of the checks themselves: a check that finds nothing in a clean tree must find what is
planted in it."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parent

CLEAN = {
    "README.md": "A project.\n",
    "include/README.md": "Headers that cross a folder boundary.\n",
    "include/icbd/base/error.h": "#pragma once\n#include <string>\n",
    "include/icbd/wire/frame.h": '#pragma once\n#include "icbd/base/error.h"\n',
    "src/wire/README.md": "Frames.\n",
    "src/wire/CMakeLists.txt": "icbd_library(wire SOURCES frame.cpp DEPENDS base PRIVATE zstd)\n",
    "src/wire/frame.cpp": '#include "icbd/wire/frame.h"\n#include "layout.h"\n',
    "src/wire/layout.h": "#pragma once\n",
    "fs/README.md": "The view.\n",
    "fs/view.cpp": '#include <fuse_lowlevel.h>\n#include "icbd/base/error.h"\n',
    "replicator/README.md": "Arrivals.\n",
    "replicator/plan.cpp": '#include "icbd/base/error.h"\n',
}


class PlantedTree(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="icbd-checks-")
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name, content in CLEAN.items():
            self.plant(name, content)

    def plant(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def run_check(self, check):
        return subprocess.run([sys.executable, TESTS / check, "--root", self.root],
                              capture_output=True, text=True, check=False)

    def assert_clean(self, check):
        result = self.run_check(check)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def assert_finds(self, check, place, words):
        result = self.run_check(check)
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        findings = [line for line in result.stdout.splitlines() if line.startswith(place)]
        self.assertEqual(len(findings), 1, result.stdout)
        self.assertIn(words, findings[0])


class Arrows(PlantedTree):
    def test_a_clean_tree_passes(self):
        self.assert_clean("arrows")

    def test_an_empty_tree_is_not_success(self):
        with tempfile.TemporaryDirectory() as empty:
            self.root = pathlib.Path(empty)
            self.assertEqual(self.run_check("arrows").returncode, 1)

    def test_an_arrow_that_runs_back_up(self):
        self.plant("include/icbd/base/up.h", '#pragma once\n#include "icbd/wire/frame.h"\n')
        self.assert_finds("arrows", "include/icbd/base/up.h:2:", "base may not include wire")

    def test_view_and_replicator_do_not_meet(self):
        self.plant("include/icbd/fs/view.h", "#pragma once\n")
        self.plant("replicator/plan.cpp", '#include "icbd/fs/view.h"\n')
        self.assert_finds("arrows", "replicator/plan.cpp:1:", "replicator may not include fs")

    def test_a_private_header_of_another_folder(self):
        self.plant("src/base/bytes.cpp", '#include "../wire/layout.h"\n')
        self.assert_finds("arrows", "src/base/bytes.cpp:1:", "private header of another folder")

    def test_a_private_header_that_only_the_include_path_finds(self):
        self.plant("src/base/bytes.cpp", '#include "layout.h"\n')
        self.assert_finds("arrows", "src/base/bytes.cpp:1:", "not in its folder")

    def test_a_private_header_in_a_public_one(self):
        self.plant("include/icbd/wire/frame.h", '#pragma once\n#include "layout.h"\n')
        self.assert_finds("arrows", "include/icbd/wire/frame.h:2:", "public header")

    def test_headers_of_others_have_one_home(self):
        for what, name in (("BTRFS", "linux/btrfs_tree.h"), ("BTRFS", "btrfsutil.h"),
                           ("FUSE", "fuse3/fuse_lowlevel.h"), ("FUSE", "linux/fuse.h"),
                           ("Boost", "boost/asio.hpp"), ("SQLite", "sqlite3.h"),
                           ("toml++", "toml++/toml.h")):
            with self.subTest(name):
                self.plant("src/wire/frame.cpp", f"#include <{name}>\n")
                self.assert_finds("arrows", "src/wire/frame.cpp:1:", f"headers of {what}")

    def test_a_folder_that_is_not_in_the_table(self):
        self.plant("src/surprise/surprise.cpp", "#include <string>\n")
        self.assert_finds("arrows", "src/surprise/surprise.cpp:1:", "not in the table")

    def test_a_library_that_must_not_be_linked(self):
        self.plant("src/wire/CMakeLists.txt",
                   "icbd_library(wire\n  SOURCES frame.cpp\n  DEPENDS base btrfs)\n")
        self.assert_finds("arrows", "src/wire/CMakeLists.txt:1:", "wire may not depend on btrfs")


class Tidy(PlantedTree):
    def test_a_clean_tree_passes(self):
        self.assert_clean("tidy")

    def test_a_header_without_guard(self):
        self.plant("src/wire/layout.h", "struct Layout {};\n")
        self.assert_finds("tidy", "src/wire/layout.h:1:", "#pragma once")

    def test_a_long_file(self):
        self.plant("src/wire/frame.cpp", "// line\n" * 601)
        self.assert_finds("tidy", "src/wire/frame.cpp:601:", "601 lines")

    def test_a_wide_line(self):
        self.plant("src/wire/frame.cpp", "// " + "…" * 98 + "\n")
        self.assert_finds("tidy", "src/wire/frame.cpp:1:", "101 columns")

    def test_white_space(self):
        for content, words in (("\tint a;\n", "a tab"), ("int a; \n", "space at the end"),
                               ("int a;", "no newline")):
            with self.subTest(words):
                self.plant("src/wire/frame.cpp", content)
                self.assert_finds("tidy", "src/wire/frame.cpp:1:", words)

    def test_work_left_for_later(self):
        for word in ("TO" "DO", "FIX" "ME"):
            with self.subTest(word):
                self.plant("src/wire/frame.cpp", f"// {word}: later\n")
                self.assert_finds("tidy", "src/wire/frame.cpp:1:", word)

    def test_a_path_of_one_machine(self):
        for path in ("/work" "/shared", "/root" "/icbd", "/tmp" "/build-me"):
            with self.subTest(path):
                self.plant("README.md", f"See {path}/x.\n")
                self.assert_finds("tidy", "README.md:1:", "path of one machine")

    def test_a_folder_without_readme(self):
        self.plant("src/codec/lz4.cpp", "int a;\n")
        self.assert_finds("tidy", "src/codec:1:", "without README.md")

    def test_what_tools_made_is_left_alone(self):
        self.plant("build/release/made.h", "\tstruct Made {};")
        self.assert_clean("tidy")


if __name__ == "__main__":
    unittest.main()
