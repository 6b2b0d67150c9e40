// A PostgreSQL server of the tests' own, in a temporary folder, reached over a socket file only.
#pragma once

#include <sys/types.h>

#include <string>

#include "store/temporary_folder_test.hpp"

namespace subforge::store {

class TestCluster {
 public:
  TestCluster();  // Throws if there is no PostgreSQL, or it does not start.
  ~TestCluster();
  TestCluster(TestCluster const&) = delete;
  TestCluster& operator=(TestCluster const&) = delete;

  // The one of this process, started when it is first asked for.
  [[nodiscard]] static TestCluster& shared();

  void start();  // Returns once it takes connections.
  // As an administrator does: sessions end at once, what was committed stays.
  void stop();
  // The processes stand still without letting go of their connections.
  void freeze();
  void thaw();

  // A new database; its URL.
  [[nodiscard]] std::string create_database();
  // One that has the tables of a store: a copy of one that is made once.
  [[nodiscard]] std::string create_store();
  // Of any database by name; "postgres" is always there.
  [[nodiscard]] std::string url_of(std::string const& name) const;
  // Runs SQL there.
  void run(std::string const& url, std::string const& sql) const;

 private:
  [[nodiscard]] bool accepts() const;
  std::string create(std::string const& options);

  TemporaryFolder folder_;
  std::string binaries_;
  pid_t process_ = 0;
  int databases_ = 0;
  bool has_store_ = false;  // The database `store`, to copy.
};

}  // namespace subforge::store
