/* The change log of a controller: a bitmap behind its data queue.
 *
 * A change sets bits; ranges of set bits move into the queue as it has room. A slow reader
 * therefore costs merging, not loss, and the queue never overflows. What is owed is posted in one
 * order:
 *
 *   "first" mark, ranges, "stopped" mark, "suspended" mark
 *
 * so that every change made before a stop or a suspension stands in the queue before its mark.
 *
 * Invariants: ranges and the "first" mark leave one slot free, which belongs to the marks that end
 * (stopped, suspended, full). A bit is cleared when its range is posted, and a change that
 * completes later sets it again: the reader that reads the block after it saw the entry misses
 * nothing. Entries say "modified", never "deallocated": of two overlapping requests the one that
 * completed last is not known to be the one that took effect last.
 *
 * Only when the bitmap cannot grow with its volume, or when a queue is deleted by a suspension
 * with more owed than fits, is the "full" mark posted, with every block named as changed.
 */
#include "internal.h"
#include "nvme/udmq.h"

/* Blocks of one bit of the summary, so that few changes are found quickly in a large volume. */
enum { CHUNK = 32768 };

static void pump_deferred(struct loop_defer *d)
{
        nvm_log_pump(container_of(d, struct nvm_controller, log.pump));
}

void nvm_log_init(struct nvm_controller *c)
{
        c->log.pump.call = pump_deferred;
}

static void forget_changes(struct nvm_log *log)
{
        bitmap_fini(&log->changed);
        bitmap_fini(&log->chunks);
        log->changed = (struct bitmap){0};
        log->chunks = (struct bitmap){0};
        log->cursor = 0;
}

void nvm_log_fini(struct nvm_controller *c)
{
        loop_defer_cancel(&c->log.pump);
        forget_changes(&c->log);
}

/* ---- changes ---- */

static int grow(struct bitmap *bm, uint64_t nbits)
{
        return bm->words ? bitmap_resize(bm, nbits) : bitmap_init(bm, nbits);
}

static int cover(struct nvm_log *log, uint64_t nblocks)
{
        if (nblocks <= log->changed.nbits)
                return 0;
        int rc = grow(&log->chunks, DIV_ROUND_UP(nblocks, CHUNK));
        return rc ? rc : grow(&log->changed, nblocks);
}

void nvm_log_change(struct nvm_controller *c, uint64_t offset_bytes, uint64_t length_bytes)
{
        struct nvm_log *log = &c->log;
        uint64_t first = offset_bytes / NVM_BLOCK, end;

        /* The backing has refused a range that wraps; it has changed nothing. */
        if (!log->on || !length_bytes || __builtin_add_overflow(offset_bytes, length_bytes, &end))
                return;
        end = (end - 1) / NVM_BLOCK + 1;
        end = MIN(end, nvm_nsze(c));
        if (first >= end)
                return;
        if (cover(log, end) < 0) {
                log->on = false;
                log->lost = true;
        } else {
                bitmap_set_range(&log->changed, first, end - first);
                bitmap_set_range(&log->chunks, first / CHUNK,
                                 (end - 1) / CHUNK - first / CHUNK + 1);
        }
        loop_defer(c->s->loop, &log->pump);
}

/* Takes the next run of changed blocks, never across chunks. False: there is none. */
static bool take_range(struct nvm_log *log, uint64_t *ret_first, uint64_t *ret_n)
{
        while (log->chunks.nset) {
                uint64_t chunk = bitmap_next_set(&log->chunks, log->cursor);
                if (chunk >= log->chunks.nbits) {
                        log->cursor = 0;
                        continue;
                }
                uint64_t end = MIN((chunk + 1) * CHUNK, log->changed.nbits);
                uint64_t first = bitmap_next_set(&log->changed, chunk * CHUNK);
                log->cursor = chunk;
                if (first < end) {
                        uint64_t n = MIN(bitmap_next_clear(&log->changed, first), end) - first;
                        bitmap_clear_range(&log->changed, first, n);
                        *ret_first = first;
                        *ret_n = n;
                        return true;
                }
                bitmap_clear_range(&log->chunks, chunk, 1);
                log->cursor = chunk + 1;
        }
        return false;
}

