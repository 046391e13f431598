// What is written to etcd and read from it, against what etcd 3.4 itself wrote.
#include "src/membership/etcd_protocol.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tutti {
namespace {

TEST(EtcdBase64, IsThatOfTheStandard) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(to_base64(bytes), text);
    EXPECT_EQ(*from_base64(text), bytes);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(*from_base64(to_base64(all)), all);
}

TEST(EtcdBase64, RefusesWhatIsNone) {
  for (const char* const text : {"Z", "Zg", "Zg=", "Zg=A", "=g==", "Z===", "====", "Zm9v!m9v", "Zg==Zg==", "Zm9 "})
    EXPECT_FALSE(from_base64(text).is_ok()) << text;
}

TEST(EtcdRequests, AreJsonWithEverythingThatWasAsked) {
  const auto range = nlohmann::json::parse(encode(EtcdRange{"a", "b", 7, true}));
  EXPECT_EQ(range, nlohmann::json::parse(R"({"key":"YQ==","range_end":"Yg==","revision":"7","count_only":true})"));
  const auto watch = nlohmann::json::parse(encode_watch({.key = "a", .revision = 3}));
  EXPECT_EQ(watch,
            nlohmann::json::parse(R"({"create_request":{"key":"YQ==","start_revision":"3","fragment":true}})"));
  const auto transaction = nlohmann::json::parse(
      encode(EtcdTransaction{{{.key = "a", .what = EtcdCompare::What::create_revision}, {.key = "b", .value = "c"}},
                             {{.key = "a", .value = "x", .lease = 5},
                              {.kind = EtcdOperation::Kind::remove, .key = "d", .range_end = "e"},
                              {.key = "f", .value = "", .keeps_lease = true}},
                             {{.kind = EtcdOperation::Kind::range, .key = "a"}}}));
  EXPECT_EQ(transaction, nlohmann::json::parse(R"({
    "compare":[{"key":"YQ==","result":"EQUAL","target":"CREATE","create_revision":"0"},
               {"key":"Yg==","result":"EQUAL","target":"VALUE","value":"Yw=="}],
    "success":[{"request_put":{"key":"YQ==","value":"eA==","lease":"5"}},
               {"request_delete_range":{"key":"ZA==","range_end":"ZQ=="}},
               {"request_put":{"key":"Zg==","ignore_lease":true}}],
    "failure":[{"request_range":{"key":"YQ=="}}]})"));
  EXPECT_EQ(encode_lease_grant(60), R"({"TTL":"60"})");
  EXPECT_EQ(encode_lease(9), R"({"ID":"9"})");
}

TEST(EtcdRequests, ARangeEndsBehindEveryKeyWithThePrefix) {
  EXPECT_EQ(etcd_range_end("a/"), "a0");
  EXPECT_EQ(etcd_range_end("a\xff\xff"), "b");
  EXPECT_EQ(etcd_range_end("a\xfe"), "a\xff");
}

TEST(EtcdReplies, OfARangeAreRead) {
  const auto reply = decode_etcd_range(
      R"({"header":{"cluster_id":"10144879847569953045","member_id":"1","revision":"2","raft_term":"2"},)"
      R"("kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"3","version":"1","value":"Yg=="}],"count":"1"})");
  ASSERT_TRUE(reply.is_ok()) << reply.status().text();
  EXPECT_EQ(reply->revision, 2);
  ASSERT_EQ(reply->found.entries.size(), 1u);
  EXPECT_EQ(reply->found.entries[0].key, "a");
  EXPECT_EQ(reply->found.entries[0].value, "b");
  EXPECT_EQ(reply->found.entries[0].create_revision, 2);
  EXPECT_EQ(reply->found.entries[0].mod_revision, 3);
  EXPECT_EQ(reply->found.count, 1);
  EXPECT_TRUE(decode_etcd_range(R"({"header":{"revision":"2"}})")->found.entries.empty());
}

TEST(EtcdReplies, OfATransactionAreRead) {
  const auto reply = decode_etcd_transaction(
      R"({"header":{"revision":"9"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"9"}}},)"
      R"({"response_delete_range":{"header":{"revision":"9"},"deleted":"3"}},)"
      R"({"response_range":{"header":{"revision":"9"},"kvs":[{"key":"YQ=="}],"count":"1"}}]})");
  ASSERT_TRUE(reply.is_ok()) << reply.status().text();
  EXPECT_TRUE(reply->succeeded);
  EXPECT_EQ(reply->revision, 9);
  ASSERT_EQ(reply->responses.size(), 3u);
  EXPECT_EQ(reply->responses[1].removed, 3);
  EXPECT_EQ(reply->responses[2].entries[0].key, "a");
  EXPECT_EQ(reply->responses[2].entries[0].value, "");
}

