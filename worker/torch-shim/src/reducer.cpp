// PyTorch's own way to sum gradients over ranks, c10d::Reducer, to which tests hold ours. Nothing else reaches it.

#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "face.h"
#include "group.h"

using fulcrum::copied;
using fulcrum::guarded;

namespace {

using Gloo = c10::intrusive_ptr<c10d::ProcessGroupGloo>;

// A bucket's sum. The Reducer's own way would divide by the number of ranks, and would start operations of ranks that
// share a process at once, which c10d does not bear.
struct SumHook final : c10d::CppCommHookInterface<Gloo> {
  using CppCommHookInterface::CppCommHookInterface;

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    std::vector<at::Tensor> tensors{bucket.getBufferRef()};
    std::lock_guard<std::mutex> lock(fulcrum::flight_recorder);
    return state_->allreduce(tensors)->getFuture();
  }
};

}  // namespace

struct FulcrumReducer {
  // Held for its whole life: the Reducer refers to it.
  c10::intrusive_ptr<c10d::ProcessGroup> group;
  std::unique_ptr<c10d::Reducer> reducer;
};

extern "C" {

// Buckets of at most so many bytes, the first one apart, in the reverse order of the parameters.
char* fulcrum_reducer_new(FulcrumGroup* group, at::Tensor* const* parameters, size_t count, int64_t first_bytes,
                          int64_t bytes, FulcrumReducer** out) {
  return guarded([&] {
    const Gloo& gloo = group->gloo;
    auto outer = c10::make_intrusive<c10d::ProcessGroup>(gloo->getRank(), gloo->getSize());
    outer->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
    const std::vector<at::Tensor> tensors = copied(parameters, count);
    const std::vector<at::Tensor> reversed(tensors.rbegin(), tensors.rend());
    const std::vector<size_t> sizes{static_cast<size_t>(first_bytes), static_cast<size_t>(bytes)};
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(reversed, sizes));
    for (auto& bucket : buckets) {
      for (size_t& index : bucket) {
        index = count - 1 - index;
      }
    }
    auto reducer = std::make_unique<c10d::Reducer>(
        tensors, std::move(buckets), outer, std::vector<bool>(count, false), bytes,
        /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/true,
        std::unordered_map<size_t, std::string>(), first_bytes, /*skip_all_reduce_unused_params=*/false,
        /*use_python_reducer=*/false, std::vector<int64_t>());
    reducer->register_comm_hook(std::make_unique<SumHook>(gloo));
    *out = new FulcrumReducer{std::move(outer), std::move(reducer)};
  });
}

// The next backward pass sums over ranks.
char* fulcrum_reducer_prepare(FulcrumReducer* reducer) {
  return guarded([&] {
    reducer->reducer->prepare_for_forward();
    reducer->reducer->prepare_for_backward({});
  });
}

void fulcrum_reducer_free(FulcrumReducer* reducer) {
  delete reducer;
}

}  // extern "C"
