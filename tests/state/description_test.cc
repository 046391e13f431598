// What ranks tell each other of their states: there and back, refused when it is damaged, and differences in words.
#include "src/state/description.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

StateDescription description(std::vector<StateDescription::Entry> tensors, const std::string& name = "model") {
  StateDescription d;
  d.name = name;
  d.tensors = std::move(tensors);
  return d;
}

TEST(StateDescription, ComesBackAndEveryShorterOneIsRefused) {
  const StateDescription d =
      description({{"a", DataType::float32, 10}, {"b", DataType::int8, 0}, {"c", DataType::bfloat16, 1u << 30}});
  const std::string bytes = d.encode();
  const auto back = StateDescription::decode(bytes);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(back->name, "model");
  EXPECT_EQ(back->tensors, d.tensors);
  for (std::size_t length = 0; length < bytes.size(); ++length)
    EXPECT_FALSE(StateDescription::decode(bytes.substr(0, length)).is_ok()) << length;
  EXPECT_FALSE(StateDescription::decode(bytes + "x").is_ok());
  EXPECT_FALSE(StateDescription::decode(description({{"b"}, {"a"}}).encode()).is_ok());
  EXPECT_FALSE(StateDescription::decode(description({{"a", static_cast<DataType>(14)}}).encode()).is_ok());
}

TEST(StateSummary, ComesBackAndAnythingElseIsRefused) {
  StateSummary summary;
  summary.revision = 1234567890123;
  summary.is_whole = false;
  summary.is_strict = true;
  summary.host = {5, 6};
  summary.description_bytes = 77;
  summary.description = {8, 9};
  auto bytes = summary.encode();
  const auto back = StateSummary::decode(bytes);
  ASSERT_TRUE(back.is_ok());
  EXPECT_EQ(back->revision, summary.revision);
  EXPECT_EQ(back->is_whole, false);
  EXPECT_EQ(back->is_strict, true);
  EXPECT_EQ(back->host, summary.host);
  EXPECT_EQ(back->description_bytes, 77u);
  EXPECT_EQ(back->description, summary.description);
  EXPECT_FALSE(StateSummary::decode(std::span(bytes).first(bytes.size() - 1)).is_ok());
  bytes[8] = std::byte{2};
  EXPECT_NE(StateSummary::decode(bytes).status().text().find("version 2"), std::string::npos);
  bytes[0] = std::byte{'X'};
  EXPECT_NE(StateSummary::decode(bytes).status().text().find("something else"), std::string::npos);
}

TEST(StateDescription, TheDifferenceIsSaidInOneClause) {
  const StateDescription::Entry a{"a", DataType::float32, 10};
  const StateDescription::Entry b{"b", DataType::float32, 20};
  const StateDescription::Entry other_a{"a", DataType::float16, 10};
  const auto said = [](const StateDescription& first, const StateDescription& second) {
    return difference(first, "rank 0", second, "rank 2");
  };
  EXPECT_EQ(said(description({a, b}), description({a})), "rank 2 has no tensor b, which rank 0 has");
  EXPECT_EQ(said(description({b}), description({a, b})), "rank 2 has a tensor a, which rank 0 has not");
  EXPECT_EQ(said(description({a, b}), description({other_a})),
            "tensor a is 10 x float16 on rank 2, but 10 x float32 on rank 0 (1 more difference)");
  EXPECT_EQ(said(description({a}), description({a}, "optimizer")),
            "rank 2 synchronizes the state optimizer, rank 0 the state model");
}

}  // namespace
}  // namespace tutti
