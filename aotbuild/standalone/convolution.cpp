// Convolutions and transposed convolutions in one to three dimensions.
//
// Both are sums over taps: with q the place of a result along a dimension,
//
//   out[start + every q] = sum over taps t of weight[t] * in[step q + offset of t].
//
// A convolution has one set of taps, with start 0 and every 1. A transposed one has as many as its
// stride: each set makes every stride-th result, of those taps that reach it ("phases"). So none of
// them adds zeros between the values, nor adds to results twice. Phases whose offsets are the same
// are made together.
//
// The input is copied with zeros around it; its columns are split by the step, so that neighbouring
// results read neighbouring values. Then the sum is a product of matrices, of which the second one
// is never made as a whole: parts of it are copied into panels.

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>

#include "products.h"
#include "tensor.h"

namespace aotbuild::standalone {
namespace {

[[noreturn]] void fail(const std::string& text) { throw std::runtime_error(text); }

// What a convolution does along one dimension.
struct Axis {
  int64_t in = 1, kernel = 1, stride = 1, padding = 0, dilation = 1, added = 0;
  int64_t out = 1;
};

struct Tap {
  int64_t index, offset;
};

// Some of the results along a dimension.
struct Phase {
  int64_t start, count;
  std::vector<Tap> taps;
};

// Phases that read the same places: their taps have the same offsets.
struct Group {
  std::vector<Phase> phases;
  int64_t count() const { return phases[0].count; }  // the first phase has the most results
  const std::vector<Tap>& taps() const { return phases[0].taps; }
};

// The phases of a dimension.
struct Plan {
  int64_t every = 1, step = 1;
  int64_t low = 0, high = 0;  // zeros that are needed before and after the input
  std::vector<Group> groups;
};

bool same_places(const Phase& a, const Phase& b) {
  return std::equal(a.taps.begin(), a.taps.end(), b.taps.begin(), b.taps.end(),
                    [](const Tap& x, const Tap& y) { return x.offset == y.offset; });
}

Plan plan_of(const Axis& axis, bool transposed) {
  Plan plan;
  (transposed ? plan.every : plan.step) = axis.stride;
  for (int64_t start = 0; start < std::min(plan.every, axis.out); start++) {
    Phase phase{start, (axis.out - start + plan.every - 1) / plan.every, {}};
    for (int64_t k = 0; k < axis.kernel; k++) {
      int64_t offset = k * axis.dilation - axis.padding;
      if (transposed) {
        offset = start - offset;
        if (offset % plan.every) continue;
        offset /= plan.every;
      }
      phase.taps.push_back({k, offset});
      plan.low = std::max(plan.low, -offset);
      plan.high = std::max(plan.high, (phase.count - 1) * plan.step + offset - (axis.in - 1));
    }
    auto group = std::find_if(plan.groups.begin(), plan.groups.end(),
                              [&](const Group& g) { return same_places(g.phases[0], phase); });
    if (group == plan.groups.end())
      plan.groups.push_back({{phase}});
    else
      group->phases.push_back(phase);
  }
  return plan;
}

struct Shape {
  int64_t batch, in_channels, out_channels, groups;
  bool transposed;
  std::array<Axis, 3> axes;  // those that are missing are of size one, the first ones
};

// The input with zeros around it, [channel][depth][height][column % step][column / step].
struct Image {
  std::array<int64_t, 3> sizes, low, steps, distances;
  int64_t column, channel;  // distances of columns modulo the step, and of channels

