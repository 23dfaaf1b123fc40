#include "persistence/lzf.h"

#include <gtest/gtest.h>

#include <random>

namespace tessera::persistence {
namespace {

TEST(Lzf, GivesBackWhatItCompressed) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "number " + std::to_string(i % 17);
  std::string compressed = "kept";
  size_t length = LzfCompress(text, &compressed);
  ASSERT_GT(length, 0u);
  ASSERT_EQ(compressed.size(), length + 4);
  std::string back;
  ASSERT_TRUE(LzfDecompress(std::string_view(compressed).substr(4), text.size(), &back));
  EXPECT_EQ(back, text);
}

TEST(Lzf, DeclinesWhatDoesNotShrink) {
  std::string out = "kept";
  EXPECT_EQ(LzfCompress("abcdefghijklmnopqrstuvwxyz", &out), 0u);
  EXPECT_EQ(LzfCompress("", &out), 0u);
  EXPECT_EQ(out, "kept");
}

TEST(Lzf, RefusesAnImpossibleLengthBeforeTakingMemory) {
  std::string out;
  EXPECT_FALSE(LzfDecompress("abc", size_t{4} << 40, &out));
  EXPECT_FALSE(LzfDecompress("abc", 1 << 20, &out));
  EXPECT_EQ(out.capacity(), std::string().capacity());
}

TEST(Lzf, SurvivesBrokenInput) {
  std::string compressed;
  LzfCompress(std::string(1000, 'a') + "bcd" + std::string(1000, 'e'), &compressed);
  std::mt19937 random(1);
  for (int round = 0; round < 5000; ++round) {
    std::string broken = compressed.substr(0, 1 + random() % compressed.size());
    broken[random() % broken.size()] = static_cast<char>(random());
    std::string out;
    LzfDecompress(broken, 1 + random() % 3000, &out);
  }
}

}  // namespace
}  // namespace tessera::persistence
