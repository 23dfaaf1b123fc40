#include "persistence/aof_manifest.h"

#include <gtest/gtest.h>

#include <random>

namespace tessera::persistence {
namespace {

AofManifest Sample() {
  return {.base = AofPart{"appendonly.aof.2.base.rdb", 2},
          .history = {{"appendonly.aof.1.base.rdb", 1}, {"appendonly.aof.1.incr.aof", 1}},
          .increments = {{"appendonly.aof.2.incr.aof", 2}, {"appendonly.aof.3.incr.aof", 3}}};
}

constexpr std::string_view kSampleText =
    "file appendonly.aof.2.base.rdb seq 2 type b\n"
    "file appendonly.aof.1.base.rdb seq 1 type h\n"
    "file appendonly.aof.1.incr.aof seq 1 type h\n"
    "file appendonly.aof.2.incr.aof seq 2 type i\n"
    "file appendonly.aof.3.incr.aof seq 3 type i\n";

std::string ErrorOf(std::string_view text) {
  Result<AofManifest> manifest = ParseAofManifest(text);
  return manifest.ok() ? "" : manifest.status().text();
}

std::string WithoutChecksum(const std::string& text) { return text.substr(0, text.find('#')); }

TEST(AofManifest, WritesTheLinesThatRedisWrites) { EXPECT_EQ(WithoutChecksum(Sample().Format()), kSampleText); }

TEST(AofManifest, EndsWithAChecksumThatCommentsHide) {
  AofManifest manifest = Sample();
  manifest.base->bytes_min = 1234;
  const std::string text = manifest.Format();
  EXPECT_TRUE(text.starts_with("file appendonly.aof.2.base.rdb seq 2 type b bytes 1234\n"));
  const Result<AofManifest> back = ParseAofManifest(text);
  ASSERT_TRUE(back.ok()) << back.status().text();
  EXPECT_TRUE(back->has_checksum);
  EXPECT_EQ(*back, manifest);
  std::string edited = text;
  edited.replace(edited.find("type i"), 6, "type h");
  EXPECT_NE(ErrorOf(edited).find("line 6"), std::string::npos) << ErrorOf(edited);
  EXPECT_NE(ErrorOf(text + "file a seq 9 type i\n").find("line 7"), std::string::npos);
  EXPECT_FALSE(ParseAofManifest(WithoutChecksum(edited))->has_checksum);
}

TEST(AofManifest, ReadsWhatItWrote) {
  Result<AofManifest> manifest = ParseAofManifest(kSampleText);
  ASSERT_TRUE(manifest.ok()) << manifest.status().text();
  EXPECT_EQ(*manifest, Sample());
}

TEST(AofManifest, QuotesUnusualNames) {
  AofManifest manifest;
  manifest.increments = {{"my \"log\" \xff.incr.aof", 7}};
  EXPECT_EQ(WithoutChecksum(manifest.Format()), "file \"my \\\"log\\\" \\xff.incr.aof\" seq 7 type i\n");
  Result<AofManifest> back = ParseAofManifest(manifest.Format());
  ASSERT_TRUE(back.ok()) << back.status().text();
  EXPECT_EQ(*back, manifest);
  EXPECT_EQ(ParseAofManifest("file 'it''s' seq 1 type i\n").ok(), false);
  EXPECT_EQ(ParseAofManifest("file 'it\\'s' seq 1 type i\n")->increments[0].name, "it's");
}

TEST(AofManifest, SkipsCommentsAndIgnoresOtherFields) {
  Result<AofManifest> manifest =
      ParseAofManifest("# made by hand\n  SEQ 4 startoffset 17 File a.incr Type i endoffset 9\r\n");
  ASSERT_TRUE(manifest.ok()) << manifest.status().text();
  EXPECT_EQ(manifest->increments, (std::vector<AofPart>{{"a.incr", 4}}));
}

TEST(AofManifest, NamesTheLineOfAMistake) {
  EXPECT_NE(ErrorOf("file a seq 1 type b\nfile b seq 1 type b\n").find("line 2"), std::string::npos);
  EXPECT_NE(ErrorOf("file a seq 2 type i\nfile b seq 2 type i\n").find("line 2"), std::string::npos);
  for (std::string_view text :
       {"", "\n", "file a seq 1 type b", "file a seq 1 type x\n", "file a seq 0 type i\n", "file a seq 1x type i\n",
        "file a seq 1\n", "file a/b seq 1 type i\n", "file .. seq 1 type i\n", "file \"a seq 1 type i\n",
        "file a seq 1 type i extra\n", "file a file b file c\n", "file a seq 99999999999999999999 type i\n"}) {
    EXPECT_NE(ErrorOf(text), "") << text;
  }
}

TEST(AofManifest, SurvivesMutation) {
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    std::string text(kSampleText);
    for (unsigned i = 0; i <= random() % 4; ++i) text[random() % text.size()] = static_cast<char>(random());
    text.resize(random() % (text.size() + 1));
    Result<AofManifest> manifest = ParseAofManifest(text);
    if (!manifest.ok() || text.empty()) continue;
    // What is accepted means the same after it was written again; nothing but comments cannot be written.
    std::string again = manifest->Format();
    if (again.empty()) continue;
    Result<AofManifest> back = ParseAofManifest(again);
    ASSERT_TRUE(back.ok()) << text;
    EXPECT_EQ(*back, *manifest);
  }
}

}  // namespace
}  // namespace tessera::persistence
