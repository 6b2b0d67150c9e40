"""House rules that clang-format and the compiler cannot check.

    tools/lint.py [root]

Prints one line per finding, path:line: [rule] what is wrong and what to do instead, and exits 1 if
there is any. Standard library only; about a second for the whole tree.

A line that has a good reason to break a rule says so on itself or on the line above:

    // lint: allow(naked_new): the connection owns itself; it ends in close().
"""

import dataclasses
import os
import re
import sys

SKIPPED_FOLDERS = {".git", ".cache", "build", "data", "node_modules", "__pycache__"}
CODE_SUFFIXES = (".cpp", ".hpp", ".py", ".cmake", ".sh", ".js", ".mjs", ".ts", ".css")
TEXT_SUFFIXES = CODE_SUFFIXES + (".md", ".txt", ".yml", ".yaml", ".json", ".html", ".toml")
CODE_NAMES = {"dev", "run", "CMakeLists.txt"}
COLUMNS_MAX = 100


@dataclasses.dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: str
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: [{self.rule}] {self.text}"


@dataclasses.dataclass(frozen=True)
class Ban:
    """A pattern that must not stand in the code of src/, comments and literals left out."""

    rule: str
    pattern: str
    instead: str
    allowed_in: tuple = ()  # Folders under src/.
    in_tests: bool = False  # Whether tests may do it.
    unless: str = ""  # What in the line, or at the end of the one before, makes it right.


THREADED = ("base", "runtime", "store/sqlite", "store/postgres", "cache", "limits")
BANS = (
    Ban("threads", r"\bstd::(j?thread|async)\b",
        "work for another thread goes to the blocking pool of runtime/", THREADED + ("app",),
        in_tests=True),
    # What declares one, so that the reason for a lock stands in one place.
    Ban("locks", r"\bstd::(\w*mutex|condition_variable\w*)\s+\w",
        "loops share nothing; send a message to the loop that owns the state", THREADED,
        in_tests=True),
    Ban("sleep", r"\bsleep_(for|until)\b|\b(u|nano)?sleep\s*\(",
        "a thread that sleeps serves nobody; wait with a timer of the loop", THREADED,
        in_tests=True),
    Ban("print", r"\bstd::(cout|cerr|clog|printf|puts)\b|(?<![\w:.>])(printf|puts|fprintf)\s*\(",
        "only the command line in app/ prints; everything else writes to the log", ("app",),
        in_tests=True),
    Ban("using_std", r"\busing\s+namespace\s+std\s*;", "name what you use"),
    # A private constructor is out of make_unique's reach; unique_ptr can take what it made.
    Ban("naked_new", r"(?<!operator )\bnew\s+[A-Za-z_:]\w*",
        "std::make_unique, a container or a value", unless=r"\bunique_ptr<.*\bnew\b"),
    Ban("naked_delete", r"(?<!operator )(?<!= )(?<!=)\bdelete\b\s*(\[\s*\])?\s*[A-Za-z_(*]",
        "let a unique_ptr or a container own it"),
    Ban("c_strings", r"\b(strcpy|strcat|sprintf|vsprintf|strtok|gets|atoi|atol|atof)\s*\(",
        "std::string, fmt, or parse_number of base/text.hpp"),
    Ban("weak_random", r"(?<![\w:.>])s?rand\s*\(|\bstd::(s?rand|mt19937\w*)\b",
        "secure_random or fast_random of base/random.hpp", in_tests=True),
    Ban("environment", r"\b(std::)?(secure_)?getenv\s*\(",
        "settings come from config/, which knows where each value came from",
        ("config", "app"), in_tests=True),
    Ban("shell", r"(?<![\w:.>])(std::)?system\s*\(|\bpopen\s*\(", "no shell in a server"),
)

# Headers that no folder may include, and what there is instead.
BANNED_HEADERS = {
    "boost/asio": "runtime/ has the event loop",
    "boost/beast": "net/ has the HTTP and WebSocket codecs",
    "regex": "a hand-written scan: std::regex is slow and recurses",
    "iostream": "fmt and the log; <iosfwd>, <istream> or <sstream> where a stream must be named",
}
BANNED_HEADERS_ALLOWED_IN = {"iostream": ("app",)}

