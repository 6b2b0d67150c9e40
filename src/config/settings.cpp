// The table of settings.
#include <algorithm>

#include "base/text.hpp"
#include "config/config.hpp"

namespace subforge::config {
namespace {

constexpr std::int64_t kMany = 1'000'000'000'000;
using C = Config;

std::vector<Setting> const kSettings = {
    {"ENVIRONMENT", &C::environment, "", "A profile of defaults.", 0, 0,
     {"", "development", "production", "testing"}},
    {"APP_NAME", &C::app_name, "SubForge Dashboard API", "Name shown by / and the documents."},
    {"APP_VERSION", &C::app_version, "1.0.0", "Version shown by / and the documents."},
    {"APP_DESCRIPTION", &C::app_description, "Watches and steers fleets of AI agents.",
     "Description shown by / and the documents."},
    {"DEBUG", &C::debug, "false", "Lowers the default of LOG_LEVEL to DEBUG."},
    {"DOCS", &C::docs, "true", "Serve /docs, /redoc and /openapi.json."},

    {"HOST", &C::host, "127.0.0.1", "Address to listen on."},
    {"PORT", &C::port, "8000", "Port to listen on; 0 takes a free one.", 0, 65535},
    {"LOOPS", &C::loops, "0", "Event loops; 0: one per core.", 0, 256},
    {"RELOAD", &C::reload, "false", "Restart on changes of source files.", 0, 0, {}, false,
     Effect::later},
    {"SHUTDOWN_SECONDS", &C::shutdown_seconds, "10",
     "How long requests under way may take after SIGTERM.", 0, 3600},
    {"HEADER_TIMEOUT_SECONDS", &C::header_timeout_seconds, "10",
     "Time for a request's head to arrive (408).", 1, 3600},
    {"BODY_TIMEOUT_SECONDS", &C::body_timeout_seconds, "30",
     "Time for a request's body to arrive (408).", 1, 86400},
    {"IDLE_TIMEOUT_SECONDS", &C::idle_timeout_seconds, "75",
     "Silence after which a connection is closed.", 1, 86400},
    {"HEADER_BYTES_MAX", &C::header_bytes_max, "32768", "Size of a request's header fields (431).",
     1024, 1 << 20},
    {"TARGET_BYTES_MAX", &C::target_bytes_max, "8192", "Length of a request's target (414).", 256,
     1 << 20},
    {"JSON_BODY_BYTES_MAX", &C::json_body_bytes_max, "524288", "Size of a JSON body (413).", 1024,
     1 << 30},
    {"MAX_CONNECTIONS", &C::max_connections, "20000", "Open connections (503).", 1, 10'000'000},
    {"ALLOWED_HOSTS", &C::allowed_hosts, "[]",
     "JSON list of Host names; empty: loopback names and HOST; \"*\": any."},
    {"ALLOWED_ORIGINS", &C::allowed_origins,
     R"(["http://localhost:3000","http://localhost:3001"])",
     "JSON list of origins of CORS and WebSocket handshakes; \"*\": any."},
    {"ALLOWED_METHODS", &C::allowed_methods, R"(["*"])", "JSON list of methods of CORS."},
    {"ALLOWED_HEADERS", &C::allowed_headers, R"(["*"])", "JSON list of header fields of CORS."},
    {"ALLOW_CREDENTIALS", &C::allow_credentials, "true", "Let CORS requests carry credentials."},

    {"DATABASE_URL", &C::database_url, "sqlite:///./subforge_dashboard.db",
     "sqlite:///relative/path or sqlite:////absolute/path."},
    {"DATABASE_ECHO", &C::database_echo, "false", "Log every SQL statement.", 0, 0, {}, false,
     Effect::later},
    {"REDIS_URL", &C::redis_url, "", "Redis server; empty: everything embedded.", 0, 0, {}, true,
     Effect::adapter_missing},
    {"REDIS_EXPIRE", &C::redis_expire, "300", "Seconds values live in Redis.", 1, kMany, {}, false,
     Effect::later},
    {"CELERY_BROKER_URL", &C::celery_broker_url, "", "Celery's broker; empty: embedded queue.", 0,
     0, {}, true, Effect::adapter_missing},
    {"CELERY_RESULT_BACKEND", &C::celery_result_backend, "",
     "Celery's result store; empty: embedded.", 0, 0, {}, true, Effect::adapter_missing},

    {"AUTH", &C::auth, "auto",
     "auto: local mode until the first key is made, then required; off: everybody is"
     " administrator.",
     0, 0, {"auto", "required", "off"}},
    {"SECRET_KEY", &C::secret_key, "",
     "Signs tokens; empty or a placeholder: one is made and kept with the data.", 0, 0, {}, true},
    {"ALGORITHM", &C::algorithm, "HS256", "How tokens are signed.", 0, 0, {"HS256"}},
    {"ACCESS_TOKEN_EXPIRE_MINUTES", &C::access_token_expire_minutes, "30",
     "Life of a token made from a key.", 1, 525'600},

    {"WEBSOCKET_PATH", &C::websocket_path, "/ws",
     "Path of the first WebSocket protocol; the second is below it at /v2."},
    {"MAX_WEBSOCKET_CONNECTIONS", &C::max_websocket_connections, "10000",
     "Open WebSockets (503).", 0, 10'000'000},
    {"WEBSOCKET_MESSAGE_BYTES_MAX", &C::websocket_message_bytes_max, "1048576",
     "Size of a message received (1009).", 1024, 1 << 30},
    {"WEBSOCKET_QUEUE_BYTES_MAX", &C::websocket_queue_bytes_max, "1048576",
     "Unsent bytes of one connection (4408).", 65536, 1 << 30},
    {"WEBSOCKET_HEARTBEAT_SECONDS", &C::websocket_heartbeat_seconds, "60",
     "Time between heartbeat messages on /ws/v2.", 1, 86400},
    {"WEBSOCKET_PING_SECONDS", &C::websocket_ping_seconds, "20",
     "Silence after which a client is pinged.", 1, 86400},
    {"WEBSOCKET_PING_TIMEOUT_SECONDS", &C::websocket_ping_timeout_seconds, "20",
     "Time a client has to answer a ping.", 1, 86400},

    {"ENABLE_RATE_LIMITING", &C::enable_rate_limiting, "true", "Limit requests per client."},
    {"RATE_LIMIT_MULTIPLIER", &C::rate_limit_multiplier, "1",
     "Every rate limit is multiplied by this.", 1, 1'000'000},
    {"RATE_LIMIT_CLIENTS_MAX", &C::rate_limit_clients_max, "100000",
     "Pairs of route and client that are counted at once.", 16, 100'000'000},
    {"ENABLE_CACHING", &C::enable_caching, "true", "Keep answers in memory until they change."},
    {"CACHE_TTL_DEFAULT", &C::cache_ttl_default, "300",
     "Seconds an answer is kept where its route says nothing.", 1, 86400, {}, false,
     Effect::later},
    {"CACHE_BYTES_MAX", &C::cache_bytes_max, "67108864", "Memory for kept answers.", 0, kMany},
    {"RESTART_SECONDS", &C::restart_seconds, "5",
     "Time after which a restarted agent is active again.", 0, 86400},

    {"ENABLE_BACKGROUND_TASKS", &C::enable_background_tasks, "true", "Run background tasks.", 0, 0,
     {}, false, Effect::later},
    {"METRICS_UPDATE_INTERVAL", &C::metrics_update_interval, "30",
     "Seconds between samples of system metrics.", 1, 86400, {}, false, Effect::later},
    {"MAX_FILE_SIZE", &C::max_file_size, "52428800", "Bytes of one uploaded file.", 1, kMany, {},
     false, Effect::later},
    {"MAX_FILES_PER_UPLOAD", &C::max_files_per_upload, "10", "Files of one upload.", 1, 1000, {},
     false, Effect::later},
    {"UPLOAD_DIR", &C::upload_dir, "uploads", "Where uploaded files are kept.", 0, 0, {}, false,
     Effect::later},
    {"ENABLE_FILE_WATCHER", &C::enable_file_watcher, "true", "Watch agent and workflow files.", 0,
     0, {}, false, Effect::later},
    {"WATCHER_DEBOUNCE_SECONDS", &C::watcher_debounce_seconds, "1.0",
     "Quiet time before a changed file is read.", 0, 3600, {}, false, Effect::later},
    {"SUBFORGE_ROOT", &C::subforge_root, ".", "The project that is watched.", 0, 0, {}, false,
     Effect::later},
    {"SUBFORGE_DIR", &C::subforge_dir, ".subforge", "Its workflow files.", 0, 0, {}, false,
     Effect::later},
    {"CLAUDE_DIR", &C::claude_dir, ".claude", "Its Claude Code files.", 0, 0, {}, false,
     Effect::later},
    {"AGENTS_DIR", &C::agents_dir, ".claude/agents", "Its agent files.", 0, 0, {}, false,
     Effect::later},

    {"LOG_LEVEL", &C::log_level, "INFO", "The least level that is logged.", 0, 0,
     {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}},
    {"LOG_FORMAT", &C::log_format, "json", "Form of log lines.", 0, 0, {"json", "text"}},
};

}  // namespace

std::string Setting::flag() const {
  auto text = "--" + to_lower(name);
  std::ranges::replace(text, '_', '-');
  return text;
}

std::span<Setting const> settings() { return kSettings; }

}  // namespace subforge::config
