// The C interface of the native backend: structures of pointers, which src/eoren/backends/native_library.py declares.
//
// Arrays are dense and row-major, with the shapes that the Python modules document: model/siren.py (networks and
// streams), model/tile_pixels.py (pixels of tiles), backends/base.py (a step), model/tiling.py (blending). The
// functions keep no state, allocate only scratch memory, and do not check their arguments, which the binding does.
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
    EOREN_VERSION = 6,
    EOREN_MOST_LAYERS = 6,     // sine layers and the linear layer

    EOREN_MOST_CHANNELS = 4,
    EOREN_MOST_STREAMS = 4,    // value, d/dx, d/dy, Laplacian
    EOREN_MOST_WIDTH = 256,
    EOREN_WIDTH_MULTIPLE = 16,
    EOREN_MOST_LEVELS = 6,     // of latents
    EOREN_MOST_HIDDEN = 128,   // width of a context model, a multiple of 16
    EOREN_MOST_BANDS = 1 + 3 * EOREN_MOST_LEVELS,
    EOREN_FINE_LEVELS = 3,     // of details that are features of their own
    EOREN_MOST_CONVOLUTIONS = 8,
};

// A batch of SIRENs of one shape, or the gradients with respect to their parameters.
typedef struct {
    int64_t width, depth, channels;
    float* weight[EOREN_MOST_LAYERS];  // (batch, inputs, outputs) each, depth + 1 arrays
    float* bias[EOREN_MOST_LAYERS];    // (batch, outputs)
    float omega[EOREN_MOST_LAYERS];    // depth values
} eoren_networks;

// Channel tuning, (batch, channels) each.
typedef struct {
    const float *alpha, *beta;
} eoren_tuning;

// Points of a step that are propagated together, with the derivatives that are fitted there.
typedef struct {
    int64_t axes, axis[2];
    float offset[2];  // from the pixel centres, in pixels
    float weight[3];  // weights of the streams' squared errors
} eoren_pass;

// The objective of selected networks at selected pixels of their tiles, with its gradient.
typedef struct {
    eoren_networks network;
    eoren_networks gradient;  // output; the entries of networks that are not in `tile` are not changed
    eoren_tuning tuning;
    int64_t tiles;
    const int64_t* tile;  // indices of the networks
    int64_t points;
    const int64_t* point;  // indices of pixels within a tile, modulo the number of its pixels
    const int64_t* box;    // (batch, 4), (column0, row0, column1, row1) of a tile in the color array
    int64_t columns;       // number of columns of the color array
    const float* centre;   // (batch, 2)
    const float* half;     // (batch)
    const float* color;    // (pixels, channels)
    const float* slope;    // (pixels, channels, 2), or null
    int64_t passes;
    eoren_pass pass[2];
    double* error;    // out, (tiles, 2): sums of squared errors of colour and slope
    double* moments;  // out, (tiles, channels, 5): sums of g, f, gg, gf, ff for output g and target f; or null
} eoren_step;

