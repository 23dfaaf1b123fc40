#include "persistence/lzf.h"

#include <liblzf/lzf.h>

#include <limits>

namespace tessera::persistence {
namespace {

constexpr size_t kLengthMax = std::numeric_limits<unsigned int>::max();

}  // namespace

size_t LzfCompress(std::string_view bytes, std::string* out) {
  if (bytes.size() <= 4 || bytes.size() > kLengthMax) return 0;
  size_t before = out->size();
  size_t room = bytes.size() - 4;
  out->resize(before + room);
  unsigned int length = lzf_compress(bytes.data(), static_cast<unsigned int>(bytes.size()), out->data() + before,
                                     static_cast<unsigned int>(room));
  out->resize(before + length);
  return length;
}

bool LzfDecompress(std::string_view compressed, size_t length, std::string* out) {
  if (length == 0 || compressed.size() > kLengthMax || length > kLengthMax) return false;
  if (length / kLzfExpansionMax > compressed.size()) return false;
  out->resize(length);
  return lzf_decompress(compressed.data(), static_cast<unsigned int>(compressed.size()), out->data(),
                        static_cast<unsigned int>(length)) == length;
}

}  // namespace tessera::persistence
