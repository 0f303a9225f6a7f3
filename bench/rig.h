/* A pool over data-dropping devices (dropdev.h), driven until what is waited for has come.
 *
 * Time stands still: what is measured is counted. Completions come in turn from the devices, each
 * device's in the order of submission. Everything is decided by the seed.
 *
 * Not thread-safe. Errors: -errno with text in err. */
#ifndef ZONEPOOL_BENCH_RIG_H
#define ZONEPOOL_BENCH_RIG_H

#include "base/err.h"
#include "base/rng.h"
#include "dropdev.h"
#include "pool/pool.h"

enum { RIG_MAX_DEVICES = 8 };

struct rig {
        struct drop_media *media[RIG_MAX_DEVICES];
        uint32_t ndevs;
        struct pool *pool; /* NULL: not imported */
        struct pool_options options;
        struct rng rng;
        struct pool *woken; /* to be called; NULL: none */
        uint32_t turn; /* device whose completion is next */
};

/* Makes the media and formats a pool on them. rig: zeroed but for options and rng. */
int rig_format(struct rig *rig, const struct drop_spec *specs, uint32_t ndevs, struct err *err);
int rig_import(struct rig *rig, struct err *err);
/* What a killed process leaves: the media as they stand. */
void rig_crash(struct rig *rig);
int rig_create(struct rig *rig, const char *name, uint64_t size_bytes, struct volume **ret_vol,
               struct err *err);
/* One completion of one device, and what the pool wanted to be called for. False: nothing can
 * happen any more by itself. */
bool rig_step(struct rig *rig);
/* Drives until *flag is set. -EDEADLK: it never will be. */
int rig_wait(struct rig *rig, const bool *flag);
/* Of all devices. */
struct drop_counts rig_counts(const struct rig *rig);
/* Accepts a zeroed struct. */
void rig_fini(struct rig *rig);

#endif
