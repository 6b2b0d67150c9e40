// What the kernel tells of the machine and of this process (proc(5), statvfs(3)). Where it does not
// tell, the value is absent. Within a container, CPU, memory and load are those of the machine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace subforge::domain {

// Counters that only grow; two readings give a rate.
struct CpuTimes {
  std::uint64_t busy = 0;
  std::uint64_t total = 0;
  friend bool operator==(CpuTimes const&, CpuTimes const&) = default;
};
struct NetworkBytes {
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  friend bool operator==(NetworkBytes const&, NetworkBytes const&) = default;
};

// One reading.
struct MachineReading {
  std::optional<CpuTimes> cpu;
  std::optional<NetworkBytes> network;         // All interfaces but loopback.
  std::optional<double> memory_percentage;     // Not available to new programs.
  std::optional<double> disk_percentage;       // Of the file system that holds `folder`.
  std::optional<double> load_percentage;       // One-minute load per core; at most 100.
  std::optional<double> process_cpu_seconds;   // User and system, since the process started.
  std::optional<std::int64_t> resident_bytes;  // Of this process.
  std::optional<std::int64_t> open_files;      // Of this process.
};

[[nodiscard]] MachineReading read_machine(std::string const& folder);

// The parts that can be tested without a machine.
[[nodiscard]] std::optional<CpuTimes> parse_cpu(std::string_view proc_stat);
[[nodiscard]] std::optional<NetworkBytes> parse_network(std::string_view proc_net_dev);
[[nodiscard]] std::optional<double> parse_memory(std::string_view proc_meminfo);
[[nodiscard]] std::optional<double> parse_load(std::string_view proc_loadavg, unsigned cores);

// Between two readings; absent where a counter is, stands still or went back.
[[nodiscard]] std::optional<double> cpu_percentage(std::optional<CpuTimes> const& before,
                                                   std::optional<CpuTimes> const& after);
// Per second.
[[nodiscard]] std::optional<double> rate(std::optional<std::uint64_t> before,
                                         std::optional<std::uint64_t> after, double seconds);

}  // namespace subforge::domain
