// Autograd nodes whose backward passes add the gradient of a weight where it is kept.
//
// libtorch makes a tensor of the weight's size for every use of a weight in every pass, and adds that to the gradient
// that is kept: for an embedding as large as the vocabulary, whatever the number of tokens. Here a matrix product adds to
// what is kept by itself, and rows are added in their places. The node hands on a gradient without a single
// number, so that the weight's accumulator, and the hook on it, still runs when all of its uses have come.

#include <algorithm>
#include <cmath>
#include <optional>

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

#include "face.h"

namespace {

using fulcrum::guarded;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The gradient that is kept of a leaf; undefined where there is none of the type of what would be added.
at::Tensor kept(const at::Tensor& weight) {
  if (!weight.is_leaf() || at::GradMode::is_enabled()) {
    return {};
  }
  const at::Tensor& gradient = weight.grad();
  const bool fits = gradient.defined() && !gradient.is_sparse() && gradient.scalar_type() == weight.scalar_type();
  return fits ? gradient : at::Tensor();
}

// Whether a graph is being made in which the weight takes a gradient.
bool trains(const at::Tensor& weight) {
  return weight.requires_grad() && at::GradMode::is_enabled();
}

// A gradient that is there and adds nothing.
at::Tensor nothing_for(const at::Tensor& weight) {
  return at::zeros(weight.sizes(), weight.options().layout(at::kSparse));
}

// Rows of a matrix product from which on it is worth to look for the faster library.
constexpr int64_t kRows = 64;

// Whether oneDNN is the faster one at x W: MKL's best kernels are for processors of its maker alone. At x W^T both are alike.
bool multiplies_faster(const at::Tensor& x, const at::Tensor& weight) {
#if defined(__x86_64__)
  static const bool other = !__builtin_cpu_is("intel") && __builtin_cpu_supports("avx2");
  const bool plain = x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat;
  return other && plain && at::globalContext().userEnabledMkldnn() && x.numel() >= kRows * x.size(-1);
#else
  return false;
#endif
}

// x W, without a graph.
at::Tensor multiplied(const at::Tensor& x, const at::Tensor& weight) {
  if (!multiplies_faster(x, weight)) {
    return x.matmul(weight);
  }
  using Pointwise = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, c10::string_view,
                               c10::List<std::optional<at::Scalar>>, std::optional<c10::string_view>);
  static const auto pointwise =
      c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<Pointwise>();
  return pointwise.call(x, weight.t(), std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt);
}

// y = x W^T + b
struct LinearNode : torch::autograd::Function<LinearNode> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    context->save_for_backward({x, weight});
    context->saved_data["biased"] = bias.has_value();
    return at::linear(x, weight, bias);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &y_gradient = gradients[0];
    const at::Tensor rows = y_gradient.reshape({-1, y_gradient.size(-1)});
    at::Tensor x_gradient, weight_gradient, bias_gradient;
    if (context->needs_input_grad(0)) {
      x_gradient = multiplied(y_gradient, weight);
    }
    if (context->needs_input_grad(1)) {
      const at::Tensor inputs = x.reshape({-1, x.size(-1)});
      if (at::Tensor sum = kept(weight); sum.defined()) {
        sum.addmm_(rows.t(), inputs);
        weight_gradient = nothing_for(weight);
      } else {
        weight_gradient = rows.t().mm(inputs);
      }
    }
    if (context->saved_data["biased"].toBool() && context->needs_input_grad(2)) {
      bias_gradient = rows.sum(0);
    }
    return {x_gradient, weight_gradient, bias_gradient};
  }
};

// Rows of a table.
struct EmbeddingNode : torch::autograd::Function<EmbeddingNode> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& table, const at::Tensor& ids) {
    context->save_for_backward({table, ids});
    return at::embedding(table, ids);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &table = saved[0], &ids = saved[1];
    at::Tensor sum = kept(table);
    if (!sum.defined()) {
      const bool by_frequency = false;
      return {at::embedding_dense_backward(gradients[0], ids, table.size(0), -1, by_frequency), {}};
    }
    const at::Tensor flat = ids.flatten(), rows = gradients[0].reshape({-1, table.size(1)});
    if (sum.is_cpu()) {
      sum.index_add_(0, flat, rows);
    } else {
      // index_add_ of a GPU adds in any order; this one sorts first.
      sum.index_put_({flat}, rows, /*accumulate=*/true);
    }
    return {nothing_for(table), {}};
  }
};

