// The functions of UCX that are used, found in the library that is installed.
#pragma once

#include <ucp/api/ucp.h>

#include <string>

#include "src/base/status.h"

namespace tutti::ucx {

struct Api {
  decltype(ucp_get_version)* get_version = nullptr;
  decltype(ucp_config_read)* config_read = nullptr;
  decltype(ucp_config_modify)* config_modify = nullptr;
  decltype(ucp_config_release)* config_release = nullptr;
  decltype(ucp_init_version)* init_version = nullptr;
  decltype(ucp_cleanup)* cleanup = nullptr;
  decltype(ucp_worker_create)* worker_create = nullptr;
  decltype(ucp_worker_destroy)* worker_destroy = nullptr;
  decltype(ucp_worker_get_address)* worker_get_address = nullptr;
  decltype(ucp_worker_release_address)* worker_release_address = nullptr;
  decltype(ucp_worker_get_efd)* worker_get_efd = nullptr;
  decltype(ucp_worker_arm)* worker_arm = nullptr;
  decltype(ucp_worker_progress)* worker_progress = nullptr;
  decltype(ucp_worker_set_am_recv_handler)* worker_set_am_recv_handler = nullptr;
  decltype(ucp_ep_create)* ep_create = nullptr;
  decltype(ucp_ep_close_nbx)* ep_close_nbx = nullptr;
  decltype(ucp_am_send_nbx)* am_send_nbx = nullptr;
  decltype(ucp_am_recv_data_nbx)* am_recv_data_nbx = nullptr;
  decltype(ucp_am_data_release)* am_data_release = nullptr;
  decltype(ucp_request_free)* request_free = nullptr;
  decltype(ucs_status_string)* status_string = nullptr;
  unsigned minor = 0;
  std::string version;  // "1.13.1"
};

// Of this process; loaded with the first call.
Result<const Api*> load_api();

// UCX's words and number for a status.
std::string words_of(const Api& api, ucs_status_t status);

}  // namespace tutti::ucx
