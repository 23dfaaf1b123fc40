#include "server/log.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>

namespace tessera::log {
namespace {

// The process has one log, as it has one standard output; spdlog's registry holds it and is thread-safe.
std::atomic<char> role{'M'};
std::atomic<Level> threshold{Level::kNotice};

constexpr char kMark[] = {'.', '-', '*', '#'};

// Opens the file for each line, so that log rotation needs no more than moving it away.
class FileSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(std::string path) : path_(std::move(path)) {}

  bool Append(const char* bytes, size_t count) const {
    const int fd = open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    const bool written = write(fd, bytes, count) == static_cast<ssize_t>(count);
    close(fd);
    return written;
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    (void)Append(line.data(), line.size());  // nowhere to complain to
  }
  void flush_() override {}

  const std::string path_;
};

}  // namespace

std::string Open(const std::string& file, Level level) {
  try {
    spdlog::sink_ptr sink;
    if (file.empty()) {
      sink = std::make_shared<spdlog::sinks::stdout_sink_mt>();
    } else {
      // Absolute, because CONFIG SET dir must not move the log.
      auto file_sink = std::make_shared<FileSink>(std::filesystem::absolute(file).string());
      if (!file_sink->Append("", 0)) return fmt::format("{}: {}", file, std::strerror(errno));
      sink = std::move(file_sink);
    }
    auto logger = std::make_shared<spdlog::logger>("tessera", sink);
    logger->set_pattern("%P:%v");
    logger->set_level(spdlog::level::trace);
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(logger);
  } catch (const std::exception& e) {
    return e.what();
  }
  threshold = level;
  return {};
}

void SetLevel(Level level) { threshold = level; }
void SetRole(char letter) { role = letter; }
bool Enabled(Level level) { return level >= threshold.load(std::memory_order_relaxed); }

void Write(Level level, std::string_view line) {
  if (!Enabled(level)) return;
  // Redis's layout: pid:role date mark text, so that existing log tooling keeps working.
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  std::tm tm{};
  localtime_r(&seconds, &tm);
  char date[32];
  std::strftime(date, sizeof date, "%d %b %Y %H:%M:%S", &tm);
  spdlog::default_logger_raw()->info("{} {}.{:03d} {} {}", role.load(), date, ms, kMark[static_cast<int>(level)], line);
}

}  // namespace tessera::log
