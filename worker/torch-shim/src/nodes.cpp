// Autograd nodes whose backward passes add the gradient of a weight where it is kept.
//
// libtorch makes a tensor of the weight's size for every use of a weight in every pass, and adds that to the gradient
// that is kept: for an embedding as large as the vocabulary, whatever the number of tokens. Here a matrix product adds to
// what is kept by itself, and rows are added in their places. The node hands on a gradient without a single
// number, so that the weight's accumulator, and the hook on it, still runs when all of its uses have come.

#include <optional>

#include <ATen/Functions.h>
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
      x_gradient = y_gradient.matmul(weight);
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

}  // extern "C"
