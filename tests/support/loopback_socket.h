// A LoopbackSocket owns a TCP socket on 127.0.0.1. Operations that must not fail on loopback end
// the process when they do.
#pragma once

#include <utility>

namespace mayfly {

class LoopbackSocket {
 public:
  LoopbackSocket() = default;  // none
  explicit LoopbackSocket(int descriptor) : descriptor_(descriptor) {}
  LoopbackSocket(LoopbackSocket&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)) {}
  LoopbackSocket& operator=(LoopbackSocket&& other) noexcept;
  ~LoopbackSocket();

  // On a free port.
  static LoopbackSocket Listen();
  // None when nobody listens there.
  static LoopbackSocket Connect(int port);
  LoopbackSocket Accept() const;

  // Closes with a reset: what is not delivered yet is lost, and the other side is told so.
  void Reset();
  // The end of what is sent; the other side can still send.
  void EndSending() const;
  void MakeNonBlocking() const;

  int port() const;  // this side's
  int descriptor() const { return descriptor_; }
  bool is_open() const { return descriptor_ >= 0; }

 private:
  int descriptor_ = -1;
};

}  // namespace mayfly
