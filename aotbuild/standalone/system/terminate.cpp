// What is printed before a process ends by an exception that no one catches.
//
// That of C++'s library also translates mangled names, which takes 50 kB: those of its own
// exceptions stand here, and others are printed as they are.

#include <cxxabi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>
#include <typeinfo>

namespace {

const char* name_of(const std::type_info& type) {
#define NAMED(exception) \
  if (type == typeid(exception)) return #exception
  NAMED(std::runtime_error);
  NAMED(std::logic_error);
  NAMED(std::invalid_argument);
  NAMED(std::out_of_range);
  NAMED(std::length_error);
  NAMED(std::bad_alloc);
  NAMED(std::system_error);
#undef NAMED
  return type.name();
}

}  // namespace

namespace __gnu_cxx {

void __verbose_terminate_handler() {
  static bool terminating;
  if (terminating) {
    std::fputs("terminate called recursively\n", stderr);
    std::abort();
  }
  terminating = true;
  if (const std::type_info* type = abi::__cxa_current_exception_type()) {
    std::fprintf(stderr, "terminate called after throwing an instance of '%s'\n", name_of(*type));
    try {
      throw;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "  what():  %s\n", error.what());
    } catch (...) {
    }
  } else {
    std::fputs("terminate called without an active exception\n", stderr);
  }
  std::abort();
}

}  // namespace __gnu_cxx
