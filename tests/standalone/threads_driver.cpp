// Regions of several threads side by side, as models have them: `threads_driver SECONDS`. Compiled
// with ThreadSanitizer, it reports what threads.cpp and memory.cpp leave to chance. Prints how many
// regions there were; ends with 1 if one of them computed something else.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tensor.h"
#include "threads.h"

extern "C" void omp_set_num_threads(int);

namespace {

using namespace aotbuild::standalone;

constexpr int kCallers = 16, kNumbers = 1000;

std::atomic<bool> wrong{false};
std::atomic<long> regions{0};

// The sum of numbers that a region writes, each thread a part, to memory that another call had.
int64_t sum_of(int64_t first) {
  Storage* storage = allocate(kNumbers * 8);
  int64_t* numbers = reinterpret_cast<int64_t*>(storage->data);
  int64_t sum = 0, firsts = 0;
#pragma omp parallel
  {
    int64_t own = 0;
#pragma omp single
    firsts = first;
#pragma omp for schedule(static)
    for (int i = 0; i < kNumbers; i++) numbers[i] = firsts + i;
#pragma omp for schedule(static)
    for (int i = 0; i < kNumbers; i++) own += numbers[kNumbers - 1 - i];
#pragma omp critical
    sum += own;
  }
  release(storage);
  return sum;
}

void call(int caller, std::chrono::steady_clock::time_point end) {
  for (int64_t turn = caller; std::chrono::steady_clock::now() < end; turn++) {
    if (turn % 8 == 0) omp_set_num_threads(static_cast<int>(turn / 8 % 4));
    if (turn % 32 == 0) set_threads(1 + static_cast<int>(turn / 32 % 4));
    if (sum_of(turn) != turn * kNumbers + kNumbers * (kNumbers - 1) / 2) wrong = true;
    regions++;
  }
}

}  // namespace

int main(int, char** arguments) {
  auto time = std::chrono::duration<double>(std::atof(arguments[1]));
  auto end = std::chrono::steady_clock::now() +
             std::chrono::duration_cast<std::chrono::steady_clock::duration>(time);
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; i++) callers.emplace_back(call, i, end);
  for (std::thread& caller : callers) caller.join();
  std::printf("%ld\n", regions.load());
  return wrong ? 1 : 0;
}
