// Downloads begins downloads: the rules decide whether the reader may have the payload, then its row is
// read. Thread-safe.
#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "store/callback.h"
#include "store/download.h"
#include "store/router.h"

namespace mayfly {

class Downloads {
 public:
  using Done = Callback<absl::StatusOr<std::shared_ptr<Download>>>;

  Downloads(const StoreContext& context, Router* router) : context_(context), router_(*router) {}

  // See CallStore.
  void Begin(Tenant* tenant, const DownloadRequest& request, Done done);

 private:
  void Open(std::shared_ptr<Download> download, const StoredPayload& stored, Done done);

  const StoreContext& context_;
  Router& router_;
};

}  // namespace mayfly
