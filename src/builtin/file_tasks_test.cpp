// Uploaded files, and what the tasks that follow from them find out: on a real store, with a real
// worker.
#include "builtin/file_tasks.hpp"

#include <fstream>
#include <thread>

#include <boost/json/object.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "backup/restore.hpp"
#include "builtin/builtin.hpp"
#include "builtin/file_backup.hpp"
#include "describe/parse_json.hpp"
#include "files/image_process.hpp"
#include "files/image_writer.hpp"
#include "files/processing.hpp"
#include "jobs/embedded/embedded_queue.hpp"
#include "jobs/worker.hpp"
#include "store/temporary_folder_test.hpp"
#include "store/test_store_test.hpp"

namespace subforge::builtin {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using files::FileRecord;
using files::FileType;

class FileTasksTest : public testing::Test {
 protected:
  FileTasksTest() {
    EXPECT_TRUE(blobs_.open());
    fs::create_directories(folder_.path() / "restored");
    add_definitions(registry_, parts_);
    files_.follow_uploads(follower_);
  }
  ~FileTasksTest() override {
    if (worker_ == nullptr) return;
    loop_.post([this] { worker_->begin_shutdown(500); });
    until([this] { return worker_->done() && worker_->running() == 0; });
  }

  template <class T>
  T run(Task<T> task) {
    return block_on(loop_, std::move(task));
  }
  // Lets the loop turn until the condition holds, ten seconds at most.
  template <class Condition>
  bool until(Condition condition) {
    auto const wait = [](EventLoop& loop) -> Task<void> { co_await loop.sleep_ms(10); };
    for (int i = 0; i < 1'000; ++i) {
      if (condition()) return true;
      run(wait(loop_));
    }
    return condition();
  }
  std::vector<FileRecord> upload(std::vector<std::pair<std::string, std::string>> const& contents,
                                 FileType type) {
    std::vector<files::NewFile> arrived;
    for (auto const& [name, content] : contents) {
      files::NewFile file;
      file.record.original_filename = name;
      file.record.file_type = type;
      file.record.mime_type = "text/plain";
      file.blob = std::move(*blobs_.create());
      EXPECT_TRUE(file.blob->write(content));
      EXPECT_TRUE(file.blob->finish());
      arrived.push_back(std::move(file));
    }
    auto records = run(files_.add(std::move(arrived), {"ann"}, "session"));
    EXPECT_TRUE(records) << records.error().message << records.error().context;
    return records.value_or(std::vector<FileRecord>{});
  }
  void start_worker() {
    jobs::WorkerOptions options;
    options.report_ms = 30;
    options.look_ms = 20;
    options.grace_ms = 200;
    worker_ = std::make_unique<jobs::Worker>(
        loop_,
        jobs::Worker::Parts{store_.store(), queue_, registry_, pool_, store::TestStore::logger()},
        std::move(options));
    loop_.post([this] { worker_->start(); });
  }
  FileRecord file(std::string const& id) {
    auto found = run(files_.get(id));
    EXPECT_TRUE(found) << found.error().message;
    return found.value_or(FileRecord{});
  }
  json::object analysis(std::string const& id) {
    auto const value = describe::parse_json(file(id).analysis.text);
    return value.is_object() ? value.get_object() : json::object{};
  }
  std::string status(std::string const& id) { return text(analysis(id), "status"); }
  static std::string text(json::object const& object, std::string_view name) {
    auto const* const value = object.if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
  }
  json::object ended(std::string const& id) {
    EXPECT_TRUE(until([&] { return status(id) == "done" || status(id) == "failed"; }));
    return analysis(id);
  }
  jobs::Job job_of(FileRecord const& one) {
    auto const id = Uuid::parse(text(analysis(one.id), "task_id"));
    EXPECT_TRUE(id);
    auto job = run(jobs_.get(id.value_or(Uuid{})));
    EXPECT_TRUE(job);
    return job.value_or(jobs::Job{});
  }
  std::int64_t count(std::string const& sql) {
    auto read = [&](store::Session& session) { return store::read_number(session, sql); };
    return run(store_.store().read(store::ReadCost::scan, read)).value_or(-1);
  }
  // A program that answers so, whatever the image is.
  void answer_images_with(std::string const& line) {
    auto const script = folder_.path() / "reader";
    std::ofstream(script) << line;
    parts_.image_reader = {"cat", script.string()};
  }

