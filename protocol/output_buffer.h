// What waits to be written to a socket: a queue of bytes in chunks, appended at one end, consumed at the other, never
// moved. Small writes share chunks of 16 KiB; a payload of that size or more gets a chunk of its own. One chunk is kept
// for reuse when the queue drains, all others are freed, so a connection that once was far behind does not stay big.
// Not thread-safe; running out of memory ends the process.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstring>
#include <string_view>

namespace tessera::protocol {

class OutputBuffer {
  struct Chunk;

 public:
  // A place between two bytes; valid until something at or before it is consumed or truncated.
  class Mark {
   public:
    Mark() = default;

   private:
    friend class OutputBuffer;
    Chunk* chunk_ = nullptr;
    size_t end_ = 0;   // offset in the chunk
    size_t size_ = 0;  // size() when it was taken
  };

  OutputBuffer() = default;
  OutputBuffer(OutputBuffer&& other) noexcept { Swap(other); }
  OutputBuffer& operator=(OutputBuffer&& other) noexcept {
    Swap(other);
    return *this;
  }
  ~OutputBuffer();

  // Bytes not yet consumed.
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // Memory held, spare room included; what client-output-buffer-limit measures.
  size_t allocated() const { return allocated_; }
  // How that is made up, for CLIENT LIST: the oldest chunk and how many follow it. O(chunks).
  struct Chunks {
    size_t first_bytes = 0, first_capacity = 0, more = 0;
  };
  Chunks chunks() const;

  void Append(std::string_view bytes) {
    if (bytes.size() <= room_) [[likely]] {
      if (bytes.empty()) return;
      std::memcpy(cursor_, bytes.data(), bytes.size());
      Commit(bytes.size());
    } else {
      AppendSlow(bytes);
    }
  }

  // `n` contiguous writable bytes (n at least 1); Commit then says how many of them were used. Nothing else may come
  // between.
  char* Reserve(size_t n) {
    if (n > room_) [[unlikely]] {
      NewChunk(n);
    }
    return cursor_;
  }
  void Commit(size_t n) {
    cursor_ += n;
    room_ -= n;
    size_ += n;
  }

  // Fills at most `n` entries with the oldest pending bytes, for writev; returns how many.
  int Peek(iovec* entries, int n) const;
  // Drops the oldest n bytes, n <= size().
  void Consume(size_t n);
  void Clear() { Consume(size_); }

  // The present end of the queue.
  Mark End();
  // Puts bytes (at most a few dozen) at a mark; moves at most one chunk's worth. Earlier marks stay valid, later ones
  // not.
  void InsertAt(const Mark& mark, std::string_view bytes);
  // Forgets all that was appended after the mark.
  void Truncate(const Mark& mark);

  // Moves all bytes of `other` behind ours without copying payloads.
  void Splice(OutputBuffer& other);

  // Gives back the chunk kept for reuse, for connections that have been idle.
  void ReleaseSpare();

 private:
  static constexpr size_t kChunkBytes = size_t{16} << 10;

  // The first byte of the payload follows the struct.
  struct Chunk {
    Chunk* next;
    size_t capacity;
    size_t begin;  // consumed up to here
    size_t end;    // for the last chunk, known only after SyncTail
    char* data() { return reinterpret_cast<char*>(this + 1); }
  };

  void AppendSlow(std::string_view bytes);
  Chunk* Allocate(size_t capacity);
  void Free(Chunk* chunk);
  void NewChunk(size_t min_capacity);
  void SyncTail() {
    if (tail_ != nullptr) tail_->end = static_cast<size_t>(cursor_ - tail_->data());
  }
  void AimAtTail() {
    cursor_ = tail_ != nullptr ? tail_->data() + tail_->end : nullptr;
    room_ = tail_ != nullptr ? tail_->capacity - tail_->end : 0;
  }
  void Swap(OutputBuffer& other);

  char* cursor_ = nullptr;  // write position in tail_
  size_t room_ = 0;         // bytes left there
  size_t size_ = 0;
  Chunk* head_ = nullptr;
  Chunk* tail_ = nullptr;
  size_t allocated_ = 0;
};

}  // namespace tessera::protocol
