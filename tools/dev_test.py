"""Tests of ./dev: what it asks CMake for. CMake, npm and dpkg-query are stand-ins here."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parent.parent

CMAKE = """#!/bin/sh
echo "$@" >> "$LOG"
case $1 in
  --preset)
    mkdir -p build/release && touch build/release/build.ninja
    tests=ON
    case "$*" in *SUBFORGE_TESTS=OFF*) tests=OFF ;; esac
    echo "SUBFORGE_TESTS:BOOL=$tests" > build/release/CMakeCache.txt ;;
  --build) printf '#!/bin/sh\\necho serving\\n' > build/release/subforge
    chmod +x build/release/subforge ;;
esac
"""
# Everything is installed.
DPKG_QUERY = "#!/bin/sh\nsed -n 's/^\\([a-z][^ ]*\\).*/ii  \\1/p' tools/packages.txt\n"


class DevTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in ("tools", "web", "tests/node", "bin"):
            (self.root / name).mkdir(parents=True)
        for name in ("dev", "CMakePresets.json", "tools/packages.txt"):
            shutil.copy(ROOT / name, self.root / name)
        for name in ("web", "tests/node"):
            (self.root / name / "package.json").write_text("{}")
            (self.root / name / "package-lock.json").write_text("{}")
        stands_in = "#!/bin/sh\nmkdir -p node_modules\n"
        for name, text in (("cmake", CMAKE), ("dpkg-query", DPKG_QUERY), ("npm", stands_in)):
            (self.root / "bin" / name).write_text(text)
            (self.root / "bin" / name).chmod(0o755)

    def dev(self, *arguments):
        """What CMake was called for."""
        log = self.root / "log"
        log.write_text("")
        environment = dict(os.environ, LOG=str(log), SUBFORGE_WERROR="",
                           PATH=f"{self.root}/bin:{os.environ['PATH']}")
        done = subprocess.run([self.root / "dev", *arguments], env=environment, check=False,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stderr)
        return log.read_text().splitlines()

    def test_a_machine_that_only_runs_the_server_needs_nothing_of_the_tests(self):
        first, second = self.dev("run")
        self.assertEqual(first, "--preset release -DSUBFORGE_TESTS=OFF -DSUBFORGE_BENCH=OFF")
        self.assertTrue(second.startswith("--build build/release "), second)
        # It is looked at no more, until somebody builds the tests.
        self.assertEqual(len(self.dev("run")), 1)
        self.assertEqual(self.dev("build", "tests")[0], "--preset release")
        # Who has them keeps them.
        for arguments in (["run"], ["build", "tests"], ["run"]):
            self.assertEqual(len(self.dev(*arguments)), 1, arguments)

    def test_who_builds_the_tests_first_has_them(self):
        self.assertEqual(self.dev("build", "release")[0], "--preset release")
        self.assertEqual(len(self.dev("run")), 1)


if __name__ == "__main__":
    unittest.main()