  explicit Image(const Shape& shape, const std::array<Plan, 3>& plans) {
    for (int d = 0; d < 3; d++) {
      low[d] = plans[d].low, steps[d] = plans[d].step;
      sizes[d] = low[d] + shape.axes[d].in + plans[d].high;
    }
    column = (sizes[2] + steps[2] - 1) / steps[2];
    distances = {0, column * steps[2], 1};
    distances[0] = sizes[1] * distances[1];
    channel = sizes[0] * distances[0];
  }
  // Where a tap reads, beside the place of its result.
  int64_t place(int64_t c, int64_t d, int64_t h, int64_t w) const {
    w += low[2];
    return c * channel + (d + low[0]) * distances[0] + (h + low[1]) * distances[1] +
           w % steps[2] * column + w / steps[2];
  }
};

// Memory that is given back when a scope is left.
template <typename T>
class Block {
 public:
  explicit Block(int64_t count) : storage_(allocate(count * sizeof(T))) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() { release(storage_); }
  T* data() const { return reinterpret_cast<T*>(storage_->data); }

 private:
  Storage* storage_;
};

// What one set of phases needs: its taps' places in the image, and its weights.
template <typename T>
struct Job {
  std::array<const Group*, 3> axes;
  std::array<int64_t, 3> counts;  // of results along the dimensions
  int64_t phases, rows, columns;  // of the product, for each group of channels
  std::vector<int64_t> places;    // for each term
  const T* weights;               // [groups][rows][terms]
  std::vector<T> bias;            // [groups][rows]

  int64_t terms() const { return places.size(); }
};

template <typename T>
class Convolution {
 public:
  Convolution(const Shape& shape, Tensor* out, const Tensor* in, const Tensor* weight,
              const T* bias)
      : shape_(shape),
        plans_{plan_of(shape.axes[0], shape.transposed), plan_of(shape.axes[1], shape.transposed),
               plan_of(shape.axes[2], shape.transposed)},
        image_(shape, plans_),
        out_(out),
        in_(in),
        in_each_(shape.in_channels / shape.groups),
        out_each_(shape.out_channels / shape.groups) {
    in_strides_ = strides_of(in), out_strides_ = strides_of(out);
    make_jobs(weight, bias);
  }

  void run() {
    const int64_t work = shape_.batch * shape_.out_channels * terms_ * most_columns_;
    const int64_t threads = work < (1 << 18) ? 1 : omp_get_max_threads();
    Block<T> image(shape_.in_channels * image_.channel + 2 * kWidth<T>);
    Block<T> scratch(threads * scratch_size());
    for (int64_t n = 0; n < shape_.batch; n++) {
      each(threads, [&](int64_t t) { copy_image(n, t, threads, image.data()); });
      each(threads, [&](int64_t t) {
        T* mine = scratch.data() + t * scratch_size();
        for (const Job<T>& job : jobs_) {
          const int64_t parts = (job.columns + kPart - 1) / kPart, all = shape_.groups * parts;
          for (int64_t i = t * all / threads; i < (t + 1) * all / threads; i++)
            make(job, n, i / parts, i % parts * kPart, image.data(), mine);
        }
      });
    }
  }

 private:
  static constexpr int64_t kPart = kColumns;  // results that are made at once, of each channel
  static constexpr int64_t kPanels = (kTerms<T> + 2) * kPart;
  static constexpr int kDirect = 2;  // rows for which copies into panels do not pay

  template <typename F>
  static void each(int64_t threads, F&& use) {
    if (threads == 1) return use(0);
#pragma omp parallel for schedule(static)
    for (int64_t t = 0; t < threads; t++) use(t);
  }

  static std::array<int64_t, 3> strides_of(const Tensor* tensor) {
    std::array<int64_t, 3> strides{};
    for (int d = 2; d < tensor->ndim; d++) strides[d + 3 - tensor->ndim] = tensor->strides()[d];
    return strides;
  }

  int64_t scratch_size() const { return kPanels + most_rows_ * kPart; }

