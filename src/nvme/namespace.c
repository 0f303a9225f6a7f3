/* Volumes of the pool as backings: each call is the pool's of the same name. */
#include "nvme/namespace.h"

static void backing_submit(void *backing, struct volume_io *io)
{
        volume_submit(backing, io);
}

static void backing_map(void *backing, uint64_t first_block, struct volume_extent *out,
                        uint32_t max, void *ctx,
                        void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block))
{
        volume_map(backing, first_block, out, max, ctx, done);
}

static void backing_cancel_held(void *backing)
{
        volume_cancel_held(backing);
}

static uint64_t backing_size_bytes(void *backing)
{
        return volume_size_bytes(backing);
}

const struct nvm_backing_ops nvm_volume_backing = {
    .submit = backing_submit,
    .map = backing_map,
    .cancel_held = backing_cancel_held,
    .size_bytes = backing_size_bytes,
};
