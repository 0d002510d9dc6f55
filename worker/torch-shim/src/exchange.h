// Reduce-scatter and all-gather as messages between every two members.
//
// c10d's copy all of their tensors, and its reduce-scatter is an all-reduce of the copy. Here each member sends every
// other what that one asks for, from where it lies: the same bytes leave a member as in a ring. What is
// gathered arrives in its place; what is summed arrives a piece at a time.

#pragma once

#include <algorithm>
#include <mutex>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "operation.h"

namespace fulcrum {

// c10d notes every operation of a process in one flight recorder, whose table of groups has no lock:
// members that share a process (the tests', or two stages' for a moment) must not start operations at once.
inline std::mutex flight_recorder;

// Bytes that a member has on the way from all others while it sums; twice, as the next ones come meanwhile.
constexpr int64_t kRoom = 1 << 20;
// Of another at least.
constexpr int64_t kMessage = 1 << 16;
// libtorch adds fewer numbers than these on the calling thread. Another would start threads of its own here.
constexpr int64_t kStretch = 1 << 14;

class Exchange {
 public:
  Exchange(c10d::ProcessGroupGloo& gloo, int tag) : gloo_(gloo), tag_(tag) {}

  // `whole` has a part for each member; all are flat. The part may be this member's own in the whole.
  void all_gather(const at::Tensor& whole, const at::Tensor& part) {
    at::NoGradGuard guard;
    const int64_t length = part.numel();
    if (length == 0) {
      return;
    }
    const at::Tensor mine = whole.narrow(0, rank() * length, length);
    if (mine.data_ptr() != part.data_ptr()) {
      mine.copy_(part);
    }
    std::vector<WorkPtr> messages;
    for_each_peer([&](int peer) {
      messages.push_back(receive(whole.narrow(0, peer * length, length), peer));
      messages.push_back(send(mine, peer));
    });
    finish(messages);
  }

  // Leaves the sum over members of their parts for this one. The part may be this member's own in the whole.
  // Members are added in the order of ranks, this one first.
  void reduce_scatter(const at::Tensor& part, const at::Tensor& whole, c10d::ReduceOp op) {
    at::NoGradGuard guard;
    const int64_t length = part.numel(), peers = gloo_.getSize() - 1;
    const int64_t piece = std::max(kMessage, kRoom / std::max<int64_t>(1, peers)) / part.element_size();
    const at::Tensor mine = whole.narrow(0, rank() * length, length);
    if (length > 0 && mine.data_ptr() != part.data_ptr()) {
      part.copy_(mine);
    }
    const at::Tensor room = at::empty({2, peers, std::min(piece, length)}, part.options());
    std::vector<WorkPtr> coming[2], leaving[2];
    const auto begin = [&](int64_t start, int turn) {
      const int64_t count = std::min(piece, length - start);
      for_each_peer([&](int peer) {
        coming[turn].push_back(receive(room[turn][seat(peer)].narrow(0, 0, count), peer));
        leaving[turn].push_back(send(whole.narrow(0, peer * length + start, count), peer));
      });
    };
    if (length > 0) {
      begin(0, 0);
    }
    for (int64_t start = 0, turn = 0; start < length; start += piece, turn = 1 - turn) {
      if (start + piece < length) {
        begin(start + piece, static_cast<int>(1 - turn));
      }
      finish(coming[turn]);
      const int64_t count = std::min(piece, length - start);
      combine(part.narrow(0, start, count), room[turn].narrow(1, 0, count), op);
      finish(leaving[turn]);
    }
  }

 private:
  // Of `sum` and each of the rows of `terms`.
  void combine(const at::Tensor& sum, const at::Tensor& terms, c10d::ReduceOp op) {
    for (int64_t start = 0; start < sum.numel(); start += kStretch) {
      const int64_t count = std::min(kStretch, sum.numel() - start);
      at::Tensor stretch = sum.narrow(0, start, count);
      for (int64_t row = 0; row < terms.size(0); ++row) {
        const at::Tensor term = terms[row].narrow(0, start, count);
        if (op == c10d::ReduceOp::MAX) {
          at::maximum_out(stretch, stretch, term);
        } else {
          stretch.add_(term);
        }
      }
      if (op == c10d::ReduceOp::AVG) {
        stretch.div_(gloo_.getSize());
      }
    }
  }

  int64_t rank() const {
    return gloo_.getRank();
  }

  // The place of a peer among the others.
  int64_t seat(int peer) const {
    return peer < gloo_.getRank() ? peer : peer - 1;
  }

  template <typename Body>
  void for_each_peer(Body&& body) {
    for (int peer = 0; peer < gloo_.getSize(); ++peer) {
      if (peer != gloo_.getRank()) {
        body(peer);
      }
    }
  }

  WorkPtr send(const at::Tensor& tensor, int peer) {
    std::vector<at::Tensor> tensors{tensor};
    std::lock_guard<std::mutex> recording(flight_recorder);
    return gloo_.send(tensors, peer, tag_);
  }

  WorkPtr receive(const at::Tensor& tensor, int peer) {
    std::vector<at::Tensor> tensors{tensor};
    std::lock_guard<std::mutex> recording(flight_recorder);
    return gloo_.recv(tensors, peer, tag_);
  }

  static void finish(std::vector<WorkPtr>& messages) {
    for (const auto& message : messages) {
      message->wait(kNoTimeout);
    }
    messages.clear();
  }

  c10d::ProcessGroupGloo& gloo_;
  const int tag_;
};

}  // namespace fulcrum
