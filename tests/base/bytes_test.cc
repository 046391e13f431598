// What a ByteWriter writes a ByteReader reads, and nothing else: it stops at the end of its bytes for good.
#include "src/base/bytes.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

TEST(Bytes, AreLittleEndianAndComeBack) {
  ByteWriter<std::string> out;
  out.put(std::uint8_t{1});
  out.put(std::uint32_t{0x04030201});
  out.put_counted<std::uint16_t>("ab");
  out.put(std::string_view("c"));
  const std::string bytes = out.take();
  EXPECT_EQ(bytes, std::string("\1\1\2\3\4\2\0abc", 10));
  ByteReader in(bytes);
  EXPECT_EQ(in.get<std::uint8_t>(), 1);
  EXPECT_EQ(in.get<std::uint32_t>(), 0x04030201u);
  EXPECT_EQ(in.get_counted<std::uint16_t>(), "ab");
  EXPECT_EQ(in.left(), 1u);
  EXPECT_FALSE(in.is_at_end());
  EXPECT_EQ(in.take(1).size(), 1u);
  EXPECT_TRUE(in.is_at_end());
}

TEST(Bytes, EveryPrefixFailsAndGivesNothingFromThenOn) {
  ByteWriter<std::vector<std::byte>> out;
  out.put(std::uint64_t{0x1122334455667788});
  out.put_counted<std::uint8_t>("text");
  const auto bytes = out.take();
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    ByteReader in{std::span(bytes).first(length)};
    EXPECT_EQ(in.get<std::uint64_t>(), length < 8 ? 0 : 0x1122334455667788);
    EXPECT_EQ(in.get_counted<std::uint8_t>(), "");
    EXPECT_EQ(in.get<std::uint8_t>(), 0);
    EXPECT_TRUE(in.failed()) << length;
    EXPECT_FALSE(in.is_at_end());
    EXPECT_EQ(in.left(), 0u);
  }
}

TEST(Bytes, ATextLongerThanAllowedIsNotTaken) {
  ByteWriter<std::string> out;
  out.put_counted<std::uint8_t>("four");
  const std::string bytes = out.take();
  ByteReader strict{std::string_view(bytes)};
  EXPECT_EQ(strict.get_counted<std::uint8_t>(3), "");
  EXPECT_TRUE(strict.failed());
  ByteReader in{std::string_view(bytes)};
  EXPECT_EQ(in.get_counted<std::uint8_t>(4), "four");
  EXPECT_TRUE(in.is_at_end());
}

}  // namespace
}  // namespace tutti
