// What TLS costs: processor time per GB through a connection over loopback, bare and inside TLS, by one thread that
// is both ends in turn; beside it the cipher alone, on memory in the cache, which is the limit. In one run, in turns.
//
//     benchmark_tls [GB for each figure]
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "src/tls/conduit.h"

namespace {

using namespace tutti;

constexpr std::size_t kRecordBytes = 16 << 10;
constexpr int kRounds = 5;

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "benchmark_tls: %s\n", why.c_str());
  std::exit(1);
}

// Seconds per GB to encrypt records of TLS's largest size.
double measure_cipher(double gigabytes) {
  EVP_CIPHER_CTX* const context = EVP_CIPHER_CTX_new();
  const unsigned char key[16] = {};
  const unsigned char nonce[12] = {};
  std::vector<unsigned char> in(kRecordBytes);
  std::vector<unsigned char> out(kRecordBytes);
  const auto records = static_cast<std::size_t>(gigabytes * 1e9 / kRecordBytes);
  const double start = processor_seconds();
  for (std::size_t i = 0; i < records; ++i) {
    int bytes = 0;
    unsigned char tag[16];
    EVP_EncryptInit_ex(context, i == 0 ? EVP_aes_128_gcm() : nullptr, nullptr, i == 0 ? key : nullptr, nonce);
    EVP_EncryptUpdate(context, out.data(), &bytes, in.data(), static_cast<int>(in.size()));
    EVP_EncryptFinal_ex(context, out.data() + bytes, &bytes);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, sizeof tag, tag);
  }
  const double seconds = processor_seconds() - start;
  EVP_CIPHER_CTX_free(context);
  return seconds / gigabytes;
}

struct Connection {
  Connection() {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t bytes = sizeof address;
    near = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, generic, bytes) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, generic, &bytes) != 0 || connect(near, generic, bytes) != 0) {
      give_up(Status::from_errno(errno, "connect over loopback").text());
    }
    far = accept(listener, nullptr, nullptr);
    close(listener);
  }
  ~Connection() {
    close(near);
    close(far);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  int near = -1;
  int far = -1;
};

// Seconds per GB in messages of this size, for both ends together.
double measure(Conduit near, Conduit far, std::size_t message, double gigabytes) {
  std::vector<std::byte> source(message);
  std::vector<std::byte> target(message);
  const auto total = static_cast<std::size_t>(gigabytes * 1e9);
  std::size_t offset = 0;
  const double start = processor_seconds();
  for (std::size_t received = 0; received < total;) {
    const ssize_t taken = send_to(near, source.data() + offset, message - offset);
    if (taken > 0) offset = (offset + static_cast<std::size_t>(taken)) % message;
    ssize_t got = 0;
    while ((got = receive_from(far, target.data(), message)) > 0) received += static_cast<std::size_t>(got);
    if (got == 0 || errno != EAGAIN) give_up("the connection has ended");
  }
  return (processor_seconds() - start) / gigabytes;
}

}  // namespace

int main(int argc, char** argv) {
  const double gigabytes = argc > 1 ? std::atof(argv[1]) : 0.5;
  const auto context = TlsContext::create(TlsOptions{});
  if (!context) give_up(context.status().text());
  const Connection bare;
  const Connection secure;
  TlsChannel client(*context, TlsChannel::Role::client, SecretKey{}, "the server");
  TlsChannel server(*context, TlsChannel::Role::server, SecretKey{}, "the client");
  while (client.handshake(secure.near) != TlsChannel::Step::done ||
         server.handshake(secure.far) != TlsChannel::Step::done) {
    static_cast<void>(server.handshake(secure.far));
    if (client.failed() || server.failed()) give_up(client.status().text() + server.status().text());
  }
  client.expect_much();
  server.expect_much();
  std::printf("Processor seconds per GB, median of %d rounds of %.1f GB; %s\n", kRounds, gigabytes,
              client.cipher().c_str());
  std::printf("%12s %10s %10s %12s\n", "message", "bare", "TLS", "cipher twice");
  for (const std::size_t message : {std::size_t{64} << 10, std::size_t{1} << 20, std::size_t{16} << 20}) {
    std::vector<double> without;
    std::vector<double> with;
    std::vector<double> limit;
    for (int round = 0; round < kRounds; ++round) {
      limit.push_back(2 * measure_cipher(gigabytes));
      without.push_back(measure(bare.near, bare.far, message, gigabytes));
      with.push_back(measure({secure.near, &client}, {secure.far, &server}, message, gigabytes));
    }
    std::printf("%12zu %10.3f %10.3f %12.3f\n", message, median(without), median(with), median(limit));
  }
  return 0;
}
