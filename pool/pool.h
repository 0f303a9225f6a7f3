/* The space manager: one pool over zoned devices, and its volumes.
 *
 * A deterministic, event-driven machine: no threads, clocks, randomness, sockets or system calls of
 * its own (docs/architecture.md). It is driven by calls of this header, by completions of device
 * operations, and by pool_tick.
 *
 * Contract for data: after any crash each block of a volume holds its last flushed value or a later
 * written one, never a mixture of two, never another volume's data. A completed flush (or FUA
 * write, or control operation) is durable.
 *
 * Threads: one; every call and completion on the thread that drives the pool. Callbacks are never
 * made from inside the call that started the operation, and may call back into the pool.
 * Errors: -errno. Texts are for people and are given where `struct err *` is taken.
 */
#ifndef ZONEPOOL_POOL_POOL_H
#define ZONEPOOL_POOL_POOL_H

#include "base/err.h"
#include "base/uuid.h"
#include "pool/device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct pool;
struct volume;

enum {
        POOL_NAME_MAX = 63, /* bytes without NUL */
        VOLUME_NAME_MAX = 127, /* bytes without NUL */
        POOL_MAX_DEVICES = 256,
        POOL_MAX_GROUP_WIDTH = 3,
        VOLUME_SECTOR = 512, /* granularity of offsets and lengths of I/O */
        VOLUME_OWNER_MAX = 2048, /* bytes of an ownership record */
};

#define VOLUME_MAX_BYTES (UINT64_C(64) << 40)

/* ---- what the pool is given ---- */

enum pool_event_kind {
        POOL_EVENT_HELD, /* writes wait for space: all is in use, or pool_status.lacking_bytes */
        POOL_EVENT_RELEASED, /* none waits any more */
        POOL_EVENT_DEVICE_FAILED, /* device: index; status: why. An operation of it has failed for the
                                     first time; or, when pool_device_status.error is set, it is out
                                     of use from now on */
        POOL_EVENT_CORRUPTION, /* a block's checksum is wrong, re-read included; volume set if known
                                */
        POOL_EVENT_HEALED, /* a block of volume, or of tables (NULL), was wrong on device and is
                              written anew */
        POOL_EVENT_READONLY, /* metadata can no longer be written; status: why */
        POOL_EVENT_DEVICE_STALLED, /* device: an operation does not come back; it is waited for, and
                                      what can goes elsewhere */
        POOL_EVENT_DEVICE_ANSWERS, /* device: it did, it is used as before */
        POOL_EVENT_DEVICE_EMPTY, /* device: nothing is left on it, and it stays so */
        POOL_EVENT_DEVICE_STUCK, /* device: what is left cannot be read, so it cannot leave */
        POOL_EVENT_SCRUBBED, /* a scrub is through; block: how many are damaged */
        POOL_EVENT_UNBACKED, /* there is not room any more for all that is reserved; block: how much
                                is lacking */
        POOL_EVENT_BACKED, /* there is again */
        POOL_EVENT_BALANCING, /* data are moved, since devices are unevenly full */
        POOL_EVENT_BALANCED, /* that is over; block: how many were moved */
        POOL_EVENT_DEVICE_REMOVED, /* device: its slot is empty and the zdev closed; status: 0, or
                                      why its label may still be there */
};

struct pool_event {
        enum pool_event_kind kind;
        int status;
        uint32_t device;
        struct volume *volume;
        uint64_t block;
};

struct pool_host {
        uint64_t (*now_ns)(void *ctx); /* monotonic */
        void (*random)(void *ctx, void *buf, size_t len);
        void (*event)(void *ctx, struct pool *pool,
                      const struct pool_event *event); /* may be NULL */
        /* pool_tick is wanted at once: something waits to be called back. Must only make a note (a
         * deferred call of the loop). May be NULL: the pool then helps itself with a zone report.
         */
        void (*wake)(void *ctx, struct pool *pool);
        void *ctx;
};

