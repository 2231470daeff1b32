#include "base/secret_bytes.h"

#include <string.h>
#include <sys/mman.h>

#include <utility>

#include "base/check.h"
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

  bool locked() EXCLUDES_LOCK(mutex_) {
    MutexLock lock(&mutex_);
    return locked_;
  }

 private:
  static constexpr size_t kRegionBytes = 64 << 10;

  union Block {
    Block* next;
    uint8_t bytes[SecretBytes::kSizeMax];
  };

  void Grow() REQUIRES_LOCK(mutex_) {
    void* region = mmap(nullptr, kRegionBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    Check(region != MAP_FAILED, "memory for secrets can be mapped");
    madvise(region, kRegionBytes, MADV_DONTDUMP);
    if (mlock(region, kRegionBytes) != 0) locked_ = false;
    Block* blocks = static_cast<Block*>(region);
    for (size_t i = 0; i < kRegionBytes / sizeof(Block); ++i) {
      blocks[i].next = free_;
      free_ = &blocks[i];
    }
  }

  Mutex mutex_;
  Block* free_ GUARDED_BY(mutex_) = nullptr;
  bool locked_ GUARDED_BY(mutex_) = true;
};

// Never destroyed, so that it outlives every static object that may hold a key.
Arena& TheArena() {
  static Arena* const arena = new Arena;
  return *arena;
}

}  // namespace

bool SecretArenaIsLocked() { return TheArena().locked(); }

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
