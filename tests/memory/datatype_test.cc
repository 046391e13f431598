// Names, sizes and the table of which operator goes with which type.
#include "src/memory/datatype.h"

#include <gtest/gtest.h>

#include <string>

namespace tutti {
namespace {

TEST(DataTypes, NamesParseBackToTheirNumbers) {
  for (int i = 0; i < kDataTypes; ++i) {
    const auto type = static_cast<DataType>(i);
    const auto parsed = parse_data_type(name(type));
    ASSERT_TRUE(parsed) << name(type);
    EXPECT_EQ(*parsed, type);
  }
  for (int i = 0; i < kReduceOps; ++i) {
    const auto op = static_cast<ReduceOp>(i);
    const auto parsed = parse_reduce_op(name(op));
    ASSERT_TRUE(parsed) << name(op);
    EXPECT_EQ(*parsed, op);
  }
}

TEST(DataTypes, NumbersAreThoseOfTheAbi) {
  const std::string_view types[] = {"int8",    "uint8",   "int16",       "uint16",     "int32",
                                    "uint32",  "int64",   "uint64",      "float16",    "bfloat16",
                                    "float32", "float64", "float8_e4m3", "float8_e5m2"};
  for (int i = 0; i < kDataTypes; ++i) EXPECT_EQ(name(static_cast<DataType>(i)), types[i]);
  const std::string_view ops[] = {"sum",    "product", "min",         "max",        "average",          "bit_and",
                                  "bit_or", "bit_xor", "logical_and", "logical_or", "premultiplied_sum"};
  for (int i = 0; i < kReduceOps; ++i) EXPECT_EQ(name(static_cast<ReduceOp>(i)), ops[i]);
}

TEST(DataTypes, SizesFollowTheNames) {
  for (int i = 0; i < kDataTypes; ++i) {
    const auto type = static_cast<DataType>(i);
    const std::string text(name(type));
    const std::size_t digits = text.find_first_of("0123456789");
    EXPECT_EQ(size_of(type) * 8, std::stoul(text.substr(digits))) << text;
    EXPECT_EQ(is_integer(type), text.find("int") != std::string::npos) << text;
  }
}

TEST(DataTypes, ShortFormsAndAnyCaseParse) {
  EXPECT_EQ(*parse_data_type("f32"), DataType::float32);
  EXPECT_EQ(*parse_data_type("BF16"), DataType::bfloat16);
  EXPECT_EQ(*parse_data_type("half"), DataType::float16);
  EXPECT_EQ(*parse_data_type("Double"), DataType::float64);
  EXPECT_EQ(*parse_data_type("float8_e4m3fn"), DataType::float8_e4m3);
  EXPECT_EQ(*parse_reduce_op("AVG"), ReduceOp::average);
  EXPECT_EQ(*parse_reduce_op("prod"), ReduceOp::product);
}

TEST(DataTypes, AnUnknownNameIsRefusedWithWhatWouldBeAccepted) {
  const Status type = parse_data_type("float31").status();
  EXPECT_EQ(type.code(), Code::invalid);
  EXPECT_NE(type.text().find("float31"), std::string::npos);
  EXPECT_NE(type.text().find("bfloat16"), std::string::npos);
  const Status op = parse_reduce_op("median").status();
  EXPECT_EQ(op.code(), Code::invalid);
  EXPECT_NE(op.text().find("premultiplied_sum"), std::string::npos);
  EXPECT_FALSE(parse_data_type(""));
}

TEST(DataTypes, BitwiseAndLogicalOperatorsNeedIntegersArithmeticTakesAll) {
  for (int t = 0; t < kDataTypes; ++t) {
    for (int o = 0; o < kReduceOps; ++o) {
      const auto type = static_cast<DataType>(t);
      const std::string op_name(name(static_cast<ReduceOp>(o)));
      const bool needs_integer = op_name.starts_with("bit_") || op_name.starts_with("logical_");
      const bool expected = !needs_integer || is_integer(type);
      EXPECT_EQ(supports(type, static_cast<ReduceOp>(o)).is_ok(), expected) << name(type) << " " << op_name;
    }
  }
}

TEST(DataTypes, NumbersOutsideTheEnumerationsAreRefused) {
  EXPECT_EQ(supports(static_cast<DataType>(kDataTypes), ReduceOp::sum).code(), Code::invalid);
  EXPECT_EQ(supports(DataType::int8, static_cast<ReduceOp>(kReduceOps)).code(), Code::invalid);
  EXPECT_NE(supports(static_cast<DataType>(200), ReduceOp::sum).text().find("200"), std::string::npos);
}

}  // namespace
}  // namespace tutti
