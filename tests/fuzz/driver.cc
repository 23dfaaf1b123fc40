// TARGET [--seed N] [--rounds N | --seconds N] [FILE ...]: runs the files through the target, or else mutated inputs, so many or
// for so long. An input that brings the target down is kept as a file in the temporary directory, to be given as FILE.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <utility>

#include "tests/fuzz/fuzz.h"

// Of the sanitizers' runtime, where there is one.
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace {

const std::string* running = nullptr;

// Called from the midst of a crash: system calls only.
void KeepInput() {
  const std::string* input = std::exchange(running, nullptr);
  if (input == nullptr) return;
  char path[] = "/tmp/fuzz-input-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) return;
  if (write(file, input->data(), input->size()) >= 0) dprintf(STDERR_FILENO, "the input is kept in %s\n", path);
  close(file);
}

void OnAbort(int) {
  KeepInput();
  signal(SIGABRT, SIG_DFL);
  raise(SIGABRT);
}

void Run(const std::string& input) {
  running = &input;
  // A block of exactly the input's size, so that a sanitizer sees every read past it.
  std::unique_ptr<uint8_t[]> block(new uint8_t[input.size()]);
  std::memcpy(block.get(), input.data(), input.size());
  LLVMFuzzerTestOneInput(block.get(), input.size());
  running = nullptr;
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
  using Clock = std::chrono::steady_clock;
  signal(SIGABRT, OnAbort);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(KeepInput);
  uint64_t seed = 1, rounds = 100000;
  Clock::time_point end = Clock::time_point::max();
  int files = 0;
  for (int i = 1; i < argc; ++i) {
    if (!std::strcmp(argv[i], "--seed") && i + 1 < argc) {
      seed = std::strtoull(argv[++i], nullptr, 10);
    } else if (!std::strcmp(argv[i], "--rounds") && i + 1 < argc) {
      rounds = std::strtoull(argv[++i], nullptr, 10);
    } else if (!std::strcmp(argv[i], "--seconds") && i + 1 < argc) {
      rounds = UINT64_MAX;
      end = Clock::now() + std::chrono::seconds(std::strtoull(argv[++i], nullptr, 10));
    } else {
      std::ifstream in(argv[i], std::ios::binary);
      Run(std::string(std::istreambuf_iterator<char>(in), {}));
      ++files;
    }
  }
  if (files > 0) return 0;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  std::mt19937_64 random(seed);
  std::vector<std::string> corpus = FuzzCorpus();
  for (const std::string& input : corpus) Run(input);
  uint64_t done = 0;
  for (; done < rounds && Clock::now() < end; ++done) Run(Mutate(corpus[random() % corpus.size()], corpus, random));
  std::printf("%llu rounds\n", static_cast<unsigned long long>(done));
  return 0;
}
