// HyperLogLog values: strings in Redis's own format, so that they are the same bytes after the same commands and can be
// exchanged by DUMP, RDB, replication or GET and SET.
//
//   "HYLL"   magic
//   u8       0 = dense, 1 = sparse
//   3 bytes  unused
//   u64 LE   cached cardinality; the top bit says that it is out of date
//   dense:   16384 registers of 6 bits, lowest bit first, without gaps
//   sparse:  runs of equal registers, in order
//              00xxxxxx            x + 1 registers of zero
//              01xxxxxx yyyyyyyy   xy + 1 registers of zero
//              1vvvvvxx            x + 1 registers of value v + 1
//
// An element's 64-bit hash (MurmurHash64A, a fixed seed) names a register by its low 14 bits; the register keeps the
// longest run of zeros, plus one, seen in the rest. The cardinality is estimated from the registers' histogram by the
// method of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284).
//
// Pure. Values may come from anybody (SET), so every function survives any bytes that pass IsHyperLogLog.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace tessera::store::hyperloglog {

inline constexpr size_t kRegisters = 16384;
inline constexpr size_t kHeaderBytes = 16;
inline constexpr size_t kDenseBytes = kHeaderBytes + kRegisters * 6 / 8;
inline constexpr size_t kCacheOffset = 8;  // the cached cardinality's place
inline constexpr size_t kCacheBytes = 8;

using Registers = std::array<uint8_t, kRegisters>;

struct Observation {
  uint16_t index;  // register
  uint8_t run;     // 1 to 51
};
Observation Observe(std::string_view element);

// Magic, encoding and, if dense, length are right. A sparse value may still be corrupt.
bool IsHyperLogLog(std::string_view value);
bool IsDense(std::string_view value);

std::string Empty();  // sparse

enum class Change : uint8_t { kNone, kRaised, kCorrupt };
// Raises a register to `run` unless it is there already. A sparse value becomes dense when it cannot hold the run or
// would grow beyond `sparse_bytes_max` (header included). Sparse values that change have their cache marked.
Change Raise(std::string& value, Observation seen, size_t sparse_bytes_max);
// The same on the bytes of a dense value. The cache is the caller's to mark.
bool WouldRaiseDense(std::string_view value, Observation seen);
bool RaiseDense(std::span<char> value, Observation seen);

// False: corrupt, and `value` is unchanged. A dense value stays as it is. The header is kept.
bool MakeDense(std::string& value);
// Overwrites all registers of a dense value.
void StoreDense(std::span<char> value, const Registers& registers);

// Raises `registers` to those of `value`. False: corrupt; `registers` is then in between.
bool MergeInto(Registers& registers, std::string_view value);

uint64_t Count(const Registers& registers);
std::optional<uint64_t> Count(std::string_view value);  // nullopt: corrupt

std::optional<uint64_t> CachedCount(std::string_view value);  // nullopt: out of date
void StoreCachedCount(std::span<char> value, uint64_t count);
void MarkCacheOutOfDate(std::span<char> value);

// The runs of a sparse value as text: "z:3" and "Z:300" zeros in the short and long form, "v:2,4" four registers of
// two.
std::string SparseText(std::string_view value);

// PFSELFTEST: what is wrong, or nothing.
std::string SelfTest();

}  // namespace tessera::store::hyperloglog
