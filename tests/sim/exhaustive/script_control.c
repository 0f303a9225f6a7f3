/* Volumes are made, deleted and change hands, see script.h. */
#include "tests/sim/exhaustive/script_internal.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"

struct control *script_control(struct script *sc, unsigned volume)
{
        if (sc->ncontrols == MAX_CONTROLS)
                case_fail("the sequence is too long for this test");
        struct control *c = &sc->controls[sc->ncontrols++];
        *c = (struct control){
            .script = sc, .volume = volume, .start = ++sc->history->now, .write = NO_WRITE};
        script_begun(sc);
        return c;
}

bool script_is_free(const struct script *sc, unsigned volume)
{
        const struct volume_history *v = &sc->history->volumes[volume];
        return v->exists != TIME_NEVER && v->deleting == TIME_NEVER && !sc->controlled[volume];
}

bool script_is_unused(const struct script *sc, unsigned volume)
{
        const struct volume_history *v = &sc->history->volumes[volume];
        return v->created == TIME_NEVER || v->gone != TIME_NEVER;
}

/* ---- create, delete ---- */

static void created(void *ctx, int status, struct volume *vol)
{
        struct control *c = ctx;
        struct script *sc = c->script;
        (void)vol;
        script_check_creation(sc, status, "create");
        if (status == 0) {
                history_began(sc->history, MADE);
                script_write(sc, MADE, 1, 1, true);
        }
        script_ended(sc);
}

/* Makes a volume, and writes a block of it. */
bool op_create(struct script *sc)
{
        struct volume_history *v = &sc->history->volumes[MADE];
        uint8_t owner = 7;
        if (!script_is_unused(sc, MADE))
                return false;
        history_begin(sc->history, MADE, MAX_VOLUMES, false);
        v->nblocks.value = 4;
        v->owner.value = owner;
        v->copies = sc->base->copies;
        struct volume_spec spec = {.name = "made",
                                   .uuid = volume_uuid_of(MADE),
                                   .size_bytes = 4 * ZP_BLOCK,
                                   .owner = &owner,
                                   .owner_len = 1,
                                   .copies = sc->base->copies};
        volume_create(sc->stage->pool, &spec, script_control(sc, MADE), created);
        return true;
}

static void deleted(void *ctx, int status)
{
        struct control *c = ctx;
        struct script *sc = c->script;
        script_check_status(sc, status, "delete");
        if (status == 0)
                sc->history->volumes[c->volume].gone = ++sc->history->now;
        script_ended(sc);
}

void script_delete(struct script *sc, unsigned volume)
{
        struct control *c = script_control(sc, volume);
        sc->history->volumes[volume].deleting = c->start;
        case_trace("volume %u goes", volume);
        if (sc->history->volumes[volume].frozen)
                snapshot_delete(script_handle(sc, volume), c, deleted);
        else
                volume_delete(script_handle(sc, volume), c, deleted);
}

/* Deletes the volume or snapshot made last, but for the main one. */
bool op_delete(struct script *sc)
{
        const struct volume_history *v = sc->history->volumes;
        unsigned volume = MAIN;
        for (unsigned i = OTHER; i < MAX_VOLUMES; i++)
                if (script_is_free(sc, i) && !sc->busy[i] && v[i].owner.start == TIME_NEVER &&
                    (volume == MAIN || v[i].created > v[volume].created))
                        volume = i;
        if (volume == MAIN)
                return false;
        script_delete(sc, volume);
        return true;
}

/* ---- owner ---- */

static void owner_set(void *ctx, int status)
{
        struct control *c = ctx;
        struct script *sc = c->script;
        script_check_status(sc, status, "set_owner");
        for (unsigned i = MAIN; status == 0 && i <= OTHER; i++) {
                struct pending *p = &sc->history->volumes[i].owner;
                if (p->start == TIME_NEVER)
                        continue;
                history_flushed(sc->history, i, p->start);
                *p = (struct pending){.value = p->next, .start = TIME_NEVER};
                sc->owning = false;
        }
        script_ended(sc);
}

/* One call for all volumes there were at the beginning. */
bool op_owner(struct script *sc)
{
        struct volume_owner_update updates[2];
        uint8_t records[2];
        uint32_t n = 0;
        if (sc->owning || sc->reverting)
                return false;
        struct control *c = script_control(sc, MAIN);
        for (unsigned i = MAIN; i <= OTHER; i++) {
                struct volume_history *v = &sc->history->volumes[i];
                if (v->deleting != TIME_NEVER)
                        continue;
                v->owner.next = records[n] = (uint8_t)(v->owner.value + 1);
                v->owner.start = c->start;
                updates[n] = (struct volume_owner_update){
                    .vol = script_handle(sc, i), .record = &records[n], .len = 1};
                n++;
        }
        sc->owning = true;
        volume_set_owner(sc->stage->pool, updates, n, c, owner_set);
        return true;
}
