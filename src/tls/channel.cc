#include "src/tls/channel.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "src/base/format.h"
#include "src/base/handshake.h"
#include "src/tls/words.h"

namespace tutti {

namespace {

constexpr std::size_t kRecordBytes = SSL3_RT_MAX_PLAIN_LENGTH;
constexpr std::size_t kUnsentBytes = 128 << 10;      // records that go out by one system call
constexpr std::size_t kReadBufferBytes = 144 << 10;  // and come in by one, once the peer is known
constexpr std::string_view kBindingLabel = "EXPORTER-Channel-Binding";
constexpr unsigned char kCipher[] = {0x13, 0x01};  // TLS_AES_128_GCM_SHA256, which stands for its hash

}  // namespace

TlsChannel::TlsChannel(std::shared_ptr<const TlsContext> context, Role role, const SecretKey& key, std::string peer)
    : context_(std::move(context)), role_(role), key_(key), peer_(std::move(peer)) {}

TlsChannel::~TlsChannel() {
  SSL_free(ssl_);
  OPENSSL_cleanse(key_.data(), key_.size());
}

// ---- Between OpenSSL and the socket.

// What OpenSSL reads comes from the socket; what it writes is kept, and leaves with pass_on: many records at a time.
bio_method_st* TlsChannel::socket_method() {
  static bio_method_st* const method = [] {
    BIO_METHOD* const made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tutti socket");
    if (made == nullptr) return made;
    BIO_meth_set_create(made, [](BIO* bio) {
      BIO_set_init(bio, 1);
      return 1;
    });
    BIO_meth_set_write(made, [](BIO* bio, const char* bytes, int count) {
      TlsChannel& channel = of(bio);
      const auto* const from = reinterpret_cast<const std::byte*>(bytes);
      channel.unsent_.insert(channel.unsent_.end(), from, from + count);
      return count;
    });
    BIO_meth_set_read(made, [](BIO* bio, char* to, int count) {
      TlsChannel& channel = of(bio);
      BIO_clear_retry_flags(bio);
      ssize_t got = -1;
      do {
        got = recv(channel.fd_, to, static_cast<std::size_t>(count), MSG_DONTWAIT);
      } while (got < 0 && errno == EINTR);
      if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        BIO_set_retry_read(bio);
      } else if (got < 0) {
        channel.read_error_ = errno;
      } else if (got == 0) {
        channel.ended_ = true;
      }
      return static_cast<int>(got);
    });
    BIO_meth_set_ctrl(made, [](BIO* bio, int command, long, void*) -> long {
      if (command == BIO_CTRL_EOF) return of(bio).ended_ ? 1 : 0;
      return command == BIO_CTRL_FLUSH ? 1 : 0;
    });
    return made;
  }();
  return method;
}

TlsChannel& TlsChannel::of(bio_st* bio) { return *static_cast<TlsChannel*>(BIO_get_data(bio)); }
TlsChannel& TlsChannel::of(ssl_st* ssl) { return *static_cast<TlsChannel*>(SSL_get_app_data(ssl)); }

bool TlsChannel::open() {
  ERR_clear_error();
  BIO* const bio = socket_method() != nullptr ? BIO_new(socket_method()) : nullptr;
  ssl_ = bio != nullptr ? SSL_new(context_->get()) : nullptr;
  if (ssl_ == nullptr) {
    BIO_free(bio);
    fail(Code::system, format("TLS with {} could not be begun: {}", peer_, take_tls_words()));
    return false;
  }
  BIO_set_data(bio, this);
  SSL_set_app_data(ssl_, this);
  SSL_set_bio(ssl_, bio, bio);
  role_ == Role::client ? SSL_set_connect_state(ssl_) : SSL_set_accept_state(ssl_);
  state_ = State::shaking;
  return true;
}

// True once the socket has taken everything.
bool TlsChannel::pass_on(int fd) {
  while (has_unsent()) {
    const ssize_t sent = ::send(fd, unsent_.data() + sent_, unsent_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS) write_error_ = errno;
      return false;
    }
    sent_ += static_cast<std::size_t>(sent);
  }
  sent_ = 0;
  unsent_.clear();
  if (!expects_much_) unsent_.shrink_to_fit();
  return true;
}

// ---- The handshake.

