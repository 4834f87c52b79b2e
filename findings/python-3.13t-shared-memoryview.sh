#!/usr/bin/env bash
# Threads that slice one memoryview release it under each other's hands.
#
# Python 3.13.5 without the GIL, x86-64 Linux. The count of views of one buffer is not changed as a
# whole, so that it reaches zero too early.
#
# Expected: each slice has its bytes. Seen, within seconds: "ValueError: operation forbidden on
# released memoryview object". An array.array counts its readers in the same way.
#
# What aotbuild does: it makes a view of its own for each call, and docs/serving.md tells callers
# not to share one.
#
# PYTHON names the interpreter; python3.13t when unset.
set -euo pipefail
"${PYTHON:-python3.13t}" - <<'P'
import threading
import time

view = memoryview(bytes(64))
told = set()
end = time.monotonic() + 20


def work():
    while not told and time.monotonic() < end:
        try:
            view[:32].tobytes()
        except ValueError as error:
            told.add(str(error))


threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(told or "nothing")
P
