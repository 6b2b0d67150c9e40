#include "store/postgres/cluster_test.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "store/postgres/postgres_database.hpp"

namespace subforge::store {
namespace {

// Debian keeps each version's programs in a folder of its own.
std::string find_binaries() {
  for (auto const* version : {"18", "17", "16", "15", "14"}) {
    auto const folder = std::string("/usr/lib/postgresql/") + version + "/bin";
    if (::access((folder + "/initdb").c_str(), X_OK) == 0) return folder;
  }
  throw std::runtime_error("no PostgreSQL server is installed; ./dev setup does it");
}

// PostgreSQL refuses to run as root.
passwd const* unprivileged_user() {
  if (::geteuid() != 0) return nullptr;
  auto const* user = ::getpwnam("postgres");
  return user != nullptr ? user : ::getpwnam("nobody");
}

// Starts a program whose output goes to `log`; it ends with this process.
pid_t spawn(std::vector<std::string> arguments, std::string const& log) {
  auto const* user = unprivileged_user();
  std::vector<char*> pointers;
  for (auto& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  pid_t const child = ::fork();
  if (child != 0) return child;
  int const out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dup2(out, 1);
  ::dup2(out, 2);
  if (user != nullptr && (::setgid(user->pw_gid) != 0 || ::setuid(user->pw_uid) != 0)) ::_exit(126);
  ::prctl(PR_SET_PDEATHSIG, SIGINT);
  ::execv(pointers.front(), pointers.data());
  ::_exit(127);
}

std::string text_of(std::string const& path) {
  std::ifstream const file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

using Connection = std::unique_ptr<PGconn, decltype(&PQfinish)>;

}  // namespace

TestCluster::TestCluster() : binaries_(find_binaries()) {
  auto const data = (folder_.path() / "data").string();
  auto const log = (folder_.path() / "log").string();
  if (auto const* user = unprivileged_user()) {
    if (::chown(folder_.path().c_str(), user->pw_uid, user->pw_gid) != 0) {
      throw std::runtime_error("chown " + folder_.path().string());
    }
  }
  auto const made = spawn({binaries_ + "/initdb", "-D", data, "-U", "subforge", "-A", "trust", "-E",
                           "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"},
                          log);
  int status = 0;
  ::waitpid(made, &status, 0);
  if (status != 0) throw std::runtime_error("initdb failed: " + text_of(log));
  start();
}

TestCluster::~TestCluster() { stop(); }

TestCluster& TestCluster::shared() {
  static TestCluster cluster;
  return cluster;
}

void TestCluster::start() {
  // Nothing here has to survive a power cut, and syncing would be most of what the tests wait for.
  process_ = spawn({binaries_ + "/postgres", "-D", (folder_.path() / "data").string(), "-k",
                    folder_.path().string(), "-c", "listen_addresses=", "-c", "fsync=off", "-c",
                    "max_connections=200", "-c", "shared_buffers=32MB"},
                   (folder_.path() / "log").string());
  for (int i = 0; i < 3'000; ++i) {
    if (accepts()) return;
    if (::waitpid(process_, nullptr, WNOHANG) != 0) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw std::runtime_error("postgres does not start: " +
                           text_of((folder_.path() / "log").string()));
}

void TestCluster::stop() {
  if (process_ == 0) return;
  thaw();
  ::kill(process_, SIGINT);
  ::waitpid(process_, nullptr, 0);
  process_ = 0;
}

void TestCluster::freeze() {
  // First the parent, so that no process is started behind this one's back.
  ::kill(process_, SIGSTOP);
  auto const tasks = "/proc/" + std::to_string(process_) + "/task/" + std::to_string(process_);
  std::istringstream children(text_of(tasks + "/children"));
  for (pid_t child = 0; children >> child;) ::kill(child, SIGSTOP);
}

void TestCluster::thaw() {
  auto const tasks = "/proc/" + std::to_string(process_) + "/task/" + std::to_string(process_);
  std::istringstream children(text_of(tasks + "/children"));
  for (pid_t child = 0; children >> child;) ::kill(child, SIGCONT);
  ::kill(process_, SIGCONT);
}

bool TestCluster::accepts() const {
  Connection const connection(PQconnectdb(url_of("postgres").c_str()), &PQfinish);
  return PQstatus(connection.get()) == CONNECTION_OK;
}

std::string TestCluster::url_of(std::string const& name) const {
  return "postgresql:///" + name + "?user=subforge&host=" + folder_.path().string();
}

void TestCluster::run(std::string const& url, std::string const& sql) const {
  Connection const connection(PQconnectdb(url.c_str()), &PQfinish);
  auto* const result = PQexec(connection.get(), sql.c_str());
  auto const status = PQresultStatus(result);
  PQclear(result);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
    throw std::runtime_error(sql + ": " + PQerrorMessage(connection.get()));
  }
}

std::string TestCluster::create(std::string const& options) {
  auto const name = "test_" + std::to_string(++databases_);
  // Files are copied in half the time of pages.
  run(url_of("postgres"), "CREATE DATABASE " + name + " STRATEGY FILE_COPY" + options);
  return url_of(name);
}

std::string TestCluster::create_database() { return create({}); }

std::string TestCluster::create_store() {
  if (!std::exchange(has_store_, true)) {
    run(url_of("postgres"), "CREATE DATABASE store");
    LogSink sink(STDERR_FILENO);
    PostgresDatabaseOptions options;
    options.server.url = url_of("store");
    PostgresDatabase database(options, {sink, LogFormat::text, LogLevel::critical});
    if (auto const made = database.migrate(); !made) {
      throw std::runtime_error(made.error().message + ": " + made.error().context);
    }
  }
  return create(" TEMPLATE store");
}

}  // namespace subforge::store