struct pool_options {
        bool checksums; /* verify data on read; default true */
        bool degraded; /* import although devices in use are missing: they are lost, or were not
                          used since */
        bool degraded_if_sure; /* the same where more than half of them are there, so that nothing
                                  newer can be on those that are missing */
        uint32_t reserve_permille; /* of capacity kept for cleaning; 0: default */
        uint32_t checkpoint_permille; /* share of user writes that headers, summaries and table
                                         pages may have, which sets the interval; 0: default 50 */
        uint64_t table_cache_bytes; /* RAM for pages of the block tables, see
                                       pool_set_table_cache; 0: no cap */
        uint32_t stall_ms; /* a device with an operation older than that is stalled; 0: default 5000
                            */
        uint32_t give_up_ms; /* and with one older than that has failed, if others have copies of
                                all there is to lose; 0: default 30000; UINT32_MAX: never */
        uint32_t borrow_depth; /* what a read finds so many trees up, of snapshots, is kept in RAM
                                  by itself; 0: default 4 */
};

#define POOL_OPTIONS_DEFAULT ((struct pool_options){.checksums = true})

/* ---- life of a pool ---- */

/* What a device's label says. */
struct pool_label {
        struct uuid pool_uuid;
        struct uuid device_uuid;
        char pool_name[POOL_NAME_MAX + 1];
        uint32_t format_version;
        uint32_t ndevices;
        uint32_t index; /* of this device in the pool */
        uint64_t generation; /* highest root found on it */
};

/* Format version of this code. Labels of another one are refused (-EPROTONOSUPPORT). */
enum { POOL_FORMAT_VERSION = 3 };

/* Reads the labels of one device. done: status 0 with *label valid during the call; -ENOENT no
 * label (label NULL); -EPROTONOSUPPORT newer format (label's name, uuid and version valid);
 * -EBADMSG label zones written, none verifies; -EIO. */
void pool_probe(struct zdev *dev, void *ctx,
                void (*done)(void *ctx, int status, const struct pool_label *label));

/* Makes a new, empty pool: resets every zone, writes labels, flushes. Whatever the devices held is
 * lost: whether that is wanted is the caller's to ask. uuid is given by the caller.
 * Errors by err: -EINVAL name or too few zones (below 16) with text. */
void pool_format(struct zdev *const *devs, uint32_t ndevs, const char *name,
                 const struct uuid *uuid, const struct pool_host *host,
                 const struct pool_options *options, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err));

/* Opens a pool from all its devices, in any order. On success the pool owns the devices (closed by
 * pool_export); on failure the caller keeps them. Recovery runs here: repeatable, may crash
 * anywhere. Errors: -ENOENT no label; -EPROTONOSUPPORT newer format; -ENXIO devices missing (named
 * in err); -EBADMSG nothing verifies; -EEXIST devices of different pools; -EIO. */
void pool_import(struct zdev *const *devs, uint32_t ndevs, const struct pool_host *host,
                 const struct pool_options *options, void *ctx,
                 void (*done)(void *ctx, int status, const struct err *err, struct pool *pool));

/* Checkpoint, flush, close the devices, free. No I/O may be in flight or come any more. On failure
 * the pool is freed all the same (the next import recovers) and status says what went wrong. */
void pool_export(struct pool *pool, void *ctx, void (*done)(void *ctx, int status));

/* Frees everything at once without writing: what a crash does. Devices are closed; their
 * completions must not come any more. For tests and for giving up a failed pool. */
void pool_abandon(struct pool *pool);

/* Periodic work: checkpoints, cleaning in idle times, stuck batches. Call it at or after
 * pool_next_tick_ns (UINT64_MAX: not needed until something happens), often is harmless. */
void pool_tick(struct pool *pool);
uint64_t pool_next_tick_ns(const struct pool *pool);

/* Adds a checkpoint now. done when it is durable. */
void pool_checkpoint(struct pool *pool, void *ctx, void (*done)(void *ctx, int status));

