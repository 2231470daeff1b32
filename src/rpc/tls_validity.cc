#include "rpc/tls_validity.h"

#include <algorithm>
#include <ctime>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "crypto/openssl.h"

namespace mayfly {
namespace {

using DatedCertificate = std::unique_ptr<X509, OpensslDeleter<X509_free>>;
using PemText = std::unique_ptr<BIO, OpensslDeleter<BIO_free>>;

constexpr absl::Duration kSoonMax = absl::Hours(14 * 24);
constexpr int kSoonShare = 4;
// Longer times are told in days.
constexpr absl::Duration kHoursMax = absl::Hours(48);

struct Validity {
  absl::Time from;
  absl::Time until;
};

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTimeT(timegm(&parts));
}

std::vector<Validity> ValiditiesOf(absl::string_view pem) {
  std::vector<Validity> all;
  const PemText reader(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  while (reader != nullptr) {
    // As TLS reads them, trusted ones included.
    const DatedCertificate certificate(
        PEM_read_bio_X509_AUX(reader.get(), nullptr, nullptr, nullptr));
    if (certificate == nullptr) break;
    all.push_back({.from = TimeOf(X509_get0_notBefore(certificate.get())),
                   .until = TimeOf(X509_get0_notAfter(certificate.get()))});
  }
  // OpenSSL reports the end of the text as an error.
  ERR_clear_error();
  return all;
}

std::string ShowTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

// "5 days", "7 h".
std::string ShowAge(absl::Duration age) {
  if (age >= kHoursMax) return absl::StrCat(age / absl::Hours(24), " days");
  if (age >= absl::Hours(1)) return absl::StrCat(age / absl::Hours(1), " h");
  return "less than 1 h";
}

// "expired at ... (5 days ago)"; nothing when there is no reason to worry.
std::optional<std::string> Trouble(const Validity& validity, absl::Time now) {
  if (now < validity.from) return absl::StrCat("is not valid before ", ShowTime(validity.from));
  const std::string at = ShowTime(validity.until);
  if (now >= validity.until) {
    return absl::StrCat("expired at ", at, " (", ShowAge(now - validity.until), " ago)");
  }
  const absl::Duration soon = std::min(kSoonMax, (validity.until - validity.from) / kSoonShare);
  const absl::Duration left = validity.until - now;
  if (left > soon) return std::nullopt;
  return absl::StrCat("expires at ", at, " (in ", ShowAge(left), ")");
}

}  // namespace

std::vector<std::string> TlsValidityWarnings(const Config::Tls& tls, const TlsTexts& texts,
                                             absl::Time now) {
  std::vector<std::string> warnings;
  const std::string reloaded = absl::StrCat("; the server takes it within tls.reload_interval (",
                                            absl::FormatDuration(tls.reload_interval), ")");
  const std::vector<Validity> chain = ValiditiesOf(texts.certificate);
  for (size_t i = 0; i < chain.size(); ++i) {
    const std::optional<std::string> trouble = Trouble(chain[i], now);
    if (!trouble) continue;
    const bool is_usable = chain[i].from <= now && now < chain[i].until;
    warnings.push_back(absl::StrCat(i == 0 ? "the server's certificate in tls.certificate_file "
                                           : "a CA's certificate in tls.certificate_file ",
                                    tls.certificate_file, " ", *trouble,
                                    is_usable ? "" : ": no client accepts it",
                                    ": replace it, with tls.key_file", reloaded));
    break;
  }
  const std::vector<Validity> cas = ValiditiesOf(texts.ca);
  // An old CA may stay beside its successor.
  const auto last = std::max_element(cas.begin(), cas.end(), [now](const auto& a, const auto& b) {
    return std::pair(a.from <= now, a.until) < std::pair(b.from <= now, b.until);
  });
  if (last == cas.end()) return warnings;
  if (const std::optional<std::string> trouble = Trouble(*last, now)) {
    const bool is_usable = last->from <= now && now < last->until;
    warnings.push_back(absl::StrCat("the CA that is valid longest in tls.ca_file ", tls.ca_file,
                                    " ", *trouble, is_usable ? "" : ": no client is accepted",
                                    ": add its successor", reloaded));
  }
  return warnings;
}

}  // namespace mayfly
