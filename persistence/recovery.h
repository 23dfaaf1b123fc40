// From a data directory to the records in it: which files to load in which order, and a loader that reads them piece by
// piece. The server applies the records and decides when to pause (serving LOADING errors in between).
//
//   auto plan = PlanRecovery(file_system, options);
//   DatasetLoader loader(file_system, *plan, options);
//   while (true) switch (loader.Next()) {
//     case Loaded::kRdbRecord: Apply(loader.rdb_record()); continue;
//     case Loaded::kCommand: Apply(loader.argv()); continue;  // MULTI and EXEC only around a complete transaction
//     case Loaded::kNote: Log(loader.note()); continue;       // the user should see it: a torn end was cut off
//     case Loaded::kFileDone: SelectDatabase(0); continue;    // every file starts in database 0
//     case Loaded::kDone: case Loaded::kError: ...
//   }
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/aof_log.h"
#include "persistence/aof_reader.h"
#include "persistence/file_system.h"
#include "persistence/rdb_reader.h"

namespace tessera::persistence {

struct RecoveryOptions {
  AofPaths aof;
  std::string rdb_file_name = "dump.rdb";  // dbfilename
  bool append_only = false;                // appendonly: load the AOF and not the RDB file
  bool load_truncated = true;              // aof-load-truncated
  RdbReaderOptions rdb;
};

struct RecoveryFile {
  enum class Kind { kRdb, kAofBase, kAofIncrement };
  Kind kind = Kind::kRdb;
  std::string path;
  uint64_t bytes = 0;
  bool may_be_cut = false;  // an incomplete end is what a crash leaves here; elsewhere it is damage
};

struct RecoveryPlan {
  std::vector<RecoveryFile> files;  // in order; empty: nothing to load
  uint64_t bytes = 0;               // of all files
  // Redis loads nothing when appendonly is on and there is no AOF yet, even if an RDB file is there. Set to that file
  // then, so that the server can say it, or load it.
  std::string ignored_rdb;
};

// Fails when a manifest cannot be read or names a missing file.
Result<RecoveryPlan> PlanRecovery(FileSystem& file_system, const RecoveryOptions& options);

// Cuts `path` to its first `size` bytes, durably.
Status CutFile(FileSystem& file_system, const std::string& path, uint64_t size);

enum class Loaded { kRdbRecord, kCommand, kNote, kFileDone, kDone, kError };

class DatasetLoader {
 public:
  DatasetLoader(FileSystem& file_system, RecoveryPlan plan, RecoveryOptions options);

  // `values` gets every value but strings, see RdbReader.
  Loaded Next(SnapshotVisitor* values = nullptr);
  // Valid until the next call of Next.
  const RdbRecord& rdb_record() const { return rdb_->record(); }
  std::span<const std::string_view> argv() const { return argv_; }
  const std::string& note() const { return note_; }
  // After kRdbRecord: the value cannot be taken (RdbReader::RefuseValue). error() says why.
  void RefuseValue(std::string reason, std::string advice = {});
  // After kCommand: where its file says it.
  uint64_t command_offset() const { return commands_->command_begin(); }
  // After kError; names the file and the offset.
  const Status& error() const { return error_; }

  uint64_t loaded_bytes() const { return done_bytes_ + file_offset_; }  // read so far, of plan().bytes
  const RecoveryPlan& plan() const { return plan_; }
  const RecoveryFile& file() const { return plan_.files[index_]; }  // being loaded; not after kFileDone and kDone

 private:
  enum class Phase { kOpen, kRdb, kCommands, kTransaction, kEndOfFile, kDone, kFailed };

  Loaded OpenFile(SnapshotVisitor* values);
  Result<std::string_view> ReadMore();
  Loaded NextOfRdb(SnapshotVisitor* values);
  Loaded NextCommand();
  Loaded NextOfTransaction();
  Loaded EndOfFile();
  Loaded CutTail(std::string_view why);
  Loaded Fail(Status status);
  bool OnlyZeroesFrom(uint64_t offset);
  std::optional<uint64_t> FindSumFrom(uint64_t offset);

  FileSystem* file_system_;
  RecoveryPlan plan_;
  RecoveryOptions options_;
  Phase phase_ = Phase::kOpen;
  size_t index_ = 0;
  std::unique_ptr<File> file_;
  uint64_t file_offset_ = 0;  // read up to here
  uint64_t done_bytes_ = 0;   // of the files before
  std::vector<char> chunk_;
  std::optional<RdbReader> rdb_;
  std::optional<AofReader> commands_;
  std::vector<std::vector<std::string>> transaction_;  // held back until its EXEC is seen
  size_t transaction_next_ = 0;
  std::vector<std::string_view> transaction_argv_;
  std::span<const std::string_view> argv_;
  std::string note_;
  Status error_;
};

}  // namespace tessera::persistence
