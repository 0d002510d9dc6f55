// A Gloo group that can be aborted, and that notices when a peer is gone.

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "exchange.h"
#include "operation.h"

namespace {

// Tags of messages from one member to another; collective operations of c10d's have a numbering of their own.
constexpr int kAbortTag = 1;     // nothing is ever sent with it
constexpr int kGoodbyeTag = 2;   // the last message of a member that leaves in order
constexpr int kExchangeTag = 3;  // between two members in the order in which operations were started

constexpr auto kForever = std::chrono::hours(24 * 365);
constexpr auto kGoodbyeTime = std::chrono::seconds(2);

}  // namespace

struct FulcrumWork {
  std::shared_ptr<fulcrum::Operation> operation;
};

// A member's end of a Gloo group, with two things that c10d's has not: it can be aborted, and it notices
// at once when a peer is gone, even one that the operation under way does not talk to.
class FulcrumGroup {
 public:
  explicit FulcrumGroup(c10::intrusive_ptr<c10d::ProcessGroupGloo> connected) : gloo(std::move(connected)) {
    for_each_peer([&](int peer) {
      goodbyes_.push_back(receive(peer, kGoodbyeTag));
      watchers_.emplace_back(&FulcrumGroup::watch, this, goodbyes_.back());
    });
  }

  // Operations in flight are aborted, or this would wait for them. Leaving in order says goodbye, so that
  // the peers' watchers do not take the closed connection for a death.
  ~FulcrumGroup() {
    if (idle() && !broken_) {
      say_goodbye();
    } else {
      abort();
    }
    for (const auto& goodbye : goodbyes_) {
      goodbye->abort();
    }
    for (auto& watcher : watchers_) {
      watcher.join();
    }
  }

  // Starts an operation of c10d's. The process group numbers them without a lock of its own.
  template <typename Start>
  FulcrumWork* start(Start&& body) {
    std::lock_guard<std::mutex> lock(mutex_);
    std::lock_guard<std::mutex> recording(fulcrum::flight_recorder);
    return keep(std::make_shared<fulcrum::Started>(body()));
  }

  // Starts one of the group's own: `body` exchanges messages, once those that were started before it are done.
  FulcrumWork* exchange(std::function<void(fulcrum::Exchange)> body) {
    std::lock_guard<std::mutex> lock(mutex_);
    return keep(lane_.start([this, body = std::move(body)] { body(fulcrum::Exchange(*gloo, kExchangeTag)); }));
  }

  // Gloo closes every connection of a group when one receive times out. So a receive of something that is
  // never sent, given no time, fails all operations in flight here and, through the closed connections,
  // those of the peers. A connection that is broken already throws at once: ask each.
  void abort() {
    std::lock_guard<std::mutex> lock(mutex_);
    broken_ = true;
    for_each_peer([&](int peer) {
      try {
        receive(peer, kAbortTag)->wait(fulcrum::Millis(1));
      } catch (const std::exception&) {
        // The purpose.
      }
    });
  }

  bool broken() const {
    return broken_;
  }

  const c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo;

 private:
  template <typename Body>
  void for_each_peer(Body&& body) {
    for (int peer = 0; peer < gloo->getSize(); ++peer) {
      if (peer != gloo->getRank()) {
        body(peer);
      }
    }
  }

  fulcrum::WorkPtr receive(int peer, int tag) {
    std::vector<at::Tensor> byte{at::zeros({1}, at::kByte)};
    std::lock_guard<std::mutex> recording(fulcrum::flight_recorder);
    return gloo->recv(byte, peer, tag);
  }

  void watch(const fulcrum::WorkPtr& goodbye) {
    try {
      goodbye->wait(kForever);
    } catch (const std::exception&) {
      abort();
    }
  }

  FulcrumWork* keep(std::shared_ptr<fulcrum::Operation> operation) {
    while (!in_flight_.empty() && in_flight_.front()->done()) {
      in_flight_.pop_front();
    }
    in_flight_.push_back(operation);
    return new FulcrumWork{std::move(operation)};
  }

  bool idle() {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& operation : in_flight_) {
      if (!operation->done()) {
        return false;
      }
    }
    return true;
  }

  void say_goodbye() {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<fulcrum::WorkPtr> sent;
    for_each_peer([&](int peer) {
      try {
        std::vector<at::Tensor> byte{at::zeros({1}, at::kByte)};
        std::lock_guard<std::mutex> recording(fulcrum::flight_recorder);
        sent.push_back(gloo->send(byte, peer, kGoodbyeTag));
      } catch (const std::exception&) {
        // It left before us.
      }
    });
    for (const auto& work : sent) {
      try {
        work->wait(kGoodbyeTime);
      } catch (const std::exception&) {
        // It leaves at the same time.
      }
    }
  }

  std::mutex mutex_;
  std::atomic<bool> broken_{false};
  std::deque<std::shared_ptr<fulcrum::Operation>> in_flight_;
  std::vector<fulcrum::WorkPtr> goodbyes_;
  std::vector<std::thread> watchers_;
  // Last, so that it ends first: its tasks use the connections.
  fulcrum::Lane lane_;
};
