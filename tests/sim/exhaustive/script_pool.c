/* Operations on the pool, and what happens to devices, see script.h. */
#include "tests/sim/exhaustive/script_internal.h"

static void checkpointed(void *ctx, int status)
{
        struct control *c = ctx;
        script_check_status(c->script, status, "checkpoint");
        if (status == 0)
                history_flushed(c->script->history, MAX_VOLUMES, c->start);
        script_ended(c->script);
}

bool op_checkpoint(struct script *sc)
{
        pool_checkpoint(sc->stage->pool, script_control(sc, MAIN), checkpointed);
        return true;
}

/* The last device stops to answer, for good. */
bool op_lose(struct script *sc)
{
        if (sc->history->lost)
                return false;
        sc->history->lost = sc->stage->faults_fair = true;
        sc->stage->disks[sc->stage->ndisks - 1]->lost = true;
        sc->stage->disks[sc->stage->ndisks - 1]->version++;
        return true;
}

/* A zone of the last device goes bad by itself. */
static bool wear(struct script *sc, enum zdev_zone_state state)
{
        struct disk *d = sc->stage->disks[sc->stage->ndisks - 1];
        if (d->lost || d->worn || !disk_wear(d, state))
                return false;
        sc->stage->faults_fair = true;
        return true;
}

bool op_zone_readonly(struct script *sc)
{
        return wear(sc, ZDEV_ZONE_READONLY);
}

bool op_zone_offline(struct script *sc)
{
        return wear(sc, ZDEV_ZONE_OFFLINE);
}

/* Whatever the flag stands for fails, once; it is of the first device. */
static bool fail_next(struct script *sc, bool *flag)
{
        if (*flag)
                return false;
        *flag = sc->stage->faults_fair = sc->history->faulty = true;
        return true;
}

bool op_fail_flush(struct script *sc)
{
        return fail_next(sc, &sc->stage->disks[0]->fail_flush);
}

bool op_fail_write(struct script *sc)
{
        return fail_next(sc, &sc->stage->disks[0]->fail_write);
}

bool op_fail_root(struct script *sc)
{
        return fail_next(sc, &sc->stage->disks[0]->fail_root);
}
