// Memory of tensors: 64-byte aligned blocks, of which large ones are kept for the next call.
//
// The C library gives a large block back to the system when it is freed, and each of its pages is
// then made anew, and cleared, in the next call. Here freed blocks wait in lists by their size
// class, up to a limit in all, `AOTBUILD_KEPT_MB` (256).

#include "tensor.h"

#include <cstdlib>
#include <mutex>
#include <new>

#include <pthread.h>

namespace aotbuild::standalone {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kKept = int64_t{1} << 16;  // bytes from which on blocks are kept
constexpr int kClasses = 4 * 48;             // four to each power of two

// Blocks of one class are alike: their size is rounded up to the largest of the class.
struct Class {
  int index;
  int64_t bytes;
};

Class class_of(int64_t bytes) {
  int power = 63 - __builtin_clzll(static_cast<unsigned long long>(bytes - 1));
  int64_t step = int64_t{1} << (power - 2);
  int64_t rounded = (bytes + step - 1) / step * step;
  int quarter = static_cast<int>((rounded - (int64_t{1} << power)) / step);  // 1 to 4
  return {4 * power + quarter - 1, rounded};
}

struct Free {
  Free* next;
};

class Blocks {
 public:
  void* take(int64_t bytes) {
    if (bytes < kKept) return plain(bytes);
    Class kind = class_of(bytes);
    {
      std::lock_guard<std::mutex> guard(lock_);
      if (Free* first = free_[kind.index]) {
        free_[kind.index] = first->next;
        kept_ -= kind.bytes;
        return first;
      }
    }
    return plain(kind.bytes);
  }

  void give(void* block, int64_t bytes) {
    if (bytes >= kKept) {
      Class kind = class_of(bytes);
      std::lock_guard<std::mutex> guard(lock_);
      if (kept_ + kind.bytes <= limit_) {
        free_[kind.index] = new (block) Free{free_[kind.index]};
        kept_ += kind.bytes;
        return;
      }
    }
    std::free(block);
  }

  std::mutex& lock() { return lock_; }  // held while the process forks

 private:
  void* plain(int64_t bytes) {
    int64_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    void* block = std::aligned_alloc(kAlignment, rounded);
    if (!block && drop()) block = std::aligned_alloc(kAlignment, rounded);
    if (!block) throw std::bad_alloc();
    return block;
  }

  // Gives all kept blocks back to the system; whether there were any.
  bool drop() {
    std::lock_guard<std::mutex> guard(lock_);
    bool any = false;
    for (Free*& first : free_) {
      while (first) {
        Free* block = first;
        first = first->next;
        std::free(block);
        any = true;
      }
    }
    kept_ = 0;
    return any;
  }

  static int64_t limit() {
    const char* given = std::getenv("AOTBUILD_KEPT_MB");
    return (given && *given ? std::atoll(given) : 256) << 20;
  }

  std::mutex lock_;
  Free* free_[kClasses] = {};
  int64_t kept_ = 0, limit_ = limit();
};

// Never destroyed: results may outlive the library's static objects.
Blocks& blocks() {
  static Blocks& all = []() -> Blocks& {
    pthread_atfork([] { blocks().lock().lock(); }, [] { blocks().lock().unlock(); },
                   [] { blocks().lock().unlock(); });
    return *new Blocks;
  }();
  return all;
}

}  // namespace

Storage* allocate(int64_t bytes) {
  void* data = blocks().take(bytes > 0 ? bytes : 1);
  Storage* storage = new (std::nothrow) Storage{static_cast<char*>(data), bytes, {1}, true};
  if (!storage) {
    blocks().give(data, bytes);
    throw std::bad_alloc();
  }
  return storage;
}

Storage* borrow(void* data, int64_t bytes) {
  return new Storage{static_cast<char*>(data), bytes, {1}, false};
}

void release(Storage* storage) {
  if (storage->users.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (storage->owned) blocks().give(storage->data, storage->bytes);
  delete storage;
}

}  // namespace aotbuild::standalone
