/* The operations that sequences are made of, see script.h. */
#include "tests/sim/exhaustive/script.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROUNDS = 10 }; /* of overwriting, until the pool has cleaned */

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

void script_wait(struct script *sc)
{
        stage_run(sc->stage, &sc->idle, "the operation");
}

static void begun(struct script *sc)
{
        sc->outstanding++;
        sc->idle = false;
}

static void ended(struct script *sc)
{
        sc->history->acks++;
        sc->idle = --sc->outstanding == 0;
}

static struct volume *handle(struct script *sc, unsigned volume)
{
        struct uuid uuid = volume_uuid_of(volume);
        struct volume *vol = volume_by_uuid(sc->stage->pool, &uuid);
        if (!vol)
                case_fail("volume %u is not found", volume);
        return vol;
}

static void check_status(const struct script *sc, int status, const char *what)
{
        bool fair =
            status == 0 || (sc->history->faulty && status == -EIO) ||
            (sc->history->lost && (status == -EIO || status == -ENODEV || status == -EROFS));
        case_trace("%s ended with %d", what, status);
        if (!fair)
                case_fail("%s ended with %d (%s)", what, status, strerror(-status));
}

/* ---- I/O ---- */

static void clean_more(struct script *sc);

static void request_done(struct volume_io *io, int status)
{
        struct request *r = container_of(io, struct request, io);
        struct script *sc = r->script;
        check_status(sc, status, io->op == VOLUME_FLUSH ? "a flush" : "a write or discard");
        sc->busy[r->volume]--;
        if (io->op != VOLUME_FLUSH)
                history_written(sc->history, r->write, status == 0);
        else if (status == 0)
                history_flushed(sc->history, r->volume, r->start);
        if (r->cleaning)
                clean_more(sc);
        ended(sc);
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
        begun(sc);
        case_trace("volume %u: %s of blocks %u+%u%s%s", volume,
                   op == VOLUME_FLUSH   ? "flush"
                   : op == VOLUME_WRITE ? "write"
                                        : "discard",
                   first, n, fua ? ", fua" : "", cleaning ? ", for cleaning's sake" : "");
        volume_submit(handle(sc, volume), &r->io);
}

void script_write(struct script *sc, unsigned volume, uint32_t first, uint32_t n, bool fua)
{
        submit(sc, volume, VOLUME_WRITE, first, n, fua, false);
}

static bool op_write(struct script *sc)
{
        uint32_t n = MIN(2u, sc->base->hole_blocks - sc->cursor);
        submit(sc, MAIN, VOLUME_WRITE, sc->base->data_blocks + sc->cursor, n, false, false);
        sc->cursor = (sc->cursor + n) % sc->base->hole_blocks;
        return true;
}

static bool op_overwrite(struct script *sc)
{
        submit(sc, MAIN, VOLUME_WRITE, 0, 2, false, false);
        return true;
}

static bool op_fua(struct script *sc)
{
        submit(sc, MAIN, VOLUME_WRITE, 1, 1, true, false);
        return true;
}

static bool op_flush(struct script *sc)
{
        submit(sc, MAIN, VOLUME_FLUSH, 0, 0, false, false);
        return true;
}

static bool op_discard(struct script *sc)
{
        submit(sc, MAIN, VOLUME_DISCARD, 1, 3, false, false);
        return true;
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
        sc->cleaned = (uint32_t)moved_bytes(sc);
        sc->rounds = 0;
        clean_more(sc);
        return true;
}

/* ---- control ---- */

static void created(void *ctx, int status, struct volume *vol)
{
        struct script *sc = ctx;
        (void)vol;
        check_status(sc, status, "create");
        if (status == 0) {
                sc->controls = false;
                sc->history->volumes[MADE].exists = ++sc->history->now;
                script_write(sc, MADE, 1, 1, true);
        }
        ended(sc);
}

/* Makes volume 2, and writes a block of it. */
static bool op_create(struct script *sc)
{
        struct volume_history *v = &sc->history->volumes[MADE];
        uint8_t owner = 7;
        if (sc->controls || (v->created != TIME_NEVER && v->gone == TIME_NEVER))
                return false;
        for (uint32_t i = 0; i < sc->history->nwrites; i++)
                if (sc->history->writes[i].volume == MADE)
                        sc->history->writes[i].n = 0; /* of its earlier life */
        *v = (struct volume_history){.created = ++sc->history->now,
                                     .exists = TIME_NEVER,
                                     .deleting = TIME_NEVER,
                                     .gone = TIME_NEVER,
                                     .nblocks = {.value = 4, .start = TIME_NEVER},
                                     .owner = {.value = owner, .start = TIME_NEVER}};
        struct volume_spec spec = {.name = "made",
                                   .uuid = volume_uuid_of(MADE),
                                   .size_bytes = 4 * ZP_BLOCK,
                                   .owner = &owner,
                                   .owner_len = 1};
        sc->controls = true;
        begun(sc);
        volume_create(sc->stage->pool, &spec, sc, created);
        return true;
}

