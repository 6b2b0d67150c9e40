#include "store/sqlite/fault_vfs_test.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

namespace subforge::store {

// The start of the memory that SQLite gives for a file; the real file lies right behind.
struct FaultVfs::File {
  sqlite3_file base;
  FaultVfs* vfs;
  std::shared_ptr<Content> content;  // Null for temporary files, which no power cut can harm.
  bool sync_directory;
  bool lies;

  [[nodiscard]] sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

namespace {

constexpr std::size_t kSectorBytes = 512;  // What a disk writes whole or not at all.

std::string read_whole(char const* path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace

FaultVfs::FaultVfs() : real_(sqlite3_vfs_find(nullptr)), vfs_(*real_) {
  static std::atomic<int> made{0};
  name_ = "fault-" + std::to_string(++made);
  vfs_.zName = name_.c_str();
  vfs_.pNext = nullptr;
  vfs_.pAppData = this;
  vfs_.szOsFile = static_cast<int>(sizeof(File)) + real_->szOsFile;
  vfs_.xOpen = &FaultVfs::open;
  vfs_.xDelete = &FaultVfs::remove;
  sqlite3_vfs_register(&vfs_, 0);
}

FaultVfs::~FaultVfs() { sqlite3_vfs_unregister(&vfs_); }

void FaultVfs::set_room(std::int64_t bytes) {
  std::lock_guard const lock(mutex_);
  room_ = bytes;
}

void FaultVfs::plan(PowerCut cut) {
  std::lock_guard const lock(mutex_);
  plan_ = cut;
  if (cut.at_operation != kUnlimited) plan_.at_operation += operations_;
  random_.seed(cut.seed);
}

void FaultVfs::cut_now() {
  std::lock_guard const lock(mutex_);
  if (powered_.load()) cut();
}

std::int64_t FaultVfs::operations() const {
  std::lock_guard const lock(mutex_);
  return operations_;
}

// ---- What SQLite calls -----------------------------------------------------------------------

FaultVfs::File& FaultVfs::file_of(sqlite3_file* file) { return *reinterpret_cast<File*>(file); }

int FaultVfs::open(sqlite3_vfs* vfs, sqlite3_filename name, sqlite3_file* memory, int flags,
                   int* out_flags) {
  auto& self = *static_cast<FaultVfs*>(vfs->pAppData);
  auto& file = *std::construct_at(reinterpret_cast<File*>(memory));
  file.vfs = &self;
  bool const exists = name != nullptr && std::filesystem::exists(name);
  int const opened = self.real_->xOpen(self.real_, name, file.real(), flags, out_flags);
  if (opened != SQLITE_OK) {
    std::destroy_at(&file);
    memory->pMethods = nullptr;
    return opened;
  }
  file.base.pMethods = &methods();
  if (name == nullptr || (flags & SQLITE_OPEN_DELETEONCLOSE) != 0) return SQLITE_OK;

  std::lock_guard const lock(self.mutex_);
  auto& content = self.names_[name];
  if (content == nullptr || !exists) {
    content = std::make_shared<Content>();
    if (exists) {
      // It was there before: on the disk, name and all.
      content->durable = read_whole(name);
      content->size = static_cast<std::int64_t>(content->durable.size());
      self.durable_names_[name] = content;
    }
  }
  file.content = content;
  file.lies = std::string_view(name).ends_with(self.lying_suffix_);
  // As the real one does: the first sync of a new journal or log syncs its folder too.
  constexpr int kJournals = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
  file.sync_directory = (flags & SQLITE_OPEN_CREATE) != 0 && (flags & kJournals) != 0;
  return SQLITE_OK;
}

int FaultVfs::remove(sqlite3_vfs* vfs, char const* name, int sync_directory) {
  auto& self = *static_cast<FaultVfs*>(vfs->pAppData);
  std::lock_guard const lock(self.mutex_);
  if (!self.begin_operation()) return SQLITE_IOERR_DELETE;
  int const removed = self.real_->xDelete(self.real_, name, 0);
  if (removed != SQLITE_OK) return removed;
  self.names_.erase(name);
  if (sync_directory != 0) self.durable_names_ = self.names_;
  return SQLITE_OK;
}

int FaultVfs::write(File& file, char const* bytes, int count, std::int64_t offset) {
  auto* const real = file.real();
  if (file.content == nullptr) return real->pMethods->xWrite(real, bytes, count, offset);
  std::lock_guard const lock(mutex_);
  auto& content = *file.content;
  auto const end = offset + count;
  std::int64_t const growth = std::max<std::int64_t>(end - content.size, 0);
  if (growth > room_) {
    // A full disk takes the part that fits.
    auto const fits = static_cast<int>(std::max<std::int64_t>(count - (growth - room_), 0));
    if (fits > 0) {
      room_ = 0;
      content.size += std::max<std::int64_t>(offset + fits - content.size, 0);
      content.pending.push_back(
          {offset, std::string(bytes, static_cast<std::size_t>(fits)), false});
      (void)real->pMethods->xWrite(real, bytes, fits, offset);
    }
    return SQLITE_FULL;
  }
  content.pending.push_back({offset, std::string(bytes, static_cast<std::size_t>(count)), false});
  if (!begin_operation()) return SQLITE_IOERR_WRITE;
  if (room_ != kUnlimited) room_ -= growth;
  content.size = std::max(content.size, end);
  return real->pMethods->xWrite(real, bytes, count, offset);
}

int FaultVfs::truncate(File& file, std::int64_t size) {
  auto* const real = file.real();
  if (file.content == nullptr) return real->pMethods->xTruncate(real, size);
  std::lock_guard const lock(mutex_);
  file.content->pending.push_back({size, {}, true});
  if (!begin_operation()) return SQLITE_IOERR_TRUNCATE;
  file.content->size = size;
  return real->pMethods->xTruncate(real, size);
}

int FaultVfs::sync(File& file, int) {
  if (file.content == nullptr) return SQLITE_OK;
  std::unique_lock lock(mutex_);
  if (!begin_operation()) return SQLITE_IOERR_FSYNC;
  if (failing_syncs_.load() > 0) {
    --failing_syncs_;
    return SQLITE_IOERR_FSYNC;
  }
  if (on_sync_) on_sync_();
  auto& content = *file.content;
  auto const until = content.first_pending + static_cast<std::int64_t>(content.pending.size());
  if (sync_us_max_ > 0) {
    // Others go on meanwhile, and the power may go.
    auto const us = static_cast<std::int64_t>(random_() % static_cast<unsigned>(sync_us_max_));
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(us));
    lock.lock();
    if (!powered_.load()) return SQLITE_IOERR_FSYNC;
  }
  if (file.lies) return SQLITE_OK;
  for (; content.first_pending < until; ++content.first_pending) {
    apply(content.pending.front(), content.durable, '\0');
    content.pending.pop_front();
  }
  if (std::exchange(file.sync_directory, false)) durable_names_ = names_;
  return SQLITE_OK;
}

sqlite3_io_methods const& FaultVfs::methods() {
  static constexpr auto real = [](sqlite3_file* file) { return file_of(file).real(); };
  static sqlite3_io_methods const table = {
      .iVersion = 3,
      .xClose =
          [](sqlite3_file* file) {
            int const closed = real(file)->pMethods->xClose(real(file));
            std::destroy_at(&file_of(file));
            return closed;
          },
      .xRead =
          [](sqlite3_file* file, void* into, int count, sqlite3_int64 offset) {
            return real(file)->pMethods->xRead(real(file), into, count, offset);
          },
      .xWrite =
          [](sqlite3_file* file, void const* bytes, int count, sqlite3_int64 offset) {
            return file_of(file).vfs->write(file_of(file), static_cast<char const*>(bytes), count,
                                            offset);
          },
      .xTruncate =
          [](sqlite3_file* file, sqlite3_int64 size) {
            return file_of(file).vfs->truncate(file_of(file), size);
          },
      .xSync = [](sqlite3_file* file,
                  int flags) { return file_of(file).vfs->sync(file_of(file), flags); },
      .xFileSize =
          [](sqlite3_file* file, sqlite3_int64* size) {
            return real(file)->pMethods->xFileSize(real(file), size);
          },
      .xLock = [](sqlite3_file* file,
                  int level) { return real(file)->pMethods->xLock(real(file), level); },
      .xUnlock = [](sqlite3_file* file,
                    int level) { return real(file)->pMethods->xUnlock(real(file), level); },
      .xCheckReservedLock =
          [](sqlite3_file* file, int* out) {
            return real(file)->pMethods->xCheckReservedLock(real(file), out);
          },
      .xFileControl =
          [](sqlite3_file* file, int operation, void* argument) {
            return real(file)->pMethods->xFileControl(real(file), operation, argument);
          },
      .xSectorSize =
          [](sqlite3_file* file) { return real(file)->pMethods->xSectorSize(real(file)); },
      .xDeviceCharacteristics =
          [](sqlite3_file* file) {
            return real(file)->pMethods->xDeviceCharacteristics(real(file));
          },
      .xShmMap =
          [](sqlite3_file* file, int page, int size, int extend, void volatile** out) {
            return real(file)->pMethods->xShmMap(real(file), page, size, extend, out);
          },
      .xShmLock =
          [](sqlite3_file* file, int offset, int count, int flags) {
            return real(file)->pMethods->xShmLock(real(file), offset, count, flags);
          },
      .xShmBarrier = [](sqlite3_file* file) { real(file)->pMethods->xShmBarrier(real(file)); },
      .xShmUnmap = [](sqlite3_file* file,
                      int remove) { return real(file)->pMethods->xShmUnmap(real(file), remove); },
      .xFetch =
          [](sqlite3_file* file, sqlite3_int64 offset, int count, void** out) {
            return real(file)->pMethods->xFetch(real(file), offset, count, out);
          },
      .xUnfetch =
          [](sqlite3_file* file, sqlite3_int64 offset, void* page) {
            return real(file)->pMethods->xUnfetch(real(file), offset, page);
          },
  };
  return table;
}

// ---- The power -------------------------------------------------------------------------------

bool FaultVfs::begin_operation() {
  if (!powered_.load()) return false;
  if (operations_++ < plan_.at_operation) return true;
  cut();
  return false;
}

void FaultVfs::cut() {
  powered_.store(false);
  bool const some = plan_.loss == Loss::some;
  // A name given or taken away since the folder was synced may have made it or not.
  Names names = durable_names_;
  if (some) {
    for (auto const& [name, content] : names_) {
      if (!durable_names_.contains(name) && chance(0.5)) names[name] = content;
    }
    for (auto const& [name, content] : durable_names_) {
      if (!names_.contains(name) && chance(0.5)) names.erase(name);
    }
  }
  for (auto const& [name, content] : names) {
    auto const file = std::filesystem::path(name).filename().string();
    survivors_[file] = some ? survivor(*content) : content->durable;
  }
}

std::string FaultVfs::survivor(Content const& content) {
  constexpr double kParts[] = {0.0, 0.1, 0.5, 0.9, 1.0};
  double const part = kParts[random_() % std::size(kParts)];
  char const filler = chance(0.5) ? '\0' : '\xa5';
  std::string bytes = content.durable;
  for (auto const& change : content.pending) {
    if (change.truncates) {
      if (chance(part)) apply(change, bytes, filler);
      continue;
    }
    auto const end = static_cast<std::size_t>(change.offset) + change.bytes.size();
    if (end > bytes.size() && chance(part)) bytes.resize(end, filler);
    // From one sector's edge to the next.
    for (std::size_t from = 0; from < change.bytes.size();) {
      auto const at = static_cast<std::size_t>(change.offset) + from;
      auto const count = std::min(kSectorBytes - at % kSectorBytes, change.bytes.size() - from);
      if (chance(part)) {
        apply({static_cast<std::int64_t>(at), change.bytes.substr(from, count), false}, bytes,
              filler);
      }
      from += count;
    }
  }
  return bytes;
}

void FaultVfs::apply(Change const& change, std::string& bytes, char filler) {
  auto const offset = static_cast<std::size_t>(change.offset);
  if (change.truncates) {
    bytes.resize(offset, filler);
    return;
  }
  if (bytes.size() < offset + change.bytes.size()) {
    bytes.resize(offset + change.bytes.size(), filler);
  }
  bytes.replace(offset, change.bytes.size(), change.bytes);
}

bool FaultVfs::chance(double probability) {
  return std::uniform_real_distribution<double>(0, 1)(random_) < probability;
}

}  // namespace subforge::store
