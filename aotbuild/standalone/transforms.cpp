// Discrete Fourier transforms of many lines of numbers.
//
// As many lines as a vector has elements are transformed at once, each in one element of all
// vectors: so any length is as fast as another one of similar factors, and only loading and storing
// moves numbers between the elements. A transform works in place, by decimation in frequency; its
// results lie in the order of reversed digits, which storing undoes. Lengths with a large prime
// factor are convolutions (Bluestein). Even real lines are half as many complex numbers. Long lines
// are split in two factors, so that what is transformed at once stays in the cache.

#include "transforms.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "lanes.h"
#include "tensor.h"
#include "threads.h"

extern "C" int omp_get_thread_num();

namespace aotbuild::standalone {
namespace {

constexpr int kLargestPrime = 31;       // from which on a convolution is faster
constexpr int64_t kLong = 1 << 13;      // numbers of a line, which a second-level cache holds
constexpr int64_t kSplit = 1 << 10;     // from which on even few lines are split
constexpr int64_t kThreaded = 1 << 14;  // numbers in all, for which threads are worth it
constexpr size_t kPlans = 64;

// exp(-2 pi i k / n), from an angle of at most an eighth of the circle.
template <typename T>
std::pair<T, T> root(int64_t k, int64_t n) {
  k %= n;
  int64_t quarter = (8 * k / n + 1) / 2;  // the nearest one
  double angle = M_PI / 2 * static_cast<double>(4 * k - quarter * n) / static_cast<double>(n);
  double c = std::cos(angle), s = std::sin(angle);
  if (quarter % 2) std::swap(c, s), c = -c;
  if (quarter % 4 >= 2) c = -c, s = -s;
  return {static_cast<T>(c), static_cast<T>(-s)};
}

template <typename V>
struct Number {
  V re, im;
};
template <typename V>
inline Number<V> operator+(Number<V> a, Number<V> b) {
  return {a.re + b.re, a.im + b.im};
}
template <typename V>
inline Number<V> operator-(Number<V> a, Number<V> b) {
  return {a.re - b.re, a.im - b.im};
}
template <typename V, typename T>
inline Number<V> times(Number<V> a, T re, T im) {
  return {a.re * re - a.im * im, a.re * im + a.im * re};
}
template <typename V>
inline Number<V> turned(Number<V> a) {  // by -i
  return {a.im, -a.re};
}

// Transforms of so many numbers, in place.
template <int R, typename T>
struct Butterfly;

template <typename T>
struct Butterfly<2, T> {
  template <typename V>
  static void apply(Number<V>* a) {
    Number<V> b = a[0] - a[1];
    a[0] = a[0] + a[1];
    a[1] = b;
  }
};

template <typename T>
struct Butterfly<3, T> {
  template <typename V>
  static void apply(Number<V>* a) {
    constexpr T kSin = 0.86602540378443864676;
    Number<V> sum = a[1] + a[2], d = turned(a[1] - a[2]);
    Number<V> middle = {a[0].re - T(0.5) * sum.re, a[0].im - T(0.5) * sum.im};
    d = {kSin * d.re, kSin * d.im};
    a[0] = a[0] + sum;
    a[1] = middle + d;
    a[2] = middle - d;
  }
};

template <typename T>
struct Butterfly<4, T> {
  template <typename V>
  static void apply(Number<V>* a) {
    Number<V> s = a[0] + a[2], d = a[0] - a[2], t = a[1] + a[3], e = turned(a[1] - a[3]);
    a[0] = s + t;
    a[1] = d + e;
    a[2] = s - t;
    a[3] = d - e;
  }
};

template <typename T>
struct Butterfly<5, T> {
  template <typename V>
  static void apply(Number<V>* a) {
    constexpr T kCos1 = 0.30901699437494742410, kSin1 = 0.95105651629515357212;
    constexpr T kCos2 = -0.80901699437494742410, kSin2 = 0.58778525229247312917;
    Number<V> s1 = a[1] + a[4], s2 = a[2] + a[3];
    Number<V> d1 = turned(a[1] - a[4]), d2 = turned(a[2] - a[3]);
    Number<V> m1 = {a[0].re + kCos1 * s1.re + kCos2 * s2.re,
                    a[0].im + kCos1 * s1.im + kCos2 * s2.im};
    Number<V> m2 = {a[0].re + kCos2 * s1.re + kCos1 * s2.re,
                    a[0].im + kCos2 * s1.im + kCos1 * s2.im};
    Number<V> e1 = {kSin1 * d1.re + kSin2 * d2.re, kSin1 * d1.im + kSin2 * d2.im};
    Number<V> e2 = {kSin2 * d1.re - kSin1 * d2.re, kSin2 * d1.im - kSin1 * d2.im};
    a[0] = a[0] + s1 + s2;
    a[1] = m1 + e1;
    a[4] = m1 - e1;
    a[2] = m2 + e2;
    a[3] = m2 - e2;
  }
};

template <typename T>
struct Butterfly<8, T> {
  template <typename V>
  static void apply(Number<V>* a) {
    constexpr T kHalf = 0.70710678118654752440;
    Number<V> even[4] = {a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]};
    Number<V> odd[4] = {a[0] - a[4], a[1] - a[5], turned(a[2] - a[6]), a[3] - a[7]};
    odd[1] = {kHalf * (odd[1].re + odd[1].im), kHalf * (odd[1].im - odd[1].re)};
    odd[3] = {kHalf * (odd[3].im - odd[3].re), -kHalf * (odd[3].re + odd[3].im)};
    Butterfly<4, T>::apply(even);
    Butterfly<4, T>::apply(odd);
#pragma GCC unroll 16
    for (int k = 0; k < 4; k++) a[2 * k] = even[k], a[2 * k + 1] = odd[k];
  }
};

// How lines of one length are transformed.
template <typename T>
class Plan {
  using V = Vec<T>;

