// The parts of libtorch that tch lacks, behind a plain C face.
//
// Every function that can fail returns null, or a message the caller frees with fulcrum_free_message;
// no exception crosses the border. Tensors come as tch holds them: pointers to at::Tensor.

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "face.h"
#include "group.h"

using fulcrum::copied;
using fulcrum::guarded;

namespace {

using fulcrum::Millis;

c10d::ReduceOp reduction(int op) {
  switch (op) {
    case 0:
      return c10d::ReduceOp::SUM;
    case 1:
      return c10d::ReduceOp::AVG;
    case 2:
      return c10d::ReduceOp::MAX;
    default:
      throw std::invalid_argument("unknown reduction " + std::to_string(op));
  }
}

}  // namespace

struct FulcrumStore {
  c10::intrusive_ptr<c10d::TCPStore> tcp;
};

namespace {

struct ClosureHook final : torch::autograd::PostAccumulateGradHook {
  ClosureHook(void* closure, int (*call)(void*), void (*drop)(void*)) : closure(closure), call(call), drop(drop) {}
  ~ClosureHook() override {
    drop(closure);
  }
  void operator()(const at::Tensor&) override {
    if (call(closure) != 0) {
      throw std::runtime_error("a gradient hook panicked");
    }
  }

  void* closure;
  int (*call)(void*);
  void (*drop)(void*);
};

// Only lengths count, not shapes.
at::Tensor flat(const at::Tensor& tensor) {
  return tensor.view({-1});
}

}  // namespace

extern "C" {

void fulcrum_free_message(char* text) {
  free(text);
}

// Takes over the listening socket `fd`, bound to `port`, and connects to it as a client at `host`.
char* fulcrum_store_server(const char* host, uint16_t port, int fd, int64_t timeout_ms, FulcrumStore** out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = true;
    options.waitWorkers = false;
    options.timeout = Millis(timeout_ms);
    options.masterListenFd = fd;
    *out = new FulcrumStore{c10::make_intrusive<c10d::TCPStore>(host, options)};
  });
}

char* fulcrum_store_client(const char* host, uint16_t port, int64_t timeout_ms, FulcrumStore** out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.waitWorkers = false;
    options.timeout = Millis(timeout_ms);
    *out = new FulcrumStore{c10::make_intrusive<c10d::TCPStore>(host, options)};
  });
}

void fulcrum_store_free(FulcrumStore* store) {
  delete store;
}

char* fulcrum_store_set(FulcrumStore* store, const char* key, const uint8_t* data, size_t length) {
  return guarded([&] { store->tcp->set(key, std::vector<uint8_t>(data, data + length)); });
}

// Waits, for as long as the store's timeout lets it, until somebody has set `key`. Writes as many bytes as there
// are, which may not be more than `*length`, and sets `*length` to their number.
char* fulcrum_store_get(FulcrumStore* store, const char* key, uint8_t* data, size_t* length) {
  return guarded([&] {
    const std::vector<uint8_t> value = store->tcp->get(key);
    if (value.size() > *length) {
      throw std::length_error(std::string(key) + " has " + std::to_string(value.size()) + " bytes in the store, and " +
                              std::to_string(*length) + " are the most");
    }
    std::copy(value.begin(), value.end(), data);
    *length = value.size();
  });
}

// Blocks until all `world` members have met under `prefix`, or the time is over.
char* fulcrum_gloo_new(FulcrumStore* store, const char* prefix, const char* address, bool is_interface, int rank,
                       int world, int64_t timeout_ms, FulcrumGroup** out) {
  return guarded([&] {
    auto options = c10d::ProcessGroupGloo::Options::create(Millis(timeout_ms));
    options->devices.push_back(is_interface ? c10d::ProcessGroupGloo::createDeviceForInterface(address)
                                            : c10d::ProcessGroupGloo::createDeviceForHostname(address));
    auto prefixed = c10::make_intrusive<c10d::PrefixStore>(prefix, store->tcp);
    *out = new FulcrumGroup(c10::make_intrusive<c10d::ProcessGroupGloo>(prefixed, rank, world, options));
  });
}

// Does not wait for operations in flight: it aborts them.
void fulcrum_gloo_free(FulcrumGroup* group) {
  delete group;
}

