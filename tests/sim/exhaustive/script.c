/* The operations that sequences are made of, see script.h. */
#include "tests/sim/exhaustive/script_internal.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
        MAX_ROUNDS = 10, /* of overwriting, until the pool has cleaned */
        MAX_STEPS = 100000,
        HELD_BLOCKS = 5 * REQUEST_BLOCKS, /* for which a request of that many may wait: each with a
                                             table page, and the reserve for holes */
};

void script_init(struct script *sc, struct stage *stage, struct history *h, const struct base *b)
{
        *sc = (struct script){.stage = stage, .history = h, .base = b, .idle = true};
        sc->requests = calloc(MAX_REQUESTS, sizeof(*sc->requests));
        if (!sc->requests)
                abort();
}

void script_fini(struct script *sc)
{
        free(sc->requests);
        sc->requests = NULL;
}

/* Writes may wait for space that nobody gives back; but not while there is some. */
static void check_held(const struct script *sc)
{
        struct pool_status st;
        pool_get_status(sc->stage->pool, &st);
        if (!sc->stage->holds)
                case_fail("the operation never ends");
        if (st.available_bytes > HELD_BLOCKS * ZP_BLOCK)
                case_fail("writes wait for space, and there are %llu bytes",
                          (unsigned long long)st.available_bytes);
        for (uint32_t i = 0; i < sc->nrequests; i++)
                if (sc->requests[i].promised && !sc->requests[i].ended)
                        case_fail("a write waits for space, and all of its volume is reserved");
        case_trace("writes wait for space");
}

void script_wait(struct script *sc)
{
        for (uint32_t steps = 0; !sc->idle; steps++) {
                if (steps > MAX_STEPS)
                        case_fail("the pool does not come to rest");
                if (!stage_step(sc->stage) && !sc->idle) {
                        check_held(sc);
                        return;
                }
        }
}

void script_begun(struct script *sc)
{
        sc->outstanding++;
        sc->idle = false;
}

void script_ended(struct script *sc)
{
        sc->history->acks++;
        sc->idle = --sc->outstanding == 0;
}

static struct volume *snapshot_of(struct volume *vol, const struct uuid *uuid)
{
        struct volume *snap = NULL;
        while ((snap = snapshot_next(vol, snap)))
                if (uuid_equal(volume_uuid(snap), uuid))
                        break;
        return snap;
}

struct volume *script_handle(struct script *sc, unsigned volume)
{
        struct uuid uuid = volume_uuid_of(volume);
        struct volume *vol = volume_by_uuid(sc->stage->pool, &uuid);
        if (!vol && sc->history->volumes[volume].frozen)
                vol = snapshot_of(script_handle(sc, MAIN), &uuid);
        if (!vol)
                case_fail("volume %u is not found", volume);
        return vol;
}

void script_check_status(const struct script *sc, int status, const char *what)
{
        bool fair = status == 0 || (sc->history->faulty && status == -EIO) ||
                    (sc->history->lost && sc->base->copies == 1 &&
                     (status == -EIO || status == -ENODEV || status == -EROFS));
        case_trace("%s ended with %d", what, status);
        if (!fair)
                case_fail("%s ended with %d (%s)", what, status, strerror(-status));
}

void script_check_creation(const struct script *sc, int status, const char *what)
{
        bool too_few = sc->history->lost && sc->base->ndisks - 1 < sc->base->copies;
        if (too_few && status == -ENODEV)
                case_trace("%s ended with %d", what, status);
        else
                script_check_status(sc, status, what);
}

/* ---- I/O ---- */

static void clean_more(struct script *sc);

static void request_done(struct volume_io *io, int status)
{
        struct request *r = container_of(io, struct request, io);
        struct script *sc = r->script;
        r->ended = true;
        if (io->op != VOLUME_DISCARD || !script_is_refused(sc, status, "discard"))
                script_check_status(sc, status,
                                    io->op == VOLUME_FLUSH ? "a flush" : "a write or discard");
        sc->busy[r->volume]--;
        if (io->op != VOLUME_FLUSH)
                history_written(sc->history, r->write, status == 0);
        else if (status == 0)
                history_flushed(sc->history, r->volume, r->start);
        if (r->cleaning)
                clean_more(sc);
        script_ended(sc);
}

