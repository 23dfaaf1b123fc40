// tessera-server [file.conf | -] [--option value ...]: reads the configuration, becomes a daemon if asked to, runs a node.
#include <fcntl.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/posix_file_system.h"
#include "server/commands/table.h"
#include "server/config/config_file.h"
#include "server/config/options.h"
#include "server/container_memory.h"
#include "server/durability/left_files.h"
#include "server/log.h"
#include "server/memory_usage.h"
#include "server/node.h"

namespace {

using tessera::config::Config;

constexpr std::string_view kHelp =
    "Usage: tessera-server [/path/to/redis.conf] [options] [-]\n"
    "       tessera-server - (read the configuration from standard input)\n"
    "       tessera-server -v or --version\n"
    "       tessera-server -h or --help\n"
    "\n"
    "Options are those of redis.conf with two dashes before them.\n"
    "\n"
    "Examples:\n"
    "       tessera-server (run with the default configuration)\n"
    "       echo 'maxmemory 128mb' | tessera-server -\n"
    "       tessera-server /etc/redis/6379.conf\n"
    "       tessera-server --port 7777\n"
    "       tessera-server --port 7777 --replicaof 127.0.0.1 8888\n"
    "       tessera-server /etc/redis.conf --loglevel verbose -\n";

std::string VersionLine() { return fmt::format("Tessera server v={} bits=64 (compatible with Redis 7.2.4)", TESSERA_VERSION); }

// The parent leaves; the child goes on without a terminal.
void Daemonize() {
  const pid_t child = fork();
  if (child < 0) {
    std::perror("cannot daemonize");
    std::exit(1);
  }
  if (child > 0) _exit(0);
  setsid();
  const int null = open("/dev/null", O_RDWR);
  if (null >= 0) {
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    if (null > STDERR_FILENO) close(null);
  }
}

bool WritePidFile(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) {
    tessera::log::Warning("Cannot write the pid file {}: {}. The server runs without it.", path, std::strerror(errno));
    return false;
  }
  fmt::print(file, "{}\n", getpid());
  std::fclose(file);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> args(argv + 1, argv + argc);
  if (args.size() == 1 && (args[0] == "-v" || args[0] == "--version")) {
    fmt::print("{}\n", VersionLine());
    return 0;
  }
  if (args.size() == 1 && (args[0] == "-h" || args[0] == "--help")) {
    fmt::print("{}", kHelp);
    return 0;
  }

  tessera::config::Options options;
  options.mutable_config().memory_limit =
      tessera::UsableMemory(tessera::ReadContainerMemory(), tessera::SystemMemory());
  const tessera::CommandTable commands;
  const tessera::config::LoadHooks hooks{
      .read_stdin = [] { return std::string(std::istreambuf_iterator<char>(std::cin), {}); },
      .is_command = [&](std::string_view name) { return commands.FindTop(name) != nullptr; }};
  auto command_line = tessera::config::ParseCommandLine(args);
  if (const char* defaults = std::getenv("TESSERA_DEFAULTS")) command_line.defaults = defaults;
  if (auto fault = tessera::config::LoadConfig(options, command_line, hooks)) {
    fmt::print(stderr, "{}\n", fault->Message(fmt::format("Tessera {}", TESSERA_VERSION)));
    return 1;
  }
  const Config& config = options.config();
  if (chdir(config.dir.c_str()) != 0) {
    fmt::print(stderr, "Cannot change to the directory of option 'dir', {}: {}\n", config.dir, std::strerror(errno));
    return 1;
  }
  if (std::string error =
          tessera::log::Open(config.logfile, static_cast<tessera::log::Level>(config.loglevel));
      !error.empty()) {
    fmt::print(stderr, "Cannot open the log file: {}\n", error);
    return 1;
  }
  tessera::log::SetFormat(config.log_format);
  if (config.daemonize) Daemonize();
  tessera::log::Notice("{}, pid {}, {}", VersionLine(), getpid(),
                       options.config_file().empty() ? "no configuration file: defaults and command line"
                                                     : "configuration " + options.config_file());
  if (const auto inert = options.InertInUse(); !inert.empty())
    tessera::log::Warning("Accepted, but without effect in this version: {}", fmt::join(inert, ", "));

  tessera::persistence::PosixFileSystem files;
  tessera::RemoveLeftImages(files, ".");

  std::string pidfile = config.pidfile;
  if (pidfile.empty() && config.daemonize) pidfile = "/var/run/redis.pid";
  // CONFIG SET dir must not change what is removed in the end.
  if (!pidfile.empty()) pidfile = std::filesystem::absolute(pidfile).string();
  bool has_pidfile = false;
  int exit_code;
  {
    tessera::Node node(options);
    // Not before the port is ours: the file may belong to the server that has it.
    exit_code = node.Run([&] { has_pidfile = !pidfile.empty() && WritePidFile(pidfile); });
  }
  if (has_pidfile) unlink(pidfile.c_str());
  return exit_code;
}
