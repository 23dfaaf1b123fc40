// Streams in RDB values:
//   stream   = nodes:length (first-id:16-bytes-string node:listpack-blob)*
//              entries:length last-id [first-id max-deleted-id entries-added:length] groups:length group*
//   id       = ms:length sequence:length                [..] from type 19 on
//   group    = name:string last-id [entries-read:length] pending:length (raw-id delivered:int64le count:length)*
//              consumers:length consumer*
//   consumer = name:string seen:int64le {active:int64le} pending:length raw-id*     {..} from type 21 on
//   raw-id   = ms:uint64be sequence:uint64be, as in first-id; times are unix ms
// A node's listpack holds numbers and texts:
//   node  = entries deleted-entries field-count field-name* 0 entry*
//   entry = flags ms sequence [field-count] ([name] value)* elements     [..] unless flags has kStreamEntrySameFields
// ms and sequence are differences to first-id; `elements` counts those of the entry before it.
#pragma once

#include <cstdint>

namespace tessera::persistence {

inline constexpr int64_t kStreamEntryDeleted = 1;
inline constexpr int64_t kStreamEntrySameFields = 2;

}  // namespace tessera::persistence
