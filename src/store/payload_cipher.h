// The PayloadCipher turns payloads into what storage may hold, and back.
//
// A payload of up to 64 KiB is one sealed message, its row: metadata, then the bytes. A larger one
// is a sealed header in its row and one sealed message per 1 MiB segment; the header holds the
// size, the number of segments and the SHA-256 of the segments' commitments in order, so none can
// be dropped, moved, swapped or mixed with another upload's. Byte formats: ARCHITECTURE.md.
//
// Each payload is sealed under the leaf of its due second (keys/hour_chain.h) and its slot's secret;
// without either nothing opens. Tenant, call, kind, attempt, deadline, hour key, slot and generation are in
// the context, so a row moved to another place on the disk does not open there.
//
// Thread-safe.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "base/secret_bytes.h"
#include "call/operation.h"
#include "call/state.h"
#include "crypto/sha256.h"
#include "keys/keyring.h"
#include "storage/sealed.h"
#include "storage/segments.h"
#include "store/payload.h"

namespace mayfly {

// What the row of a payload in segments holds, beside what `stored` says of it.
struct SegmentedHeader {
  PayloadMetadata metadata;
  Sha256Digest commitments{};  // the SHA-256 of the segments' commitments, in order
};

// DATA_LOSS: `what` is not as it was sealed.
absl::Status DoesNotVerify(absl::string_view what);

class PayloadCipher {
 public:
  explicit PayloadCipher(Keyring* keyring) : keyring_(keyring) {}

  using SegmentWriter = std::function<absl::Status(uint32_t number, const Sealed& segment)>;
  using SegmentReader = std::function<absl::StatusOr<Sealed>(uint32_t number)>;

  // Seals `payload`, hands its segments to `write_segment` as they are made, and returns the row.
  // Fills in the fingerprint, segment_count and, when it is 0, hour_key of `stored`, whose other fields
  // are fixed by now. UNAVAILABLE when there is no key for the due second, NOT_FOUND (CALL_EXPIRED),
  // here and for all that seals, when the second was closed since the key was chosen.
  absl::StatusOr<Sealed> SealPayload(const CallKey& key, PayloadKind kind,
                                     const SecretBytes& secret, const NewPayload& payload,
                                     const SegmentWriter& write_segment,
                                     StoredPayload* stored) const;

  // Opens a row, and the segments it names if there are any. DATA_LOSS when anything is not as it
  // was sealed, NOT_FOUND, here and for all that opens, when its due second is closed.
  absl::StatusOr<Payload> OpenPayload(const CallKey& key, PayloadKind kind,
                                      const StoredPayload& stored, const SecretBytes& secret,
                                      const Sealed& row, const SegmentReader& read_segment) const;

  // A payload that comes or goes a segment at a time. All segments but the last have kSegmentBytes
  // of plaintext; `stored` needs no segment_count yet.
  absl::StatusOr<Sealed> SealSegment(const CallKey& key, PayloadKind kind,
                                     const StoredPayload& stored, const SecretBytes& secret,
                                     uint32_t number, absl::string_view data) const;
  // DATA_LOSS when it is not as it was sealed.
  absl::StatusOr<std::string> OpenSegment(const CallKey& key, PayloadKind kind,
                                          const StoredPayload& stored, const SecretBytes& secret,
                                          uint32_t number, const Sealed& segment) const;
  // The row of a payload whose segments are written. Fills in the fingerprint of `stored`, whose
  // size and segment_count are those of the whole.
  absl::StatusOr<Sealed> SealHeader(const CallKey& key, PayloadKind kind, const SecretBytes& secret,
                                    const SegmentedHeader& header, StoredPayload* stored) const;
  absl::StatusOr<SegmentedHeader> OpenHeader(const CallKey& key, PayloadKind kind,
                                             const StoredPayload& stored, const SecretBytes& secret,
                                             const Sealed& row) const;
  // The metadata of an upload, before there is a row. Fills in hour_key of `stored`.
  absl::StatusOr<Sealed> SealMetadata(const CallKey& key, PayloadKind kind,
                                      const SecretBytes& secret, const PayloadMetadata& metadata,
                                      StoredPayload* stored) const;
  absl::StatusOr<PayloadMetadata> OpenMetadata(const CallKey& key, PayloadKind kind,
                                               const StoredPayload& stored,
                                               const SecretBytes& secret,
                                               const Sealed& sealed) const;

  // The fingerprint that `payload` would have if it were the stored one.
  absl::StatusOr<Fingerprint> FingerprintOf(const StoredPayload& stored, const SecretBytes& secret,
                                            const PayloadMetadata& metadata,
                                            uint64_t size_bytes) const;

 private:
  absl::StatusOr<SecretBytes> Extract(const StoredPayload& stored, const SecretBytes& secret) const;
  // Chooses the hour key if none is chosen, and makes it if it is missing.
  absl::StatusOr<SecretBytes> ExtractForNew(const SecretBytes& secret, StoredPayload* stored) const;

  Keyring* const keyring_;
};

}  // namespace mayfly
