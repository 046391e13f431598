// Handshake: how two processes prove to each other, before anything else is said on a connection, that both know the
// secret, without sending it. A state machine without I/O, used by the store and by the tcp transport alike.
//
//      client                                                            server
//        |  hello:  header | nonce of the client                 48 bytes  |
//        | ---------------------------------------------------------------> |
//        |  answer: header | nonce of the server | proof        80 bytes    |
//        | <--------------------------------------------------------------- |
//        |  proof:  header | proof                               48 bytes  |
//        | ---------------------------------------------------------------> |
//
// header = magic (8) | version (2) | role of the sender (2) | refusal (4), little-endian.
// proof  = HMAC-SHA256(key, "tutti handshake" | version | role of the sender | nonce of client | nonce of server).
//
// The role is under the proof and each side refuses its own role, so a message sent back to its sender proves
// nothing. Every message has a fixed size, so an instance never holds more than 80 bytes of a stranger. Secrets are
// compared in constant time. A side that refuses says why in a last header, so that both ends report the cause. After
// the proof the client may send at once. What follows is neither encrypted nor signed: that is TLS's job (src/tls).
// Inside TLS the key is bound to the TLS session, so that a proof passed on from one session to another is worth
// nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/hmac.h"
#include "src/base/status.h"

namespace tutti {

using Nonce = std::array<std::byte, 32>;

Result<Nonce> new_nonce();

class Handshake {
 public:
  enum class Role : std::uint16_t { client = 1, server = 2 };

  // `key` comes from derive_key and must differ between protocols; `nonce` from new_nonce, a new one each time;
  // `peer` names the other end in errors, such as "10.0.0.7:41200".
  Handshake(Role role, const SecretKey& key, const Nonce& nonce, std::string peer);

  // Mixes what only the two ends of the channel below know into the key. Before any bytes are fed, on both sides.
  Status bind(std::span<const std::byte> channel);

  // Takes bytes that arrived and returns how many it used; what is left belongs to the protocol that follows. Uses
  // nothing once done or failed.
  std::size_t feed(std::span<const std::byte> arrived);

  // How many more bytes the next message needs: who reads exactly so many never reads into the next protocol.
  std::size_t wanted() const;

  // The bytes to send now, to be called after construction and after each feed, also after the one that failed (the
  // refusal is in it).
  std::vector<std::byte> take_output();

  bool done() const { return state_ == State::done; }
  bool failed() const { return state_ == State::failed; }
  const Status& status() const { return status_; }  // why it failed; ok otherwise

 private:
  enum class State : std::uint8_t { server_awaits_hello, client_awaits_answer, server_awaits_proof, done, failed };
  enum class Refusal : std::uint32_t { none = 0, version = 1, secret = 2, without_tls = 3, with_tls = 4 };
  friend std::vector<std::byte> refusal_of_plain_client();
  static std::string_view explain(Refusal refusal);

  void handle_message();
  bool check_header();
  void handle_hello();
  void handle_answer();
  void handle_proof();
  void put_header(Refusal refusal);
  void put(std::span<const std::byte> bytes);
  Result<Digest> proof_of(Role prover) const;
  std::span<const std::byte> body() const;
  void fail(Code code, std::string text);
  void fail_without_proof();

  const Role role_;
  SecretKey key_;
  const std::string peer_;
  Nonce client_nonce_{};
  Nonce server_nonce_{};
  State state_;
  Status status_;
  std::vector<std::byte> input_;
  std::vector<std::byte> output_;
};

// What tells a client that speaks this protocol without TLS that it is expected inside TLS; and whether bytes that
// begin with `first` are of this protocol, or of TLS.
std::vector<std::byte> refusal_of_plain_client();
bool begins_handshake(std::byte first);
bool begins_tls(std::byte first);

}  // namespace tutti
