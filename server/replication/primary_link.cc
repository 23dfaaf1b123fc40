#include "server/replication/primary_link.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>

#include "protocol/args.h"
#include "server/clients.h"
#include "server/config/config.h"
#include "server/dispatcher.h"
#include "server/durability/durability.h"
#include "server/durability/loader.h"
#include "server/log.h"
#include "server/net/disk_thread.h"
#include "server/net/event_loop.h"
#include "server/replication/field_expiry.h"
#include "server/replication/replication.h"
#include "server/stats.h"
#include "server/store/keyspace.h"

namespace tessera {
namespace {

constexpr int64_t kRetryMs = 1000;
constexpr size_t kEndMarkBytes = 40;
constexpr int64_t kLoadSliceUs = 5000;
constexpr size_t kLoadChunk = 256 << 10;
// No answer during the handshake, and no head of an image, is longer.
constexpr size_t kLineMax = 4096;
// An offset that can still grow for as long as anybody lives.
constexpr int64_t kOffsetMax = INT64_MAX / 2;

bool IsReplicationId(std::string_view text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(), [](char c) { return std::isxdigit(static_cast<unsigned char>(c)); });
}

// All of the text must be a number from 0 on.
template <typename N>
bool ReadNumber(std::string_view text, N& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number >= 0;
}

}  // namespace

PrimaryLink::PrimaryLink(EventLoop& loop, DiskThread& disk, Services& services, ReplicationStream& stream,
                         Replication& replication, std::string host, uint16_t port, std::string node_id)
    : loop_(loop), disk_(disk), services_(services), stream_(stream), replication_(replication), host_(std::move(host)),
      port_(port),
      node_id_(std::move(node_id)) {
  down_since_ms_ = loop.now().mono_ms();
  loop_.Post([this, alive = alive_] {
    if (*alive && state_ == State::kWaiting && !services_.durability.loading()) Connect();
  });
}

PrimaryLink::~PrimaryLink() {
  *alive_ = false;
  ForgetSession();
  if (link_ != nullptr) link_->Close();
  image_.reset();
  if (!image_path_.empty()) (void)files_.Remove(image_path_).ok();
  if (state_ == State::kLoading) {
    log::Warning("The synchronisation that was being applied is given up halfway: the dataset is emptied");
    services_.keyspace.FlushAll();
  }
}

void PrimaryLink::Connect() {
  state_ = State::kConnecting;
  input_.clear();
  header_seen_ = false;
  end_mark_.clear();
  tail_.clear();
  transaction_.clear();
  last_io_mono_ms_ = loop_.now().mono_ms();
  link_ = TcpLink::Connect(
      loop_,
      {.host = host_,
       .port = port_,
       .source_address = services_.config.bind_source_addr,
       .timeout_ms = static_cast<int>(services_.config.repl_timeout * 1000)},
      {.connected =
           [this] {
             state_ = State::kHandshake;
             last_refusal_.clear();
             log::Notice("Connected to primary {}:{}, beginning the handshake", host_, port_);
             NextStep(Step::kPing);
           },
       .received = [this](std::string_view bytes) { Received(bytes); },
       .closed = [this](const std::string& reason) { Drop(reason); }});
}

void PrimaryLink::Drop(const std::string& why) {
  if (state_ == State::kOnline || why != last_refusal_)
    log::Warning("Link to primary {}:{}: {}; trying again every second", host_, port_, why);
  last_refusal_ = why;
  Disconnect();
}

void PrimaryLink::Disconnect() {
  if (state_ == State::kOnline) down_since_ms_ = loop_.now().mono_ms();
  if (link_ != nullptr) link_->Close();
  link_.reset();
  // A dataset that has arrived is loaded to its end, whatever becomes of the primary.
  if (state_ != State::kLoading) {
    image_.reset();
    if (!image_path_.empty()) (void)files_.Remove(image_path_).ok();
    image_path_.clear();
  }
  ForgetSession();
  parser_.Reset();
  transaction_.clear();
  if (state_ != State::kLoading) state_ = State::kWaiting;
  next_try_ms_ = loop_.now().mono_ms() + kRetryMs;
}

void PrimaryLink::Rest() {
  resting_ = true;
  Disconnect();
}

