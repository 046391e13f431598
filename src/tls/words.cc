#include "src/tls/words.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <cstring>

#include "src/base/format.h"

namespace tutti {

TlsFailure take_tls_failure() {
  const unsigned long error = ERR_get_error();
  ERR_clear_error();
  TlsFailure failure;
  if (error == 0) {
    failure.words = "no reason given by OpenSSL";
    return failure;
  }
  failure.reason = ERR_GET_REASON(error);
  if (ERR_GET_LIB(error) == ERR_LIB_SSL && failure.reason >= SSL_AD_REASON_OFFSET) {
    failure.alert = failure.reason - SSL_AD_REASON_OFFSET;
    failure.words = format("{} (alert {})", SSL_alert_desc_string_long(*failure.alert), *failure.alert);
    return failure;
  }
  const char* const reason =
      ERR_SYSTEM_ERROR(error) ? strerrordesc_np(failure.reason) : ERR_reason_error_string(error);
  failure.words = format("{} (OpenSSL {:08X})", reason != nullptr ? reason : "unnamed reason", error);
  return failure;
}

std::string take_tls_words() { return take_tls_failure().words; }

}  // namespace tutti
