// How much memory this process may use before the kernel kills it: the smallest limit of the control groups it is in
// (version 1, version 2, both at once, nested, seen from within a container or from outside), or the machine's memory.
// A pure function of a file tree, so that tests can show it any container.
// Sources of format: cgroups(7), proc(5) (cgroup, mountinfo), the kernel's memory controller documents.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace tessera {

struct ContainerMemory {
  uint64_t limit_bytes = 0;  // 0: no limit
  int version = 0;           // of the control groups it comes from
  std::string source;        // the file that says so
};

// Text of a file, none if it cannot be read.
using FileReader = std::function<std::optional<std::string>(const std::string& path)>;

ContainerMemory FindContainerMemory(const FileReader& read);
// The same from the files of this machine; costs some dozens of microseconds.
ContainerMemory ReadContainerMemory();

// What is there at most: the container's limit or the machine's memory, whichever is smaller.
uint64_t UsableMemory(const ContainerMemory& container, uint64_t machine_bytes);

}  // namespace tessera
