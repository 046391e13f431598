// Real etcd members on free loopback ports, for one test or one test program. They end with this object, or with the
// process, and leave nothing behind.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/membership/http_client.h"
#include "tests/membership/child_process.h"

namespace tutti {

class EtcdServers {
 public:
  // Waits until the cluster serves.
  explicit EtcdServers(int members, const std::vector<std::string>& arguments = {});
  // Behind TLS: `files` names the authority, and the certificate and key that the members and ask() show.
  EtcdServers(int members, const HttpCertificates& files);
  ~EtcdServers();

  // Empty where etcd is installed, else why a test is to be skipped.
  static std::string missing();

  std::string address(const std::string& prefix) const;  // for TUTTI_STORE, with all members
  int size() const { return static_cast<int>(members_.size()); }
  int leader() const;  // of the living; waits until there is one
  void signal(int member, int number) const;
  void kill(int member);  // SIGKILL, and waits until it is gone
  void restart(int member);

  // What a member answers to a request of the v3 API; empty when nothing.
  std::string ask(int member, const std::string& path, const std::string& request,
                  const std::string& token = {}) const;

 private:
  struct Member {
    int client_port = 0;
    int peer_port = 0;
    std::unique_ptr<ChildProcess> process;
  };
  EtcdServers(int members, const std::vector<std::string>& arguments, const HttpCertificates& files);
  void start(int member);
  std::string url(int port) const;
  void wait_until_serving();

  const std::vector<std::string> arguments_;
  const HttpCertificates files_;
  std::string directory_;
  std::vector<Member> members_;
};

// One member for all tests of a program that leave it alive; each takes a prefix of its own. To be called first by
// the main thread, since what a thread starts dies with it.
EtcdServers& shared_etcd();

}  // namespace tutti
