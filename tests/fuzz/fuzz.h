// What a fuzz target gives to its driver: libFuzzer's entry, and inputs to start from. With Clang, link a target with
// -fsanitize=fuzzer; with GCC, with driver.cc, which mutates the inputs from a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
std::vector<std::string> FuzzCorpus();
