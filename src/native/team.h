// Threads that share the tasks of many short jobs. They start with the first job, and wait between jobs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

inline void pause_briefly() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

class Team {
public:
    // A team of `threads`, including the calling one, for jobs of at most `most_tasks` tasks.
    Team(int64_t threads, int64_t most_tasks) : threads(threads), done(new std::atomic<bool>[most_tasks]) {}

    ~Team() {
        {
            std::lock_guard<std::mutex> lock(mutex);
            ended = true;
            ++generation;
        }
        wake.notify_all();
        for (auto& helper : helpers) helper.join();
    }

    // Run work(task) for all tasks, which must not throw.
    template <class Work>
    void run(int64_t count, Work work) {
        stream(count, work, [](int64_t) { return true; });
    }

    // Run work(task) in any order and any thread, and consume(task) after it, in order and in the calling thread. If
    // consume returns false, stop and return false.
    template <class Work, class Consume>
    bool stream(int64_t count, Work work, Consume consume) {
        if (threads < 2 || count < 2) {
            for (int64_t task = 0; task < count; ++task) {
                work(task);
                if (!consume(task)) return false;
            }
            return true;
        }
        start();
        publish(count, [](void* context, int64_t task) { (*static_cast<Work*>(context))(task); }, &work);
        bool all = true;
        for (int64_t task = 0; all && task < count; ++task) {
            while (!done[task].load(std::memory_order_acquire))
                if (!take()) pause_briefly();
            all = consume(task);
        }
        next = tasks;
        retract();
        return all;
    }

private:
    typedef void (*Call)(void* context, int64_t task);

    void start() {
        try {
            while ((int64_t)helpers.size() < threads - 1) helpers.emplace_back([this] { help(); });
        } catch (const std::exception&) {
            threads = (int64_t)helpers.size() + 1;  // continue with fewer threads
        }
    }

    void publish(int64_t count, Call work, void* with) {
        for (int64_t task = 0; task < count; ++task) done[task].store(false, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex);
            call = work, context = with, tasks = count, next = 0, open = true;
            ++generation;
        }
        wake.notify_all();
    }

    // Wait until no helper uses the job.
    void retract() {
        {
            std::lock_guard<std::mutex> lock(mutex);
            open = false;
        }
        while (busy.load(std::memory_order_acquire)) pause_briefly();
    }

    bool take() {
        const int64_t task = next.fetch_add(1);
        if (task >= tasks) return false;
        call(context, task);
        done[task].store(true, std::memory_order_release);
        return true;
    }

    void help() {
        for (int64_t seen = 0;;) {
            // The next job usually comes soon: wait actively at first.
            for (int k = 0; k < 2000 && generation.load(std::memory_order_relaxed) == seen; ++k) pause_briefly();
            {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [&] { return generation != seen; });
                seen = generation;
                if (ended) return;
                if (!open) continue;
                ++busy;
            }
            while (take()) {
            }
            busy.fetch_sub(1, std::memory_order_release);
        }
    }

    int64_t threads;
    std::vector<std::thread> helpers;
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<int64_t> generation{0};
    bool open = false, ended = false;
    std::atomic<int> busy{0};
    Call call = nullptr;
    void* context = nullptr;
    int64_t tasks = 0;
    std::atomic<int64_t> next{0};
    std::unique_ptr<std::atomic<bool>[]> done;
};

}  // namespace