 public:
  explicit Plan(int64_t length);

  void execute(V* x) const;    // of numbers in order, each a vector of real parts and one of others
  std::vector<int64_t> where;  // the results are: indices of numbers
  int64_t space;               // numbers that `x` has

 private:
  struct Pass {
    int radix;
    int64_t span;             // numbers that are transformed by each other, as far as this pass
    std::vector<T> twiddles;  // which the results are multiplied by
    std::vector<T> roots;     // of any other radix
  };

  template <int R>
  void pass(V* x, const Pass& which) const;
  void any_pass(V* x, const Pass& which) const;
  void convolve(V* x) const;

  int64_t length_;
  std::vector<Pass> passes_;
  std::unique_ptr<Plan> inner_;    // where the transform is a convolution
  std::vector<T> chirp_, filter_;  // of it
};

template <typename T>
Plan<T>::Plan(int64_t length) : space(length), length_(length) {
  std::vector<int> radices;
  int64_t rest = length;
  for (int radix : {8, 4, 2, 5, 3})
    for (; rest % radix == 0; rest /= radix) {
      if (radix == 8 && rest % 32 == 16) break;  // two fours are faster than an eight and a two
      radices.push_back(radix);
    }
  for (int64_t prime = 7; prime <= kLargestPrime; prime += 2)
    for (; rest % prime == 0; rest /= prime) radices.push_back(static_cast<int>(prime));
  where.resize(length);
  if (rest > 1) {
    int64_t padded = 2 * length;
    auto smooth = [](int64_t n) {
      for (int64_t radix : {2, 3, 5})
        while (n % radix == 0) n /= radix;
      return n == 1;
    };
    while (!smooth(padded)) padded++;
    inner_ = std::make_unique<Plan>(padded);
    space = 2 * padded;
    for (int64_t k = 0; k < length; k++) where[k] = padded + inner_->where[k];
    chirp_.resize(2 * length);
    for (int64_t k = 0; k < length; k++)
      std::tie(chirp_[2 * k], chirp_[2 * k + 1]) = root<T>(k * k % (2 * length), 2 * length);
    // The transform of the conjugated chirp, which is as long to the left as to the right.
    using W = Vec<double>;
    std::vector<T> spectrum(2 * padded);
    Plan<double> exact(padded);
    std::unique_ptr<Storage, void (*)(Storage*)> memory(allocate(2 * padded * sizeof(W)), release);
    W* x = reinterpret_cast<W*>(memory->data);
    std::memset(memory->data, 0, 2 * padded * sizeof(W));
    for (int64_t k = 0; k < length; k++) {
      auto [re, im] = root<double>(k * k % (2 * length), 2 * length);
      for (int64_t at : {k, k ? padded - k : 0}) x[2 * at] = W{} + re, x[2 * at + 1] = W{} - im;
    }
    exact.execute(x);
    filter_.resize(2 * padded);
    for (int64_t k = 0; k < padded; k++)
      for (int part : {0, 1})
        filter_[2 * k + part] = static_cast<T>(x[2 * exact.where[k] + part][0] / padded);
    return;
  }
  int64_t span = length;
  std::vector<int64_t> frequency(length, 0);  // which each place will hold
  int64_t unit = 1;
  for (int radix : radices) {
    Pass made{radix, span, {}, {}};
    int64_t part = span / radix;
    for (int64_t p = 0; p < part && part > 1; p++)
      for (int k = 1; k < radix; k++) {
        auto [re, im] = root<T>(p * k, span);
        made.twiddles.insert(made.twiddles.end(), {re, im});
      }
    for (int k = 0; k < radix && radix > 5 && radix != 8; k++) {
      auto [re, im] = root<T>(k, radix);
      made.roots.insert(made.roots.end(), {re, -im});
    }
    for (int64_t i = 0; i < length; i++) frequency[i] += i % span / part * unit;
    passes_.push_back(std::move(made));
    span = part;
    unit *= radix;
  }
  for (int64_t i = 0; i < length; i++) where[frequency[i]] = i;
}

template <typename T>
template <int R>
void Plan<T>::pass(V* x, const Pass& which) const {
  int64_t span = which.span, part = span / R;
  if (part == 1) {
    for (int64_t first = 0; first < length_; first += R) {
      Number<V> a[R];
#pragma GCC unroll 16
      for (int j = 0; j < R; j++) a[j] = {x[2 * (first + j)], x[2 * (first + j) + 1]};
      Butterfly<R, T>::apply(a);
#pragma GCC unroll 16
      for (int j = 0; j < R; j++) x[2 * (first + j)] = a[j].re, x[2 * (first + j) + 1] = a[j].im;
    }
    return;
  }
  for (int64_t p = 0; p < part; p++) {
    const T* twiddle = which.twiddles.data() + 2 * (R - 1) * p;
    for (int64_t first = p; first < length_; first += span) {
      Number<V> a[R];
#pragma GCC unroll 16
      for (int j = 0; j < R; j++) {
        int64_t at = 2 * (first + j * part);
        a[j] = {x[at], x[at + 1]};
      }
      Butterfly<R, T>::apply(a);
#pragma GCC unroll 16
      for (int j = 0; j < R; j++) {
        int64_t at = 2 * (first + j * part);
        if (j) a[j] = times(a[j], twiddle[2 * j - 2], twiddle[2 * j - 1]);
        x[at] = a[j].re, x[at + 1] = a[j].im;
      }
    }
  }
}

template <typename T>
void Plan<T>::any_pass(V* x, const Pass& which) const {
  int64_t radix = which.radix, span = which.span, part = span / radix;
  int half = which.radix / 2;
  Number<V> sum[kLargestPrime / 2 + 1], difference[kLargestPrime / 2 + 1];
  for (int64_t p = 0; p < part; p++) {
    const T* twiddle = part > 1 ? which.twiddles.data() + 2 * (radix - 1) * p : nullptr;
    for (int64_t first = p; first < length_; first += span) {
      auto load = [&](int64_t j) {
        const V* at = x + 2 * (first + j * part);
        return Number<V>{at[0], at[1]};
      };
      auto store = [&](int64_t k, Number<V> value) {
        if (twiddle && k) value = times(value, twiddle[2 * k - 2], twiddle[2 * k - 1]);
        V* at = x + 2 * (first + k * part);
        at[0] = value.re, at[1] = value.im;
      };
      Number<V> zero = load(0), all = zero;
      for (int j = 1; j <= half; j++) {
        Number<V> a = load(j), b = load(radix - j);
        sum[j] = a + b, difference[j] = turned(a - b);
        all = all + sum[j];
      }
      store(0, all);
      for (int k = 1; k <= half; k++) {
        Number<V> m = zero, e = {};
        for (int j = 1; j <= half; j++) {
          const T* w = which.roots.data() + 2 * (j * k % radix);
          m = m + Number<V>{w[0] * sum[j].re, w[0] * sum[j].im};
          e = e + Number<V>{w[1] * difference[j].re, w[1] * difference[j].im};
        }
        store(k, m + e);
        store(radix - k, m - e);
      }
    }
  }
}

// jk = (j^2 + k^2 - (k - j)^2) / 2: the transform is a convolution with a chirp.
template <typename T>
void Plan<T>::convolve(V* x) const {
  int64_t padded = space / 2;
  V* y = x + 2 * padded;
  for (int64_t j = 0; j < padded; j++) {
    Number<V> value = {};
    if (j < length_)
      value = times(Number<V>{x[2 * j], x[2 * j + 1]}, chirp_[2 * j], chirp_[2 * j + 1]);
    x[2 * j] = value.re, x[2 * j + 1] = value.im;
  }
  inner_->execute(x);
  for (int64_t k = 0; k < padded; k++) {
    const V* at = x + 2 * inner_->where[k];
    Number<V> value = times(Number<V>{at[0], at[1]}, filter_[2 * k], filter_[2 * k + 1]);
    y[2 * k] = value.im, y[2 * k + 1] = value.re;  // swapped: the inverse transform
  }
  inner_->execute(y);
  for (int64_t k = 0; k < length_; k++) {
    V* at = x + 2 * where[k];
    Number<V> value = times(Number<V>{at[1], at[0]}, chirp_[2 * k], chirp_[2 * k + 1]);
    at[0] = value.re, at[1] = value.im;
  }
}

template <typename T>
void Plan<T>::execute(V* x) const {
  if (inner_) return convolve(x);
  for (const Pass& each : passes_) {
    switch (each.radix) {
      case 2:
        pass<2>(x, each);
        break;
      case 3:
        pass<3>(x, each);
        break;
      case 4:
        pass<4>(x, each);
        break;
      case 5:
        pass<5>(x, each);
        break;
      case 8:
        pass<8>(x, each);
        break;
      default:
        any_pass(x, each);
    }
  }
}

// What is made once for a length, and kept.
template <typename Made>
std::shared_ptr<const Made> kept(int64_t length) {
  static std::mutex& lock = *new std::mutex;
  static auto& all = *new std::unordered_map<int64_t, std::shared_ptr<const Made>>;
  {
    std::lock_guard<std::mutex> guard(lock);
    auto found = all.find(length);
    if (found != all.end()) return found->second;
  }
  auto made = std::make_shared<const Made>(length);
  std::lock_guard<std::mutex> guard(lock);
  if (all.size() >= kPlans) all.clear();
  return all.emplace(length, made).first->second;
}

// exp(-2 pi i k / n), for each k.
template <typename T>
struct Circle {
  explicit Circle(int64_t length) : roots(2 * length) {
    for (int64_t k = 0; k < length; k++)
      std::tie(roots[2 * k], roots[2 * k + 1]) = root<T>(k, length);
  }
  std::vector<T> roots;
};

// Numbers that lie side by side become the same element of vectors, and the other way round.
template <typename T, int H, size_t... I>
inline void exchange(Vec<T>* rows, std::index_sequence<I...>) {
  constexpr int kWidth = kLanes<T>;
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; i++) {
    if (i & H) continue;
    Vec<T> a = rows[i], b = rows[i + H];
    rows[i] = __builtin_shufflevector(a, b, (I & H ? kWidth + I - H : I)...);
    rows[i + H] = __builtin_shufflevector(a, b, (I & H ? kWidth + I : I + H)...);
  }
  if constexpr (H > 1) exchange<T, H / 2>(rows, std::index_sequence<I...>{});
}
template <typename T>
inline void transpose(Vec<T>* rows) {
  exchange<T, kLanes<T> / 2>(rows, std::make_index_sequence<kLanes<T>>{});
}

