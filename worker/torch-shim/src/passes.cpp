// Operations between the matrix products of a block, each in one pass over its numbers, and one over their gradients:
// libtorch composes them of up to a dozen, and keeps what is between. They keep what they read. Elsewhere than on the CPU,
// and in other types than f32, they are composed as there.

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/TensorIterator.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>

#include "face.h"
#include "loops.h"

namespace {

using fulcrum::guarded;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
namespace loops = fulcrum::loops;

// Numbers below which threads are not worth it, and of a chunk above.
constexpr int64_t kChunk = 1 << 14;

// Chunks that rows are cut into where something is summed over them: a fixed number, whatever the threads.
constexpr int64_t kSums = 16;

// Runs the body for every number below `count`, on libtorch's threads.
template <typename Body>
void for_each(int64_t count, const Body& body) {
  at::Tensor places = at::arange(count, at::kLong);
  auto iterator = at::TensorIterator::nullary_op(places);
  const auto loop = [&](char** data, const int64_t* strides, int64_t length) {
    for (int64_t i = 0; i < length; ++i) {
      body(*reinterpret_cast<int64_t*>(data[0] + i * strides[0]));
    }
  };
  iterator.for_each(loop, /*grain_size=*/1);
}

bool serves(const at::Tensor& tensor) {
  return tensor.is_cpu() && tensor.scalar_type() == at::kFloat && tensor.numel() > 0;
}

bool recorded(std::initializer_list<at::Tensor> inputs) {
  const auto wants = [](const at::Tensor& input) { return input.requires_grad(); };
  return at::GradMode::is_enabled() && std::any_of(inputs.begin(), inputs.end(), wants);
}

// Bodies of `chunk` numbers at most, over `count`.
template <typename Body>
void for_chunks(int64_t count, const Body& body) {
  for_each((count + kChunk - 1) / kChunk, [&](int64_t at) {
    body(at * kChunk, std::min(kChunk, count - at * kChunk));
  });
}

// silu(gate) * up (Shazeer 2020, equation 6)
struct GatedNode : torch::autograd::Function<GatedNode> {
  static at::Tensor of(const at::Tensor& gate, const at::Tensor& up) {
    at::Tensor y = at::empty_like(gate);
    const float *from = gate.const_data_ptr<float>(), *by = up.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    for_chunks(gate.numel(), [&](int64_t at, int64_t count) { loops::gated(from + at, by + at, to + at, count); });
    return y;
  }

  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return of(gate, up);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1], y_gradient = gradients[0].contiguous();
    at::Tensor gate_gradient = at::empty_like(gate), up_gradient = at::empty_like(up);
    const float *from = gate.const_data_ptr<float>(), *by = up.const_data_ptr<float>();
    const float* given = y_gradient.const_data_ptr<float>();
    float *to = gate_gradient.mutable_data_ptr<float>(), *beside = up_gradient.mutable_data_ptr<float>();
    for_chunks(gate.numel(), [&](int64_t at, int64_t count) {
      loops::gated_backward(from + at, by + at, given + at, to + at, beside + at, count);
    });
    return {gate_gradient, up_gradient};
  }
};

// x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension (Zhang and Sennrich 2019, equation 4)
struct RmsNormNode : torch::autograd::Function<RmsNormNode> {
  static at::Tensor of(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::Tensor& inverse) {
    const int64_t width = weight.numel(), rows = x.numel() / width, chunk = std::max<int64_t>(1, kChunk / width);
    at::Tensor y = at::empty_like(x);
    inverse = at::empty({rows}, x.options());
    const float *from = x.const_data_ptr<float>(), *by = weight.const_data_ptr<float>();
    float *to = y.mutable_data_ptr<float>(), *roots = inverse.mutable_data_ptr<float>();
    for_each((rows + chunk - 1) / chunk, [&](int64_t at) {
      const int64_t row = at * chunk, count = std::min(chunk, rows - row), start = row * width;
      loops::rms_norm(from + start, by, static_cast<float>(epsilon), to + start, roots + row, count, width);
    });
    return y;
  }

  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, double epsilon) {
    at::Tensor inverse, y = of(x, weight, epsilon, inverse);
    context->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2], y_gradient = gradients[0].contiguous();
    const int64_t width = weight.numel(), rows = inverse.numel(), chunk = (rows + kSums - 1) / kSums;
    at::Tensor x_gradient, sums;
    if (context->needs_input_grad(0)) {
      x_gradient = at::empty_like(x);
    }
    if (context->needs_input_grad(1)) {
      sums = at::zeros({kSums, width}, x.options());
    }
    const float *from = x.const_data_ptr<float>(), *by = weight.const_data_ptr<float>();
    const float *given = y_gradient.const_data_ptr<float>(), *roots = inverse.const_data_ptr<float>();
    float* to = x_gradient.defined() ? x_gradient.mutable_data_ptr<float>() : nullptr;
    float* sum = sums.defined() ? sums.mutable_data_ptr<float>() : nullptr;
    for_each(kSums, [&](int64_t at) {
      const int64_t row = std::min(at * chunk, rows), count = std::min(chunk, rows - row), start = row * width;
      loops::rms_norm_backward(from + start, by, roots + row, given + start, to == nullptr ? to : to + start,
                               sum == nullptr ? sum : sum + at * width, count, width);
    });
    return {x_gradient, sums.defined() ? sums.sum(0) : sums, {}};
  }
};

