#include "server/store/hyperloglog.h"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <iterator>

namespace tessera::store::hyperloglog {
namespace {

constexpr unsigned kIndexBits = 14;
constexpr unsigned kRunMax = 64 - kIndexBits + 1;
constexpr uint64_t kHashSeed = 0xadc83b19;
constexpr unsigned kRegisterMax = 63;
constexpr size_t kSparseValueMax = 32;
constexpr size_t kShortZerosMax = 64;
constexpr size_t kValueRunMax = 4;
constexpr char kDense = 0, kSparse = 1;
constexpr size_t kEncodingOffset = 4;
constexpr double kAlphaInfinity = 0.721347520444481703680;  // 1 / (2 ln 2)

using Histogram = std::array<uint32_t, kRegisterMax + 1>;

uint8_t ByteAt(std::string_view bytes, size_t at) { return static_cast<uint8_t>(bytes[at]); }

uint64_t LoadLittleEndian(const char* at, size_t size) {
  uint64_t value = 0;
  for (size_t i = size; i-- > 0;) value = value << 8 | static_cast<uint8_t>(at[i]);
  return value;
}

// Austin Appleby's MurmurHash2, the variant for 64-bit machines.
uint64_t Murmur64A(std::string_view text, uint64_t seed) {
  constexpr uint64_t kMultiplier = 0xc6a4a7935bd1e995;
  constexpr int kShift = 47;
  uint64_t hash = seed ^ (text.size() * kMultiplier);
  for (; text.size() >= 8; text.remove_prefix(8)) {
    uint64_t word = LoadLittleEndian(text.data(), 8) * kMultiplier;
    word ^= word >> kShift;
    hash = (hash ^ (word * kMultiplier)) * kMultiplier;
  }
  if (!text.empty()) hash = (hash ^ LoadLittleEndian(text.data(), text.size())) * kMultiplier;
  hash ^= hash >> kShift;
  hash *= kMultiplier;
  return hash ^ (hash >> kShift);
}

// ---- dense

// A register's six bits begin in `byte` at `shift`, and reach the next byte if shift > 2.
struct DensePlace {
  explicit DensePlace(size_t index) : byte(kHeaderBytes + index * 6 / 8), shift(index * 6 % 8) {}
  size_t byte;
  unsigned shift;
};

uint8_t ReadDense(std::string_view value, size_t index) {
  const DensePlace place(index);
  unsigned bits = static_cast<unsigned>(ByteAt(value, place.byte)) >> place.shift;
  if (place.shift > 2) bits |= static_cast<unsigned>(ByteAt(value, place.byte + 1)) << (8 - place.shift);
  return bits & kRegisterMax;
}

void WriteDense(std::span<char> value, size_t index, unsigned run) {
  const DensePlace place(index);
  auto put = [&](size_t at, unsigned mask, unsigned bits) {
    value[at] = static_cast<char>((static_cast<uint8_t>(value[at]) & ~mask) | (bits & mask));
  };
  put(place.byte, kRegisterMax << place.shift & 0xff, run << place.shift);
  if (place.shift > 2) put(place.byte + 1, kRegisterMax >> (8 - place.shift), run >> (8 - place.shift));
}

// Calls visit(index, register) for all of them; four registers fill three bytes.
template <typename Visit>
void ForEachDense(std::string_view value, Visit visit) {
  const char* at = value.data() + kHeaderBytes;
  for (size_t index = 0; index < kRegisters; index += 4, at += 3) {
    const auto group = static_cast<uint32_t>(LoadLittleEndian(at, 3));
    for (size_t i = 0; i < 4; ++i) visit(index + i, static_cast<uint8_t>(group >> (6 * i) & kRegisterMax));
  }
}

// ---- sparse

struct Run {
  size_t bytes;
  size_t registers;
  uint8_t value;  // 0: zeros
};

// A long run of zeros cut off at the end of the value counts as if a zero byte followed.
Run ReadRun(std::string_view value, size_t at) {
  const uint8_t byte = ByteAt(value, at);
  if (byte & 0x80) return {1, (byte & 0x03u) + 1, static_cast<uint8_t>((byte >> 2 & 0x1f) + 1)};
  if (byte & 0x40) return {2, ((byte & 0x3fu) << 8 | (at + 1 < value.size() ? ByteAt(value, at + 1) : 0u)) + 1, 0};
  return {1, size_t{byte} + 1, 0};
}

bool IsValueRun(char byte) { return static_cast<uint8_t>(byte) & 0x80; }

char ValueRunByte(unsigned value, size_t registers) {
  return static_cast<char>(0x80 | (value - 1) << 2 | (registers - 1));
}

// A few runs on the way into a value.
class RunBuffer {
 public:
  void Add(unsigned value, size_t registers) {
    if (registers == 0) return;
    if (value != 0) {
      bytes_[size_++] = ValueRunByte(value, registers);
    } else if (registers <= kShortZerosMax) {
      bytes_[size_++] = static_cast<char>(registers - 1);
    } else {
      bytes_[size_++] = static_cast<char>(0x40 | (registers - 1) >> 8);
      bytes_[size_++] = static_cast<char>((registers - 1) & 0xff);
    }
  }
  std::string_view text() const { return {bytes_, size_}; }