// Pairs that follow each other, from their parts and the other way round.
template <typename T, size_t... I>
inline void separate(Vec<T> a, Vec<T> b, Vec<T>& re, Vec<T>& im, std::index_sequence<I...>) {
  re = __builtin_shufflevector(a, b, (2 * I)...);
  im = __builtin_shufflevector(a, b, (2 * I + 1)...);
}
template <typename T>
inline void separate(Vec<T> a, Vec<T> b, Vec<T>& re, Vec<T>& im) {
  separate<T>(a, b, re, im, std::make_index_sequence<kLanes<T>>{});
}
template <typename T, size_t... I>
inline void unite(Vec<T> re, Vec<T> im, Vec<T>& a, Vec<T>& b, std::index_sequence<I...>) {
  constexpr int kWidth = kLanes<T>;
  a = __builtin_shufflevector(re, im, (I / 2 + I % 2 * kWidth)...);
  b = __builtin_shufflevector(re, im, ((kWidth + I) / 2 + I % 2 * kWidth)...);
}
template <typename T>
inline void unite(Vec<T> re, Vec<T> im, Vec<T>& a, Vec<T>& b) {
  unite<T>(re, im, a, b, std::make_index_sequence<kLanes<T>>{});
}

// Lines that are transformed at once.
template <typename T>
struct Group {
  const T* from[kLanes<T>];
  T* to[kLanes<T>];
  int count;

