// What tensors take of the machine's memory.

#include <atomic>
#include <cstdint>

#include <malloc.h>

#include <c10/core/CPUAllocator.h>

namespace {

std::atomic<int64_t> held{0}, peak{0};

// libtorch's own allocator, counted.
struct Counting final : c10::Allocator {
  explicit Counting(c10::Allocator* inner) : inner(inner) {}

  c10::DataPtr allocate(size_t bytes) override {
    c10::DataPtr data = inner->allocate(bytes);
    // What the C library gave, which it can tell again when it is freed.
    const int64_t now = held += malloc_usable_size(data.get());
    for (int64_t most = peak; now > most && !peak.compare_exchange_weak(most, now);) {
    }
    data.compare_exchange_deleter(inner->raw_deleter(), &release);
    return data;
  }

  c10::DeleterFnPtr raw_deleter() const override {
    return &release;
  }

  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  static void release(void* data);

  c10::Allocator* const inner;
};

Counting& counting() {
  // Lives as long as the process: tensors may outlive anything else.
  static Counting* counting = new Counting(c10::GetDefaultCPUAllocator());
  return *counting;
}

void Counting::release(void* data) {
  held -= malloc_usable_size(data);
  counting().inner->raw_deleter()(data);
}

}  // namespace

extern "C" {

// From here on the peak is that of what is held now and what comes.
void fulcrum_memory_count() {
  c10::SetCPUAllocator(&counting());
  peak = held.load();
}

void fulcrum_memory_counted(int64_t* now, int64_t* most) {
  *now = held;
  *most = peak;
}

void fulcrum_memory_trim() {
  malloc_trim(0);
}

}  // extern "C"
