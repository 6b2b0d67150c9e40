"""What README.md and docs/ tell people to type works as printed, and their links lead somewhere.

A block of code that begins with ```sh test, ```python test or ```js test is run against a server of
its page's own. The sh blocks of a page run in one shell: variables, files and credentials last from
one to the next. Words behind `test` name tools that not every machine has; where one is missing,
the block is left out. A block of ```cpp from a file is part of that file, where it is compiled.
"""

import os
import re
import shutil
import subprocess
import urllib.parse

import pytest

from harness import BINARY, ROOT
from sockets import Room, run_async

NODE_FOLDER = ROOT / "tests" / "node"
SKIPPED_FOLDERS = {".git", "build", "data", "node_modules"}
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
REPOSITORY_PATH = re.compile(r"`((?:src|tests|tools|bench|web|cmake|deploy|docs)/[\w./-]+)`")
# With it, an answer of 400 or more fails the session, and curl does not draw its progress.
PRELUDE = """set -euo pipefail
curl() { command curl --silent --show-error --fail-with-body "$@"; }
trap 'echo "the block at $block failed" >&2' ERR
set -E
"""


class Block:
    def __init__(self, path, line, info, code):
        self.place = f"{path.relative_to(ROOT)}:{line}"
        self.language, *words = info.split() or [""]
        self.is_test = words[:1] == ["test"]
        self.from_file = words[1] if words[:1] == ["from"] else None
        self.tools = words[1:]
        self.code = code


def markdown_files():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
        yield from (ROOT / folder / name for name in sorted(names) if name.endswith(".md"))


def blocks(path):
    text = path.read_text()
    for match in FENCE.finditer(text):
        yield Block(path, text.count("\n", 0, match.start()) + 1, *match.groups())


def examples_in(path, language):
    return [block for block in blocks(path) if block.is_test and block.language == language]


def pages_with(language):
    pages = [path for path in markdown_files() if examples_in(path, language)]
    return pytest.mark.parametrize("page", pages, ids=lambda path: str(path.relative_to(ROOT)))


def adapted(server, code):
    """The code for this server; as people have it, it speaks of the usual port and build folder."""
    code = code.replace("localhost:8000", f"localhost:{server.port}")
    return code.replace("build/release/subforge", str(BINARY))


def run(server, *command):
    """Runs a command where the server was started, and so with its database."""
    done = subprocess.run(
        command, cwd=server.folder, capture_output=True, text=True, timeout=60,
        stdin=subprocess.DEVNULL, env={**os.environ, "no_proxy": "localhost"},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_each_kind_of_example_is_found():
    found = {}
    for page in markdown_files():
        for block in filter(lambda one: one.is_test, blocks(page)):
            found.setdefault(str(page.relative_to(ROOT)), set()).add(block.language)
    assert set().union(*found.values()) <= {"sh", "python", "js"}, found
    assert found["README.md"] == {"sh", "js"}
    assert found["docs/websocket-protocol.md"] == {"python"}


@pages_with("sh")
def test_commands(fresh, page):
    session = [PRELUDE]
    for block in examples_in(page, "sh"):
        if all(shutil.which(tool) for tool in block.tools):
            session.append(f"block={block.place}\n{adapted(fresh, block.code)}")
    run(fresh, "bash", "-c", "\n".join(session))


def test_code_is_that_of_the_file_it_names():
    named = [(block, block.from_file) for page in markdown_files() for block in blocks(page)
             if block.from_file]
    assert named
    for block, path in named:
        assert block.code in (ROOT / path).read_text(), f"{block.place} is not as in {path}"


def test_a_command_that_fails_is_noticed(fresh):
    url = "http://localhost:8000/api/v2/agents/nope"
    session = adapted(fresh, f'{PRELUDE}block=here:1\ncurl "{url}" | cat\necho on\n')
    with pytest.raises(AssertionError, match="(?s)Agent nope not found.*at here:1 failed"):
        run(fresh, "bash", "-c", session)


@pages_with("python")
def test_python(fresh, page):
    for block in examples_in(page, "python"):
        run(fresh, "/usr/bin/python3", "-c", adapted(fresh, block.code))


@pages_with("js")
@run_async
async def test_javascript(fresh, page):
    """The examples speak in a room; whoever is there hears them."""
    if not (NODE_FOLDER / "node_modules" / "ws").is_dir():
        pytest.fail("the npm packages of tests/node are missing: ./dev setup brings them")
    for block in examples_in(page, "js"):
        room = re.search(r"room: '(\w+)'", block.code).group(1)
        async with Room(fresh, room) as listener:
            code = "import WebSocket from 'ws';\n" + adapted(fresh, block.code)
            with subprocess.Popen(["node", "--input-type=module", "-e", code], cwd=NODE_FOLDER,
                                  stdout=subprocess.DEVNULL) as node:
                try:
                    heard = await listener.find(lambda m: "message" in m["data"], 20)
                    assert heard["data"]["message"] in block.code
                finally:
                    node.kill()


# ---- Links -------------------------------------------------------------------------------------


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))


def anchors(path):
    """What GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ +(.*?) *$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
        parts = urllib.parse.urlsplit(target)
        if parts.scheme:
            continue
        to = path.parent / urllib.parse.unquote(parts.path) if parts.path else path
        if not to.exists():
            yield f"{path.relative_to(ROOT)}: {target} leads nowhere"
        elif parts.fragment and parts.fragment not in anchors(to):
            yield f"{path.relative_to(ROOT)}: {target} has no such heading"


def test_links():
    pages = list(markdown_files())
    assert ROOT / "README.md" in pages and ROOT / "docs" / "architecture.md" in pages
    assert [problem for page in pages for problem in broken_links(page)] == []


def test_a_broken_link_is_noticed():
    page = ROOT / "docs" / "no-such-page.md"
    folder = page.parent

    class Page:
        parent = folder

        @staticmethod
        def read_text():
            return "[a](api.md) [b](api.md#errors) [c](gone.md) [d](api.md#gone) `[e](f)`\n"

        @staticmethod
        def relative_to(_):
            return "page"

    assert list(broken_links(Page)) == [
        "page: gone.md leads nowhere", "page: api.md#gone has no such heading"]


def test_paths_that_pages_name_exist():
    """Files named in code marks, as in `src/app/server.cpp`."""
    gone = []
    for page in markdown_files():
        for name in REPOSITORY_PATH.findall(FENCE.sub("", page.read_text())):
            if not (ROOT / name).exists():
                gone.append(f"{page.relative_to(ROOT)}: {name}")
    assert gone == []
