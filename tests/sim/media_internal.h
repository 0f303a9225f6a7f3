/* The medium's own structs, shared by media.c (operations) and media_power.c (power cuts). */
#ifndef ZONEPOOL_TESTS_SIM_MEDIA_INTERNAL_H
#define ZONEPOOL_TESTS_SIM_MEDIA_INTERNAL_H

#include "base/cleanup.h"
#include "pool/device/zone_model.h"
#include "tests/sim/media.h"

/* A completed command that is not durable. */
struct event {
        struct list all; /* media.events, by completion */
        struct list zone; /* media_zone.events */
        uint64_t number;
        enum zdev_op op;
        uint32_t nblocks;
        uint64_t block;
        struct zone_model_zone before;
        uint8_t undo[]; /* WRITE: the bytes that were there */
};

/* An operation in flight. */
struct flight {
        struct list node; /* media.flights, by submission */
        struct zdev_io *io;
        uint64_t flush_upto; /* FLUSH: events to become durable */
        bool dead; /* submitted after power was lost */
        uint64_t not_before; /* sim.completions: slow operations let others pass */
        bool users; /* READ: into memory of a user's request */
        bool bad_zone; /* the zone is: nothing happens */
        int status;
        uint32_t written; /* WRITE: blocks that get there */
        uint8_t data[]; /* WRITE: the bytes as submitted */
};

struct media_zone {
        struct list events;
        uint32_t reading, managing, resetting; /* in flight; a reset counts as managing too */
};

struct media {
        struct zdev dev;
        struct sim *sim;
        uint32_t index;
        struct media_spec spec;
        struct zone_model model;
        struct media_zone *zones;
        uint8_t *bytes;
        struct list events, flights;
        uint32_t nflights;
        uint64_t next_event;
        uint64_t fingerprint;
        uint64_t stalled_until; /* sim.completions */
        bool on, lost, ever_stalled;
};

static inline uint8_t *media_bytes(struct media *m, uint32_t zone, uint64_t block)
{
        return m->bytes + ((uint64_t)zone * m->spec.zone_blocks + block) * ZP_BLOCK;
}

/* Carries out an operation that kept the rules. */
void media_take_effect(struct media *m, struct flight *f);
void media_event_free(struct event *e);

#endif
