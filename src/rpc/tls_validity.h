// When the certificates of [tls] are valid, and what the operator is to be warned of.
//
// OpenSSL loads an expired certificate without a word, and every client refuses it.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "config/config.h"

namespace mayfly {

struct TlsTexts {
  absl::string_view ca;           // the content of tls.ca_file
  absl::string_view certificate;  // and of tls.certificate_file
};

// A sentence for each of these, with what to do: the server's certificate, or one between it and its
// CA, has expired, expires soon or is not valid yet; no CA of tls.ca_file is valid now, or the last
// one expires soon. Soon is the last quarter of its time, two weeks at most. The text changes as the
// days and hours go by, so that whoever logs each new text repeats it neither too often nor never.
std::vector<std::string> TlsValidityWarnings(const Config::Tls& tls, const TlsTexts& texts,
                                             absl::Time now);

}  // namespace mayfly
