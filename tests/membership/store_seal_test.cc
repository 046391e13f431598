// A seal opens what it sealed, under the same name and the same secret, and nothing else.
#include "src/membership/store_seal.h"

#include <gtest/gtest.h>

namespace tutti {
namespace {

StoreSeal seal_of(std::string_view secret) { return *StoreSeal::create(secret, "test"); }

TEST(StoreSeal, OpensWhatItSealed) {
  const std::string value("any \0 bytes", 11);
  EXPECT_EQ(*seal_of("secret").open("name", *seal_of("secret").seal("name", value)), value);
  EXPECT_EQ(*seal_of("").open("name", *seal_of("").seal("name", "")), "");
}

TEST(StoreSeal, RefusesAnotherSecretNameContextAndEveryChangedByte) {
  const std::string sealed = *seal_of("secret").seal("name", "value");
  EXPECT_FALSE(seal_of("other").open("name", sealed).is_ok());
  EXPECT_FALSE(seal_of("").open("name", sealed).is_ok());
  EXPECT_FALSE(seal_of("secret").open("nam", sealed).is_ok());
  EXPECT_FALSE(StoreSeal::create("secret", "other")->open("name", sealed).is_ok());
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(seal_of("secret").open("name", changed).is_ok()) << i;
  }
}

TEST(StoreSeal, TellsApartWhereTheNameEndsAndTheValueBegins) {
  const std::string sealed = *seal_of("secret").seal("ab", "c");
  EXPECT_FALSE(seal_of("secret").open("a", sealed.substr(0, StoreSeal::kTagBytes) + "bc").is_ok());
}

TEST(StoreSeal, RefusesWhatIsTooShortForATagAndNamesKeyAndSetting) {
  for (const std::size_t length : {0, 1, 31}) {
    const Status status = seal_of("secret").open("the key", std::string(length, 'x')).status();
    EXPECT_EQ(status.code(), Code::invalid);
    EXPECT_NE(status.text().find("the key"), std::string::npos);
    EXPECT_NE(status.text().find("TUTTI_SECRET"), std::string::npos);
  }
}

}  // namespace
}  // namespace tutti
