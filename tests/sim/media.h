/* A zoned device that loses power.
 *
 * What is written, reset or finished takes effect when it completes and is durable when a flush
 * that was submitted later has completed. A power cut picks, by the seed and per zone, how much of
 * the rest survives: a prefix of the zone's commands; of the first one lost perhaps some blocks; of
 * those that survived perhaps not the data (the pointer ahead of it), or the data but not the
 * pointer (behind it). Lost blocks read as what was there before, as zeroes, or as garbage; one
 * block is never torn. Commands in flight may or may not have been carried out. A killed process
 * loses nothing that completed.
 *
 * In a run with faults some operations fail (of a write some blocks arrive), and zones wear out.
 *
 * The rules are zone_model.h's; whatever breaks one, reads a zone that is being reset, or changes
 * the buffer of a write in flight fails the run. Completions come in the order the seed picks. */
#ifndef ZONEPOOL_TESTS_SIM_MEDIA_H
#define ZONEPOOL_TESTS_SIM_MEDIA_H

#include "tests/sim/sim.h"

struct media_spec {
        uint32_t nr_zones;
        uint32_t zone_blocks, capacity_blocks;
        uint32_t nr_conventional; /* at the beginning */
        uint32_t max_open, max_active, max_io_blocks;
        bool rotational;
};

enum media_cut {
        MEDIA_CUT_ALL_LOST, /* power: whatever no flush covered is lost */
        MEDIA_CUT_RANDOM, /* power: each zone for itself */
        MEDIA_CUT_TAIL, /* power: nearly everything survives */
        MEDIA_CUT_KILL, /* process: nothing is lost, nothing in flight is carried out */
        MEDIA_CUT_KILL_LATE, /* process: as before, but what was in flight may be carried out */
};

struct media *media_new(struct sim *sim, uint32_t index, const struct media_spec *spec);
void media_free(struct media *m);

/* While there is no power: one zone, not a label's, becomes read-only, or offline if it was empty.
 */
void media_wear(struct media *m);

/* While there is power: the same, when nothing of the zone is in flight or not durable. */
void media_wear_now(struct media *m);
/* The device answers nothing but -ENODEV, what is in flight included, until media_return. */
void media_lose(struct media *m);
bool media_is_lost(const struct media *m);
void media_return(struct media *m);
/* It completes nothing until so many operations of other devices have. */
void media_stall(struct media *m, uint32_t completions);
bool media_stalled(const struct media *m);
bool media_ever_stalled(const struct media *m); /* since power-up */
/* A bit of that block is not what was written any more. */
void media_rot(struct media *m, uint32_t zone, uint64_t block);

/* The device as the pool gets it; closing it is no event for the medium. */
struct zdev *media_power_on(struct media *m);
/* Nothing the pool holds of the device may be used any more: its operations are forgotten. */
void media_power_off(struct media *m, enum media_cut cut);

/* Whether that is the device given out by media_power_on. */
bool media_is(const struct media *m, const struct zdev *dev);
/* Operations in flight. */
uint32_t media_pending(const struct media *m);
/* A write is among them. */
bool media_writing(const struct media *m);
/* Completes one of them; false: the one picked is a slow one whose time has not come, unless
 * forced. After sim.power_lost with -ENODEV and no effect. */
bool media_complete_one(struct media *m, bool force);
/* A number that tells states of the medium apart: pointers, and what the last cut left. */
uint64_t media_fingerprint(const struct media *m);

#endif
