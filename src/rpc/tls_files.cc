#include "rpc/tls_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.h"
#include "crypto/openssl.h"

namespace mayfly {
namespace {

using PairContext = std::unique_ptr<SSL_CTX, OpensslDeleter<SSL_CTX_free>>;
using CaCertificate = std::unique_ptr<X509, OpensslDeleter<X509_free>>;
using TextReader = std::unique_ptr<BIO, OpensslDeleter<BIO_free>>;

// Texts are for the operator: setting, path, fault, OpenSSL's reason, which describes only the fault
// of the file, and what to do.
absl::Status Unusable(absl::string_view setting, const std::string& path, absl::string_view fault,
                      absl::string_view next_step) {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return absl::FailedPreconditionError(
      absl::StrCat(setting, " ", path, " ", fault, " (",
                   reason != nullptr ? reason : "OpenSSL gives no reason", "): ", next_step));
}

absl::Status Unreadable(absl::string_view setting, const std::string& path, absl::string_view why) {
  return absl::FailedPreconditionError(
      absl::StrCat(setting, " ", path, " cannot be read by user ", geteuid(), ": ", why,
                   ": correct the setting, or put the file there and let this user read it"));
}

// A passphrase would have to be typed in at every start.
int NoPassphrase(char* /*buffer*/, int /*size*/, int /*is_for_writing*/, void* /*data*/) {
  return 0;
}

class OpenFile {
 public:
  explicit OpenFile(int descriptor) : descriptor_(descriptor) {}
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  ~OpenFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  int get() const { return descriptor_; }

