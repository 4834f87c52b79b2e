/* CRC-32, as zlib has it. The digests of the manifest would take longer than all else that opens a
 * small model. */
#include "interface.h"

#include <pthread.h>

enum { BYTES = 16 };

static uint32_t tables[BYTES][256]; /* what a byte becomes that so many others follow */

static void fill_tables(void) {
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
    tables[0][i] = value;
  }
  for (int k = 1; k < BYTES; k++)
    for (int i = 0; i < 256; i++)
      tables[k][i] = tables[k - 1][i] >> 8 ^ tables[0][tables[k - 1][i] & 255];
}

/* Add bytes to the state of a checksum, which is the complement of the sum. */
static uint32_t add(uint32_t state, const uint8_t* at, size_t count) {
  for (; count >= BYTES; count -= BYTES, at += BYTES) {
    uint32_t next = 0;
    for (int i = 0; i < 4; i++) next ^= tables[BYTES - 1 - i][at[i] ^ (state >> 8 * i & 255)];
    for (int i = 4; i < BYTES; i++) next ^= tables[BYTES - 1 - i][at[i]];
    state = next;
  }
  for (; count; count--, at++) state = state >> 8 ^ tables[0][(state ^ *at) & 255];
  return state;
}

#if defined(__x86_64__)
#include <immintrin.h>

enum { LANES = 4 };

/* What has the same remainder as a value that so many bytes more follow; the constants are powers
 * of x modulo the polynomial. */
__attribute__((target("pclmul"))) static __m128i moved(__m128i value, __m128i powers) {
  return _mm_xor_si128(_mm_clmulepi64_si128(value, powers, 0x00),
                       _mm_clmulepi64_si128(value, powers, 0x11));
}

/* The same, for a multiple of 64 bytes: products of polynomials fold them into sixteen. */
__attribute__((target("pclmul"))) static uint32_t add_folded(uint32_t state, const uint8_t* at,
                                                             size_t count) {
  const __m128i by_lanes = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
  const __m128i by_one = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
  __m128i lanes[LANES];
  for (int i = 0; i < LANES; i++) lanes[i] = _mm_loadu_si128((const __m128i*)at + i);
  lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi32_si128((int)state));
  for (at += 64, count -= 64; count; at += 64, count -= 64)
    for (int i = 0; i < LANES; i++)
      lanes[i] = _mm_xor_si128(moved(lanes[i], by_lanes), _mm_loadu_si128((const __m128i*)at + i));
  for (int i = 1; i < LANES; i++) lanes[0] = _mm_xor_si128(moved(lanes[0], by_one), lanes[i]);
  uint8_t rest[16];
  _mm_storeu_si128((__m128i*)rest, lanes[0]);
  return add(0, rest, sizeof rest);
}

static bool can_fold(void) { return __builtin_cpu_supports("pclmul"); }
#else
static uint32_t add_folded(uint32_t state, const uint8_t* at, size_t count) {
  return add(state, at, count);
}

static bool can_fold(void) { return false; }
#endif

uint32_t checksum(uint32_t before, const void* bytes, size_t count) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, fill_tables);
  const uint8_t* at = bytes;
  uint32_t state = ~before;
  size_t folded = can_fold() ? count / 64 * 64 : 0;
  if (folded) state = add_folded(state, at, folded);
  return ~add(state, at + folded, count - folded);
}