/* Table pages that nobody uses leave RAM while all take more than that, and are read again when
 * they are wanted; 0: they stay. Operations under way may take more for a while: what they touch,
 * what changed since the last checkpoint, and the catalog are always in RAM. */
void pool_set_table_cache(struct pool *pool, uint64_t bytes);

/* What a slot of the device list holds. The numbers are those of the root record. */
enum pool_device_state {
        POOL_DEVICE_MEMBER = 0,
        POOL_DEVICE_JOINING = 1, /* labelled, holds nothing yet */
        POOL_DEVICE_LEAVING = 2, /* nothing new is placed there, what lives there is moved away */
        POOL_DEVICE_LEFT = 3, /* no member any more, its label is being wiped */
        POOL_DEVICE_NONE = 4, /* an empty slot */
};

struct pool_device_status {
        char path[256];
        enum pool_device_state state;
        bool removing; /* LEAVING: it is taken out of the pool when it is empty */
        bool drained; /* LEAVING: nothing is left on it */
        uint64_t live_bytes; /* of volumes and tables */
        uint64_t leaving_bytes; /* LEAVING: live_bytes when it began */
        bool waiting; /* LEAVING: until cleaning has made room elsewhere */
        uint64_t stuck_bytes; /* LEAVING: what cannot be read, by the last attempt */
        struct uuid uuid;
        uint64_t capacity_bytes;
        uint64_t written_bytes;
        uint32_t nr_zones;
        uint32_t empty_zones, open_zones, full_zones, bad_zones;
        int error; /* 0, or why it is out of use */
        const char *trouble; /* for people: why an operation failed last, where that is known better;
                                or NULL. Constant memory */
        bool missing; /* not there at all */
        bool stalled; /* an operation of it does not come back */
        uint64_t stale_bytes; /* live data whose copy here is not read, until it is rebuilt */
};

struct pool_status {
        char name[POOL_NAME_MAX + 1];
        struct uuid uuid;
        uint64_t generation; /* of the last root */
        uint64_t sequence; /* of the last record */
        uint64_t capacity_bytes; /* what volumes can hold: without labels, reserve and overhead */
        uint64_t allocated_bytes; /* live blocks of all volumes */
        uint64_t available_bytes; /* capacity - allocated - reserved, never below 0; both for the
                                     redundancy of the most redundant volume */
        uint64_t reserved_bytes; /* promised to volumes, and nothing written there yet */
        uint64_t unbacked_bytes; /* of that, what there is no room for: devices or zones were lost,
                                    or a crash undid what had made the room */
        uint64_t available_by_copies[POOL_MAX_GROUP_WIDTH]; /* to volumes of 1, 2, 3 copies; 0 where
                                                               devices are too few */
        uint32_t copies; /* of the most redundant volume, and of the tables; at least 1 */
        uint64_t rebuild_bytes; /* live data that has fewer copies than it should and could */
        uint64_t lost_bytes; /* live data of which no device in use has a whole copy */
        uint64_t healed_blocks; /* since the import */
        uint64_t user_write_bytes, device_write_bytes, clean_write_bytes, table_write_bytes;
        uint64_t absorbed_write_bytes; /* since the import, and not in user_write_bytes: writes that
                                          waited, and were written by a later one of the same
                                          range */
        uint64_t held_requests;
        uint64_t lacking_bytes; /* devices' room that is missing for all copies of what there is:
                                   devices were lost. Overwrites are held too where what is free
                                   is used up. Remedy: devices, fewer data, fewer copies */
        uint64_t table_bytes; /* all pages of all block tables, */
        uint64_t table_cache_bytes; /* RAM that those take which are there, and entries borrowed, */
        uint64_t table_cache_cap_bytes; /* what they may take; 0: no cap */
        uint64_t table_hits,
            table_misses; /* lookups answered from RAM; pages read for the others */
        uint32_t nvolumes;
        uint32_t ndevices;
        bool readonly;
};

