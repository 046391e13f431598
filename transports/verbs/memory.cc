#include "transports/verbs/memory.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "src/base/format.h"

namespace tutti::verbs {

Result<Pages> Pages::allocate(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  Pages pages;
  pages.bytes_ = (bytes + page - 1) / page * page;
  void* const mapped = mmap(nullptr, pages.bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return resource_error(errno, format("verbs: {} of memory", format_bytes(bytes)));
  pages.data_ = static_cast<std::byte*>(mapped);
  madvise(mapped, pages.bytes_, MADV_DONTFORK);
  return pages;
}

Pages& Pages::operator=(Pages&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Pages::~Pages() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

Registration& Registration::operator=(Registration&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(region_, other.region_);
  return *this;
}

Registration::~Registration() {
  if (region_ != nullptr) library_->dereg_mr(region_);
}

Status registration_error(int error, std::size_t bytes, const std::string& port) {
  const Status status =
      Status::from_errno(error, format("verbs: {} cannot be pinned for {}", format_bytes(bytes), port));
  rlimit limit{};
  if ((error != ENOMEM && error != EAGAIN && error != EPERM) || getrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
      limit.rlim_cur == RLIM_INFINITY) {
    return status;
  }
  return Status(
      status.code(),
      format("{}; the limit on locked memory is {} (RLIMIT_MEMLOCK). Raise it, best to unlimited: ulimit -l, "
             "or LimitMEMLOCK= of the service",
             status.text(), format_bytes(limit.rlim_cur)));
}

bool Registrar::lend_region(const std::byte* address, std::size_t bytes, Loan& loan) {
  if (regions_ == nullptr) return false;
  const auto found = regions_->find(address, bytes);
  if (!found) return false;
  auto kept = kept_.find(found->region->id());
  if (kept == kept_.end()) {
    ibv_mr* const region = (library_.reg_mr)(domain_, found->region->base(), found->region->bytes(),
                                             IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    if (region == nullptr) return false;  // then only what is transferred
    kept = kept_.emplace(found->region->id(), Registration(library_, region)).first;
  }
  loan.local_key = kept->second.local_key();
  loan.remote_key = kept->second.remote_key();
  return true;
}

ibv_mr* Registrar::register_memory(const std::byte* address, std::size_t bytes, int access, int& error) {
  std::byte* const memory = const_cast<std::byte*>(address);
  const auto lent = find_dma_buf_ ? find_dma_buf_(address, bytes) : std::nullopt;
  ibv_mr* region = nullptr;
  if (!lent) {
    region = (library_.reg_mr)(domain_, memory, bytes, static_cast<unsigned>(access));
    error = region == nullptr ? errno : 0;
    return region;
  }
  error = 0;
  const std::string what =
      format("verbs: {} of a device's memory cannot be registered for {}", format_bytes(bytes), port_);
  if (!*lent) {
    status_ = lent->status().prefixed(what);
    return nullptr;
  }
  const DmaBuf& buffer = **lent;
  if (library_.reg_dmabuf_mr == nullptr) {
    status_ = Status(Code::unsupported, format("{}: libibverbs has no ibv_reg_dmabuf_mr. Install libibverbs1 of "
                                               "rdma-core 34 or newer",
                                               what));
  } else {
    region = library_.reg_dmabuf_mr(domain_, buffer.offset, bytes, reinterpret_cast<std::uintptr_t>(memory),
                                    buffer.descriptor, access);
    if (region == nullptr) status_ = Status::from_errno(errno, what);
  }
  close(buffer.descriptor);  // the registration has its own hold on it
  return region;
}

Registrar::Outcome Registrar::lend(Purpose purpose, const std::byte* address, std::size_t bytes, Loan& loan) {
  forget_freed();
  const auto direction = static_cast<std::size_t>(purpose);
  loan = Loan{};
  loan.purpose = purpose;
  if (lend_region(address, bytes, loan)) return Outcome::done;
  const bool is_alone = loans_[direction] == 0;
  if (!is_alone && lent_[direction] + bytes > bytes_max_) return Outcome::later;
  const int access = purpose == Purpose::target ? IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE : 0;
  int error = 0;
  ibv_mr* const region = register_memory(address, bytes, access, error);
  if (region == nullptr) {
    if (error == ENOMEM && !is_alone) return Outcome::later;
    if (error != 0) status_ = registration_error(error, bytes, port_);
    return Outcome::refused;
  }
  loan.own = Registration(library_, region);
  loan.local_key = loan.own.local_key();
  loan.remote_key = loan.own.remote_key();
  loan.counted_bytes = bytes;
  lent_[direction] += bytes;
  ++loans_[direction];
  return Outcome::done;
}

void Registrar::give_back(Loan& loan) {
  if (!loan.own) return;
  loan.own = Registration();
  lent_[static_cast<std::size_t>(loan.purpose)] -= loan.counted_bytes;
  --loans_[static_cast<std::size_t>(loan.purpose)];
}

void Registrar::forget_freed() {
  if (regions_ == nullptr || regions_->serial() == serial_) return;
  serial_ = regions_->serial();
  std::erase_if(kept_, [this](const auto& each) { return !regions_->contains(each.first); });
}

}  // namespace tutti::verbs
