#include "server/log.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "server/log_format.h"

namespace tessera::log {
namespace {

// The process has one log, as it has one standard output; spdlog's registry holds it and is thread-safe.
std::atomic<char> role{'M'};
std::atomic<Level> threshold{Level::kNotice};
std::atomic<config::LogFormat> layout{config::LogFormat::kLegacy};

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
    logger->set_pattern("%v");
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
void SetFormat(config::LogFormat format) { layout = format; }
void SetRole(char letter) { role = letter; }
bool Enabled(Level level) { return level >= threshold.load(std::memory_order_relaxed); }

void Write(Level level, std::string_view line) {
  if (!Enabled(level)) return;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  spdlog::default_logger_raw()->info(
      "{}", Formatted(layout, {.pid = getpid(),
                               .role = role,
                               .unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count(),
                               .level = level,
                               .text = line}));
}

}  // namespace tessera::log
