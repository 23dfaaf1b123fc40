// RESTORE payloads of every type, signed correctly: what is read survives being dumped again.
#include <cstdlib>

#include "persistence/dump.h"
#include "tests/fuzz/fuzz.h"
#include "tests/persistence/crafted_values.h"
#include "tests/persistence/value_model.h"

using namespace tessera::persistence;

std::vector<std::string> FuzzCorpus() {
  std::vector<std::string> corpus;
  for (const CraftedValue& value : CraftedValues()) corpus.push_back(static_cast<char>(value.type) + value.body);
  for (const auto& [key, value] : SampleValues()) {
    std::string payload;
    DumpWriter writer(&payload, corpus.size() % 2 == 0);
    Walk(value, key, writer);
    writer.Finish();
    corpus.push_back(payload.substr(0, payload.size() - 10));
  }
  return corpus;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string payload = SignedPayload(std::string(reinterpret_cast<const char*>(data), size), 12);
  ModelBuilder values;
  DumpResult result = ReadDump(payload, {.key = "k"}, values, 1 << 20);
  if ((result.read == DumpRead::kOk) != result.reason.empty()) std::abort();
  if (result.read != DumpRead::kOk) return 0;
  if (values.values != 1 || values.in_value()) std::abort();

  std::string again;
  DumpWriter writer(&again, true);
  Walk(values.last, "k", writer);
  writer.Finish();
  ModelBuilder copy;
  if (ReadDump(again, {.key = "k"}, copy).read != DumpRead::kOk) std::abort();
  for (ModelGroup& group : values.last.groups) {
    for (ModelConsumer& consumer : group.consumers) consumer.active_ms = consumer.seen_ms;
  }
  if (!(copy.last == values.last)) std::abort();
  return 0;
}