TlsChannel::Step TlsChannel::handshake(int fd) {
  if (state_ == State::done) return Step::done;
  if (state_ == State::failed) return Step::failed;
  fd_ = fd;
  // A client speaks first; what comes back then is judged like a stranger's first words.
  const bool has_begun = ssl_ != nullptr;
  if (!has_begun && role_ == Role::client && !open()) return Step::failed;
  if (!has_heard_ && (has_begun || role_ == Role::server) && !hear_first(fd)) {
    if (state_ != State::failed && has_unsent()) pass_on(fd);
    return state_ == State::failed ? Step::failed : Step::waiting;
  }
  if (ssl_ == nullptr && !open()) return Step::failed;
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  const bool has_failed = result != 1 && SSL_get_error(ssl_, result) != SSL_ERROR_WANT_READ;
  pass_on(fd);
  if (has_failed || write_error_ != 0) return fail_in_tls();
  if (result != 1) return Step::waiting;
  // OpenSSL has made sure of it; that nobody gets through otherwise hangs on this alone.
  const bool has_shown = context_->options().mode == TlsMode::psk
                             ? SSL_session_reused(ssl_) == 1
                             : SSL_get0_peer_certificate(ssl_) != nullptr && SSL_get_verify_result(ssl_) == X509_V_OK;
  if (!has_shown) return fail(Code::invalid, format("{} has not shown who it is; connection refused", peer_));
  state_ = State::done;
  has_shaken_ = true;
  return Step::done;
}