// Later: whoever closes it may be in the midst of a walk over all clients.
void PrimaryLink::Face::CloseNow(std::string_view reason) {
  owner_.loop_.Post([owner = &owner_, alive = owner_.alive_, why = std::string(reason)] {
    if (*alive && owner->online()) owner->Drop(why);
  });
}

void PrimaryLink::ForgetSession() {
  if (session_ == nullptr) return;
  services_.clients.Remove(*session_);
  session_.reset();
}

void PrimaryLink::Cron() {
  const int64_t now_ms = loop_.now().mono_ms();
  if (state_ == State::kWaiting) {
    // What the disk holds comes first: it may be a past to continue.
    if (!resting_ && now_ms >= next_try_ms_ && !services_.durability.loading()) Connect();
    return;
  }
  if (state_ == State::kLoading) {
    // The primary must not take our silence for death.
    if (link_ != nullptr && now_ms - last_newline_ms_ >= 1000) {
      last_newline_ms_ = now_ms;
      link_->Send("\n");
    }
    return;
  }
  if (now_ms - last_io_mono_ms_ > services_.config.repl_timeout * 1000)
    return Drop(fmt::format("silent for more than {} seconds", services_.config.repl_timeout));
  if (state_ == State::kOnline && now_ms - last_ack_ms_ >= 1000) SendAcknowledgement();
}

void PrimaryLink::SendCommand(std::initializer_list<std::string_view> words) {
  std::string frame = fmt::format("*{}\r\n", words.size());
  for (std::string_view word : words) frame += fmt::format("${}\r\n{}\r\n", word.size(), word);
  link_->Send(frame);
}

void PrimaryLink::SendAcknowledgement() {
  last_ack_ms_ = loop_.now().mono_ms();
  // Inside a transaction only what is applied counts, which the stream's offset says.
  const std::string processed = std::to_string(stream_.offset());
  const int64_t synced = services_.durability.SyncedStreamOffset();
  if (synced < 0) return SendCommand({"REPLCONF", "ACK", processed});
  SendCommand({"REPLCONF", "ACK", processed, "FACK", std::to_string(synced)});
}

void PrimaryLink::NextStep(Step step) {
  const config::Config& config = services_.config;
  step_ = step;
  switch (step) {
    case Step::kPing:
      return SendCommand({"PING"});
    case Step::kAuth:
      if (config.masterauth.empty()) return NextStep(Step::kIdentity);
      if (config.masteruser.empty()) return SendCommand({"AUTH", config.masterauth});
      return SendCommand({"AUTH", config.masteruser, config.masterauth});
    case Step::kIdentity:
      // Addresses go from hand to hand when containers restart. Whoever has the primary's now would make us drop its data
      // for that of another shard.
      if (node_id_.empty()) return NextStep(Step::kPort);
      return SendCommand({"CLUSTER", "MYID"});
    case Step::kPort:
      return SendCommand({"REPLCONF", "listening-port",
                          std::to_string(config.replica_announce_port != 0 ? config.replica_announce_port : config.port)});
    case Step::kAddress:
      if (config.replica_announce_ip.empty()) return NextStep(Step::kCapabilities);
      return SendCommand({"REPLCONF", "ip-address", config.replica_announce_ip});
    case Step::kCapabilities:
      return SendCommand({"REPLCONF", "capa", "eof", "capa", "psync2", "capa", kFieldExpiryCapability});
    case Step::kPsync: {
      asked_to_continue_ = replication_.has_past();
      if (!asked_to_continue_) return SendCommand({"PSYNC", "?", "-1"});
      log::Notice("Asking to go on from {} offset {}", replication_.replication_id(), stream_.offset() + 1);
      return SendCommand({"PSYNC", replication_.replication_id(), std::to_string(stream_.offset() + 1)});
    }
  }
}