  store::TemporaryFolder folder_;
  store::TestStore store_{folder_.path()};
  EventLoop loop_;
  BlockingPool pool_{2, 100};
  jobs::Registry registry_;
  jobs::EmbeddedQueue queue_{store_.store(), registry_, {}, store::TestStore::logger()};
  jobs::Jobs jobs_{store_.store(), queue_};
  domain::ApiUsage usage_{store_.store()};
  files::BlobStore blobs_{(folder_.path() / "uploads").string(), 0};
  files::Scanner scanner_{{}, false, 1, pool_, store::TestStore::logger()};
  files::Files files_{store_.store(), blobs_, scanner_, pool_, 0};
  FileTasks follower_{queue_};
  Parts parts_{store_.store(), usage_, jobs_, pool_, blobs_, {"false"}, {}, {}};
  std::unique_ptr<jobs::Worker> worker_;
};

TEST_F(FileTasksTest, AnUploadAsksForItsTasksInItsOwnTransaction) {
  auto const configurations = upload({{"a.json", "{}"}, {"b.yaml", "{}"}}, FileType::agent_configs);
  auto const data = upload({{"a.csv", "a\n"}, {"b.txt", "b"}}, FileType::data_files);
  auto const other = upload({{"a.pdf", "%PDF-"}}, FileType::documents);
  EXPECT_EQ(status(configurations[0].id), "pending");
  EXPECT_EQ(configurations[0].analysis, configurations[1].analysis);
  auto const job = job_of(configurations[0]);
  EXPECT_EQ(job.name, kProcessAgentFiles);
  EXPECT_EQ(job.priority, jobs::priority::kHigh);
  EXPECT_EQ(job.metadata.text, R"({"uploaded_by":"ann","upload_session_id":"session"})");
  EXPECT_EQ(job.args.text, "[[\"" + configurations[0].id + "\",\"" + configurations[1].id + "\"]]");
  EXPECT_EQ(job.created_by, "ann");
  EXPECT_NE(job_of(data[0]).id, job_of(data[1]).id);
  EXPECT_EQ(job_of(data[1]).name, kProcessText);
  EXPECT_EQ(other[0].analysis.text, "null");
  EXPECT_EQ(count("SELECT count(*) FROM jobs"), 3);
}

TEST_F(FileTasksTest, AnAgentIsMadeOnceHoweverOftenTheTaskIsStarted) {
  auto const made = upload({{"a.json", R"({"name":"one","model":"m"})"}, {"b.json", "{"}},
                           FileType::agent_configs);
  auto const task = job_of(made[0]);
  start_worker();
  EXPECT_EQ(text(ended(made[0].id), "action"), "created");
  EXPECT_TRUE(until([&] { return jobs::is_final(job_of(made[0]).status); }));
  EXPECT_EQ(status(made[1].id), "failed");
  auto const agents = count("SELECT count(*) FROM agents");
  auto const version = file(made[0].id).version;
  EXPECT_EQ(agents, 1);
  // As if its worker had been lost right before the end: all that is done stays as it is.
  auto again = [&](store::Transaction& transaction) -> Task<Result<std::int64_t>> {
    co_return co_await transaction.execute(
        "UPDATE jobs SET stage = 'ready', status = 'pending', completed_at = NULL WHERE id = $1",
        {task.id});
  };
  ASSERT_TRUE(run(store_.store().write(again)));
  EXPECT_TRUE(until([&] { return jobs::is_final(job_of(made[0]).status); }));
  EXPECT_EQ(count("SELECT count(*) FROM agents"), agents);
  EXPECT_EQ(file(made[0].id).version, version);
  auto const result = describe::parse_json(job_of(made[0]).result.text).as_object();
  EXPECT_EQ(result.at("successful").as_int64(), 1);
  EXPECT_EQ(text(result.at("results").as_array()[0].as_object(), "action"), "created");
}

TEST_F(FileTasksTest, TextsAreFoundByTheirWords) {
  auto const made =
      upload({{"a.txt", "Some WORDS of it\n"}, {"b.csv", "x;y\n1;2\n"}}, FileType::data_files);
  start_worker();
  EXPECT_EQ(ended(made[0].id).at("lines").as_int64(), 1);
  EXPECT_EQ(ended(made[1].id).at("rows").as_int64(), 1);
  auto const found = run(files_.list({.search = "words OF"}));
  ASSERT_TRUE(found);
  ASSERT_EQ(found->rows.size(), 1U);
  EXPECT_EQ(found->rows[0].id, made[0].id);
}

TEST_F(FileTasksTest, TextsAreFoundWhereverThePartsOfTheirIndexEnd) {
  // No three characters of it come twice, but for the words of the filler.
  std::string const filler = "filler ";
  auto const size = 4 * files::kPartCharacters;
  auto const of_length = [&](std::size_t length) {
    std::string text;
    while (text.size() < length) text += filler;
    return text.substr(0, length);
  };
  std::string content = of_length(size);
  std::vector<std::string> marks;
  for (std::size_t border = files::kPartCharacters; border < size;
       border += files::kPartCharacters) {
    for (auto const at : {border - 20, border - 5, border + 5, border + files::kPartOverlap - 4}) {
      auto const mark = fmt::format("<{:08}>", at);
      content.replace(at, mark.size(), mark);
      marks.push_back(mark);
    }
  }
  auto const made = upload({{"Long.TXT", content}, {"b.txt", of_length(300)}, {"c.txt", "other"}},
                           FileType::data_files);
  start_worker();
  for (auto const& one : made) EXPECT_EQ(text(ended(one.id), "status"), "done");
  EXPECT_EQ(count("SELECT count(*) FROM file_parts"), 6);
  auto const found = [&](std::string const& what) {
    auto const page = run(files_.list({.search = what}));
    EXPECT_TRUE(page);
    std::vector<std::string> names;
    for (auto const& row : page->rows) names.push_back(row.original_filename);
    EXPECT_EQ(page->total, std::ssize(names)) << what.substr(0, 40);
    std::ranges::sort(names);
    return names;
  };
  using Names = std::vector<std::string>;
  for (auto const& mark : marks) EXPECT_EQ(found(mark), Names{"Long.TXT"}) << mark;
  EXPECT_EQ(found("long.t"), Names{"Long.TXT"});
  EXPECT_EQ(found("FILLER"), (Names{"Long.TXT", "b.txt"}));
  // Longer than what two parts have both of.
  auto const around = content.substr(files::kPartCharacters - 200, 400);
  EXPECT_EQ(found(around), Names{"Long.TXT"});
  EXPECT_EQ(found(around + "!"), Names{});
  EXPECT_EQ(found(of_length(299)), (Names{"Long.TXT", "b.txt"}));
  // What is gone leaves nothing behind.
  for (auto const& one : {made[0], made[1]}) {
    ASSERT_TRUE(run(files_.remove(one.id, {{"ann"}, false})));
  }
  EXPECT_EQ(found("filler"), Names{});
  EXPECT_EQ(count("SELECT count(*) FROM file_parts"), 1);
  EXPECT_EQ(count("SELECT count(*) FROM file_texts WHERE file_texts MATCH '\"fil\"'"), 0);
}

TEST_F(FileTasksTest, AnIndexThatACrashLeftHalfDoneIsFinished) {
  auto const made = upload({{"a.txt", "nothing yet"}}, FileType::data_files);
  auto const text = std::string(files::kPartCharacters + files::kPartOverlap, 'x') + "behind";
  auto const begin = [&](store::Transaction& transaction) -> Task<Result<void>> {
    for (auto const* const sql :
         {"UPDATE files SET content = $1 WHERE id = $2",
          "INSERT INTO file_parts (file_seq, part) SELECT seq, 1 FROM files WHERE content = $1"
          " AND id = $2"}) {
      auto const done = co_await transaction.execute(sql, {text, made[0].id});
      if (!done) co_return std::unexpected(done.error());
    }
    co_return {};
  };
  ASSERT_TRUE(run(store_.store().write(begin)));
  auto const found = [&](std::string const& what) {
    auto const page = run(files_.list({.search = what}));
    return page ? page->total : -1;
  };
  EXPECT_EQ(found("behind"), 0);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(run(files::keep_text(store_.store(), made[0].id, text)));
    EXPECT_EQ(found("behind"), 1);
    EXPECT_EQ(count("SELECT count(*) FROM file_parts"), 2);
  }
  // Another text takes its place.
  ASSERT_TRUE(run(files::keep_text(store_.store(), made[0].id, "short")));
  EXPECT_EQ(found("behind"), 0);
  EXPECT_EQ(found("short"), 1);
  EXPECT_EQ(count("SELECT count(*) FROM file_parts"), 1);
  // A file that is gone is no error.
  EXPECT_TRUE(run(files::keep_text(store_.store(), "none", text)));
}

