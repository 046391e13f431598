// TlsContext: what all TLS connections of a process have in common: how it shows who it is and whom it believes.
//
// TLS 1.3 alone, with AES-128-GCM or ChaCha20-Poly1305 and an ephemeral key exchange. No tickets, no early data, no
// renegotiation. With pre-shared keys each channel brings its own (channel.h); with certificates both ends show one,
// and each believes those that the authorities of its TUTTI_TLS_AUTHORITY have signed, whatever name is in them. The
// files are read once, here. Immutable, so threads may share it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "src/base/settings.h"
#include "src/base/status.h"

struct ssl_ctx_st;

namespace tutti {

struct TlsOptions {
  TlsMode mode = TlsMode::psk;
  std::string certificate;  // the files, for mode certificates
  std::string key;
  std::string authority;
  // Full records under one key before the sender takes the next. AES-GCM bears 2^24.5 (RFC 8446, 5.5).
  std::uint64_t records_per_key = std::uint64_t{1} << 23;
};

class TlsContext {
 public:
  static constexpr std::string_view kName = "tutti";  // what pre-shared keys are called in TLS

  // INVALID or SYSTEM with the setting, the file and OpenSSL's or the system's own words, also where this process's
  // own certificate is not one that its authority accepts now.
  static Result<std::shared_ptr<const TlsContext>> create(TlsOptions options);
  // By the TUTTI_TLS settings; null where they turn TLS off.
  static Result<std::shared_ptr<const TlsContext>> create(const Settings& settings);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  const TlsOptions& options() const { return options_; }
  ssl_ctx_st* get() const { return context_; }

 private:
  TlsContext(TlsOptions options, ssl_ctx_st* context) : options_(std::move(options)), context_(context) {}
  Status load_certificates();

  const TlsOptions options_;
  ssl_ctx_st* const context_;
};

}  // namespace tutti
