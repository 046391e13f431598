// etcd as sites run it that mean it: behind TLS, with certificates on both sides, users and roles.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "src/base/format.h"
#include "src/membership/etcd_store.h"
#include "tests/membership/etcd_servers.h"
#include "tests/membership/store_sites.h"
#include "tests/tls/certificates.h"

namespace tutti {
namespace {

using namespace std::chrono_literals;

class SecureEtcd : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = EtcdServers::missing(); !missing.empty()) GTEST_SKIP() << missing;
    files_.issue("node");
    servers_ = std::make_unique<EtcdServers>(1, files());
  }

  HttpCertificates files() const { return {files_.authority(), files_.certificate("node"), files_.key("node")}; }

  // etcd without TLS, and a user "worker" who may do as he likes below jobs/, and nothing else.
  void add_users() {
    servers_ = std::make_unique<EtcdServers>(1);
    const auto add = [&](const std::string& path, const std::string& request) {
      const std::string reply = servers_->ask(0, path, request);
      EXPECT_NE(reply.find("header"), std::string::npos) << path << ": " << reply;
    };
    add("auth/user/add", R"({"name":"root","password":"root's"})");
    add("auth/role/add", R"({"name":"root"})");
    add("auth/user/grant", R"({"user":"root","role":"root"})");
    add("auth/user/add", R"({"name":"worker","password":"worker's"})");
    add("auth/role/add", R"({"name":"work"})");
    add("auth/role/grant",
        format(R"({{"name":"work","perm":{{"permType":"READWRITE","key":"{}","range_end":"{}"}}}})",
               to_base64("jobs/"), to_base64("jobs0")));
    add("auth/user/grant", R"({"user":"worker","role":"work"})");
    add("auth/enable", "{}");
  }

  Result<std::unique_ptr<EtcdStore>> open(const std::string& prefix, HttpCertificates certificates,
                                          const std::string& user = {}, const std::string& password = {}) {
    EtcdStore::Options options;
    options.access.certificates = std::move(certificates);
    options.access.user = user;
    options.access.password = password;
    options.watch_time = 500ms;
    return EtcdStore::create(servers_->address(prefix), "secret", std::move(options));
  }

  Certificates files_;
  std::unique_ptr<EtcdServers> servers_;
};

TEST_F(SecureEtcd, BehindTlsIsAStoreLikeAnyOther) {
  const auto store = *open("jobs/one", files());
  ASSERT_TRUE(store->set("key", "value", later()).is_ok());
  EXPECT_EQ(*store->get("key", later()), "value");
  EXPECT_TRUE(store->address().starts_with("etcds://127.0.0.1:")) << store->address();
}

TEST_F(SecureEtcd, WithoutTheRightCertificatesIsRefusedWithWords) {
  const Certificates others;
  HttpCertificates wrong = files();
  wrong.authority = others.authority();
  const Status distrusts = (*open("jobs/one", wrong))->set("key", "value", later());
  EXPECT_EQ(distrusts.code(), Code::invalid);
  EXPECT_NE(distrusts.text().find("SSL certificate problem: unable to get local issuer certificate (libcurl 60). See "
                                  "TUTTI_ETCD_AUTHORITY"),
            std::string::npos)
      << distrusts.text();

  wrong = files();
  wrong.key = others.directory() + "/absent";
  const Status without_key = (*open("jobs/one", wrong))->set("key", "value", later());
  EXPECT_EQ(without_key.code(), Code::invalid);
  EXPECT_NE(
      without_key.text().find("(libcurl 58). See TUTTI_ETCD_AUTHORITY, TUTTI_ETCD_CERTIFICATE and TUTTI_ETCD_KEY"),
      std::string::npos)
      << without_key.text();

  const Status nobody =
      (*open("jobs/one", {files_.authority(), {}, {}}))->set("key", "value", deadline_after(monotonic_now(), 300ms));
  EXPECT_EQ(nobody.code(), Code::timeout);
  EXPECT_NE(nobody.text().find("alert"), std::string::npos) << nobody.text();
}

TEST_F(SecureEtcd, LetsUsersInByTheirPasswordWhereTheirRolesAllow) {
  add_users();
  const auto store = *open("jobs/one", {}, "worker", "worker's");
  ASSERT_TRUE(store->set("a/1", "value", later()).is_ok());
  EXPECT_EQ(*store->add("count", 3, later()), 3);
  EXPECT_EQ(store->gather("a/", 1, later()).entries.size(), 1u);

  const Status elsewhere = (*open("other", {}, "worker", "worker's"))->set("key", "value", later());
  EXPECT_EQ(elsewhere.code(), Code::invalid);
  EXPECT_NE(elsewhere.text().find("permission denied"), std::string::npos) << elsewhere.text();

  const Status wrong = (*open("jobs/one", {}, "worker", "guess"))->set("key", "value", later());
  EXPECT_EQ(wrong.code(), Code::invalid);
  EXPECT_NE(wrong.text().find("log in as worker (TUTTI_ETCD_USER): "), std::string::npos) << wrong.text();
  EXPECT_NE(wrong.text().find("authentication failed, invalid user ID or password"), std::string::npos)
      << wrong.text();

  const Status nobody = (*open("jobs/one", {}))->set("key", "value", later());
  EXPECT_EQ(nobody.code(), Code::invalid) << nobody.text();
}

TEST_F(SecureEtcd, IsLoggedInToAgainWhenItHasForgottenTheToken) {
  add_users();
  const auto store = *open("jobs/one", {}, "worker", "worker's");
  ASSERT_TRUE(store->set("key", "before", later()).is_ok());
  servers_->kill(0);
  servers_->restart(0);
  ASSERT_TRUE(store->set("key", "after", later()).is_ok());
  EXPECT_EQ(*store->get("key", later()), "after");
}

TEST_F(SecureEtcd, WithoutUsersSaysThatNobodyCanLogIn) {
  const Status status = (*open("jobs/one", files(), "worker", "worker's"))->set("key", "value", later());
  EXPECT_FALSE(status.is_ok());
  EXPECT_NE(status.text().find("log in as worker (TUTTI_ETCD_USER): "), std::string::npos) << status.text();
  EXPECT_NE(status.text().find("authentication is not enabled"), std::string::npos) << status.text();
}

}  // namespace
}  // namespace tutti
