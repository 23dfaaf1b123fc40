#include "server/container_memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace tessera {
namespace {

// Version 1 says "no limit" by a number near the largest there is, rounded to pages.
constexpr uint64_t kNoLimit = uint64_t{1} << 60;

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool HasWord(std::string_view list, std::string_view word) {
  const auto words = Split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Paths in mountinfo have spaces and the like as "\040".
std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned code = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8).ptr == text.data() + i + 4) {
      out += static_cast<char>(code);
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::optional<uint64_t> Number(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || text.empty()) return std::nullopt;  // "max" too
  return value;
}

// Where a hierarchy is mounted, and which of its directories is seen there.
struct Mount {
  std::string root, point;
};

struct Hierarchy {
  int version;
  std::string path;  // of this process in the hierarchy, as /proc/self/cgroup says; may be one we cannot see
  std::vector<Mount> mounts;
};

// "36 25 0:31 /root /point options - type source super-options"
void AddMounts(std::string_view mountinfo, Hierarchy& v1, Hierarchy& v2) {
  for (std::string_view line : Split(mountinfo, '\n')) {
    const auto fields = Split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 5 || fields.end() - dash < 4) continue;
    const Mount mount{Unescaped(fields[3]), Unescaped(fields[4])};
    if (dash[1] == "cgroup2") v2.mounts.push_back(mount);
    if (dash[1] == "cgroup" && HasWord(dash[3], "memory")) v1.mounts.push_back(mount);
  }
}

// "4:memory:/path" and "0::/path"
void FindPaths(std::string_view cgroup, Hierarchy& v1, Hierarchy& v2) {
  for (std::string_view line : Split(cgroup, '\n')) {
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) v2.path = line.substr(second + 1);
    if (HasWord(controllers, "memory")) v1.path = line.substr(second + 1);
  }
}

// The directory below the mount where this process is. A path outside of what is mounted (a container that sees its own
// group as the root while /proc tells the host's path) leaves the mount itself, which then is the container's group.
std::string Below(const Mount& mount, const std::string& path) {
  const std::string root = mount.root == "/" ? "" : mount.root;
  if (!path.starts_with(root + "/") || path.find("/..") != std::string::npos) return {};
  return path.substr(root.size()) == "/" ? std::string() : path.substr(root.size());
}

void Lower(ContainerMemory& found, uint64_t bytes, int version, std::string source) {
  if (bytes >= kNoLimit || (found.limit_bytes != 0 && found.limit_bytes <= bytes)) return;
  found = {bytes, version, std::move(source)};
}

// Every group from the process's own up to the mount may limit it.
void Search(const Hierarchy& hierarchy, const FileReader& read, ContainerMemory& found) {
  for (const Mount& mount : hierarchy.mounts) {
    std::string below = Below(mount, hierarchy.path);
    bool innermost = true;
    while (true) {
      const std::string directory = mount.point + below;
      const std::string file = directory + (hierarchy.version == 2 ? "/memory.max" : "/memory.limit_in_bytes");
      if (const auto text = read(file)) {
        if (const auto bytes = Number(*text)) Lower(found, *bytes, hierarchy.version, file);
        // Version 1 also tells the limits of the groups above those we can see.
        if (innermost && hierarchy.version == 1) {
          const std::string stat = directory + "/memory.stat";
          const std::string lines = read(stat).value_or("");
          constexpr std::string_view kKey = "hierarchical_memory_limit ";
          for (std::string_view line : Split(lines, '\n'))
            if (line.starts_with(kKey))
              if (const auto bytes = Number(line.substr(kKey.size()))) Lower(found, *bytes, 1, stat);
        }
        innermost = false;
      }
      if (below.empty()) break;
      below.erase(below.rfind('/'));
    }
  }
}

std::optional<std::string> ReadFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string text;
  char buffer[4096];
  ssize_t length;
  while ((length = ::read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(length));
  close(fd);
  if (length < 0) return std::nullopt;
  return text;
}

}  // namespace

ContainerMemory FindContainerMemory(const FileReader& read) {
  Hierarchy v1{1, "/", {}}, v2{2, "/", {}};
  FindPaths(read("/proc/self/cgroup").value_or(""), v1, v2);
  if (const auto mountinfo = read("/proc/self/mountinfo")) {
    AddMounts(*mountinfo, v1, v2);
  } else {
    v1.mounts.push_back({"/", "/sys/fs/cgroup/memory"});
    v2.mounts.push_back({"/", "/sys/fs/cgroup"});
  }
  ContainerMemory found;
  Search(v2, read, found);
  Search(v1, read, found);
  return found;
}

ContainerMemory ReadContainerMemory() { return FindContainerMemory(ReadFile); }

uint64_t UsableMemory(const ContainerMemory& container, uint64_t machine_bytes) {
  if (container.limit_bytes == 0) return machine_bytes;
  return machine_bytes == 0 ? container.limit_bytes : std::min(container.limit_bytes, machine_bytes);
}

}  // namespace tessera
