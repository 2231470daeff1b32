// What a process that holds other people's secrets does to itself before it begins.
#pragma once

namespace mayfly {

// Files for the owner alone; no core dump, no ptrace by others of the same user; as many open files
// as the hard limit allows. Never fails: what the kernel refuses is left as it was.
void HardenProcess();

// Blocks SIGTERM and SIGINT in this thread and in those that it starts, so that WaitForStop gets
// them. SIGPIPE is ignored: a closed connection is an error of one RPC.
void BlockStopSignals();

// Waits for SIGTERM or SIGINT and returns its number.
int WaitForStop();

}  // namespace mayfly
