#include "server/durability/loader.h"

#include <fmt/core.h>

#include "protocol/number.h"
#include "server/clock.h"
#include "server/dispatcher.h"
#include "server/log.h"
#include "server/store/keyspace.h"

namespace tessera {
namespace {

constexpr int64_t kSliceUs = 5000;
constexpr int kRecordsPerClockReading = 128;

}  // namespace

bool ApplyRdbEntry(store::Keyspace& keyspace, const persistence::RdbRecord& record, ValueBuilder& values, int64_t now_ms,
                   bool drop_expired, bool* expired, std::string* error) {
  *expired = false;
  const bool is_string = record.kind == persistence::RdbRecord::Kind::kString;
  BuiltValue value;
  if (!is_string) value = values.Take();
  if (!value.error.empty()) {
    *error = std::move(value.error);
    return false;
  }
  if (record.database >= static_cast<uint32_t>(keyspace.database_count())) {
    *error = fmt::format("key of database {}, but there are only {}: raise 'databases'", record.database,
                         keyspace.database_count());
    return false;
  }
  if (drop_expired && record.entry.expiry_ms != persistence::kNoExpiry && record.entry.expiry_ms <= now_ms) {
    *expired = true;
    if (value.object != nullptr) keyspace.Discard(std::move(value.object));
    return true;
  }
  store::Database& db = keyspace.db(static_cast<int>(record.database));
  const store::Expiry expiry = record.entry.expiry_ms == persistence::kNoExpiry
                                   ? store::Expiry::None()
                                   : store::Expiry::AtMs(record.entry.expiry_ms);
  if (is_string ? !db.SetString(record.entry.key, record.value, expiry)
                : !value.Store(db, record.entry.key, expiry)) {
    *error = "out of memory";
    return false;
  }
  if (record.entry.idle_seconds) db.SetIdleSeconds(record.entry.key, *record.entry.idle_seconds);
  if (record.entry.frequency) db.SetFrequency(record.entry.key, *record.entry.frequency);
  return true;
}

DatasetApplier::DatasetApplier(persistence::FileSystem& files, persistence::RecoveryPlan plan,
                               const persistence::RecoveryOptions& options, Services& services)
    : loader_(files, std::move(plan), options),
      services_(services),
      session_(0, SessionKind::kLoader),
      values_(services.config, services.keyspace.object_seed()) {}

bool DatasetApplier::ApplyRecord(const persistence::RdbRecord& record, int64_t now_ms) {
  using Kind = persistence::RdbRecord::Kind;
  switch (record.kind) {
    case Kind::kString:
    case Kind::kValue: {
      // An AOF base is part of a history: its keys expire by the commands that follow or after loading.
      const bool drop = loader_.file().kind == persistence::RecoveryFile::Kind::kRdb;
      bool expired;
      if (!ApplyRdbEntry(services_.keyspace, record, values_, now_ms, drop, &expired, &error_)) return false;
      ++(expired ? keys_expired_ : keys_loaded_);
      return true;
    }
    case Kind::kAux:
      if (record.name == "repl-id") replication_id_ = record.value;
      if (record.name == "repl-stream-db")
        stream_database_ = static_cast<int>(protocol::ParseInt64(record.value).value_or(0));
      if (record.name == "repl-offset") replication_offset_ = protocol::ParseInt64(record.value).value_or(0);
      return true;
    case Kind::kFunction:
      log::Notice("{}: a function library is kept; it cannot be called here", loader_.file().path);
      services_.keyspace.AddFunctionLibrary(record.value);
      return true;
    case Kind::kModuleAux:
      log::Warning("{}: data of the module {} is skipped", loader_.file().path, record.name);
      return true;
    case Kind::kNoValue:
      log::Warning("{}: a key without a value is skipped", loader_.file().path);
      return true;
    case Kind::kValuePart:
      error_ = values_.error();
      return error_.empty();
    case Kind::kSelectDb:
    case Kind::kResizeDb:
      return true;
  }
  return true;
}

bool DatasetApplier::Step(int64_t now_ms) {
  const int64_t until = MonotonicUs() + kSliceUs;
  services_.keyspace.SetNow(now_ms);
  for (int i = 0; i % kRecordsPerClockReading != 0 || MonotonicUs() < until; ++i) {
    switch (loader_.Next(&values_)) {
      case persistence::Loaded::kRdbRecord:
        if (!ApplyRecord(loader_.rdb_record(), now_ms)) {
          loader_.RefuseValue(std::move(error_));
          error_ = loader_.error().text();
          return false;
        }
        break;
      case persistence::Loaded::kCommand:
        if (std::string refused = services_.dispatcher.Replay(session_, loader_.argv(), now_ms);
            !refused.empty() && refused.starts_with("ERR unknown")) {
          error_ = fmt::format("{}: at byte {}: a command this server does not know ({}); load the file with the server that "
                               "wrote it, or cut it there",
                               loader_.file().path, loader_.command_offset(), refused);
          return false;
        } else if (!refused.empty() && failed_commands_++ == 0) {
          log::Warning("{}: at byte {}: a command fails ({}): the data may differ from what was saved. Further ones are only "
                       "counted.",
                       loader_.file().path, loader_.command_offset(), refused);
        }
        break;
      case persistence::Loaded::kNote:
        log::Warning("{}", loader_.note());
        break;
      case persistence::Loaded::kFileDone:
        session_.db = 0;  // each file selects its databases afresh
        break;
      case persistence::Loaded::kDone:
        if (failed_commands_ > 1) log::Warning("{} commands failed while loading", failed_commands_);
        return false;
      case persistence::Loaded::kError:
        error_ = loader_.error().text();
        return false;
    }
  }
  if (total_bytes() > 0) {
    const int tenths = static_cast<int>(loaded_bytes() * 10 / total_bytes());
    if (tenths > progress_shown_ && total_bytes() > (256u << 20)) {
      progress_shown_ = tenths;
      log::Notice("Loading: {}0 % of {} bytes", tenths, total_bytes());
    }
  }
  return true;
}

}  // namespace tessera
