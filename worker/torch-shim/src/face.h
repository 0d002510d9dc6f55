// What the C face is made with: messages, and nothing thrown across the border.

#pragma once

#include <cstring>
#include <exception>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

namespace fulcrum {

inline char* message(const char* text) {
  const char* end = std::strchr(text, '\n');
  return strndup(text, end == nullptr ? std::strlen(text) : static_cast<size_t>(end - text));
}

template <typename Body>
char* guarded(Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error& error) {
    return message(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return message(error.what());
  } catch (...) {
    return message("an exception of an unknown type");
  }
}

inline std::vector<at::Tensor> copied(at::Tensor* const* tensors, size_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    out.push_back(*tensors[i]);
  }
  return out;
}

}  // namespace fulcrum
