/* The text of the last error, for each thread. */
#include "interface.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char text[2048];

int refuse(int code, const char* format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(text, sizeof text, format, values);
  va_end(values);
  return code;
}

int no_memory(const char* function) {
  return refuse(MEMORY, "%s(): there is not enough memory", function);
}

const char* error_text(void) { return text; }
