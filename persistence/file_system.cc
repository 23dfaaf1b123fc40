#include "persistence/file_system.h"

#include <cerrno>

namespace tessera::persistence {

Status File::Append(std::string_view bytes) {
  while (!bytes.empty()) {
    Result<size_t> written = Write(bytes);
    if (!written.ok()) return written.status();
    bytes.remove_prefix(*written);
  }
  return {};
}

Result<bool> FileSystem::Exists(const std::string& path) {
  Result<uint64_t> size = FileSize(path);
  if (size.ok()) return true;
  if (size.status().code() == ENOENT) return false;
  return size.status();
}

Result<std::string> ReadFile(FileSystem& file_system, const std::string& path, uint64_t bytes_max) {
  Result<std::unique_ptr<File>> file = file_system.Open(path, OpenMode::kRead);
  if (!file.ok()) return file.status();
  Result<uint64_t> size = (*file)->Size();
  if (!size.ok()) return size.status();
  if (*size > bytes_max) return Status::FromErrno(EFBIG, "read", path);
  std::string contents(*size, '\0');
  Result<size_t> count = (*file)->ReadAt(0, contents);
  if (!count.ok()) return count.status();
  contents.resize(*count);
  return contents;
}

std::string JoinPath(std::string_view directory, std::string_view name) {
  if (directory.empty() || directory == ".") return std::string(name);
  std::string path(directory);
  if (path.back() != '/') path += '/';
  path += name;
  return path;
}

std::string DirectoryOf(std::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, slash == 0 ? 1 : slash));
}

}  // namespace tessera::persistence