void pool_get_status(const struct pool *pool, struct pool_status *ret_status);
/* index < ndevices; indices are of slots, which may be empty, and stay what they are while a device
 * is a member. */
void pool_get_device_status(const struct pool *pool, uint32_t index,
                            struct pool_device_status *ret_status);

/* ---- devices come and go ----
 *
 * All of it is online, and what has begun is in the root: a crash leaves a device either in or out,
 * and the next import goes on with what was under way. done is called once it is durable that it
 * has begun; the rest is told by pool_get_device_status and events. err is valid during the call,
 * NULL with status 0. Texts name the device and the remedy. */

/* Takes dev in as an empty member: whatever it held is lost, whether that is wanted is the caller's
 * to ask. On success it is the pool's and *index its slot, and new data go where room is; on
 * failure it stays the caller's. Errors: -EINVAL its geometry does not fit; -EEXIST it is a member;
 * -ENOSPC all slots are taken, or its zones are so small that mirrored data would not fit; -EROFS;
 * -ECANCELED the pool is being exported; -EIO. */
void pool_device_add(struct pool *pool, struct zdev *dev, void *ctx,
                     void (*done)(void *ctx, int status, const struct err *err, uint32_t index));
/* As pool_device_add, and the device in slot old, which may be lost, is removed, in one act: a
 * crash leaves the new one out, or the next import goes on. -ENOSPC too: what lives there would not
 * fit. */
void pool_device_replace(struct pool *pool, uint32_t old, struct zdev *dev, void *ctx,
                         void (*done)(void *ctx, int status, const struct err *err,
                                      uint32_t index));
/* Empties a member and keeps it empty. It begins, and is answered, when the others have some groups
 * free; cleaning is asked for them. -ENOSPC, with numbers: the others have no room for what lives
 * there, or too few zones, or none that cleaning gains; -EINVAL no such member; -EALREADY it is
 * being removed; -ECANCELED the pool is being exported. */
void pool_device_evacuate(struct pool *pool, uint32_t index, void *ctx,
                          void (*done)(void *ctx, int status, const struct err *err));
/* Empties a member, takes it out of the pool, wipes its label and closes it:
 * POOL_EVENT_DEVICE_REMOVED. Errors as above. */
void pool_device_remove(struct pool *pool, uint32_t index, void *ctx,
                        void (*done)(void *ctx, int status, const struct err *err));
/* What lives on a device that is leaving, by volume or snapshot. */
struct pool_lost {
        struct uuid uuid;
        uint64_t bytes;
};
/* Of one that is stuck: what cannot be read; walks over all tables. lost is valid during the call.
 * Blocks of tables are not listed. -EINVAL: it is not leaving; -ENOMEM. */
void pool_device_lost(struct pool *pool, uint32_t index, void *ctx,
                      void (*done)(void *ctx, int status, const struct pool_lost *lost,
                                   uint32_t n));
/* Of a device that is leaving and stuck: what cannot be read of it is given up, at most so many
 * bytes. Reading those blocks gives -EIO for ever, until they are overwritten as a whole or
 * discarded; snapshots and clones that show them likewise. So the device gets empty. What other
 * devices may still have that are missing is not given up. done: it has begun. -EINVAL it is not
 * leaving; -EAGAIN not stuck; -ESTALE it is more; -EROFS. After a crash it is to be asked again. */
void pool_device_give_up(struct pool *pool, uint32_t index, uint64_t bytes, void *ctx,
                         void (*done)(void *ctx, int status, const struct err *err));
/* Lets go of a member that is out of use, and on record as such: its zdev is closed, and it is
 * missing from then on. What lies there alone cannot even be tried to be read any more. -EINVAL it
 * is in use, or no member; -EAGAIN not on record yet, or an operation of it is under way. */