bool PrimaryLink::OnHandshakeLine(std::string_view line) {
  if (line.empty()) return true;  // a primary that prepares a snapshot sends line feeds
  const bool refused = line[0] == '-';
  switch (step_) {
    case Step::kPing:
      if (line[0] != '+' && !line.starts_with("-NOAUTH") && !line.starts_with("-NOPERM") &&
          !line.starts_with("-ERR operation not permitted"))
        return Drop(fmt::format("PING answered '{}'", line)), false;
      NextStep(Step::kAuth);
      return true;
    case Step::kAuth:
      if (refused) return Drop(fmt::format("authentication refused: '{}' (see masterauth)", line)), false;
      NextStep(Step::kIdentity);
      return true;
    case Step::kIdentity:
      if (line[0] == '$') return true;  // the id is the next line
      // An ACL user for replication may be refused; then the address has to do.
      if (!refused && line != node_id_)
        return Drop(fmt::format("node {} answers there, not our primary {}", line, node_id_)), false;
      NextStep(Step::kPort);
      return true;
    case Step::kPort:
      NextStep(Step::kAddress);
      return true;
    case Step::kAddress:
      NextStep(Step::kCapabilities);
      return true;
    case Step::kCapabilities:
      NextStep(Step::kPsync);
      return true;
    case Step::kPsync:
      break;
  }
  if (line.starts_with("+CONTINUE")) {
    if (!asked_to_continue_) return Drop(fmt::format("answered '{}', but there is nothing to continue", line)), false;
    std::string_view id = line.size() > 10 ? line.substr(10) : std::string_view();
    while (!id.empty() && (id.back() == ' ' || id.back() == '\r')) id.remove_suffix(1);
    if (!id.empty() && !IsReplicationId(id)) return Drop(fmt::format("unintelligible answer '{}'", line)), false;
    log::Notice("The primary lets us go on from offset {}", stream_.offset() + 1);
    replication_.ContinueHistory(id);
    GoOnline();
    return true;
  }
  if (line.starts_with("+FULLRESYNC ")) {
    const std::string_view rest = line.substr(12);
    const size_t space = rest.find(' ');
    new_id_ = rest.substr(0, space);
    if (space == std::string_view::npos || !IsReplicationId(new_id_) ||
        !ReadNumber(rest.substr(space + 1), new_offset_) || new_offset_ > kOffsetMax)
      return Drop(fmt::format("unintelligible answer '{}'", line)), false;
    log::Notice("Full synchronisation from {} at offset {}", new_id_, new_offset_);
    state_ = State::kReceiving;
    return true;
  }
  Drop(fmt::format("PSYNC answered '{}'", line));
  return false;
}

void PrimaryLink::Received(std::string_view bytes) {
  last_io_unix_ms_ = loop_.now().unix_ms;
  last_io_mono_ms_ = loop_.now().mono_ms();
  if (state_ == State::kOnline) {
    replication_.HeardPrimary();
    session_->last_interaction_us = loop_.now().mono_us;
  }
  services_.stats.net_repl_input_bytes += bytes.size();
  input_.append(bytes);
  while (state_ == State::kHandshake) {
    const size_t end = input_.find('\n');
    if (std::min(end, input_.size()) > kLineMax) return Drop("the answer is too long");
    if (end == std::string::npos) return;
    std::string line = input_.substr(0, end);
    input_.erase(0, end + 1);
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!OnHandshakeLine(line)) return;
  }
  if (state_ == State::kReceiving) {
    if (!header_seen_ && !ReadImageHeader()) return;
    if (!ReadImage()) return;
  }
  if (state_ == State::kOnline) ReadStream();
}

bool PrimaryLink::ReadImageHeader() {
  while (!input_.empty() && (input_[0] == '\n' || input_[0] == '\r')) input_.erase(0, 1);
  const size_t end = input_.find('\n');
  if (std::min(end, input_.size()) > kLineMax) return Drop("expected an image, got a line without end"), false;
  if (end == std::string::npos) return false;
  std::string line = input_.substr(0, end);
  input_.erase(0, end + 1);
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (line.empty() || line[0] != '$') return Drop(fmt::format("expected an image, got '{}'", line)), false;
  image_total_ = image_read_ = 0;
  if (line.starts_with("$EOF:")) {
    end_mark_ = line.substr(5);
    if (end_mark_.size() != kEndMarkBytes) return Drop("bad end mark of a diskless image"), false;
  } else if (!ReadNumber(std::string_view(line).substr(1), image_total_)) {
    return Drop(fmt::format("bad image length '{}'", line)), false;
  }
  image_path_ = fmt::format("temp-{}.{}.rdb", loop_.now().unix_s(), getpid());
  auto file = files_.Open(image_path_, persistence::OpenMode::kCreate);
  if (!file.ok()) return Drop(file.status().text()), false;
  image_ = std::move(*file);
  header_seen_ = true;
  log::Notice("Receiving the primary's dataset{}", end_mark_.empty() ? fmt::format(", {} bytes", image_total_) : "");
  return true;
}