static void deleted(void *ctx, int status)
{
        struct script *sc = ctx;
        check_status(sc, status, "delete");
        if (status == 0) {
                sc->controls = false;
                for (unsigned i = 0; i < MAX_VOLUMES; i++)
                        if (sc->history->volumes[i].deleting != TIME_NEVER)
                                sc->history->volumes[i].gone = ++sc->history->now;
        }
        ended(sc);
}

/* Deletes the volume made last, but for the main one. */
static bool op_delete(struct script *sc)
{
        unsigned volume = MADE;
        while (volume && (sc->history->volumes[volume].exists == TIME_NEVER ||
                          sc->history->volumes[volume].gone != TIME_NEVER))
                volume--;
        if (volume == MAIN || sc->controls || sc->busy[volume] || sc->owning)
                return false;
        sc->history->volumes[volume].deleting = ++sc->history->now;
        sc->controls = true;
        begun(sc);
        volume_delete(handle(sc, volume), sc, deleted);
        return true;
}

static void resized(void *ctx, int status)
{
        struct script *sc = ctx;
        check_status(sc, status, "resize");
        if (status == 0) {
                struct pending *p = &sc->history->volumes[MAIN].nblocks;
                *p = (struct pending){.value = p->next, .start = TIME_NEVER};
                sc->resizing = false;
        }
        ended(sc);
}

static bool op_resize(struct script *sc)
{
        struct pending *p = &sc->history->volumes[MAIN].nblocks;
        if (sc->resizing)
                return false;
        p->next = p->value + 2;
        p->start = ++sc->history->now;
        sc->resizing = true;
        begun(sc);
        volume_resize(handle(sc, MAIN), (uint64_t)p->next * ZP_BLOCK, sc, resized);
        return true;
}

static void owner_set(void *ctx, int status)
{
        struct script *sc = ctx;
        check_status(sc, status, "set_owner");
        for (unsigned i = MAIN; status == 0 && i <= OTHER; i++) {
                struct pending *p = &sc->history->volumes[i].owner;
                if (p->start == TIME_NEVER)
                        continue;
                history_flushed(sc->history, i, p->start);
                *p = (struct pending){.value = p->next, .start = TIME_NEVER};
                sc->owning = false;
        }
        ended(sc);
}

/* One call for all volumes there were at the beginning. */
static bool op_owner(struct script *sc)
{
        struct volume_owner_update updates[2];
        uint8_t records[2];
        uint32_t n = 0, start = ++sc->history->now;
        if (sc->owning || sc->controls)
                return false;
        for (unsigned i = MAIN; i <= OTHER; i++) {
                struct volume_history *v = &sc->history->volumes[i];
                if (v->deleting != TIME_NEVER)
                        continue;
                v->owner.next = records[n] = (uint8_t)(v->owner.value + 1);
                v->owner.start = start;
                updates[n] = (struct volume_owner_update){
                    .vol = handle(sc, i), .record = &records[n], .len = 1};
                n++;
        }
        sc->owning = true;
        begun(sc);
        volume_set_owner(sc->stage->pool, updates, n, sc, owner_set);
        return true;
}

/* ---- the pool ---- */

struct checkpoint {
        struct script *script;
        uint32_t start;
};

static void checkpointed(void *ctx, int status)
{
        struct checkpoint *c = ctx;
        check_status(c->script, status, "checkpoint");
        if (status == 0)
                history_flushed(c->script->history, MAX_VOLUMES, c->start);
        ended(c->script);
        free(c);
}

static bool op_checkpoint(struct script *sc)
{
        struct checkpoint *c = malloc(sizeof(*c));
        if (!c)
                abort();
        *c = (struct checkpoint){sc, ++sc->history->now};
        begun(sc);
        pool_checkpoint(sc->stage->pool, c, checkpointed);
        return true;
}

/* The last device stops to answer, for good. */
static bool op_lose(struct script *sc)
{
        if (sc->history->lost)
                return false;
        sc->history->lost = sc->stage->faults_fair = true;
        sc->stage->disks[sc->stage->ndisks - 1]->lost = true;
        sc->stage->disks[sc->stage->ndisks - 1]->version++;
        return true;
}

/* The next flush, or write, of the first device fails, once. */
static bool op_fail_flush(struct script *sc)
{
        struct disk *d = sc->stage->disks[0];
        if (d->fail_flush)
                return false;
        d->fail_flush = sc->stage->faults_fair = sc->history->faulty = true;
        return true;
}

static bool op_fail_write(struct script *sc)
{
        struct disk *d = sc->stage->disks[0];
        if (d->fail_write)
                return false;
        d->fail_write = sc->stage->faults_fair = sc->history->faulty = true;
        return true;
}

static bool op_fail_root(struct script *sc)
{
        struct disk *d = sc->stage->disks[0];
        if (d->fail_root)
                return false;
        d->fail_root = sc->stage->faults_fair = sc->history->faulty = true;
        return true;
}

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
    {'R', "resize", op_resize},
    {'A', "owner", op_owner},
    {'K', "checkpoint", op_checkpoint},
    {'C', "clean", op_clean},
    {'G', "device loss", op_lose},
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