  // Whether the lines begin side by side, as columns of a matrix do.
  template <typename U>
  bool side_by_side(U* const* first, int64_t parts) const {
    for (int i = 1; i < kLanes<T>; i++)
      if (first[i] != first[0] + i * parts) return false;
    return count == kLanes<T>;
  }
};

// The parts of complex numbers change places for an inverse transform: `swap` is 1.
template <typename T>
void load_group(const Signals<T>& lines, const Group<T>& group, Vec<T>* x) {
  constexpr int kWidth = kLanes<T>;
  bool pairs = lines.real && lines.length % 2 == 0;
  // `parts` numbers of T follow each other, then comes the next step.
  int64_t parts = lines.real ? 1 : 2, values = parts * lines.length, swap = lines.inverse;
  int64_t spread = lines.real && !pairs ? 2 : 1, done = 0;
  if (lines.from_step == parts) {
    for (; done + kWidth <= values; done += kWidth) {
      Vec<T> rows[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; i++) rows[i] = load(group.from[i] + done);
      transpose<T>(rows);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; i++) x[((done + i) ^ swap) * spread] = rows[i];
    }
  } else if (group.side_by_side(group.from, parts)) {
    const T* from = group.from[0];
    for (; done < values; done += parts, from += lines.from_step) {
      Vec<T> a = load(from);
      if (parts == 1) {
        x[done * spread] = a;
      } else {
        separate<T>(a, load(from + kWidth), x[done + swap], x[done + 1 - swap]);
      }
    }
  }
  for (int64_t i = done; i < values; i++)
    for (int lane = 0; lane < kWidth; lane++)
      x[(i ^ swap) * spread][lane] = group.from[lane][i / parts * lines.from_step + i % parts];
  if (spread == 2)
    for (int64_t i = 0; i < values; i++) x[2 * i + 1] = Vec<T>{};
}

