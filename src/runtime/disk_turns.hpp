// Who syncs a file waits for all that others have given the disk by then. So whoever gives it much
// and is waited for by nobody in particular lets a commit pass that somebody waits for.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace subforge {

class DiskTurns {
 public:
  // Others let it pass for as long as it lives.
  class First {
   public:
    ~First() { turns_.end(); }
    First(First const&) = delete;
    First& operator=(First const&) = delete;

   private:
    friend class DiskTurns;
    explicit First(DiskTurns& turns) : turns_(turns) { turns_.begin(); }

    DiskTurns& turns_;
  };

  [[nodiscard]] First go_first() { return First(*this); }
  // Waits while somebody goes first, but not for longer than this: there may always be somebody.
  static constexpr std::int64_t kLetPassMsMax = 20;
  void let_pass();

 private:
  void begin();
  void end();

  std::mutex mutex_;
  std::condition_variable wake_;
  int first_ = 0;
};

}  // namespace subforge
