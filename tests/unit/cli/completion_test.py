#!/usr/bin/env python3
"""bash completes command lines of icbd, with names that a server answers.

usage: completion_test.py --icbd FILE
"""
import argparse
import http.server
import json
import os
import pathlib
import pty
import select
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ICBD = None
ANSWERS = {
    "/api/images": {"images": [{"name": "win10"}, {"name": "win11"}, {"name": "debian"}]},
    "/api/images/win11": {"name": "win11", "tags": {"current": 2, "stable": 1},
                          "versions": [{"number": 1}, {"number": 2}, {"number": 12}]},
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = ANSWERS.get(self.path)
        self.send_response(200 if answer else 404)
        self.end_headers()
        self.wfile.write(json.dumps(answer or {}).encode())

    def log_message(self, *_):
        pass


# Calls the completion as bash does: $2 is what readline is going to replace.
CALL = r"""
eval "$(icbd completion bash)"
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
_icbd icbd "$2" ""
printf '%s\n' "${COMPREPLY[@]}"
"""


class Completion(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.url = f"http://127.0.0.1:{cls.server.server_address[1]}"

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def environment(self, server=None):
        return {"PATH": f"{ICBD.parent}:{os.environ['PATH']}", "ICBD_SERVER": server or self.url,
                "TERM": "dumb", "HOME": "/nonexistent", "LC_ALL": "C"}

    def complete(self, line, replaced=None, server=None):
        """The words that bash is offered in the place of `replaced`, the last word if not said."""
        replaced = line.split(" ")[-1] if replaced is None else replaced
        run = subprocess.run(["bash", "--norc", "-c", CALL, "bash", line, replaced], text=True,
                             capture_output=True, env=self.environment(server), timeout=30)
        self.assertEqual(run.stderr, "")
        return sorted(run.stdout.split())  # as bash shows them

    def test_commands(self):
        self.assertEqual(self.complete("icbd subs"), ["subscribe", "subscriptions"])
        self.assertIn("doctor", self.complete("icbd "))
        self.assertNotIn("__complete", self.complete("icbd "))

    def test_options_of_the_command_and_of_all(self):
        words = self.complete("icbd pull --")
        self.assertIn("--no-wait", words)
        self.assertIn("--server", words)
        self.assertNotIn("--reason", words)

    def test_images(self):
        self.assertEqual(self.complete("icbd list win"), ["win10", "win11"])

    def test_a_version_begins_with_an_image(self):
        self.assertEqual(self.complete("icbd pull win1"), ["win10@", "win11@"])

    def test_versions_and_tags_behind_the_at_sign(self):
        # readline cuts before the "@", and behind other characters.
        self.assertEqual(self.complete("icbd pull win11@", "@"),
                         ["@1", "@12", "@2", "@current", "@latest", "@stable"])
        self.assertEqual(self.complete("icbd drop win11@1 win11@1", "@1"), ["@1", "@12"])
        self.assertEqual(self.complete("icbd drop win11@1", "1"), ["1", "12"])

    def test_tags_of_the_image_that_was_named(self):
        self.assertEqual(self.complete("icbd untag win11 "), ["current", "stable"])
        self.assertEqual(self.complete("icbd subscribe win11 --tag s"), ["stable"])

    def test_the_server_of_the_command_line_is_asked(self):
        self.assertEqual(
            self.complete(f"icbd --server {self.url} list deb", server="http://127.0.0.1:1"),
            ["debian"])

    def test_no_word_where_none_can_stand(self):
        self.assertEqual(self.complete("icbd list win11 "), [])
        self.assertEqual(self.complete("icbd nonsense "), [])

    def test_a_server_that_is_not_there_is_no_error_and_takes_no_time(self):
        begin = time.monotonic()
        self.assertEqual(self.complete("icbd list w", server="http://127.0.0.1:1"), [])
        self.assertLess(time.monotonic() - begin, 10)

    def test_files_are_left_to_bash(self):
        self.assertEqual(self.complete("icbd config check /et"), [])

    def test_what_send_takes(self):
        self.assertEqual(self.complete("icbd send win1"), ["win10@", "win11@"])
        self.assertEqual(self.complete("icbd send -p win11@s", "s"), ["stable"])
        self.assertEqual(self.complete("icbd send win11@2 --compress z"), ["zlib", "zstd"])
        self.assertEqual(self.complete("icbd send ./"), [])

    def interact(self, keys, until):
        """What an interactive bash shows once `keys` were typed; waits for the text `until`."""
        with tempfile.NamedTemporaryFile("w", suffix=".inputrc") as inputrc:
            inputrc.write("set bell-style none\nset enable-bracketed-paste off\n")
            inputrc.flush()
            child, master = pty.fork()
            if child == 0:
                os.execvpe("bash", ["bash", "--norc", "--noprofile", "-i"],
                           {**self.environment(), "INPUTRC": inputrc.name, "PS1": "ready> "})
            try:
                shown = self.read_until(master, "", "ready> ")
                os.write(master, b'eval "$(icbd completion bash)"; echo load""ed\n')
                shown = self.read_until(master, "", "loaded")
                os.write(master, keys.encode())
                shown = self.read_until(master, "", until)
            finally:
                os.close(master)
                os.waitpid(child, 0)
        return shown

    def read_until(self, master, shown, until):
        deadline = time.monotonic() + 20
        while until not in shown:
            ready, _, _ = select.select([master], [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(ready, f"{until!r} did not come; shown: {shown!r}")
            for character in os.read(master, 4096).decode(errors="replace"):
                shown = shown[:-1] if character == "\b" else shown + character
        return shown

    def test_a_real_bash_completes_a_version_in_two_steps(self):
        # deb TAB -> debian, and after it a blank; win11@st TAB -> win11@stable.
        self.interact("icbd list deb\t", "icbd list debian ")
        self.interact("icbd pull win11@st\t", "icbd pull win11@stable ")
        self.interact("icbd pull deb\t", "icbd pull debian@")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--icbd", type=pathlib.Path, required=True)
    known, rest = parser.parse_known_args()
    ICBD = known.icbd.resolve()
    unittest.main(argv=[sys.argv[0], *rest])
