// Images that a killed process left half made or half received in the data directory: each may be as large as the
// dataset, and nobody would ever remove them.
#pragma once

#include <string_view>

#include "persistence/file_system.h"

namespace tessera {

// The process that made the file, by its name; 0 when it is no temporary image.
//   temp-<pid>.rdb  temp-bg-<pid>.<n>.rdb  temp-sync-<pid>-<us>.rdb  temp-<unix time>.<pid>.rdb
int MakerOfTemporaryImage(std::string_view name);

// Removes those whose maker is gone from `directory`, and says so. To be called before this process makes its first.
void RemoveLeftImages(persistence::FileSystem& files, const std::string& directory);

}  // namespace tessera
