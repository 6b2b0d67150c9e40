#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config.hpp"

namespace subforge::config {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

using Values = std::map<std::string, std::string>;

Loaded loaded(Sources const& sources) {
  auto result = load(sources);
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : Loaded{};
}

Loaded from_environment(Values const& environment) { return loaded({{}, environment, ""}); }

std::string refusal(Sources const& sources) {
  auto const result = load(sources);
  if (result) return "accepted";
  EXPECT_EQ(result.error().code, ErrorCode::invalid);
  EXPECT_THAT(result.error().message, Not(HasSubstr("\n")));
  return result.error().message;
}

std::string refusal_of(std::string const& name, std::string const& value) {
  return refusal({{}, {{name, value}}, ""});
}

Origin origin_of(Loaded const& all, std::string_view name) {
  auto const at = std::ranges::find(settings(), name, &Setting::name);
  return all.origins.at(static_cast<std::size_t>(at - settings().begin()));
}

std::string value_of(Loaded const& all, std::string_view name) {
  auto const at = std::ranges::find(settings(), name, &Setting::name);
  return all.values.at(static_cast<std::size_t>(at - settings().begin()));
}

TEST(Load, FillsInTheDefaultsOfTheContract) {
  auto const all = loaded({});
  auto const& config = all.config;
  EXPECT_EQ(config.app_name, "SubForge Dashboard API");
  EXPECT_EQ(config.app_version, "1.0.0");
  EXPECT_FALSE(config.debug);
  EXPECT_TRUE(config.docs);
  EXPECT_EQ(config.host, "localhost");
  EXPECT_EQ(config.port, 8000);
  EXPECT_EQ(config.loops, 0);
  EXPECT_EQ(config.shutdown_seconds, 10);
  EXPECT_EQ(config.header_timeout_seconds, 10);
  EXPECT_EQ(config.body_timeout_seconds, 30);
  EXPECT_EQ(config.idle_timeout_seconds, 75);
  EXPECT_EQ(config.header_bytes_max, 32768);
  EXPECT_EQ(config.target_bytes_max, 8192);
  EXPECT_EQ(config.json_body_bytes_max, 524288);
  EXPECT_EQ(config.max_connections, 20000);
  EXPECT_EQ(config.max_websocket_connections, 10000);
  EXPECT_THAT(config.allowed_hosts, ElementsAre("localhost", "127.0.0.1", "[::1]"));
  EXPECT_THAT(config.allowed_origins,
              ElementsAre("http://localhost:3000", "http://localhost:3001"));
  EXPECT_THAT(config.allowed_methods, ElementsAre("*"));
  EXPECT_TRUE(config.allow_credentials);
  EXPECT_EQ(config.database.path, "./subforge_dashboard.db");
  EXPECT_EQ(config.redis_url, "");
  EXPECT_EQ(config.auth, "auto");
  EXPECT_EQ(config.secret_key, "");
  EXPECT_EQ(config.algorithm, "HS256");
  EXPECT_EQ(config.access_token_expire_minutes, 30);
  EXPECT_EQ(config.websocket_path, "/ws");
  EXPECT_EQ(config.websocket_message_bytes_max, 1 << 20);
  EXPECT_EQ(config.websocket_queue_bytes_max, 1 << 20);
  EXPECT_EQ(config.websocket_heartbeat_seconds, 60);
  EXPECT_EQ(config.websocket_ping_seconds, 20);
  EXPECT_EQ(config.websocket_ping_timeout_seconds, 20);
  EXPECT_TRUE(config.enable_rate_limiting);
  EXPECT_EQ(config.rate_limit_multiplier, 1);
  EXPECT_EQ(config.rate_limit_clients_max, 100000);
  EXPECT_TRUE(config.enable_caching);
  EXPECT_EQ(config.cache_bytes_max, 64 << 20);
  EXPECT_EQ(config.restart_seconds, 5);
  EXPECT_EQ(config.max_file_size, 52428800);
  EXPECT_DOUBLE_EQ(config.watcher_debounce_seconds, 1.0);
  EXPECT_EQ(config.log_level, "INFO");
  EXPECT_EQ(config.log_format, "json");
  EXPECT_THAT(all.origins, testing::Each(Origin::fallback));
  EXPECT_THAT(all.warnings, IsEmpty());
}

TEST(Load, PrefersFlagsToTheEnvironmentToDotEnvToTheDefault) {
  std::string const dot_env = "PORT=1\nLOOPS=1\nAPP_NAME=file\n";
  Values const environment{{"PORT", "2"}, {"LOOPS", "2"}};
  auto const all = loaded({{{"PORT", "3"}}, environment, dot_env});
  EXPECT_EQ(all.config.port, 3);
  EXPECT_EQ(all.config.loops, 2);
  EXPECT_EQ(all.config.app_name, "file");
  EXPECT_EQ(origin_of(all, "PORT"), Origin::flag);
  EXPECT_EQ(origin_of(all, "LOOPS"), Origin::environment);
  EXPECT_EQ(origin_of(all, "APP_NAME"), Origin::dot_env);
  EXPECT_EQ(origin_of(all, "HOST"), Origin::fallback);
}

TEST(Load, AcceptsTheDescriptionsExampleAsPrintedButForItsServers) {
  auto const all = loaded({{}, {}, R"(# Application
DEBUG=true
LOG_LEVEL=INFO

# Or use SQLite (default)
# DATABASE_URL=sqlite:///./subforge_dashboard.db

# Security
SECRET_KEY=your-secret-key-here-change-in-production

# External Services
ENABLE_BACKGROUND_TASKS=true
ENABLE_RATE_LIMITING=true
ENABLE_CACHING=true

# File Upload
MAX_FILE_SIZE=52428800  # 50MB
UPLOAD_DIR=uploads
)"});
  EXPECT_TRUE(all.config.debug);
  EXPECT_EQ(all.config.log_level, "INFO");
  EXPECT_EQ(all.config.max_file_size, 52428800);
  EXPECT_TRUE(all.warnings.empty());
}

TEST(Load, ReadsEachKindOfValue) {
  for (auto const* yes : {"true", "True", "1", "yes", "ON"}) {
    EXPECT_TRUE(from_environment({{"DEBUG", yes}}).config.debug) << yes;
  }
  for (auto const* no : {"false", "FALSE", "0", "no", "off"}) {
    EXPECT_FALSE(from_environment({{"DOCS", no}}).config.docs) << no;
  }
  EXPECT_EQ(from_environment({{"PORT", "0"}}).config.port, 0);
  EXPECT_EQ(from_environment({{"PORT", "65535"}}).config.port, 65535);
  EXPECT_DOUBLE_EQ(
      from_environment({{"WATCHER_DEBOUNCE_SECONDS", "0.25"}}).config.watcher_debounce_seconds,
      0.25);
  EXPECT_THAT(from_environment({{"ALLOWED_ORIGINS", R"( ["https://a", "https://b"] )"}})
                  .config.allowed_origins,
              ElementsAre("https://a", "https://b"));
  EXPECT_THAT(from_environment({{"ALLOWED_ORIGINS", "[]"}}).config.allowed_origins, IsEmpty());
}

TEST(Load, TakesWordsInAnyCaseAndShowsThemAsTheTableDoes) {
  auto const all = from_environment({{"LOG_LEVEL", "debug"}, {"AUTH", "OFF"}});
  EXPECT_EQ(all.config.log_level, "DEBUG");
  EXPECT_EQ(value_of(all, "LOG_LEVEL"), "DEBUG");
  EXPECT_EQ(all.config.auth, "off");
}

TEST(Load, NamesKeyValueSourceAndWhatIsAllowed) {
  EXPECT_EQ(refusal_of("PORT", "abc"),
            "PORT=abc (from the environment): must be a whole number from 0 to 65535");
  EXPECT_EQ(refusal({{{"PORT", "70000"}}, {}, ""}),
            "PORT=70000 (from the command line): must be a whole number from 0 to 65535");
  EXPECT_EQ(refusal({{}, {}, "PORT=-1\n"}),
            "PORT=-1 (from .env): must be a whole number from 0 to 65535");
  EXPECT_EQ(refusal_of("WATCHER_DEBOUNCE_SECONDS", "nan"),
            "WATCHER_DEBOUNCE_SECONDS=nan (from the environment): must be a number from 0 to 3600");
  EXPECT_EQ(refusal_of("DOCS", "maybe"),
            "DOCS=maybe (from the environment): must be true or false");
  EXPECT_EQ(refusal_of("LOG_LEVEL", "LOUD"),
            "LOG_LEVEL=LOUD (from the environment): must be one of DEBUG, INFO, WARNING, ERROR,"
            " CRITICAL");
  EXPECT_EQ(refusal_of("ENVIRONMENT", "staging"),
            "ENVIRONMENT=staging (from the environment): must be one of development, production,"
            " testing");
  EXPECT_EQ(refusal_of("ALLOWED_HOSTS", "a.example"),
            "ALLOWED_HOSTS=a.example (from the environment): must be a JSON list of texts, like"
            R"( ["a","b"])");
}

TEST(Load, RefusesWhatOnlyBeginsLikeAValue) {
  for (auto const* port :
       {"", " 80", "80 ", "8e1", "80.0", "+80", "0x50", "1,000", "99999999999999999999"}) {
    EXPECT_THAT(refusal_of("PORT", port), StartsWith("PORT=")) << port;
  }
  for (auto const* list : {"", "*", "[1]", R"(["a")", R"({"a":"b"})", R"("a")", R"(["a"] x)"}) {
    EXPECT_THAT(refusal_of("ALLOWED_ORIGINS", list), StartsWith("ALLOWED_ORIGINS=")) << list;
  }
  EXPECT_EQ(refusal_of("APP_NAME", "\xff"), "APP_NAME (from the environment): must be UTF-8 text");
  for (auto const* origin : {"http", "localhost:3000", "http://", "http://a/", "http://a b"}) {
    EXPECT_EQ(refusal_of("ALLOWED_ORIGINS", R"(["*",")" + std::string(origin) + "\"]"),
              "ALLOWED_ORIGINS: \"" + std::string(origin) +
                  "\" must be an origin like http://localhost:3000, without a path, or *");
  }
  EXPECT_EQ(refusal_of("UPLOAD_DIR", ""), "UPLOAD_DIR=: must be the name of a folder");
  EXPECT_THAT(refusal_of("HOST", ""), StartsWith("HOST=: must be"));
  EXPECT_THAT(refusal_of("HOST", "http://here"), StartsWith("HOST=http://here: must be"));
  for (auto const* path : {"", "/", "//", "ws", "/ws?x", "/{a}", "/a//b"}) {
    EXPECT_EQ(refusal_of("WEBSOCKET_PATH", path),
              "WEBSOCKET_PATH=" + std::string(path) + ": must be a path like /ws");
  }
  for (auto const* path : {"/api", "/api/v1", "/socket.io/", "/health/ready", "/metrics"}) {
    EXPECT_THAT(refusal_of("WEBSOCKET_PATH", path),
                StartsWith("WEBSOCKET_PATH=" + std::string(path) + ": must be a path of its own"));
  }
}

TEST(Load, TakesThePathOutOfADatabaseUrl) {
  auto const path = [](std::string const& url) {
    return from_environment({{"DATABASE_URL", url}}).config.database.path;
  };
  EXPECT_EQ(path("sqlite:///a.db"), "a.db");
  EXPECT_EQ(path("sqlite:///./a/b.db"), "./a/b.db");
  EXPECT_EQ(path("sqlite:////var/lib/a.db"), "/var/lib/a.db");
}

TEST(Load, TakesPostgresqlHoweverItIsWritten) {
  for (auto const* url : {"postgresql://user:hidden@host/name", "postgres://user:hidden@host/name",
                          "postgresql+asyncpg://user:hidden@host/name"}) {
    auto const database = from_environment({{"DATABASE_URL", url}}).config.database;
    EXPECT_EQ(database.kind, DatabaseUrl::Kind::postgresql);
    EXPECT_EQ(database.url, "postgresql://user:hidden@host/name");
  }
}

TEST(Load, KeepsThePasswordOfADatabaseToItself) {
  EXPECT_EQ(without_password("postgresql://user:hid@den@host/name"),
            "postgresql://user:***@host/name");
  EXPECT_EQ(without_password("postgresql:///name?password=hidden&user=u"),
            "postgresql:///name?password=***&user=u");
  EXPECT_EQ(without_password("postgresql://user@host:5432/name"),
            "postgresql://user@host:5432/name");
}

TEST(Load, RefusesDatabasesItHasNoAdapterForAndKeepsTheirPasswords) {
  EXPECT_EQ(refusal_of("DATABASE_URL", "mysql://user:hid@den@host/name"),
            "DATABASE_URL=mysql://user:***@host/name: must be sqlite:///relative/path,"
            " sqlite:////absolute/path or postgresql://user:password@host/database");
  for (auto const* url :
       {"", "a.db", "sqlite://", "sqlite:///", "sqlite://a.db",
        "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "postgresql://", "postgresqlx://h/d"}) {
    EXPECT_THAT(refusal_of("DATABASE_URL", url), HasSubstr("must be sqlite:///relative/path"))
        << url;
  }
  for (auto const* name : {"REDIS_URL"}) {
    EXPECT_EQ(refusal_of(name, "redis://:hidden@host:6379/0"),
              std::string(name) +
                  " is set (in the environment), but this version has no Redis"
                  " adapter yet; leave it empty");
    EXPECT_THAT(from_environment({{name, ""}}).warnings, IsEmpty());
  }
}

TEST(Load, AppliesTheProfileBelowEverythingExplicit) {
  auto const development = from_environment({{"ENVIRONMENT", "Development"}});
  EXPECT_TRUE(development.config.debug);
  EXPECT_TRUE(development.config.reload);
  EXPECT_TRUE(development.config.database_echo);
  EXPECT_EQ(development.config.log_level, "DEBUG");
  EXPECT_EQ(origin_of(development, "DEBUG"), Origin::profile);
  EXPECT_THAT(development.warnings, IsEmpty());

  auto const production = from_environment({{"ENVIRONMENT", "production"}});
  EXPECT_FALSE(production.config.debug);
  EXPECT_EQ(production.config.log_level, "WARNING");

  auto const test = from_environment({{"ENVIRONMENT", "testing"}});
  EXPECT_TRUE(test.config.debug);
  EXPECT_EQ(test.config.database.path, "./subforge_test.db");

  auto const explicitly = loaded({{}, {}, "ENVIRONMENT=production\nLOG_LEVEL=ERROR\n"});
  EXPECT_EQ(explicitly.config.log_level, "ERROR");
  EXPECT_EQ(origin_of(explicitly, "LOG_LEVEL"), Origin::dot_env);
}

TEST(Load, LetsDebugLowerTheLogLevelAndSaysSo) {
  auto const lowered = from_environment({{"DEBUG", "true"}});
  EXPECT_EQ(lowered.config.log_level, "DEBUG");
  EXPECT_EQ(value_of(lowered, "LOG_LEVEL"), "DEBUG");
  EXPECT_EQ(origin_of(lowered, "LOG_LEVEL"), Origin::debug);
  EXPECT_EQ(from_environment({{"DEBUG", "true"}, {"LOG_LEVEL", "INFO"}}).config.log_level, "INFO");
}

TEST(Load, AllowsTheHostItListensOn) {
  auto const hosts = [](Values const& environment) {
    return from_environment(environment).config.allowed_hosts;
  };
  EXPECT_THAT(hosts({{"HOST", "Forge.Example"}}), Contains("forge.example"));
  EXPECT_THAT(hosts({{"HOST", "2001:DB8::1"}}), Contains("[2001:db8::1]"));
  EXPECT_THAT(hosts({{"ALLOWED_HOSTS", R"(["A.example"])"}}), ElementsAre("a.example"));
}

TEST(Load, RefusesNoQueuesAndRoutesThatLeadNowhere) {
  EXPECT_EQ(refusal_of("TASK_QUEUES", "[]"), "TASK_QUEUES=[]: must name a queue at least");
  for (auto const* const route : {"a:b", "=b", "a="}) {
    EXPECT_EQ(
        refusal_of("TASK_ROUTES", "[\"" + std::string(route) + "\"]"),
        "TASK_ROUTES: \"" + std::string(route) + "\" must be a name and a queue, as name=queue");
  }
}

TEST(Load, WarnsOfEverySettingThatIsGivenButHasNoEffectYet) {
  auto const all =
      loaded({{{"SUBFORGE_DIR", "files"}}, {{"RELOAD", "false"}}, "ENABLE_FILE_WATCHER=true\n"});
  EXPECT_THAT(all.warnings, ElementsAre("RELOAD (from the environment) has no effect yet",
                                        "ENABLE_FILE_WATCHER (from .env) has no effect yet",
                                        "SUBFORGE_DIR (from the command line) has no effect yet"));
  EXPECT_EQ(all.config.subforge_dir, "files");
  EXPECT_THAT(refusal_of("MAX_FILE_SIZE", "big"), StartsWith("MAX_FILE_SIZE=big"));
}

TEST(Load, WarnsOfNamesThatAreNearlyRight) {
  auto const warnings = [](std::string const& dot_env) {
    return loaded({{}, {}, dot_env}).warnings;
  };
  EXPECT_THAT(warnings("LOG_LVL=DEBUG\n"),
              ElementsAre("LOG_LVL in .env is not a setting; did you mean LOG_LEVEL?"));
  EXPECT_THAT(warnings("port=80\n"), ElementsAre(HasSubstr("did you mean PORT?")));
  EXPECT_THAT(warnings("MAX_CONECTIONS=5\n"), ElementsAre(HasSubstr("mean MAX_CONNECTIONS?")));
  // Of other programs.
  EXPECT_THAT(warnings("HOME=/root\nPATH=/bin\nPOSTGRES_DB=x\nNODE_ENV=y\n"), IsEmpty());
  EXPECT_THAT(warnings("what is this\n"), ElementsAre(StartsWith("Line 1 of .env is left out")));
}

TEST(Load, WarnsOfASecretThatCanBeGuessed) {
  EXPECT_THAT(from_environment({{"SECRET_KEY", "short"}}).warnings,
              ElementsAre(StartsWith("SECRET_KEY has 5 characters and can be guessed")));
  EXPECT_THAT(from_environment({{"SECRET_KEY", std::string(32, 'k')}}).warnings, IsEmpty());
}

}  // namespace
}  // namespace subforge::config