// One step of Adam for tensors of `size[k]` numbers per network.
typedef struct {
    int64_t tiles;
    const int64_t* tile;
    int64_t tensors;
    int64_t size[2 * EOREN_MOST_LAYERS];
    float *value[2 * EOREN_MOST_LAYERS], *gradient[2 * EOREN_MOST_LAYERS];
    float *mean[2 * EOREN_MOST_LAYERS], *square[2 * EOREN_MOST_LAYERS];
    double first, second;  // decay rates of mean and square: betas
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

// Evaluation of networks, with channel tuning, at points that are sorted by network.
typedef struct {
    eoren_networks network;
    eoren_tuning tuning;
    int64_t batch;
    const int64_t* first;  // (batch + 1): network k is evaluated at points first[k] .. first[k + 1] - 1
    const float* point;    // (n, 2), local coordinates
    int64_t axes, axis[2], laplacian;
    const float* scale;    // (batch, 2), local coordinates per unit of x and y
    float* said;           // out, (n, streams, channels)
} eoren_query;

// Evaluation of a mosaic on a grid.
typedef struct {
    eoren_networks network;
    eoren_tuning tuning;
    int64_t batch;
    const double* centre;  // (batch, 2), in pixels
    const double* half;    // (batch)
    const int64_t* first;  // (batch + 1), indices into cut
    const double* cut;     // (n, 3): axis, position in pixels, and 1 if the tile lies above the cut, else 0
    double halo;
    double unit[2];        // pixels per unit of x and y, for derivatives
    int64_t columns, rows;
    const double *x, *y;   // positions of the columns and rows, in pixels
    int64_t streams;       // 1: colour; 3: also both derivatives; 4: also the Laplacian
    float* color;          // out, (rows, columns, channels), or null
    float* gradient;       // out, (rows, columns, channels, 2), or null
    float* laplacian;      // out, (rows, columns, channels), or null
} eoren_grid;

// The context model and the tables of probabilities (coding/context_model.py, coding/distributions.py). Weights are
// integers of 16 bits.
typedef struct {
    int64_t hidden;
    const float *first, *first_bias, *first_offset, *second, *second_bias, *last, *skip, *last_bias, *last_offset;
    const int32_t* reach;   // (32)
    int64_t bounds_length;  // numbers in a row of bounds, and of costs
    const uint32_t* bounds; // (288, bounds_length)
    const double* costs;    // (288, bounds_length), bits of every symbol
    const uint8_t* starts;  // (288, 256), for the high byte of a position, a symbol at or before the one that is there
} eoren_context_model;

// The latents of a block; bands are in the order of Latents.bands() of coding/bands.py.
typedef struct {
    const eoren_context_model* model;
    int64_t channels, rows, columns, levels;  // rows and columns of pixels, 1 or more
    int32_t* latent[EOREN_MOST_BANDS];  // (channels, rows, columns) of the band; columns are adjacent
    int64_t channel_stride[EOREN_MOST_BANDS], row_stride[EOREN_MOST_BANDS];
    const float* coefficient[EOREN_MOST_BANDS];  // dense; to quantise
    double weight;
} eoren_block;

// The features of a window of a compact field (model/latents/features.py): samples, or coefficients of quintic splines.
typedef struct {
    int64_t channels, levels;  // levels: at most EOREN_FINE_LEVELS
    int64_t groups;            // levels + 1, or 1 for the sum of all groups
    int64_t rows, columns;     // pixels
    const float* lowpass;      // (channels, rows, columns) of the band below the levels; columns are adjacent
    int64_t lowpass_stride[2];  // floats between channels, and between rows
    const float* detail[3 * EOREN_FINE_LEVELS];  // horizontal, vertical, diagonal band, from the finest level on
    int64_t channel_stride[3 * EOREN_FINE_LEVELS], row_stride[3 * EOREN_FINE_LEVELS];
    int64_t padding;           // coefficients beyond every end, 3; 0 for samples
    int64_t stride;            // floats of a row of the result, a multiple of 16
    float* features;           // out, (rows + 2 padding, stride): pixels of groups * channels floats, then zeros
} eoren_latent_window;

// The squared errors of an image that wavelet coefficients describe, and their gradient by the coefficients. Errors count
// at the pixels left ... right - 1, top ... bottom - 1 of the window.
typedef struct {
    eoren_latent_window window;  // one group, no padding; `features` become the errors of the pixels
    const float* image;          // (rows, stride): colours less 1/2, in the layout of the features
    int64_t left, top, right, bottom;
    const float* tap;            // (reach), weights of the differences of samples at distances 1 ... reach: the slope
    int64_t reach;
    float weight;                // of the slopes
    float* by_lowpass;           // out, the gradient of errors[0] + weight / 2 errors[1], dense, as lowpass
    float* by_detail[3 * EOREN_FINE_LEVELS];  // out, dense, as detail
    double* errors;              // out, the sums of the squared errors of colours, and of slopes along both axes
} eoren_distortion;

// A compact field in a window, and the quantities to compute. `features` are followed by 16 readable floats.
typedef struct {
    const float* features;
    int64_t rows, columns, padding, stride, count;  // as above; count: floats of a pixel
    int64_t channels;
    const float* linear;   // (count, channels), or null if features are colours less 1/2
    eoren_networks siren;  // one, with `count` inputs, or width 0
    int64_t streams;       // 1: colour; 3: also both derivatives; 4: also the Laplacian
    double unit[2];        // pixels per unit of x and y, for derivatives
    float *color, *gradient, *laplacian;  // out, or null; see eoren_grid
} eoren_latent_field;

// Evaluation on a grid.
typedef struct {
    eoren_latent_field field;
    int64_t columns, rows;
    const double *x, *y;  // positions of the columns and rows in pixels of the window; whole if there is no padding
    int64_t pitch;        // pixels between two rows of the outputs
} eoren_latent_grid;

// Evaluation at points.
typedef struct {
    eoren_latent_field field;
    double size[2], corner[2];  // of the image in pixels, and first pixel of the window
    const double* point;        // (n, 2), in the unit square
    int64_t count;
    const int64_t* order;       // (count), indices of the points to evaluate; the outputs have all points
} eoren_latent_points;

// A stack of convolutions without padding: each layer adds a bias to its correlations, and multiplies negative results by
// `leak`, but the last one does not. Sides are odd.
typedef struct {
    int64_t layers, rows, columns;  // rows and columns of the input, above the sum of all side - 1
    int64_t width[EOREN_MOST_CONVOLUTIONS + 1], side[EOREN_MOST_CONVOLUTIONS];  // width: channels before and after layers
    const float* weight[EOREN_MOST_CONVOLUTIONS];  // (outputs, inputs, side, side)
    const float* bias[EOREN_MOST_CONVOLUTIONS];
    float leak;
    int64_t input_stride;           // floats of a row of the input
    const float* input;             // (width[0], rows, input_stride), followed by 64 readable floats
    float* output;                  // out, (width[layers], rows - ..., columns - ...), dense
} eoren_convolution;

// Return the EOREN_VERSION of the library.
EOREN_API int eoren_version(void);
// Size in bytes of a structure: 0 eoren_networks, 1 eoren_tuning, 2 eoren_pass, 3 eoren_step, 4 eoren_adam,
// 5 eoren_muon, 6 eoren_query, 7 eoren_grid, 8 eoren_context_model, 9 eoren_block,
// 10 eoren_latent_window, 11 eoren_latent_grid, 12 eoren_latent_points, 13 eoren_distortion, 14 eoren_convolution; 0 for
// any other number. The binding compares it with its own.
EOREN_API int64_t eoren_struct_size(int structure);

// Return the instruction set in use: "avx512", "avx2", "neon" or "generic".
EOREN_API const char* eoren_target(void);
// Select an instruction set. Return 1, or 0 if this build or this processor does not support it. For tests.
EOREN_API int eoren_choose_target(const char* name);

// A callback that the calling thread runs every few milliseconds; a result other than 0 cancels the work.
typedef int (*eoren_stop)(void);

// All return 1 after completion, 0 after cancellation, -1 if memory is exhausted. Results do not depend on the number
// of threads.
EOREN_API int eoren_gradients(const eoren_step* step, int64_t threads, eoren_stop stop);
EOREN_API int eoren_adam_step(const eoren_adam* step, int64_t threads);
EOREN_API int eoren_muon_step(const eoren_muon* step, int64_t threads);
EOREN_API int eoren_evaluate(const eoren_query* query, int64_t threads);
EOREN_API int eoren_render(const eoren_grid* grid, int64_t threads);
EOREN_API int eoren_latent_distortion(const eoren_distortion* distortion, int64_t threads);

// Results of the block coder (coding/block_coder.py), besides 1 and -1.
enum {
    EOREN_FINISHED = 1,
    EOREN_NO_MEMORY = -1,
    EOREN_TRUNCATED = -2,     // the words end before the last symbol
    EOREN_LARGE_LATENT = -3,  // a latent is larger than 2^20
    EOREN_NOT_AT_END = -4,    // words are left after the last symbol
};

// Encode a block into the end of an array of `capacity` little-endian words, 4 + 2 per latent, from `start` on.
EOREN_API int eoren_encode_block(const eoren_block* block, int64_t threads, uint32_t* words, int64_t capacity,
                                 int64_t* start);
// Decode a block from two words or more, at any address.
EOREN_API int eoren_decode_block(const eoren_block* block, int64_t threads, const unsigned char* data, int64_t words);
// Count the bits of the latents of each of the 60 offsets of the context model.
EOREN_API int eoren_block_bits(const eoren_block* block, int64_t threads, double* bits);
// Choose latents for finite coefficients.
EOREN_API int eoren_quantize_block(const eoren_block* block, int64_t threads);

// Compact fields.
EOREN_API int eoren_convolve(const eoren_convolution* convolution, int64_t threads);
EOREN_API int eoren_latent_features(const eoren_latent_window* window, int64_t threads);
EOREN_API int eoren_render_latents(const eoren_latent_grid* grid, int64_t threads);
EOREN_API int eoren_evaluate_latents(const eoren_latent_points* points, int64_t threads);
// Sort points (n, 2) of the unit square by window, and by place within it, for eoren_evaluate_latents. Windows lie row by
// row between ascending edges in pixels, columns + 1 along x and rows + 1 along y. Those of window k are order[first[k]] ...
// order[first[k + 1] - 1]; `first` has one entry more than there are windows.
EOREN_API int eoren_sort_points(const double* point, int64_t n, const double* size, const int64_t* edges_x,
                                int64_t columns, const int64_t* edges_y, int64_t rows, int64_t* first, int64_t* order);

// Compute sin and cos of n numbers, or only sin if cos is null. For tests.
EOREN_API void eoren_sincos(const float* x, int64_t n, float* sin, float* cos);

#ifdef __cplusplus
}
#endif
