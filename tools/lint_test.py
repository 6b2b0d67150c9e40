"""Each rule of lint.py finds what it names, and leaves alone what only looks like it."""

import os
import unittest

import lint

TABLE = lint.read_table("""
# subforge_library(ghost DEPENDS base)
subforge_library(base LINK fmt::fmt)
subforge_library(net DEPENDS base
                 LINK OpenSSL::Crypto fmt::fmt)
subforge_library(store DEPENDS base LINK SQLite::SQLite3)
subforge_library(api DEPENDS net store)
""")


def rules(path, text, files=()):
    return [finding.rule for finding in lint.check_file(path, text, TABLE, lambda f: f in files)]


class Table(unittest.TestCase):
    def test_reads_calls_over_several_lines_and_skips_comments(self):
        self.assertEqual(["base", "net", "store", "api"], list(TABLE))
        self.assertEqual((["base"], ["OpenSSL::Crypto", "fmt::fmt"]), TABLE["net"])

    def test_reaches_folders_at_any_depth(self):
        self.assertEqual({"api", "net", "store", "base"}, lint.reachable(TABLE, "api"))
        self.assertEqual({"base"}, lint.reachable(TABLE, "base"))

    def test_the_real_table_names_lower_folders_first(self):
        root = os.path.join(os.path.dirname(os.path.abspath(lint.__file__)), "..")
        with open(os.path.join(root, "src/CMakeLists.txt"), encoding="utf-8") as file:
            table = lint.read_table(file.read())
        seen = []
        for folder, (depends, _) in table.items():
            self.assertLessEqual(set(depends), set(seen), folder)
            seen.append(folder)
        self.assertIn("app", seen)


class Layers(unittest.TestCase):
    def test_up_the_table_is_refused(self):
        self.assertEqual(["layers"], rules("src/base/a.cpp", '#include "net/b.hpp"\n'))
        self.assertEqual(["layers"], rules("src/net/a_test.cpp", '#include "store/b.hpp"\n'))

    def test_down_the_table_is_allowed_at_any_depth(self):
        self.assertEqual([], rules("src/api/v1/a.cpp", '#include "base/b.hpp"\n'))
        self.assertEqual([], rules("src/net/a.cpp", '#include "net/b.hpp"\n'))

    def test_unknown_folders_are_named(self):
        self.assertEqual(["layers"], rules("src/ghost/a.cpp", "\n"))
        self.assertEqual(["layers"], rules("src/api/a.cpp", '#include "ghost/b.hpp"\n'))

    def test_includes_are_written_from_src(self):
        self.assertEqual(["include_path"], rules("src/net/a.cpp", '#include "b.hpp"\n'))
        self.assertEqual(["include_path"], rules("src/net/a.cpp", '#include "../base/b.hpp"\n'))

    def test_foreign_headers_need_their_library_in_the_folder_itself(self):
        self.assertEqual([], rules("src/store/a.cpp", "#include <sqlite3.h>\n"))
        self.assertEqual(["foreign"], rules("src/api/a.cpp", "#include <sqlite3.h>\n"))
        self.assertEqual(["foreign"], rules("src/base/a.cpp", "#include <openssl/sha.h>\n"))
        self.assertEqual([], rules("src/base/a.cpp", "#include <vector>\n#include <poll.h>\n"))

    def test_links_that_nothing_uses_are_named(self):
        texts = {"src/net/a.cpp": "#include <fmt/format.h>\n", "src/base/a.cpp": "\n"}
        self.assertEqual(["net links OpenSSL::Crypto and includes nothing of it",
                          "base links fmt::fmt and includes nothing of it"],
                         sorted((f.text for f in lint.check_links(TABLE, texts)), reverse=True))

    def test_banned_headers(self):
        self.assertEqual(["header", "foreign"],
                         rules("src/net/a.cpp", "#include <boost/asio/post.hpp>\n"))
        self.assertEqual(["header", "foreign"],
                         rules("src/net/a.cpp", "#include <boost/beast.hpp>\n"))
        self.assertEqual(["header"], rules("src/net/a.cpp", "#include <regex>\n"))

    def test_own_header_comes_first(self):
        text = '#include <vector>\n\n#include "net/a.hpp"\n'
        self.assertEqual(["own_header"], rules("src/net/a.cpp", text, ["src/net/a.hpp"]))
        self.assertEqual(["own_header"], rules("src/net/a_test.cpp", text, ["src/net/a.hpp"]))
        self.assertEqual([], rules("src/net/a.cpp", text, []))
        self.assertEqual([], rules("src/net/a.cpp", '#include "net/a.hpp"\n', ["src/net/a.hpp"]))

    def test_headers_are_guarded(self):
        self.assertEqual(["pragma_once"], rules("src/net/a.hpp", "int x();\n"))
        self.assertEqual([], rules("src/net/a.hpp", "// About.\n#pragma once\n"))