template <typename T>
void store_group(const Signals<T>& lines, const Group<T>& group, const Vec<T>* x,
                 const int64_t* where, int64_t count) {
  constexpr int kWidth = kLanes<T>;
  int64_t swap = lines.inverse, values = 2 * count, done = 0;
  if (lines.to_step == 2) {
    for (; done + kWidth <= values; done += kWidth) {
      Vec<T> rows[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; i++)
        rows[i] = x[2 * where[(done + i) / 2] + (i % 2 ^ swap)] * lines.scale;
      transpose<T>(rows);
      for (int i = 0; i < group.count; i++) store(group.to[i] + done, rows[i]);
    }
  } else if (group.side_by_side(group.to, 2)) {
    T* to = group.to[0];
    for (; done < values; done += 2, to += lines.to_step) {
      const Vec<T>* at = x + 2 * where[done / 2];
      Vec<T> a, b;
      unite<T>(at[swap] * lines.scale, at[1 - swap] * lines.scale, a, b);
      store(to, a);
      store(to + kWidth, b);
    }
  }
  for (int64_t i = done; i < values; i++) {
    Vec<T> row = x[2 * where[i / 2] + (i % 2 ^ swap)] * lines.scale;
    for (int lane = 0; lane < group.count; lane++)
      group.to[lane][i / 2 * lines.to_step + i % 2] = row[lane];
  }
}