 private:
  const int descriptor_;
};

absl::StatusOr<std::string> ReadText(absl::string_view setting, const std::string& path) {
  // O_NONBLOCK: do not wait for the writer of a pipe.
  const OpenFile file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info = {};
  if (file.get() < 0 || fstat(file.get(), &info) != 0) {
    return Unreadable(setting, path, strerrordesc_np(errno));
  }
  if (!S_ISREG(info.st_mode)) return Unreadable(setting, path, "it is not a regular file");
  std::string text(TlsFiles::kFileBytesMax + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t count = read(file.get(), text.data() + size, text.size() - size);
    if (count < 0) return Unreadable(setting, path, strerrordesc_np(errno));
    if (count == 0) break;
    size += static_cast<size_t>(count);
  }
  if (size > TlsFiles::kFileBytesMax) {
    return Unreadable(setting, path,
                      absl::StrCat("its size is above ", TlsFiles::kFileBytesMax, " bytes"));
  }
  text.resize(size);
  return text;
}

TextReader ReaderOf(const std::string& text) {
  return TextReader(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// As strict as gRPC, which rejects a file if one of its certificates is unreadable.
absl::Status CheckCa(const std::string& path, const std::string& text) {
  ERR_clear_error();
  const TextReader reader = ReaderOf(text);
  int count = 0;
  while (CaCertificate(PEM_read_bio_X509_AUX(reader.get(), nullptr, nullptr, nullptr)) != nullptr) {
    ++count;
  }
  const unsigned long error = ERR_peek_last_error();
  const bool is_end =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  if (count == 0) {
    return Unusable("tls.ca_file", path, "holds no usable certificates",
                    "name a file with the certificates of the "
                    "clients' CAs in PEM");
  }
  if (!is_end) {
    return Unusable("tls.ca_file", path, "holds a damaged certificate", "replace the whole file");
  }
  ERR_clear_error();
  return absl::OkStatus();
}

// The files of `tls` are in memory, at the paths of `copies`.
absl::Status CheckPair(const Config::Tls& tls, const std::string& certificate_copy,
                       const std::string& key_copy) {
  const PairContext context(SSL_CTX_new(TLS_server_method()));
  if (context == nullptr) return absl::FailedPreconditionError("OpenSSL has no context for TLS");
  SSL_CTX_set_default_passwd_cb(context.get(), NoPassphrase);
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate_copy.c_str()) != 1) {
    return Unusable("tls.certificate_file", tls.certificate_file, "holds no usable certificate",
                    "name a file with the server's certificate, and "
                    "those between it and its CA, in PEM");
  }
  const int used = SSL_CTX_use_PrivateKey_file(context.get(), key_copy.c_str(), SSL_FILETYPE_PEM);
  if (used == 1 && SSL_CTX_check_private_key(context.get()) == 1) return absl::OkStatus();
  const unsigned long error = ERR_peek_last_error();
  // A key of another type is loaded, and not found when it is looked for.
  if (used == 1 || ERR_GET_LIB(error) == ERR_LIB_X509) {
    return Unusable("tls.key_file", tls.key_file,
                    absl::StrCat("is not the key of the certificate in tls.certificate_file ",
                                 tls.certificate_file),
                    "replace the two together");
  }
  return Unusable("tls.key_file", tls.key_file, "holds no usable key",
                  "name a file with the server's private key in PEM, "
                  "without a passphrase");
}

std::string NameOf(int descriptor) { return absl::StrCat("/proc/self/fd/", descriptor); }

// Returns -1 if the file cannot be created.
int NewMemoryFile(const std::string& text) {
  const int descriptor = memfd_create("mayfly-tls", MFD_CLOEXEC);
  if (descriptor < 0) return -1;
  if (write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size())) {
    return descriptor;
  }
  close(descriptor);
  return -1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TlsFiles>> TlsFiles::Open(const Config::Tls& tls) {
  auto files = std::unique_ptr<TlsFiles>(new TlsFiles(tls));
  RETURN_IF_ERROR(files->RefreshCa());
  RETURN_IF_ERROR(files->RefreshPair());
  files->copies_.ca_file = NameOf(files->ca_.descriptor);
  files->copies_.certificate_file = NameOf(files->certificate_.descriptor);
  files->copies_.key_file = NameOf(files->key_.descriptor);
  return files;
}

TlsFiles::~TlsFiles() {
  for (const Copy* copy : {&ca_, &certificate_, &key_}) {
    if (copy->descriptor >= 0) close(copy->descriptor);
  }
}

absl::Status TlsFiles::Refresh() {
  absl::Status status = RefreshCa();
  status.Update(RefreshPair());
  return status;
}

absl::Status TlsFiles::RefreshCa() {
  auto text = ReadText("tls.ca_file", tls_.ca_file);
  RETURN_IF_ERROR(text.status());
  if (ca_.descriptor >= 0 && *text == ca_.text) return absl::OkStatus();
  RETURN_IF_ERROR(CheckCa(tls_.ca_file, *text));
  const bool is_reload = ca_.descriptor >= 0;
  RETURN_IF_ERROR(Replace(&ca_, *std::move(text)));
  if (is_reload) reloaded_.push_back(absl::StrCat("tls.ca_file ", tls_.ca_file));
  return absl::OkStatus();
}

absl::Status TlsFiles::RefreshPair() {
  auto certificate = ReadText("tls.certificate_file", tls_.certificate_file);
  RETURN_IF_ERROR(certificate.status());
  auto key = ReadText("tls.key_file", tls_.key_file);
  RETURN_IF_ERROR(key.status());
  if (key_.descriptor >= 0 && *certificate == certificate_.text && *key == key_.text) {
    return absl::OkStatus();
  }
  const OpenFile new_certificate(NewMemoryFile(*certificate));
  const OpenFile new_key(NewMemoryFile(*key));
  RETURN_IF_ERROR(CheckPair(tls_, NameOf(new_certificate.get()), NameOf(new_key.get())));
  const bool is_reload = key_.descriptor >= 0;
  RETURN_IF_ERROR(Replace(&certificate_, *std::move(certificate)));
  RETURN_IF_ERROR(Replace(&key_, *std::move(key)));
  if (is_reload) {
    reloaded_.push_back(absl::StrCat("tls.certificate_file ", tls_.certificate_file,
                                     " and tls.key_file ", tls_.key_file));
  }
  return absl::OkStatus();
}

absl::Status TlsFiles::Replace(Copy* copy, std::string text) {
  const int made = NewMemoryFile(text);
  if (made < 0) return absl::FailedPreconditionError("cannot create a memory file for a TLS file");
  copy->text = std::move(text);
  if (copy->descriptor < 0) {
    copy->descriptor = made;
    return absl::OkStatus();
  }
  const bool is_replaced = dup3(made, copy->descriptor, O_CLOEXEC) >= 0;
  close(made);
  if (is_replaced) return absl::OkStatus();
  copy->text.clear();  // so that the next Refresh retries
  return absl::FailedPreconditionError("a TLS file could not be replaced in memory");
}

}  // namespace mayfly
