// Operations of a group that were started: c10d's, and the group's own.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include <torch/csrc/distributed/c10d/Work.hpp>

namespace fulcrum {

using Millis = std::chrono::milliseconds;
using WorkPtr = c10::intrusive_ptr<c10d::Work>;

class Operation {
 public:
  virtual ~Operation() = default;
  virtual bool done() const = 0;
  // Throws what it failed of. kNoTimeout waits for as long as the group's own timeout lets it run.
  virtual void wait(Millis timeout) = 0;
};

// One of c10d's. Some of them never say that they are completed: they are once they were waited for.
class Started final : public Operation {
 public:
  explicit Started(WorkPtr work) : work_(std::move(work)) {}

  bool done() const override {
    return waited_ || work_->isCompleted();
  }

  void wait(Millis timeout) override {
    work_->wait(timeout);
    waited_ = true;
  }

 private:
  const WorkPtr work_;
  std::atomic<bool> waited_{false};
};

// One that a lane runs.
class Task final : public Operation {
 public:
  explicit Task(std::function<void()> body) : body_(std::move(body)) {}

  void run() {
    std::exception_ptr failure;
    try {
      body_();
    } catch (...) {
      failure = std::current_exception();
    }
    body_ = nullptr;  // lets its tensors go
    std::lock_guard<std::mutex> lock(mutex_);
    failure_ = failure;
    done_ = true;
    ended_.notify_all();
  }

  bool done() const override {
    std::lock_guard<std::mutex> lock(mutex_);
    return done_;
  }

  void wait(Millis timeout) override {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto done = [this] { return done_; };
    if (timeout == kNoTimeout) {
      ended_.wait(lock, done);
    } else if (!ended_.wait_for(lock, timeout, done)) {
      throw std::runtime_error("the operation is not done within " + std::to_string(timeout.count()) + " ms");
    }
    if (failure_) {
      std::rethrow_exception(failure_);
    }
  }

 private:
  std::function<void()> body_;
  mutable std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  std::exception_ptr failure_;
};

// A thread that runs tasks one after the other. Its end waits for those that are left.
class Lane {
 public:
  ~Lane() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) {
      thread_.join();
    }
  }

  std::shared_ptr<Operation> start(std::function<void()> body) {
    auto task = std::make_shared<Task>(std::move(body));
    std::lock_guard<std::mutex> lock(mutex_);
    if (!thread_.joinable()) {
      thread_ = std::thread(&Lane::loop, this);
    }
    tasks_.push_back(task);
    changed_.notify_all();
    return task;
  }

 private:
  void loop() {
    while (true) {
      std::shared_ptr<Task> task;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return closed_ || !tasks_.empty(); });
        if (tasks_.empty()) {
          return;
        }
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task->run();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Task>> tasks_;
  bool closed_ = false;
  std::thread thread_;
};

}  // namespace fulcrum
