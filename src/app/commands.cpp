#include "app/commands.hpp"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>

#include <CLI/CLI.hpp>

#include "app/backup_commands.hpp"
#include "app/database.hpp"
#include "app/server.hpp"
#include "app/worker_process.hpp"
#include "auth/commands.hpp"
#include "config/config.hpp"
#include "files/image_process.hpp"
#include "store/copy.hpp"

namespace subforge::app {
namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kUsage = 2;

int complain(Error const& error) {
  std::cerr << "subforge: " << error.message << '\n';
  if (!error.context.empty()) std::cerr << "  (" << error.context << ")\n";
  return error.code == ErrorCode::invalid ? kUsage : kFailed;
}

// None is as good as an empty one; one that cannot be read is an error.
Result<std::string> read_dot_env() {
  std::error_code failure;
  auto const status = std::filesystem::status(".env", failure);
  if (!std::filesystem::exists(status)) return "";
  std::ifstream const file(".env");
  if (!file || std::filesystem::is_directory(status)) {
    return fail(ErrorCode::invalid, ".env is there but cannot be read as a file");
  }
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Every setting as a flag of `command`; what was given lands in `flags`.
void add_setting_flags(CLI::App& command, std::map<std::string, std::string>& flags) {
  for (auto const& setting : config::settings()) {
    std::string const name(setting.name);
    command
        .add_option_function<std::string>(
            setting.flag(), [&flags, name](std::string const& value) { flags[name] = value; },
            std::string(setting.doc))
        ->group("Settings");
  }
}

LogLevel log_level_of(std::string const& name) {
  for (auto const level :
       {LogLevel::debug, LogLevel::warning, LogLevel::error, LogLevel::critical}) {
    if (name == log_level_name(level)) return level;
  }
  return LogLevel::info;
}

void print_urls(Server const& server, config::Config const& config) {
  auto const host = config.host == "0.0.0.0" || config.host == "::" ? "localhost" : config.host;
  auto const base = host + ":" + std::to_string(server.port());
  std::cerr << "\nSubForge is ready.\n\n"
            << "  Dashboard                http://" << base << "/app\n";
  if (config.docs) std::cerr << "  API Documentation        http://" << base << "/docs\n";
  std::cerr << "  API v1 (Stable)          http://" << base << "/api/v1/\n"
            << "  API v2 (Enhanced)        http://" << base << "/api/v2/\n"
            << "  WebSocket v1             ws://" << base << config.websocket_path << "\n"
            << "  WebSocket v2 (Enhanced)  ws://" << base << config.websocket_path << "/v2\n"
            << "  Health Check             http://" << base << "/health\n\n"
            << "Stop it with Ctrl-C.\n\n";
}

int serve(config::Loaded const& loaded) {
  auto const& config = loaded.config;
  block_stop_signals();
  LogSink sink(1);
  Logger const logger(sink, config.log_format == "text" ? LogFormat::text : LogFormat::json,
                      log_level_of(config.log_level));
  for (auto const& warning : loaded.warnings) logger.warning(warning);
  Server server(config, logger);
  if (auto started = server.start(); !started) return complain(started.error());
  print_urls(server, config);
  server.run();
  return kDone;
}

int work(config::Loaded const& loaded) {
  auto const& config = loaded.config;
  block_stop_signals();
  LogSink sink(1);
  Logger const logger(sink, config.log_format == "text" ? LogFormat::text : LogFormat::json,
                      log_level_of(config.log_level));
  for (auto const& warning : loaded.warnings) logger.warning(warning);
  auto const done = run_worker(config, logger);
  return done ? kDone : complain(done.error());
}

// Opens the store beside a server that may be running, does `work` and closes it.
template <class Work>
int with_store(config::Loaded const& loaded, Work work) {
  LogSink sink(2);
  Logger const logger(sink, LogFormat::text, LogLevel::warning);
  auto const database = make_database(loaded.config, logger);
  store::Store store(*database, logger);
  if (auto opened = store.open(); !opened) return complain(opened.error());
  int const code = work(store);
  store.close();
  return code;
}

// The same for what an empty database has nothing of, so that none is made for it.
template <class Work>
int with_store_that_is_there(config::Loaded const& loaded, Work work) {
  auto const& place = loaded.config.database;
  bool const is_file = place.kind == config::DatabaseUrl::Kind::sqlite;
  if (is_file && !std::filesystem::exists(place.path)) {
    return complain({ErrorCode::not_found,
                     "There is no database " + place.path +
                         "; run this where the server runs, or set"
                         " DATABASE_URL",
                     {}});
  }
  return with_store(loaded, work);
}

// `migrate`: everything of one database into a new one.
int migrate(config::Loaded const& loaded, std::string const& from_url, std::string const& to_url) {
  LogSink sink(2);
  Logger const logger(sink, LogFormat::text, LogLevel::warning);
  auto const began = Timestamp::now();
  std::vector<std::unique_ptr<store::Database>> databases;
  std::vector<std::unique_ptr<store::Store>> stores;
  for (auto const& [name, url] : {std::pair("--from", from_url), std::pair("--to", to_url)}) {
    auto place = config::parse_database_url(url, name);
    if (!place) return complain(place.error());
    bool const is_file = place->kind == config::DatabaseUrl::Kind::sqlite;
    if (is_file && stores.empty() && !std::filesystem::exists(place->path)) {
      return complain({ErrorCode::invalid, "--from: there is no file " + place->path, {}});
    }
    auto config = loaded.config;
    config.database = std::move(*place);
    databases.push_back(make_database(config, logger));
    stores.push_back(std::make_unique<store::Store>(*databases.back(), logger));
    if (auto opened = stores.back()->open(); !opened) {
      return complain(std::move(opened.error()).with_context(config::without_password(url)));
    }
  }
  auto const progress = [](std::string_view table, std::int64_t rows) {
    std::cerr << "\r" << table << ": " << rows << " rows" << std::flush;
  };
  EventLoop loop;
  auto const copied = block_on(loop, store::copy_database(*stores[0], *stores[1], began, progress));
  std::cerr << '\n';
  for (auto const& store : stores) store->close();
  if (!copied) return complain(copied.error());
  for (auto const& table : *copied) {
    std::cout << table.name << ' ' << table.rows << ' ' << table.checksum << '\n';
  }
  std::cout << "Copied and verified " << copied->size() << " tables.\n";
  return kDone;
}

int done_or_complain(Result<void> const& outcome) {
  return outcome ? kDone : complain(outcome.error());
}

using Action = std::function<int(config::Loaded const&)>;
using MakeCommand = std::function<CLI::App&(CLI::App&, char const*, char const*)>;

int with_logger(config::Loaded const& loaded,
                std::function<Result<void>(config::Config const&, Logger)> const& work) {
  LogSink sink(2);
  return done_or_complain(work(loaded.config, Logger(sink, LogFormat::text, LogLevel::warning)));
}

void add_backup_commands(CLI::App& cli, MakeCommand const& command, Action& action) {
  auto const full = std::make_shared<bool>(false);
  auto& keep = command(cli, "backup", "Take a backup, beside a running server or without one");
  keep.add_flag("--full", *full, "All of it; else only what changed since the last one");
  keep.callback([&action, full] {
    action = [full](config::Loaded const& loaded) {
      return with_logger(loaded, [full](config::Config const& config, Logger logger) {
        auto const kind = *full ? backup::BackupKind::full : backup::BackupKind::incremental;
        return backup_command(config, logger, kind);
      });
    };
  });

  auto const wishes = std::make_shared<RestoreWishes>();
  auto& back = command(cli, "restore", "Restore a backup in place of a database that nobody uses");
  back.add_option("manifest", wishes->manifest, "manifest.json of the backup")->required();
  back.add_option("--to", wishes->to, "URL of the database, if it is not that of DATABASE_URL");
  back.add_flag("--verify", wishes->verify_only, "Only see whether the backup is whole");
  back.callback([&action, wishes] {
    action = [wishes](config::Loaded const& loaded) {
      return with_logger(loaded, [wishes](config::Config const& config, Logger logger) {
        return restore_command(config, logger, *wishes);
      });
    };
  });
}

}  // namespace

int run_command_line(std::span<char*> arguments) {
  // Nothing for people: workers start it.
  if (arguments.size() == 2 && arguments[1] == files::kReadImageCommand) {
    return files::read_image_process();
  }
  CLI::App cli("SubForge watches and steers fleets of AI agents.");
  cli.require_subcommand(1);
  cli.set_version_flag("--version", SUBFORGE_VERSION);
  std::map<std::string, std::string> flags;
  Action action;
  auto const command = [&](CLI::App& parent, char const* name, char const* doc) -> CLI::App& {
    auto* const made = parent.add_subcommand(name, doc);
    add_setting_flags(*made, flags);
    return *made;
  };

  auto& serving = command(cli, "serve", "Run the server");
  serving.add_flag_callback(
      "--no-worker", [&] { flags["ENABLE_BACKGROUND_TASKS"] = "false"; },
      "Leave background tasks to `subforge worker`");
  serving.callback([&] { action = &serve; });
  command(cli, "worker", "Run background tasks alone").callback([&] { action = &work; });

  auto& show = command(cli, "config", "Print the settings in force and where each came from");
  bool as_json = false;
  bool as_example = false;
  bool as_reference = false;
  show.add_flag("--json", as_json, "As JSON");
  show.add_flag("--example", as_example, "A .env file with all defaults");
  show.add_flag("--reference", as_reference, "The reference page of the documentation");
  show.callback([&] {
    action = [&](config::Loaded const& loaded) {
      for (auto const& warning : loaded.warnings) std::cerr << "subforge: " << warning << '\n';
      std::cout << (as_example     ? config::example_file()
                    : as_reference ? config::reference_page()
                    : as_json      ? config::list_json(loaded)
                                   : config::list_text(loaded));
      return kDone;
    };
  });

  auto* const token = cli.add_subcommand("token", "Make, list and revoke API keys");
  token->require_subcommand(1);
  auth::NewKey wanted;
  std::string role = "viewer";
  std::int64_t days = 0;
  auto& create =
      command(*token, "create", "Make a key; the token is printed once, on the last line");
  create.add_option("--name", wanted.name, "What it is called")->required();
  create.add_option("--role", role, "viewer, operator or admin")
      ->check(CLI::IsMember({"viewer", "operator", "admin"}));
  create.add_option("--user", wanted.user, "Whose it is; the name if not given");
  auto* const expires =
      create.add_option("--expires-days", days, "Days until it ends")->check(CLI::Range(1, 36500));
  create.callback([&] {
    action = [&](config::Loaded const& loaded) {
      if (expires->count() > 0) wanted.expires_days = days;
      return with_store(loaded, [&](store::Store& store) {
        return done_or_complain(auth::create_command(store, role, wanted, std::cout));
      });
    };
  });
  bool list_json = false;
  auto& list = command(*token, "list", "List all keys");
  list.add_flag("--json", list_json, "As JSON");
  list.callback([&] {
    action = [&](config::Loaded const& loaded) {
      return with_store_that_is_there(loaded, [&](store::Store& store) {
        auto const form = list_json ? auth::ListForm::json : auth::ListForm::text;
        return done_or_complain(auth::list_command(store, form, std::cout));
      });
    };
  });
  std::string revoked;
  auto& revoke = command(*token, "revoke", "Revoke a key; its connections end at once");
  revoke.add_option("name", revoked, "The key's name")->required();
  revoke.callback([&] {
    action = [&](config::Loaded const& loaded) {
      return with_store_that_is_there(loaded, [&](store::Store& store) {
        return done_or_complain(auth::revoke_command(store, revoked, std::cout));
      });
    };
  });

  std::string from_url;
  std::string to_url;
  auto& move = command(cli, "migrate",
                       "Copy a database into a new one, of SQLite or PostgreSQL, and verify it");
  move.add_option("--from", from_url,
                  "URL of the database to read, as DATABASE_URL; stop its server"
                  " before")
      ->required();
  move.add_option("--to", to_url, "URL of a database that has no tables yet")->required();
  move.callback([&] {
    action = [&](config::Loaded const& loaded) { return migrate(loaded, from_url, to_url); };
  });

  add_backup_commands(cli, command, action);

  try {
    cli.parse(static_cast<int>(arguments.size()), arguments.data());
  } catch (CLI::ParseError const& error) {
    return cli.exit(error) == 0 ? kDone : kUsage;
  }
  auto dot_env = read_dot_env();
  if (!dot_env) return complain(dot_env.error());
  auto const loaded = config::load({flags, config::environment_of_process(), std::move(*dot_env)});
  if (!loaded) return complain(loaded.error());
  return action(*loaded);
}

}  // namespace subforge::app
