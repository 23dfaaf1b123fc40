// The link to the primary we follow: handshake, synchronisation, the stream; and over again whenever it breaks.
//
//   connect -> PING -> [AUTH] -> [CLUSTER MYID] -> REPLCONF listening-port -> [REPLCONF ip-address] -> REPLCONF capa -> PSYNC
//     +CONTINUE   -> stream
//     +FULLRESYNC -> "$<length>" or "$EOF:<mark>" image -> file -> replace the dataset -> stream
//
// The image is received into a file and applied from there in slices, so a primary that dies halfway costs nothing and
// the loop stays responsive; the stream rests in the socket meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "persistence/posix_file_system.h"
#include "persistence/rdb_reader.h"
#include "protocol/resp_parser.h"
#include "server/net/tcp_link.h"
#include "server/replication/stream.h"
#include "server/services.h"
#include "server/session.h"
#include "server/values/value_builder.h"

namespace tessera {

class DiskThread;
class EventLoop;
class Replication;

class PrimaryLink {
 public:
  enum class State : uint8_t {
    kWaiting,     // to try again
    kConnecting,
    kHandshake,
    kReceiving,   // the image
    kLoading,     // applying it
    kOnline,
  };

  PrimaryLink(EventLoop& loop, DiskThread& disk, Services& services, ReplicationStream& stream, Replication& replication,
              std::string host, uint16_t port, std::string node_id);
  ~PrimaryLink();

  const std::string& host() const { return host_; }
  uint16_t port() const { return port_; }
  const std::string& node_id() const { return node_id_; }
  State state() const { return state_; }
  bool online() const { return state_ == State::kOnline; }
  bool loading() const { return state_ == State::kLoading; }
  int64_t last_io_ms() const { return last_io_unix_ms_; }       // unix; 0 never; of any byte, handshakes included
  int64_t down_since_ms() const { return down_since_ms_; }      // monotonic
  uint64_t image_bytes_total() const { return image_total_; }   // 0 when unknown (diskless)
  uint64_t image_bytes_read() const { return image_read_; }
  int64_t image_last_io_ms() const { return last_io_mono_ms_; } // monotonic
  void Rest();  // for good
  void Cron();
  // A slice of applying the image; true while there is more to do.
  bool Work() { return state_ == State::kLoading && LoadSlice(); }
 private:
  void Connect();
  void Drop(const std::string& why);
  void Disconnect();
  void Received(std::string_view bytes);
  // Each consumes what it understands of `input_`; false = wait for more (or the link was dropped).
  bool OnHandshakeLine(std::string_view line);
  bool ReadImageHeader();
  bool ReadImage();
  void FinishImage();
  bool LoadSlice();
  void KeepImage();
  void GoOnline();
  void PassOn(std::string_view raw, ReplicationStream::Content content);
  void ReadStream();
  void SendCommand(std::initializer_list<std::string_view> words);
  void SendAcknowledgement();
  void ApplyCommand(std::span<const std::string_view> argv, std::string_view raw);

  EventLoop& loop_;
  DiskThread& disk_;
  Services& services_;
  ReplicationStream& stream_;
  Replication& replication_;
  const std::string host_;
  const uint16_t port_;
  const std::string node_id_;  // who must answer there; empty = anybody
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  State state_ = State::kWaiting;
  bool resting_ = false;
  std::shared_ptr<TcpLink> link_;
  std::string input_;
  int64_t last_io_unix_ms_ = 0, last_io_mono_ms_ = 0, down_since_ms_ = 0;
  int64_t next_try_ms_ = 0, last_ack_ms_ = 0, last_newline_ms_ = 0;
  std::string last_refusal_;  // logged once, not once a second

  // Handshake: what the next line answers.
  enum class Step : uint8_t { kPing, kAuth, kIdentity, kPort, kAddress, kCapabilities, kPsync };
  Step step_ = Step::kPing;
  void NextStep(Step step);
  bool asked_to_continue_ = false;  // PSYNC named a past

  // Full synchronisation.
  std::string new_id_;
  int64_t new_offset_ = 0;
  bool header_seen_ = false;
  std::string end_mark_;  // diskless
  uint64_t image_total_ = 0, image_read_ = 0;
  persistence::PosixFileSystem files_;
  std::string image_path_;
  std::unique_ptr<persistence::File> image_;
  std::string tail_;  // the last bytes received, where the end mark will be
  std::unique_ptr<persistence::RdbReader> reader_;
  std::unique_ptr<ValueBuilder> image_values_;
  uint64_t loaded_bytes_ = 0;
  uint64_t keys_loaded_ = 0;
  int image_stream_db_ = 0;  // the database the stream behind the image goes on in

  // Stream.
  // The primary is a client too: CLIENT LIST shows it, CLIENT KILL TYPE master disconnects it.
  class Face : public SessionLink {
   public:
    explicit Face(PrimaryLink& owner) : owner_(owner) {}
    void OutputPending() override {}
    void CloseAfterReply() override { CloseNow("killed"); }
    void CloseNow(std::string_view reason) override;
    void Resume() override {}
    Figures figures() const override { return {}; }

   private:
    PrimaryLink& owner_;
  };
  void ForgetSession();
  Face face_{*this};
  std::unique_ptr<Session> session_;
  protocol::RequestParser parser_;
  std::vector<std::string_view> argv_;
  std::string transaction_;  // raw bytes since MULTI: enters our own stream whole, or not at all
};

}  // namespace tessera