TEST(EtcdReplies, OfAWatchAreRead) {
  const auto begun = decode_etcd_watch(R"({"result":{"header":{"revision":"11"},"created":true}})");
  ASSERT_TRUE(begun.is_ok()) << begun.status().text();
  EXPECT_TRUE(begun->is_created);
  const auto events = decode_etcd_watch(
      R"({"result":{"header":{"revision":"11"},"events":[{"kv":{"key":"YQ==","mod_revision":"2","value":"Yg=="}},)"
      R"({"type":"DELETE","kv":{"key":"YQ==","mod_revision":"3"}}]}})");
  ASSERT_TRUE(events.is_ok()) << events.status().text();
  ASSERT_EQ(events->events.size(), 2u);
  EXPECT_FALSE(events->events[0].is_removal);
  EXPECT_TRUE(events->events[1].is_removal);
  EXPECT_EQ(events->events[1].entry.mod_revision, 3);
  EXPECT_TRUE(decode_etcd_watch(R"({"result":{"header":{"raft_term":"2"},"canceled":true,"compact_revision":"5"}})")
                  ->is_cancelled);
  EXPECT_FALSE(decode_etcd_watch(R"({"error":{"grpc_code":14,"message":"no leader"}})").is_ok());
}

TEST(EtcdReplies, OfLeasesAreRead) {
  const auto granted =
      decode_etcd_lease_grant(R"({"header":{"revision":"1"},"ID":"1418812000092259077","TTL":"600"})");
  ASSERT_TRUE(granted.is_ok());
  EXPECT_EQ(granted->lease, 1418812000092259077);
  EXPECT_EQ(granted->seconds_left, 600);
  EXPECT_EQ(decode_etcd_keep_alive(R"({"result":{"header":{"revision":"11"},"ID":"99"}})")->seconds_left, 0);
  EXPECT_FALSE(decode_etcd_lease_grant(R"({"TTL":"600"})").is_ok()) << "a grant without a lease";
}

TEST(EtcdReplies, RefusalsAreReadAndSorted) {
  const auto lease = decode_etcd_refusal(
      R"({"error":"requested lease not found","message":"etcdserver: requested lease not found","code":5})");
  ASSERT_TRUE(lease.is_ok());
  EXPECT_EQ(lease->code, EtcdRefusal::kNotFound);
  EXPECT_EQ(lease->text, "etcdserver: requested lease not found");
  EXPECT_FALSE(lease->may_pass());
  EXPECT_TRUE(decode_etcd_refusal(R"({"message":"etcdserver: leader changed","code":14})")->may_pass());
  EXPECT_FALSE(decode_etcd_refusal("Not Found\n").is_ok());
  EXPECT_FALSE(decode_etcd_refusal("{}").is_ok());
}

TEST(EtcdReplies, WhatIsNoneIsRefusedWithItsBeginning) {
  const std::string deep(1'000'000, '[');
  for (const std::string& text :
       {std::string(), std::string("null"), std::string("[]"), std::string("{"), std::string("{}"), deep,
        std::string(R"({"header":{"revision":"x"}})"),
        std::string(R"({"header":{"revision":"99999999999999999999"}})"), std::string(R"({"header":[]})"),
        std::string(R"({"header":{},"kvs":{}})"), std::string(R"({"header":{},"kvs":[1]})"),
        std::string(R"({"header":{},"kvs":[{"key":"!"}]})"), std::string(R"({"header":{},"kvs":[{"key":7}]})"),
        std::string("{\"header\":{},\"x\":\"\xff\"}")}) {
    EXPECT_EQ(decode_etcd_range(text).status().code(), Code::invalid) << text.substr(0, 100);
  }
  const Status status = decode_etcd_range("<html>\x1b[1mHello</html>" + std::string(100, 'x')).status();
  EXPECT_NE(status.text().find("122 bytes are no reply of etcd's"), std::string::npos) << status.text();
  EXPECT_NE(status.text().find("<html>?[1mHello</html>"), std::string::npos) << status.text();
  EXPECT_FALSE(decode_etcd_transaction(R"({"header":{},"responses":[[]]})").is_ok());
  EXPECT_FALSE(decode_etcd_watch(R"({"result":{"header":{},"events":[{}]}})").is_ok());
}

}  // namespace
}  // namespace tutti
