// The interface of the block coder.
#include "walk.h"

#include <new>

namespace {

// Run work(kernel, team), and convert exceptions to a status, because the callers are C.
template <class Work>
int with_team(const eoren_block* block, int64_t threads, Work work) {
    try {
        Team team(threads, block->rows + block->columns);
        return work(*eoren_chosen_kernel(), team);
    } catch (const std::bad_alloc&) {
        return EOREN_NO_MEMORY;
    }
}

}  // namespace

extern "C" {

int eoren_encode_block(const eoren_block* block, int64_t threads, uint32_t* words, int64_t capacity, int64_t* start) {
    return with_team(block, threads, [&](const eoren_kernel& kernel, Team& team) {
        Encode mode(*block, kernel, team);
        const int status = Walk(*block, kernel, mode).run();
        return status == EOREN_FINISHED ? mode.finish(words, capacity, start) : status;
    });
}

int eoren_decode_block(const eoren_block* block, int64_t threads, const unsigned char* data, int64_t words) {
    return with_team(block, threads, [&](const eoren_kernel& kernel, Team& team) {
        Decode mode(*block, kernel, team, data, words);
        const int status = Walk(*block, kernel, mode).run();
        return status == EOREN_FINISHED ? mode.finish() : status;
    });
}

int eoren_block_bits(const eoren_block* block, int64_t threads, double* bits) {
    return with_team(block, threads, [&](const eoren_kernel& kernel, Team& team) {
        CountBits mode(*block, kernel, team);
        const int status = Walk(*block, kernel, mode).run();
        for (int64_t k = 0; k < OFFSETS; ++k) bits[k] = mode.totals[k];
        return status;
    });
}

int eoren_quantize_block(const eoren_block* block, int64_t threads) {
    return with_team(block, threads, [&](const eoren_kernel& kernel, Team& team) {
        Quantize mode(*block, kernel, team);
        return Walk(*block, kernel, mode).run();
    });
}
}
