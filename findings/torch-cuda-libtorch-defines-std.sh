#!/bin/sh
# The libtorch.so of torch's CUDA builds defines symbols of C++'s own library, such as the constructor
# of std::stringstream, without versions; that of the CPU builds defines none. Inductor links libraries
# with -ltorch first, so what AOTInductor compiles with a CUDA build takes these from libtorch.so and not
# from libstdc++. Such a library cannot be opened in a process that has only opened libtorch_cpu.so.
#
# Exits with 0 while that is so, with 1 if libtorch.so defines no such symbol. Needs Python 3.11, nm and
# g++; the wheel of torch is large (600 MB), and what it depends on is not installed.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m venv "$directory/env"
"$directory/env/bin/python" -m pip install --quiet --no-deps torch==2.14.1
lib=$(echo "$directory"/env/lib/python3*/site-packages/torch/lib)
echo "symbols of std that libtorch.so defines:"
nm -D -C --defined-only "$lib/libtorch.so" | grep ' std::' > "$directory/symbols" || exit 1
wc -l < "$directory/symbols"
echo '#include <sstream>
std::string text(int number) { std::stringstream made; made << number; return std::move(made).str(); }' \
  > "$directory/net.cpp"
for libraries in -ltorch ""; do
  # shellcheck disable=SC2086  # none where it is empty
  g++ -std=c++20 -shared -fPIC "$directory/net.cpp" -L"$lib" $libraries -o "$directory/net.so" \
    -Wl,--allow-shlib-undefined
  echo "linked with ${libraries:-nothing}:"
  readelf -d "$directory/net.so" | grep NEEDED
  ldd "$directory/net.so" | grep 'not found' || echo "opens"
done