# Which name in LINK lets a folder include which foreign headers; the longest prefix decides.
FOREIGN_HEADERS = {
    "boost/json": ("Boost::json",),
    "boost/url": ("Boost::url",),
    "boost/": ("Boost::headers", "Boost::json", "Boost::url"),
    "openssl/": ("OpenSSL::Crypto", "OpenSSL::SSL"),
    "sqlite3": ("SQLite::SQLite3",),
    "libpq-fe.h": ("PostgreSQL::PostgreSQL",),
    "zlib.h": ("ZLIB::ZLIB",),
    "brotli/": ("Brotli::enc", "Brotli::dec"),
    "fmt/": ("fmt::fmt",),
    "CLI/": ("CLI11::CLI11",),
    "png.h": ("PNG::PNG",),
    "jpeglib.h": ("JPEG::JPEG",),
    "gif_lib.h": ("GIF::GIF",),
    "yaml-cpp/": ("yaml-cpp",),
}

LEFTOVERS = re.compile(r"TODO\(now\)|\bFIXME\b|\bXXX\b|\bHACK\b|\bfor now\b", re.IGNORECASE)
ALLOW = re.compile(r"lint: allow\((\w+)\): \S")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Comments, raw strings, strings and characters, in the order in which they must be tried.
LITERALS = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^()\s]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL)


def read_table(text):
    """The calls of subforge_library in src/CMakeLists.txt: name -> (depends, link)."""
    table = {}
    text = re.sub(r"#[^\n]*", "", text)
    for call in re.finditer(r"\bsubforge_library\(([^)]*)\)", text):
        name, *words = call.group(1).split()
        parts = {"DEPENDS": [], "LINK": [], "WHOLE": [], "PRECOMPILED": [],
                 "TEST_HELPERS": []}
        current = None
        for word in words:
            if word in parts:
                current = parts[word]
            else:
                current.append(word)
        table[name] = (parts["DEPENDS"], parts["LINK"])
    return table


def reachable(table, folder):
    """The folders that this one may include: itself and all that it depends on, at any depth."""
    found, waiting = set(), [folder]
    while waiting:
        name = waiting.pop()
        if name not in found and name in table:
            found.add(name)
            waiting.extend(table[name][0])
    return found


def code_only(text):
    """The text with comments removed and literals emptied, line by line as before."""
    def blank(match):
        return ('""' if match.group()[0] in "R\"'" else "") + "\n" * match.group().count("\n")
    return LITERALS.sub(blank, text)


def is_in(path, folders):
    return any(path.startswith(f"src/{folder}/") for folder in folders)


def is_test(path):
    return path.endswith("_test.cpp") or path.endswith("_test.hpp")


def check_text(path, text):
    """What holds for every text file."""
    is_code = path.endswith(CODE_SUFFIXES) or os.path.basename(path) in CODE_NAMES
    for number, line in enumerate(text.split("\n"), 1):
        if line.endswith("\r"):
            yield Finding(path, number, "line_end", "lines end with LF alone")
            line = line[:-1]
        if line != line.rstrip(" \t") and not path.endswith(".md"):
            yield Finding(path, number, "trailing_space", "remove the space at the end")
        if is_code and "\t" in line:
            yield Finding(path, number, "tab", "indent with spaces")
        if is_code and len(line) > COLUMNS_MAX:
            yield Finding(path, number, "columns", f"{len(line)} columns, {COLUMNS_MAX} at most")
        if is_code and not path.startswith("tools/") and LEFTOVERS.search(line):
            yield Finding(path, number, "leftover", "finish it, or file it and say what is true")
    if text and not text.endswith("\n"):
        yield Finding(path, text.count("\n") + 1, "last_line", "the last line has no line end")


def check_include(path, number, kind, name, table, folders):
    """One #include of a file in src/."""
    folder = path.split("/")[1]
    for banned, instead in BANNED_HEADERS.items():
        if name == banned or name.startswith(banned + "/") or name.startswith(banned + "."):
            if not is_in(path, BANNED_HEADERS_ALLOWED_IN.get(banned, ())):
                yield Finding(path, number, "header", f"<{name}> is not used here: {instead}")
    if kind == '"':
        other = name.split("/")[0]
        if "/" not in name or name.startswith("."):
            yield Finding(path, number, "include_path", f'write "{name}" from src/ on')
        elif other not in table:
            yield Finding(path, number, "layers", f'src/CMakeLists.txt knows no folder {other}')
        elif other not in folders:
            yield Finding(path, number, "layers",
                          f"{folder} may not include {other}: src/CMakeLists.txt lets it use "
                          f"{', '.join(sorted(folders - {folder})) or 'nothing'}")
        return
    needed = foreign_library(name)
    if needed and not set(needed) & set(table[folder][1]):
        yield Finding(path, number, "foreign",
                      f"<{name}> needs {needed[0]} in LINK of {folder}, src/CMakeLists.txt")


