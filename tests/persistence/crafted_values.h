// Bodies of RDB values in every type, put together byte by byte from the grammars in persistence/, since no server at
// hand writes most of them any more.
#pragma once

#include <bit>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "persistence/crc64.h"
#include "persistence/integer_text.h"
#include "persistence/listpack.h"
#include "persistence/rdb_format.h"

namespace tessera::persistence {

inline std::string Little(uint64_t number, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += i < 8 ? static_cast<char>(number >> (8 * i)) : '\0';
  return out;
}

inline std::string Big(uint64_t number, int bytes) {
  std::string out = Little(number, bytes);
  return {out.rbegin(), out.rend()};
}

inline std::string RdbLength(uint64_t length) {
  if (length < 64) return std::string(1, static_cast<char>(length));
  if (length < 16384) return Big(0x4000 | length, 2);
  return "\x80" + Big(length, 4);
}

inline std::string RdbText(std::string_view text) { return RdbLength(text.size()) + std::string(text); }

using Texts = std::vector<std::string>;

inline std::string Listpack(const Texts& texts) {
  ListpackWriter writer;
  writer.Start();
  for (const std::string& text : texts) writer.Append(text);
  return std::string(writer.Finish());
}

inline std::string ZiplistEntry(std::string_view text, size_t previous_bytes, bool long_back_length) {
  std::string entry = previous_bytes < 254 && !long_back_length ? std::string(1, static_cast<char>(previous_bytes))
                                                                : "\xfe" + Little(previous_bytes, 4);
  if (std::optional<int64_t> number = ExactInteger<int64_t>(text)) {
    auto bits = static_cast<uint64_t>(*number);
    if (*number >= 0 && *number <= 12) return entry + static_cast<char>(0xf1 + *number);
    if (*number >= -128 && *number <= 127) return entry + "\xfe" + Little(bits, 1);
    if (*number >= -32768 && *number <= 32767) return entry + "\xc0" + Little(bits, 2);
    if (*number >= -(1 << 23) && *number < 1 << 23) return entry + "\xf0" + Little(bits, 3);
    if (*number >= -(int64_t{1} << 31) && *number < int64_t{1} << 31) return entry + "\xd0" + Little(bits, 4);
    return entry + "\xe0" + Little(bits, 8);
  }
  if (text.size() < 64) {
    entry += static_cast<char>(text.size());
  } else if (text.size() < 16384) {
    entry += Big(0x4000 | text.size(), 2);
  } else {
    entry += "\x80" + Big(text.size(), 4);
  }
  return entry + std::string(text);
}

inline std::string Ziplist(const Texts& texts) {
  std::string entries;
  size_t last = 0, previous = 0;
  for (const std::string& text : texts) {
    // Shrinking neighbours leave long back-lengths behind, also for short entries.
    std::string entry = ZiplistEntry(text, previous, text == "long back-length");
    last = entries.size();
    previous = entry.size();
    entries += entry;
  }
  return Little(11 + entries.size(), 4) + Little(10 + last, 4) + Little(texts.size(), 2) + entries + "\xff";
}

inline std::string Zipmap(const Texts& texts) {
  auto length = [](size_t n) { return n < 254 ? std::string(1, static_cast<char>(n)) : "\xfe" + Little(n, 4); };
  std::string map(1, static_cast<char>(texts.size() / 2 < 254 ? texts.size() / 2 : 254));
  for (size_t i = 0; i + 1 < texts.size(); i += 2) {
    size_t unused = i % 3;
    map += length(texts[i].size()) + texts[i] + length(texts[i + 1].size()) + static_cast<char>(unused) + texts[i + 1] +
           std::string(unused, 'u');
  }
  return map + "\xff";
}

inline std::string Intset(int width, const std::vector<int64_t>& numbers) {
  std::string set = Little(static_cast<uint64_t>(width), 4) + Little(numbers.size(), 4);
  for (int64_t number : numbers) set += Little(static_cast<uint64_t>(number), width);
  return set;
}

// Two nodes with a deleted entry and one of its own fields, a group with two pending entries, two consumers.
inline std::string StreamBody(int kind) {
  auto id = [](uint64_t ms, uint64_t sequence) { return RdbLength(ms) + RdbLength(sequence); };
  auto raw = [](uint64_t ms, uint64_t sequence) { return Big(ms, 8) + Big(sequence, 8); };
  std::string body = RdbLength(2);
  body += RdbText(raw(1000, 5));
  body += RdbText(Listpack({"3",     "1",     "2",  "name",
                            "7",     "0",  //
                            "2",     "0",     "0",  "alice",
                            "10",    "5",  //
                            "3",     "0",     "1",  "bob",
                            "20",    "5",  //
                            "0",     "1",     "-5", "1",
                            "other", "value", "6",  //
                            "2",     "500",   "-3", std::string(300, 'c'),
                            "-30",   "5"}));
  body += RdbText(raw(2000, 0));
  body += RdbText(Listpack({"1", "0", "1", "f", "0", "2", "0", "0", "v", "4"}));
  body += RdbLength(4) + id(2000, 0);
  if (kind > 1) body += id(1000, 5) + id(1000, 6) + RdbLength(5);
  body += RdbLength(2);
  body += RdbText("readers") + id(1001, 0);
  if (kind > 1) body += RdbLength(3);
  body += RdbLength(2) + raw(1000, 5) + Little(1700000000000, 8) + RdbLength(1);
  body += raw(1001, 0) + Little(1700000000001, 8) + RdbLength(100);
  body += RdbLength(2);
  for (uint64_t owner : {0, 1}) {
    body += RdbText(owner == 0 ? "first" : "second") + Little(1700000000002, 8);
    if (kind > 2) body += Little(1700000000001, 8);
    body += RdbLength(1) + (owner == 0 ? raw(1001, 0) : raw(1000, 5));
  }
  body += RdbText("fresh") + id(0, 0);
  if (kind > 1) body += RdbLength(0);
  return body + RdbLength(0) + RdbLength(0);
}

struct CraftedValue {
  std::string name;
  uint8_t type;
  std::string body;
};

inline std::vector<CraftedValue> CraftedValues() {
  const Texts list = {"a",
                      "",
                      "0",
                      "12",
                      "13",
                      "-1",
                      "127",
                      "-128",
                      "128",
                      "32767",
                      "-32768",
                      "8388607",
                      "-8388608",
                      "2147483647",
                      "-2147483648",
                      "9223372036854775807",
                      "-9223372036854775808",
                      "007",
                      std::string(63, 'x'),
                      "long back-length",
                      std::string(64, 'y'),
                      std::string(300, 'z'),
                      "after",
                      std::string(16384, 'w'),
                      "end"};
  const Texts pairs = {"field", "value", "1", "2", "", "empty", std::string(300, 'n'), "", "n", std::string(400, 'v')};
  const Texts scores = {"one", "1", "half", "0.5", "low", "-inf", "7", "-12345678", "tiny", "4.9406564584124654e-324"};
  const Texts expiring = {"f", "v", "0", "1", "2", "4102444800000", "late", "x", "281474976710655"};
  auto plain = [](const Texts& texts, size_t per_part) {
    std::string body = RdbLength(texts.size() / per_part);
    for (const std::string& text : texts) body += RdbText(text);
    return body;
  };
  std::string text_scores = RdbLength(4) + RdbText("m") + RdbText("3.25") + RdbText("inf") + "\xfe" + RdbText("low") +
                            "\xff" + RdbText("big") + RdbText("1.0000000000000001e+300");
  std::string binary_scores = RdbLength(2) + RdbText("m") + Little(std::bit_cast<uint64_t>(0.1), 8) + RdbText("n") +
                              Little(std::bit_cast<uint64_t>(-5.5), 8);
  const std::string base = Little(4102444800000, 8);
  std::string field_expiry = RdbLength(3) + RdbLength(0) + RdbText("never") + RdbText("1") + RdbLength(1) +
                             RdbText("first") + RdbText("2") + RdbLength(70000) + RdbText("later") + RdbText("3");
  std::string absolute = RdbLength(2) + RdbLength(0) + RdbText("never") + RdbText("1") + "\x81" +
                         Big(4102444800000, 8) + RdbText("then") + RdbText("2");
  return {
      {"text", kRdbTypeString, RdbText("text")},
      {"list", kRdbTypeList, plain(list, 1)},
      {"set", kRdbTypeSet, plain({"a", "b", "1"}, 1)},
      {"sorted set with text scores", kRdbTypeZsetText, text_scores},
      {"hash", kRdbTypeHash, plain(pairs, 2)},
      {"sorted set", kRdbTypeZset, binary_scores},
      {"hash as zipmap", kRdbTypeHashZipmap, RdbText(Zipmap(pairs))},
      {"list as ziplist", kRdbTypeListZiplist, RdbText(Ziplist(list))},
      {"set of small integers", kRdbTypeSetIntset, RdbText(Intset(2, {-5, 0, 1, 32767}))},
      {"set of integers", kRdbTypeSetIntset, RdbText(Intset(4, {-2147483648, 7}))},
      {"set of large integers", kRdbTypeSetIntset, RdbText(Intset(8, {-5000000000, 9223372036854775807}))},
      {"sorted set as ziplist", kRdbTypeZsetZiplist, RdbText(Ziplist(scores))},
      {"hash as ziplist", kRdbTypeHashZiplist, RdbText(Ziplist(pairs))},
      {"list as quicklist", kRdbTypeListQuicklist,
       RdbLength(3) + RdbText(Ziplist({"a", "1"})) + RdbText(Ziplist({})) + RdbText(Ziplist(list))},
      {"stream of the first kind", kRdbTypeStream1, StreamBody(1)},
      {"hash as listpack", kRdbTypeHashListpack, RdbText(Listpack(pairs))},
      {"sorted set as listpack", kRdbTypeZsetListpack, RdbText(Listpack(scores))},
      {"list as quicklist of listpacks", kRdbTypeListQuicklist2,
       RdbLength(3) + RdbLength(2) + RdbText(Listpack(list)) + RdbLength(1) + RdbText("plain") + RdbLength(2) +
           RdbText(Listpack({"b"}))},
      {"stream of the second kind", kRdbTypeStream2, StreamBody(2)},
      {"set as listpack", kRdbTypeSetListpack, RdbText(Listpack({"a", "5", "b"}))},
      {"stream of the third kind", kRdbTypeStream3, StreamBody(3)},
      {"hash with field expiries before its release", kRdbTypeHashExpiryPreGa, absolute},
      {"hash with field expiries as listpack before its release", kRdbTypeHashListpackExpiryPreGa,
       RdbText(Listpack(expiring))},
      {"hash with field expiries", kRdbTypeHashExpiry, base + field_expiry},
      {"hash with field expiries as listpack", kRdbTypeHashListpackExpiry, base + RdbText(Listpack(expiring))},
  };
}

// A DUMP payload with a correct footer.
inline std::string SignedPayload(std::string body, int version = 10) {
  body += Little(static_cast<uint64_t>(version), 2);
  return body + Little(Crc64(0, body), 8);
}

inline std::string Payload(const CraftedValue& value) {
  return SignedPayload(static_cast<char>(value.type) + value.body);
}

}  // namespace tessera::persistence
