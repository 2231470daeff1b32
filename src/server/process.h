// Hardens a process that holds other people's secrets.
#pragma once

#include "absl/status/status.h"

namespace mayfly {

// New files are readable by their owner only; no core dump; no ptrace by other processes of the
// user; as many open files as the hard limit allows. Never fails: settings that the kernel rejects
// are left unchanged.
void HardenProcess();

// RESOURCE_EXHAUSTED when this process cannot have `count` more threads at once. Without a thread that
// they need, gRPC and RocksDB hang or abort.
absl::Status CheckThreads(int count);

// Blocks SIGTERM and SIGINT in this thread and the threads that it starts, so that WaitForStop
// receives them. Ignores SIGPIPE: a closed connection is an error of one RPC.
void BlockStopSignals();

// Waits for SIGTERM or SIGINT and returns its number.
int WaitForStop();

}  // namespace mayfly
