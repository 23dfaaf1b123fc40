#include "server/values/stream_walk.h"

namespace tessera {

using persistence::SnapshotVisitor;
using store::StreamGroup;

namespace {

persistence::StreamId Outside(store::StreamId id) { return {.ms = id.ms, .sequence = id.sequence}; }

}  // namespace

StreamWalk::StreamWalk(const store::Stream& stream, const persistence::EntryHeader& header)
    : stream_(stream),
      header_(header),
      entries_(stream, {}, store::kStreamIdMax),
      at_(store::ElementTree::Cursor::None()) {}

bool StreamWalk::Step(SnapshotVisitor& visitor, size_t parts) {
  for (; parts > 0; --parts) {
    if (TellNext(visitor)) continue;
    visitor.EndValue();
    return false;
  }
  return true;
}

void StreamWalk::TellEntry(SnapshotVisitor& visitor) {
  words_.clear();
  numbers_.resize(entries_.field_count());  // names are always text
  auto number = numbers_.begin();
  entries_.ForEachField([&](const store::Unpacked& name, const store::Unpacked& value) {
    words_.push_back(name.text);
    words_.push_back(value.Text(*number++));
  });
  visitor.Entry(Outside(entries_.id()), words_);
}

bool StreamWalk::TellNext(SnapshotVisitor& visitor) {
  switch (stage_) {
    case Stage::kBegin:
      visitor.BeginStream(header_, {.length = stream_.size(),
                                    .last_id = Outside(stream_.last_id()),
                                    .first_id = Outside(stream_.first_id()),
                                    .max_deleted_id = Outside(stream_.max_deleted_id()),
                                    .entries_added = stream_.entries_added(),
                                    .group_count = stream_.groups().size()});
      stage_ = Stage::kEntries;
      return true;
    case Stage::kEntries:
      if (entries_.Next()) {
        TellEntry(visitor);
        return true;
      }
      stage_ = Stage::kGroup;
      [[fallthrough]];
    case Stage::kGroup: {
      if (group_ == stream_.groups().size()) return false;
      const StreamGroup& group = *stream_.groups()[group_];
      visitor.Group({.name = group.name(),
                     .last_id = Outside(group.last_id),
                     .entries_read = group.entries_read,
                     .pending_count = group.pending_count(),
                     .consumer_count = group.consumer_count()});
      stage_ = Stage::kPending;
      at_ = group.pending().Begin();
      return true;
    }
    case Stage::kPending:
      if (at_.valid()) {
        const store::PendingEntry entry = StreamGroup::Read(at_.element());
        visitor.Pending(
            {.id = Outside(entry.id), .delivered_ms = entry.delivered_ms, .delivery_count = entry.deliveries});
        at_.Next();
        return true;
      }
      stage_ = Stage::kConsumer;
      consumer_ = 0;
      [[fallthrough]];
    case Stage::kConsumer: {
      const auto& consumers = stream_.groups()[group_]->consumers();
      if (consumer_ == consumers.size()) {
        ++group_;
        stage_ = Stage::kGroup;
        return TellNext(visitor);
      }
      const store::StreamConsumer& consumer = *consumers[consumer_];
      visitor.Consumer({.name = consumer.name(),
                        .seen_ms = consumer.seen_ms,
                        .active_ms = consumer.active_ms,
                        .pending_count = consumer.pending_count()});
      stage_ = Stage::kConsumerPending;
      at_ = consumer.pending().Begin();
      return true;
    }
    case Stage::kConsumerPending:
      if (at_.valid()) {
        visitor.ConsumerPending(Outside(StreamGroup::IdOf(at_.element())));
        at_.Next();
        return true;
      }
      ++consumer_;
      stage_ = Stage::kConsumer;
      return TellNext(visitor);
  }
  return false;
}

}  // namespace tessera