bool PrimaryLink::ReadImage() {
  std::string_view bytes = input_;
  bool complete = false;
  if (end_mark_.empty()) {
    bytes = bytes.substr(0, image_total_ - image_read_);
    complete = image_read_ + bytes.size() == image_total_;
  }
  if (auto status = image_->Append(bytes); !status.ok()) return Drop(status.text()), false;
  image_read_ += bytes.size();
  if (!end_mark_.empty()) {
    // The mark is the image's last bytes; it may have arrived in pieces.
    tail_.append(bytes.substr(bytes.size() > kEndMarkBytes ? bytes.size() - kEndMarkBytes : 0));
    if (tail_.size() > kEndMarkBytes) tail_.erase(0, tail_.size() - kEndMarkBytes);
    complete = tail_ == end_mark_;
  }
  input_.erase(0, bytes.size());
  if (complete) FinishImage();
  return complete;
}

void PrimaryLink::FinishImage() {
  if (!end_mark_.empty()) {
    image_read_ -= kEndMarkBytes;
    if (auto status = image_->Truncate(image_read_); !status.ok()) return Drop(status.text());
  }
  log::Notice("The primary's dataset has arrived ({} bytes); replacing ours", image_read_);
  state_ = State::kLoading;
  link_->PauseReading(true);
  // Opened anew: the file was opened for writing only.
  auto file = files_.Open(image_path_, persistence::OpenMode::kRead);
  if (!file.ok()) {
    state_ = State::kReceiving;
    return Drop(file.status().text());
  }
  image_ = std::move(*file);
  services_.durability.DatasetDiscarded();
  replication_.ForsakeHistory();
  services_.keyspace.FlushAll();
  services_.keyspace.DropFunctionLibraries();
  image_stream_db_ = 0;
  reader_ = std::make_unique<persistence::RdbReader>(
      persistence::RdbReaderOptions{.verify_checksum = services_.config.rdbchecksum});
  image_values_ = std::make_unique<ValueBuilder>(services_.config, services_.keyspace.object_seed());
  loaded_bytes_ = keys_loaded_ = 0;
  LoadSlice();  // a small image is in place before anybody could be told that it is not
}

bool PrimaryLink::LoadSlice() {
  const int64_t until = MonotonicUs() + kLoadSliceUs;
  auto fail = [this](const std::string& why) {
    services_.keyspace.FlushAll();
    reader_.reset();
    log::Warning("The primary's dataset cannot be used: {}. The dataset is empty now; synchronising again.", why);
    state_ = State::kWaiting;
    Drop(why);
    return false;
  };
  while (MonotonicUs() < until) {
    switch (reader_->Next(image_values_.get())) {
      case persistence::RdbRead::kRecord: {
        if (reader_->record().kind == persistence::RdbRecord::Kind::kAux && reader_->record().name == "repl-stream-db")
          image_stream_db_ = static_cast<int>(protocol::ParseInt64(reader_->record().value).value_or(0));
        const auto kind = reader_->record().kind;
        if (kind == persistence::RdbRecord::Kind::kValuePart && !image_values_->error().empty())
          return fail(reader_->RefuseValue(image_values_->error()).ToText());
        if (kind == persistence::RdbRecord::Kind::kFunction)
          services_.keyspace.AddFunctionLibrary(reader_->record().value);
        if (kind != persistence::RdbRecord::Kind::kString && kind != persistence::RdbRecord::Kind::kValue) continue;
        bool expired;
        std::string error;
        // Replicas keep expired keys until the primary says otherwise.
        if (!ApplyRdbEntry(services_.keyspace, reader_->record(), *image_values_, loop_.now().unix_ms, false, &expired,
                           &error))
          return fail(reader_->RefuseValue(error).ToText());
        ++keys_loaded_;
        continue;
      }
      case persistence::RdbRead::kNeedMore: {
        std::string chunk(kLoadChunk, '\0');
        auto read = image_->ReadAt(loaded_bytes_, chunk);
        if (!read.ok()) return fail(read.status().text());
        if (*read == 0) return fail(reader_->CutShort().ToText());
        reader_->Feed(std::string_view(chunk).substr(0, *read));
        loaded_bytes_ += *read;
        continue;
      }
      case persistence::RdbRead::kError:
        return fail(reader_->error().ToText());
      case persistence::RdbRead::kEnd:
        break;
    }
    reader_.reset();
    KeepImage();
    log::Notice("The primary's dataset is in place: {} keys", keys_loaded_);
    replication_.AdoptHistory(new_id_, new_offset_, image_stream_db_);
    services_.durability.DatasetReplaced();
    if (link_ == nullptr) {
      state_ = State::kWaiting;
      return false;
    }
    GoOnline();
    link_->PauseReading(false);
    ReadStream();
    return false;
  }
  return true;
}