TEST_F(FileTasksTest, WhatTheReaderOfImagesSaysIsNotBelieved) {
  struct Case {
    std::string line;
    std::string error;
  };
  std::string const strange = "The reader of images gave a strange answer";
  files::Picture picture{{2, 1}, {{1, 2, 3, 255}, {4, 5, 6, 0}}};
  files::ImageFacts facts{"png", {20, 10}, "", files::write_picture(picture).value()};
  auto const good = files::image_reply(facts);
  auto wrong_size = facts;
  wrong_size.thumbnail.size = {3, 1};
  auto no_picture = facts;
  no_picture.thumbnail.bytes = "<script>";
  auto wrong_type = facts;
  wrong_type.thumbnail.mime_type = "text/html";
  std::vector<Case> const cases{
      {"", "the image broke its reader, which ended with exit status 0"},
      {"[]", strange},
      {"no JSON", strange},
      {R"({"error":"it is \u0000 damaged"})", "it is   damaged"},
      {files::image_reply(wrong_size), strange},
      {files::image_reply(no_picture), strange},
      {files::image_reply(wrong_type), strange},
      {std::string(600'000, '1'), "the reader of images wrote too much"},
  };
  for (auto const& one : cases) {
    auto const parsed = files::parse_image_reply(one.line);
    EXPECT_FALSE(parsed) << one.line.substr(0, 80);
  }
  for (auto const& one : {cases[0], cases[3], cases[7]}) {
    answer_images_with(one.line);
    auto const made = upload({{"a.png", "not looked at"}}, FileType::images);
    if (worker_ == nullptr) start_worker();
    EXPECT_EQ(text(ended(made[0].id), "error"), one.error);
    EXPECT_EQ(job_of(made[0]).status, jobs::JobStatus::failure);
  }
  answer_images_with(good);
  auto const made = upload({{"a.png", "not looked at"}}, FileType::images);
  EXPECT_EQ(ended(made[0].id).at("width").as_int64(), 20);
  auto const shown = run(files_.thumbnail(made[0].id));
  ASSERT_TRUE(shown);
  EXPECT_EQ(shown->bytes, facts.thumbnail.bytes);
  ASSERT_TRUE(run(files_.remove(made[0].id, {{"ann"}, false})));
  EXPECT_EQ(count("SELECT count(*) FROM file_thumbnails"), 0);
}

TEST_F(FileTasksTest, ABackupHasWhatIsDeletedWhileItIsTaken) {
  auto const made =
      upload({{"a.txt", "first"}, {"b.txt", std::string(700'000, 'b')}}, FileType::data_files);
  backup::BackupOptions options{
      folder_.path() / "backups", 7, {uploaded_files(folder_.path() / "uploads")}};
  bool removed = false;
  auto const done = run(backup::take_backup(
      store_.store(), pool_, backup::BackupKind::full, options, [&](double, std::string_view) {
        if (std::exchange(removed, true)) return true;
        std::thread other([&] {
          EventLoop loop;
          EXPECT_TRUE(block_on(loop, files_.remove(made[0].id, {{"ann"}, false})));
        });
        other.join();
        return true;
      }));
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(done->missing.empty());
  EXPECT_EQ(done->files, 2);
  EXPECT_FALSE(blobs_.read({made[0].sha256, made[0].id}));
  auto const aside =
      folder_.path() / "uploads" /
      files::BlobStore::place_aside(files::BlobStore::place_of({made[0].sha256, made[0].id}));
  EXPECT_TRUE(fs::exists(aside));
  {
    auto const held = blobs_.hold();
    ASSERT_TRUE(held);
    EXPECT_EQ(blobs_.hold().error().code, ErrorCode::conflict);
    EXPECT_EQ(blobs_.remove_put_aside(), 0);
  }
  EXPECT_EQ(blobs_.remove_put_aside(), 1);
  EXPECT_FALSE(fs::exists(aside));

  auto const restore = backup::Restore::open(done->manifest);
  ASSERT_TRUE(restore);
  auto const quiet = [](std::string_view, std::int64_t) {};
  auto const there = folder_.path() / "restored";
  ASSERT_TRUE(restore->verify(quiet));
  ASSERT_TRUE(restore->load_files({uploaded_files(there)}, quiet));
  files::BlobStore const restored(there.string(), 0);
  for (auto const& one : made) EXPECT_TRUE(restored.read({one.sha256, one.id})) << one.id;
}

}  // namespace
}  // namespace subforge::builtin
