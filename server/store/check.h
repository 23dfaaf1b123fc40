// Assertions for our own bugs; on in every build.
#pragma once

namespace tessera::store {

[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace tessera::store

#define STORE_CHECK(condition) \
  (__builtin_expect(!!(condition), 1) ? (void)0 : ::tessera::store::CheckFailed(#condition, __FILE__, __LINE__))
