// The settings: one table says what each is called, may be and does; sources fill a plain struct.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "config/database_url.hpp"

namespace subforge::config {

struct Config {
  std::string environment;
  std::string app_name;
  std::string app_version;
  std::string app_description;
  bool debug = false;
  bool docs = true;

  std::string host;
  std::int64_t port = 0;
  std::int64_t loops = 0;  // 0: one per core.
  bool io_uring = true;
  bool reload = false;
  std::int64_t shutdown_seconds = 0;
  std::int64_t header_timeout_seconds = 0;
  std::int64_t body_timeout_seconds = 0;
  std::int64_t idle_timeout_seconds = 0;
  std::int64_t header_bytes_max = 0;
  std::int64_t target_bytes_max = 0;
  std::int64_t json_body_bytes_max = 0;
  std::int64_t max_connections = 0;
  std::vector<std::string> allowed_hosts;  // Lower case; loopback names and `host` if none is set.
  std::vector<std::string> allowed_origins;
  std::vector<std::string> allowed_methods;
  std::vector<std::string> allowed_headers;
  bool allow_credentials = true;

  std::string database_url;
  DatabaseUrl database;  // Follows from `database_url`.
  std::int64_t database_pool_size = 0;
  std::int64_t database_statement_timeout_seconds = 0;
  std::int64_t database_connect_timeout_seconds = 0;
  std::int64_t database_silence_ms = 0;
  bool database_echo = false;

  std::string redis_url;
  std::int64_t redis_expire = 0;
  std::string celery_broker_url;
  std::string celery_result_backend;
  std::int64_t celery_visibility_timeout = 0;
  std::int64_t celery_lost_after = 0;
  std::int64_t celery_result_expires = 0;
  std::string celery_result_key_prefix;
  std::string celery_wire_version;  // 5.2, 5.5 or 5.6.

  std::string auth;  // auto, required or off.
  std::string secret_key;
  std::string algorithm;
  std::int64_t access_token_expire_minutes = 0;

  std::string websocket_path;
  std::int64_t max_websocket_connections = 0;
  std::int64_t websocket_message_bytes_max = 0;
  std::int64_t websocket_queue_bytes_max = 0;
  std::int64_t websocket_heartbeat_seconds = 0;
  std::int64_t websocket_ping_seconds = 0;
  std::int64_t websocket_ping_timeout_seconds = 0;
  std::int64_t websocket_messages_per_second = 0;
  bool websocket_compression = true;
  std::int64_t websocket_window_ms = 0;
  std::int64_t socketio_ping_seconds = 0;
  std::int64_t socketio_ping_timeout_seconds = 0;
  std::int64_t socketio_payload_bytes_max = 0;

  bool enable_rate_limiting = true;
  std::int64_t rate_limit_multiplier = 0;
  std::int64_t rate_limit_clients_max = 0;
  bool enable_caching = true;
  std::int64_t cache_ttl_default = 0;
  std::int64_t cache_bytes_max = 0;
  std::int64_t idempotency_hours = 0;
  std::int64_t event_retention_days = 0;
  std::int64_t event_retention_count = 0;
  std::int64_t inbox_messages_max = 0;
  std::int64_t inbox_expiry_days = 0;
  std::int64_t restart_seconds = 0;
  std::int64_t agent_lease_seconds = 0;

  bool enable_background_tasks = true;
  std::vector<std::string> task_queues;
  std::vector<std::string> task_routes;
  std::int64_t task_slots = 0;
  std::int64_t task_lease_seconds = 0;
  std::int64_t task_retention_days = 0;
  std::string tasks_dir;
  std::int64_t metrics_update_interval = 0;
  std::string backup_dir;
  std::int64_t backup_chain_max = 0;
  std::int64_t backup_chains_kept = 0;
  std::int64_t max_file_size = 0;
  std::int64_t max_files_per_upload = 0;
  std::string upload_dir;
  std::int64_t upload_quota_bytes = 0;
  std::int64_t disk_free_bytes_min = 0;
  std::int64_t upload_expiry_hours = 0;
  std::string malware_scanner;
  bool malware_fail_open = false;
  std::int64_t malware_timeout_seconds = 0;
  bool enable_file_watcher = true;
  double watcher_debounce_seconds = 0;
  std::string subforge_root;
  std::string subforge_dir;
  std::string claude_dir;
  std::string agents_dir;

  std::string log_level;
  std::string log_format;
};

// Where in the struct a setting lives; its type says how text is read.
using Member = std::variant<std::string Config::*, std::int64_t Config::*, double Config::*,
                            bool Config::*, std::vector<std::string> Config::*>;

enum class Effect : std::uint8_t {
  now,
  later,            // Checked and listed, but what it steers is not in this version.
  adapter_missing,  // Must stay empty: what it would choose is not in this version.
};

struct Setting {
  std::string_view section = {};  // The heading of those that begin here.
  std::string_view name;          // In the environment and in .env.
  Member member;
  std::string_view fallback;
  std::string_view doc;
  std::int64_t least = 0;  // Of numbers.
  std::int64_t most = 0;
  std::span<std::string_view const> choices = {};  // Of text, in any case; none: any text.
  bool secret = false;
  Effect effect = Effect::now;

  [[nodiscard]] std::string flag() const;     // --like-this
  [[nodiscard]] std::string allowed() const;  // "a whole number from 1 to 9"; empty: any text.
};

[[nodiscard]] std::span<Setting const> settings();

// What a value of ENVIRONMENT changes among the defaults.
struct ProfileDefault {
  std::string_view environment;
  std::string_view name;
  std::string_view value;
};
[[nodiscard]] std::span<ProfileDefault const> profile_defaults();

struct Sources {
  std::map<std::string, std::string> flags;  // By the setting's name.
  std::map<std::string, std::string> environment;
  std::string dot_env;  // The text of .env.
};

// Where a value came from; each wins over those before it.
enum class Origin : std::uint8_t { fallback, profile, debug, dot_env, environment, flag };

struct Loaded {
  Config config;
  std::vector<std::string> values;  // As text, in the order of settings().
  std::vector<Origin> origins;
  std::vector<std::string> warnings;  // For the log; one sentence each.
};

// Error: invalid, with one sentence that names key, value and what is allowed.
[[nodiscard]] Result<Loaded> load(Sources const& sources);

// The process's environment, reduced to known names.
[[nodiscard]] std::map<std::string, std::string> environment_of_process();

[[nodiscard]] std::string list_text(Loaded const& loaded);  // `subforge config`
[[nodiscard]] std::string list_json(Loaded const& loaded);
[[nodiscard]] std::string example_file();    // .env.example
[[nodiscard]] std::string reference_page();  // docs/configuration.md

}  // namespace subforge::config
