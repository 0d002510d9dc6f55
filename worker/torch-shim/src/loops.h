// Loops over numbers in f32 that libtorch has no single kernel for. Nothing of libtorch is in them, and no two of the
// pointers of a call may overlap.

#pragma once

#include <cstdint>

namespace fulcrum::loops {

// y = silu(gate) * up
void gated(const float* gate, const float* up, float* y, int64_t count);

// The gradients of both factors from that of the product.
void gated_backward(const float* gate, const float* up, const float* y_gradient, float* gate_gradient,
                    float* up_gradient, int64_t count);

// Rows of `width` numbers over the root of their mean square, times a weight; leaves one over that root for each row.
void rms_norm(const float* x, const float* weight, float epsilon, float* y, float* inverse, int64_t rows, int64_t width);

// The gradient of the rows, and added to what is there that of the weight. Either may be null.
void rms_norm_backward(const float* x, const float* weight, const float* inverse, const float* y_gradient,
                       float* x_gradient, float* weight_gradient, int64_t rows, int64_t width);

// Turns each pair (x[i], x[half + i]) of `heads` rows by the angle of which cosine and sine are given, the sine times
// `sign`, and copies what is left of each row of `width` numbers.
void rotated(const float* x, int64_t x_stride, const float* cosine, const float* sine, float sign, float* y,
             int64_t y_stride, int64_t heads, int64_t half, int64_t width);

}  // namespace fulcrum::loops
