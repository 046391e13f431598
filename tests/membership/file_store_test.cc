// What is the file store's own: processes that die in the middle, strangers' directories, and tidying up.
#include "src/membership/file_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/membership/store_sites.h"

namespace tutti {
namespace {

using Lifetime = FileStore::Lifetime;

class FileStoreTest : public testing::Test {
 protected:
  ~FileStoreTest() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<FileStore> open(Lifetime lifetime = Lifetime::kept) {
    auto store = FileStore::open(directory_, lifetime, later());
    EXPECT_TRUE(store.is_ok()) << store.status().text();
    return std::move(*store);
  }

  const std::string directory_ = make_directory();
};

TEST_F(FileStoreTest, ForkedProcessesAddUp) {
  constexpr int kProcesses = 4;
  constexpr int kAdds = 50;
  for (int p = 0; p < kProcesses; ++p) {
    if (fork() == 0) {
      auto store = FileStore::open(directory_, Lifetime::kept, later());
      bool good = store.is_ok();
      for (int i = 0; good && i < kAdds; ++i) good = (*store)->add("sum", 1, later()).is_ok();
      _exit(good ? 0 : 1);
    }
  }
  for (int p = 0; p < kProcesses; ++p) {
    int status = 0;
    wait(&status);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(*open()->add("sum", 0, later()), kProcesses * kAdds);
}

TEST_F(FileStoreTest, TheRecordOfAProcessThatDiedWhileWritingIsCutOff) {
  const auto before = open();
  ASSERT_TRUE(before->set("a", "1", later()).is_ok());
  const std::string record = encode(StoreRequest{.key = "b", .value = "never finished"});
  const int journal = ::open((directory_ + "/journal").c_str(), O_WRONLY | O_APPEND);
  ASSERT_EQ(write(journal, record.data(), record.size() - 3), static_cast<ssize_t>(record.size() - 3));
  close(journal);
  EXPECT_TRUE(before->set("c", "3", later()).is_ok());
  const auto after = open();
  const auto all = after->gather("", 0, later());
  ASSERT_EQ(all.entries.size(), 2u);
  EXPECT_EQ(all.entries[1].first, "c");
}

TEST_F(FileStoreTest, ADamagedJournalIsAnErrorAndNotAValue) {
  const int journal = ::open((directory_ + "/journal").c_str(), O_WRONLY | O_CREAT, 0600);
  const std::string garbage(100, '\xff');
  ASSERT_EQ(write(journal, garbage.data(), garbage.size()), 100);
  close(journal);
  const Status status = open()->set("a", "1", later());
  EXPECT_EQ(status.code(), Code::invalid);
  EXPECT_NE(status.text().find("the journal is damaged"), std::string::npos) << status.text();
}

TEST_F(FileStoreTest, ADirectoryThatOthersMayWriteToIsRefused) {
  chmod(directory_.c_str(), 0777);
  const auto store = FileStore::open(directory_, Lifetime::kept, later());
  ASSERT_FALSE(store.is_ok());
  EXPECT_NE(store.status().text().find("others may write to"), std::string::npos);
}

TEST_F(FileStoreTest, ALinkIsNotFollowed) {
  const std::string link = directory_ + "/link";
  ASSERT_EQ(symlink("/tmp", link.c_str()), 0);
  EXPECT_EQ(FileStore::open(link, Lifetime::kept, later()).status().code(), Code::invalid);
}

TEST_F(FileStoreTest, AnEphemeralStoreGoesWithItsLastUser) {
  auto first = open(Lifetime::ephemeral);
  auto second = open(Lifetime::ephemeral);
  ASSERT_TRUE(first->set("a", "1", later()).is_ok());
  first.reset();
  EXPECT_EQ(*second->get("a", later()), "1");
  second.reset();
  EXPECT_FALSE(std::filesystem::exists(directory_));
  EXPECT_TRUE(open(Lifetime::ephemeral)->gather("", 0, later()).entries.empty());
}

TEST_F(FileStoreTest, AHeldLockCostsOthersNoMoreThanTheirDeadline) {
  const auto store = open();
  const int journal = ::open((directory_ + "/journal").c_str(), O_RDWR);
  ASSERT_EQ(flock(journal, LOCK_EX), 0);
  const Status status = store->set("a", "1", soon());
  EXPECT_EQ(status.code(), Code::timeout);
  EXPECT_NE(status.text().find("another process held the lock"), std::string::npos) << status.text();
  close(journal);
  EXPECT_TRUE(store->set("a", "1", later()).is_ok());
}

}  // namespace
}  // namespace tutti
