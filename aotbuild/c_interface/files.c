/* The files of the package: found, checked, mapped. */
#define _GNU_SOURCE
#include "interface.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { IN_PACKAGE = 2 }; /* this library is <package>/_c/<name> */

/* Of a large file, the checksum is that of so many blocks all over it. */
enum { WHOLE = 4 << 20, BLOCK = 64 << 10, BLOCKS = 64 };

char* package_path(const char* name, int up) {
  Dl_info info;
  char* own = dladdr(&PACKAGE, &info) ? realpath(info.dli_fname, NULL) : NULL;
  if (!own) return NULL;
  for (int i = 0; i < IN_PACKAGE + up; i++) {
    char* slash = strrchr(own, '/');
    if (slash) *slash = 0;
  }
  char* path = NULL;
  int length = asprintf(&path, "%s/%s", own, name);
  free(own);
  return length < 0 ? NULL : path;
}

/* Add a part of a file to a checksum; false if it cannot be read. */
static bool add_part(uint32_t* sum, int file, int64_t offset, int64_t count) {
  char buffer[1 << 15];
  while (count) {
    size_t some = count < (int64_t)sizeof buffer ? (size_t)count : sizeof buffer;
    ssize_t got = pread(file, buffer, some, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    *sum = checksum(*sum, buffer, (size_t)got);
    offset += got;
    count -= got;
  }
  return true;
}

/* Whether a file has the checksum that the build wrote; c_interface/source.py computes it. */
static bool has_checksum(int file, const File* expected) {
  uint32_t sum = 0;
  int64_t size = expected->size;
  if (size <= WHOLE) return add_part(&sum, file, 0, size) && sum == expected->checksum;
  for (int64_t i = 0; i < BLOCKS; i++)
    if (!add_part(&sum, file, (size - BLOCK) * i / (BLOCKS - 1), BLOCK)) return false;
  return sum == expected->checksum;
}

int open_checked(const char* path, const File* expected) {
  const char* fix = "install the package again";
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return refuse(LOAD, "%s is missing; %s", path, fix), -1;
  /* Not fstat, which programs of older systems do not have. */
  off_t size = file < 0 ? -1 : lseek(file, 0, SEEK_END);
  if (size < 0) {
    refuse(LOAD, "%s cannot be read (%s); %s", path, strerror(errno), fix);
  } else if (size != expected->size) {
    refuse(LOAD, "%s has %lld bytes instead of %lld; %s", path, (long long)size,
           (long long)expected->size, fix);
  } else if (!has_checksum(file, expected)) {
    refuse(LOAD, "%s is not the file that was built; %s", path, fix);
  } else {
    return file;
  }
  if (file >= 0) close(file);
  return -1;
}

/* Open the weights file that AOTBUILD_WEIGHTS names: by itself, in a list or by its directory. */
static int open_named(void) {
  const char* names = getenv("AOTBUILD_WEIGHTS");
  const char* fix = "set AOTBUILD_WEIGHTS to the path of";
  if (!names || !*names)
    return refuse(LOAD, "the weights are not in the package: %s %s, which the build wrote", fix,
                  PACKAGE.weights.name),
           -1;
  for (const char *name = names, *end; name; name = *end ? end + 1 : NULL) {
    char path[PATH_MAX];
    end = strchrnul(name, ':');
    int length = (int)(end - name);
    snprintf(path, sizeof path, "%.*s", length, name);
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
      close(folder);
      snprintf(path, sizeof path, "%.*s/%s", length, name, PACKAGE.weights.name);
    }
    int file = open_checked(path, &PACKAGE.weights);
    if (file >= 0) return file;
  }
  char why[1024];
  snprintf(why, sizeof why, "%.*s", (int)strcspn(error_text(), ";"), error_text());
  return refuse(LOAD, "AOTBUILD_WEIGHTS=%s: %s: %s %s, which the build wrote", names, why, fix,
                PACKAGE.weights.name),
         -1;
}

static int open_weights(void) {
  if (PACKAGE.outside) return open_named();
  char* path = NULL;
  if (PACKAGE.distribution) { /* its package is installed beside this one */
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%s/%s", PACKAGE.directory, PACKAGE.weights.name);
    path = package_path(name, PACKAGE.depth);
  } else {
    path = package_path(PACKAGE.weights.name, 0);
  }
  if (!path) return no_memory(PACKAGE.name), -1;
  int file = open_checked(path, &PACKAGE.weights);
  free(path);
  if (file < 0 && PACKAGE.distribution) {
    char why[1024];
    snprintf(why, sizeof why, "%.*s", (int)strcspn(error_text(), ";"), error_text());
    refuse(LOAD, "%s: the weights are in %s: pip install \"%s\"", why, PACKAGE.distribution,
           PACKAGE.distribution);
  }
  return file;
}

int map_weights(char** bytes) {
  static char* mapped; /* models are opened one at a time */
  static char nothing;
  if (!mapped && !PACKAGE.weights.size) mapped = &nothing;
  int file = mapped ? -1 : open_weights();
  if (file >= 0) {
    /* A private mapping, as in Python: should a model write to a weight, the file stays as it is.
     */
    void* map =
        mmap(NULL, (size_t)PACKAGE.weights.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (map == MAP_FAILED)
      refuse(LOAD, "%s: the weights cannot be mapped (%s)", PACKAGE.weights.name, strerror(errno));
    else
      mapped = map;
    close(file);
  }
  *bytes = mapped;
  return mapped ? OK : LOAD;
}
