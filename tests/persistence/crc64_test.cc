#include "persistence/crc64.h"

#include <gtest/gtest.h>

#include <string>

namespace tessera::persistence {
namespace {

TEST(Crc64, HasTheCheckValueOfJones) { EXPECT_EQ(Crc64(0, "123456789"), 0xe9c6d914c4b8d9cau); }

TEST(Crc64, IsTheSameForEverySplit) {
  std::string bytes;
  for (int i = 0; i < 100; ++i) bytes += static_cast<char>(i * 37);
  uint64_t whole = Crc64(0, bytes);
  for (size_t split = 0; split <= bytes.size(); ++split) {
    EXPECT_EQ(Crc64(Crc64(0, std::string_view(bytes).substr(0, split)), std::string_view(bytes).substr(split)), whole);
  }
}

}  // namespace
}  // namespace tessera::persistence