// Whether the other end has begun to speak TLS.
bool TlsChannel::hear_first(int fd) {
  std::byte first{};
  ssize_t got = -1;
  do {
    got = recv(fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  ended_ = got == 0;
  if (got < 0) read_error_ = errno;
  if (got <= 0) return fail_in_tls() == Step::done;
  has_heard_ = true;
  constexpr std::byte kAlertRecord{0x15};
  if (begins_tls(first) || (role_ == Role::client && first == kAlertRecord)) return true;
  const std::string_view mode = context_->options().mode == TlsMode::psk ? "psk" : "certificates";
  if (!begins_handshake(first)) {
    fail(Code::invalid,
         format("{} does not speak TLS, which this process uses (TUTTI_TLS is {}); connection refused. "
                "Check that the address is that of a process of this job",
                peer_, mode));
    return false;
  }
  if (role_ == Role::server) {
    unsent_ = refusal_of_plain_client();
    pass_on(fd);
  }
  fail(Code::invalid,
       format("{} does not use TLS, this process does (TUTTI_TLS is {}); connection refused. Give every "
              "process of the job the same TUTTI_TLS",
              peer_, mode));
  return false;
}

bool TlsChannel::make_session(ssl_session_st** session) const {
  SSL_SESSION* const made = SSL_SESSION_new();
  const SSL_CIPHER* const cipher = SSL_CIPHER_find(ssl_, kCipher);
  if (made == nullptr || cipher == nullptr ||
      SSL_SESSION_set1_master_key(made, reinterpret_cast<const unsigned char*>(key_.data()), key_.size()) != 1 ||
      SSL_SESSION_set1_id_context(made, reinterpret_cast<const unsigned char*>(TlsContext::kName.data()),
                                  TlsContext::kName.size()) != 1 ||
      SSL_SESSION_set_cipher(made, cipher) != 1 || SSL_SESSION_set_protocol_version(made, TLS1_3_VERSION) != 1) {
    SSL_SESSION_free(made);
    return false;
  }
  *session = made;
  return true;
}

int TlsChannel::on_key_wanted(ssl_st* ssl, const evp_md_st* digest, const unsigned char** identity,
                              std::size_t* identity_bytes, ssl_session_st** session) {
  *session = nullptr;
  if (digest != nullptr && EVP_MD_get_size(digest) != sizeof(SecretKey)) return 1;
  if (!of(ssl).make_session(session)) return 0;
  *identity = reinterpret_cast<const unsigned char*>(TlsContext::kName.data());
  *identity_bytes = TlsContext::kName.size();
  return 1;
}

int TlsChannel::on_key_offered(ssl_st* ssl, const unsigned char* identity, std::size_t identity_bytes,
                               ssl_session_st** session) {
  *session = nullptr;
  const std::string_view offered(reinterpret_cast<const char*>(identity), identity_bytes);
  if (offered != TlsContext::kName) return 1;
  of(ssl).was_offered_key_ = true;
  return of(ssl).make_session(session) ? 1 : 0;
}

int TlsChannel::on_certificate(int accepted, x509_store_ctx_st* check) {
  if (accepted == 1) return 1;
  auto* const ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const int error = X509_STORE_CTX_get_error(check);
  char subject[256] = "no name";
  if (X509* const shown = X509_STORE_CTX_get_current_cert(check); shown != nullptr) {
    X509_NAME_oneline(X509_get_subject_name(shown), subject, sizeof subject);
  }
  of(ssl).rejected_ =
      format("{} (OpenSSL {}), for the certificate of {}", X509_verify_cert_error_string(error), error, subject);
  return 0;
}

Result<Digest> TlsChannel::binding() const {
  Digest digest{};
  ERR_clear_error();
  if (SSL_export_keying_material(ssl_, reinterpret_cast<unsigned char*>(digest.data()), digest.size(),
                                 kBindingLabel.data(), kBindingLabel.size(), nullptr, 0, 0) != 1) {
    return Status(Code::system, format("TLS with {} gave no channel binding: {}", peer_, take_tls_words()));
  }
  return digest;
}

std::string TlsChannel::cipher() const { return SSL_get_cipher_name(ssl_); }

// ---- Data.

// The small buffer of the handshake gives way to a large one, as soon as it is empty.
void TlsChannel::grow() {
  if (!expects_much_ || has_grown_ || SSL_has_pending(ssl_) != 0 || SSL_free_buffers(ssl_) != 1) return;
  has_grown_ = true;
  SSL_set_default_read_buffer_len(ssl_, kReadBufferBytes);
  SSL_clear_mode(ssl_, SSL_MODE_RELEASE_BUFFERS);
}

bool TlsChannel::has_unread() const { return ssl_ != nullptr && state_ == State::done && SSL_has_pending(ssl_) != 0; }

ssize_t TlsChannel::read_record(std::byte* to, std::size_t bytes) {
  ERR_clear_error();
  std::size_t got = 0;
  const int result = SSL_read_ex(ssl_, to, bytes, &got);
  if (result == 1) return static_cast<ssize_t>(got);
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_ZERO_RETURN:
      ended_ = true;
      return 0;
    default:
      break;
  }
  if (ended_) return 0;
  if (read_error_ == 0) {
    pass_on(fd_);  // an alert
    fail_in_tls();
    read_error_ = EPROTO;
  }
  errno = read_error_;
  return -1;
}

ssize_t TlsChannel::receive(int fd, std::span<const iovec> parts) {
  fd_ = fd;
  grow();
  ssize_t total = 0;
  for (const iovec& part : parts) {
    for (std::size_t filled = 0; filled < part.iov_len;) {
      const ssize_t got = read_record(static_cast<std::byte*>(part.iov_base) + filled, part.iov_len - filled);
      if (got <= 0) return total > 0 ? total : got;
      filled += static_cast<std::size_t>(got);
      total += got;
    }
  }
  if (has_unsent()) pass_on(fd);  // an answer to a question about keys
  return total;
}

std::size_t TlsChannel::write_record(const std::byte* from, std::size_t bytes) {
  if (++records_ > context_->options().records_per_key) {
    records_ = 1;
    SSL_key_update(ssl_, SSL_KEY_UPDATE_NOT_REQUESTED);
  }
  ERR_clear_error();
  std::size_t written = 0;
  if (SSL_write_ex(ssl_, from, bytes, &written) == 1) return written;
  fail_in_tls();
  write_error_ = EPROTO;
  return 0;
}

ssize_t TlsChannel::send(int fd, std::span<const iovec> parts) {
  fd_ = fd;
  std::size_t taken = 0;
  std::size_t part = 0;
  std::size_t offset = 0;  // in that part
  while (write_error_ == 0 && (unsent_.size() - sent_ < kUnsentBytes || pass_on(fd))) {
    while (part < parts.size() && offset == parts[part].iov_len) {
      ++part;
      offset = 0;
    }
    if (part == parts.size()) break;
    const auto* from = static_cast<const std::byte*>(parts[part].iov_base) + offset;
    std::size_t bytes = std::min(parts[part].iov_len - offset, kRecordBytes);
    offset += bytes;
    if (bytes < kRecordBytes && part + 1 < parts.size()) {
      if (!joined_) joined_ = std::make_unique_for_overwrite<std::byte[]>(kRecordBytes);
      std::memcpy(joined_.get(), from, bytes);
      from = joined_.get();
      while (bytes < kRecordBytes && part + 1 < parts.size()) {
        const iovec& next = parts[++part];
        offset = std::min(next.iov_len, kRecordBytes - bytes);
        std::memcpy(joined_.get() + bytes, next.iov_base, offset);
        bytes += offset;
      }
    }
    taken += write_record(from, bytes);
  }
  if (write_error_ == 0) pass_on(fd);
  if (write_error_ != 0) {
    errno = write_error_;
    return -1;
  }
  if (taken > 0 || (part == parts.size() && !has_unsent())) return static_cast<ssize_t>(taken);
  errno = EAGAIN;
  return -1;
}

}  // namespace tutti