// The file is as good as a save of our own: it takes the place of the old one, once it is safely on disk.
void PrimaryLink::KeepImage() {
  auto file = std::shared_ptr<persistence::File>(std::move(image_));
  disk_.Run(
      [file, from = image_path_, to = services_.config.dbfilename] {
        persistence::PosixFileSystem files;
        persistence::Status status = file->Sync();
        if (status.ok()) status = files.Rename(from, to);
        if (status.ok()) return;
        log::Warning("Cannot keep the received dataset as {}: {}", to, status.text());
        (void)files.Remove(from).ok();
      },
      {});
  image_path_.clear();
}

void PrimaryLink::GoOnline() {
  state_ = State::kOnline;
  last_io_mono_ms_ = loop_.now().mono_ms();
  ForgetSession();
  session_ = std::make_unique<Session>(services_.clients.NextId(), SessionKind::kPrimary);
  session_->link = &face_;
  session_->peer = fmt::format("{}:{}", link_->peer_ip(), port_);
  session_->created_us = session_->last_interaction_us = loop_.now().mono_us;
  services_.clients.Add(*session_);
  session_->db = std::max(0, stream_.selected_db());
  parser_.Reset();
  parser_.limits().max_bulk = static_cast<size_t>(services_.config.proto_max_bulk_len);
  replication_.HeardPrimary();
  SendAcknowledgement();  // after a diskless image the primary waits for it
}

void PrimaryLink::ReadStream() {
  size_t used = 0;
  const auto alive = alive_;
  while (used < input_.size()) {
    const std::string_view rest = std::string_view(input_).substr(used);
    const auto result = parser_.Parse(rest, argv_);
    using Status = protocol::ParseResult::Status;
    if (result.status == Status::kNeedMore) break;
    if (result.status == Status::kError) {
      return Drop(fmt::format("the stream is broken: {}", result.error));
    }
    const std::string_view raw = rest.substr(0, result.consumed);
    used += result.consumed;
    if (result.status == Status::kEmpty) {
      PassOn(raw, ReplicationStream::Content::kControl);
      continue;
    }
    ApplyCommand(argv_, raw);
    if (!*alive || state_ != State::kOnline) return;
  }
  input_.erase(0, used);
}

// Control bytes in the midst of a transaction keep their place in the stream.
void PrimaryLink::PassOn(std::string_view raw, ReplicationStream::Content content) {
  if (transaction_.empty()) return stream_.FeedRaw(raw, content);
  transaction_.append(raw);
}

void PrimaryLink::ApplyCommand(std::span<const std::string_view> argv, std::string_view raw) {
  using Content = ReplicationStream::Content;
  if (protocol::EqualsIgnoreCase(argv[0], "REPLCONF")) {
    const bool asks = argv.size() >= 2 && protocol::EqualsIgnoreCase(argv[1], "GETACK");
    PassOn(raw, Content::kControl);
    if (asks) SendAcknowledgement();
    return;
  }
  if (protocol::EqualsIgnoreCase(argv[0], "PING")) return PassOn(raw, Content::kControl);
  const std::string error = services_.dispatcher.Replay(*session_, argv, loop_.now().unix_ms);
  if (!error.empty())
    log::Warning("The primary's command '{}' failed here: {}. The datasets may differ.", argv[0], error);
  if (session_->transaction.open || !transaction_.empty()) {
    transaction_.append(raw);
    if (session_->transaction.open) return;
    stream_.FeedRaw(transaction_, Content::kData);
    transaction_.clear();
  } else {
    stream_.FeedRaw(raw, Content::kData);
  }
  stream_.set_selected_db(session_->db);
}

}  // namespace tessera
