#include "protocol/output_buffer.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace tessera::protocol {

OutputBuffer::~OutputBuffer() {
  while (head_ != nullptr) Free(std::exchange(head_, head_->next));
}

void OutputBuffer::Swap(OutputBuffer& other) {
  std::swap(cursor_, other.cursor_);
  std::swap(room_, other.room_);
  std::swap(size_, other.size_);
  std::swap(head_, other.head_);
  std::swap(tail_, other.tail_);
  std::swap(allocated_, other.allocated_);
}

OutputBuffer::Chunk* OutputBuffer::Allocate(size_t capacity) {
  void* memory = std::malloc(sizeof(Chunk) + capacity);
  if (memory == nullptr) throw std::bad_alloc();
  allocated_ += sizeof(Chunk) + capacity;
  return new (memory) Chunk{nullptr, capacity, 0, 0};
}

void OutputBuffer::Free(Chunk* chunk) {
  allocated_ -= sizeof(Chunk) + chunk->capacity;
  std::free(chunk);
}

void OutputBuffer::NewChunk(size_t min_capacity) {
  SyncTail();
  Chunk* chunk = Allocate(std::max(min_capacity, kChunkBytes - sizeof(Chunk)));
  if (tail_ == nullptr) {
    head_ = chunk;
  } else {
    tail_->next = chunk;
  }
  tail_ = chunk;
  AimAtTail();
}

void OutputBuffer::AppendSlow(std::string_view bytes) {
  // Fill up what is left, so that chunks are full when they are written.
  if (const size_t first = room_; first != 0) {
    std::memcpy(cursor_, bytes.data(), first);
    Commit(first);
    bytes.remove_prefix(first);
  }
  NewChunk(bytes.size());
  std::memcpy(cursor_, bytes.data(), bytes.size());
  Commit(bytes.size());
}

OutputBuffer::Chunks OutputBuffer::chunks() const {
  Chunks chunks;
  if (head_ == nullptr) return chunks;
  const size_t end = head_ == tail_ ? static_cast<size_t>(cursor_ - head_->data()) : head_->end;
  chunks.first_bytes = end - head_->begin;
  chunks.first_capacity = sizeof(Chunk) + head_->capacity;
  for (const Chunk* chunk = head_->next; chunk != nullptr; chunk = chunk->next) ++chunks.more;
  return chunks;
}

int OutputBuffer::Peek(iovec* entries, int n) const {
  int count = 0;
  for (Chunk* chunk = head_; chunk != nullptr && count < n; chunk = chunk->next) {
    const size_t end = chunk == tail_ ? static_cast<size_t>(cursor_ - chunk->data()) : chunk->end;
    if (end == chunk->begin) continue;
    entries[count].iov_base = chunk->data() + chunk->begin;
    entries[count].iov_len = end - chunk->begin;
    ++count;
  }
  return count;
}

void OutputBuffer::Consume(size_t n) {
  size_ -= n;
  SyncTail();
  while (head_ != nullptr && n >= head_->end - head_->begin) {
    n -= head_->end - head_->begin;
    if (head_ == tail_) {
      if (head_->capacity > kChunkBytes) {
        Free(head_);
        head_ = tail_ = nullptr;
      } else {
        head_->begin = head_->end = 0;
      }
      AimAtTail();
      return;
    }
    Free(std::exchange(head_, head_->next));
  }
  if (head_ != nullptr) head_->begin += n;
}

OutputBuffer::Mark OutputBuffer::End() {
  if (room_ == 0) NewChunk(1);
  Mark mark;
  mark.chunk_ = tail_;
  mark.end_ = static_cast<size_t>(cursor_ - tail_->data());
  mark.size_ = size_;
  return mark;
}

void OutputBuffer::InsertAt(const Mark& mark, std::string_view bytes) {
  SyncTail();
  Chunk* chunk = mark.chunk_;
  char* place = chunk->data() + mark.end_;
  const size_t behind = chunk->end - mark.end_;
  if (chunk->capacity - chunk->end < bytes.size()) {
    // No room: what follows the mark in this chunk moves to a new chunk behind it, in front of later ones.
    Chunk* moved = Allocate(std::max(behind + bytes.size(), kChunkBytes - sizeof(Chunk)));
    std::memcpy(moved->data(), bytes.data(), bytes.size());
    std::memcpy(moved->data() + bytes.size(), place, behind);
    moved->end = behind + bytes.size();
    chunk->end = mark.end_;
    moved->next = std::exchange(chunk->next, moved);
    if (tail_ == chunk) tail_ = moved;
  } else {
    std::memmove(place + bytes.size(), place, behind);
    std::memcpy(place, bytes.data(), bytes.size());
    chunk->end += bytes.size();
  }
  size_ += bytes.size();
  AimAtTail();
}

void OutputBuffer::Truncate(const Mark& mark) {
  Chunk* rest = std::exchange(mark.chunk_->next, nullptr);
  while (rest != nullptr) Free(std::exchange(rest, rest->next));
  tail_ = mark.chunk_;
  tail_->end = mark.end_;
  size_ = mark.size_;
  AimAtTail();
}

void OutputBuffer::Splice(OutputBuffer& other) {
  if (other.empty()) return;
  if (other.size_ <= room_) {
    for (Chunk* chunk = (other.SyncTail(), other.head_); chunk != nullptr; chunk = chunk->next) {
      Append({chunk->data() + chunk->begin, chunk->end - chunk->begin});
    }
    other.Clear();
    return;
  }
  SyncTail();
  other.SyncTail();
  if (tail_ == nullptr) {
    head_ = other.head_;
  } else {
    tail_->next = other.head_;
  }
  tail_ = other.tail_;
  size_ += std::exchange(other.size_, 0);
  allocated_ += std::exchange(other.allocated_, 0);
  other.head_ = other.tail_ = nullptr;
  other.AimAtTail();
  AimAtTail();
}

void OutputBuffer::ReleaseSpare() {
  if (size_ != 0 || head_ == nullptr) return;
  Free(head_);
  head_ = tail_ = nullptr;
  AimAtTail();
}

}  // namespace tessera::protocol
