#include "tests/process/attacker.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

namespace tutti_test {

namespace {

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::set<std::string> socket_inodes(int pid) {
  std::set<std::string> inodes;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  DIR* const directory = opendir(folder.c_str());
  if (directory == nullptr) return inodes;
  while (const dirent* const entry = readdir(directory)) {
    char target[128] = {};
    if (readlink((folder + "/" + entry->d_name).c_str(), target, sizeof target - 1) < 0) continue;
    const std::string text = target;
    if (text.starts_with("socket:[")) inodes.insert(text.substr(8, text.size() - 9));
  }
  closedir(directory);
  return inodes;
}

// Whether the other side has closed, or says something, within the time; what it says is read and forgotten.
void listen_for_a_moment(int fd, int wait_ms) {
  std::array<char, 512> heard{};
  pollfd watched{fd, POLLIN, 0};
  if (poll(&watched, 1, wait_ms) > 0) static_cast<void>(!recv(fd, heard.data(), heard.size(), MSG_DONTWAIT));
}

}  // namespace

std::vector<int> listening_ports(int pid) {
  const std::set<std::string> inodes = socket_inodes(pid);
  std::set<int> ports;
  for (const char* const table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
      std::istringstream words(line);
      std::array<std::string, 10> word;
      for (std::string& each : word) words >> each;
      if (word[3] != "0A" || !inodes.contains(word[9])) continue;  // 0A: listens
      ports.insert(static_cast<int>(std::strtol(word[1].substr(word[1].rfind(':') + 1).c_str(), nullptr, 16)));
    }
  }
  return {ports.begin(), ports.end()};
}

Attacker::~Attacker() {
  stop_listening();
  leave();
}

void Attacker::leave() {
  for (const int fd : std::exchange(open_, {})) close(fd);
}

int Attacker::connect_to(int port) const {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(port);
  if (fd >= 0 && connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

void Attacker::throw_at(int port, const std::string& bytes) {
  const int fd = connect_to(port);
  if (fd < 0) return;
  static_cast<void>(!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL));
  listen_for_a_moment(fd, static_cast<int>(random_.below(3)));
  close(fd);
}

void Attacker::talk_nonsense(int times) {
  for (int i = 0; i < times; ++i) {
    std::string bytes(1 + random_.below(5'000), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_.next());
    throw_at(ports_[random_.below(ports_.size())], bytes);
  }
}

void Attacker::claim_lengths(int times) {
  for (int i = 0; i < times; ++i) {
    std::string bytes = overheard_.substr(0, random_.below(overheard_.size() + 1));
    bytes += std::string(64, '\xff');
    throw_at(ports_[random_.below(ports_.size())], bytes);
  }
}

int Attacker::overhear(int port) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t length = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener, 8) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    close(listener);
    return -1;
  }
  relay_ = std::thread([this, listener, port] {
    const int caller = accept(listener, nullptr, nullptr);
    const int target = connect_to(port);
    std::array<char, 4096> bytes{};
    std::array<pollfd, 2> ends{{{caller, POLLIN, 0}, {target, POLLIN, 0}}};
    std::string said;
    for (bool open = caller >= 0 && target >= 0; open && poll(ends.data(), 2, 5'000) > 0;) {
      for (int i = 0; i < 2 && open; ++i) {
        if (ends[static_cast<std::size_t>(i)].revents == 0) continue;
        const ssize_t got = recv(i == 0 ? caller : target, bytes.data(), bytes.size(), 0);
        open = got > 0;
        if (!open) break;
        if (i == 0) said.append(bytes.data(), static_cast<std::size_t>(got));
        static_cast<void>(!send(i == 0 ? target : caller, bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL));
      }
    }
    for (const int fd : {caller, target, listener}) {
      if (fd >= 0) close(fd);
    }
    overheard_ = said;
  });
  return ntohs(address.sin_port);
}

void Attacker::stop_listening() {
  if (relay_.joinable()) relay_.join();
}

void Attacker::repeat_overheard(int times) {
  for (int i = 0; i < times; ++i) throw_at(ports_[random_.below(ports_.size())], overheard_);
}

std::size_t Attacker::crowd(std::size_t connections) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  std::size_t made = 0;
  for (std::size_t i = 0; i < connections; ++i) {
    const int fd = connect_to(ports_[i % ports_.size()]);
    if (fd < 0) continue;
    open_.push_back(fd);
    ++made;
  }
  return made;
}

void Attacker::trickle(int connections, int bytes, int pause_ms) {
  std::vector<int> slow;
  for (int i = 0; i < connections; ++i) {
    const int fd = connect_to(ports_[static_cast<std::size_t>(i) % ports_.size()]);
    if (fd >= 0) slow.push_back(fd);
  }
  for (int b = 0; b < bytes; ++b) {
    const char byte = static_cast<std::size_t>(b) < overheard_.size() ? overheard_[static_cast<std::size_t>(b)] : 'x';
    for (const int fd : slow) static_cast<void>(!send(fd, &byte, 1, MSG_NOSIGNAL));
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
  }
  for (const int fd : slow) close(fd);
}

}  // namespace tutti_test
