#include "src/base/handshake.h"

#include <algorithm>
#include <cstring>

#include "src/base/bytes.h"
#include "src/base/format.h"
#include "src/base/random.h"

namespace tutti {

namespace {

constexpr std::array<char, 8> kMagic = {'\x8e', 'T', 'U', 'T', 'T', 'I', '\r', '\n'};
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kHelloBytes = kHeaderBytes + sizeof(Nonce);
constexpr std::size_t kAnswerBytes = kHeaderBytes + sizeof(Nonce) + sizeof(Digest);
constexpr std::size_t kProofBytes = kHeaderBytes + sizeof(Digest);
constexpr std::string_view kLabel = "tutti handshake";

constexpr std::byte kTlsHandshakeRecord{0x16};

}  // namespace

Result<Nonce> new_nonce() {
  Nonce nonce;
  TUTTI_RETURN_IF_ERROR(secure_random(nonce));
  return nonce;
}

Handshake::Handshake(Role role, const SecretKey& key, const Nonce& nonce, std::string peer)
    : role_(role),
      key_(key),
      peer_(std::move(peer)),
      state_(role == Role::client ? State::client_awaits_answer : State::server_awaits_hello) {
  (role == Role::client ? client_nonce_ : server_nonce_) = nonce;
  if (role == Role::client) {
    put_header(Refusal::none);
    put(client_nonce_);
  }
}

Status Handshake::bind(std::span<const std::byte> channel) {
  const auto bound = hmac_sha256(key_, channel);
  if (!bound) return bound.status();
  key_ = *bound;
  return {};
}

std::size_t Handshake::wanted() const {
  switch (state_) {
    case State::server_awaits_hello:
      return kHelloBytes - input_.size();
    case State::client_awaits_answer:
      return kAnswerBytes - input_.size();
    case State::server_awaits_proof:
      return kProofBytes - input_.size();
    case State::done:
    case State::failed:
      return 0;
  }
  return 0;
}

std::size_t Handshake::feed(std::span<const std::byte> arrived) {
  std::size_t used = 0;
  while (used < arrived.size() && wanted() > 0) {
    // The header is judged as soon as it is there: a refusal is shorter than the message it stands for, and a
    // stranger is sent away at once.
    const std::size_t until_header = input_.size() < kHeaderBytes ? kHeaderBytes - input_.size() : wanted();
    const std::size_t take = std::min(until_header, arrived.size() - used);
    input_.insert(input_.end(), arrived.begin() + static_cast<std::ptrdiff_t>(used),
                  arrived.begin() + static_cast<std::ptrdiff_t>(used + take));
    used += take;
    if (input_.size() == kHeaderBytes && !check_header()) return used;
    if (wanted() == 0) handle_message();
  }
  return used;
}

std::vector<std::byte> Handshake::take_output() { return std::exchange(output_, {}); }

std::string_view Handshake::explain(Refusal refusal) {
  switch (refusal) {
    case Refusal::secret:
      return "has another secret (TUTTI_SECRET)";
    case Refusal::without_tls:
      return "does not use TLS, this process does (TUTTI_TLS). Give every process of the job the same TUTTI_TLS";
    case Refusal::with_tls:
      return "uses TLS, this process does not (TUTTI_TLS). Give every process of the job the same TUTTI_TLS";
    case Refusal::none:
    case Refusal::version:
      break;
  }
  return "speaks another version of the handshake";
}

bool Handshake::check_header() {
  const bool magic = std::memcmp(input_.data(), kMagic.data(), kMagic.size()) == 0;
  const auto role = static_cast<Role>(load_little_endian<std::uint16_t>(&input_[10]));
  if (begins_tls(input_[0])) {
    put_header(Refusal::without_tls);
    fail(Code::invalid,
         format(
             "{} begins with TLS, which this process does not use (TUTTI_TLS is off); connection refused. Give every "
             "process of the job the same TUTTI_TLS",
             peer_));
    return false;
  }
  if (!magic || (role != Role::client && role != Role::server)) {
    fail(Code::invalid,
         format("{} does not speak Tutti's protocol; connection refused. Check that the address is that "
                "of a process of this job",
                peer_));
    return false;
  }
  if (role == role_) {
    fail(Code::invalid, format("{} sent back a message of our own role; connection refused", peer_));
    return false;
  }
  const auto version = load_little_endian<std::uint16_t>(&input_[8]);
  const auto refusal = load_little_endian<std::uint32_t>(&input_[12]);
  if (version != kVersion) {
    if (refusal == static_cast<std::uint32_t>(Refusal::none)) put_header(Refusal::version);
    fail(Code::invalid,
         format("{} speaks version {} of the handshake, this process version {}; connection refused. Run "
                "the same Tutti everywhere",
                peer_, version, kVersion));
    return false;
  }
  if (refusal != static_cast<std::uint32_t>(Refusal::none)) {
    fail(Code::invalid, format("{} refused the connection: it {}", peer_, explain(static_cast<Refusal>(refusal))));
    return false;
  }
  return true;
}

void Handshake::handle_message() {
  switch (state_) {
    case State::server_awaits_hello:
      return handle_hello();
    case State::client_awaits_answer:
      return handle_answer();
    case State::server_awaits_proof:
      return handle_proof();
    case State::done:
    case State::failed:
      return;
  }
}

void Handshake::handle_hello() {
  std::memcpy(client_nonce_.data(), body().data(), client_nonce_.size());
  const auto proof = proof_of(Role::server);
  if (!proof) return fail(proof.status().code(), proof.status().text());
  put_header(Refusal::none);
  put(server_nonce_);
  put(*proof);
  input_.clear();
  state_ = State::server_awaits_proof;
}

void Handshake::handle_answer() {
  std::memcpy(server_nonce_.data(), body().data(), server_nonce_.size());
  const auto expected = proof_of(Role::server);
  const auto proof = proof_of(Role::client);
  if (!expected || !proof) return fail(Code::system, (expected ? proof.status() : expected.status()).text());
  if (server_nonce_ == client_nonce_ || !equal_in_constant_time(*expected, body().subspan(sizeof(Nonce)))) {
    return fail_without_proof();
  }
  put_header(Refusal::none);
  put(*proof);
  input_.clear();
  state_ = State::done;
}

void Handshake::handle_proof() {
  const auto expected = proof_of(Role::client);
  if (!expected) return fail(expected.status().code(), expected.status().text());
  if (!equal_in_constant_time(*expected, body())) return fail_without_proof();
  input_.clear();
  state_ = State::done;
}

void Handshake::put_header(Refusal refusal) {
  ByteWriter<std::vector<std::byte>> header;
  header.put(std::string_view(kMagic.data(), kMagic.size()));
  header.put(kVersion);
  header.put(static_cast<std::uint16_t>(role_));
  header.put(static_cast<std::uint32_t>(refusal));
  put(header.take());
}

void Handshake::put(std::span<const std::byte> bytes) { output_.insert(output_.end(), bytes.begin(), bytes.end()); }

Result<Digest> Handshake::proof_of(Role prover) const {
  ByteWriter<std::vector<std::byte>> text;
  text.put(kLabel);
  text.put(kVersion);
  text.put(static_cast<std::uint16_t>(prover));
  text.put(std::as_bytes(std::span(client_nonce_)));
  text.put(std::as_bytes(std::span(server_nonce_)));
  return hmac_sha256(key_, text.take());
}

std::span<const std::byte> Handshake::body() const { return std::span(input_).subspan(kHeaderBytes); }

void Handshake::fail(Code code, std::string text) {
  status_ = Status(code, std::move(text));
  state_ = State::failed;
  input_.clear();
}

void Handshake::fail_without_proof() {
  put_header(Refusal::secret);
  fail(Code::invalid,
       format(
           "{} did not prove that it knows the secret (TUTTI_SECRET); connection refused. Give every process of the "
           "job the same secret",
           peer_));
}

std::vector<std::byte> refusal_of_plain_client() {
  Handshake none(Handshake::Role::server, SecretKey{}, Nonce{}, {});
  none.put_header(Handshake::Refusal::with_tls);
  return none.take_output();
}

bool begins_handshake(std::byte first) { return first == static_cast<std::byte>(kMagic[0]); }
bool begins_tls(std::byte first) { return first == kTlsHandshakeRecord; }

}  // namespace tutti