def foreign_library(name):
    """The names in LINK of which a folder needs one to include <name>; none for the system's."""
    prefixes = [prefix for prefix in FOREIGN_HEADERS if name.startswith(prefix)]
    return FOREIGN_HEADERS[max(prefixes, key=len)] if prefixes else ()


def check_links(table, texts):
    """A library in LINK that nothing in the folder includes; `texts` maps paths to texts."""
    used = {}
    for path, text in texts.items():
        if path.startswith("src/") and path.endswith((".cpp", ".hpp")):
            names = used.setdefault(path.split("/")[1], set())
            for line in text.split("\n"):
                if match := INCLUDE.match(line):
                    names.update(foreign_library(match.group(2)))
    known = {name for names in FOREIGN_HEADERS.values() for name in names}
    for folder, (_, link) in table.items():
        for name in link:
            if folder in used and name in known and name not in used[folder]:
                yield Finding("src/CMakeLists.txt", 1, "unused_link",
                              f"{folder} links {name} and includes nothing of it")


def check_source(path, text, table, exists):
    """What holds for C++ below src/. `exists` tells whether a path of the tree is a file."""
    folder = path.split("/")[1]
    if folder not in table:
        yield Finding(path, 1, "layers", f"src/CMakeLists.txt has no folder {folder}")
        return
    if path.endswith(".hpp") and not re.search(r"^#pragma once$", text, re.MULTILINE):
        yield Finding(path, 1, "pragma_once", "a header begins with #pragma once")

    folders = reachable(table, folder)
    includes = [(number, match.group(1), match.group(2))
                for number, line in enumerate(text.split("\n"), 1)
                if (match := INCLUDE.match(line))]
    for number, kind, name in includes:
        yield from check_include(path, number, kind, name, table, folders)
    own = re.sub(r"(_test)?\.cpp$", ".hpp", path)
    if own != path and exists(own) and (not includes or "src/" + includes[0][2] != own):
        line = includes[0][0] if includes else 1
        yield Finding(path, line, "own_header", f'the first include is "{own[4:]}"')

    bans = [ban for ban in BANS if not is_in(path, ban.allowed_in)
            and not (ban.in_tests and is_test(path))]
    before = ""
    for number, line in enumerate(code_only(text).split("\n"), 1):
        for ban in bans:
            match = re.search(ban.pattern, line)
            if match and not (ban.unless and re.search(ban.unless, before + line)):
                yield Finding(path, number, ban.rule, f"{match.group().strip()}: {ban.instead}")
        before = line if line.endswith(("(", "{")) else ""


def allowed(finding, lines):
    """Whether the line of the finding, or the one above it, says why the rule does not hold."""
    for line in lines[max(0, finding.line - 2):finding.line]:
        match = ALLOW.search(line)
        if match and match.group(1) == finding.rule:
            return True
    return False


def check_file(path, text, table, exists):
    findings = list(check_text(path, text))
    if path.startswith("src/") and path.endswith((".cpp", ".hpp")):
        findings += check_source(path, text, table, exists)
    lines = text.split("\n")
    return [finding for finding in findings if not allowed(finding, lines)]


def text_files(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - SKIPPED_FOLDERS)
        for name in sorted(names):
            if name.endswith(TEXT_SUFFIXES) or name in CODE_NAMES:
                yield os.path.relpath(os.path.join(folder, name), root)


def check_corpus(names):
    """Seeds of the fuzz targets have names that say what they hold; a digest is a find of a run."""
    for path in names:
        if re.fullmatch(r"[0-9a-f]{40}", os.path.basename(path)):
            yield Finding(path, 1, "corpus", "a find of libFuzzer: name it for what it shows, or "
                                             "leave it in build/fuzz/corpus")


def check_tree(root):
    with open(os.path.join(root, "src/CMakeLists.txt"), encoding="utf-8") as file:
        table = read_table(file.read())
    texts = {}
    for path in text_files(root):
        with open(os.path.join(root, path), encoding="utf-8", newline="") as file:
            texts[path] = file.read()
    findings = list(check_links(table, texts))
    findings += check_corpus(os.path.join(folder, name) for folder, _, names in
                             os.walk(os.path.join(root, "tests/fuzz/corpus")) for name in names)
    for path, text in texts.items():
        findings += check_file(path, text, table, lambda other: other in texts)
    return findings


def main(arguments):
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    findings = check_tree(arguments[0] if arguments else default)
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings" if findings else "The house rules hold.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