// From the transform of pairs of real numbers to the one of the real numbers; `half` numbers.
template <typename V, typename T>
inline void unpair(Number<V>& a, Number<V>& b, T re, T im) {
  Number<V> sum = {a.re + b.re, a.im - b.im}, difference = {a.im + b.im, b.re - a.re};
  difference = times(difference, re, im);
  a = {T(0.5) * (sum.re + difference.re), T(0.5) * (sum.im + difference.im)};
  b = {T(0.5) * (sum.re - difference.re), T(0.5) * (difference.im - sum.im)};
}

template <typename T>
void unpair_all(Vec<T>* x, const int64_t* where, int64_t half, const T* roots) {
  Vec<T>*first = x + 2 * where[0], *last = x + 2 * where[half];
  Vec<T> re = first[0], im = first[1];
  first[0] = re + im, first[1] = Vec<T>{};
  last[0] = re - im, last[1] = Vec<T>{};
  for (int64_t k = 1; 2 * k <= half; k++) {
    Vec<T>*p = x + 2 * where[k], *q = x + 2 * where[half - k];
    Number<Vec<T>> a = {p[0], p[1]}, b = {q[0], q[1]};
    unpair(a, b, roots[2 * k], roots[2 * k + 1]);
    q[0] = b.re, q[1] = b.im;
    p[0] = a.re, p[1] = a.im;
  }
}

template <typename T>
int64_t line_count(const Signals<T>& lines) {
  int64_t count = 1;
  for (int64_t size : lines.sizes) count *= size;
  return count;
}

template <typename T>
std::pair<int64_t, int64_t> offsets(const Signals<T>& lines, int64_t line) {
  int64_t from = 0, to = 0;
  for (size_t d = lines.sizes.size(); d-- > 0; line /= lines.sizes[d]) {
    from += line % lines.sizes[d] * lines.from_strides[d];
    to += line % lines.sizes[d] * lines.to_strides[d];
  }
  return {from, to};
}

template <typename T>
void transform_together(const Signals<T>& lines) {
  bool pairs = lines.real && lines.length % 2 == 0;
  int64_t numbers = pairs ? lines.length / 2 : lines.length;
  int64_t results = lines.real ? lines.length / 2 + 1 : lines.length;
  auto plan = kept<Plan<T>>(numbers);
  std::shared_ptr<const Circle<T>> circle;
  if (pairs) circle = kept<Circle<T>>(lines.length);
  std::vector<int64_t> where = plan->where;
  where.push_back(plan->space);  // the last one of pairs
  int64_t count = line_count(lines), groups = (count + kLanes<T> - 1) / kLanes<T>;
  bool threaded = groups > 1 && count * lines.length >= kThreaded;
  int64_t values = 2 * (plan->space + 1), each = threaded ? threads() : 1;
  std::unique_ptr<Storage, void (*)(Storage*)> memory(
      allocate(each * values * static_cast<int64_t>(sizeof(Vec<T>))), release);
  auto work = [&](int64_t index, int thread) {
    Vec<T>* x = reinterpret_cast<Vec<T>*>(memory->data) + thread * values;
    Group<T> group;
    int64_t first = index * kLanes<T>;
    group.count = static_cast<int>(std::min<int64_t>(kLanes<T>, count - first));
    for (int lane = 0; lane < kLanes<T>; lane++) {
      auto [from, to] = offsets(lines, lane < group.count ? first + lane : first);
      group.from[lane] = lines.from + from;
      group.to[lane] = lines.to + to;
    }
    load_group(lines, group, x);
    plan->execute(x);
    if (pairs) unpair_all<T>(x, where.data(), numbers, circle->roots.data());
    store_group(lines, group, x, where.data(), results);
  };
  if (threaded) {
#pragma omp parallel for
    for (int64_t index = 0; index < groups; index++) work(index, omp_get_thread_num());
  } else {
    for (int64_t index = 0; index < groups; index++) work(index, 0);
  }
}