int pool_device_detach(struct pool *pool, uint32_t index, struct err *err);
/* Takes a member back that is missing (see above); which one its label says. Its mirrored blocks
 * are not read until they have been made anew, which begins at once; what lies there alone is. On
 * success the device is the pool's and *index its slot; on failure it stays the caller's. Errors:
 * -ENOENT no label; -EBADMSG none that verifies; -EINVAL no member, or its geometry has changed;
 * -EEXIST it is in use, or was used apart; -ESTALE its content is older than when it was lost;
 * -EAGAIN its loss is not on record yet; -EROFS; -ECANCELED the pool is being exported; -EIO. */
void pool_device_return(struct pool *pool, struct zdev *dev, void *ctx,
                        void (*done)(void *ctx, int status, const struct err *err, uint32_t index));
/* A device that is being evacuated or removed stays a member as it was. What has moved stays where
 * it is. -EINVAL it is not leaving (any more). */
void pool_device_keep(struct pool *pool, uint32_t index, void *ctx,
                      void (*done)(void *ctx, int status, const struct err *err));

/* ---- scrubbing: every copy of every live block is read and verified, in the background ----
 *
 * State and place are in the root: it goes on after a crash. What is wrong on one device and right
 * on another is written anew (POOL_EVENT_HEALED), and so are table pages and inodes that RAM has;
 * of other data the block is told of (POOL_EVENT_CORRUPTION). */

enum pool_scrub_state {
        POOL_SCRUB_NONE = 0,
        POOL_SCRUB_RUNNING = 1,
        POOL_SCRUB_PAUSED = 2,
        POOL_SCRUB_DONE = 3,
};

enum pool_scrub_what {
        POOL_SCRUB_START, /* anew, or where it was paused; -EALREADY: it runs */
        POOL_SCRUB_PAUSE, /* -EINVAL: it does not run */
        POOL_SCRUB_CANCEL,
};

enum { POOL_SCRUB_FINDINGS = 256 };

struct pool_scrub_finding {
        struct uuid volume;
        uint64_t block;
};

/* Of the scrub under way, or the last one. */
struct pool_scrub_status {
        enum pool_scrub_state state;
        uint64_t verified_bytes, left_bytes;
        uint32_t
            wrong_copies; /* on their devices, asked twice, headers of batches too; since the import
                           */
        uint32_t damaged_blocks; /* of these: no copy is right, */
        uint32_t repaired_blocks; /* or written anew elsewhere */
        uint32_t
            unknown_batches; /* whose owners cannot be told, a table page or header being damaged */
        uint32_t nfindings;
        struct pool_scrub_finding
            findings[POOL_SCRUB_FINDINGS]; /* damaged, the first since import */
};

/* done: when the new state is durable; -EROFS. err: NULL with status 0. */
void pool_scrub(struct pool *pool, enum pool_scrub_what what, void *ctx,
                void (*done)(void *ctx, int status, const struct err *err));
void pool_get_scrub_status(const struct pool *pool, struct pool_scrub_status *ret_status);

/* ---- balancing: data move from full devices to empty ones, in the background ----
 *
 * It begins by itself where devices are far apart, after one was added above all, and ends when
 * they are near. Whether it is wanted at all is in the root; it is, in a new pool. */

enum pool_balance_state {
        POOL_BALANCE_OFF, /* not wanted */
        POOL_BALANCE_IDLE, /* nothing is to be moved */
        POOL_BALANCE_RUNNING,
        POOL_BALANCE_RESTING, /* it moved all that could lie too high and more, and found no end:
                                 not before users have written a multiple of that */
        POOL_BALANCE_WAITING, /* it is not over, and room is short, or devices come, go or are out
                               */
};

struct pool_balance_status {
        enum pool_balance_state state;
        uint32_t least_used_permille; /* zones in use, of the emptiest device in use */
        uint32_t most_used_permille; /* and of the fullest */
        uint64_t moved_bytes; /* since the import */
};

