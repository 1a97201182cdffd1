// The function table of one compilation of kernel.cpp. A task runs in one thread, with its own scratch memory.
#pragma once

#include "coder.h"
#include "eoren.h"

// Called before every block of points; a result of 0 stops the task.
typedef int (*eoren_going)(void* context);

typedef struct {
    int64_t (*gradients_tasks)(const eoren_step*);
    int64_t (*gradients_scratch)(const eoren_step*);   // bytes per thread
    int64_t (*gradients_shared)(const eoren_step*);    // bytes for all threads together
    void (*gradients)(const eoren_step*, int64_t task, char* scratch, char* shared, eoren_going going,
                      void* context);
    void (*gradients_end)(const eoren_step*, char* shared);
    void (*adam)(const eoren_adam*, int64_t task);
    int64_t (*muon_scratch)(const eoren_muon*);
    void (*muon)(const eoren_muon*, int64_t task, char* scratch);
    int64_t (*query_scratch)(const eoren_networks*);
    void (*evaluate)(const eoren_query*, int64_t tile, int64_t first, int64_t end, char* scratch);
    int64_t (*grid_tasks)(const eoren_grid*);
    int64_t (*draw_scratch)(const eoren_grid*);
    void (*draw)(const eoren_grid*, int64_t task, char* scratch);
    void (*sincos)(const float*, int64_t, float*, float*);
    // Of the block coder: see predict.h and planes.h.
    void (*predict)(const eoren_phase*, int64_t first_row, int64_t end_row);
    void (*compress_latents)(const int32_t* value, int64_t count, int16_t* compressed, int16_t* magnitude);
    void (*summarize_row)(const int16_t* compressed, const int16_t* magnitude, int64_t stride, int64_t columns,
                          int16_t* size, int16_t* mean);
    void (*merge_rows)(int64_t lows, int64_t highs, int64_t columns, int64_t* rows);
    // Of compact fields: see window.h and sampling.h. `begin` fills the memory that all threads share.
    int64_t (*window_shared)(const eoren_latent_window*);
    void (*window_begin)(const eoren_latent_window*, char* shared);
    int64_t (*window_stages)(const eoren_latent_window*);
    int64_t (*window_tasks)(const eoren_latent_window*, int64_t stage);
    int64_t (*window_scratch)(const eoren_latent_window*);
    void (*window_run)(const eoren_latent_window*, int64_t stage, int64_t task, char* scratch, char* shared);
    // After the stages of the window: see distortion.h.
    int64_t (*distortion_shared)(const eoren_distortion*);
    int64_t (*distortion_stages)(const eoren_distortion*);
    int64_t (*distortion_tasks)(const eoren_distortion*, int64_t stage);
    int64_t (*distortion_scratch)(const eoren_distortion*);
    void (*distortion_run)(const eoren_distortion*, int64_t stage, int64_t task, char* scratch, char* shared);
    void (*distortion_end)(const eoren_distortion*, char* shared);
    // See convolution.h.
    int64_t (*convolution_shared)(const eoren_convolution*);
    void (*convolution_begin)(const eoren_convolution*, char* shared);
    int64_t (*convolution_tasks)(const eoren_convolution*, int64_t stage);
    void (*convolution_run)(const eoren_convolution*, int64_t stage, int64_t task, char* shared);
    int64_t (*latent_grid_shared)(const eoren_latent_grid*);
    void (*latent_grid_begin)(const eoren_latent_grid*, char* shared);
    int64_t (*latent_grid_tasks)(const eoren_latent_grid*);
    int64_t (*latent_grid_scratch)(const eoren_latent_grid*);
    void (*latent_grid_run)(const eoren_latent_grid*, int64_t task, char* scratch, char* shared);
    int64_t (*latent_points_tasks)(const eoren_latent_points*);
    int64_t (*latent_points_scratch)(const eoren_latent_points*);
    void (*latent_points_run)(const eoren_latent_points*, int64_t task, char* scratch);
} eoren_kernel;

#ifdef __cplusplus
extern "C"
#endif
// Return the kernel for this processor, or the one that eoren_choose_target selected.
const eoren_kernel* eoren_chosen_kernel(void);
