"""What messages are put together with: the same as C++'s streams and regular expressions give."""

from __future__ import annotations

import subprocess
from pathlib import Path

from library import SOURCES

PROGRAM = r"""
#include <aotbuild_text.h>

#include <cstdint>
#include <iostream>
#include <limits>
#include <regex>

using aotbuild::text::DeviceName;
using aotbuild::text::Printed;
using aotbuild::text::Text;

int failures = 0;

template <typename... T>
void same(const T&... values) {
  std::ostringstream expected;
  Text found;
  ((expected << values), ...);
  ((found << values), ...);
  if (expected.str() == found.str()) return;
  std::cout << expected.str() << " != " << found.str() << "\n";
  failures++;
}

void match(const std::string& name) {
  static const std::regex pattern("(cpu|cuda|xpu|mps)(:([0-9]+))?");
  std::smatch expected;
  bool matched = std::regex_match(name, expected, pattern);
  DeviceName found(name);
  bool same = matched == bool(found);
  for (int i = 0; matched && i < 4; i++)
    same &= expected[i].matched == found[i].matched && expected[i].str() == found[i].str();
  if (!same) {
    std::cout << "device " << name << "\n";
    failures++;
  }
}

int main() {
  const char* text = "text";
  std::string string("a string");
  std::string_view view(string);
  same("expected size ", int64_t{-5}, "==", std::numeric_limits<int64_t>::min(), ", ", text);
  same(string, view, 'c', std::numeric_limits<uint64_t>::max(), short{-3}, size_t{7}, 42);
  same(true, 1.5, -0.1f, 1e300, static_cast<unsigned char>('u'), static_cast<int8_t>(65));
  for (const char* type : {"cpu", "cuda", "xpu", "mps", "", "CPU", "cpux", "cud"})
    for (const char* rest : {"", ":", ":0", ":12", ":-1", ":1x", " ", ":1:2", "\n", ":\xff", "::1"})
      match(std::string(type) + rest);
  Printed() << "[WARNING] constant " << string << " of " << 3 << "\n";
  return failures;
}
"""


def test_texts_and_devices(tmp_path: Path) -> None:
    source, program = tmp_path / "text.cpp", tmp_path / "text"
    source.write_text(PROGRAM)
    command = ["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES / 'headers'}"]
    subprocess.run([*command, str(source), "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "[WARNING] constant a string of 3\n"
