#include "server/durability/left_files.h"

#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "protocol/number.h"
#include "server/log.h"

namespace tessera {
namespace {

// Takes a number off the front; -1 when there is none.
int64_t TakeNumber(std::string_view& text) {
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') ++digits;
  const auto number = protocol::ParseInt64(text.substr(0, digits));
  text.remove_prefix(digits);
  return number.value_or(-1);
}

bool Take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

int MakerOfTemporaryImage(std::string_view name) {
  if (!name.ends_with(".rdb") || !Take(name, "temp-")) return 0;
  name.remove_suffix(4);
  const bool background = Take(name, "bg-"), synchronisation = !background && Take(name, "sync-");
  int64_t maker = TakeNumber(name);
  if (background || synchronisation) {
    if (!Take(name, background ? "." : "-") || TakeNumber(name) < 0) return 0;
  } else if (Take(name, ".")) {
    maker = TakeNumber(name);
  }
  return name.empty() && maker > 0 && maker <= INT32_MAX ? static_cast<int>(maker) : 0;
}

void RemoveLeftImages(persistence::FileSystem& files, const std::string& directory) {
  const auto names = files.List(directory);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    const int maker = MakerOfTemporaryImage(name);
    if (maker == 0) continue;
    // In containers everybody is process 1 in turn.
    if (maker != getpid() && (kill(maker, 0) == 0 || errno != ESRCH)) continue;
    const persistence::Status removed = files.Remove(directory + "/" + name);
    log::Notice("{} was left behind by a process that is gone: {}", name, removed.ok() ? "removed" : removed.text());
  }
}

}  // namespace tessera
