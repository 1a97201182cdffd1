// Selection of the kernel for this processor, and distribution of tasks to threads. Compiled for the oldest processor.
#include "eoren.h"
#include "kernel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <thread>
#include <vector>

extern "C" {
extern const eoren_kernel eoren_kernel_generic;
#ifdef EOREN_X86
extern const eoren_kernel eoren_kernel_avx2, eoren_kernel_avx512;
#endif
}

namespace {

struct Target {
    const char* name;
    const eoren_kernel* kernel;
    bool there;
};

const Target* targets(int& count) {
#ifdef EOREN_X86
    __builtin_cpu_init();
    static const Target all[] = {
        {"avx512", &eoren_kernel_avx512,
         __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("fma")},
        {"avx2", &eoren_kernel_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
        {"generic", &eoren_kernel_generic, true},
    };
#elif defined(__aarch64__)
    static const Target all[] = {{"neon", &eoren_kernel_generic, true}};
#else
    static const Target all[] = {{"generic", &eoren_kernel_generic, true}};
#endif
    count = sizeof(all) / sizeof(all[0]);
    return all;
}

std::atomic<const Target*> chosen{nullptr};

const Target* target() {
    if (const Target* known = chosen.load()) return known;
    int count;
    const Target* all = targets(count);
    for (int k = 0; k < count; ++k)
        if (all[k].there) {
            chosen = &all[k];
            break;
        }
    return chosen;
}

const eoren_kernel& kernel() { return *target()->kernel; }

// Memory aligned to cache lines.
struct Memory {
    explicit Memory(int64_t bytes) : raw(new char[bytes + 64]) {
        at = raw.get() + (64 - reinterpret_cast<uintptr_t>(raw.get()) % 64) % 64;
    }
    std::unique_ptr<char[]> raw;
    char* at;
};

enum { FINISHED = 1, GIVEN_UP = 0, NO_MEMORY = -1 };

// Convert exceptions to status codes, because the callers are C.
template <class Work>
int guarded(Work work) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    }
}

// State of the work. The calling thread calls `stop` every few milliseconds.
struct Going {
    std::atomic<int>& state;
    eoren_stop stop;  // null in the other threads
    std::chrono::steady_clock::time_point asked;

    static int on(void* context) {
        Going& own = *static_cast<Going*>(context);
        if (own.stop) {
            const auto now = std::chrono::steady_clock::now();
            if (now - own.asked >= std::chrono::milliseconds(5)) {
                own.asked = now;
                if (own.stop()) own.state = GIVEN_UP;
            }
        }
        return own.state == FINISHED;
    }
};

// Run work(task, scratch, going) for all tasks, which the threads, including the calling one, take from a counter.
template <class Work>
int share_out(int64_t tasks, int64_t scratch_bytes, int64_t threads, eoren_stop stop, Work work) {
    std::atomic<int64_t> next{0};
    std::atomic<int> state{FINISHED};
    auto toil = [&](eoren_stop asks, bool main) {
        Going going{state, asks, std::chrono::steady_clock::now()};
        const int code = guarded([&] {
            Memory scratch(scratch_bytes);
            while (Going::on(&going)) {
                const int64_t task = next.fetch_add(1);
                if (task >= tasks) break;
                work(task, scratch.at, &going);
            }
            return FINISHED;
        });
        // A helper thread without memory leaves its tasks to the other threads.
        if (code != FINISHED && main) state = code;
    };
    std::vector<std::thread> others;
    const int64_t most = threads < tasks ? threads : tasks;
    others.reserve(most > 1 ? most - 1 : 0);
    for (int64_t k = 1; k < most; ++k) {
        try {
            others.emplace_back(toil, nullptr, false);
        } catch (const std::exception&) {
            break;  // continue with fewer threads
        }
    }
    toil(stop, true);
    for (auto& thread : others) thread.join();
    return state;
}

// Run stages one after the other: work(stage, task, scratch) for the tasks(stage) of each.
template <class Tasks, class Work>
int share_stages(int64_t stages, int64_t scratch_bytes, int64_t threads, Tasks tasks, Work work) {
    int code = FINISHED;
    for (int64_t stage = 0; code == FINISHED && stage < stages; ++stage)
        code = share_out(tasks(stage), scratch_bytes, threads, nullptr,
                         [&](int64_t task, char* scratch, Going*) { work(stage, task, scratch); });
    return code;
}

}  // namespace