/* done: when it is durable; -EROFS. err: NULL with status 0. */
void pool_balance(struct pool *pool, bool on, void *ctx,
                  void (*done)(void *ctx, int status, const struct err *err));
void pool_get_balance_status(const struct pool *pool, struct pool_balance_status *ret_status);

/* ---- volumes ---- */

struct volume_spec {
        const char *name; /* 1..VOLUME_NAME_MAX bytes of [A-Za-z0-9._+-], not "." or ".." */
        struct uuid uuid; /* not nil; unique in the pool */
        uint64_t size_bytes; /* multiple of 512, 512..VOLUME_MAX_BYTES */
        const void *owner; /* first ownership record, opaque to the pool */
        size_t owner_len; /* <= VOLUME_OWNER_MAX */
        uint8_t copies; /* of each block, on different devices: 1..3; 0: 1 */
        uint64_t reserved_bytes; /* multiple of 512, 0..size_bytes: see volume_set_size */
};

struct volume_info {
        char name[VOLUME_NAME_MAX + 1];
        struct uuid uuid;
        uint64_t size_bytes;
        uint64_t allocated_bytes; /* live blocks of its own */
        uint64_t shared_bytes; /* live blocks of what it stands above: it reads some of these */
        uint64_t user_write_bytes;
        uint64_t moved_write_bytes; /* written again to make room, or to change place */
        uint64_t created_sequence;
        uint8_t copies;
        uint64_t reserved_bytes;
        uint64_t held_requests; /* that wait for space */
};

/* All of these complete when the change is durable.
 * create: -EEXIST name or uuid taken; -EINVAL; -ENOSPC no room for its record, for what is
 * reserved, or for tables as redundant; -ENODEV fewer devices in use than copies; -EMFILE a device
 * allows too few open zones for volumes of one more number of copies (2, and 2 for each number). */
void volume_create(struct pool *pool, const struct volume_spec *spec, void *ctx,
                   void (*done)(void *ctx, int status, struct volume *vol));

/* So many volumes, and what they are to hold in all, reserved or not. */
struct volume_need {
        uint32_t volumes;
        uint64_t bytes;
};
/* Whether volumes of 1, 2, 3 copies find room and devices beside what there is; nothing is made.
 * 0, or as volume_create -ENODEV, -EMFILE, -ENOSPC, and then for how many copies; -EROFS. */
int pool_admits_volumes(struct pool *pool, const struct volume_need need[POOL_MAX_GROUP_WIDTH],
                        unsigned *ret_copies);

/* Grows. -EINVAL smaller or not a multiple of 512. I/O may go on. */
void volume_resize(struct volume *vol, uint64_t size_bytes, void *ctx,
                   void (*done)(void *ctx, int status));

#define VOLUME_KEEP UINT64_MAX

/* What a volume is to be, in one durable step.
 *
 * Reserved bytes are for blocks that the volume has of its own: as long as these are fewer, a write
 * never waits for space, unless the pool says that it lacks what it promised
 * (pool_status.unbacked_bytes). What snapshots have is not the volume's own: taking one, cloning
 * the volume and going back to one promise all of it anew, and end with -ENOSPC where that has no
 * room.
 *
 * What is smaller loses what lies behind the end, which reads as zeroes should the volume grow
 * again. After a crash it is as large as it was, and perhaps a part of that reads as zeroes
 * already, or has the new size and nothing behind it. Snapshots keep their size. */
struct volume_size {
        uint64_t size_bytes; /* 0: as it is */
        uint64_t reserved_bytes; /* VOLUME_KEEP: as much as there is, cut to the size; of one that
                                    shrinks no more than that */
        bool shrink; /* it may be less than now: no I/O may be in flight then */
};
/* -EINVAL smaller without shrink, more reserved than may be, not multiples of 512; -ENOSPC no
 * room for what is to be reserved, or none for the last block of one that shrinks to no multiple
 * of 4096; -EBUSY another call lowers the reservation. */
