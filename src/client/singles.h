// The collectors of a Core, one for each kind of single call.
#pragma once

#include <memory>

#include "client/collector.h"
#include "client/rpcs.h"

namespace mayfly::client {

class Singles {
 public:
  Collector<PutInputsRpc>* put_inputs() const { return put_inputs_.get(); }
  Collector<GetInputsRpc>* get_inputs() const { return get_inputs_.get(); }
  Collector<PutOutputsRpc>* put_outputs() const { return put_outputs_.get(); }
  Collector<AckOutputsRpc>* ack_outputs() const { return ack_outputs_.get(); }
  Collector<ReleaseOutputsRpc>* release_outputs() const { return release_outputs_.get(); }

 private:
  // Shared with what is under way.
  const std::shared_ptr<Collector<PutInputsRpc>> put_inputs_ = Collector<PutInputsRpc>::New();
  const std::shared_ptr<Collector<GetInputsRpc>> get_inputs_ = Collector<GetInputsRpc>::New();
  const std::shared_ptr<Collector<PutOutputsRpc>> put_outputs_ = Collector<PutOutputsRpc>::New();
  const std::shared_ptr<Collector<AckOutputsRpc>> ack_outputs_ = Collector<AckOutputsRpc>::New();
  const std::shared_ptr<Collector<ReleaseOutputsRpc>> release_outputs_ =
      Collector<ReleaseOutputsRpc>::New();
};

}  // namespace mayfly::client
