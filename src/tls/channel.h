// TlsChannel: one connection's TLS, over a non-blocking socket that somebody else owns and waits for.
//
// Never blocks. What it has taken from send() it keeps as records until the socket takes them, so the caller's memory
// is free at once: has_unsent() then says that the socket's next room is wanted. receive() stops short only where the
// socket has nothing more, so a short count means, as with recv, that the next bytes will wake whoever waits.
//
// Nothing is allocated for a stranger before his first byte has come, and that byte tells TLS, Tutti's own protocol
// without TLS, and anything else apart; up to the end of the handshake one costs some 50 KiB.
//
// One thread at a time.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/base/hmac.h"
#include "src/base/status.h"
#include "src/tls/context.h"

struct bio_st;
struct bio_method_st;
struct evp_md_st;
struct ssl_st;
struct ssl_session_st;
struct x509_store_ctx_st;

namespace tutti {

struct TlsFailure;

class TlsChannel {
 public:
  enum class Role : std::uint8_t { client, server };

  // `key` is the pre-shared key, unused with certificates; `peer` names the other end in errors.
  TlsChannel(std::shared_ptr<const TlsContext> context, Role role, const SecretKey& key, std::string peer);
  ~TlsChannel();
  TlsChannel(const TlsChannel&) = delete;
  TlsChannel& operator=(const TlsChannel&) = delete;

  enum class Step : std::uint8_t {
    waiting,  // for the socket: to be readable, or writable where has_unsent()
    done,     // both ends have shown who they are; not a byte of what follows was read before
    failed,   // status() says why; the peer has been told, where it could be
  };
  Step handshake(int fd);

  // As recvmsg and sendmsg: a count, or -1 and errno: EAGAIN, the socket's own, EPROTO where TLS has failed (see
  // status()). 0 from receive is the end of the stream; send of nothing passes on what is unsent.
  ssize_t receive(int fd, std::span<const iovec> parts);
  ssize_t send(int fd, std::span<const iovec> parts);

  // Much is to come: buffers for many records at a time, kept while nothing comes.
  void expect_much() { expects_much_ = true; }
  bool has_unsent() const { return sent_ < unsent_.size(); }
  bool has_unread() const;  // bytes that have come and were not received yet, perhaps half a record
  bool has_heard() const { return has_heard_; }  // anything at all
  bool failed() const { return !status_.is_ok(); }
  // INVALID: the peer and this process do not go together, or one of them is not what it should be. PEER_LOST: the
  // connection ended.
  const Status& status() const { return status_; }

  // 32 bytes that only the two ends of this session know (RFC 9266). REQUIRES: done.
  Result<Digest> binding() const;
  // "TLS_AES_128_GCM_SHA256". REQUIRES: done.
  std::string cipher() const;

  // OpenSSL's callbacks.
  static int on_certificate(int accepted, x509_store_ctx_st* check);
  static int on_key_wanted(ssl_st* ssl, const evp_md_st* digest, const unsigned char** identity,
                           std::size_t* identity_bytes, ssl_session_st** session);
  static int on_key_offered(ssl_st* ssl, const unsigned char* identity, std::size_t identity_bytes,
                            ssl_session_st** session);

 private:
  enum class State : std::uint8_t { unopened, shaking, done, failed };

  static bio_method_st* socket_method();
  static TlsChannel& of(bio_st* bio);
  static TlsChannel& of(ssl_st* ssl);
  bool open();
  bool hear_first(int fd);
  bool pass_on(int fd);
  ssize_t read_record(std::byte* to, std::size_t bytes);
  std::size_t write_record(const std::byte* from, std::size_t bytes);
  void grow();
  bool make_session(ssl_session_st** session) const;
  Step fail(Code code, std::string text);
  Step fail_in_tls();
  std::string explain_alert(const TlsFailure& failure) const;
  std::string explain_rejection() const;
  std::string explain(const TlsFailure& failure) const;

  const std::shared_ptr<const TlsContext> context_;
  const Role role_;
  SecretKey key_;
  const std::string peer_;
  State state_ = State::unopened;
  Status status_;
  ssl_st* ssl_ = nullptr;
  int fd_ = -1;  // during a call
  std::vector<std::byte> unsent_;
  std::size_t sent_ = 0;                 // of unsent_
  std::unique_ptr<std::byte[]> joined_;  // small parts that become one record
  std::uint64_t records_ = 0;            // sent under the present key
  std::string rejected_;                 // what is wrong with the peer's certificate
  bool was_offered_key_ = false;
  bool has_shaken_ = false;
  bool has_heard_ = false;
  bool expects_much_ = false;
  bool has_grown_ = false;
  bool ended_ = false;
  int read_error_ = 0;   // errno of the socket or EPROTO, which ends everything in this direction
  int write_error_ = 0;  // and in that
};

}  // namespace tutti
