#include "base/locked_memory.h"

#include <atomic>

#include <sys/mman.h>

#include "base/check.h"
#include "base/secret_bytes.h"

namespace mayfly {
namespace {

std::atomic<bool> all_is_locked{true};

}  // namespace

LockedMemory::LockedMemory(size_t size) : size_(size) {
  Check(size > 0, "locked memory has a size");
  void* const region =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  Check(region != MAP_FAILED, "memory for secrets can be mapped");
  madvise(region, size, MADV_DONTDUMP);
  if (mlock(region, size) != 0) all_is_locked = false;
  data_ = static_cast<uint8_t*>(region);
}

LockedMemory::~LockedMemory() {
  if (data_ == nullptr) return;
  WipeMemory(data_, size_);
  munmap(data_, size_);
}

bool LockedMemory::AllIsLocked() { return all_is_locked; }

}  // namespace mayfly
