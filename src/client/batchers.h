// The batchers of a core: one for each kind of single call.
#pragma once

#include <memory>
#include <utility>

#include "client/batcher.h"
#include "client/rpcs.h"

namespace mayfly::client {

class Batchers {
 public:
  Batchers(const ClientOptions& options, const std::shared_ptr<Deadlines>& deadlines)
      : put_inputs_(std::make_shared<Batcher<PutInputsRpc>>(options, deadlines)),
        get_inputs_(std::make_shared<Batcher<GetInputsRpc>>(options, deadlines)),
        put_outputs_(std::make_shared<Batcher<PutOutputsRpc>>(options, deadlines)),
        ack_outputs_(std::make_shared<Batcher<AckOutputsRpc>>(options, deadlines)),
        release_outputs_(std::make_shared<Batcher<ReleaseOutputsRpc>>(options, deadlines)) {}

  Batcher<PutInputsRpc>* put_inputs() const { return put_inputs_.get(); }
  Batcher<GetInputsRpc>* get_inputs() const { return get_inputs_.get(); }
  Batcher<PutOutputsRpc>* put_outputs() const { return put_outputs_.get(); }
  Batcher<AckOutputsRpc>* ack_outputs() const { return ack_outputs_.get(); }
  Batcher<ReleaseOutputsRpc>* release_outputs() const { return release_outputs_.get(); }

 private:
  // Shared with their messages under way.
  const std::shared_ptr<Batcher<PutInputsRpc>> put_inputs_;
  const std::shared_ptr<Batcher<GetInputsRpc>> get_inputs_;
  const std::shared_ptr<Batcher<PutOutputsRpc>> put_outputs_;
  const std::shared_ptr<Batcher<AckOutputsRpc>> ack_outputs_;
  const std::shared_ptr<Batcher<ReleaseOutputsRpc>> release_outputs_;
};

}  // namespace mayfly::client