  void make_jobs(const Tensor* weight, const T* bias) {
    const auto& [depth, height, width] = plans_;
    for (const Group& d : depth.groups)
      for (const Group& h : height.groups)
        for (const Group& w : width.groups) {
          Job<T> job{{&d, &h, &w}, {d.count(), h.count(), w.count()}, 0, 0, 0, {}, nullptr, {}};
          job.phases = d.phases.size() * h.phases.size() * w.phases.size();
          job.rows = out_each_ * job.phases;
          job.columns = d.count() * h.count() * w.count();
          for (int64_t c = 0; c < in_each_; c++)
            for (const Tap& i : d.taps())
              for (const Tap& j : h.taps())
                for (const Tap& k : w.taps())
                  job.places.push_back(image_.place(c, i.offset, j.offset, k.offset));
          job.bias.resize(shape_.groups * job.rows);
          if (bias)
            for (size_t i = 0; i < job.bias.size(); i++) job.bias[i] = bias[i / job.phases];
          most_rows_ = std::max(most_rows_, job.rows);
          most_columns_ = std::max(most_columns_, job.columns);
          terms_ += job.terms() * job.phases;
          jobs_.push_back(std::move(job));
        }
    if (!shape_.transposed) {  // the weights are what is needed
      jobs_[0].weights = weight->as<T>();
      return;
    }
    weights_.resize(weight->numel);
    T* to = weights_.data();
    for (Job<T>& job : jobs_) {
      job.weights = to;
      for (int64_t g = 0; g < shape_.groups; g++, to += job.rows * job.terms())
        arrange(job, weight->as<T>() + g * in_each_ * out_each_ * taps(), to);
    }
  }

  int64_t taps() const {
    return shape_.axes[0].kernel * shape_.axes[1].kernel * shape_.axes[2].kernel;
  }

  // The weights of a group, [in][out][taps], as those of a job, [out][phase][in][taps of it].
  void arrange(const Job<T>& job, const T* from, T* to) const {
    std::vector<int64_t> places;  // of the taps of all phases
    for (const Phase& d : job.axes[0]->phases)
      for (const Phase& h : job.axes[1]->phases)
        for (const Phase& w : job.axes[2]->phases)
          for (const Tap& i : d.taps)
            for (const Tap& j : h.taps)
              for (const Tap& k : w.taps)
                places.push_back(
                    (i.index * shape_.axes[1].kernel + j.index) * shape_.axes[2].kernel + k.index);
    const int64_t terms = job.terms(), each = places.size() / job.phases;
    for (int64_t c = 0; c < in_each_; c++)
      for (int64_t o = 0; o < out_each_; o++) {
        const T* source = from + (c * out_each_ + o) * taps();
        T* target = to + o * job.phases * terms + c * each;
        const int64_t* place = places.data();
        for (int64_t phase = 0; phase < job.phases; phase++, target += terms)
          for (int64_t i = 0; i < each; i++) target[i] = source[*place++];
      }
  }

  // Copies rows of the input of one batch, the share of one thread.
  void copy_image(int64_t n, int64_t thread, int64_t threads, T* to) const {
    const int64_t rows = shape_.in_channels * image_.sizes[0] * image_.sizes[1];
    const int64_t size = image_.distances[1], step = image_.steps[2], low = image_.low[2];
    const int64_t width = shape_.axes[2].in, stride = in_strides_[2];
    for (int64_t row = thread * rows / threads; row < (thread + 1) * rows / threads; row++) {
      const int64_t h = row % image_.sizes[1] - image_.low[1];
      const int64_t d = row / image_.sizes[1] % image_.sizes[0] - image_.low[0];
      const int64_t c = row / image_.sizes[1] / image_.sizes[0];
      T* target = to + row * size;
      if (h < 0 || h >= shape_.axes[1].in || d < 0 || d >= shape_.axes[0].in) {
        std::fill(target, target + size, T(0));
        continue;
      }
      const T* source = in_->as<T>() + n * in_->strides()[0] + c * in_->strides()[1] +
                        d * in_strides_[0] + h * in_strides_[1];
      for (int64_t phase = 0; phase < step; phase++, target += image_.column) {
        // The places i of this part whose columns, i * step + phase - low, are in the input.
        const int64_t first = std::max<int64_t>(0, (low - phase + step - 1) / step);
        const int64_t last =
            std::min(image_.column, std::max(first, (width + low - phase + step - 1) / step));
        std::fill(target, target + std::min(first, image_.column), T(0));
        if (first < last) {
          const T* values = source + (first * step + phase - low) * stride;
          const int64_t distance = step * stride;
          if (distance == 1)
            std::memcpy(target + first, values, (last - first) * sizeof(T));
          else
            for (int64_t i = first; i < last; i++) target[i] = values[(i - first) * distance];
        }
        std::fill(target + std::min(std::max(first, last), image_.column), target + image_.column,
                  T(0));
      }
    }
  }

