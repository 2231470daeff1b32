// The root key seals the hour keys. It is the one secret that the operator keeps, and it lives
// outside the data directory, so that a copied data directory opens nothing.
//
// On disk it is a text file of 64 hexadecimal digits (32 bytes) and at most one newline after them.
// It must be a regular file that belongs to this user or to root and that nobody else can touch.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/secret_bytes.h"

namespace mayfly {

inline constexpr size_t kRootKeySize = 32;

// NOT_FOUND when there is no such file, FAILED_PRECONDITION when its type, mode or owner is not as
// above, INVALID_ARGUMENT when its content is not. The texts are for the operator: they begin with
// `setting` and the path, and end with what to do.
absl::StatusOr<SecretBytes> LoadRootKey(const std::string& path,
                                        absl::string_view setting = "keys.root_key_file");

// The systemd credential `name` (systemd.exec(5), LoadCredential=), which lies in
// $CREDENTIALS_DIRECTORY. systemd may let the service's user in by an access control list, whose
// mask shows as group permission: 0440 is accepted here, and only here. NOT_FOUND outside a
// service with credentials; otherwise as LoadRootKey.
absl::StatusOr<SecretBytes> LoadRootKeyCredential(const std::string& name);

// FAILED_PRECONDITION when the root key's file lies in or below the data directory, whatever
// symbolic links say. Both must exist.
absl::Status CheckOutside(const std::string& root_key_path, const std::string& data_dir);

}  // namespace mayfly
