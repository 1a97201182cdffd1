// The arithmetic, compiled once per instruction set, such as with -DEOREN_KERNEL=eoren_kernel_avx2 -mavx2 -mfma.
#include "kernel.h"

#include "convolution.h"
#include "distortion.h"
#include "network.h"
#include "optimize.h"
#include "planes.h"
#include "predict.h"
#include "render.h"
#include "sampling.h"
#include "step.h"
#include "window.h"

namespace {

Part* part_at(char* shared, int64_t task) { return (Part*)shared + task; }

int64_t gradients_tasks(const eoren_step* s) { return s->tiles * parts_of(*s); }

int64_t network_scratch(const eoren_networks& n, Use use) {
    Arena arena = {nullptr, 0};
    arrange(n, arena, use);
    return arena.used;
}

int64_t gradients_scratch(const eoren_step* s) { return network_scratch(s->network, TRAINING); }

int64_t gradient_bytes(const eoren_step* s) {
    Arena arena = {nullptr, 0};
    gradient_in(s->network, arena);
    return arena.used;
}

int64_t parts_bytes(const eoren_step* s) { return (gradients_tasks(s) * (int64_t)sizeof(Part) + 63) / 64 * 64; }

int64_t gradients_shared(const eoren_step* s) {
    return parts_bytes(s) + (parts_of(*s) > 1 ? gradients_tasks(s) * gradient_bytes(s) : 0);
}

void gradients(const eoren_step* s, int64_t task, char* scratch, char* shared, eoren_going going, void* context) {
    const int64_t parts = parts_of(*s), number = task % parts;
    Part part = {};
    part.tile = task / parts;
    part.first = s->points * number / parts, part.end = s->points * (number + 1) / parts;
    if (parts == 1) {
        part.to = gradient_of(s->gradient, s->tile[part.tile]);
    } else {
        Arena own = {shared + parts_bytes(s) + task * gradient_bytes(s), 0};
        part.to = gradient_in(s->network, own);
    }
    fill_zero(s->network, part.to);
    add_part(*s, part, scratch, going, context);
    *part_at(shared, task) = part;
}

// Add the parts in a fixed order, so that the result does not depend on the threads.
void gradients_end(const eoren_step* s, char* shared) {
    const int64_t parts = parts_of(*s), channels = s->network.channels;
    for (int64_t k = 0; k < s->tiles; ++k) {
        const Gradient to = gradient_of(s->gradient, s->tile[k]);
        if (parts > 1) fill_zero(s->network, to);
        double* error = s->error + 2 * k;
        error[0] = error[1] = 0;
        for (int64_t i = 0; s->moments && i < 5 * channels; ++i) s->moments[5 * channels * k + i] = 0;
        for (int64_t number = 0; number < parts; ++number) {
            const Part& part = *part_at(shared, k * parts + number);
            if (parts > 1) add_gradient(s->network, part.to, to);
            error[0] += part.error[0], error[1] += part.error[1];
            for (int64_t i = 0; s->moments && i < 5 * channels; ++i)
                s->moments[5 * channels * k + i] += part.moments[i];
        }
    }
}

void adam_task(const eoren_adam* s, int64_t task) { adam(*s, s->tile[task]); }
int64_t muon_scratch(const eoren_muon* s) { return 4 * muon_floats(s->n); }
void muon_task(const eoren_muon* s, int64_t task, char* scratch) { muon(*s, s->tile[task], scratch); }

int64_t query_scratch(const eoren_networks* n) { return network_scratch(*n, LAPLACIANS); }

void evaluate_task(const eoren_query* q, int64_t tile, int64_t first, int64_t end, char* scratch) {
    evaluate(*q, tile, first, end, scratch);
}

int64_t grid_tasks(const eoren_grid* g) { return ((g->columns + CELL - 1) / CELL) * ((g->rows + CELL - 1) / CELL); }
int64_t draw_scratch(const eoren_grid* g) {
    return query_scratch(&g->network) + lattice_floats(g->network.width) * (int64_t)sizeof(float);
}
void draw_task(const eoren_grid* g, int64_t task, char* scratch) { draw(*g, task, scratch); }

int64_t distortion_shared(const eoren_distortion* d) { return distortion::shared(*d); }
int64_t distortion_stages(const eoren_distortion* d) { return distortion::stages(*d); }
int64_t distortion_tasks(const eoren_distortion* d, int64_t stage) { return distortion::tasks(*d, stage); }
int64_t distortion_scratch(const eoren_distortion* d) { return distortion::scratch(*d); }
void distortion_run(const eoren_distortion* d, int64_t stage, int64_t task, char* scratch, char* shared) {
    distortion::task(*d, stage, task, scratch, shared);
}
void distortion_end(const eoren_distortion* d, char* shared) { distortion::end(*d, shared); }

int64_t convolution_shared(const eoren_convolution* c) { return convolution::shared(*c); }
void convolution_begin(const eoren_convolution* c, char* shared) { convolution::begin(*c, shared); }
int64_t convolution_tasks(const eoren_convolution* c, int64_t stage) { return convolution::tasks(*c, stage); }
void convolution_run(const eoren_convolution* c, int64_t stage, int64_t task, char* shared) {
    convolution::run(*c, stage, task, shared);
}

void sincos(const float* x, int64_t n, float* sin, float* cos) {
    for (int64_t k = 0; k < n; k += LANES) {
        float in[LANES] = {}, s[LANES], c[LANES];
        const int64_t count = n - k < LANES ? n - k : LANES;
        for (int64_t i = 0; i < count; ++i) in[i] = x[k + i];
        if (cos) {
            const Wave w = wave(load(in));
            store(s, w.sin), store(c, w.cos);
        } else {
            store(s, sine_of(load(in)));
        }
        for (int64_t i = 0; i < count; ++i) sin[k + i] = s[i];
        for (int64_t i = 0; cos && i < count; ++i) cos[k + i] = c[i];
    }
}

void predict(const eoren_phase* p, int64_t first_row, int64_t end_row) {
    if (p->step == 2)
        predict_rows<2>(*p, first_row, end_row);
    else
        predict_rows<4>(*p, first_row, end_row);
}

}  // namespace

extern "C" const eoren_kernel EOREN_KERNEL;
extern "C" const eoren_kernel EOREN_KERNEL = {
    gradients_tasks, gradients_scratch, gradients_shared, gradients,     gradients_end, adam_task, muon_scratch,
    muon_task,       query_scratch,     evaluate_task,    grid_tasks, draw_scratch, draw_task, sincos,
    predict, compress_latents, summarize_row, merge_rows,
    window_shared, window_begin, window_stages, window_tasks, window_scratch, window_run,
    distortion_shared, distortion_stages, distortion_tasks, distortion_scratch, distortion_run, distortion_end,
    convolution_shared, convolution_begin, convolution_tasks, convolution_run,
    latent_grid_shared, latent_grid_begin, latent_grid_tasks, latent_grid_scratch, latent_grid_run,
    latent_points_tasks, latent_points_scratch, latent_points_run,
};
