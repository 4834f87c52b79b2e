// In place of <iostream>: declares what that has, but not the object that sets the streams up
// before anything else runs, which links all of C++'s streams and locales. A library that does use
// a stream gets that object from `system/streams.cpp`.
#pragma once

#include <istream>
#include <ostream>

namespace std {
extern istream cin;
extern ostream cout, cerr, clog;
extern wistream wcin;
extern wostream wcout, wcerr, wclog;
}  // namespace std
