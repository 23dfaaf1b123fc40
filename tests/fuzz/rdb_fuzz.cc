// RDB files of every type: read whole and in pieces they mean the same, and what was read survives being written.
#include <cstdlib>

#include "persistence/aof_writer.h"
#include "persistence/rdb_reader.h"
#include "persistence/rdb_writer.h"
#include "tests/fuzz/fuzz.h"
#include "tests/persistence/crafted_values.h"
#include "tests/persistence/value_model.h"

using namespace tessera::persistence;

namespace {

RdbRead Read(std::string_view bytes, size_t piece, ModelBuilder* values) {
  RdbReader reader({.verify_checksum = false, .string_bytes_max = 1 << 20});
  while (true) {
    RdbRead read = reader.Next(values);
    if (read == RdbRead::kRecord) {
      const RdbRecord& record = reader.record();
      if (record.kind == RdbRecord::Kind::kSelectDb) values->Select(record.database);
      if (record.kind == RdbRecord::Kind::kString) values->PutString(record.entry, record.value);
      if (record.kind == RdbRecord::Kind::kValue && record.entry.key != values->last_key) std::abort();
    } else if (read == RdbRead::kNeedMore && !bytes.empty()) {
      reader.Feed(bytes.substr(0, piece));
      bytes.remove_prefix(std::min(piece, bytes.size()));
    } else {
      if (read == RdbRead::kError && reader.error().reason.empty()) std::abort();
      return read;
    }
  }
}

// As a stream of type 19 holds it.
void ForgetActiveTimes(std::map<uint32_t, ModelDatabase>* databases) {
  for (auto& [index, database] : *databases) {
    for (auto& [key, value] : database) {
      for (ModelGroup& group : value.groups) {
        for (ModelConsumer& consumer : group.consumers) consumer.active_ms = consumer.seen_ms;
      }
    }
  }
}

}  // namespace

std::vector<std::string> FuzzCorpus() {
  std::vector<std::string> corpus;
  for (const CraftedValue& value : CraftedValues()) {
    corpus.push_back(std::string("REDIS0012\xfe\x00", 11) + static_cast<char>(value.type) + RdbText("key") +
                     value.body + "\xff" + std::string(8, '\0'));
  }
  std::string image;
  RdbWriter writer(&image, {});
  writer.Header({});
  Walk({{0, SampleValues()}, {3, SampleValues()}}, writer);
  writer.End();
  corpus.push_back(image);
  return corpus;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  ModelBuilder whole, pieces;
  RdbRead end = Read(bytes, std::string_view::npos, &whole);
  if (Read(bytes, 1 + size % 37, &pieces) != end) std::abort();
  if (!(whole.databases == pieces.databases)) std::abort();

  std::string image, commands;
  RdbWriter writer(&image, {});
  AofCommandWriter command_writer(&commands);
  writer.Header({});
  Walk(whole.databases, writer);
  Walk(whole.databases, command_writer);
  writer.End();
  ModelBuilder again;
  if (Read(image, std::string_view::npos, &again) != RdbRead::kEnd) std::abort();
  std::erase_if(whole.databases, [](const auto& database) { return database.second.empty(); });
  ForgetActiveTimes(&whole.databases);
  if (!(again.databases == whole.databases)) std::abort();
  return 0;
}
