// OpenSSL's errors in words.
#pragma once

#include <optional>
#include <string>

namespace tutti {

// The oldest error of this thread, such as "wrong version number (OpenSSL 0A00010B)", which also empties the queue.
std::string take_tls_words();

// What failed in TLS: the reason's number of OpenSSL and its words, and, where the peer said so, the alert's number.
struct TlsFailure {
  int reason = 0;
  std::optional<int> alert;
  std::string words;
};
TlsFailure take_tls_failure();

}  // namespace tutti
