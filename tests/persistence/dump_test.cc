#include "persistence/dump.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "persistence/crc64.h"
#include "persistence/null_visitor.h"
#include "tests/persistence/crafted_values.h"
#include "tests/persistence/samples.h"

namespace tessera::persistence {
namespace {

std::string Dump(std::string_view value) {
  std::string out;
  DumpWriter dump(&out, true);
  dump.String({}, value);
  dump.Finish();
  return out;
}

struct RestoredText : NullVisitor {
  void String(const EntryHeader&, std::string_view text) override { value = text; }
  DumpRead read = DumpRead::kOk;
  std::string reason, value;
};

RestoredText Restore(std::string_view payload) {
  RestoredText text;
  DumpResult result = ReadDump(payload, {}, text);
  text.read = result.read;
  text.reason = result.reason;
  return text;
}

std::string Signed(std::string body, int version = 10) {
  body += static_cast<char>(version);
  body += static_cast<char>(version >> 8);
  uint64_t sum = Crc64(0, body);
  for (int i = 0; i < 8; ++i) body += static_cast<char>(sum >> (8 * i));
  return body;
}

TEST(ReadDump, GivesBackWhatWasDumped) {
  for (std::string value : {std::string(), std::string("v"), std::string("-5"), std::string("5000000000"),
                            std::string(1000, 'x'), std::string("\0\r\n", 3)}) {
    RestoredText read = Restore(Dump(value));
    EXPECT_EQ(read.read, DumpRead::kOk) << read.reason;
    EXPECT_EQ(read.value, value);
  }
}

TEST(DumpWriter, LeavesFieldExpiriesOutForOlderReaders) {
  struct Fields : NullVisitor {
    void Pair(std::string_view field, std::string_view value, int64_t expiry_ms) override {
      told += std::string(field) + '=' + std::string(value) + (expiry_ms == kNoExpiry ? " " : "! ");
    }
    std::string told;
  };
  for (bool field_expiry : {true, false}) {
    std::string out;
    DumpWriter dump(&out, true, field_expiry);
    dump.BeginHash({}, 2, true);
    dump.Pair("a", "1", 4'000'000'000'000);
    dump.Pair("b", "2", kNoExpiry);
    dump.EndValue();
    dump.Finish();
    EXPECT_FALSE(IsNewerThanWritten(out));
    EXPECT_EQ(dump.field_expiries_left_out(), field_expiry ? 0u : 1u);
    EXPECT_EQ(out[0] == 4, !field_expiry) << "4 is the hash that every version reads";
    Fields fields;
    EXPECT_EQ(ReadDump(out, {}, fields).read, DumpRead::kOk);
    EXPECT_EQ(fields.told, field_expiry ? "a=1! b=2 " : "a=1 b=2 ");
  }
  EXPECT_TRUE(IsNewerThanWritten(Signed("x", 11)));
}

TEST(ReadFunctionsDump, GivesBackEveryLibraryAndRefusesEveryCut) {
  const std::vector<std::string> libraries = {"#!lua name=a\n", "#!lua name=b\n" + std::string(500, 'x')};
  std::string out;
  DumpWriter dump(&out, true);
  for (const std::string& code : libraries) dump.FunctionLibrary(code);
  dump.Finish();
  std::vector<std::string> read;
  EXPECT_EQ(ReadFunctionsDump(out, &read), DumpRead::kOk);
  EXPECT_EQ(read, libraries);
  const std::string body = out.substr(0, out.size() - 10);
  for (size_t cut = 0; cut < out.size(); ++cut) {
    read.clear();
    EXPECT_EQ(ReadFunctionsDump(std::string_view(out).substr(0, cut), &read), DumpRead::kBadFooter);
    if (cut >= body.size()) continue;
    read.clear();
    const DumpRead result = ReadFunctionsDump(Signed(body.substr(0, cut)), &read);
    EXPECT_EQ(result == DumpRead::kOk, read.size() < 2 && cut == (read.empty() ? 0 : libraries[0].size() + 2)) << cut;
  }
}

TEST(ReadDump, RefusesEveryCutAndFlippedBitAtTheFooter) {
  std::string payload = Dump(std::string(100, 'a') + "tail");
  for (size_t length = 0; length < payload.size(); ++length) {
    EXPECT_EQ(Restore(std::string_view(payload).substr(0, length)).read, DumpRead::kBadFooter);
  }
  for (size_t i = 0; i < payload.size() * 8; ++i) {
    std::string broken = payload;
    broken[i / 8] = static_cast<char>(broken[i / 8] ^ (1 << i % 8));
    EXPECT_EQ(Restore(broken).read, DumpRead::kBadFooter);
  }
}

TEST(ReadDump, TellsBadDataFromTypesThatCannotBe) {
  EXPECT_EQ(Restore(Signed(Bytes("00 01 76"), 12)).read, DumpRead::kOk);
  EXPECT_EQ(Restore(Signed(Bytes("00 01 76"), 13)).read, DumpRead::kBadFooter);
  EXPECT_EQ(Restore(Signed("")).read, DumpRead::kBadData);
  EXPECT_EQ(Restore(Signed(Bytes("00"))).read, DumpRead::kBadData);
  EXPECT_EQ(Restore(Signed(Bytes("00 05 76"))).read, DumpRead::kBadData);
  EXPECT_EQ(Restore(Signed(Bytes("00 01 76 76"))).read, DumpRead::kBadData);
  EXPECT_EQ(Restore(Signed(Bytes("4d 01 76"))).read, DumpRead::kBadData);
  EXPECT_EQ(Restore(Signed(Bytes("1a 01 76"))).read, DumpRead::kBadData);
  RestoredText module = Restore(Signed(Bytes("07 81 41 7b 4e 1f 2c 55 9c 00 00")));
  EXPECT_EQ(module.read, DumpRead::kUnsupportedType);
  EXPECT_EQ(module.reason.rfind("a value of the module ", 0), 0u) << module.reason;
}

std::string ReasonFor(uint8_t type, const std::string& body) {
  NullVisitor ignore;
  DumpResult result = ReadDump(SignedPayload(static_cast<char>(type) + body), {}, ignore);
  EXPECT_EQ(result.read, DumpRead::kBadData);
  return result.reason;
}

TEST(ReadDump, RefusesEveryCutOfEveryType) {
  for (const CraftedValue& value : CraftedValues()) {
    for (size_t length = 0; length < value.body.size(); ++length) {
      EXPECT_NE(ReasonFor(value.type, value.body.substr(0, length)), "") << value.name << " " << length;
    }
    EXPECT_EQ(ReasonFor(value.type, value.body + "x"), "bytes follow the value") << value.name;
  }
}

TEST(ReadDump, RefusesValuesWithoutElements) {
  for (uint8_t type : {1, 2, 3, 4, 5, 14, 18}) EXPECT_EQ(ReasonFor(type, RdbLength(0)), "the value has no elements");
  for (uint8_t type : {10, 12, 13}) EXPECT_EQ(ReasonFor(type, RdbText(Ziplist({}))), "the value has no elements");
  for (uint8_t type : {16, 17, 20, 23}) EXPECT_EQ(ReasonFor(type, RdbText(Listpack({}))), "the value has no elements");
  EXPECT_EQ(ReasonFor(9, RdbText(Zipmap({}))), "the value has no elements");
  EXPECT_EQ(ReasonFor(14, RdbLength(1) + RdbText(Ziplist({}))), "the value has no elements");
}

TEST(ReadDump, RefusesDuplicatesAndScoresThatAreNoNumbers) {
  const std::string twice = "its listpack is broken: a member or field comes twice";
  EXPECT_EQ(ReasonFor(20, RdbText(Listpack({"a", "1", "a"}))), twice);
  EXPECT_EQ(ReasonFor(16, RdbText(Listpack({"1", "a", "1", "b"}))), twice);
  EXPECT_EQ(ReasonFor(17, RdbText(Listpack({"a", "1", "a", "2"}))), twice);
  EXPECT_EQ(ReasonFor(23, RdbText(Listpack({"a", "1", "0", "a", "1", "5"}))), twice);
  Texts many;
  for (int i = 0; i < 100; ++i) many.push_back(std::to_string(i));
  many.push_back("42");
  EXPECT_EQ(ReasonFor(20, RdbText(Listpack(many))), twice);
  EXPECT_EQ(ReasonFor(9, RdbText(Zipmap({"f", "1", "f", "2"}))), "its zipmap is broken: a member or field comes twice");
  for (std::string score : {"nan", "x", "", "1x", "1e999"}) {
    EXPECT_EQ(ReasonFor(17, RdbText(Listpack({"m", score}))), "its listpack is broken: a score is not a number")
        << score;
  }
  EXPECT_EQ(ReasonFor(5, RdbLength(1) + RdbText("m") + Little(0x7ff8000000000000, 8)), "a score is not a number");
  EXPECT_EQ(ReasonFor(3, RdbLength(1) + RdbText("m") + "\xfd"), "a score is not a number");
  EXPECT_EQ(ReasonFor(16, RdbText(Listpack({"a", "1", "b"}))), "its listpack is broken: its last entry is incomplete");
}

TEST(ReadDump, RefusesStreamsThatContradictThemselves) {
  const std::string good = StreamBody(2);
  auto changed = [&](std::string_view from, std::string_view to) {
    std::string body = good;
    const size_t at = body.find(from);
    EXPECT_NE(at, std::string::npos);
    return ReasonFor(kRdbTypeStream2, body.replace(at, from.size(), to));
  };
  const std::string id = Big(1001, 8) + std::string(8, '\0'), other = Big(1000, 8) + Big(5, 8);
  const std::string owner = "\x06second" + Little(1700000000002, 8) + "\x01";
  EXPECT_EQ(changed(owner + other, owner + id), "two consumers own the same pending entry");
  EXPECT_EQ(changed(owner + other, owner + Big(9, 16)), "a consumer owns an entry that is not pending in its group");
  EXPECT_EQ(changed(owner + other, "\x06second" + Little(1700000000002, 8) + RdbLength(0)),
            "a pending entry of a group belongs to none of its consumers");
  EXPECT_EQ(changed("\x06second",
                    "\x05"
                    "first"),
            "two consumers of a group have the same name");
  EXPECT_EQ(changed("\x05"
                    "fresh",
                    "\x07readers"),
            "two consumer groups have the same name");
  const std::string length = RdbLength(4) + RdbLength(2000) + RdbLength(0);
  EXPECT_EQ(changed(length, RdbLength(5) + RdbLength(2000) + RdbLength(0)),
            "the stream has not as many entries as it says");
  EXPECT_EQ(changed(length, RdbLength(4) + RdbLength(1999) + RdbLength(0)),
            "the stream's last id is below its last entry's");
  EXPECT_EQ(changed("\x10" + Big(2000, 8), "\x10" + Big(20, 8)), "its entries are not in order of their ids");
}

TEST(ReadDump, SurvivesSignedMutations) {
  std::string body = Dump(std::string(300, 'a') + "bcd" + std::string(300, 'e'));
  body.resize(body.size() - 10);
  std::mt19937 random(11);
  for (int round = 0; round < 20000; ++round) {
    std::string broken = body;
    for (unsigned i = 0; i <= random() % 3; ++i) broken[random() % broken.size()] = static_cast<char>(random());
    broken.resize(random() % (broken.size() + 1));
    std::string payload = Signed(broken);
    auto block = std::make_unique<char[]>(payload.size());
    payload.copy(block.get(), payload.size());
    EXPECT_NE(Restore({block.get(), payload.size()}).read, DumpRead::kBadFooter);
  }
}

}  // namespace
}  // namespace tessera::persistence
