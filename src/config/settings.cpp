// The table of settings.
#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.hpp"
#include "config/config.hpp"

namespace subforge::config {
namespace {

using C = Config;
using Text = std::string_view;

constexpr std::int64_t kMany = 1'000'000'000'000;
constexpr std::int64_t kHour = 3600;
constexpr std::int64_t kDay = 24 * kHour;
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kGiB = 1 << 30;

constexpr Text kEnvironments[] = {"", "development", "production", "testing"};
constexpr Text kAuthModes[] = {"auto", "required", "off"};
constexpr Text kAlgorithms[] = {"HS256"};
constexpr Text kLogLevels[] = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"};
constexpr Text kLogFormats[] = {"json", "text"};

constexpr Setting kSettings[] = {
    {.section = "General",
     .name = "ENVIRONMENT",
     .member = &C::environment,
     .fallback = "",
     .doc = "Profile that changes some defaults.",
     .choices = kEnvironments},
    {.name = "APP_NAME",
     .member = &C::app_name,
     .fallback = "SubForge Dashboard API",
     .doc = "Name shown by `/` and in the API's document."},
    {.name = "APP_VERSION",
     .member = &C::app_version,
     .fallback = "1.0.0",
     .doc = "Version shown by `/` and in the API's document."},
    {.name = "APP_DESCRIPTION",
     .member = &C::app_description,
     .fallback = "Watches and steers fleets of AI agents.",
     .doc = "Description shown by `/` and in the API's document."},
    {.name = "DEBUG",
     .member = &C::debug,
     .fallback = "false",
     .doc = "Makes DEBUG the default of `LOG_LEVEL`."},
    {.name = "DOCS",
     .member = &C::docs,
     .fallback = "true",
     .doc = "Serve `/docs`, `/redoc`, `/openapi.json` and `/asyncapi.json`."},
    {.name = "LOG_LEVEL",
     .member = &C::log_level,
     .fallback = "INFO",
     .doc = "The least level that is logged.",
     .choices = kLogLevels},
    {.name = "LOG_FORMAT",
     .member = &C::log_format,
     .fallback = "json",
     .doc = "Form of log lines.",
     .choices = kLogFormats},

    {.section = "Listening",
     .name = "HOST",
     .member = &C::host,
     .fallback = "localhost",
     .doc = "Address or name to listen on. Others than loopback need an API key, or `AUTH=off`."},
    {.name = "PORT",
     .member = &C::port,
     .fallback = "8000",
     .doc = "Port to listen on; 0 takes a free one.",
     .most = 65535},
    {.name = "LOOPS",
     .member = &C::loops,
     .fallback = "0",
     .doc = "Event loops; 0 means one per core.",
     .most = 256},
    {.name = "RELOAD",
     .member = &C::reload,
     .fallback = "false",
     .doc = "Restart when source files change.",
     .effect = Effect::later},
    {.name = "SHUTDOWN_SECONDS",
     .member = &C::shutdown_seconds,
     .fallback = "10",
     .doc = "Time that requests under way have to finish after SIGTERM.",
     .most = kHour},

    {.section = "Limits of requests and connections",
     .name = "HEADER_TIMEOUT_SECONDS",
     .member = &C::header_timeout_seconds,
     .fallback = "10",
     .doc = "Time for the head of a request to arrive (408).",
     .least = 1,
     .most = kHour},
    {.name = "BODY_TIMEOUT_SECONDS",
     .member = &C::body_timeout_seconds,
     .fallback = "30",
     .doc = "Time for the body of a request to arrive (408).",
     .least = 1,
     .most = kDay},
    {.name = "IDLE_TIMEOUT_SECONDS",
     .member = &C::idle_timeout_seconds,
     .fallback = "75",
     .doc = "Silence after which a connection is closed.",
     .least = 1,
     .most = kDay},
    {.name = "HEADER_BYTES_MAX",
     .member = &C::header_bytes_max,
     .fallback = "32768",
     .doc = "Size of the header fields of a request (431).",
     .least = 1024,
     .most = kMiB},
    {.name = "TARGET_BYTES_MAX",
     .member = &C::target_bytes_max,
     .fallback = "8192",
     .doc = "Length of the target of a request (414).",
     .least = 256,
     .most = kMiB},
    {.name = "JSON_BODY_BYTES_MAX",
     .member = &C::json_body_bytes_max,
     .fallback = "524288",
     .doc = "Size of a JSON body (413).",
     .least = 1024,
     .most = kGiB},
    {.name = "MAX_CONNECTIONS",
     .member = &C::max_connections,
     .fallback = "20000",
     .doc = "Open connections (503); the limit of open files caps it.",
     .least = 1,
     .most = 10'000'000},

    {.section = "Hosts and origins",
     .name = "ALLOWED_HOSTS",
     .member = &C::allowed_hosts,
     .fallback = "[]",
     .doc = R"(Names in the Host field, without port; none means loopback names and `HOST`, )"
            R"(`["*"]` any (but not in local mode).)"},
    {.name = "ALLOWED_ORIGINS",
     .member = &C::allowed_origins,
     .fallback = R"(["http://localhost:3000","http://localhost:3001"])",
     .doc = R"(Origins of CORS requests and WebSocket handshakes, `["*"]` any.)"},
    {.name = "ALLOWED_METHODS",
     .member = &C::allowed_methods,
     .fallback = R"(["*"])",
     .doc = "Methods of CORS requests."},
    {.name = "ALLOWED_HEADERS",
     .member = &C::allowed_headers,
     .fallback = R"(["*"])",
     .doc = "Header fields of CORS requests."},
    {.name = "ALLOW_CREDENTIALS",
     .member = &C::allow_credentials,
     .fallback = "true",
     .doc = "Let CORS requests carry credentials."},

    {.section = "Authentication",
     .name = "AUTH",
     .member = &C::auth,
     .fallback = "auto",
     .doc = "auto: local mode until the first API key is made, then required; off: whoever shows"
            " no token is administrator.",
     .choices = kAuthModes},
    {.name = "SECRET_KEY",
     .member = &C::secret_key,
     .fallback = "",
     .doc = "Signs tokens. If it is empty or a placeholder, one is made and kept with the data.",
     .secret = true},
    {.name = "ALGORITHM",
     .member = &C::algorithm,
     .fallback = "HS256",
     .doc = "How tokens are signed.",
     .choices = kAlgorithms},
    {.name = "ACCESS_TOKEN_EXPIRE_MINUTES",
     .member = &C::access_token_expire_minutes,
     .fallback = "30",
     .doc = "Life of a token made from an API key.",
     .least = 1,
     .most = 525'600},

    {.section = "Database, Redis and Celery",
     .name = "DATABASE_URL",
     .member = &C::database_url,
     .fallback = "sqlite:///./subforge_dashboard.db",
     .doc = "`sqlite:///relative/path`, `sqlite:////absolute/path` or"
            " `postgresql://user:password@host:port/database`."},
    {.name = "DATABASE_POOL_SIZE",
     .member = &C::database_pool_size,
     .fallback = "20",
     .doc = "Connections to PostgreSQL to read with, shared out among the event loops; each gets 2"
            " or more. One more writes.",
     .least = 2,
     .most = 10'000},
    {.name = "DATABASE_STATEMENT_TIMEOUT_SECONDS",
     .member = &C::database_statement_timeout_seconds,
     .fallback = "30",
     .doc = "How long PostgreSQL may take for one statement.",
     .least = 1,
     .most = kHour},
    {.name = "DATABASE_CONNECT_TIMEOUT_SECONDS",
     .member = &C::database_connect_timeout_seconds,
     .fallback = "5",
     .doc = "How long a connection to PostgreSQL may take; also, how long a starting SubForge waits"
            " for it.",
     .least = 1,
     .most = 600},
    {.name = "DATABASE_ECHO",
     .member = &C::database_echo,
     .fallback = "false",
     .doc = "Log every SQL statement.",
     .effect = Effect::later},
    {.name = "REDIS_URL",
     .member = &C::redis_url,
     .fallback = "",
     .doc = "Redis server; empty means everything embedded.",
     .secret = true,
     .effect = Effect::adapter_missing},
    {.name = "REDIS_EXPIRE",
     .member = &C::redis_expire,
     .fallback = "300",
     .doc = "Seconds that values live in Redis.",
     .least = 1,
     .most = kMany,
     .effect = Effect::later},
    {.name = "CELERY_BROKER_URL",
     .member = &C::celery_broker_url,
     .fallback = "",
     .doc = "Celery's broker; empty means the embedded queue.",
     .secret = true,
     .effect = Effect::adapter_missing},
    {.name = "CELERY_RESULT_BACKEND",
     .member = &C::celery_result_backend,
     .fallback = "",
     .doc = "Celery's store of results; empty means the embedded one.",
     .secret = true,
     .effect = Effect::adapter_missing},

    {.section = "WebSockets",
     .name = "WEBSOCKET_PATH",
     .member = &C::websocket_path,
     .fallback = "/ws",
     .doc = "Path of the first protocol; the second one is below it at `/v2`."},
    {.name = "MAX_WEBSOCKET_CONNECTIONS",
     .member = &C::max_websocket_connections,
     .fallback = "10000",
     .doc = "Open WebSockets (503).",
     .most = 10'000'000},
    {.name = "WEBSOCKET_MESSAGE_BYTES_MAX",
     .member = &C::websocket_message_bytes_max,
     .fallback = "1048576",
     .doc = "Size of a message received (close code 1009).",
     .least = 1024,
     .most = kGiB},
    {.name = "WEBSOCKET_QUEUE_BYTES_MAX",
     .member = &C::websocket_queue_bytes_max,
     .fallback = "1048576",
     .doc = "Bytes that wait for a slow reader before it is disconnected.",
     .least = 65536,
     .most = kGiB},
    {.name = "WEBSOCKET_HEARTBEAT_SECONDS",
     .member = &C::websocket_heartbeat_seconds,
     .fallback = "60",
     .doc = "Time between heartbeat messages of the second protocol.",
     .least = 1,
     .most = kDay},
    {.name = "WEBSOCKET_PING_SECONDS",
     .member = &C::websocket_ping_seconds,
     .fallback = "20",
     .doc = "Silence after which a client is pinged.",
     .least = 1,
     .most = kDay},
    {.name = "WEBSOCKET_PING_TIMEOUT_SECONDS",
     .member = &C::websocket_ping_timeout_seconds,
     .fallback = "20",
     .doc = "Time that a client has to answer a ping.",
     .least = 1,
     .most = kDay},
    {.name = "WEBSOCKET_MESSAGES_PER_SECOND",
     .member = &C::websocket_messages_per_second,
     .fallback = "1000",
     .doc = "Messages that one connection of a WebSocket or of Socket.IO may send, twice as many at"
            " once (close code 4429). Counted as other rates are: ENABLE_RATE_LIMITING,"
            " RATE_LIMIT_MULTIPLIER.",
     .least = 1,
     .most = 1'000'000},
    {.name = "WEBSOCKET_COMPRESSION",
     .member = &C::websocket_compression,
     .fallback = "true",
     .doc = "Compressed messages for clients that offer them (permessage-deflate)."},
    {.name = "SOCKETIO_PING_SECONDS",
     .member = &C::socketio_ping_seconds,
     .fallback = "25",
     .doc = "Time between pings of Socket.IO, which its clients answer.",
     .least = 1,
     .most = kDay},
    {.name = "SOCKETIO_PING_TIMEOUT_SECONDS",
     .member = &C::socketio_ping_timeout_seconds,
     .fallback = "60",
     .doc = "Time that a client of Socket.IO has to fetch such a ping and to answer it.",
     .least = 1,
     .most = kDay},
    {.name = "SOCKETIO_PAYLOAD_BYTES_MAX",
     .member = &C::socketio_payload_bytes_max,
     .fallback = "1000000",
     .doc = "Size of what a client of Socket.IO sends at once (413, close code 1009).",
     .least = 1024,
     .most = kGiB},

    {.section = "Rate limits and cache",
     .name = "ENABLE_RATE_LIMITING",
     .member = &C::enable_rate_limiting,
     .fallback = "true",
     .doc = "Limit the requests of each client."},
    {.name = "RATE_LIMIT_MULTIPLIER",
     .member = &C::rate_limit_multiplier,
     .fallback = "1",
     .doc = "Multiplies every rate limit.",
     .least = 1,
     .most = 1'000'000},
    {.name = "RATE_LIMIT_CLIENTS_MAX",
     .member = &C::rate_limit_clients_max,
     .fallback = "100000",
     .doc = "Pairs of route and client that are counted at once.",
     .least = 16,
     .most = 100'000'000},
    {.name = "ENABLE_CACHING",
     .member = &C::enable_caching,
     .fallback = "true",
     .doc = "Keep answers in memory until what they show changes."},
    {.name = "CACHE_TTL_DEFAULT",
     .member = &C::cache_ttl_default,
     .fallback = "300",
     .doc = "Seconds that an answer is kept where its route does not say.",
     .least = 1,
     .most = kDay,
     .effect = Effect::later},
    {.name = "CACHE_BYTES_MAX",
     .member = &C::cache_bytes_max,
     .fallback = "67108864",
     .doc = "Memory for kept answers.",
     .most = kMany},

    {.name = "IDEMPOTENCY_HOURS",
     .member = &C::idempotency_hours,
     .fallback = "24",
     .doc = "How long an `Idempotency-Key` and its answer are kept.",
     .least = 1,
     .most = 720},

    {.section = "Event log",
     .name = "EVENT_RETENTION_DAYS",
     .member = &C::event_retention_days,
     .fallback = "30",
     .doc = "Days after which events leave the log, and with it replay, history and agents' logs; 0"
            " keeps them.",
     .most = 36500},
    {.name = "EVENT_RETENTION_COUNT",
     .member = &C::event_retention_count,
     .fallback = "1000000",
     .doc = "Newest events that stay in the log; 0 means all.",
     .most = kMany},
    {.name = "INBOX_MESSAGES_MAX",
     .member = &C::inbox_messages_max,
     .fallback = "1000",
     .doc = "Messages that are kept for one user until they are acknowledged; a further one pushes"
            " out the oldest.",
     .least = 1,
     .most = 100000},
    {.name = "INBOX_EXPIRY_DAYS",
     .member = &C::inbox_expiry_days,
     .fallback = "30",
     .doc = "Days that a message to a user is kept unacknowledged; 0 sets no bound.",
     .most = 36500},

    {.section = "Agents, tasks and files",
     .name = "RESTART_SECONDS",
     .member = &C::restart_seconds,
     .fallback = "5",
     .doc = "Time after which a restarted agent is active again.",
     .most = kDay},
    {.name = "AGENT_LEASE_SECONDS",
     .member = &C::agent_lease_seconds,
     .fallback = "90",
     .doc = "Time after its last heartbeat in which an agent counts as alive; then it is offline, "
            "until"
            " the next. 0 believes agents for ever. One that never sent a heartbeat has no lease.",
     .most = kDay},
    {.name = "ENABLE_BACKGROUND_TASKS",
     .member = &C::enable_background_tasks,
     .fallback = "true",
     .doc = "Run background tasks.",
     .effect = Effect::later},
    {.name = "METRICS_UPDATE_INTERVAL",
     .member = &C::metrics_update_interval,
     .fallback = "30",
     .doc = "Seconds between samples of the system's metrics.",
     .least = 1,
     .most = kDay},
    {.name = "BACKUP_DIR",
     .member = &C::backup_dir,
     .fallback = "backups",
     .doc = "Where backups are kept."},
    {.name = "BACKUP_CHAIN_MAX",
     .member = &C::backup_chain_max,
     .fallback = "7",
     .doc = "Backups that build on one another; the next one is full.",
     .least = 1,
     .most = 365},
    {.name = "BACKUP_CHAINS_KEPT",
     .member = &C::backup_chains_kept,
     .fallback = "4",
     .doc =
         "Full backups, each with those that build on it, that are kept when old ones are removed.",
     .least = 1,
     .most = 10'000},
    {.name = "MAX_FILE_SIZE",
     .member = &C::max_file_size,
     .fallback = "52428800",
     .doc = "Bytes of an uploaded file (400); exactly so many are allowed.",
     .least = 1,
     .most = kMany},
    {.name = "MAX_FILES_PER_UPLOAD",
     .member = &C::max_files_per_upload,
     .fallback = "10",
     .doc = "Files of one upload (400). A whole upload beyond both limits together is 413.",
     .least = 1,
     .most = 100},
    {.name = "UPLOAD_DIR",
     .member = &C::upload_dir,
     .fallback = "uploads",
     .doc = "Folder that uploaded files are kept in; it belongs to the database."},
    {.name = "UPLOAD_QUOTA_BYTES",
     .member = &C::upload_quota_bytes,
     .fallback = "0",
     .doc = "Bytes that all files of one user may have together (413); 0 sets no bound.",
     .most = kMany},
    {.name = "DISK_FREE_BYTES_MIN",
     .member = &C::disk_free_bytes_min,
     .fallback = "104857600",
     .doc = "Bytes that uploads leave free on the disk (507).",
     .most = kMany},
    {.name = "ENABLE_FILE_WATCHER",
     .member = &C::enable_file_watcher,
     .fallback = "true",
     .doc = "Watch the files of agents and workflows.",
     .effect = Effect::later},
    {.name = "WATCHER_DEBOUNCE_SECONDS",
     .member = &C::watcher_debounce_seconds,
     .fallback = "1.0",
     .doc = "Quiet time before a changed file is read.",
     .most = kHour,
     .effect = Effect::later},
    {.name = "SUBFORGE_ROOT",
     .member = &C::subforge_root,
     .fallback = ".",
     .doc = "The project that is watched.",
     .effect = Effect::later},
    {.name = "SUBFORGE_DIR",
     .member = &C::subforge_dir,
     .fallback = ".subforge",
     .doc = "Its workflow files.",
     .effect = Effect::later},
    {.name = "CLAUDE_DIR",
     .member = &C::claude_dir,
     .fallback = ".claude",
     .doc = "Its Claude Code files.",
     .effect = Effect::later},
    {.name = "AGENTS_DIR",
     .member = &C::agents_dir,
     .fallback = ".claude/agents",
     .doc = "Its agent files.",
     .effect = Effect::later},
};

constexpr ProfileDefault kProfileDefaults[] = {
    {"development", "DEBUG", "true"},
    {"development", "RELOAD", "true"},
    {"development", "DATABASE_ECHO", "true"},
    {"development", "LOG_LEVEL", "DEBUG"},
    {"production", "LOG_LEVEL", "WARNING"},
    {"testing", "DEBUG", "true"},
    {"testing", "DATABASE_URL", "sqlite:///./subforge_test.db"},
};

constexpr bool is_setting(Text name) {
  return std::ranges::any_of(kSettings, [&](auto const& one) { return one.name == name; });
}

constexpr bool names_are_unique() {
  for (auto const& setting : kSettings) {
    if (std::ranges::count(kSettings, setting.name, &Setting::name) != 1) return false;
  }
  return true;
}

constexpr bool ranges_are_whole() {
  return std::ranges::all_of(kSettings, [](Setting const& setting) {
    bool const number = std::holds_alternative<std::int64_t Config::*>(setting.member) ||
                        std::holds_alternative<double Config::*>(setting.member);
    return number ? setting.least < setting.most : setting.least == 0 && setting.most == 0;
  });
}

static_assert(names_are_unique());
static_assert(ranges_are_whole(), "a number needs a range, and nothing else has one");
static_assert(std::ranges::all_of(kProfileDefaults,
                                  [](auto const& one) { return is_setting(one.name); }));

}  // namespace

std::string Setting::flag() const {
  auto text = "--" + to_lower(name);
  std::ranges::replace(text, '_', '-');
  return text;
}

std::string Setting::allowed() const {
  if (!choices.empty()) {
    std::vector<std::string_view> shown(choices.begin(), choices.end());
    std::erase(shown, "");
    return fmt::format("one of {}", fmt::join(shown, ", "));
  }
  if (std::holds_alternative<bool Config::*>(member)) return "true or false";
  if (std::holds_alternative<std::vector<std::string> Config::*>(member)) {
    return R"(a JSON list of texts, like ["a","b"])";
  }
  if (std::holds_alternative<std::string Config::*>(member)) return "";
  bool const whole = std::holds_alternative<std::int64_t Config::*>(member);
  return fmt::format("a {}number from {} to {}", whole ? "whole " : "", least, most);
}

std::span<Setting const> settings() { return kSettings; }

std::span<ProfileDefault const> profile_defaults() { return kProfileDefaults; }

}  // namespace subforge::config
