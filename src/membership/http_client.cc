#include "src/membership/http_client.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>

#include "src/base/format.h"
#include "src/membership/curl_abi.h"

namespace tutti {

struct CurlLibrary {
  int (*global_init)(long) = nullptr;
  curl::Handle* (*easy_init)() = nullptr;
  void (*easy_cleanup)(curl::Handle*) = nullptr;
  void (*easy_reset)(curl::Handle*) = nullptr;
  int (*easy_setopt)(curl::Handle*, int, ...) = nullptr;
  int (*easy_getinfo)(curl::Handle*, int, ...) = nullptr;
  int (*easy_perform)(curl::Handle*) = nullptr;
  const char* (*easy_strerror)(int) = nullptr;
  curl::List* (*slist_append)(curl::List*, const char*) = nullptr;
  void (*slist_free_all)(curl::List*) = nullptr;
};

namespace {

constexpr std::size_t kHeaderBytesMax = std::size_t{64} << 10;
constexpr long kConnectMsMax = 1000;  // what does not connect by then is as good as silent

// What libcurl's callbacks get.
struct Transfer {
  const HttpClient::Take& take;
  std::size_t header_bytes = 0;
  bool stopped = false;
};

std::size_t on_body(char* bytes, std::size_t one, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  if (transfer.take({bytes, one * count})) return one * count;
  transfer.stopped = true;
  return 0;
}

std::size_t on_header(char*, std::size_t one, std::size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  transfer.header_bytes += one * count;
  return transfer.header_bytes <= kHeaderBytesMax ? one * count : 0;
}

template <typename Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

Result<CurlLibrary> load(const char* name) {
  void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Status(Code::unsupported,
                  format("an etcd store needs libcurl (package libcurl4), which cannot be loaded: {}", dlerror()));
  }
  CurlLibrary curl;
  const bool complete =
      find(library, "curl_global_init", curl.global_init) && find(library, "curl_easy_init", curl.easy_init) &&
      find(library, "curl_easy_cleanup", curl.easy_cleanup) && find(library, "curl_easy_reset", curl.easy_reset) &&
      find(library, "curl_easy_setopt", curl.easy_setopt) && find(library, "curl_easy_getinfo", curl.easy_getinfo) &&
      find(library, "curl_easy_perform", curl.easy_perform) &&
      find(library, "curl_easy_strerror", curl.easy_strerror) &&
      find(library, "curl_slist_append", curl.slist_append) &&
      find(library, "curl_slist_free_all", curl.slist_free_all);
  if (!complete) {
    return Status(Code::unsupported,
                  format("an etcd store needs libcurl, but {} lacks a function: {}", name, dlerror()));
  }
  if (const int error = curl.global_init(curl::kGlobalAll); error != curl::kOk) {
    return Status(Code::unsupported, format("curl_global_init: {} (libcurl {})", curl.easy_strerror(error), error));
  }
  return curl;
}

// One for each name, for as long as the process lives: libcurl cannot be unloaded safely.
Result<const CurlLibrary*> library_named(const char* name) {
  static std::mutex mutex;
  static auto* const loaded = new std::map<std::string, CurlLibrary>;
  const std::lock_guard lock(mutex);
  auto found = loaded->find(name);
  if (found == loaded->end()) {
    auto curl = load(name);
    if (!curl) return curl.status();
    found = loaded->emplace(name, *std::move(curl)).first;
  }
  return &found->second;
}

HttpReply::End judge(int error, bool stopped) {
  if (error == curl::kOk) return HttpReply::End::answered;
  if (stopped) return HttpReply::End::stopped;
  if (error == curl::kCouldNotConnect || error == curl::kCouldNotResolveHost) return HttpReply::End::unreachable;
  if (error == curl::kSslCertificateProblem || error == curl::kPeerFailedVerification || error == curl::kSslCaBadFile)
    return HttpReply::End::distrusted;
  if (error == curl::kOperationTimedOut) return HttpReply::End::timed_out;
  return HttpReply::End::lost;
}

}  // namespace

Result<std::unique_ptr<HttpClient>> HttpClient::create(HttpCertificates certificates, const char* library) {
  const auto curl = library_named(library);
  if (!curl) return curl.status();
  return std::unique_ptr<HttpClient>(new HttpClient(**curl, std::move(certificates)));
}

