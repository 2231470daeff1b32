// Request and response of an RPC on an arena: a batch of 256 items is some thousand small objects,
// which one arena allocates together and frees at once.
#pragma once

#include <google/protobuf/arena.h>
#include <grpcpp/support/message_allocator.h>

namespace mayfly {

// Thread-safe: every RPC gets an arena of its own.
template <typename Request, typename Response>
class ArenaMessages : public grpc::MessageAllocator<Request, Response> {
 public:
  grpc::MessageHolder<Request, Response>* AllocateMessages() override { return new Messages; }

 private:
  class Messages : public grpc::MessageHolder<Request, Response> {
   public:
    Messages() {
      this->set_request(google::protobuf::Arena::CreateMessage<Request>(&arena_));
      this->set_response(google::protobuf::Arena::CreateMessage<Response>(&arena_));
    }
    void Release() override { delete this; }

   private:
    google::protobuf::Arena arena_;
  };
};

}  // namespace mayfly
