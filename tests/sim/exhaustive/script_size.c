/* Sizes and reservations of volume MAIN, see script.h. */
#include "tests/sim/exhaustive/script_internal.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"

#include <errno.h>

static struct pending *size_of(struct script *sc)
{
        return &sc->history->volumes[MAIN].nblocks;
}

/* What is reserved is never more than there is. */
static void cut_reservation(struct script *sc)
{
        struct pending *r = &sc->history->volumes[MAIN].reserved;
        r->value = MIN(r->value, size_of(sc)->value);
}

static bool changes(const struct script *sc)
{
        const struct volume_history *v = &sc->history->volumes[MAIN];
        return sc->resizing || sc->cloning || sc->reverting || v->reserved.start != TIME_NEVER;
}

static void resized(void *ctx, int status)
{
        struct control *c = ctx;
        struct script *sc = c->script;
        bool shrinks = c->write != NO_WRITE;
        script_check_status(sc, status, "resize");
        if (shrinks)
                history_written(sc->history, c->write, status == 0);
        if (status == 0) {
                *size_of(sc) = (struct pending){.value = size_of(sc)->next, .start = TIME_NEVER};
                cut_reservation(sc);
                sc->resizing = false;
        }
        script_ended(sc);
}

/* A snapshot that is being taken may be as large as it was or as it will be. */
static struct control *begin(struct script *sc, uint32_t from, uint32_t to)
{
        struct control *c = script_control(sc, MAIN);
        /* a volume that went back to a snapshot taken beside a resize is as large as that */
        *size_of(sc) = (struct pending){.value = from, .next = to, .start = c->start};
        for (unsigned i = SNAPSHOT; i <= SNAPSHOT_2; i++) {
                struct volume_history *s = &sc->history->volumes[i];
                if (s->created != TIME_NEVER && s->exists == TIME_NEVER)
                        s->nblocks = *size_of(sc);
        }
        sc->resizing = true;
        return c;
}

bool op_resize(struct script *sc)
{
        struct volume *vol = script_handle(sc, MAIN);
        uint32_t nblocks = (uint32_t)(volume_size_bytes(vol) / ZP_BLOCK);
        if (changes(sc))
                return false;
        struct control *c = begin(sc, nblocks, nblocks + 2);
        volume_resize(vol, (uint64_t)(nblocks + 2) * ZP_BLOCK, c, resized);
        return true;
}

/* The holes go, and the last block that is none. What is behind the end is a write of zeroes, for
 * whoever looks there when the volume has grown again. */
bool op_shrink(struct script *sc)
{
        struct volume *vol = script_handle(sc, MAIN);
        uint32_t from = (uint32_t)(volume_size_bytes(vol) / ZP_BLOCK);
        uint32_t to = sc->base->data_blocks - 1;
        if (changes(sc) || sc->busy[MAIN] || from <= to)
                return false;
        struct control *c = begin(sc, from, to);
        c->write = history_write(sc->history, MAIN, to, MAX_BLOCKS - to, false, true);
        struct volume_size size = {(uint64_t)to * ZP_BLOCK, VOLUME_KEEP, true};
        volume_set_size(vol, &size, c, resized);
        return true;
}

bool script_fits(const struct script *sc, uint32_t end)
{
        const struct pending *p = &sc->history->volumes[MAIN].nblocks;
        return end <= p->value && (p->start == TIME_NEVER || end <= p->next);
}

static void reserved(void *ctx, int status)
{
        struct control *c = ctx;
        struct script *sc = c->script;
        struct pending *r = &sc->history->volumes[MAIN].reserved;
        if (status == -ENOSPC && r->next > r->value)
                case_trace("there is no room for a reservation");
        else
                script_check_status(sc, status, "reserve");
        if (status == 0)
                r->value = r->next;
        r->start = TIME_NEVER;
        script_ended(sc);
}

/* All of the volume is reserved, or nothing any more. */
bool op_reserve(struct script *sc)
{
        struct volume *vol = script_handle(sc, MAIN);
        struct pending *r = &sc->history->volumes[MAIN].reserved;
        if (changes(sc))
                return false;
        uint32_t nblocks = (uint32_t)(volume_size_bytes(vol) / ZP_BLOCK);
        struct control *c = script_control(sc, MAIN);
        r->next = r->value ? 0 : nblocks;
        r->start = c->start;
        struct volume_size size = {.reserved_bytes = (uint64_t)r->next * ZP_BLOCK};
        volume_set_size(vol, &size, c, reserved);
        return true;
}

bool script_is_promised(const struct script *sc, unsigned volume)
{
        const struct volume_history *v = &sc->history->volumes[volume];
        return v->reserved.start == TIME_NEVER && v->reserved.value &&
               v->reserved.value == v->nblocks.value && v->nblocks.start == TIME_NEVER;
}

bool script_is_refused(const struct script *sc, int status, const char *what)
{
        const struct pending *r = &sc->history->volumes[MAIN].reserved;
        if (status != -ENOSPC || (!r->value && (r->start == TIME_NEVER || !r->next)))
                return false;
        case_trace("%s: there is no room for what is reserved", what);
        return true;
}
