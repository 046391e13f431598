#include "src/tls/context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include <string_view>
#include <utility>
#include <vector>

#include "src/base/format.h"
#include "src/base/private_file.h"
#include "src/tls/channel.h"
#include "src/tls/words.h"

namespace tutti {

namespace {

constexpr std::size_t kLongestFile = std::size_t{1} << 20;
constexpr long kPeerChainBytesMax = 32 << 10;
constexpr int kPeerChainDepthMax = 8;

template <auto release>
struct Release {
  template <typename T>
  void operator()(T* object) const {
    release(object);
  }
};
using Bio = std::unique_ptr<BIO, Release<BIO_free>>;
using Certificate = std::unique_ptr<X509, Release<X509_free>>;
using PrivateKey = std::unique_ptr<EVP_PKEY, Release<EVP_PKEY_free>>;
using StoreContext = std::unique_ptr<X509_STORE_CTX, Release<X509_STORE_CTX_free>>;

// Asks nobody for a passphrase: there may be no terminal, and nobody at it.
int no_passphrase(char*, int, int, void*) { return -1; }

Result<std::vector<Certificate>> read_certificates(std::string_view setting, const std::string& path) {
  const auto text = read_small_file(setting, path, kLongestFile, Readers::anybody);
  if (!text) return text.status();
  const Bio bio(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
  std::vector<Certificate> found;
  ERR_clear_error();
  while (Certificate next{PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)}) {
    found.push_back(std::move(next));
  }
  const bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  if (found.empty() || !is_end) {
    return Status(Code::invalid, format("{} is \"{}\", whose certificate {} cannot be read: {}", setting, path,
                                        found.size() + 1, take_tls_words()));
  }
  ERR_clear_error();
  return found;
}

Result<PrivateKey> read_key(std::string_view setting, const std::string& path) {
  auto text = read_small_file(setting, path, kLongestFile, Readers::owner_only);
  if (!text) return text.status();
  const Bio bio(BIO_new_mem_buf(text->data(), static_cast<int>(text->size())));
  ERR_clear_error();
  PrivateKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  const bool is_locked = text->find("ENCRYPTED") != std::string::npos;
  OPENSSL_cleanse(text->data(), text->size());
  if (key) return key;
  return Status(
      Code::invalid,
      format("{} is \"{}\", in which no private key can be read: {}{}", setting, path, take_tls_words(),
             is_locked ? ". It is locked by a passphrase: unlock it (openssl pkey -in FILE -out FILE)" : ""));
}

std::string when(const ASN1_TIME* time) {
  const Bio bio(BIO_new(BIO_s_mem()));
  char* text = nullptr;
  if (ASN1_TIME_print(bio.get(), time) != 1) return "an unreadable time";
  const long bytes = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<std::size_t>(bytes));
}

// Whether the authorities accept this process's own certificate, on both sides of a connection: others will look at
// it with the same eyes, and it is here that somebody can say which file it is.
Status check_own(SSL_CTX* context, const TlsOptions& options) {
  X509* const own = SSL_CTX_get0_certificate(context);
  STACK_OF(X509)* chain = nullptr;
  SSL_CTX_get0_chain_certs(context, &chain);
  for (const char* const purpose : {"ssl_server", "ssl_client"}) {
    const StoreContext check(X509_STORE_CTX_new());
    if (X509_STORE_CTX_init(check.get(), SSL_CTX_get_cert_store(context), own, chain) != 1 ||
        X509_STORE_CTX_set_default(check.get(), purpose) != 1) {
      return {Code::system, format("TUTTI_TLS_CERTIFICATE cannot be checked: {}", take_tls_words())};
    }
    if (X509_verify_cert(check.get()) == 1) continue;
    ERR_clear_error();
    const int error = X509_STORE_CTX_get_error(check.get());
    return {
        Code::invalid,
        format("TUTTI_TLS_CERTIFICATE is \"{}\" (valid from {} to {}), which the authority of TUTTI_TLS_AUTHORITY "
               "(\"{}\") does not let through: {} (OpenSSL {})",
               options.certificate, when(X509_get0_notBefore(own)), when(X509_get0_notAfter(own)), options.authority,
               X509_verify_cert_error_string(error), error)};
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::create(const Settings& settings) {
  if (settings.tls == TlsMode::off) return std::shared_ptr<const TlsContext>();
  TlsOptions options;
  options.mode = settings.tls;
  options.certificate = settings.tls_certificate;
  options.key = settings.tls_key;
  options.authority = settings.tls_authority;
  return create(std::move(options));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::create(TlsOptions options) {
  // The library's threads may still talk while the process ends; OpenSSL's own clean-up then would be too early.
  OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, nullptr);
  ERR_clear_error();
  SSL_CTX* const context = SSL_CTX_new(TLS_method());
  if (context == nullptr) return Status(Code::system, format("TLS is not available: {}", take_tls_words()));
  std::shared_ptr<TlsContext> made(new TlsContext(std::move(options), context));
  const bool good = SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
                    SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
                    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
                    SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1 &&
                    SSL_CTX_set_session_id_context(context, reinterpret_cast<const unsigned char*>(kName.data()),
                                                   kName.size()) == 1;
  if (!good) return Status(Code::system, format("TLS 1.3 is not available: {}", take_tls_words()));
  // What we send says itself how long it is, so an end in the middle is noticed without TLS's own farewell.
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_max_cert_list(context, kPeerChainBytesMax);
  SSL_CTX_set_verify_depth(context, kPeerChainDepthMax);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, TlsChannel::on_certificate);
  if (made->options_.mode == TlsMode::psk) {
    SSL_CTX_set_psk_use_session_callback(context, TlsChannel::on_key_wanted);
    SSL_CTX_set_psk_find_session_callback(context, TlsChannel::on_key_offered);
  } else {
    TUTTI_RETURN_IF_ERROR(made->load_certificates());
  }
  return std::shared_ptr<const TlsContext>(std::move(made));
}

Status TlsContext::load_certificates() {
  constexpr std::string_view kCertificate = "TUTTI_TLS_CERTIFICATE";
  constexpr std::string_view kKey = "TUTTI_TLS_KEY";
  constexpr std::string_view kAuthority = "TUTTI_TLS_AUTHORITY";
  for (const auto& [setting, path] :
       {std::pair{kCertificate, &options_.certificate}, {kKey, &options_.key}, {kAuthority, &options_.authority}}) {
    if (!path->empty()) continue;
    return {Code::invalid, format("TUTTI_TLS is certificates, but {} is not set; expected the path of a PEM file "
                                  "(TUTTI_TLS=psk needs none)",
                                  setting)};
  }
  const auto chain = read_certificates(kCertificate, options_.certificate);
  if (!chain) return chain.status();
  const auto key = read_key(kKey, options_.key);
  if (!key) return key.status();
  const auto authorities = read_certificates(kAuthority, options_.authority);
  if (!authorities) return authorities.status();
  if (SSL_CTX_use_certificate(context_, chain->front().get()) != 1) {
    return {Code::invalid,
            format("{} is \"{}\", which cannot be used: {}", kCertificate, options_.certificate, take_tls_words())};
  }
  for (std::size_t i = 1; i < chain->size(); ++i) SSL_CTX_add1_chain_cert(context_, (*chain)[i].get());
  if (SSL_CTX_use_PrivateKey(context_, key->get()) != 1 || SSL_CTX_check_private_key(context_) != 1) {
    return {Code::invalid, format("{} (\"{}\") is not the key of {} (\"{}\"): {}", kKey, options_.key, kCertificate,
                                  options_.certificate, take_tls_words())};
  }
  for (const Certificate& authority : *authorities) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context_), authority.get());
  }
  ERR_clear_error();
  return check_own(context_, options_);
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

}  // namespace tutti
