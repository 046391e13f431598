// HMAC-SHA256 and HKDF against the published vectors (RFC 4231, RFC 5869).
#include "src/base/hmac.h"

#include <gtest/gtest.h>

#include <string>

#include "src/base/format.h"

namespace tutti {
namespace {

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) text += format("{:02x}", static_cast<unsigned>(byte));
  return text;
}

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(Hmac, AgreesWithTheVectorsOfRfc4231) {
  EXPECT_EQ(hex(*hmac_sha256(bytes_of(std::string(20, '\x0b')), bytes_of("Hi There"))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex(*hmac_sha256(bytes_of("Jefe"), bytes_of("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

// Case 3 of RFC 5869 has neither salt nor info; its first 32 bytes of output.
TEST(Hmac, DerivesTheKeyOfRfc5869) {
  EXPECT_EQ(hex(*derive_key(std::string(22, '\x0b'), "")),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d");
}

TEST(Hmac, KeysDifferByContextAndSecret) {
  EXPECT_NE(*derive_key("secret", "tutti store v1"), *derive_key("secret", "tutti tcp v1"));
  EXPECT_NE(*derive_key("secret", "tutti store v1"), *derive_key("other", "tutti store v1"));
  EXPECT_TRUE(derive_key("", "tutti store v1").is_ok());
}

TEST(Hmac, EqualityLooksAtEveryByte) {
  std::string a(32, 'a');
  std::string b = a;
  EXPECT_TRUE(equal_in_constant_time(bytes_of(a), bytes_of(b)));
  for (std::size_t i = 0; i < a.size(); ++i) {
    b = a;
    b[i] = 'b';
    EXPECT_FALSE(equal_in_constant_time(bytes_of(a), bytes_of(b))) << i;
  }
  EXPECT_FALSE(equal_in_constant_time(bytes_of(a), bytes_of(a.substr(1))));
}

}  // namespace
}  // namespace tutti