// Whether the group was aborted, or a peer is gone.
bool fulcrum_gloo_broken(FulcrumGroup* group) {
  return group->broken();
}

char* fulcrum_gloo_abort(FulcrumGroup* group) {
  return guarded([&] { group->abort(); });
}

char* fulcrum_gloo_all_reduce(FulcrumGroup* group, at::Tensor* tensor, int op, FulcrumWork** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::AllreduceOptions options;
    options.reduceOp = reduction(op);
    *out = group->start([&] { return group->gloo->allreduce(tensors, options); });
  });
}

char* fulcrum_gloo_reduce_scatter(FulcrumGroup* group, at::Tensor* output, at::Tensor* input, int op,
                                  FulcrumWork** out) {
  return guarded([&] {
    *out = group->exchange([part = flat(*output), whole = flat(*input), by = reduction(op)](fulcrum::Exchange exchange) {
      exchange.reduce_scatter(part, whole, by);
    });
  });
}

char* fulcrum_gloo_all_gather(FulcrumGroup* group, at::Tensor* output, at::Tensor* input, FulcrumWork** out) {
  return guarded([&] {
    *out = group->exchange([whole = flat(*output), part = flat(*input)](fulcrum::Exchange exchange) {
      exchange.all_gather(whole, part);
    });
  });
}

char* fulcrum_gloo_broadcast(FulcrumGroup* group, at::Tensor* tensor, int root, FulcrumWork** out) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    *out = group->start([&] { return group->gloo->broadcast(tensors, options); });
  });
}

char* fulcrum_gloo_barrier(FulcrumGroup* group, FulcrumWork** out) {
  return guarded([&] { *out = group->start([&] { return group->gloo->barrier(); }); });
}

// A negative time waits for as long as the group's own timeout lets the operation run.
char* fulcrum_work_wait(FulcrumWork* work, int64_t timeout_ms) {
  return guarded([&] {
    work->operation->wait(timeout_ms < 0 ? kNoTimeout : Millis(timeout_ms));
  });
}

bool fulcrum_work_done(FulcrumWork* work) {
  return work->operation->done();
}

void fulcrum_work_free(FulcrumWork* work) {
  delete work;
}

// Owns `closure` from here on, also when it fails. A null `call` removes the hook.
char* fulcrum_set_gradient_hook(at::Tensor* leaf, void* closure, int (*call)(void*), void (*drop)(void*)) {
  return guarded([&] {
    std::unique_ptr<torch::autograd::PostAccumulateGradHook> hook;
    if (call != nullptr) {
      hook = std::make_unique<ClosureHook>(closure, call, drop);
    }
    torch::autograd::impl::set_post_acc_grad_hooks(*leaf, std::move(hook));
  });
}

char* fulcrum_set_gradient(at::Tensor* leaf, at::Tensor* gradient) {
  return guarded([&] { leaf->mutable_grad() = *gradient; });
}

char* fulcrum_fused_adamw(at::Tensor* const* parameters, at::Tensor* const* gradients, at::Tensor* const* means,
                          at::Tensor* const* squares, size_t count, at::Tensor* step, double learning_rate,
                          double beta1, double beta2, double weight_decay, double epsilon) {
  return guarded([&] {
    std::vector<at::Tensor> steps(count, *step);
    at::_fused_adamw_(copied(parameters, count), copied(gradients, count), copied(means, count),
                      copied(squares, count), {}, steps, learning_rate, beta1, beta2, weight_decay, epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  });
}

// The most bytes of a GPU that tensors of this process ever held at a time.
char* fulcrum_cuda_peak(int index, int64_t* out) {
  return guarded([&] {
    const auto stats = at::getDeviceAllocator(c10::kCUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(index));
    *out = stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
  });
}

// Without momentum, `directions` is not read.
char* fulcrum_fused_sgd(at::Tensor* const* parameters, at::Tensor* const* gradients, at::Tensor* const* directions,
                        size_t count, double learning_rate, double momentum, bool nesterov) {
  return guarded([&] {
    at::_fused_sgd_(copied(parameters, count), copied(gradients, count),
                    copied(directions, momentum == 0 ? 0 : count), /*weight_decay=*/0, momentum, learning_rate,
                    /*dampening=*/0, nesterov, /*maximize=*/false, /*is_first_step=*/false);
  });
}

}  // extern "C"
