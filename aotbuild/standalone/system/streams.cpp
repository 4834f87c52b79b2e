// Sets up C++'s streams before anything else of the library runs, where its code uses one: it is
// compiled with `headers/iostream.h`, which does not.

#include <ios>

namespace {

// 101 is the first one that a program may have: earlier than all objects without a number.
__attribute__((init_priority(101))) std::ios_base::Init streams;

}  // namespace
