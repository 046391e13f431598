// Memory that a port may read or write: registered (pinned, with a key) for as long as it is needed, and no longer.
//
// A Registrar has a budget in each direction, so that pinned memory is bounded however many transfers wait. Sources
// and targets have budgets of their own: a source is given back once our own port has read it, which waits for
// nobody, so two processes that write to each other cannot wait for each other's budgets. Memory of a SharedRegion is
// registered as a whole, once, until it is freed; it is in no budget, since the program has asked for it. Memory of a
// device is registered by its dma-buf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "src/base/status.h"
#include "src/memory/shared_regions.h"
#include "transports/verbs/device_memory.h"
#include "transports/verbs/library.h"

namespace tutti::verbs {

// Whole pages of this process's own, which a forked child does not inherit.
class Pages {
 public:
  Pages() = default;
  static Result<Pages> allocate(std::size_t bytes);
  Pages(Pages&& other) noexcept { *this = std::move(other); }
  Pages& operator=(Pages&& other) noexcept;
  ~Pages();
  std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

class Registration {
 public:
  Registration() = default;
  Registration(const Library& library, ibv_mr* region) : library_(&library), region_(region) {}
  Registration(Registration&& other) noexcept { *this = std::move(other); }
  Registration& operator=(Registration&& other) noexcept;
  ~Registration();
  explicit operator bool() const { return region_ != nullptr; }
  std::uint32_t local_key() const { return region_->lkey; }
  std::uint32_t remote_key() const { return region_->rkey; }

 private:
  const Library* library_ = nullptr;
  ibv_mr* region_ = nullptr;
};

// The system's words for a refused registration; where the limit on locked memory is the cause, how high it is.
Status registration_error(int error, std::size_t bytes, const std::string& port);

class Registrar {
 public:
  enum class Purpose : std::uint8_t { source, target };
  enum class Outcome : std::uint8_t {
    done,
    later,   // the budget or the limit on locked memory is used up; once something is given back, try again
    refused  // status() says why
  };
  // A key, held until given back.
  struct Loan {
    std::uint32_t local_key = 0;
    std::uint32_t remote_key = 0;
    Purpose purpose = Purpose::source;
    std::size_t counted_bytes = 0;
    Registration own;  // none where the memory is that of a shared region
  };

  Registrar(const Library& library, ibv_pd* domain, SharedRegions* regions, FindDmaBuf find_dma_buf,
            std::size_t bytes_max, std::string port)
      : library_(library),
        domain_(domain),
        regions_(regions),
        find_dma_buf_(std::move(find_dma_buf)),
        bytes_max_(bytes_max),
        port_(std::move(port)) {}

  Outcome lend(Purpose purpose, const std::byte* address, std::size_t bytes, Loan& loan);
  void give_back(Loan& loan);
  // Drops the registrations of regions that were freed. One load where none was.
  void forget_freed();
  void forget_all() { kept_.clear(); }

  const Status& status() const { return status_; }
  std::size_t lent_bytes(Purpose purpose) const { return lent_[static_cast<std::size_t>(purpose)]; }
  std::size_t kept() const { return kept_.size(); }

 private:
  // Null where it is refused; `error` then has the errno, or status_ a sentence and it is 0.
  ibv_mr* register_memory(const std::byte* address, std::size_t bytes, int access, int& error);
  bool lend_region(const std::byte* address, std::size_t bytes, Loan& loan);

  const Library& library_;
  ibv_pd* const domain_;
  SharedRegions* const regions_;
  const FindDmaBuf find_dma_buf_;
  const std::size_t bytes_max_;
  const std::string port_;
  std::size_t lent_[2] = {0, 0};
  std::size_t loans_[2] = {0, 0};
  std::uint64_t serial_ = 0;
  std::unordered_map<std::uint64_t, Registration> kept_;  // by the id of the region
  Status status_;
};

}  // namespace tutti::verbs
