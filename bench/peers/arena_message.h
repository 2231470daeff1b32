// A protobuf message on an arena that is used again and again: its parts are neither allocated nor
// freed one by one. Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>

#include <google/protobuf/arena.h>

namespace mayfly::peers {

template <typename Message>
class ArenaMessage {
 public:
  ArenaMessage() = default;
  ArenaMessage(const ArenaMessage&) = delete;
  ArenaMessage& operator=(const ArenaMessage&) = delete;

  Message* get() { return message_; }
  Message& operator*() { return *message_; }
  Message* operator->() { return message_; }

  void Clear() {
    arena_.Reset();
    message_ = google::protobuf::Arena::CreateMessage<Message>(&arena_);
  }

 private:
  // Clear frees all that a message takes beyond it.
  static constexpr size_t kBlockBytes = 128 << 10;

  static google::protobuf::ArenaOptions Options(char* block) {
    google::protobuf::ArenaOptions options;
    options.initial_block = block;
    options.initial_block_size = kBlockBytes;
    options.start_block_size = kBlockBytes;
    options.max_block_size = kBlockBytes;
    return options;
  }

  const std::unique_ptr<char[]> block_ = std::make_unique<char[]>(kBlockBytes);
  google::protobuf::Arena arena_{Options(block_.get())};
  Message* message_ = google::protobuf::Arena::CreateMessage<Message>(&arena_);
};

}  // namespace mayfly::peers
