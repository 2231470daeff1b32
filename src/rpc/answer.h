// Converts the store's results to response messages. Payload bytes are moved.
#pragma once

#include "mayfly/v1/function_io.pb.h"
#include "rpc/log.h"
#include "store/call_store.h"

namespace mayfly {

void WriteResult(InputResult&& answer, Log* log, v1::GetInputResult* result);
void WriteResult(PutResult&& answer, Log* log, v1::PutInputResult* result);
void WriteResult(PutResult&& answer, Log* log, v1::PutOutputResult* result);
void WriteResult(EndResult&& answer, Log* log, v1::AckResult* result);
void WriteResult(EndResult&& answer, Log* log, v1::DeleteResult* result);
void WriteResult(RenewResult&& answer, Log* log, v1::RenewResult* result);
void WriteResult(absl::Status&& answer, Log* log, v1::ReleaseResult* result);
void WriteResult(DescribeResult&& answer, Log* log, v1::CallDescription* result);

void WriteTime(int64_t unix_ms, google::protobuf::Timestamp* time);
// Of a put that succeeded; 0 when its call had been consumed before.
template <typename Response>
void WriteDeadline(int64_t deadline_ms, Response* response) {
  if (deadline_ms == 0) return response->set_consumed(true);
  WriteTime(deadline_ms, response->mutable_deadline_time());
}
void WriteDownloadHeader(const Download& download, v1::DownloadHeader* header);
void WriteClaimedOutput(ClaimedOutput&& output, v1::ClaimedOutput* result);
void WriteEndedCall(const EndedCall& call, Log* log, v1::EndedCall* result);

}  // namespace mayfly
