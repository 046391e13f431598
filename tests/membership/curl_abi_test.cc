// The numbers of src/membership/curl_abi.h are libcurl's own, and a machine without libcurl is told what it lacks.
#include "src/membership/curl_abi.h"

#include <gtest/gtest.h>

#include "src/membership/http_client.h"

#if __has_include(<curl/curl.h>)
#include <curl/curl.h>

namespace tutti::curl {

static_assert(kGlobalAll == CURL_GLOBAL_ALL);
static_assert(kWriteData == static_cast<int>(CURLOPT_WRITEDATA));
static_assert(kUrl == static_cast<int>(CURLOPT_URL));
static_assert(kProxy == static_cast<int>(CURLOPT_PROXY));
static_assert(kErrorBuffer == static_cast<int>(CURLOPT_ERRORBUFFER));
static_assert(kPostFields == static_cast<int>(CURLOPT_POSTFIELDS));
static_assert(kHttpHeader == static_cast<int>(CURLOPT_HTTPHEADER));
static_assert(kHeaderData == static_cast<int>(CURLOPT_HEADERDATA));
static_assert(kWriteFunction == static_cast<int>(CURLOPT_WRITEFUNCTION));
static_assert(kHeaderFunction == static_cast<int>(CURLOPT_HEADERFUNCTION));
static_assert(kCaFile == static_cast<int>(CURLOPT_CAINFO));
static_assert(kCertificateFile == static_cast<int>(CURLOPT_SSLCERT));
static_assert(kKeyFile == static_cast<int>(CURLOPT_SSLKEY));
static_assert(kHttpVersion == static_cast<int>(CURLOPT_HTTP_VERSION));
static_assert(kNoSignal == static_cast<int>(CURLOPT_NOSIGNAL));
static_assert(kTimeoutMs == static_cast<int>(CURLOPT_TIMEOUT_MS));
static_assert(kConnectTimeoutMs == static_cast<int>(CURLOPT_CONNECTTIMEOUT_MS));
static_assert(kProtocols == 181);  // CURLOPT_PROTOCOLS, which newer headers call deprecated
static_assert(kPostFieldSizeLarge == static_cast<int>(CURLOPT_POSTFIELDSIZE_LARGE));
static_assert(kResponseCode == static_cast<int>(CURLINFO_RESPONSE_CODE));
static_assert(kOsErrno == static_cast<int>(CURLINFO_OS_ERRNO));
static_assert(kConnects == static_cast<int>(CURLINFO_NUM_CONNECTS));
static_assert(kOk == static_cast<int>(CURLE_OK));
static_assert(kCouldNotResolveHost == static_cast<int>(CURLE_COULDNT_RESOLVE_HOST));
static_assert(kCouldNotConnect == static_cast<int>(CURLE_COULDNT_CONNECT));
static_assert(kWriteError == static_cast<int>(CURLE_WRITE_ERROR));
static_assert(kOperationTimedOut == static_cast<int>(CURLE_OPERATION_TIMEDOUT));
static_assert(kSslCertificateProblem == static_cast<int>(CURLE_SSL_CERTPROBLEM));
static_assert(kPeerFailedVerification == static_cast<int>(CURLE_PEER_FAILED_VERIFICATION));
static_assert(kSslCaBadFile == static_cast<int>(CURLE_SSL_CACERT_BADFILE));
static_assert(kHttpVersion11 == CURL_HTTP_VERSION_1_1);
static_assert(kProtocolHttp == CURLPROTO_HTTP);
static_assert(kProtocolHttps == CURLPROTO_HTTPS);
static_assert(kErrorBytes == CURL_ERROR_SIZE);
static_assert(sizeof(curl_off_t) == sizeof(long long));

}  // namespace tutti::curl
#endif

namespace tutti {
namespace {

TEST(CurlAbi, ALibraryThatIsNotThereIsNamedWithItsPackage) {
  const auto client = HttpClient::create({}, "libcurl-absent.so.4");
  ASSERT_FALSE(client.is_ok());
  EXPECT_EQ(client.status().code(), Code::unsupported);
  EXPECT_NE(client.status().text().find("package libcurl4"), std::string::npos) << client.status().text();
  EXPECT_NE(client.status().text().find("libcurl-absent.so.4: cannot open shared object file"), std::string::npos)
      << client.status().text();
}

TEST(CurlAbi, ALibraryThatIsNotCurlIsRefused) {
  const auto client = HttpClient::create({}, "libc.so.6");
  ASSERT_FALSE(client.is_ok());
  EXPECT_NE(client.status().text().find("curl_global_init"), std::string::npos) << client.status().text();
}

}  // namespace
}  // namespace tutti
