// Memory that processes of one host share.
//
// Nothing is left behind by a process that is killed: a segment's name in /dev/shm is removed as
// soon as it is made, and others open it as /proc/<process>/fd/<number>, which Linux allows to
// processes of the same user. The kernel frees the pages with the last mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "runtime/core/error.h"

namespace desta::runtime {

// /dev/shm has no room.
class SharedMemoryFull : public InternalError {
 public:
  using InternalError::InternalError;
};

class SharedSegment {
 public:
  // Where another process of the host finds a segment; the file's own numbers tell it from one that
  // came into its place.
  struct Address {
    std::int64_t process = 0;
    int descriptor = -1;
    std::uint64_t device = 0;
    std::uint64_t file = 0;

    template <class Archive>
    void serialize(Archive& archive) {
      archive(process, descriptor, device, file);
    }
  };
  enum class Access : std::uint8_t { kRead, kWrite };

  // `bytes` (at least one) of zeros, page aligned, their pages taken at once: a full /dev/shm is an
  // error here and not a SIGBUS later. Throws SharedMemoryFull, InternalError for any other reason.
  [[nodiscard]] static SharedSegment create(std::size_t bytes);
  // Nothing when it cannot be seen from here: its process is gone, has closed it, or lives in
  // another container or under another user.
  [[nodiscard]] static std::optional<SharedSegment> open(const Address& address, Access access);

  // Valid for others as long as this object, or the one it was moved to, lives and is not closed.
  [[nodiscard]] const Address& address() const { return address_; }
  // The mapping lives as long as any copy of this pointer.
  [[nodiscard]] const std::shared_ptr<std::byte>& memory() const { return memory_; }
  [[nodiscard]] std::span<std::byte> bytes() const { return {memory_.get(), size_}; }

  // Nobody, this process included, may write to it from now on. Throws InternalError.
  void make_read_only();
  // No further process can open it. Mappings stay.
  void close();

 private:
  // An open file; -1: none.
  class Descriptor {
   public:
    explicit Descriptor(int number = -1) : number_(number) {}
    ~Descriptor() { reset(); }
    Descriptor(Descriptor&& other) noexcept : number_(other.number_) { other.number_ = -1; }
    Descriptor& operator=(Descriptor&& other) noexcept;
    void reset();
    [[nodiscard]] int get() const { return number_; }

   private:
    int number_;
  };

  SharedSegment(Descriptor file, std::shared_ptr<std::byte> memory, std::size_t size,
                Address address)
      : file_(std::move(file)), memory_(std::move(memory)), size_(size), address_(address) {}
  [[nodiscard]] static Descriptor make_file();

  Descriptor file_;
  std::shared_ptr<std::byte> memory_;
  std::size_t size_ = 0;
  Address address_;
};

}  // namespace desta::runtime