// Rotary positions of heads [b, n, t, h] by cosines and sines [b or 1, 1, t, r] (Su et al. 2021, section 3.2.2).
struct RotatedNode : torch::autograd::Function<RotatedNode> {
  static at::Tensor of(const at::Tensor& heads, const at::Tensor& cosine, const at::Tensor& sine, float sign) {
    const at::Tensor x = heads.stride(3) == 1 ? heads : heads.contiguous();
    at::Tensor y = at::empty_like(x);
    const int64_t rows = x.size(0), count = x.size(1), tokens = x.size(2), width = x.size(3), half = cosine.size(3);
    const at::Tensor cosines = cosine.contiguous(), sines = sine.contiguous();
    const int64_t per_row = cosine.size(0) == 1 ? 0 : tokens;
    const float *from = x.const_data_ptr<float>(), *across = cosines.const_data_ptr<float>();
    const float* up = sines.const_data_ptr<float>();
    float* to = y.mutable_data_ptr<float>();
    const auto xs = x.strides(), ys = y.strides();
    const int64_t chunk = std::max<int64_t>(1, kChunk / (count * width));
    for_each((rows * tokens + chunk - 1) / chunk, [&](int64_t at) {
      for (int64_t place = at * chunk; place < std::min((at + 1) * chunk, rows * tokens); ++place) {
        const int64_t row = place / tokens, token = place % tokens, angle = (row * per_row + token) * half;
        loops::rotated(from + row * xs[0] + token * xs[2], xs[1], across + angle, up + angle, sign,
                       to + row * ys[0] + token * ys[2], ys[1], count, half, width);
      }
    });
    return y;
  }

  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    context->save_for_backward({cosine, sine});
    return of(x, cosine, sine, 1);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    // The inverse of a rotation is that by the opposite angle.
    return {of(gradients[0], saved[0], saved[1], -1), {}, {}};
  }
};

at::Tensor rotated_by_parts(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine) {
  // Angles are f32 whatever is computed in: bf16 has no room for large positions.
  const at::Tensor across = cosine.to(x.scalar_type()), up = sine.to(x.scalar_type());
  const int64_t half = cosine.size(3), width = x.size(3);
  const at::Tensor first = x.narrow(3, 0, half), second = x.narrow(3, half, half);
  return at::cat({first * across - second * up, second * across + first * up, x.narrow(3, 2 * half, width - 2 * half)}, 3);
}

}  // namespace

extern "C" {

char* fulcrum_gated(at::Tensor* gate, at::Tensor* up, at::Tensor** out) {
  return guarded([&] {
    if (!serves(*gate) || !serves(*up) || gate->sizes() != up->sizes()) {
      *out = new at::Tensor(at::silu(*gate) * *up);
      return;
    }
    const at::Tensor from = gate->contiguous(), by = up->contiguous();
    *out = new at::Tensor(recorded({from, by}) ? GatedNode::apply(from, by) : GatedNode::of(from, by));
  });
}

char* fulcrum_rms_norm(at::Tensor* x, at::Tensor* weight, double epsilon, at::Tensor** out) {
  return guarded([&] {
    if (!serves(*x) || !serves(*weight) || weight->dim() != 1 || x->size(-1) != weight->numel()) {
      *out = new at::Tensor(at::rms_norm(*x, weight->sizes(), *weight, epsilon));
      return;
    }
    const at::Tensor from = x->contiguous(), by = weight->contiguous();
    at::Tensor inverse;
    *out = new at::Tensor(recorded({from, by}) ? RmsNormNode::apply(from, by, epsilon)
                                               : RmsNormNode::of(from, by, epsilon, inverse));
  });
}

// The shapes are checked by the caller.
char* fulcrum_rotated(at::Tensor* x, at::Tensor* cosine, at::Tensor* sine, at::Tensor** out) {
  return guarded([&] {
    if (!serves(*x) || !serves(*cosine) || !serves(*sine)) {
      *out = new at::Tensor(rotated_by_parts(*x, *cosine, *sine));
      return;
    }
    *out = new at::Tensor(recorded({*x}) ? RotatedNode::apply(*x, *cosine, *sine)
                                         : RotatedNode::of(*x, *cosine, *sine, 1));
  });
}

}  // extern "C"