HttpClient::~HttpClient() {
  for (curl::Handle* const handle : idle_) curl_.easy_cleanup(handle);
}

HttpReply HttpClient::post(const std::string& url, std::string_view body, Nanoseconds limit, const Take& take,
                           const std::string& authorization) {
  curl::Handle* handle = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      handle = idle_.back();
      idle_.pop_back();
    }
  }
  const bool is_new = handle == nullptr;
  if (is_new) handle = curl_.easy_init();
  HttpReply reply;
  if (handle == nullptr) {
    reply.end = HttpReply::End::unreachable;
    reply.words = "curl_easy_init gave no handle: out of memory";
    return reply;
  }
  Transfer transfer{take};
  std::array<char, curl::kErrorBytes> words{};
  const long limit_ms =
      std::max<long>(1, static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(limit).count()));
  curl_.easy_reset(handle);
  curl_.easy_setopt(handle, curl::kUrl, url.c_str());
  const bool is_secure = url.starts_with("https:");
  curl_.easy_setopt(handle, curl::kProtocols, is_secure ? curl::kProtocolHttps : curl::kProtocolHttp);
  if (!certificates_.authority.empty()) curl_.easy_setopt(handle, curl::kCaFile, certificates_.authority.c_str());
  if (!certificates_.certificate.empty()) {
    curl_.easy_setopt(handle, curl::kCertificateFile, certificates_.certificate.c_str());
    curl_.easy_setopt(handle, curl::kKeyFile, certificates_.key.c_str());
  }
  curl_.easy_setopt(handle, curl::kProxy, "");
  curl_.easy_setopt(handle, curl::kHttpVersion, curl::kHttpVersion11);
  // "Expect" would make large requests wait for a permission that some servers never give.
  curl::List* headers = curl_.slist_append(nullptr, "Content-Type: application/json");
  headers = curl_.slist_append(headers, "Expect:");
  if (!authorization.empty()) headers = curl_.slist_append(headers, ("Authorization: " + authorization).c_str());
  curl_.easy_setopt(handle, curl::kHttpHeader, headers);
  curl_.easy_setopt(handle, curl::kPostFieldSizeLarge, static_cast<std::int64_t>(body.size()));
  curl_.easy_setopt(handle, curl::kPostFields, body.data());
  curl_.easy_setopt(handle, curl::kNoSignal, 1L);
  curl_.easy_setopt(handle, curl::kTimeoutMs, limit_ms);
  curl_.easy_setopt(handle, curl::kConnectTimeoutMs, std::min(limit_ms, kConnectMsMax));
  curl_.easy_setopt(handle, curl::kErrorBuffer, words.data());
  curl_.easy_setopt(handle, curl::kWriteFunction, &on_body);
  curl_.easy_setopt(handle, curl::kWriteData, &transfer);
  curl_.easy_setopt(handle, curl::kHeaderFunction, &on_header);
  curl_.easy_setopt(handle, curl::kHeaderData, &transfer);
  const int error = curl_.easy_perform(handle);
  curl_.slist_free_all(headers);
  long http_status = 0;
  curl_.easy_getinfo(handle, curl::kResponseCode, &http_status);
  long connects = 0;
  curl_.easy_getinfo(handle, curl::kConnects, &connects);
  reply.may_be_repeated = !is_new && connects > 0;
  reply.end = judge(error, transfer.stopped);
  reply.http_status = static_cast<int>(http_status);
  if (error != curl::kOk) {
    long system_error = 0;
    curl_.easy_getinfo(handle, curl::kOsErrno, &system_error);
    reply.words = words[0] != '\0' ? words.data() : curl_.easy_strerror(error);
    if (transfer.header_bytes > kHeaderBytesMax)
      reply.words = format("more than {} bytes of headers", kHeaderBytesMax);
    if (reply.end == HttpReply::End::unreachable && system_error != 0) {
      reply.words = Status::from_errno(static_cast<int>(system_error), "connect").text();
    } else {
      reply.words += format(" (libcurl {})", error);
    }
  }
  const std::lock_guard lock(mutex_);
  idle_.push_back(handle);
  return reply;
}

}  // namespace tutti