// The cross-entropy of rows of logits, sum over n of -ln softmax(z_n)[target_n], for z = x W^T + b, bounded as
// c tanh(z / c) where there is a c. The logits are made a stretch of rows at a time, of so many
// `numbers`, and their gradient (softmax, less one at
// the target) takes their place at once. So the forward pass leaves the gradients already, for which it has to be told
// by what its sum will be multiplied; the backward pass hands them on.
struct CrossEntropyNode : torch::autograd::Function<CrossEntropyNode> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias, const at::Tensor& targets,
                            std::optional<double> cap, double factor, int64_t numbers) {
    const int64_t rows = x.size(0), words = weight.size(0);
    const bool biased = bias.has_value() && bias->requires_grad();
    at::Tensor x_gradient = x.requires_grad() ? at::empty_like(x) : at::Tensor();
    at::Tensor in_place = weight.requires_grad() ? kept(weight) : at::Tensor();
    at::Tensor weight_gradient = weight.requires_grad() && !in_place.defined() ? at::zeros_like(weight) : at::Tensor();
    at::Tensor weight_sum = in_place.defined() ? in_place : weight_gradient;
    at::Tensor bias_gradient = biased ? at::zeros_like(*bias) : at::Tensor();

    const int64_t stretch = std::min(rows, std::max<int64_t>(1, numbers / words));
    at::Tensor buffer = at::empty({stretch, words}, x.options()), sum = at::zeros({}, x.options().dtype(at::kFloat));
    for (int64_t start = 0; start < rows; start += stretch) {
      const int64_t length = std::min(stretch, rows - start);
      const at::Tensor inputs = x.narrow(0, start, length), target = targets.narrow(0, start, length).unsqueeze(1);
      at::Tensor made = buffer.narrow(0, 0, length);
      at::mm_out(made, inputs, weight.t());
      if (bias.has_value()) {
        made.add_(*bias);
      }
      // Probabilities are of f32, whatever the logits are computed in.
      at::Tensor z = made.to(at::kFloat), slope;
      if (cap.has_value()) {
        z.div_(*cap).tanh_();
        slope = 1 - z * z;
        z.mul_(*cap);
      }
      z.sub_(z.amax({1}, /*keepdim=*/true));
      const at::Tensor of_target = z.gather(1, target);
      const at::Tensor total = z.exp_().sum({1}, /*keepdim=*/true);
      sum.add_((total.log() - of_target).sum());
      z.div_(total).scatter_add_(1, target, at::full_like(of_target, -1));
      if (slope.defined()) {
        z.mul_(slope);
      }
      const at::Tensor gradient = z.to(x.scalar_type());
      if (x_gradient.defined()) {
        at::Tensor part = x_gradient.narrow(0, start, length);
        at::mm_out(part, gradient, weight);
      }
      if (weight_sum.defined()) {
        weight_sum.addmm_(gradient.t(), inputs, /*beta=*/1, /*alpha=*/factor);
      }
      if (bias_gradient.defined()) {
        bias_gradient.add_(gradient.sum(0), factor);
      }
    }
    if (x_gradient.defined()) {
      x_gradient.mul_(factor);
    }
    context->save_for_backward({x_gradient, weight_gradient, bias_gradient, in_place.defined() ? weight : at::Tensor()});
    context->saved_data["factor"] = factor;
    return sum;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const double factor = context->saved_data["factor"].toDouble(), found = gradients[0].item<double>();
    // What is kept has been added to already.
    TORCH_CHECK(std::abs(found - factor) <= 1e-6 * std::abs(factor), "a cross-entropy that was to be multiplied by ",
                factor, " was multiplied by ", found);
    const at::Tensor weight_gradient = saved[3].defined() ? nothing_for(saved[3]) : saved[1];
    return {saved[0], weight_gradient, saved[2], {}, {}, {}, {}};
  }
};

}  // namespace

extern "C" {

// Without a bias, `bias` is null. The tensor in `out` is the caller's.
char* fulcrum_linear(at::Tensor* x, at::Tensor* weight, at::Tensor* bias, at::Tensor** out) {
  return guarded([&] {
    const auto maybe = bias == nullptr ? std::nullopt : std::optional<at::Tensor>(*bias);
    *out = new at::Tensor(trains(*weight) ? LinearNode::apply(*x, *weight, maybe) : at::linear(*x, *weight, maybe));
  });
}

char* fulcrum_embedding(at::Tensor* table, at::Tensor* ids, at::Tensor** out) {
  return guarded([&] {
    *out = new at::Tensor(trains(*table) ? EmbeddingNode::apply(*table, *ids) : at::embedding(*table, *ids));
  });
}

// Without a bias, `bias` is null; without a bound, `cap` is 0. Targets are rows of the weight, checked by the caller.
char* fulcrum_cross_entropy(at::Tensor* x, at::Tensor* weight, at::Tensor* bias, at::Tensor* targets, double cap,
                            double factor, int64_t numbers, at::Tensor** out) {
  return guarded([&] {
    const auto bound = cap == 0 ? std::nullopt : std::optional<double>(cap);
    // Without a graph nothing takes a gradient.
    const auto part = [](const at::Tensor& tensor) { return at::GradMode::is_enabled() ? tensor : tensor.detach(); };
    const auto offset = bias == nullptr ? std::nullopt : std::optional<at::Tensor>(part(*bias));
    *out = new at::Tensor(CrossEntropyNode::apply(part(*x), part(*weight), offset, *targets, bound, factor, numbers));
  });
}

}  // extern "C"
