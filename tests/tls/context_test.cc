// What a process says whose certificates will not do, before it talks to anybody.
#include "src/tls/context.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/tls/certificates.h"

namespace tutti {
namespace {

class TlsFiles : public testing::Test {
 protected:
  TlsFiles() { files_.issue("node"); }

  std::string refusal(const TlsOptions& options) {
    const auto made = TlsContext::create(options);
    EXPECT_FALSE(made.is_ok());
    return made.status().text();
  }
  std::string write(const std::string& name, const std::string& text) {
    std::string path = files_.directory() + "/" + name;
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
    return path;
  }

  Certificates files_;
  TlsOptions options_ = files_.options("node");
};

TEST_F(TlsFiles, OfOneAuthorityWillDo) { EXPECT_TRUE(TlsContext::create(options_).is_ok()); }

TEST_F(TlsFiles, AreNotWantedWhereTheSettingsTurnTlsOff) {
  const auto none = TlsContext::create(Settings());
  ASSERT_TRUE(none.is_ok());
  EXPECT_EQ(*none, nullptr);
}

TEST_F(TlsFiles, ThatAreNotNamedAreAskedFor) {
  options_.key.clear();
  EXPECT_EQ(refusal(options_),
            "TUTTI_TLS is certificates, but TUTTI_TLS_KEY is not set; expected the path of a PEM file (TUTTI_TLS=psk "
            "needs none)");
}

TEST_F(TlsFiles, ThatAreNotThereAreNamedWithTheSystemsWords) {
  options_.key = files_.directory() + "/absent";
  EXPECT_EQ(refusal(options_), "TUTTI_TLS_KEY: open " + options_.key + ": No such file or directory (ENOENT, 2)");
}

TEST_F(TlsFiles, WithAKeyThatOthersMayReadAreRefused) {
  chmod(options_.key.c_str(), 0644);
  EXPECT_EQ(refusal(options_), "TUTTI_TLS_KEY is \"" + options_.key +
                                   "\", which others than its owner may use (mode 644); run chmod 600 on it");
}

TEST_F(TlsFiles, ThatHoldNoCertificateAreRefusedWithOpenSslsWords) {
  options_.certificate = write("empty", "");
  EXPECT_EQ(refusal(options_), "TUTTI_TLS_CERTIFICATE is \"" + options_.certificate +
                                   "\", whose certificate 1 cannot be read: no start line (OpenSSL 0480006C)");
  options_ = files_.options("node");
  options_.authority = write("rotten", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
  EXPECT_NE(refusal(options_).find("TUTTI_TLS_AUTHORITY is \"" + options_.authority +
                                   "\", whose certificate 1 cannot be read: "),
            std::string::npos);
}

TEST_F(TlsFiles, WithTheKeyOfAnotherCertificateAreRefused) {
  files_.issue("other");
  options_.key = files_.key("other");
  EXPECT_EQ(refusal(options_), "TUTTI_TLS_KEY (\"" + options_.key +
                                   "\") is not the key of TUTTI_TLS_CERTIFICATE (\"" + options_.certificate +
                                   "\"): key values mismatch (OpenSSL 05800074)");
}

TEST_F(TlsFiles, WithAKeyUnderAPassphraseAreRefusedAndNobodyIsAsked) {
  options_.key = files_.directory() + "/locked";
  files_.lock("node", options_.key);
  const std::string text = refusal(options_);
  EXPECT_NE(text.find("in which no private key can be read: "), std::string::npos) << text;
  EXPECT_NE(text.find("It is locked by a passphrase"), std::string::npos) << text;
}

TEST_F(TlsFiles, OfAnotherAuthorityExpiredOrMadeForServersAloneAreRefusedBeforeAnybodyElseDoesSo) {
  Certificates others;
  others.issue("node");
  options_ = others.options("node");
  options_.authority = files_.authority();
  EXPECT_NE(refusal(options_).find("unable to get local issuer certificate (OpenSSL 20)"), std::string::npos);
  files_.issue("late", Certificates::Flaw::expired);
  EXPECT_NE(refusal(files_.options("late")).find("certificate has expired (OpenSSL 10)"), std::string::npos);
  files_.issue("early", Certificates::Flaw::not_yet);
  EXPECT_NE(refusal(files_.options("early")).find("certificate is not yet valid (OpenSSL 9)"), std::string::npos);
  files_.issue("server", Certificates::Flaw::only_for_servers);
  EXPECT_NE(refusal(files_.options("server")).find("OpenSSL 26"), std::string::npos)
      << refusal(files_.options("server"));
}

}  // namespace
}  // namespace tutti
