#include <fmt/core.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "server/commands/streams.h"

namespace tessera {
namespace {

using store::Stream;
using store::StreamGroup;
using store::StreamId;

// As Redis reads the halves of an id: canonical numbers, and beyond them whatever strtoull makes of the text.
bool ParseHalf(const char* text, uint64_t& value) {
  if (const auto parsed = protocol::ParseInt64(text)) {
    value = static_cast<uint64_t>(*parsed);
    return *parsed >= 0;
  }
  if (*text == '\0') return false;
  errno = 0;
  char* end;
  value = strtoull(text, &end, 10);
  return errno == 0 && *end == '\0';
}

bool ReadInterval(CommandContext& ctx, std::string_view text, uint64_t missing_sequence, StreamId& id, bool& exclusive) {
  exclusive = text.size() > 1 && text[0] == '(';
  const bool ok = exclusive ? ParseStreamId(text.substr(1), missing_sequence, StreamIdForm::kExact, id)
                            : ParseStreamId(text, missing_sequence, StreamIdForm::kOrEnds, id);
  if (!ok) ctx.reply.Error(kInvalidStreamId);
  return ok;
}

}  // namespace

bool ParseStreamId(std::string_view text, uint64_t missing_sequence, StreamIdForm form, StreamId& id,
                   bool* any_sequence) {
  char buffer[128];
  if (text.size() > sizeof(buffer) - 1) return false;
  if (form == StreamIdForm::kOrEnds && text == "-") return id = {}, true;
  if (form == StreamIdForm::kOrEnds && text == "+") return id = store::kStreamIdMax, true;
  memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = '\0';
  char* const dash = strchr(buffer, '-');
  if (dash != nullptr) *dash = '\0';
  if (!ParseHalf(buffer, id.ms)) return false;
  if (dash == nullptr) {
    id.sequence = missing_sequence;
  } else if (any_sequence != nullptr && strcmp(dash + 1, "*") == 0) {
    id.sequence = 0;
    *any_sequence = true;
  } else {
    return ParseHalf(dash + 1, id.sequence);
  }
  return true;
}

bool ReadStreamId(CommandContext& ctx, std::string_view text, StreamId& id) {
  if (ParseStreamId(text, 0, StreamIdForm::kExact, id)) return true;
  ctx.reply.Error(kInvalidStreamId);
  return false;
}

bool ReadIntervalStart(CommandContext& ctx, std::string_view text, StreamId& id) {
  bool exclusive;
  if (!ReadInterval(ctx, text, 0, id, exclusive)) return false;
  if (!exclusive || id.Increment()) return true;
  ctx.reply.Error("ERR invalid start ID for the interval");
  return false;
}

bool ReadIntervalEnd(CommandContext& ctx, std::string_view text, StreamId& id) {
  bool exclusive;
  if (!ReadInterval(ctx, text, StreamId::kMost, id, exclusive)) return false;
  if (!exclusive || id.Decrement()) return true;
  ctx.reply.Error("ERR invalid end ID for the interval");
  return false;
}

void ReplyStreamEntry(CommandContext& ctx, const Stream::Reader& reader) {
  ctx.reply.Array(2);
  ReplyStreamId(ctx, reader.id());
  ctx.reply.Array(static_cast<int64_t>(2 * reader.field_count()));
  reader.ForEachField([&ctx](const store::Unpacked& name, const store::Unpacked& value) {
    store::IntScratch scratch;
    ctx.reply.Bulk(name.Text(scratch));
    ctx.reply.Bulk(value.Text(scratch));
  });
}

bool ReplyStreamEntry(CommandContext& ctx, const Stream& stream, StreamId id) {
  Stream::Reader reader(stream, id, id);
  if (!reader.Next()) return false;
  ReplyStreamEntry(ctx, reader);
  return true;
}

const StreamGroup* RequireGroup(CommandContext& ctx, const Stream* stream, std::string_view key, std::string_view group,
                                std::string_view suffix) {
  const StreamGroup* found = stream != nullptr ? stream->FindGroup(group) : nullptr;
  if (found == nullptr)
    ctx.reply.Error(fmt::format("NOGROUP No such key '{}' or consumer group '{}'{}", UpToNul(key), UpToNul(group), suffix));
  return found;
}

void PropagateDelivery(CommandContext& ctx, std::string_view key, const StreamGroup& group, std::string_view id_text,
                       const store::PendingEntry& entry) {
  ctx.Propagate({"XCLAIM", key, group.name(), group.ConsumerAt(entry.consumer).name(), "0", id_text, "TIME",
                 NumberText(entry.delivered_ms), "RETRYCOUNT", NumberText(static_cast<int64_t>(entry.deliveries)),
                 "FORCE", "JUSTID", "LASTID", StreamIdText(group.last_id)});
}

void PropagateGroupPosition(CommandContext& ctx, std::string_view key, const StreamGroup& group) {
  ctx.Propagate({"XGROUP", "SETID", key, group.name(), StreamIdText(group.last_id), "ENTRIESREAD",
                 NumberText(group.entries_read)});
}

}  // namespace tessera
