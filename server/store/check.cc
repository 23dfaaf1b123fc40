#include "server/store/check.h"

#include <cstdio>
#include <cstdlib>

namespace tessera::store {

void CheckFailed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace tessera::store
