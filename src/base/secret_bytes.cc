#include "base/secret_bytes.h"

#include <string.h>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/locked_memory.h"
#include "base/mutex.h"

namespace mayfly {
namespace {

// Grows by whole regions that are never freed: keys come and go, but their number stays small.
class Arena {
 public:
  uint8_t* Allocate() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    if (free_ == nullptr) Grow();
    Block* block = free_;
    free_ = block->next;
    block->next = nullptr;
    return reinterpret_cast<uint8_t*>(block);
  }

  void Free(uint8_t* data) EXCLUDES_LOCK(mutex_) {
    WipeMemory(data, sizeof(Block));
    Block* block = reinterpret_cast<Block*>(data);
    MutexLock lock(&mutex_);
    block->next = free_;
    free_ = block;
  }

 private:
  static constexpr size_t kRegionBytes = 64 << 10;

  union Block {
    Block* next;
    uint8_t bytes[SecretBytes::kSizeMax];
  };

  void Grow() REQUIRES_LOCK(mutex_) {
    LockedMemory& region = regions_.emplace_back(kRegionBytes);
    Block* blocks = reinterpret_cast<Block*>(region.ExposeMutableBytes().data());
    for (size_t i = 0; i < kRegionBytes / sizeof(Block); ++i) {
      blocks[i].next = free_;
      free_ = &blocks[i];
    }
  }

  Mutex mutex_;
  std::vector<LockedMemory> regions_ GUARDED_BY(mutex_);
  Block* free_ GUARDED_BY(mutex_) = nullptr;
};

// Never destroyed, so that it outlives every static object that may hold a key.
Arena& TheArena() {
  static Arena* const arena = new Arena;
  return *arena;
}

}  // namespace

SecretBytes::SecretBytes(size_t size) : size_(size) {
  Check(size <= kSizeMax, "a secret has at most 64 bytes");
  if (size_ == 0) return;
  data_ = TheArena().Allocate();
  memset(data_, 0, size_);
}

SecretBytes::SecretBytes(ByteSpan bytes) : SecretBytes(bytes.size()) {
  if (size_ != 0) memcpy(data_, bytes.data(), size_);
}

SecretBytes::~SecretBytes() {
  if (data_ != nullptr) TheArena().Free(data_);
}

SecretBytes::SecretBytes(SecretBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace mayfly
