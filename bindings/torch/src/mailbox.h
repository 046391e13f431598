// Mailbox: sends and receives with tags, and receives from any rank.
//
// Tutti's n-th send of a to b is the n-th receive at b from a: there are no tags. So a send is two messages, a header
// that says the tag and the size, and the content. A header is received where some receive waits for it; the content
// then goes straight into the oldest receive that it fits. Content that a waiting receive has to be reached past,
// since its tag is another one, is kept until somebody wants it.
//
// Headers are taken by whoever waits for a receive (help), else by the workers. `is_driven` says that a thread is at
// a header's request, which only one may be.
#pragma once

#include <c10/util/intrusive_ptr.h>
#include <tutti/tutti.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "bindings/torch/src/failure.h"

namespace tutti::pytorch {

class Flight;
class Group;

struct Header {
  std::uint64_t bytes = 0;
  std::int64_t tag = 0;
};

class Mailbox {
 public:
  explicit Mailbox(Group& group) : group_(group) {}

  // Finds the message for a receive, now or later.
  void want(const c10::intrusive_ptr<Flight>& receive);
  // Waits for headers that may be for the receive, so long at most.
  void help(Flight& receive, std::chrono::nanoseconds limit);
  // Whether the receive had no message yet; it gets none then.
  bool withdraw(Flight& receive);
  // After the communicator's end: ends all that still waits.
  void close();

 private:
  struct Sender {
    int rank = 0;
    Header header;
    tutti_request* request = nullptr;  // the header's receive
    bool is_driven = false;
    bool is_open = false;  // the header has come; nobody has taken the content
    bool has_gone = false;
    Mailbox* mailbox = nullptr;
  };
  // A message that was received for nobody.
  struct Stray {
    int sender;
    std::int64_t tag;
    std::shared_ptr<std::vector<std::byte>> content;
    tutti_request* request;
  };

  static void notified(void* sender);
  Sender& sender(int rank);
  // All with the mutex held.
  bool take_stray(const c10::intrusive_ptr<Flight>& receive);
  void advance(Sender& sender);
  bool request_header(Sender& sender);
  void header_ended(Sender& sender, const Failure& failure);
  void test_header(Sender& sender);
  void receive_content(Sender& sender, const c10::intrusive_ptr<Flight>& receive);
  void receive_stray(Sender& sender);
  void fail(int sender, const Failure& failure);

  Group& group_;
  std::mutex mutex_;
  std::list<c10::intrusive_ptr<Flight>> wanted_;  // in the order in which they were posted
  std::vector<std::unique_ptr<Sender>> senders_;  // by rank; made with the first receive
  std::list<Stray> strays_;
};

}  // namespace tutti::pytorch