static void submit(struct script *sc, unsigned volume, enum volume_op op, uint32_t first,
                   uint32_t n, bool fua, bool cleaning)
{
        if (sc->nrequests == MAX_REQUESTS || n > REQUEST_BLOCKS)
                case_fail("the sequence is too long for this test");
        struct request *r = &sc->requests[sc->nrequests++];
        struct history *h = sc->history;
        r->script = sc;
        r->volume = volume;
        r->cleaning = cleaning;
        r->promised = script_is_promised(sc, volume);
        r->ended = false;
        r->io = (struct volume_io){.op = op,
                                   .fua = fua,
                                   .offset_bytes = (uint64_t)first * ZP_BLOCK,
                                   .length_bytes = (uint64_t)n * ZP_BLOCK,
                                   .done = request_done};
        if (op == VOLUME_FLUSH)
                r->start = ++h->now;
        else
                r->write = history_write(h, volume, first, n, op == VOLUME_WRITE, fua);
        if (op == VOLUME_WRITE) {
                for (uint32_t i = 0; i < n; i++)
                        content_fill(volume, first + i, h->writes[r->write].tag,
                                     r->buf + (size_t)i * ZP_BLOCK);
                r->iov = (struct iovec){r->buf, (size_t)n * ZP_BLOCK};
                r->io.iov = &r->iov;
                r->io.niov = 1;
        }
        sc->busy[volume]++;
        script_begun(sc);
        case_trace("volume %u: %s of blocks %u+%u%s%s", volume,
                   op == VOLUME_FLUSH   ? "flush"
                   : op == VOLUME_WRITE ? "write"
                                        : "discard",
                   first, n, fua ? ", fua" : "", cleaning ? ", for cleaning's sake" : "");
        volume_submit(script_handle(sc, volume), &r->io);
}

void script_write(struct script *sc, unsigned volume, uint32_t first, uint32_t n, bool fua)
{
        submit(sc, volume, VOLUME_WRITE, first, n, fua, false);
}

/* Some of the first blocks of MAIN, and, where there is a clone, of that. */
static bool op_on_first(struct script *sc, enum volume_op op, uint32_t first, uint32_t n, bool fua)
{
        if (sc->reverting)
                return false;
        submit(sc, MAIN, op, first, n, fua, false);
        if (script_is_free(sc, CLONE) && op != VOLUME_FLUSH)
                submit(sc, CLONE, op, first + 1, n, fua, false);
        return true;
}

static bool op_write(struct script *sc)
{
        if (sc->reverting)
                return false;
        uint32_t n = MIN(2u, sc->base->hole_blocks - sc->cursor);
        if (!script_fits(sc, sc->base->data_blocks + sc->cursor + n))
                return false;
        submit(sc, MAIN, VOLUME_WRITE, sc->base->data_blocks + sc->cursor, n, false, false);
        sc->cursor = (sc->cursor + n) % sc->base->hole_blocks;
        return true;
}

static bool op_overwrite(struct script *sc)
{
        return op_on_first(sc, VOLUME_WRITE, 0, 2, false);
}

static bool op_fua(struct script *sc)
{
        return op_on_first(sc, VOLUME_WRITE, 1, 1, true);
}

static bool op_flush(struct script *sc)
{
        return op_on_first(sc, VOLUME_FLUSH, 0, 0, false);
}

static bool op_discard(struct script *sc)
{
        return op_on_first(sc, VOLUME_DISCARD, 1, 3, false);
}

/* ---- cleaning: overwrites until the pool has moved something ---- */

static uint64_t moved_bytes(const struct script *sc)
{
        struct pool_status st;
        pool_get_status(sc->stage->pool, &st);
        return st.clean_write_bytes;
}

static void clean_more(struct script *sc)
{
        if (sc->rounds == MAX_ROUNDS || moved_bytes(sc) != sc->cleaned)
                return;
        uint32_t first = sc->rounds * 29 % (sc->base->data_blocks - REQUEST_BLOCKS);
        sc->rounds++;
        submit(sc, MAIN, VOLUME_WRITE, first, REQUEST_BLOCKS, false, true);
}

static bool op_clean(struct script *sc)
{
        if (sc->reverting)
                return false;
        sc->cleaned = (uint32_t)moved_bytes(sc);
        sc->rounds = 0;
        clean_more(sc);
        return true;
}

/* ---- all of them ---- */

static const struct {
        char letter;
        const char *name;
        bool (*start)(struct script *sc);
} operations[] = {
    {'W', "write", op_write},
    {'O', "overwrite", op_overwrite},
    {'F', "flush", op_flush},
    {'U', "fua", op_fua},
    {'D', "discard", op_discard},
    {'N', "create", op_create},
    {'X', "delete", op_delete},
    {'S', "snapshot", op_snapshot},
    {'L', "clone", op_clone},
    {'P', "delete the snapshot", op_delete_parent},
    {'V', "revert", op_revert},
    {'R', "resize", op_resize},
    {'A', "owner", op_owner},
    {'K', "checkpoint", op_checkpoint},
    {'C', "clean", op_clean},
    {'Z', "shrink", op_shrink},
    {'Q', "reserve", op_reserve},
    {'G', "device loss", op_lose},
    {'Y', "zone read-only", op_zone_readonly},
    {'T', "zone offline", op_zone_offline},
    {'E', "failing flush", op_fail_flush},
    {'B', "failing root", op_fail_root},
    {'H', "failing write", op_fail_write},
};

bool script_start(struct script *sc, char op)
{
        for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
                if (operations[i].letter != op)
                        continue;
                case_trace("%s", operations[i].name);
                return operations[i].start(sc);
        }
        return false;
}

const char *script_op_name(char op)
{
        for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
                if (operations[i].letter == op)
                        return operations[i].name;
        return NULL;
}
