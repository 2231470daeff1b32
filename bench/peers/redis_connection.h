// One non-blocking connection to Redis over TLS 1.3. Commands are collected and written together;
// hiredis' reader parses the replies, which are passed on in the order of the commands.
//
// hiredis 0.14 has no TLS of its own, hence OpenSSL under its reader. Values are looked at where they
// arrived, without a copy. Any error ends the process. Used by one thread.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include <hiredis/read.h>
#include <openssl/ssl.h>

namespace mayfly::peers {

struct RedisReply {
  bool is_error = false;
  bool is_nil = false;
  int64_t integer = 0;
  absl::string_view text;  // of a status, an error or a value; gone after the call
};

// The sender of a command. It must outlive the reply.
class RedisCaller {
 public:
  virtual ~RedisCaller() = default;
  // One for each command, in their order. May append further commands.
  virtual void OnReply(const RedisReply& reply) = 0;
};

struct RedisTarget {
  int port = 0;                       // on 127.0.0.1
  std::string certificate_directory;  // of deploy/make-certificates; we connect as client
};

class RedisConnection {
 public:
  // Connects and shakes hands.
  explicit RedisConnection(const RedisTarget& target);
  ~RedisConnection();
  RedisConnection(const RedisConnection&) = delete;
  RedisConnection& operator=(const RedisConnection&) = delete;

  // Nothing is written before Flush.
  void Set(absl::string_view key, absl::string_view value, RedisCaller* caller);
  // As Set, but gone at a time of the wall clock; 0 is Set.
  void SetUntil(absl::string_view key, absl::string_view value, int64_t end_unix_ms,
                RedisCaller* caller);
  void Get(absl::string_view key, RedisCaller* caller);
  void GetDel(absl::string_view key, RedisCaller* caller);
  void Del(absl::string_view key, RedisCaller* caller);

  bool HasUnwritten() const { return !out_.empty(); }
  // Writes as much as goes; true when all is written.
  bool Flush();
  // Reads all that is there and hands replies to their callers.
  void ReadReplies();

  int descriptor() const { return descriptor_; }

 private:
  template <auto kFree>
  struct Free {
    template <typename T>
    void operator()(T* object) const {
      kFree(object);
    }
  };

  void Append(std::initializer_list<absl::string_view> words, RedisCaller* caller);
  void HandOn(const RedisReply& reply);
  static redisReplyObjectFunctions MakeReplyFunctions();

  int descriptor_ = -1;
  std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>> context_;
  std::unique_ptr<SSL, Free<SSL_free>> ssl_;
  std::unique_ptr<redisReader, Free<redisReaderFree>> reader_;
  std::string out_;
  size_t written_ = 0;  // of out_
  std::deque<RedisCaller*> callers_;
};

}  // namespace mayfly::peers