  // Results that follow one another, in the image too.
  struct Run {
    int64_t column, count, place;
    std::array<int64_t, 3> at;
  };

  // Calls `use` for the runs of some columns.
  template <typename F>
  void each_run(const Job<T>& job, int64_t first, int64_t count, F&& use) const {
    const auto& [depth, height, width] = job.counts;
    for (int64_t done = 0; done < count;) {
      const int64_t column = first + done;
      const std::array<int64_t, 3> at{column / width / height, column / width % height,
                                      column % width};
      const int64_t some = std::min(count - done, width - at[2]);
      use(Run{done, some,
              at[0] * image_.steps[0] * image_.distances[0] +
                  at[1] * image_.steps[1] * image_.distances[1] + at[2],
              at});
      done += some;
    }
  }

  void make(const Job<T>& job, int64_t n, int64_t group, int64_t first, const T* image,
            T* scratch) const {
    const int64_t count = std::min(kPart, job.columns - first);
    const bool in_place = makes_rows_of_output();
    Matrix<T> to{scratch + kPanels, kPart, 1};
    if (in_place)
      to = {out_->as<T>() + n * out_->strides()[0] + group * out_each_ * out_->strides()[1] + first,
            out_->strides()[1], 1};
    image += group * in_each_ * image_.channel;
    const T* weights = job.weights + group * job.rows * job.terms();
    const T* bias = job.bias.data() + group * job.rows;
    if (job.rows <= kDirect)
      sum_directly(job, weights, bias, first, count, image, to);
    else
      sum_by_panels(job, weights, bias, first, count, image, scratch, to);
    if (!in_place) store_tile(job, n, group, first, count, to.data);
  }

  // Whether the results of a channel are next to one another, in the order in which they are made.
  bool makes_rows_of_output() const {
    return jobs_.size() == 1 && jobs_[0].phases == 1 && out_strides_[2] == 1 &&
           out_strides_[1] == shape_.axes[2].out &&
           out_strides_[0] == shape_.axes[2].out * shape_.axes[1].out;
  }

  void sum_by_panels(const Job<T>& job, const T* weights, const T* bias, int64_t first,
                     int64_t count, const T* image, T* panels, Matrix<T> to) const {
    const int64_t parts = std::max<int64_t>(1, (job.terms() + kTerms<T> - 1) / kTerms<T>);
    for (int64_t part = 0; part < parts; part++) {
      const int64_t k0 = part * job.terms() / parts, k1 = (part + 1) * job.terms() / parts;
      for (int64_t j = 0; j < count; j += kWidth<T>)
        pack(job, k0, k1, first + j, std::min<int64_t>(count - j, kWidth<T>), image,
             panels + j * (k1 - k0));
      multiply_panels<T>(job.rows, count, k1 - k0, weights + k0, job.terms(), panels,
                         part ? nullptr : bias, to);
    }
  }

  // A panel of the matrix that the weights are multiplied with.
  void pack(const Job<T>& job, int64_t k0, int64_t k1, int64_t first, int64_t count, const T* image,
            T* to) const {
    constexpr int W = kWidth<T>;
    Run runs[W];
    int many = 0;
    each_run(job, first, count, [&](const Run& run) {
      if (many && runs[many - 1].place + runs[many - 1].count == run.place)
        runs[many - 1].count += run.count;
      else
        runs[many++] = run;
    });
    if (many == 1) {  // what lies behind the last column is read too, and not used
      for (int64_t k = k0; k < k1; k++, to += W) {
        const T* from = image + runs[0].place + job.places[k];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; v++) store(to + v * kLanes<T>, load(from + v * kLanes<T>));
      }
      return;
    }
    // Whole vectors: the next run writes over what is too much, and so does the next row.
    for (int64_t k = k0; k < k1; k++, to += W)
      for (int i = 0; i < many; i++) {
        const T* from = image + runs[i].place + job.places[k];
        for (int64_t v = 0; v < runs[i].count; v += kLanes<T>)
          store(to + runs[i].column + v, load(from + v));
      }
  }

