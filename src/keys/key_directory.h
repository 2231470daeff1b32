// Where keys may live: a directory of our own on a file system that overwrites in place.
//
// Erasure is overwriting. A copy-on-write or log-structured file system (btrfs, ZFS, bcachefs,
// f2fs) writes the new bytes elsewhere, a network or FUSE file system promises nothing of the kind,
// and ext4 with data=journal keeps a copy of every block in its journal. overlayfs is accepted,
// because the files that we make lie on its upper file system; which one that is cannot be seen
// from here. ext4 with data=writeback erases, but is refused here too: it may show old bytes in a file
// that was being written when the power failed. tmpfs overwrites in place, but its pages may have been in swap before, and it keeps
// nothing across a reboot.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace mayfly {

// All errors begin with the directory and end with what to do.

// FAILED_PRECONDITION when the directory can be entered by others than this user (a mode above
// 0700, or another owner), or, unless `allow_unsafe`, when its file system is one of the above.
absl::Status CheckKeyDirectory(const std::string& directory, bool allow_unsafe);

// The second half of it, for a directory that is there already.
absl::Status CheckFileSystemOf(const std::string& directory);

// The two halves of the file system's check, which need no such file system to be tested.
//
// `magic` is f_type of statfs(2), `super_options` those of the file system in mountinfo.
absl::Status CheckKeyFileSystem(absl::string_view directory, uint64_t magic,
                                absl::string_view super_options);
// The super options of the first mount of a device in the text of
// /proc/self/mountinfo (proc(5)); empty when there is none.
std::string SuperOptionsOf(absl::string_view mountinfo, unsigned major_number,
                           unsigned minor_number);

}  // namespace mayfly
