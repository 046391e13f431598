// Places to test stores at: each site is one shared store, and gives out handles on it as different processes would
// have them.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "src/membership/store.h"

namespace tutti {

class StoreSite {
 public:
  // Empty, or why the tests at this site are to be skipped: then nothing else may be called.
  virtual std::string missing() const { return {}; }
  virtual ~StoreSite() = default;
  virtual std::shared_ptr<Store> open() = 0;
  // Whether a process that is forked while the site is there can open it, too.
  virtual bool spans_processes() const { return true; }
  // How long a few first calls may take here.
  virtual Nanoseconds patience() const { return std::chrono::milliseconds(100); }
};

struct SiteKind {
  std::string name;
  std::unique_ptr<StoreSite> (*make)();
};

std::unique_ptr<StoreSite> make_memory_site();
std::unique_ptr<StoreSite> make_file_site();
std::unique_ptr<StoreSite> make_tcp_site();
std::unique_ptr<StoreSite> make_tcp_key_site();           // inside TLS, by a pre-shared key
std::unique_ptr<StoreSite> make_tcp_certificates_site();  // and by certificates
std::unique_ptr<StoreSite> make_etcd_site();
std::unique_ptr<StoreSite> make_callback_site();  // on a memory store's get and set_if_absent
std::unique_ptr<StoreSite> make_torch_site();     // on what a store of torch offers

inline const SiteKind kSiteKinds[] = {{"memory", make_memory_site},
                                      {"file", make_file_site},
                                      {"tcp", make_tcp_site},
                                      {"tcp_key", make_tcp_key_site},
                                      {"tcp_certificates", make_tcp_certificates_site},
                                      {"etcd", make_etcd_site},
                                      {"callback", make_callback_site},
                                      {"torch", make_torch_site}};

inline std::string site_name(const testing::TestParamInfo<SiteKind>& info) { return info.param.name; }

std::string make_directory();  // fresh, for one test
Instant soon();                // a deadline that passes at once for a person, but not for a loaded machine
Instant later();               // one that only a test that hangs reaches

}  // namespace tutti