  void sum_directly(const Job<T>& job, const T* weights, const T* bias, int64_t first,
                    int64_t count, const T* image, Matrix<T> to) const {
    constexpr int N = kLanes<T>;
    const int64_t terms = job.terms();
    const int64_t* const places = job.places.data();
    for (int64_t row = 0; row < job.rows; row++, weights += terms)
      each_run(job, first, count, [&](const Run& run) {
        const T* from = image + run.place;
        T* results = to.at(row, run.column);
        auto vectors = [&](auto many, int64_t left) {
          constexpr int M = decltype(many)::value;
          Vec<T> sums[M];
#pragma GCC unroll 8
          for (int v = 0; v < M; v++) sums[v] = splat(bias[row]);
          for (int64_t k = 0; k < terms; k++) {
            const Vec<T> x = splat(weights[k]);
            const T* values = from + places[k];
#pragma GCC unroll 8
            for (int v = 0; v < M; v++) add_product<T>(sums[v], x, load(values + v * N));
          }
#pragma GCC unroll 8
          for (int v = 0; v < M; v++)
            if (left >= (v + 1) * N)
              store(results + v * N, sums[v]);
            else
              store_some<T>(results + v * N, sums[v], left - v * N);
          from += M * N, results += M * N;
        };
        int64_t left = run.count;
        for (; left >= 6 * N; left -= 6 * N) vectors(std::integral_constant<int, 6>{}, 6 * N);
        for (; left >= 2 * N; left -= 2 * N) vectors(std::integral_constant<int, 2>{}, 2 * N);
        for (; left > 0; left -= N)
          vectors(std::integral_constant<int, 1>{}, std::min<int64_t>(left, N));
      });
  }

  void store_tile(const Job<T>& job, int64_t n, int64_t group, int64_t first, int64_t count,
                  const T* tile) const {
    T* const out = out_->as<T>() + n * out_->strides()[0];
    const int64_t every = plans_[2].every * out_strides_[2];
    const auto& axes = job.axes;
    each_run(job, first, count, [&](const Run& run) {
      const T* row = tile + run.column;
      for (int64_t o = 0; o < out_each_; o++)
        for (const Phase& d : axes[0]->phases)
          for (const Phase& h : axes[1]->phases)
            for (const Phase& w : axes[2]->phases) {
              const int64_t some = std::min(run.count, w.count - run.at[2]);
              if (run.at[0] < d.count && run.at[1] < h.count) {
                T* to = out + (group * out_each_ + o) * out_->strides()[1] +
                        (d.start + run.at[0] * plans_[0].every) * out_strides_[0] +
                        (h.start + run.at[1] * plans_[1].every) * out_strides_[1] +
                        (w.start + run.at[2] * plans_[2].every) * out_strides_[2];
                if (every == 1)
                  std::memcpy(to, row, std::max<int64_t>(some, 0) * sizeof(T));
                else
                  for (int64_t i = 0; i < some; i++) to[i * every] = row[i];
              }
              row += kPart;
            }
    });
  }