/* ---- posting ---- */

static void post_mark(struct nvm_controller *c, enum udmq_mark mark, enum udmq_range_kind kind)
{
        struct udmq_entry e = {.nsid = c->nsid, .mark = mark, .kind = kind};
        nvm_cdq_post(c->cdq, &e);
}

static void post_full(struct nvm_controller *c)
{
        c->log.on = false;
        c->log.lost = false;
        c->log.first_due = false;
        forget_changes(&c->log);
        post_mark(c, UDMQ_FULL, UDMQ_ALL_BLOCKS);
        nvm_cdq_raise_full(c->cdq);
}

/* Posts the one entry that is due next. False: nothing is due, or it has to wait for room. */
static bool post_next(struct nvm_controller *c)
{
        struct nvm_log *log = &c->log;
        uint32_t room = nvm_cdq_room(c->cdq);
        struct udmq_entry e = {.nsid = c->nsid};

        if (room == 0)
                return false;
        if (log->lost) {
                post_full(c);
                return true;
        }
        if (log->first_due || log->changed.nset) {
                if (room < 2)
                        return false;
                if (log->first_due) {
                        log->first_due = false;
                        post_mark(c, UDMQ_FIRST, UDMQ_NO_RANGE);
                        return true;
                }
                if (take_range(log, &e.slba, &e.nblocks))
                        nvm_cdq_post(c->cdq, &e);
                return true;
        }
        if (log->stop_due) {
                log->stop_due = false;
                forget_changes(log);
                post_mark(c, UDMQ_STOPPED, UDMQ_NO_RANGE);
                return true;
        }
        if (log->suspended_due) {
                log->suspended_due = false;
                post_mark(c, UDMQ_SUSPENDED, UDMQ_NO_RANGE);
                return true;
        }
        return false;
}

void nvm_log_pump(struct nvm_controller *c)
{
        while (c->cdq && post_next(c))
                ;
}

/* ---- what the commands do ---- */

uint16_t nvm_log_start(struct nvm_controller *c)
{
        struct nvm_log *log = &c->log;

        if (log->on)
                return NVME_SC_INVALID_CDQ;
        nvm_log_pump(c);
        if (log->stop_due || log->lost || nvm_cdq_room(c->cdq) < 2)
                return NVME_SC_CDQ_FULL;
        if (cover(log, nvm_nsze(c)) < 0) {
                forget_changes(log);
                return NVME_SC_INTERNAL;
        }
        log->on = true;
        log->first_due = true;
        nvm_cdq_drop_full(c->cdq);
        nvm_log_pump(c);
        return NVME_SC_SUCCESS;
}

void nvm_log_stop(struct nvm_controller *c)
{
        if (!c->log.on)
                return;
        c->log.on = false;
        c->log.stop_due = true;
        nvm_cdq_drop_full(c->cdq);
        nvm_log_pump(c);
}

void nvm_log_suspended(struct nvm_controller *c)
{
        if (!c->cdq)
                return;
        c->log.suspended_due = true;
        nvm_log_pump(c);
}

void nvm_log_resumed(struct nvm_controller *c)
{
        if (!c->cdq)
                return;
        /* A mark that the reader left no room for is void: the controller runs again. */
        c->log.suspended_due = false;
        c->log.first_due |= c->log.on;
        nvm_log_pump(c);
}

bool nvm_log_owes(const struct nvm_controller *c)
{
        const struct nvm_log *log = &c->log;
        return log->lost || log->first_due || log->changed.nset || log->stop_due ||
               log->suspended_due;
}

void nvm_log_finish(struct nvm_controller *c)
{
        nvm_log_pump(c);
        if (nvm_log_owes(c) && nvm_cdq_room(c->cdq))
                post_full(c);
}

void nvm_log_drop(struct nvm_controller *c)
{
        struct nvm_log *log = &c->log;
        loop_defer_cancel(&log->pump);
        log->on = log->lost = log->first_due = log->stop_due = log->suspended_due = false;
        forget_changes(log);
}
