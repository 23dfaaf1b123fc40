// DEBUG DIGEST: a fingerprint of a value or dataset, the same as redis-server's for equal contents, whatever the encoding
// and the order in which sets, hashes and keys are kept. For comparing datasets, of a replica or after a migration, say.
//
// What has an order is mixed: digest = SHA1(digest ^ SHA1(bytes)). What has none is joined: digest ^= SHA1(bytes).
#pragma once

#include <string>
#include <string_view>

#include "server/store/keyspace.h"

namespace tessera {

// 40 hexadecimal digits. A null entry (no such key) gives zeros.
std::string DigestOfValue(store::EntryRef entry);
// All databases, keys past their expiry that are still there included. Takes its time: reads everything.
std::string DigestOfDataset(store::Keyspace& keyspace);

}  // namespace tessera