  const Shape& shape_;
  const std::array<Plan, 3> plans_;
  const Image image_;
  Tensor* const out_;
  const Tensor* const in_;
  const int64_t in_each_, out_each_;  // channels of a group
  std::array<int64_t, 3> in_strides_, out_strides_;
  std::vector<T> weights_;
  std::vector<Job<T>> jobs_;
  int64_t most_rows_ = 0, most_columns_ = 0, terms_ = 0;
};

template <typename T>
void convolve(int32_t dtype, const Shape& shape, Tensor* out, Tensor* in, Tensor* weight,
              Tensor* bias) {
  Owned w(contiguous(weight, dtype)), b(bias ? contiguous(bias, dtype) : nullptr);
  const T* values = bias ? b->as<T>() : nullptr;
  if (in->dtype == dtype) return Convolution<T>(shape, out, in, w.tensor, values).run();
  Owned x(contiguous(in, dtype)), y(new_tensor(dtype, out->ndim, out->sizes()));
  Convolution<T>(shape, y.tensor, x.tensor, w.tensor, values).run();
  copy(out, y.tensor);
}

// ---- What torch decides: sizes, strides, errors ----

std::string shape_of(const Tensor* tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor->ndim; i++)
    text += (i ? ", " : "") + std::to_string(tensor->sizes()[i]);
  return text + "]";
}

struct List {
  const int64_t* values;
  int64_t count;
  const char* name;

  int64_t at(int d, int ndim) const {
    if (count != 1 && count != ndim)
      fail(std::string(name) + " of a convolution has " + std::to_string(count) + " numbers for " +
           std::to_string(ndim) + " dimensions");
    return values[count == 1 ? 0 : d];
  }
};

void check_types(const Tensor* in, const Tensor* weight, const Tensor* bias, bool transposed) {
  const int dtype = in->dtype;
  if (weight->dtype != dtype || (bias && bias->dtype != dtype))
    fail("input, weight and bias of a convolution have different dtypes");
  const bool floating = dtype == kFloat || dtype == kDouble || dtype == kHalf || dtype == kBFloat16;
  const bool integer = transposed ? dtype == kInt64 : dtype < kHalf;
  if (!floating && !integer)
    fail("there is no convolution of dtype number " + std::to_string(dtype));
}

Shape shape_of(const Tensor* in, const Tensor* weight, const Tensor* bias, const List& stride,
               const List& padding, const List& dilation, const List& added, bool transposed,
               int64_t groups) {
  const int spatial = weight->ndim - 2;
  if (spatial < 1 || spatial > 3 || in->ndim != weight->ndim)
    fail("no convolution takes an input of shape " + shape_of(in) + " and a weight of shape " +
         shape_of(weight));
  const int64_t *x = in->sizes(), *w = weight->sizes();
  if (groups < 1 || w[0] < groups || w[0] % groups)
    fail("a convolution has channels that its groups do not divide");
  Shape shape{x[0], x[1], transposed ? w[1] * groups : w[0], groups, transposed, {}};
  if (x[1] != (transposed ? w[0] : w[1] * groups))
    fail("a convolution with weight of shape " + shape_of(weight) + " and " +
         std::to_string(groups) + " groups does not take an input of shape " + shape_of(in));
  if (bias && (bias->ndim != 1 || bias->sizes()[0] != shape.out_channels))
    fail("a convolution has a bias of shape " + shape_of(bias) + " for " +
         std::to_string(shape.out_channels) + " channels");
  for (int d = 0; d < spatial; d++) {
    Axis& axis = shape.axes[d + 3 - spatial];
    axis = {x[d + 2],
            w[d + 2],
            stride.at(d, spatial),
            padding.at(d, spatial),
            dilation.at(d, spatial),
            transposed ? added.at(d, spatial) : 0,
            0};
    if (axis.stride < 1 || axis.dilation < 1 || axis.padding < 0 || axis.added < 0 ||
        axis.kernel < 1)
      fail(
          "a convolution takes positive kernel sizes, strides and dilations, and no negative "
          "padding");
    if (axis.added && axis.added >= std::max(axis.stride, axis.dilation))
      fail("a convolution's output padding must be smaller than its stride or its dilation");
    const int64_t reach = axis.dilation * (axis.kernel - 1);
    axis.out = transposed ? (axis.in - 1) * axis.stride - 2 * axis.padding + reach + axis.added + 1
                          : axis.in + 2 * axis.padding - reach - 1;
    if (axis.out < 0)
      fail("the kernel of a convolution is larger than its padded input, of shape " + shape_of(in));
    if (!transposed) axis.out = axis.out / axis.stride + 1;
  }
  return shape;
}