 private:
  char bytes_[6];
  size_t size_ = 0;
};

// Calls visit(first register, run). False unless the runs cover all registers and no more.
template <typename Visit>
bool ForEachRun(std::string_view value, Visit visit) {
  size_t covered = 0;
  for (size_t at = kHeaderBytes; at < value.size();) {
    const Run run = ReadRun(value, at);
    if (run.registers > kRegisters - covered) return false;
    visit(covered, run);
    covered += run.registers;
    at += run.bytes;
  }
  return covered == kRegisters;
}

// Joins neighbours of equal value, from the run at `at` on. How far it looks is part of the format: other servers
// compare and store what comes out.
void JoinRuns(std::string& value, size_t at) {
  for (int steps = 5; steps > 0 && at < value.size(); --steps) {
    const Run run = ReadRun(value, at);
    if (run.value != 0 && at + 1 < value.size() && IsValueRun(value[at + 1])) {
      const Run next = ReadRun(value, at + 1);
      if (next.value == run.value && run.registers + next.registers <= kValueRunMax) {
        value[at + 1] = ValueRunByte(run.value, run.registers + next.registers);
        value.erase(at, 1);
        continue;
      }
    }
    at += run.bytes;
  }
}

Change Promote(std::string& value, Observation seen) {
  if (!MakeDense(value)) return Change::kCorrupt;
  RaiseDense(value, seen);
  MarkCacheOutOfDate(value);
  return Change::kRaised;
}

Change RaiseSparse(std::string& value, Observation seen, size_t sparse_bytes_max) {
  if (seen.run > kSparseValueMax) return Promote(value, seen);
  size_t at = kHeaderBytes, before = kHeaderBytes, first = 0;
  Run run{};
  for (;; before = at, at += run.bytes, first += run.registers) {
    if (at >= value.size()) return Change::kCorrupt;
    run = ReadRun(value, at);
    if (seen.index < first + run.registers) break;
  }
  if (at + run.bytes > value.size()) return Change::kCorrupt;
  if (run.value >= seen.run) return Change::kNone;

  RunBuffer split;
  split.Add(run.value, seen.index - first);
  split.Add(seen.run, 1);
  split.Add(run.value, first + run.registers - 1 - seen.index);
  const size_t new_size = value.size() - run.bytes + split.text().size();
  if (new_size > value.size() && new_size > sparse_bytes_max) return Promote(value, seen);
  value.replace(at, run.bytes, split.text());
  JoinRuns(value, before);
  MarkCacheOutOfDate(value);
  return Change::kRaised;
}

// ---- estimating

// sigma and tau of the paper: corrections for registers that are still zero, and for those that are full.
double Sigma(double x) {
  if (x == 1.) return INFINITY;
  double weight = 1, sum = x, previous;
  do {
    x *= x;
    previous = sum;
    sum += x * weight;
    weight += weight;
  } while (sum != previous);
  return sum;
}

double Tau(double x) {
  if (x == 0. || x == 1.) return 0.;
  double weight = 1, sum = 1 - x, previous;
  do {
    x = std::sqrt(x);
    previous = sum;
    weight *= 0.5;
    sum -= (1 - x) * (1 - x) * weight;
  } while (sum != previous);
  return sum / 3;
}

uint64_t Estimate(const Histogram& histogram) {
  constexpr double kCount = kRegisters;
  double z = kCount * Tau((kCount - histogram[kRunMax]) / kCount);
  for (unsigned run = kRunMax - 1; run >= 1; --run) z = (z + histogram[run]) * 0.5;
  z += kCount * Sigma(histogram[0] / kCount);
  const long double estimate = static_cast<double>(kAlphaInfinity * kCount * kCount / z);
  // Registers no honest history leaves behind. The same number as from x86's conversion, which Redis lets happen.
  if (!(estimate < 9223372036854775807.0L)) return uint64_t{1} << 63;
  return static_cast<uint64_t>(static_cast<double>(std::llround(estimate)));
}

}  // namespace

Observation Observe(std::string_view element) {
  const uint64_t hash = Murmur64A(element, kHashSeed);
  // The added bit ends the run where the hash ends.
  const uint64_t rest = hash >> kIndexBits | uint64_t{1} << (64 - kIndexBits);
  return {static_cast<uint16_t>(hash & (kRegisters - 1)), static_cast<uint8_t>(std::countr_zero(rest) + 1)};
}

bool IsHyperLogLog(std::string_view value) {
  if (value.size() < kHeaderBytes || !value.starts_with("HYLL")) return false;
  return value[kEncodingOffset] == kSparse || (value[kEncodingOffset] == kDense && value.size() == kDenseBytes);
}

bool IsDense(std::string_view value) { return value[kEncodingOffset] == kDense; }

std::string Empty() {
  std::string value(kHeaderBytes, '\0');
  value.replace(0, 4, "HYLL");
  value[kEncodingOffset] = kSparse;
  RunBuffer zeros;
  zeros.Add(0, kRegisters);
  return value.append(zeros.text());
}

Change Raise(std::string& value, Observation seen, size_t sparse_bytes_max) {
  if (!IsDense(value)) return RaiseSparse(value, seen, sparse_bytes_max);
  return RaiseDense(value, seen) ? Change::kRaised : Change::kNone;
}

bool WouldRaiseDense(std::string_view value, Observation seen) { return ReadDense(value, seen.index) < seen.run; }

bool RaiseDense(std::span<char> value, Observation seen) {
  if (!WouldRaiseDense({value.data(), value.size()}, seen)) return false;
  WriteDense(value, seen.index, seen.run);
  return true;
}

bool MakeDense(std::string& value) {
  if (IsDense(value)) return true;
  std::string dense(kDenseBytes, '\0');
  std::memcpy(dense.data(), value.data(), kHeaderBytes);
  dense[kEncodingOffset] = kDense;
  const bool whole = ForEachRun(value, [&](size_t first, const Run& run) {
    if (run.value == 0) return;
    for (size_t i = 0; i < run.registers; ++i) WriteDense(dense, first + i, run.value);
  });
  if (whole) value = std::move(dense);
  return whole;
}

void StoreDense(std::span<char> value, const Registers& registers) {
  char* at = value.data() + kHeaderBytes;
  for (size_t index = 0; index < kRegisters; index += 4) {
    uint32_t group = 0;
    for (size_t i = 0; i < 4; ++i) group |= uint32_t{registers[index + i]} << (6 * i);
    for (int shift = 0; shift < 24; shift += 8) *at++ = static_cast<char>(group >> shift & 0xff);
  }
}

bool MergeInto(Registers& registers, std::string_view value) {
  if (IsDense(value)) {
    ForEachDense(value, [&](size_t index, uint8_t run) { registers[index] = std::max(registers[index], run); });
    return true;
  }
  return ForEachRun(value, [&](size_t first, const Run& run) {
    if (run.value == 0) return;
    for (size_t i = 0; i < run.registers; ++i) registers[first + i] = std::max(registers[first + i], run.value);
  });
}

uint64_t Count(const Registers& registers) {
  Histogram histogram{};
  for (uint8_t run : registers) ++histogram[run];
  return Estimate(histogram);
}

std::optional<uint64_t> Count(std::string_view value) {
  Histogram histogram{};
  if (IsDense(value)) {
    ForEachDense(value, [&](size_t, uint8_t run) { ++histogram[run]; });
  } else if (!ForEachRun(value, [&](size_t, const Run& run) {
               histogram[run.value] += static_cast<uint32_t>(run.registers);
             })) {
    return std::nullopt;
  }
  return Estimate(histogram);
}

std::optional<uint64_t> CachedCount(std::string_view value) {
  const uint64_t count = LoadLittleEndian(value.data() + kCacheOffset, kCacheBytes);
  if (count >> 63) return std::nullopt;
  return count;
}

void StoreCachedCount(std::span<char> value, uint64_t count) {
  for (size_t i = 0; i < kCacheBytes; ++i) value[kCacheOffset + i] = static_cast<char>(count >> (8 * i) & 0xff);
}

void MarkCacheOutOfDate(std::span<char> value) { value[kCacheOffset + kCacheBytes - 1] |= static_cast<char>(0x80); }

std::string SparseText(std::string_view value) {
  std::string text;
  for (size_t at = kHeaderBytes; at < value.size();) {
    const Run run = ReadRun(value, at);
    if (!text.empty()) text += ' ';
    if (run.value != 0) {
      fmt::format_to(std::back_inserter(text), "v:{},{}", run.value, run.registers);
    } else {
      fmt::format_to(std::back_inserter(text), "{}:{}", run.bytes == 2 ? 'Z' : 'z', run.registers);
    }
    at += run.bytes;
  }
  return text;
}

std::string SelfTest() {
  // Registers do not disturb their neighbours.
  std::string dense = Empty();
  MakeDense(dense);
  Registers expected{};
  uint64_t random = 1;
  for (size_t i = 0; i < 4 * kRegisters; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const size_t index = random >> 50;
    expected[index] = random >> 40 & kRegisterMax;
    WriteDense(dense, index, expected[index]);
  }
  for (size_t i = 0; i < kRegisters; ++i)
    if (ReadDense(dense, i) != expected[i])
      return fmt::format("Register {} holds {} instead of {}", i, ReadDense(dense, i), expected[i]);

  // Both encodings agree, and the estimate stays within four standard errors.
  std::string sparse = Empty();
  dense = Empty();
  MakeDense(dense);
  const double standard_error = 1.04 / std::sqrt(static_cast<double>(kRegisters));
  uint64_t added = 0;
  for (uint64_t checkpoint = 1; checkpoint <= 100000; checkpoint *= 10) {
    for (; added < checkpoint; ++added) {
      const Observation seen = Observe(fmt::format("element {}", added));
      if (Raise(sparse, seen, 3000) == Change::kCorrupt) return "A sparse value got corrupt";
      RaiseDense(dense, seen);
    }
    const auto from_sparse = Count(sparse), from_dense = Count(dense);
    if (from_sparse != from_dense)
      return fmt::format("{} elements: dense counts {}, sparse {}", added, *from_dense, from_sparse.value_or(0));
    const double error = std::fabs(static_cast<double>(*from_dense) - static_cast<double>(added));
    if (error > std::ceil(4 * standard_error * static_cast<double>(added)))
      return fmt::format("{} elements are counted as {}", added, *from_dense);
  }
  return {};
}

}  // namespace tessera::store::hyperloglog