class Bans(unittest.TestCase):
    def test_each_ban_finds_its_call(self):
        for rule, code in [
            ("threads", "std::thread t(f);"),
            ("threads", "auto x = std::async(f);"),
            ("locks", "std::mutex guard_;"),
            ("locks", "std::shared_mutex guard_;"),
            ("locks", "std::condition_variable_any ready_;"),
            ("sleep", "std::this_thread::sleep_for(1ms);"),
            ("sleep", "::usleep(10);"),
            ("print", "std::cout << 1;"),
            ("print", "printf(x);"),
            ("using_std", "using namespace std;"),
            ("naked_new", "auto* p = new Thing(1);"),
            ("naked_new", "std::unique_ptr<Thing> thing;\nauto* p = new Thing(1);"),
            ("naked_delete", "delete p;"),
            ("naked_delete", "delete[] p;"),
            ("c_strings", "int n = atoi(text);"),
            ("weak_random", "int n = rand();"),
            ("environment", "auto* v = std::getenv(name);"),
            ("shell", "system(command);"),
        ]:
            with self.subTest(code):
                self.assertEqual([rule], rules("src/api/a.cpp", code + "\n"))

    def test_lookalikes_are_left_alone(self):
        for code in [
            "Thing(Thing const&) = delete;",
            "Thing(Thing const&) =delete;",
            "void* operator new(std::size_t);",
            "void operator delete(void* p, std::size_t);",
            "new (place) Thing();",
            "std::unique_ptr<Thing> thing(new Thing(1));",
            "std::unique_ptr<Thing> thing(\n    new Thing(1));",
            "std::lock_guard const lock(mutex_);",
            "std::string_view verb = \"delete me; new Thing\";",
            "// A new agent: delete it, do not sleep(1).",
            "/* std::mutex\n std::thread */",
            "auto sql = R\"sql(\n  delete from agents\n)sql\";",
            "std::snprintf(out, 3, x);",
            "logger.system(1); file_system(2);",
            "char quote = '\"'; int x; std::string_view t = \"std::mutex\";",
            "auto big = 1'000'000; int y = 2'0;",
            "deadline.sleep_budget();",
            "using namespace std::chrono_literals;",
        ]:
            with self.subTest(code):
                self.assertEqual([], rules("src/api/a.cpp", code + "\n"))

    def test_a_literal_does_not_hide_the_code_after_it(self):
        text = "char c = '\"'; std::mutex m; char d = '\"';\n"
        self.assertEqual(["locks"], rules("src/api/a.cpp", text))
        text = 'auto a = R"(x)"; delete p;\n'
        self.assertEqual(["naked_delete"], rules("src/api/a.cpp", text))

    def test_folders_that_need_them_may(self):
        self.assertEqual([], rules("src/base/a.cpp", "std::mutex m;\n"))
        self.assertEqual([], rules("src/store/sqlite/a.cpp", "std::thread t;\n"))
        self.assertEqual(["threads"], rules("src/store/a.cpp", "std::thread t;\n"))

    def test_tests_may_use_threads_but_not_leak(self):
        self.assertEqual([], rules("src/api/a_test.cpp", "std::thread t;\n"))
        self.assertEqual(["naked_new"], rules("src/api/a_test.cpp", "auto* p = new Thing;\n"))

    def test_the_line_is_right_after_comments_of_several_lines(self):
        text = '/* one\n two */\nauto s = R"(\n\n)";\nstd::mutex m;\n'
        findings = lint.check_file("src/api/a.cpp", text, TABLE, lambda _: False)
        self.assertEqual([6], [finding.line for finding in findings])

    def test_a_reason_allows_one_rule_on_one_line(self):
        reason = "// lint: allow(naked_new): it owns itself.\n"
        self.assertEqual([], rules("src/api/a.cpp", reason + "auto* p = new Thing;\n"))
        self.assertEqual(["naked_new"], rules("src/api/a.cpp", reason + "\nauto* p = new Thing;\n"))
        self.assertEqual(["naked_delete"], rules("src/api/a.cpp", reason + "delete p;\n"))
        self.assertEqual(["naked_new"],
                         rules("src/api/a.cpp", "auto* p = new T;  // lint: allow(naked_new)\n"))


class Text(unittest.TestCase):
    def test_white_space(self):
        self.assertEqual(["line_end"], rules("dev", "echo\r\n"))
        self.assertEqual(["trailing_space"], rules("tests/a.py", "x = 1 \n"))
        self.assertEqual(["tab"], rules("tests/a.py", "if x:\n\ty()\n"))
        self.assertEqual(["last_line"], rules("tests/a.py", "x = 1"))
        self.assertEqual([], rules("docs/a.md", "two spaces break a line  \nhere\n"))

    def test_columns_are_characters(self):
        self.assertEqual([], rules("src/api/a.cpp", "// " + "ä" * 97 + "\n"))
        self.assertEqual(["columns"], rules("src/api/a.cpp", "// " + "a" * 98 + "\n"))
        self.assertEqual([], rules("docs/a.md", "a" * 200 + "\n"))

    def test_leftovers(self):
        for word in ["TODO(now): x", "FIXME", "XXX", "good enough for now", "HACK"]:
            with self.subTest(word):
                self.assertEqual(["leftover"], rules("src/api/a.cpp", f"// {word}\n"))
        self.assertEqual([], rules("src/api/a.cpp", '// mkdtemp("/tmp/XXXXXX")\n'))
        self.assertEqual([], rules("src/api/a.cpp", "// therefore nowhere\n"))


class Corpus(unittest.TestCase):
    def test_wants_names_for_seeds(self):
        find = "tests/fuzz/corpus/socket_packet/002e40ef70baab10fa521b909f53bbaf3ddaca60"
        self.assertEqual([find], [found.path for found in lint.check_corpus(
            ["tests/fuzz/corpus/socket_packet/binary", find])])



if __name__ == "__main__":
    unittest.main()
