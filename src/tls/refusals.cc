// Why a channel came to nothing, in a sentence that says what to do: what OpenSSL calls the cause, seen by what this
// process and the other end may have been set to.
#include <openssl/ssl.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "src/base/format.h"
#include "src/tls/channel.h"
#include "src/tls/words.h"

namespace tutti {

TlsChannel::Step TlsChannel::fail(Code code, std::string text) {
  state_ = State::failed;
  status_ = Status(code, std::move(text));
  return Step::failed;
}

TlsChannel::Step TlsChannel::fail_in_tls() {
  const TlsFailure failure = take_tls_failure();
  if (failure.alert) return fail(Code::invalid, explain_alert(failure));
  if (!rejected_.empty()) return fail(Code::invalid, explain_rejection());
  const int error = read_error_ != 0 ? read_error_ : write_error_;
  if (error != 0 && error != EPROTO) {
    return fail(Code::peer_lost, Status::from_errno(error, format("TLS with {}", peer_)).text());
  }
  if (ended_) {
    return fail(Code::peer_lost, format("{} closed the connection in the middle of the TLS handshake", peer_));
  }
  return fail(Code::invalid, explain(failure));
}

// What the other end does not like.
std::string TlsChannel::explain_alert(const TlsFailure& failure) const {
  const bool is_psk = context_->options().mode == TlsMode::psk;
  std::string meaning = "Both ends must be processes of one job, with the same TUTTI_TLS";
  switch (*failure.alert) {
    case SSL_AD_CERTIFICATE_REQUIRED:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_UNKNOWN_CA:
      meaning = is_psk ? "It wants certificates: its TUTTI_TLS is not psk, as here"
                       : format(
                             "It does not accept this process's certificate (\"{}\"): its TUTTI_TLS_AUTHORITY must "
                             "hold who signed that, or its TUTTI_TLS is psk",
                             context_->options().certificate);
      break;
    case SSL_AD_ILLEGAL_PARAMETER:
      if (is_psk) meaning = "It has another secret (TUTTI_SECRET)";
      break;
    case SSL_AD_HANDSHAKE_FAILURE:
      meaning = is_psk ? "Its TUTTI_TLS is certificates, or it is no process of this job"
                       : "Its TUTTI_TLS is psk, or it is no process of this job";
      break;
    case SSL_AD_PROTOCOL_VERSION:
      meaning = "It does not speak TLS 1.3";
      break;
    default:
      break;
  }
  return format("{} refused the connection: {}. {}", peer_, failure.words, meaning);
}

// What this end does not like about the other's certificate.
std::string TlsChannel::explain_rejection() const {
  if (context_->options().mode == TlsMode::psk) {
    return format(
        "{} showed a certificate, but TUTTI_TLS is psk here; connection refused. Give every process of the job "
        "the same TUTTI_TLS",
        peer_);
  }
  return format(
      "{} showed a certificate that TUTTI_TLS_AUTHORITY (\"{}\") does not let through: {}; connection refused", peer_,
      context_->options().authority, rejected_);
}

// And about everything else.
std::string TlsChannel::explain(const TlsFailure& failure) const {
  if (has_shaken_) return format("TLS with {} failed: {}; connection closed", peer_, failure.words);
  switch (failure.reason) {
    case SSL_R_BINDER_DOES_NOT_VERIFY:
      return format(
          "{} did not prove in TLS that it knows the secret (TUTTI_SECRET): {}; connection refused. Give every "
          "process of the job the same secret",
          peer_, failure.words);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      return format("{} showed no certificate: {}; connection refused. Its TUTTI_TLS must be certificates, as here",
                    peer_, failure.words);
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
      if (context_->options().mode != TlsMode::psk || was_offered_key_) break;
      return format("{} offered no pre-shared key in TLS: {}; connection refused. Its TUTTI_TLS must be psk, as here",
                    peer_, failure.words);
    default:
      break;
  }
  return format("TLS with {} failed: {}; connection refused", peer_, failure.words);
}

}  // namespace tutti