void volume_set_size(struct volume *vol, const struct volume_size *to, void *ctx,
                     void (*done)(void *ctx, int status));
/* Frees the name, and by and by, after done, every block that no clone shares. No I/O may be in
 * flight; vol is gone when done is called with 0. -EBUSY: it has snapshots. Progresses at 100 %
 * full. */
void volume_delete(struct volume *vol, void *ctx, void (*done)(void *ctx, int status));
/* Unmaps everything, keeping name, size and ownership. */
void volume_clear(struct volume *vol, void *ctx, void (*done)(void *ctx, int status));

struct volume_owner_update {
        struct volume *vol;
        const void *record; /* copied */
        size_t len;
};
/* Replaces the ownership records of n volumes of this pool in one atomic, durable step, after all
 * writes of those volumes that completed before the call are durable too. n is 1..64. */
void volume_set_owner(struct pool *pool, const struct volume_owner_update *updates, uint32_t n,
                      void *ctx, void (*done)(void *ctx, int status));
/* ---- snapshots and clones ----
 *
 * A snapshot is what its volume held at one moment, for ever: any number of them in chains and
 * fans, each made in one record whatever the size, while the volume is written. Blocks are shared
 * until they are overwritten, which then takes new space. A snapshot's handle is read
 * (VOLUME_READ), mapped and listed like a volume's; what would change it is refused with -EROFS. It
 * is valid until its deletion is done. All of these complete when the change is durable. */

struct snapshot_spec {
        const char *name; /* as a volume's; unique among the snapshots of the volume */
        struct uuid uuid; /* not nil; unique in the pool */
        uint64_t time; /* kept for the caller: seconds since 1970, by custom */
};

/* What completed before the call is in it; of what runs beside it each request as a whole is or is
 * not, in the order they complete. -EEXIST name or uuid taken; -EINVAL; -ENOSPC. */
void snapshot_create(struct volume *vol, const struct snapshot_spec *spec, void *ctx,
                     void (*done)(void *ctx, int status, struct volume *snap));
/* The space that nobody else sees comes back by and by, after done. Clones and younger snapshots
 * stay what they are. -EBUSY: it is being deleted. Progresses at 100 %
 * full. */
void snapshot_delete(struct volume *snap, void *ctx, void (*done)(void *ctx, int status));
/* The volume becomes what the snapshot is, in size too; what it held since is lost, unless another
 * snapshot has it. No I/O may be in flight. -EINVAL: not a snapshot of vol; -EBUSY. */
void volume_revert(struct volume *vol, struct volume *snap, void *ctx,
                   void (*done)(void *ctx, int status));
/* A new volume that begins as `from`, a snapshot or a volume in use, is: of the latter as if a
 * snapshot of it was taken, which nobody sees and which goes with the last that needs it.
 * spec->size_bytes: 0, or not less than that of `from`. Errors as of volume_create. */
void volume_clone(struct volume *from, const struct volume_spec *spec, void *ctx,
                  void (*done)(void *ctx, int status, struct volume *vol));

struct snapshot_info {
        char name[VOLUME_NAME_MAX + 1];
        struct uuid uuid;
        struct uuid of; /* the volume it belongs to */
        struct uuid parent; /* the snapshot below it; nil: none */
        uint64_t size_bytes;
        uint64_t own_bytes; /* written since the snapshot before it, or the beginning */
        uint64_t time;
        uint64_t created_sequence;
        uint32_t children; /* snapshots, clones and volumes that go on from it */
};

/* The snapshots of vol, in no particular order; NULL starts, NULL ends. */
struct volume *snapshot_next(struct volume *vol, struct volume *prev);
struct volume *snapshot_by_name(struct volume *vol, const char *name); /* NULL: none */
/* What vol was cloned from, a volume (whatever became of its content) or a snapshot; NULL: it is no
 * clone, has nothing above it any more, or what it was cloned from is deleted. */
