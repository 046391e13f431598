// HttpClient: POST requests over HTTP/1.1, also inside TLS, by libcurl, which is loaded when the first client is
// made. Connections are kept for the next request. Thread-safe: each request has a connection to itself.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/clock.h"
#include "src/base/status.h"

namespace tutti {

struct CurlLibrary;
namespace curl {
struct Handle;
}

struct HttpReply {
  enum class End {
    answered,     // the whole body has come
    stopped,      // the taker wanted no more
    unreachable,  // no connection: the request has certainly not been seen
    lost,         // after that: it may have been acted upon
    timed_out,    // the time limit passed, the connection being there
    distrusted,   // a certificate will not do, the server's or ours: the request has not been seen
  };
  End end = End::lost;
  int http_status = 0;  // 0: none came
  // libcurl may have sent the request before, over a connection kept from an earlier one that then ended without a
  // word, so that the server may have seen it twice.
  bool may_be_repeated = false;
  std::string words;  // why, where it did not end well: the system's words or libcurl's
};

struct HttpCertificates {   // paths of PEM files, for https
  std::string authority;    // empty: the system's
  std::string certificate;  // empty: none is shown
  std::string key;
};

class HttpClient {
 public:
  // Gets the body in pieces; false ends the request.
  using Take = std::function<bool(std::string_view)>;

  // UNSUPPORTED when the library cannot be loaded, with the loader's words and the package to install.
  static Result<std::unique_ptr<HttpClient>> create(HttpCertificates certificates = {},
                                                    const char* library = "libcurl.so.4");
  ~HttpClient();

  // Never follows redirections, and goes past every proxy of the environment. `authorization` is the header of that
  // name, not sent where it is empty.
  HttpReply post(const std::string& url, std::string_view body, Nanoseconds limit, const Take& take,
                 const std::string& authorization = {});

 private:
  HttpClient(const CurlLibrary& curl, HttpCertificates certificates)
      : curl_(curl), certificates_(std::move(certificates)) {}

  const CurlLibrary& curl_;
  const HttpCertificates certificates_;
  std::mutex mutex_;
  std::vector<curl::Handle*> idle_;  // with their open connections
};

}  // namespace tutti
