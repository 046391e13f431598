// The functions of libfabric that are used and not reached through its objects, found in the library that is
// installed.
#pragma once

#include <rdma/fabric.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

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
// Of a call that was to do `what` and has returned `error` (negative, or 0).
Status check(const Api& api, const fi_info& info, int error, std::string_view what);

// The address of an endpoint or listener.
Result<std::vector<std::byte>> address_of(const Api& api, const fi_info& info, fid& whose);

struct InfoFreer {
  const Api* api = nullptr;
  void operator()(fi_info* info) const { api->freeinfo(info); }
};
using Info = std::unique_ptr<fi_info, InfoFreer>;

// The endpoints to use: of the provider with this name, or, where it is empty, of the best; one for each of `domains`
// (OfiOptions). FI_EP_MSG where the provider has that itself and takes memory that is not registered, else FI_EP_RDM.
Result<std::vector<Info>> choose(const Api& api, const std::string& provider,
                                 const std::vector<std::string>& domains);

}  // namespace tutti::ofi
