// Threads behind the calls that g++ makes of `#pragma omp`, without libgomp.
//
// A parallel region takes idle workers, or starts new ones, and gives them back: regions of several
// threads run side by side, each with as many threads as it asks for, since kernels divide their
// work by that number. Workers spin for a moment before they sleep, so that the regions of one call
// follow each other quickly. After a fork the child starts workers of its own. A region inside a
// region has one thread.

#include "threads.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace aotbuild::standalone {
namespace {

constexpr int kSpins = 2000;  // of about 20 to 50 ns: a region that follows finds its workers awake
constexpr int kMost = 256;    // threads of one region

std::atomic<int> busy{0};  // threads that are in regions

// Cores that the process may use: by its affinity, and by the quota of its cgroup.
int usable_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) ? 0 : CPU_COUNT(&set);
  if (!cores) cores = static_cast<int>(std::thread::hardware_concurrency());
  long long quota = -1, period = 0;
  if (FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    if (std::fscanf(file, "%lld %lld", &quota, &period) != 2) quota = -1;
    std::fclose(file);
  }
  if (quota > 0 && period > 0) {
    long long most = (quota + period - 1) / period;
    if (most < cores) cores = static_cast<int>(most);
  }
  return cores > 0 ? cores : 1;
}

int cores() {
  static const int count = usable_cores();
  return count;
}

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until a number changes: spins, then sleeps. Who spins where threads wait for a core only
// keeps it from them.
class Signal {
 public:
  uint32_t now() const { return value_.load(std::memory_order_acquire); }

  void raise() {
    value_.fetch_add(1, std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_seq_cst)) {
      std::lock_guard<std::mutex> guard(lock_);
      woken_.notify_all();
    }
  }

  void wait_for_change(uint32_t old) {
    int spins = busy.load(std::memory_order_relaxed) <= cores() ? kSpins : 1;
    for (int i = 0; i < spins; i++) {
      if (now() != old) return;
      pause();
    }
    std::unique_lock<std::mutex> guard(lock_);
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    woken_.wait(guard, [&] { return value_.load(std::memory_order_seq_cst) != old; });
    sleeping_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  std::atomic<uint32_t> value_{0};
  std::atomic<int> sleeping_{0};
  std::mutex lock_;
  std::condition_variable woken_;
};

// The threads of one region. It lies on the stack of its caller, who waits for `done` of each.
struct Team {
  void (*function)(void*);
  void* data;
  int size;
  std::atomic<int> arrived{0};  // at the barrier
  std::atomic<int> singles{0};  // blocks for one thread that have been taken
  Signal passed{};
};

thread_local Team* team = nullptr;  // NULL outside of regions
thread_local int number = 0;        // of this thread in its team
thread_local int singles = 0;       // blocks for one thread that this one has come to
thread_local int wanted = 0;        // omp_set_num_threads() of this thread; 0: as for all

std::atomic<int> for_all{0};  // set_threads(); 0: as the environment and the machine say

// A thread that runs a part of a region at a time. It is never deleted.
struct Worker {
  Team* team = nullptr;
  int number = 0;
  Signal given, done;
  uint32_t last = 0;       // `done` before the region
  Worker* next = nullptr;  // in the list of idle ones, or of one region
};

struct Workers {
  std::mutex lock;
  Worker* idle = nullptr;
};

// Replaced as a whole after a fork, where a lock may be held for ever.
std::atomic<Workers*> workers{nullptr};

Workers& all_workers() {
  Workers* found = workers.load(std::memory_order_acquire);
  if (found) return *found;
  static const int registered = pthread_atfork(nullptr, nullptr, [] {
    workers.store(nullptr, std::memory_order_release);
    busy.store(0, std::memory_order_relaxed);
    team = nullptr;
  });
  static_cast<void>(registered);
  Workers* made = new Workers;
  if (!workers.compare_exchange_strong(found, made)) {
    delete made;
    return *found;
  }
  return *made;
}

void serve(Worker* self) {
  uint32_t seen = 0;
  while (true) {
    self->given.wait_for_change(seen);
    seen = self->given.now();
    team = self->team;
    number = self->number;
    singles = 0;
    team->function(team->data);
    team = nullptr;
    self->done.raise();
  }
}

