// The functions of libfabric that are used and not reached through its objects, found in the library that is
// installed.
#pragma once

#include <rdma/fabric.h>

#include <memory>
#include <string>

#include "src/base/status.h"

namespace tutti::ofi {

struct Api {
  decltype(fi_version)* version_of = nullptr;
  decltype(fi_getinfo)* getinfo = nullptr;
  decltype(fi_freeinfo)* freeinfo = nullptr;
  decltype(fi_dupinfo)* dupinfo = nullptr;
  decltype(fi_fabric)* fabric = nullptr;
  decltype(fi_strerror)* strerror = nullptr;
  std::string version;  // "1.17"
};

// Of this process; loaded with the first call.
Result<const Api*> load_api();

// libfabric's words and number for an error (positive).
std::string words_of(const Api& api, int error);

struct InfoFreer {
  const Api* api = nullptr;
  void operator()(fi_info* info) const { api->freeinfo(info); }
};
using Info = std::unique_ptr<fi_info, InfoFreer>;

// The endpoint to use: of the provider with this name, or, where it is empty, of the best.
Result<Info> choose(const Api& api, const std::string& provider);

}  // namespace tutti::ofi
