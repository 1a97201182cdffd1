// The C interface of eoren's native engine: plain structures of pointers, filled in by src/eoren/backends/native.py.
//
// Arrays are dense and row-major, in the shapes of the Python side, whose modules explain them: siren.py (networks and
// streams), patches.py (pixels of tiles), training.py (a step), tiling.py (blending). Nothing is kept between calls,
// nothing is allocated but scratch memory, and nothing is checked: that is the binding's work.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EOREN_API __attribute__((visibility("default")))
#else
#define EOREN_API
#endif

enum {
    EOREN_VERSION = 2,
    EOREN_MOST_LAYERS = 6,     // sine layers and the last
    EOREN_MOST_CHANNELS = 4,
    EOREN_MOST_STREAMS = 4,    // value, d/dx, d/dy, Laplacian
    EOREN_MOST_WIDTH = 256,
    EOREN_WIDTH_MULTIPLE = 16,
};

// A batch of SIRENs of one shape, or the gradients by their parameters.
typedef struct {
    int64_t width, depth, channels;
    float* weight[EOREN_MOST_LAYERS];  // (batch, inputs, outputs) each, depth + 1 of them
    float* bias[EOREN_MOST_LAYERS];    // (batch, outputs)
    float omega[EOREN_MOST_LAYERS];    // depth of them
} eoren_networks;

// Channel tuning, (batch, channels) each.
typedef struct {
    const float *alpha, *beta;
} eoren_tuning;

// Points of a step that are propagated together: training._Pass.
typedef struct {
    int64_t axes, axis[2];
    float offset[2];  // from the pixel centres, in pixels
    float weight[3];  // of the streams' squared errors
} eoren_pass;

// The objective of some networks at some of their pixels, with its gradient.
typedef struct {
    eoren_networks network;
    eoren_networks gradient;  // where it goes; networks that are not in `tile` keep what is there
    eoren_tuning tuning;
    int64_t tiles;
    const int64_t* tile;  // indices of the networks
    int64_t points;
    const int64_t* point;  // pixels, numbered within a tile; tiles that have fewer begin again
    const int64_t* box;    // (batch, 4), pixels of a tile among those of the color array
    int64_t columns;       // of that array
    const float* centre;   // (batch, 2)
    const float* half;     // (batch)
    const float* color;    // (pixels, channels)
    const float* slope;    // (pixels, channels, 2), or null
    int64_t passes;
    eoren_pass pass[2];
    double* error;    // out, (tiles, 2): sums of squared errors of colour and slope
    double* moments;  // out, (tiles, channels, 5): sums of g, f, gg, gf, ff over value and target; or null
} eoren_step;

// One step of Adam for tensors of `size[k]` numbers a network.
typedef struct {
    int64_t tiles;
    const int64_t* tile;
    int64_t tensors;
    int64_t size[2 * EOREN_MOST_LAYERS];
    float *value[2 * EOREN_MOST_LAYERS], *gradient[2 * EOREN_MOST_LAYERS];
    float *mean[2 * EOREN_MOST_LAYERS], *square[2 * EOREN_MOST_LAYERS];
    double first, second;  // how much of the memories is kept
    float rate, scale, epsilon;
} eoren_adam;

// One step of Muon for (batch, n, n) matrices.
typedef struct {
    int64_t tiles;
    const int64_t* tile;
    int64_t tensors, n;
    float *value[EOREN_MOST_LAYERS], *gradient[EOREN_MOST_LAYERS], *mean[EOREN_MOST_LAYERS];
    float momentum, rate;
    float coefficient[3];
    int64_t iterations;
} eoren_muon;

// What networks say, tuned, at points that come sorted by network.
typedef struct {
    eoren_networks network;
    eoren_tuning tuning;
    int64_t batch;
    const int64_t* first;  // (batch + 1): network k has points first[k] .. first[k + 1] - 1
    const float* point;    // (n, 2), local coordinates
    int64_t axes, axis[2], laplacian;
    const float* scale;    // (batch, 2), local coordinates to a unit of x and y
    float* said;           // out, (n, streams, channels)
} eoren_query;

// A grid of samples of a mosaic, blended.
typedef struct {
    eoren_networks network;
    eoren_tuning tuning;
    int64_t batch;
    const double* centre;  // (batch, 2), in pixels
    const double* half;    // (batch)
    const int64_t* first;  // (batch + 1) into cut
    const double* cut;     // (n, 3): axis, position in pixels, and whether the tile lies above it: 0 or 1
    double halo;
    double unit[2];        // pixels to a unit of x and y, for derivatives
    int64_t columns, rows;
    const double *x, *y;   // positions of the columns and rows, in pixels
    int64_t streams;       // 1 colour; 3 and both derivatives; 4 and the Laplacian
    float* color;          // out, (rows, columns, channels), or null
    float* gradient;       // out, (rows, columns, channels, 2), or null
    float* laplacian;      // out, (rows, columns, channels), or null
} eoren_grid;

// EOREN_VERSION of the library.
EOREN_API int eoren_version(void);
// Size in bytes of a structure: 0 eoren_networks, 1 eoren_tuning, 2 eoren_pass, 3 eoren_step, 4 eoren_adam,
// 5 eoren_muon, 6 eoren_query, 7 eoren_grid; 0 for any other number. The binding compares it with its own.
EOREN_API int64_t eoren_struct_size(int structure);

// Which of the ways it was compiled for runs: "avx512", "avx2", "neon" or "generic".
EOREN_API const char* eoren_target(void);
// Take another, if this processor has it: 1 if so. For tests.
EOREN_API int eoren_choose_target(const char* name);

// Asked now and then, by the thread that called; the work is given up when it returns anything but 0.
typedef int (*eoren_stop)(void);

// All return 1 if the work is done, 0 if it was given up, -1 for want of memory. Results do not depend on the number of threads.
EOREN_API int eoren_gradients(const eoren_step* step, int64_t threads, eoren_stop stop);
EOREN_API int eoren_adam_step(const eoren_adam* step, int64_t threads);
EOREN_API int eoren_muon_step(const eoren_muon* step, int64_t threads);
EOREN_API int eoren_evaluate(const eoren_query* query, int64_t threads);
EOREN_API int eoren_render(const eoren_grid* grid, int64_t threads);

// sin and cos of n numbers, or sin alone if cos is null: for tests.
EOREN_API void eoren_sincos(const float* x, int64_t n, float* sin, float* cos);

#ifdef __cplusplus
}
#endif
