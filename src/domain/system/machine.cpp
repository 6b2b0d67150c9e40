#include "domain/system/machine.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/text.hpp"

namespace subforge::domain {
namespace {

constexpr std::size_t kFileBytesMax = 256U << 10;

std::optional<std::string> read_file(char const* path) {
  int const fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string text;
  char piece[4096];
  for (;;) {
    auto const got = ::read(fd, piece, sizeof piece);
    if (got <= 0 || text.size() > kFileBytesMax) break;
    text.append(piece, static_cast<std::size_t>(got));
  }
  ::close(fd);
  return text;
}

// Takes the next word off `text`, over spaces, tabs and line ends.
std::string_view next_word(std::string_view& text) {
  auto const begin = std::min(text.find_first_not_of(" \t\n"), text.size());
  text.remove_prefix(begin);
  auto const end = std::min(text.find_first_of(" \t\n"), text.size());
  auto const word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

std::string_view next_line(std::string_view& text) {
  auto const end = std::min(text.find('\n'), text.size());
  auto const line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

template <class T>
std::optional<T> number(std::string_view word) {
  T value{};
  auto const end = word.data() + word.size();
  auto const parsed = std::from_chars(word.data(), end, value);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return value;
}

std::optional<double> disk_percentage(std::string const& folder) {
  struct statvfs found{};
  if (::statvfs(folder.c_str(), &found) != 0 || found.f_blocks == 0) return std::nullopt;
  // As df tells it: what only root may use does not count as free.
  auto const used = static_cast<double>(found.f_blocks - found.f_bfree);
  auto const usable = used + static_cast<double>(found.f_bavail);
  return usable > 0 ? std::optional(used / usable * 100) : std::nullopt;
}

unsigned cores() {
  auto const online = ::sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? static_cast<unsigned>(online) : 0;
}

std::optional<double> process_cpu_seconds() {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
  auto const seconds = [](timeval const& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::optional<std::int64_t> resident_bytes() {
  auto const text = read_file("/proc/self/statm");
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  next_word(rest);
  auto const pages = number<std::int64_t>(next_word(rest));
  if (!pages) return std::nullopt;
  return *pages * ::sysconf(_SC_PAGESIZE);
}

std::optional<std::int64_t> open_files() {
  DIR* const folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return std::nullopt;
  std::int64_t count = -1;  // The folder itself.
  while (auto const* entry = ::readdir(folder)) count += entry->d_name[0] == '.' ? 0 : 1;
  ::closedir(folder);
  return count;
}

}  // namespace

std::optional<CpuTimes> parse_cpu(std::string_view proc_stat) {
  auto line = next_line(proc_stat);
  if (next_word(line) != "cpu") return std::nullopt;
  // user nice system idle iowait irq softirq steal; guest times are within user and nice.
  std::vector<std::uint64_t> times;
  while (times.size() < 8) {
    auto const time = number<std::uint64_t>(next_word(line));
    if (!time) break;
    times.push_back(*time);
  }
  if (times.size() < 4) return std::nullopt;
  CpuTimes sum;
  for (auto const time : times) sum.total += time;
  sum.busy = sum.total - times[3] - (times.size() > 4 ? times[4] : 0);
  return sum;
}

std::optional<NetworkBytes> parse_network(std::string_view proc_net_dev) {
  next_line(proc_net_dev);
  next_line(proc_net_dev);
  NetworkBytes sum;
  bool any = false;
  while (!proc_net_dev.empty()) {
    auto line = next_line(proc_net_dev);
    auto const colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    auto const name = trim(line.substr(0, colon));
    line.remove_prefix(colon + 1);
    auto const received = number<std::uint64_t>(next_word(line));
    for (int i = 0; i < 7; ++i) next_word(line);
    auto const sent = number<std::uint64_t>(next_word(line));
    if (name == "lo" || !received || !sent) continue;
    sum.received += *received;
    sum.sent += *sent;
    any = true;
  }
  return any ? std::optional(sum) : std::nullopt;
}

std::optional<double> parse_memory(std::string_view proc_meminfo) {
  std::optional<std::uint64_t> total;
  std::optional<std::uint64_t> available;
  while (!proc_meminfo.empty()) {
    auto line = next_line(proc_meminfo);
    auto const name = next_word(line);
    if (name == "MemTotal:") total = number<std::uint64_t>(next_word(line));
    if (name == "MemAvailable:") available = number<std::uint64_t>(next_word(line));
  }
  if (!total || !available || *total == 0 || *available > *total) return std::nullopt;
  return static_cast<double>(*total - *available) / static_cast<double>(*total) * 100;
}

std::optional<double> parse_load(std::string_view proc_loadavg, unsigned cores) {
  auto const load = number<double>(next_word(proc_loadavg));
  if (!load || cores == 0 || *load < 0) return std::nullopt;
  return std::min(*load / cores * 100, 100.0);
}

std::optional<double> cpu_percentage(std::optional<CpuTimes> const& before,
                                     std::optional<CpuTimes> const& after) {
  if (!before || !after || after->total <= before->total || after->busy < before->busy) {
    return std::nullopt;
  }
  return std::min(static_cast<double>(after->busy - before->busy) /
                      static_cast<double>(after->total - before->total) * 100,
                  100.0);
}

std::optional<double> rate(std::optional<std::uint64_t> before, std::optional<std::uint64_t> after,
                           double seconds) {
  if (!before || !after || *after < *before || seconds <= 0) return std::nullopt;
  return static_cast<double>(*after - *before) / seconds;
}

MachineReading read_machine(std::string const& folder) {
  MachineReading reading;
  if (auto const text = read_file("/proc/stat")) reading.cpu = parse_cpu(*text);
  if (auto const text = read_file("/proc/net/dev")) reading.network = parse_network(*text);
  if (auto const text = read_file("/proc/meminfo")) reading.memory_percentage = parse_memory(*text);
  if (auto const text = read_file("/proc/loadavg")) {
    reading.load_percentage = parse_load(*text, cores());
  }
  reading.disk_percentage = disk_percentage(folder);
  reading.process_cpu_seconds = process_cpu_seconds();
  reading.resident_bytes = resident_bytes();
  reading.open_files = open_files();
  return reading;
}

}  // namespace subforge::domain
