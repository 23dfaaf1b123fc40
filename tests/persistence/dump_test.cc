#include "persistence/dump.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "persistence/crc64.h"
#include "persistence/null_visitor.h"
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
