/* A pool over mem devices that a test drives to and fro: every call here runs the devices until the
 * answer is there. */
#ifndef ZONEPOOL_TESTS_T_POOL_H
#define ZONEPOOL_TESTS_T_POOL_H

#include "base/err.h"
#include "pool/device/mem.h"
#include "pool/pool.h"

enum { T_MAX_DEVS = 257 }; /* one more than a pool may have */

struct t_pool {
        struct zdev *devs[T_MAX_DEVS];
        uint32_t ndevs;
        struct pool *pool;
        struct pool_options options;
        uint64_t now_ns, random;
        unsigned events[32];
        struct err err; /* of the last failure with text */
};

/* Makes ndevs devices. */
void t_devices(struct t_pool *t, uint32_t ndevs, const struct mem_device_spec *spec);
/* Makes ndevs devices of nr_zones zones of zone_blocks blocks, formats and imports them. */
void t_pool_new(struct t_pool *t, uint32_t ndevs, uint32_t nr_zones, uint32_t zone_blocks);
/* Formats the devices as they are. Returns the status. */
int t_format(struct t_pool *t, const char *name);
int t_import(struct t_pool *t);
/* Without some devices, a bit each. */
int t_import_degraded(struct t_pool *t, unsigned without, bool asked);
/* Loses everything in RAM: what a killed process does. The devices stay. */
void t_crash(struct t_pool *t);
void t_export(struct t_pool *t); /* the devices stay as they are: reopened at the next import */
void t_fini(struct t_pool *t);
/* Closes the last device, which is not the pool's. */
void t_drop_device(struct t_pool *t);
/* Delivers completions until none is left but those of devices that stall. */
void t_drive(struct t_pool *t);
/* Time passes: ticks, and whatever they bring. */
void t_pass(struct t_pool *t, unsigned seconds);
const struct pool_host *t_host(struct t_pool *t);

int t_create(struct t_pool *t, const char *name, uint64_t size, struct volume **ret_vol);
int t_create_copies(struct t_pool *t, const char *name, uint64_t size, uint8_t copies,
                    struct volume **ret_vol);
int t_io(struct volume *vol, struct t_pool *t, enum volume_op op, uint64_t offset, void *buf,
         uint64_t len, bool fua);
int t_io_nohold(struct volume *vol, struct t_pool *t, uint64_t offset, void *buf, uint64_t len);
int t_flush(struct volume *vol, struct t_pool *t);
int t_checkpoint(struct t_pool *t);
/* Fails the test when the pool's books do not balance. */
void t_check(struct t_pool *t);
/* The mem device under device i. */
struct zdev *t_mem(struct t_pool *t, uint32_t i);
/* Changes the bytes of the block that holds `block` wherever reads of the pool find it, until the
 * same bytes are written again. */
void t_damage(struct t_pool *t, const void *block);
/* Where the block stands on the device, there alone: what was on the medium reads as something
 * else, until its zone is reset. False: it stands nowhere. */
bool t_damage_copy(struct t_pool *t, uint32_t dev, const void *block);
void t_damage_place(struct t_pool *t, uint32_t dev, uint32_t zone, uint64_t block);
/* The zone as the device sees it. Nothing may be in flight. */
int t_report(struct t_pool *t, uint32_t dev, uint32_t zone, struct zdev_zone *ret_zone);
/* The device answers everything with -ENODEV, or works again. */
void t_lose(struct t_pool *t, uint32_t dev, bool lost);
/* It answers nothing for now, or all of it. */
void t_stall(struct t_pool *t, uint32_t dev, bool stalled);
/* Fills a block with what names volume key, block and version. */
void t_fill(void *buf, uint64_t key, uint64_t block, uint64_t version);
/* How many of the first blocks are not of that version, or cannot be read. */
uint64_t t_wrong(struct t_pool *t, struct volume *vol, uint64_t blocks, uint64_t version);
/* Writes the first blocks of volume "disk", some with FUA; reads them, and all must be that
 * version. */
void t_write_all(struct t_pool *t, uint64_t blocks, uint64_t version);
void t_check_all(struct t_pool *t, uint64_t blocks, uint64_t version);

#endif
