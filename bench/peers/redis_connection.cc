#include "redis_connection.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "workload.h"

namespace mayfly::peers {
namespace {

constexpr char kTtlSeconds[] = "86400";
constexpr size_t kReadBytes = 64 << 10;
// hiredis needs a reply that is any non-null pointer.
char reply_exists;

[[noreturn]] void DieOfSsl(absl::string_view what) {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  Die(absl::StrCat("redis: ", what, ": ", reason != nullptr ? reason : strerrordesc_np(errno)));
}

int ConnectTcp(int port) {
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    Die(absl::StrCat("redis: cannot connect to port ", port, ": ", strerrordesc_np(errno)));
  }
  const int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return descriptor;
}

SSL_CTX* MakeContext(const std::string& directory) {
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  if (context == nullptr) DieOfSsl("TLS cannot be set up");
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // One read per record instead of one for its header and one for its body.
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, kReadBytes);
  if (SSL_CTX_load_verify_file(context, (directory + "/ca.pem").c_str()) != 1 ||
      SSL_CTX_use_certificate_chain_file(context, (directory + "/client.pem").c_str()) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, (directory + "/client.key").c_str(), SSL_FILETYPE_PEM) !=
          1) {
    DieOfSsl("the certificates cannot be used");
  }
  return context;
}

}  // namespace

RedisConnection::RedisConnection(const RedisTarget& target)
    : descriptor_(ConnectTcp(target.port)), context_(MakeContext(target.certificate_directory)) {
  static redisReplyObjectFunctions functions = MakeReplyFunctions();
  reader_.reset(redisReaderCreateWithFunctions(&functions));
  reader_->privdata = this;
  // Its buffer is kept between replies instead of being freed whenever it is empty and large.
  reader_->maxbuf = 0;
  ssl_.reset(SSL_new(context_.get()));
  SSL_set_fd(ssl_.get(), descriptor_);
  if (SSL_set1_host(ssl_.get(), "localhost") != 1) DieOfSsl("TLS cannot be set up");
  if (SSL_connect(ssl_.get()) != 1) DieOfSsl("the handshake failed");
  fcntl(descriptor_, F_SETFL, fcntl(descriptor_, F_GETFL) | O_NONBLOCK);
}

RedisConnection::~RedisConnection() { close(descriptor_); }

void RedisConnection::Set(absl::string_view key, absl::string_view value, RedisCaller* caller) {
  Append({"SET", key, value, "EX", kTtlSeconds}, caller);
}

void RedisConnection::SetUntil(absl::string_view key, absl::string_view value, int64_t end_unix_ms,
                               RedisCaller* caller) {
  if (end_unix_ms == 0) return Set(key, value, caller);
  Append({"SET", key, value, "PXAT", absl::StrCat(end_unix_ms)}, caller);
}

void RedisConnection::Get(absl::string_view key, RedisCaller* caller) {
  Append({"GET", key}, caller);
}

void RedisConnection::GetDel(absl::string_view key, RedisCaller* caller) {
  Append({"GETDEL", key}, caller);
}

void RedisConnection::Del(absl::string_view key, RedisCaller* caller) {
  Append({"DEL", key}, caller);
}

void RedisConnection::Append(std::initializer_list<absl::string_view> words, RedisCaller* caller) {
  absl::StrAppend(&out_, "*", words.size(), "\r\n");
  for (absl::string_view word : words)
    absl::StrAppend(&out_, "$", word.size(), "\r\n", word, "\r\n");
  callers_.push_back(caller);
}

bool RedisConnection::Flush() {
  while (written_ < out_.size()) {
    size_t n = 0;
    if (SSL_write_ex(ssl_.get(), &out_[written_], out_.size() - written_, &n) == 1) {
      written_ += n;
      continue;
    }
    if (SSL_get_error(ssl_.get(), 0) == SSL_ERROR_WANT_WRITE) return false;
    DieOfSsl("cannot write");
  }
  out_.clear();
  written_ = 0;
  return true;
}

void RedisConnection::ReadReplies() {
  static thread_local std::string buffer(kReadBytes, '\0');
  while (true) {
    size_t n = 0;
    if (SSL_read_ex(ssl_.get(), buffer.data(), buffer.size(), &n) != 1) {
      if (SSL_get_error(ssl_.get(), 0) == SSL_ERROR_WANT_READ) return;
      DieOfSsl("the connection ended");
    }
    if (redisReaderFeed(reader_.get(), buffer.data(), n) != REDIS_OK) Die(reader_->errstr);
    void* reply = nullptr;
    do {
      if (redisReaderGetReply(reader_.get(), &reply) != REDIS_OK) Die(reader_->errstr);
    } while (reply != nullptr);
  }
}

void RedisConnection::HandOn(const RedisReply& reply) {
  if (callers_.empty()) Die("redis: a reply without a command");
  RedisCaller* const caller = callers_.front();
  callers_.pop_front();
  if (reply.is_error) Die(absl::StrCat("redis: ", reply.text));
  caller->OnReply(reply);
}

// Replies here are never nested, so each object that hiredis makes is one whole reply.
redisReplyObjectFunctions RedisConnection::MakeReplyFunctions() {
  static constexpr auto kHandOn = [](const redisReadTask* task, const RedisReply& reply) -> void* {
    static_cast<RedisConnection*>(task->privdata)->HandOn(reply);
    return &reply_exists;
  };
  return {.createString = [](const redisReadTask* task, char* text, size_t size) -> void* {
            return kHandOn(task, {.is_error = task->type == REDIS_REPLY_ERROR,
                                  .text = absl::string_view(text, size)});
          },
          .createArray = [](const redisReadTask*, int) -> void* { Die("redis: an array"); },
          .createInteger = [](const redisReadTask* task, long long value) -> void* {
            return kHandOn(task, {.integer = value});
          },
          .createNil = [](const redisReadTask* task) -> void* {
            return kHandOn(task, {.is_nil = true});
          },
          .freeObject = [](void*) {}};
}

}  // namespace mayfly::peers
