#include "persistence/aof_reader.h"

#include <gtest/gtest.h>

#include <random>

#include "fmt/core.h"
#include "persistence/aof_writer.h"

namespace tessera::persistence {
namespace {

std::string Command(std::vector<std::string_view> argv) {
  std::string out;
  AppendCommand(argv, &out);
  return out;
}

struct Reading {
  std::vector<std::string> commands;  // "begin-end: arguments"
  AofRead end = AofRead::kNeedMore;
  bool at_boundary = false;
  uint64_t safe_offset = 0;
  uint64_t error_offset = 0;
  std::string error;
};

Reading Read(std::string_view bytes, size_t piece = std::string_view::npos, uint64_t start = 0) {
  AofReader reader(start);
  Reading reading;
  while (true) {
    reading.end = reader.Next();
    if (reading.end == AofRead::kCommand) {
      std::string line = fmt::format("{}-{}:", reader.command_begin(), reader.command_end());
      for (std::string_view argument : reader.argv()) line += fmt::format(" {}", argument);
      reading.commands.push_back(line);
    } else if (reading.end == AofRead::kNeedMore && !bytes.empty()) {
      std::vector<char> block(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(std::min(piece, bytes.size())));
      bytes.remove_prefix(block.size());
      reader.Feed({block.data(), block.size()});
    } else {
      break;
    }
  }
  reading.at_boundary = reader.AtBoundary();
  reading.safe_offset = reader.safe_offset();
  reading.error_offset = reader.error_offset();
  reading.error = reader.error_reason();
  return reading;
}

std::string SampleLog() {
  return "#TS:1628217470\r\n" + Command({"SELECT", "0"}) + Command({"SET", "key", "a\r\nb"}) + Command({"multi"}) +
         Command({"INCR", "n"}) + "#TS:1628217471\r\n" + Command({"SET", "e", ""}) + Command({"EXEC"}) +
         Command({"DEL", "key"});
}

TEST(AofReader, YieldsCommandsWithTheirOffsets) {
  std::string log = Command({"SET", "k", "v"}) + "#TS:1\r\n" + Command({"PING"});
  Reading reading = Read(log, 1000, 100);
  EXPECT_EQ(reading.commands, (std::vector<std::string>{"100-127: SET k v", "134-148: PING"}));
  EXPECT_TRUE(reading.at_boundary);
  EXPECT_EQ(reading.safe_offset, 148u);
}

TEST(AofReader, ReadsTheSameInPiecesOfEverySize) {
  std::string log = SampleLog();
  Reading whole = Read(log);
  EXPECT_EQ(whole.commands.size(), 7u);
  EXPECT_TRUE(whole.at_boundary);
  EXPECT_EQ(whole.safe_offset, log.size());
  for (size_t piece = 1; piece < log.size(); ++piece) {
    Reading reading = Read(log, piece);
    EXPECT_EQ(reading.commands, whole.commands);
    EXPECT_TRUE(reading.at_boundary);
    EXPECT_EQ(reading.safe_offset, log.size());
  }
}

TEST(AofReader, TellsWhereToCutALogThatEndsAnywhere) {
  std::string log = SampleLog();
  Reading whole = Read(log);
  for (size_t length = 0; length <= log.size(); ++length) {
    Reading reading = Read(std::string_view(log).substr(0, length));
    ASSERT_EQ(reading.end, AofRead::kNeedMore) << length;
    EXPECT_LE(reading.safe_offset, length);
    EXPECT_EQ(reading.at_boundary, reading.safe_offset == length);
    EXPECT_TRUE(std::equal(reading.commands.begin(), reading.commands.end(), whole.commands.begin()));
    // What is left after the cut is clean.
    Reading again = Read(std::string_view(log).substr(0, reading.safe_offset));
    EXPECT_TRUE(again.at_boundary);
  }
}

TEST(AofReader, KeepsTheSafeOffsetBeforeAnUnfinishedTransaction) {
  std::string before = Command({"SET", "k", "v"});
  Reading reading = Read(before + Command({"MULTI"}) + Command({"SET", "k", "w"}));
  EXPECT_EQ(reading.safe_offset, before.size());
  EXPECT_FALSE(reading.at_boundary);
  EXPECT_EQ(reading.commands.size(), 3u);
}

TEST(AofReader, ReportsWhatIsWrongAndWhere) {
  std::string before = Command({"SET", "k", "v"});
  struct Case {
    std::string_view text;
    uint64_t offset;
  };
  for (const Case& c :
       {Case{"SET k v\r\n", 0}, Case{"*x\r\n", 1}, Case{"*0\r\n", 0}, Case{"*-1\r\n", 1}, Case{"*1\r\n+OK\r\n", 4},
        Case{"*1\r\n$1\r\nab\r\n", 9}, Case{"*1\r\n$1\r\na\rb", 10}, Case{"*1\n$1\na\n", 2},
        Case{"*99999999999999999999999999\r\n", 0}, Case{"*4294967296\r\n", 0}, Case{"*1\r\n$999999999999\r\n", 4},
        Case{"*1\r\n$\r\n", 5}, Case{std::string_view("\0", 1), 0}}) {
    for (size_t piece : {1, 3, 1000}) {
      Reading reading = Read(before + std::string(c.text), piece);
      EXPECT_EQ(reading.end, AofRead::kError) << c.text;
      EXPECT_EQ(reading.error_offset, before.size() + c.offset) << c.text << reading.error;
      EXPECT_EQ(reading.safe_offset, before.size());
      EXPECT_FALSE(reading.error.empty());
    }
  }
}

TEST(AofReader, LimitsAnnotations) {
  EXPECT_EQ(Read("#" + std::string(60000, 'x') + "\r\n", 7).end, AofRead::kNeedMore);
  EXPECT_EQ(Read("#" + std::string(100000, 'x'), 1000).end, AofRead::kError);
}

TEST(AofReader, SurvivesMutation) {
  std::string log = SampleLog();
  std::mt19937 random(9);
  for (int round = 0; round < 20000; ++round) {
    std::string broken = log;
    for (unsigned i = 0; i <= random() % 3; ++i) {
      size_t at = random() % broken.size();
      switch (random() % 3) {
        case 0:
          broken[at] = "*$#0123456789\r\n"[random() % 15];
          break;
        case 1:
          broken.erase(at, random() % 5);
          break;
        default:
          broken.insert(at, 1, static_cast<char>(random()));
      }
    }
    Reading reading = Read(broken, 1 + random() % 50);
    EXPECT_LE(reading.safe_offset, broken.size());
    EXPECT_EQ(reading.end == AofRead::kError, !reading.error.empty());
  }
}

TEST(AofReader, ReadsALargeArgumentInSmallPiecesInLinearTime) {
  std::string log = Command({"SET", "k", std::string(64 << 20, 'x')}) + Command({"PING"});
  AofReader reader;
  std::vector<size_t> sizes;
  for (size_t at = 0; at < log.size(); at += 4096) {
    reader.Feed(std::string_view(log).substr(at, 4096));
    while (reader.Next() == AofRead::kCommand) sizes.push_back(reader.argv().back().size());
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{64 << 20, 4}));
}

TEST(AofCommandWriter, WritesASnapshotAsCommands) {
  std::string out;
  AofCommandWriter writer(&out);
  writer.Database(2, 2, 1);
  writer.String({.key = "a"}, "1");
  writer.String({.key = "b", .expiry_ms = 99}, "x y");
  EXPECT_EQ(out, Command({"SELECT", "2"}) + Command({"SET", "a", "1"}) + Command({"SET", "b", "x y"}) +
                     Command({"PEXPIREAT", "b", "99"}));
  EXPECT_EQ(Command({"SET", "a", ""}), "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n");
}

}  // namespace
}  // namespace tessera::persistence
