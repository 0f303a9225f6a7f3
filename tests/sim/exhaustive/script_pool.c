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
