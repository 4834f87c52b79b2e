// Threads of parallel regions; `#pragma omp parallel` works as ever.
#pragma once

namespace aotbuild::standalone {

int threads();                // of a region of this thread
void set_threads(int count);  // of all threads; 0: by AOTBUILD_NUM_THREADS or the machine

}  // namespace aotbuild::standalone
