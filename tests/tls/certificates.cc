#include "tests/tls/certificates.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "src/base/format.h"

namespace tutti {

namespace {

constexpr long kDay = 24L * 3600;

void add_extension(X509* certificate, X509* issuer, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

X509* make(const std::string& name, EVP_PKEY* key, X509* issuer, long from, long until) {
  static long serial = 0;
  X509* const made = X509_new();
  X509_set_version(made, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(made), from);
  X509_gmtime_adj(X509_getm_notAfter(made), until);
  X509_set_pubkey(made, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(made, X509_get_subject_name(issuer != nullptr ? issuer : made));
  if (issuer == nullptr) add_extension(made, made, NID_basic_constraints, "critical,CA:TRUE");
  return made;
}

void write(const std::string& path, X509* certificate) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  PEM_write_X509(file, certificate);
  std::fclose(file);
}

void write(const std::string& path, EVP_PKEY* key, const char* passphrase) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  chmod(path.c_str(), 0600);
  PEM_write_PKCS8PrivateKey(file, key, passphrase != nullptr ? EVP_aes_128_cbc() : nullptr, passphrase,
                            passphrase != nullptr ? 4 : 0, nullptr, nullptr);
  std::fclose(file);
}

}  // namespace

struct Certificates::Keeper {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = nullptr;
};

Certificates::Certificates() : directory_(testing::TempDir() + "tutti_tls_XXXXXX"), keeper_(new Keeper) {
  EXPECT_NE(mkdtemp(directory_.data()), nullptr);
  static int authorities = 0;
  keeper_->certificate = make(format("authority {}", ++authorities), keeper_->key, nullptr, -kDay, 30 * kDay);
  X509_sign(keeper_->certificate, keeper_->key, EVP_sha256());
  write(authority(), keeper_->certificate);
}

Certificates::~Certificates() {
  X509_free(keeper_->certificate);
  EVP_PKEY_free(keeper_->key);
  delete keeper_;
  std::filesystem::remove_all(directory_);
}

void Certificates::issue(const std::string& name, Flaw flaw) const {
  EVP_PKEY* const own = EVP_EC_gen("P-256");
  const long from = flaw == Flaw::not_yet ? kDay : -kDay;
  const long until = flaw == Flaw::expired ? -3600 : 10 * kDay;
  X509* const made = make(name, own, keeper_->certificate, from, until);
  add_extension(made, keeper_->certificate, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  if (flaw == Flaw::only_for_servers) add_extension(made, keeper_->certificate, NID_ext_key_usage, "serverAuth");
  X509_sign(made, keeper_->key, EVP_sha256());
  write(certificate(name), made);
  write(key(name), own, nullptr);
  X509_free(made);
  EVP_PKEY_free(own);
}

void Certificates::lock(const std::string& name, const std::string& path) const {
  std::FILE* const file = std::fopen(key(name).c_str(), "r");
  EVP_PKEY* const own = PEM_read_PrivateKey(file, nullptr, nullptr, nullptr);
  std::fclose(file);
  write(path, own, "pass");
  EVP_PKEY_free(own);
}

TlsOptions Certificates::options(const std::string& name) const {
  TlsOptions options;
  options.mode = TlsMode::certificates;
  options.certificate = certificate(name);
  options.key = key(name);
  options.authority = authority();
  return options;
}

std::shared_ptr<const TlsContext> make_context(TlsOptions options) {
  auto made = TlsContext::create(std::move(options));
  EXPECT_TRUE(made.is_ok()) << made.status().text();
  return made ? *std::move(made) : nullptr;
}

std::shared_ptr<const TlsContext> psk_context() { return make_context(TlsOptions{}); }

}  // namespace tutti
