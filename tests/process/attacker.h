// Attacker: what a stranger without the secret may do to a listening port: it connects and talks nonsense, begins and
// says no more, claims lengths that nobody has, repeats what it has overheard, is slow, and comes in crowds.
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "src/base/random.h"

namespace tutti_test {

// Ports of 127.0.0.1 or of all addresses on which the process listens.
std::vector<int> listening_ports(int pid);

class Attacker {
 public:
  Attacker(std::vector<int> ports, std::uint64_t seed) : ports_(std::move(ports)), random_(seed) {}
  ~Attacker();
  Attacker(const Attacker&) = delete;
  Attacker& operator=(const Attacker&) = delete;

  void talk_nonsense(int times);
  void claim_lengths(int times);  // as tall as they can be written, after every number of bytes
  // Stands between somebody who knows the secret and a port, and keeps what he says. Returns the port to be called;
  // one connection is overheard, until it ends.
  int overhear(int port);
  void stop_listening();  // waits for that end
  void repeat_overheard(int times);
  // Connections that stay, silent: as many of `crowd` as the port and this process's descriptors allow.
  std::size_t crowd(std::size_t connections);
  // A byte of a true beginning at a time, on `connections` of them.
  void trickle(int connections, int bytes, int pause_ms);
  void leave();  // closes all that stays

  const std::string& overheard() const { return overheard_; }

 private:
  int connect_to(int port) const;
  void throw_at(int port, const std::string& bytes);

  std::vector<int> ports_;
  tutti::Random random_;
  std::vector<int> open_;
  std::string overheard_;
  std::thread relay_;
};

}  // namespace tutti_test