struct volume *volume_origin(const struct volume *vol);
void snapshot_get_info(const struct volume *snap, struct snapshot_info *ret_info);

/* The record as it stands: valid until the next completion. */
const void *volume_owner(const struct volume *vol, size_t *ret_len);

struct volume *volume_by_name(struct pool *pool, const char *name); /* NULL: none */
struct volume *volume_by_uuid(struct pool *pool, const struct uuid *uuid);
/* In no particular order; NULL starts, NULL ends. The pool may not change between two calls. */
struct volume *volume_next(struct pool *pool, struct volume *prev);
struct pool *volume_pool(const struct volume *vol);
const char *volume_name(const struct volume *vol);
const struct uuid *volume_uuid(const struct volume *vol);
uint64_t volume_size_bytes(const struct volume *vol);
void volume_get_info(const struct volume *vol, struct volume_info *ret_info);
/* Free slot for the owner of the volume's attachment. */
void volume_set_context(struct volume *vol, void *context);
void *volume_context(const struct volume *vol);

/* ---- I/O ---- */

enum volume_op {
        VOLUME_READ,
        VOLUME_WRITE,
        VOLUME_DISCARD, /* whole blocks inside the range become holes; the edges stay */
        VOLUME_WRITE_ZEROES, /* the range reads as zeroes; whole blocks become holes */
        VOLUME_FLUSH, /* offset and length ignored */
};

/* One request. Owned by the caller until submitted and again from within done; iov and its buffers
 * stay valid until then. Buffers may change while a request runs (a guest owns them): the pool
 * never trusts two reads of one byte to agree. */
struct volume_io {
        enum volume_op op;
        bool fua; /* WRITE, WRITE_ZEROES, DISCARD: durable when done */
        bool no_hold; /* -ENOSPC at once in place of waiting for space */
        uint64_t offset_bytes; /* multiple of 512 */
        uint64_t
            length_bytes; /* multiple of 512, inside the volume; READ, WRITE: what iov adds to */
        const struct iovec *iov;
        int niov;
        /* status: 0; -EINVAL outside the volume or misaligned; -EIO; -EILSEQ checksum; -ENOSPC;
         * -EROFS pool is read-only, or vol a snapshot; -ECANCELED by volume_cancel_held. */
        void (*done)(struct volume_io *io, int status);
        void *priv; /* the pool's while submitted */
};

void volume_submit(struct volume *vol, struct volume_io *io);

/* Requests of vol that wait for space complete with -ECANCELED. */
void volume_cancel_held(struct volume *vol);

/* A run of blocks that are mapped. */
struct volume_extent {
        uint64_t block;
        uint64_t nblocks;
};

/* Lists mapped extents that intersect [first_block, end), ascending and merged, as far as max and
 * the work of one call go. done: status; n extents in out; next_block to go on from, or UINT64_MAX
 * at the end. An answer may end in the middle of a run: the next one then begins with the rest of
 * it. out stays valid until done. A block written before the call is listed; one written during it
 * may be. -ENOMEM alone may be reported from inside the call. */
void volume_map(struct volume *vol, uint64_t first_block, struct volume_extent *out, uint32_t max,
                void *ctx, void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block));

/* A run of blocks that is not what it was. */
struct volume_change {
        uint64_t block;
        uint64_t nblocks;
        bool zeroes; /* it reads as zeroes now, and nothing is stored for it */
};

/* Lists what differs between `from`, a snapshot, or NULL: nothing, and `to`, a snapshot or volume
 * of the same pool; as volume_map lists extents. Work goes with the differences, not with the size.
 * A block written since is listed whatever was written. In a volume a write during the call may be
 * listed or not. Both stay what they are until done. */
void volume_diff(struct volume *from, struct volume *to, uint64_t first_block,
                 struct volume_change *out, uint32_t max, void *ctx,
                 void (*done)(void *ctx, int status, uint32_t n, uint64_t next_block));

#endif
