// tutti-store: the embedded tcp store by itself, for jobs whose store is not to end with rank 0. What it holds is in
// its memory alone: when it ends, the jobs that use it lose it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "src/base/format.h"
#include "src/base/ids.h"
#include "src/base/log_sink.h"
#include "src/base/settings.h"
#include "src/membership/stores.h"

namespace tutti {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

struct Options {
  std::string host;
  std::uint16_t port = 0;
  std::string secret_file;
};

int complain(const Status& status, int exit_status) {
  std::fprintf(stderr, "tutti-store: %s\n", status.text().c_str());
  return exit_status;
}

int serve(const Options& options) {
  // Blocked before any thread exists, so that every thread inherits it and the signal waits for sigwait.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, nullptr);

  std::vector<std::string> overrides;
  if (!options.secret_file.empty()) overrides = {"TUTTI_SECRET=", "TUTTI_SECRET_FILE=" + options.secret_file};
  const auto settings = read_settings(environ, overrides);
  if (!settings) return complain(settings.status(), kExitUsage);
  const auto access = read_store_access(*settings);
  if (!access) return complain(access.status(), kExitUsage);
  const auto log = make_log(*settings);
  if (!log) return complain(log.status(), kExitUsage);

  TcpStoreServer::Options server_options;
  server_options.host = options.host;
  server_options.port = options.port;
  server_options.secret = access->secret;
  server_options.tls = access->tls;
  const auto server = TcpStoreServer::start(std::move(server_options), *log);
  if (!server) return complain(server.status().prefixed("no store was started"), kExitFailed);
  std::printf("%s\n", (*server)->address(options.host.empty() ? host_name() : options.host).c_str());
  if (std::fflush(stdout) != 0) return complain(Status::from_errno(errno, "print the address"), kExitFailed);
  if (access->secret.empty() && access->tls == nullptr) {
    log->write(LogLevel::warn, "store", "there is no secret (TUTTI_SECRET): whoever reaches this port is let in");
  }
  int signal = 0;
  sigwait(&ends, &signal);
  return 0;
}

}  // namespace
}  // namespace tutti

int main(int argc, char** argv) {
  tutti::Options options;
  CLI::App app(
      "Runs the store at which the processes of jobs meet (TUTTI_STORE), until SIGTERM or SIGINT. The first line "
      "that "
      "it prints is its address. TUTTI_SECRET, TUTTI_SECRET_FILE, TUTTI_TLS and TUTTI_LOG are read as by every "
      "process of a "
      "job.");
  app.add_option("--host", options.host, "Address or name of this host to listen at; all addresses if not given");
  app.add_option("--port", options.port, "Port to listen at; any that is free if not given");
  app.add_option("--secret-file", options.secret_file,
                 "File that holds the secret, readable by its owner alone; instead of TUTTI_SECRET");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : tutti::kExitUsage;
  }
  return tutti::serve(options);
}
