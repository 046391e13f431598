// The store's bytes: what is written is read back, and what is not is refused.
#include "src/membership/store_protocol.h"

#include <gtest/gtest.h>

#include "src/base/random.h"

namespace tutti {
namespace {

std::string body(const std::string& frame) { return frame.substr(4); }

TEST(StoreProtocol, ARequestIsReadBackAsItWas) {
  const StoreRequest request{.operation = StoreOperation::compare_and_swap,
                             .key = "key",
                             .value = std::string("\0\xff", 2),
                             .expected = "",
                             .number = -5,
                             .wait_ns = 1'000'000'000};
  const auto read = decode_request(body(encode(request)));
  ASSERT_TRUE(read.is_ok()) << read.status().text();
  EXPECT_EQ(*read, request);
}

TEST(StoreProtocol, AReplyIsReadBackAsItWas) {
  const StoreReply reply{.code = Code::timeout,
                         .text = "late",
                         .stored = true,
                         .value = "",
                         .number = -1,
                         .entries = {{"a", "1"}, {"b", ""}}};
  const auto read = decode_reply(body(encode(reply)));
  ASSERT_TRUE(read.is_ok()) << read.status().text();
  EXPECT_EQ(*read, reply);
}

TEST(StoreProtocol, NoBodyCutShortOrDrawnOutIsRead) {
  const std::string request = body(encode(StoreRequest{.key = "key", .value = "value"}));
  const std::string reply = body(encode(StoreReply{.entries = {{"a", "1"}}}));
  for (std::size_t length = 0; length < request.size(); ++length) {
    EXPECT_FALSE(decode_request(request.substr(0, length)).is_ok()) << length;
  }
  for (std::size_t length = 0; length < reply.size(); ++length) {
    EXPECT_FALSE(decode_reply(reply.substr(0, length)).is_ok()) << length;
  }
  EXPECT_FALSE(decode_request(request + "x").is_ok());
  EXPECT_FALSE(decode_reply(reply + "x").is_ok());
}

TEST(StoreProtocol, FramesComeOutHoweverTheStreamIsCut) {
  const std::string first = encode(StoreRequest{.key = "a"});
  const std::string second = encode(StoreRequest{.key = "bb"});
  const std::string stream = first + second + first;
  Random random(3);
  for (int trial = 0; trial < 100; ++trial) {
    FrameReader reader(1000);
    std::vector<std::string> frames;
    for (std::size_t position = 0; position < stream.size();) {
      const std::size_t length = std::min<std::size_t>(stream.size() - position, 1 + random.below(20));
      reader.feed(std::string_view(stream).substr(position, length));
      position += length;
      while (true) {
        const auto frame = reader.next();
        ASSERT_TRUE(frame.is_ok());
        if (!*frame) break;
        frames.emplace_back(**frame);
      }
    }
    EXPECT_EQ(frames, (std::vector<std::string>{body(first), body(second), body(first)}));
    EXPECT_EQ(reader.buffered(), 0u);
  }
}

TEST(StoreProtocol, AFrameBeyondTheLimitIsRefusedByItsFirstBytes) {
  FrameReader reader(1000);
  reader.feed(std::string("\xe9\x03\0\0", 4));
  const auto frame = reader.next();
  ASSERT_FALSE(frame.is_ok());
  EXPECT_EQ(frame.status().text(), "a frame of 1001 bytes is announced, more than the 1000 allowed");
  EXPECT_FALSE(reader.next().is_ok());
}

}  // namespace
}  // namespace tutti