// Whether torch takes strides for those of "channels last": the channels innermost, and the other
// dimensions in their order. Where sizes of one leave both possible, it does not.
bool channels_last(const int64_t* sizes, const int64_t* strides, int ndim) {
  if (strides[1] == 0) return false;
  int64_t least = 0;
  for (int i = 0; i < ndim; i++) {
    const int d = i == 0 ? 1 : i == ndim - 1 ? 0 : ndim - i;
    if (sizes[d] == 0 || strides[d] < least || (d == 0 && least == strides[1])) return false;
    least = strides[d] * (sizes[d] > 1 ? sizes[d] : 1);
  }
  return true;
}

// In one dimension, torch makes the input contiguous and goes by the weight, as a row of an image.
bool channels_last(const Tensor* in, const Tensor* weight) {
  if (in->ndim == 3) {
    const int64_t *n = weight->sizes(), *s = weight->strides();
    const int64_t sizes[] = {n[0], n[1], 1, n[2]}, strides[] = {s[0], s[1], n[2] * s[2], s[2]};
    return channels_last(sizes, strides, 4);
  }
  // In three dimensions it is up to oneDNN, which torch takes for large inputs of these dtypes
  // only. Generated code gives inputs of the strides that it expects of the result: those decide
  // here.
  if (in->ndim == 5 && in->dtype != kFloat && in->dtype != kHalf && in->dtype != kBFloat16)
    return false;
  return channels_last(in->sizes(), in->strides(), in->ndim) ||
         channels_last(weight->sizes(), weight->strides(), weight->ndim);
}

std::array<int64_t, 5> strides_of(const int64_t* sizes, int ndim, bool channels_last) {
  std::array<int64_t, 5> strides{};
  int64_t next = 1;
  auto give = [&](int d) {
    strides[d] = next;
    next *= std::max<int64_t>(sizes[d], 1);
  };
  if (channels_last) give(1);
  for (int d = ndim - 1; d > 1; d--) give(d);
  if (!channels_last) give(1);
  give(0);
  return strides;
}

}  // namespace
}  // namespace aotbuild::standalone

using namespace aotbuild::standalone;

AOTITorchError aoti_torch_cpu_convolution(
    AtenTensorHandle input, AtenTensorHandle weight, AtenTensorHandle* bias, const int64_t* stride,
    int64_t stride_len_, const int64_t* padding, int64_t padding_len_, const int64_t* dilation,
    int64_t dilation_len_, int32_t transposed, const int64_t* output_padding,
    int64_t output_padding_len_, int64_t groups, AtenTensorHandle* ret0) {
  Tensor* const summand = bias ? *bias : nullptr;
  check_types(input, weight, summand, transposed);
  const Shape shape =
      shape_of(input, weight, summand, {stride, stride_len_, "the stride"},
               {padding, padding_len_, "the padding"}, {dilation, dilation_len_, "the dilation"},
               {output_padding, output_padding_len_, "the output padding"}, transposed, groups);
  const int ndim = input->ndim;
  int64_t sizes[5] = {shape.batch, shape.in_channels ? shape.out_channels : 0};
  for (int d = 2; d < ndim; d++) sizes[d] = shape.axes[d + 3 - ndim].out;
  const std::array<int64_t, 5> strides = strides_of(sizes, ndim, channels_last(input, weight));
  Owned out(new_tensor(input->dtype, ndim, sizes, strides.data()));
  if (out->numel) {
    if (input->dtype == kDouble)
      convolve<double>(kDouble, shape, out.tensor, input, weight, summand);
    else if (input->dtype < kHalf)
      convolve<int64_t>(kInt64, shape, out.tensor, input, weight, summand);
    else
      convolve<float>(kFloat, shape, out.tensor, input, weight, summand);
  }
  *ret0 = out.take();
  return AOTI_TORCH_SUCCESS;
}
