#include "server/values/digest.h"

#include <fmt/core.h>

#include <array>
#include <boost/uuid/detail/sha1.hpp>
#include <iterator>

#include "persistence/null_visitor.h"
#include "server/values/value_walk.h"

namespace tessera {
namespace {

class Digest {
 public:
  void Join(std::string_view bytes) {
    boost::uuids::detail::sha1 sha;
    sha.process_bytes(bytes.data(), bytes.size());
    boost::uuids::detail::sha1::digest_type words;
    sha.get_digest(words);
    for (size_t i = 0; i < sum_.size(); ++i) sum_[i] ^= static_cast<char>(words[i / 4] >> (24 - 8 * (i % 4)));
  }
  void Mix(std::string_view bytes) {
    Join(bytes);
    const std::array<char, 20> joined = sum_;
    sum_ = {};
    Join({joined.data(), joined.size()});
  }
  void MixNumber(uint32_t number) {
    const char bytes[] = {static_cast<char>(number >> 24), static_cast<char>(number >> 16),
                          static_cast<char>(number >> 8), static_cast<char>(number)};
    Mix({bytes, sizeof bytes});
  }
  std::string_view bytes() const { return {sum_.data(), sum_.size()}; }
  std::string Hex() const {
    std::string text;
    for (char c : sum_) fmt::format_to(std::back_inserter(text), "{:02x}", static_cast<unsigned char>(c));
    return text;
  }

 private:
  std::array<char, 20> sum_{};
};

// Redis's numbers of the types.
enum : uint32_t { kStringType, kListType, kSetType, kSortedSetType, kHashType, kStreamType = 6 };

// Adds the values it is told to a digest.
class ValueDigest final : public persistence::NullVisitor {
 public:
  using Header = persistence::EntryHeader;
  explicit ValueDigest(Digest& digest) : digest_(digest) {}

  void String(const Header&, std::string_view value) override {
    digest_.MixNumber(kStringType);
    digest_.Mix(value);
  }
  void BeginList(const Header&, uint64_t) override { Begin(kListType); }
  void BeginSet(const Header&, uint64_t) override { Begin(kSetType); }
  void BeginSortedSet(const Header&, uint64_t) override { Begin(kSortedSetType); }
  void BeginHash(const Header&, uint64_t, bool) override { Begin(kHashType); }
  void BeginStream(const Header&, const persistence::StreamInfo&) override { Begin(kStreamType); }
  void Item(std::string_view value) override { type_ == kListType ? digest_.Mix(value) : digest_.Join(value); }
  void Scored(std::string_view member, double score) override {
    char text[64];
    const int length = std::snprintf(text, sizeof text, "%.17g", score);
    JoinPair(member, {text, static_cast<size_t>(length)}, false);
  }
  void Pair(std::string_view field, std::string_view value, int64_t expiry_ms) override {
    JoinPair(field, value, expiry_ms != persistence::kNoExpiry);
  }
  void Entry(persistence::StreamId id, std::span<const std::string_view> fields_and_values) override {
    digest_.Mix(fmt::format("{}.{}", id.ms, id.sequence));
    for (std::string_view word : fields_and_values) digest_.Mix(word);
  }

 private:
  void Begin(uint32_t type) {
    type_ = type;
    digest_.MixNumber(type);
  }
  void JoinPair(std::string_view name, std::string_view value, bool expires) {
    Digest pair;
    pair.Mix(name);
    pair.Mix(value);
    if (expires) pair.Join("!!hexpire!!");
    digest_.Join(pair.bytes());
  }

  Digest& digest_;
  uint32_t type_ = 0;
};

void AddValue(store::EntryRef entry, Digest& digest) {
  ValueDigest value(digest);
  TellEntry(entry, {}, value);
  if (entry.has_expiry()) digest.Join("!!expire!!");
}

}  // namespace

std::string DigestOfValue(store::EntryRef entry) {
  Digest digest;
  if (entry) AddValue(entry, digest);
  return digest.Hex();
}

std::string DigestOfDataset(store::Keyspace& keyspace) {
  Digest all;
  for (int i = 0; i < keyspace.database_count(); ++i) {
    const store::Database& db = keyspace.db(i);
    if (db.size() == 0) continue;
    all.MixNumber(static_cast<uint32_t>(i));
    db.ForEach([&](store::EntryRef entry) {
      Digest digest;
      digest.Mix(entry.key());
      AddValue(entry, digest);
      all.Join(digest.bytes());
    });
  }
  return all.Hex();
}

}  // namespace tessera
