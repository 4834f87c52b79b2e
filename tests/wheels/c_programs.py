"""Programs in C and C++ that call the models of installed wheels."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from wheels import REPOSITORY

from aotbuild.toolchain import find_cxx

PAGE = REPOSITORY / "docs" / "c-interface.md"
STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g")


def block(language: str) -> str:
    """The code of a language on the page about the C interface."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return str(found)


def compiled(source: Path, directory: Path, *options: str) -> Path:
    """Compile a program in C against the interface in a directory.

    Args:
        source: The program.
        directory: That of the library, with headers in it.
        options: Further options of the compiler.
    """
    (library,) = directory.glob("lib*.so")
    program = source.with_suffix("")
    run_checked(
        [*find_cxx(), "-x", "c", "-std=gnu11", *STRICT, *options, str(source), "-x", "none"]
        + [f"-I{directory}/include", str(library), f"-Wl,-rpath,{directory}", "-pthread"]
        + ["-o", str(program)]
    )
    return program


def run_checked(command: Sequence[str | Path], **variables: str) -> str:
    """What a command prints, which has to end well."""
    done = subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


CALLS = r"""
#include <digits/denoiser.h>
#include <digits/net.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what)                                                             \
  do {                                                                          \
    if (!(what)) {                                                              \
      fprintf(stderr, "line %d: " #what ": %s\n", __LINE__, digits_error());    \
      exit(1);                                                                  \
    }                                                                           \
  } while (0)

enum { THREADS = 4, CALLS = 15 };

static float images[360 * 64], *expected[361];
static digits_net *net;

static void refused(digits_status status, const char *text) {
  CHECK(status == DIGITS_ARGUMENT);
  if (strcmp(digits_error(), text)) {
    fprintf(stderr, "said: %s\nnot:  %s\n", digits_error(), text);
    exit(1);
  }
}

/* Many sizes, of which each gives the same as before. */
static void *work(void *first) {
  for (int i = 0; i < CALLS; i++) {
    int64_t batch = (*(int *)first + 17 * i) % 256 + 1;
    digits_net_inputs inputs = {images, batch};
    digits_net_outputs outputs;
    CHECK(!digits_net_run(net, &inputs, &outputs));
    CHECK(outputs.output_shape[0] == batch && outputs.output_shape[1] == 10);
    CHECK(!memcmp(outputs.output, expected[batch], (size_t)batch * 10 * sizeof(float)));
    digits_net_free(&outputs);
    CHECK(!outputs.output && !outputs.owner);
    digits_net_free(&outputs);
    inputs.batch = 257;
    CHECK(digits_net_run(net, &inputs, &outputs) == DIGITS_ARGUMENT && !outputs.owner);
    CHECK(strstr(digits_error(), "batch is 257"));
  }
  return NULL;
}

static void in_threads(void) {
  pthread_t threads[THREADS];
  int first[THREADS];
  for (int i = 0; i < THREADS; i++) {
    first[i] = 50 * i;
    CHECK(!pthread_create(&threads[i], NULL, work, &first[i]));
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

int main(int count, char **arguments) {
  FILE *file = fopen(arguments[1], "rb");
  CHECK(count == 3 && file && fread(images, sizeof images, 1, file) == 1);
  fclose(file);

  refused(digits_net_open(NULL, 1, 0), "digits_net_open(): model is NULL");
  refused(digits_net_open(&net, 0, 0), "digits_net_open(): runners is 0, expected 1 to 64");
  refused(digits_net_open(&net, 65, 0), "digits_net_open(): runners is 65, expected 1 to 64");
  refused(digits_net_open(&net, 1, -1), "digits_net_open(): threads is -1, expected 0 to 256");
  refused(digits_set_num_threads(0), "digits_set_num_threads(): count is 0, expected 1 to 256");
  CHECK(!net);
  CHECK(!digits_net_open(&net, 1, 0));

  digits_net_inputs inputs = {images, 3};
  digits_net_outputs outputs;
  refused(digits_net_run(NULL, &inputs, &outputs), "digits_net_run(): model is NULL");
  refused(digits_net_run(net, NULL, &outputs), "digits_net_run(): inputs is NULL");
  refused(digits_net_run(net, &inputs, NULL), "digits_net_run(): outputs is NULL");
  const int64_t wrong[] = {0, -1, 257, INT64_MAX, INT64_MIN};
  for (int i = 0; i < 5; i++) {
    char text[200];
    inputs.batch = wrong[i];
    const char *said = "digits_net_run(): batch is %lld, the compiled model takes 1 to 256";
    snprintf(text, sizeof text, said, (long long)wrong[i]);
    refused(digits_net_run(net, &inputs, &outputs), text);
  }
  inputs.batch = 3;
  inputs.image = NULL;
  refused(digits_net_run(net, &inputs, &outputs), "digits_net_run(): image is NULL");
  inputs.image = (const float *)(const void *)((const char *)images + 2);
  refused(digits_net_run(net, &inputs, &outputs),
          "digits_net_run(): image is at an address that is no multiple of 4");

  /* What Python is compared with: all images, in batches of 100. */
  file = fopen(arguments[2], "wb");
  for (int64_t start = 0; start < 360; start += 100) {
    inputs = (digits_net_inputs){images + start * 64, start < 300 ? 100 : 60};
    CHECK(!digits_net_run(net, &inputs, &outputs));
    fwrite(outputs.output, sizeof(float), (size_t)inputs.batch * 10, file);
    digits_net_free(&outputs);
  }
  fclose(file);

  for (int64_t batch = 1; batch <= 256; batch++) {
    inputs = (digits_net_inputs){images, batch};
    CHECK(!digits_net_run(net, &inputs, &outputs));
    expected[batch] = malloc((size_t)batch * 10 * sizeof(float));
    memcpy(expected[batch], outputs.output, (size_t)batch * 10 * sizeof(float));
    digits_net_free(&outputs);
  }
  in_threads();
  digits_net *one = net;
  CHECK(!digits_net_open(&net, 3, 1));
  in_threads();
  CHECK(!digits_set_num_threads(2));
  in_threads();

  pid_t child = fork();
  if (!child) {
    int first = 7;
    work(&first);
    digits_net *again;
    CHECK(!digits_net_open(&again, 1, 0));
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);

  digits_denoiser *denoiser;
  CHECK(!digits_denoiser_open(&denoiser, 1, 0));
  digits_denoiser_inputs noisy = {images, 5};
  digits_denoiser_outputs clean, cleaner;
  CHECK(!digits_denoiser_run(denoiser, &noisy, &clean));
  CHECK(clean.image_shape[0] == 5 && clean.image_shape[3] == 8 && clean.error_shape[0] == 5);
  noisy.image = clean.image; /* an output is an input as well */
  CHECK(!digits_denoiser_run(denoiser, &noisy, &cleaner));
  digits_denoiser_close(denoiser);
  CHECK(clean.error[4] >= 0 && cleaner.image[5 * 64 - 1] >= 0); /* they outlive the model */
  digits_denoiser_free(&clean);
  digits_denoiser_free(&cleaner);

  char line[1000];
  file = fopen("/proc/self/maps", "r");
  while (fgets(line, sizeof line, file))
    if (strstr(line, "weights.safetensors") || strstr(line, "python") || strstr(line, "torch"))
      fputs(line, stdout);
  fclose(file);
  digits_net_close(net);
  digits_net_close(one);
  digits_net_close(NULL);
  for (int64_t batch = 1; batch <= 256; batch++) free(expected[batch]);
  return 0;
}
"""
"""Calls and refusals of the example's models. It takes a file of 360 images and one for scores, and
prints where weights are mapped, and what it has of Python and torch."""