extern "C" {

const eoren_kernel* eoren_chosen_kernel(void) { return target()->kernel; }

int eoren_version(void) { return EOREN_VERSION; }

int64_t eoren_struct_size(int structure) {
    static const int64_t sizes[] = {sizeof(eoren_networks), sizeof(eoren_tuning), sizeof(eoren_pass),
                                    sizeof(eoren_step),     sizeof(eoren_adam),   sizeof(eoren_muon),
                                    sizeof(eoren_query),    sizeof(eoren_grid),
                                    sizeof(eoren_context_model), sizeof(eoren_block),
                                    sizeof(eoren_latent_window), sizeof(eoren_latent_grid),
                                    sizeof(eoren_latent_points), sizeof(eoren_distortion),
                                    sizeof(eoren_convolution)};
    const int count = sizeof(sizes) / sizeof(sizes[0]);
    return structure >= 0 && structure < count ? sizes[structure] : 0;
}

const char* eoren_target(void) { return target()->name; }

int eoren_choose_target(const char* name) {
    int count;
    const Target* all = targets(count);
    for (int k = 0; k < count; ++k)
        if (all[k].there && std::strcmp(all[k].name, name) == 0) {
            chosen = &all[k];
            return 1;
        }
    return 0;
}

int eoren_gradients(const eoren_step* step, int64_t threads, eoren_stop stop) {
    return guarded([&] {
        const eoren_kernel& k = kernel();
        Memory shared(k.gradients_shared(step));
        const int code = share_out(k.gradients_tasks(step), k.gradients_scratch(step), threads, stop,
                                   [&](int64_t task, char* scratch, Going* going) {
                                       k.gradients(step, task, scratch, shared.at, Going::on, going);
                                   });
        if (code == FINISHED) k.gradients_end(step, shared.at);
        return code;
    });
}

int eoren_adam_step(const eoren_adam* step, int64_t threads) {
    return guarded([&] {
        const eoren_kernel& k = kernel();
        return share_out(step->tiles, 0, threads, nullptr, [&](int64_t task, char*, Going*) { k.adam(step, task); });
    });
}

int eoren_muon_step(const eoren_muon* step, int64_t threads) {
    return guarded([&] {
        const eoren_kernel& k = kernel();
        return share_out(step->tiles, k.muon_scratch(step), threads, nullptr,
                         [&](int64_t task, char* scratch, Going*) { k.muon(step, task, scratch); });
    });
}

int eoren_evaluate(const eoren_query* query, int64_t threads) {
    return guarded([&] {
        // Divide the points of a network into pieces, so that one large network uses all threads.
        const int64_t piece = 2048;
        struct Piece {
            int64_t network, first, end;
        };
        std::vector<Piece> pieces;
        for (int64_t n = 0; n < query->batch; ++n)
            for (int64_t first = query->first[n]; first < query->first[n + 1]; first += piece) {
                const int64_t end = first + piece < query->first[n + 1] ? first + piece : query->first[n + 1];
                pieces.push_back({n, first, end});
            }
        const eoren_kernel& k = kernel();
        return share_out((int64_t)pieces.size(), k.query_scratch(&query->network), threads, nullptr,
                         [&](int64_t task, char* scratch, Going*) {
                             const Piece& p = pieces[task];
                             k.evaluate(query, p.network, p.first, p.end, scratch);
                         });
    });
}

int eoren_render(const eoren_grid* grid, int64_t threads) {
    return guarded([&] {
        const eoren_kernel& k = kernel();
        return share_out(k.grid_tasks(grid), k.draw_scratch(grid), threads, nullptr,
                         [&](int64_t task, char* scratch, Going*) { k.draw(grid, task, scratch); });
    });
}

int eoren_latent_distortion(const eoren_distortion* distortion, int64_t threads) {
    const int code = eoren_latent_features(&distortion->window, threads);
    if (code != FINISHED) return code;
    return guarded([&] {
        const eoren_kernel& k = kernel();
        Memory shared(k.distortion_shared(distortion));
        const int result = share_stages(
            k.distortion_stages(distortion), k.distortion_scratch(distortion), threads,
            [&](int64_t stage) { return k.distortion_tasks(distortion, stage); },
            [&](int64_t stage, int64_t task, char* scratch) {
                k.distortion_run(distortion, stage, task, scratch, shared.at);
            });
        if (result == FINISHED) k.distortion_end(distortion, shared.at);
        return result;
    });
}

int eoren_convolve(const eoren_convolution* convolution, int64_t threads) {
    return guarded([&] {
        const eoren_kernel& k = kernel();
        Memory shared(k.convolution_shared(convolution));
        k.convolution_begin(convolution, shared.at);
        return share_stages(
            convolution->layers, 0, threads, [&](int64_t stage) { return k.convolution_tasks(convolution, stage); },
            [&](int64_t stage, int64_t task, char*) { k.convolution_run(convolution, stage, task, shared.at); });
    });
}

int eoren_latent_features(const eoren_latent_window* window, int64_t threads) {
    return guarded([&] {
        const eoren_kernel& k = kernel();
        Memory shared(k.window_shared(window));
        k.window_begin(window, shared.at);
        return share_stages(
            k.window_stages(window), k.window_scratch(window), threads,
            [&](int64_t stage) { return k.window_tasks(window, stage); },
            [&](int64_t stage, int64_t task, char* scratch) { k.window_run(window, stage, task, scratch, shared.at); });
    });
}

int eoren_render_latents(const eoren_latent_grid* grid, int64_t threads) {
    return guarded([&] {
        const eoren_kernel& k = kernel();
        Memory shared(k.latent_grid_shared(grid));
        k.latent_grid_begin(grid, shared.at);
        return share_out(k.latent_grid_tasks(grid), k.latent_grid_scratch(grid), threads, nullptr,
                         [&](int64_t task, char* scratch, Going*) {
                             k.latent_grid_run(grid, task, scratch, shared.at);
                         });
    });
}

int eoren_evaluate_latents(const eoren_latent_points* points, int64_t threads) {
    return guarded([&] {
        const eoren_kernel& k = kernel();
        return share_out(k.latent_points_tasks(points), k.latent_points_scratch(points), threads, nullptr,
                         [&](int64_t task, char* scratch, Going*) { k.latent_points_run(points, task, scratch); });
    });
}

int eoren_sort_points(const double* point, int64_t n, const double* size, const int64_t* edges_x, int64_t columns,
                      const int64_t* edges_y, int64_t rows, int64_t* first, int64_t* order) {
    return guarded([&] {
        // Each window has CELLS x CELLS cells, whose coefficients fit into the cache.
        const int64_t CELLS = 16;
        std::vector<int64_t> starts(columns * rows * CELLS * CELLS + 1), cell(n);
        struct Place {
            int64_t window, cell;
        };
        const auto place = [&](double x, const int64_t* edges, int64_t windows) -> Place {
            const double last = (double)edges[windows] - 1;
            const int64_t pixel = x > 0 ? (int64_t)(x < last ? x : last) : 0;
            const int64_t window = std::upper_bound(edges + 1, edges + windows, pixel) - edges - 1;
            return {window, (pixel - edges[window]) * CELLS / (edges[window + 1] - edges[window])};
        };
        for (int64_t k = 0; k < n; ++k) {
            const Place x = place(point[2 * k] * size[0], edges_x, columns);
            const Place y = place(point[2 * k + 1] * size[1], edges_y, rows);
            cell[k] = ((y.window * columns + x.window) * CELLS + y.cell) * CELLS + x.cell;
            ++starts[cell[k] + 1];
        }
        for (size_t k = 1; k < starts.size(); ++k) starts[k] += starts[k - 1];
        for (int64_t window = 0; window <= columns * rows; ++window) first[window] = starts[window * CELLS * CELLS];
        for (int64_t k = 0; k < n; ++k) order[starts[cell[k]]++] = k;
        return FINISHED;
    });
}

void eoren_sincos(const float* x, int64_t n, float* sin, float* cos) { kernel().sincos(x, n, sin, cos); }
}
