// The walk of a stream: its entries, then its groups with what is pending and with their consumers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/store/stream_object.h"
#include "server/values/value_walk.h"

namespace tessera {

class StreamWalk final : public ValueWalk {
 public:
  StreamWalk(const store::Stream& stream, const persistence::EntryHeader& header);
  bool Step(persistence::SnapshotVisitor& visitor, size_t parts) override;

 private:
  enum class Stage : uint8_t { kBegin, kEntries, kGroup, kPending, kConsumer, kConsumerPending };
  // Tells the next part; false behind the last.
  bool TellNext(persistence::SnapshotVisitor& visitor);
  void TellEntry(persistence::SnapshotVisitor& visitor);

  const store::Stream& stream_;
  const persistence::EntryHeader header_;
  Stage stage_ = Stage::kBegin;
  store::Stream::Reader entries_;
  size_t group_ = 0, consumer_ = 0;
  store::ElementTree::Cursor at_;
  // Of an entry: names and values, and the text of those that are kept as numbers.
  std::vector<std::string_view> words_;
  std::vector<store::IntScratch> numbers_;
};

}  // namespace tessera
