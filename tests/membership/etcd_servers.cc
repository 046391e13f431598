#include "tests/membership/etcd_servers.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "src/base/format.h"
#include "src/membership/http_client.h"
#include "src/membership/tcp_socket.h"
#include "tests/membership/store_sites.h"

namespace tutti {

namespace {

using namespace std::chrono_literals;

std::string find_program() {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/etcd").c_str(), X_OK) == 0) return folder + "/etcd";
  }
  return {};
}

int free_port() {
  const auto listener = listen_at({"127.0.0.1", 0});
  return *local_port(listener->get());
}

}  // namespace

std::string EtcdServers::missing() {
  if (find_program().empty()) return "there is no etcd here (package etcd-server)";
  return HttpClient::create().status().text();
}

std::string EtcdServers::url(int port) const {
  return format("{}://127.0.0.1:{}", files_.authority.empty() ? "http" : "https", port);
}

EtcdServers::EtcdServers(int members, const std::vector<std::string>& arguments)
    : EtcdServers(members, arguments, {}) {}

EtcdServers::EtcdServers(int members, const HttpCertificates& files)
    : EtcdServers(members,
                  {"--cert-file", files.certificate, "--key-file", files.key, "--trusted-ca-file", files.authority,
                   "--client-cert-auth", "--peer-cert-file", files.certificate, "--peer-key-file", files.key,
                   "--peer-trusted-ca-file", files.authority, "--peer-client-cert-auth"},
                  files) {}

EtcdServers::EtcdServers(int members, const std::vector<std::string>& arguments, const HttpCertificates& files)
    : arguments_(arguments), files_(files), directory_(make_directory()) {
  members_.resize(static_cast<std::size_t>(members));
  for (Member& member : members_) {
    member.client_port = free_port();
    member.peer_port = free_port();
  }
  for (int m = 0; m < members; ++m) start(m);
  wait_until_serving();
}

EtcdServers::~EtcdServers() {
  members_.clear();
  std::filesystem::remove_all(directory_);
}

void EtcdServers::start(int index) {
  std::string cluster;
  for (std::size_t m = 0; m < members_.size(); ++m)
    cluster += format("{}m{}={}", m > 0 ? "," : "", m, url(members_[m].peer_port));
  Member& member = members_[static_cast<std::size_t>(index)];
  std::vector<std::string> command = {find_program(),
                                      "--name",
                                      format("m{}", index),
                                      "--data-dir",
                                      format("{}/m{}", directory_, index),
                                      "--listen-client-urls",
                                      url(member.client_port),
                                      "--advertise-client-urls",
                                      url(member.client_port),
                                      "--listen-peer-urls",
                                      url(member.peer_port),
                                      "--initial-advertise-peer-urls",
                                      url(member.peer_port),
                                      "--initial-cluster",
                                      cluster,
                                      "--initial-cluster-token",
                                      "tests",
                                      "--unsafe-no-fsync"};
  command.insert(command.end(), arguments_.begin(), arguments_.end());
  member.process = std::make_unique<ChildProcess>(command, format("{}/log{}", directory_, index));
}

void EtcdServers::wait_until_serving() {
  const std::string read = R"({"key":"YQ=="})";
  for (int m = 0; m < size(); ++m) {
    while (ask(m, "kv/range", read).find("\"header\"") == std::string::npos) {
      ChildProcess& process = *members_[static_cast<std::size_t>(m)].process;
      if (process.has_ended()) {
        ADD_FAILURE() << "etcd has ended: " << process.output();
        return;
      }
      std::this_thread::sleep_for(20ms);
    }
  }
}

std::string EtcdServers::ask(int member, const std::string& path, const std::string& request,
                             const std::string& token) const {
  const auto client = HttpClient::create(files_);
  if (!client) return {};
  std::string body;
  const auto take = [&](std::string_view piece) {
    body += piece;
    return true;
  };
  const int port = members_[static_cast<std::size_t>(member)].client_port;
  const HttpReply reply = (*client)->post(format("{}/v3/{}", url(port), path), request, 5s, take, token);
  return reply.end == HttpReply::End::answered ? body : std::string();
}

std::string EtcdServers::address(const std::string& prefix) const {
  std::string text = files_.authority.empty() ? "etcd://" : "etcds://";
  for (const Member& member : members_)
    text += format("{}127.0.0.1:{}", &member == members_.data() ? "" : ",", member.client_port);
  return text + "/" + prefix;
}

int EtcdServers::leader() const {
  while (true) {
    for (int m = 0; m < size(); ++m) {
      if (members_[static_cast<std::size_t>(m)].process->has_ended()) continue;
      const auto status = nlohmann::json::parse(ask(m, "maintenance/status", "{}"), nullptr, false);
      if (!status.is_object() || !status.contains("leader")) continue;
      if (status["leader"] == status["header"]["member_id"]) return m;
    }
    std::this_thread::sleep_for(20ms);
  }
}

void EtcdServers::signal(int member, int number) const {
  members_[static_cast<std::size_t>(member)].process->signal(number);
}

void EtcdServers::kill(int member) {
  signal(member, SIGKILL);
  members_[static_cast<std::size_t>(member)].process->wait();
}

void EtcdServers::restart(int member) { start(member); }

EtcdServers& shared_etcd() {
  static const auto servers = std::make_unique<EtcdServers>(1);
  return *servers;
}

}  // namespace tutti
