// TARGET [--seed N] [--rounds N] [FILE ...]: runs the files through the target, or else N mutated inputs.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>

#include "tests/fuzz/fuzz.h"

namespace {

void Run(const std::string& input) {
  // A block of exactly the input's size, so that a sanitizer sees every read past it.
  std::unique_ptr<uint8_t[]> block(new uint8_t[input.size()]);
  std::memcpy(block.get(), input.data(), input.size());
  LLVMFuzzerTestOneInput(block.get(), input.size());
}

std::string Mutate(std::string s, const std::vector<std::string>& corpus, std::mt19937_64& random) {
  auto below = [&](size_t n) { return static_cast<size_t>(random() % (n ? n : 1)); };
  for (size_t changes = 1 + below(6); changes > 0; --changes) {
    size_t at = below(s.size());
    switch (below(6)) {
      case 0:
        if (!s.empty()) s[at] = static_cast<char>(random());
        break;
      case 1:
        if (!s.empty()) s[at] = static_cast<char>(s[at] ^ (1 << below(8)));
        break;
      case 2:
        s.resize(at);
        break;
      case 3:
        s.insert(at, below(64), static_cast<char>(random()));
        break;
      case 4:
        s.erase(at, below(64));
        break;
      case 5: {
        const std::string& other = corpus[below(corpus.size())];
        size_t from = below(other.size());
        s.insert(at, other, from, below(128));
        break;
      }
    }
  }
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seed = 1, rounds = 100000;
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--seed") && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (!std::strcmp(argv[i], "--rounds") && i + 1 < argc) {
      rounds = std::strtoull(argv[++i], nullptr, 10);
    } else {
      std::ifstream in(argv[i], std::ios::binary);
      Run(std::string(std::istreambuf_iterator<char>(in), {}));
      ++files;
    }
  }
  if (files > 0) return 0;
  std::printf("seed %llu, %llu rounds\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(rounds));
  std::mt19937_64 random(seed);
  std::vector<std::string> corpus = FuzzCorpus();
  for (const std::string& input : corpus) Run(input);
  for (uint64_t r = 0; r < rounds; ++r) Run(Mutate(corpus[random() % corpus.size()], corpus, random));
  return 0;
}