// The factor of a length that is nearest to its root; 1 for a prime.
int64_t middle_factor(int64_t length) {
  int64_t factor = static_cast<int64_t>(std::sqrt(static_cast<double>(length)));
  while (length % factor) factor--;
  return factor;
}

// One line, of complex numbers, as a matrix: first its columns, then its rows are transformed.
template <typename T>
void transform_long(const T* from, int64_t from_step, T* to, int64_t to_step, int64_t length,
                    bool inverse, T scale) {
  int64_t rows = middle_factor(length), columns = length / rows;
  std::vector<T> between(2 * length);
  transform_together<T>({rows,
                         from,
                         between.data(),
                         columns * from_step,
                         2 * columns,
                         {columns},
                         {from_step},
                         {2},
                         false,
                         inverse,
                         T(1)});
  const T* roots = kept<Circle<T>>(length)->roots.data();
  for (int64_t r = 1; r < rows; r++) {
    T* row = between.data() + 2 * r * columns;
    for (int64_t c = 1; c < columns; c++) {
      T re = roots[2 * r * c], im = inverse ? -roots[2 * r * c + 1] : roots[2 * r * c + 1];
      Number<T> value = times(Number<T>{row[2 * c], row[2 * c + 1]}, re, im);
      row[2 * c] = value.re, row[2 * c + 1] = value.im;
    }
  }
  transform_together<T>({columns,
                         between.data(),
                         to,
                         2,
                         rows * to_step,
                         {rows},
                         {2 * columns},
                         {to_step},
                         false,
                         inverse,
                         scale});
}

template <typename T>
void transform_long_real(const T* from, int64_t from_step, T* to, int64_t to_step, int64_t length,
                         T scale) {
  bool pairs = length % 2 == 0;
  int64_t numbers = pairs ? length / 2 : length, spread = pairs ? 1 : 2;
  std::vector<T> x(2 * numbers);
  for (int64_t i = 0; i < length; i++) x[spread * i] = from[i * from_step];
  transform_long<T>(x.data(), 2, x.data(), 2, numbers, false, scale);
  auto put = [&](int64_t k, Number<T> value) {
    to[k * to_step] = value.re, to[k * to_step + 1] = value.im;
  };
  if (!pairs) {
    for (int64_t k = 0; k <= length / 2; k++) put(k, {x[2 * k], x[2 * k + 1]});
    return;
  }
  auto circle = kept<Circle<T>>(length);
  put(0, {x[0] + x[1], 0});
  put(numbers, {x[0] - x[1], 0});
  for (int64_t k = 1; 2 * k <= numbers; k++) {
    int64_t l = numbers - k;
    Number<T> a = {x[2 * k], x[2 * k + 1]}, b = {x[2 * l], x[2 * l + 1]};
    unpair(a, b, circle->roots[2 * k], circle->roots[2 * k + 1]);
    put(l, b);
    put(k, a);
  }
}

}  // namespace

template <typename T>
void transform(const Signals<T>& lines) {
  int64_t count = line_count(lines);
  if (!count) return;
  int64_t numbers = lines.real && lines.length % 2 == 0 ? lines.length / 2 : lines.length;
  bool split = numbers >= kLong || (count < kLanes<T> / 2 && numbers >= kSplit);
  // Factors that are much unlike each other leave the longer one as it was.
  if (!split || middle_factor(numbers) < kLanes<T>) return transform_together(lines);
  for (int64_t line = 0; line < count; line++) {
    auto [from, to] = offsets(lines, line);
    if (lines.real)
      transform_long_real(lines.from + from, lines.from_step, lines.to + to, lines.to_step,
                          lines.length, lines.scale);
    else
      transform_long(lines.from + from, lines.from_step, lines.to + to, lines.to_step, lines.length,
                     lines.inverse, lines.scale);
  }
}

template void transform<float>(const Signals<float>& lines);
template void transform<double>(const Signals<double>& lines);

}  // namespace aotbuild::standalone
