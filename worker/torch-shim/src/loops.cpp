// See loops.h. Compiled for several generations of processors; which one runs is found out when the library is opened.

#include "loops.h"

#include <cmath>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EVERY_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EVERY_PROCESSOR
#endif
#define INLINE inline __attribute__((always_inline))

namespace fulcrum::loops {

namespace {

// e^x to a unit in the last place, without branches, so that a loop of it becomes vector instructions: x = n ln 2 + r,
// e^r by its series, and n into the exponent. Beyond what f32 can hold it stays at the border; NaN stays NaN.
INLINE float exponential(float x) {
  const float bounded = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
  const float shifted = bounded * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to a whole number
  const float n = shifted - 12582912.0f;
  const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  int32_t exponent;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  const int32_t bits = static_cast<int32_t>((static_cast<uint32_t>(exponent) + 127u) << 23);
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

INLINE float sigmoid(float x) {
  return 1.0f / (1.0f + exponential(-x));
}

}  // namespace

FOR_EVERY_PROCESSOR
void gated(const float* __restrict gate, const float* __restrict up, float* __restrict y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    y[i] = gate[i] * sigmoid(gate[i]) * up[i];
  }
}

FOR_EVERY_PROCESSOR
void gated_backward(const float* __restrict gate, const float* __restrict up, const float* __restrict y_gradient,
                    float* __restrict gate_gradient, float* __restrict up_gradient, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float open = sigmoid(gate[i]);
    up_gradient[i] = y_gradient[i] * gate[i] * open;
    gate_gradient[i] = y_gradient[i] * up[i] * open * (1.0f + gate[i] * (1.0f - open));
  }
}

FOR_EVERY_PROCESSOR
void rms_norm(const float* __restrict x, const float* __restrict weight, float epsilon, float* __restrict y,
              float* __restrict inverse, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, x += width, y += width) {
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < width; ++i) {
      squares += x[i] * x[i];
    }
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
    for (int64_t i = 0; i < width; ++i) {
      y[i] = x[i] * scale * weight[i];
    }
    inverse[row] = scale;
  }
}

FOR_EVERY_PROCESSOR
void rms_norm_backward(const float* __restrict x, const float* __restrict weight, const float* __restrict inverse,
                       const float* __restrict y_gradient, float* __restrict x_gradient,
                       float* __restrict weight_gradient, int64_t rows, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, x += width, y_gradient += width) {
    const float scale = inverse[row];
    if (weight_gradient != nullptr) {
      for (int64_t i = 0; i < width; ++i) {
        weight_gradient[i] += y_gradient[i] * x[i] * scale;
      }
    }
    if (x_gradient != nullptr) {
      float along = 0;
#pragma omp simd reduction(+ : along)
      for (int64_t i = 0; i < width; ++i) {
        along += y_gradient[i] * weight[i] * x[i];
      }
      const float share = along * scale * scale * scale / static_cast<float>(width);
      for (int64_t i = 0; i < width; ++i) {
        x_gradient[i] = y_gradient[i] * weight[i] * scale - x[i] * share;
      }
      x_gradient += width;
    }
  }
}

FOR_EVERY_PROCESSOR
void rotated(const float* __restrict x, int64_t x_stride, const float* __restrict cosine, const float* __restrict sine,
             float sign, float* __restrict y, int64_t y_stride, int64_t heads, int64_t half, int64_t width) {
  for (int64_t head = 0; head < heads; ++head, x += x_stride, y += y_stride) {
    for (int64_t i = 0; i < half; ++i) {
      const float first = x[i], second = x[half + i], turn = sine[i] * sign;
      y[i] = first * cosine[i] - second * turn;
      y[half + i] = second * cosine[i] + first * turn;
    }
    for (int64_t i = 2 * half; i < width; ++i) {
      y[i] = x[i];
    }
  }
}

}  // namespace fulcrum::loops
