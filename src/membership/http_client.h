// HttpClient: POST requests over HTTP/1.1 by libcurl, which is loaded when the first client is made. Connections are
// kept for the next request. Thread-safe: each request has a connection to itself.
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
  };
  End end = End::lost;
  int http_status = 0;  // 0: none came
  // libcurl may have sent the request before, over a connection kept from an earlier one that then ended without a
  // word, so that the server may have seen it twice.
  bool may_be_repeated = false;
  std::string words;  // why, where it did not end well: the system's words or libcurl's
};

class HttpClient {
 public:
  // Gets the body in pieces; false ends the request.
  using Take = std::function<bool(std::string_view)>;

  // UNSUPPORTED when the library cannot be loaded, with the loader's words and the package to install.
  static Result<std::unique_ptr<HttpClient>> create(const char* library = "libcurl.so.4");
  ~HttpClient();

  // Never follows redirections, and goes past every proxy of the environment.
  HttpReply post(const std::string& url, std::string_view body, Nanoseconds limit, const Take& take);

 private:
  explicit HttpClient(const CurlLibrary& curl) : curl_(curl) {}

  const CurlLibrary& curl_;
  std::mutex mutex_;
  std::vector<curl::Handle*> idle_;  // with their open connections
};

}  // namespace tutti
