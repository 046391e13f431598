// The part of libcurl's binary interface that http_client.cc uses. libcurl is loaded at run time, where an etcd store
// is opened, so that neither building nor starting Tutti needs it; these numbers have not changed since libcurl 7.32
// and will not before its library gets another number than 4. tests/membership/curl_abi_test.cc holds them against
// libcurl's own header.
#pragma once

#include <cstddef>

namespace tutti::curl {

struct Handle;  // CURL
struct List;    // curl_slist

inline constexpr long kGlobalAll = 3;

enum Option : int {
  kWriteData = 10001,
  kUrl = 10002,
  kProxy = 10004,
  kErrorBuffer = 10010,
  kPostFields = 10015,
  kHttpHeader = 10023,
  kHeaderData = 10029,
  kWriteFunction = 20011,
  kHeaderFunction = 20079,
  kCaFile = 10065,
  kCertificateFile = 10025,
  kKeyFile = 10087,
  kHttpVersion = 84,
  kNoSignal = 99,
  kTimeoutMs = 155,
  kConnectTimeoutMs = 156,
  kProtocols = 181,
  kPostFieldSizeLarge = 30120,
};

enum Information : int { kResponseCode = 0x200002, kOsErrno = 0x200019, kConnects = 0x20001a };

enum Result : int {
  kOk = 0,
  kCouldNotResolveHost = 6,
  kCouldNotConnect = 7,
  kWriteError = 23,
  kOperationTimedOut = 28,
  kSslCertificateProblem = 58,
  kPeerFailedVerification = 60,
  kSslCaBadFile = 77,
};

inline constexpr long kHttpVersion11 = 2;
inline constexpr long kProtocolHttp = 1;
inline constexpr long kProtocolHttps = 2;
inline constexpr std::size_t kErrorBytes = 256;

}  // namespace tutti::curl