void give_back(Worker* list) {
  if (!list) return;
  Workers& all = all_workers();
  Worker* last = list;
  while (last->next) last = last->next;
  std::lock_guard<std::mutex> guard(all.lock);
  last->next = all.idle;
  all.idle = list;
}

// So many workers, as a list; new ones are started where too few are idle.
Worker* take_workers(int count) {
  Worker* list = nullptr;
  int taken = 0;
  {
    Workers& all = all_workers();
    std::lock_guard<std::mutex> guard(all.lock);
    for (; taken < count && all.idle; taken++) {
      Worker* worker = all.idle;
      all.idle = worker->next;
      worker->next = list;
      list = worker;
    }
  }
  for (; taken < count; taken++) {
    Worker* worker = new Worker;
    try {
      std::thread(serve, worker).detach();
    } catch (const std::system_error&) {
      delete worker;
      give_back(list);
      throw std::runtime_error("no further thread can be started; set AOTBUILD_NUM_THREADS=1");
    }
    worker->next = list;
    list = worker;
  }
  return list;
}

int usual_threads() {
  static const int count = [] {
    for (const char* name : {"AOTBUILD_NUM_THREADS", "OMP_NUM_THREADS"}) {
      const char* given = std::getenv(name);
      int threads = given ? std::atoi(given) : 0;
      if (threads > 0) return threads < kMost ? threads : kMost;
    }
    return cores();
  }();
  return count;
}

std::mutex& critical() {
  static std::mutex& lock = *new std::mutex;
  return lock;
}

int limited(int count) { return count < 0 ? 0 : count > kMost ? kMost : count; }

}  // namespace

int threads() {
  if (wanted) return wanted;
  int all = for_all.load(std::memory_order_relaxed);
  return all ? all : usual_threads();
}

void set_threads(int count) { for_all.store(limited(count), std::memory_order_relaxed); }

}  // namespace aotbuild::standalone

using namespace aotbuild::standalone;

// What g++ calls; https://gcc.gnu.org/onlinedocs/libgomp/The-libgomp-ABI.html
extern "C" {

int omp_get_max_threads() { return threads(); }
int omp_get_num_threads() { return team ? team->size : 1; }
int omp_get_thread_num() { return team ? number : 0; }
int omp_in_parallel() { return team && team->size > 1; }
int omp_get_num_procs() { return cores(); }
void omp_set_num_threads(int count) { wanted = limited(count); }

void GOMP_parallel(void (*function)(void*), void* data, unsigned asked, unsigned) {
  int size = team ? 1 : asked ? limited(static_cast<int>(asked)) : threads();
  Worker* list = size > 1 ? take_workers(size - 1) : nullptr;
  Team mine{function, data, size};
  Team* outer = team;
  int outer_number = number, outer_singles = singles;
  busy.fetch_add(size, std::memory_order_relaxed);
  int i = 1;
  for (Worker* worker = list; worker; worker = worker->next) {
    worker->team = &mine;
    worker->number = i++;
    worker->last = worker->done.now();
    worker->given.raise();
  }
  team = &mine;
  number = singles = 0;
  function(data);
  team = outer;
  number = outer_number;
  singles = outer_singles;
  for (Worker* worker = list; worker; worker = worker->next)
    worker->done.wait_for_change(worker->last);
  busy.fetch_sub(size, std::memory_order_relaxed);
  give_back(list);
}

// Whether this thread runs the block that all threads of the team come to: the first one does.
bool GOMP_single_start() {
  if (!team) return true;
  int before = singles++;
  return team->singles.compare_exchange_strong(before, before + 1, std::memory_order_acq_rel);
}

void GOMP_critical_start() { critical().lock(); }
void GOMP_critical_end() { critical().unlock(); }

void GOMP_barrier() {
  if (!team || team->size == 1) return;
  uint32_t before = team->passed.now();
  if (team->arrived.fetch_add(1, std::memory_order_acq_rel) == team->size - 1) {
    team->arrived.store(0, std::memory_order_relaxed);
    team->passed.raise();
  } else {
    team->passed.wait_for_change(before);
  }
}
}
