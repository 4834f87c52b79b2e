/* Arithmetic of conditions between sizes, as Python has it. */
#include "interface.h"

#include <math.h>

Whole floor_divided(Whole a, Whole b, bool* failed) {
  if (!b) return *failed = true, 0;
  Whole quotient = a / b;
  return quotient - (a % b && (a < 0) != (b < 0));
}

Whole modulo(Whole a, Whole b, bool* failed) {
  if (!b) return *failed = true, 0;
  Whole rest = a % b;
  return rest && (rest < 0) != (b < 0) ? rest + b : rest;
}

Whole power(Whole base, Whole exponent, bool* failed) {
  Whole result = 1;
  if (exponent < 0) return *failed = true, 0;
  if (base >= -1 && base <= 1 && exponent > 1) exponent = 2 + exponent % 2;
  for (; exponent > 0; exponent--)
    if (__builtin_mul_overflow(result, base, &result)) return *failed = true, 0;
  return result;
}

Whole least(Whole a, Whole b) { return a < b ? a : b; }
Whole largest(Whole a, Whole b) { return a > b ? a : b; }

double divided(double a, double b, bool* failed) {
  if (b == 0) return *failed = true, 0;
  return a / b;
}

Whole whole(double value, bool* failed) {
  if (!(fabs(value) < 0x1p126)) return *failed = true, 0;
  return (Whole)value;
}

double rest(double a, double b, bool* failed) { return a - floor(divided(a, b, failed)) * b; }

double finite_number(double value, bool* failed) {
  if (!isfinite(value)) *failed = true;
  return value;
}
