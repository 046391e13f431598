// An authority and certificates of its own making, as PEM files in a directory that goes with this object.
#pragma once

#include <string>

#include "src/tls/context.h"

namespace tutti {

class Certificates {
 public:
  // What is to be wrong with a certificate.
  enum class Flaw { none, expired, not_yet, only_for_servers };

  Certificates();
  ~Certificates();
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  const std::string& directory() const { return directory_; }
  std::string authority() const { return directory_ + "/authority.pem"; }
  std::string certificate(const std::string& name) const { return directory_ + "/" + name + ".pem"; }
  std::string key(const std::string& name) const { return directory_ + "/" + name + ".key"; }

  // Makes certificate(name) and key(name), signed by the authority. Every name "localhost" and 127.0.0.1 is in it.
  void issue(const std::string& name, Flaw flaw = Flaw::none) const;
  // The same key as a file that a passphrase locks.
  void lock(const std::string& name, const std::string& path) const;

  TlsOptions options(const std::string& name) const;

 private:
  std::string directory_;
  struct Keeper;
  Keeper* keeper_;
};

// A context that is known to be good.
std::shared_ptr<const TlsContext> make_context(TlsOptions options);
std::shared_ptr<const TlsContext> psk_context();

}  // namespace tutti
