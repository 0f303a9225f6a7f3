/* Snapshots and clones, see script.h. */
#include "tests/sim/exhaustive/script_internal.h"

#include "base/cleanup.h"
#include "tests/sim/exhaustive/case.h"

static const char *const names[MAX_VOLUMES] = {
    [CLONE] = "clone", [SNAPSHOT] = "before", [SNAPSHOT_2] = "later"};

static void taken(void *ctx, int status, struct volume *snap)
{
        struct control *c = ctx;
        struct script *sc = c->script;
        (void)snap;
        sc->taking--;
        if (script_is_refused(sc, status, "snapshot"))
                sc->history->volumes[c->volume].gone = ++sc->history->now;
        else
                script_check_creation(sc, status, "snapshot");
        if (status == 0)
                history_began(sc->history, c->volume);
        script_ended(sc);
}

/* Of volume MAIN. */
bool op_snapshot(struct script *sc)
{
        unsigned snap = script_is_unused(sc, SNAPSHOT) ? SNAPSHOT : SNAPSHOT_2;
        if (!script_is_unused(sc, snap) || sc->reverting)
                return false;
        history_begin(sc->history, snap, MAIN, true);
        sc->taking++;
        struct snapshot_spec spec = {.name = names[snap], .uuid = volume_uuid_of(snap)};
        snapshot_create(script_handle(sc, MAIN), &spec, script_control(sc, snap), taken);
        return true;
}

static void cloned(void *ctx, int status, struct volume *vol)
{
        struct control *c = ctx;
        struct script *sc = c->script;
        (void)vol;
        bool refused = script_is_refused(sc, status, "clone");
        if (!refused)
                script_check_creation(sc, status, "clone");
        if (status == 0 || refused) {
                sc->cloning = false;
                sc->controlled[sc->history->volumes[CLONE].from]--;
        }
        if (refused)
                sc->history->volumes[CLONE].gone = ++sc->history->now;
        if (status == 0) {
                history_began(sc->history, CLONE);
                script_write(sc, CLONE, 2, 1, true);
        }
        script_ended(sc);
}

/* The snapshot taken last, or first, of those that can be used; MAIN: there is none. */
static unsigned usable_snapshot(const struct script *sc, bool last)
{
        const struct volume_history *v = sc->history->volumes;
        bool first = script_is_free(sc, SNAPSHOT), second = script_is_free(sc, SNAPSHOT_2);
        if (!first || !second)
                return first ? SNAPSHOT : second ? SNAPSHOT_2 : MAIN;
        return (v[SNAPSHOT].created < v[SNAPSHOT_2].created) == last ? SNAPSHOT_2 : SNAPSHOT;
}

/* Clones the last snapshot, or, where there is none, volume MAIN, and writes a block of the clone.
 */
bool op_clone(struct script *sc)
{
        unsigned from = usable_snapshot(sc, true);
        uint8_t owner = 9;
        if (!script_is_unused(sc, CLONE) || sc->reverting || (from == MAIN && sc->resizing))
                return false;
        history_begin(sc->history, CLONE, from, false);
        sc->history->volumes[CLONE].owner.value = owner;
        sc->cloning = true;
        sc->controlled[from]++;
        struct volume_spec spec = {
            .name = names[CLONE], .uuid = volume_uuid_of(CLONE), .owner = &owner, .owner_len = 1};
        volume_clone(script_handle(sc, from), &spec, script_control(sc, CLONE), cloned);
        return true;
}

/* Deletes the oldest snapshot, whatever stands above it. */
bool op_delete_parent(struct script *sc)
{
        unsigned snap = usable_snapshot(sc, false);
        if (snap == MAIN)
                return false;
        script_delete(sc, snap);
        return true;
}

static void reverted(void *ctx, int status)
{
        struct control *c = ctx;
        struct script *sc = c->script;
        bool refused = script_is_refused(sc, status, "revert");
        if (!refused)
                script_check_status(sc, status, "revert");
        if (status == 0 || refused) {
                sc->reverting = false;
                sc->controlled[c->volume]--;
                history_reverted(sc->history, !refused);
        }
        script_ended(sc);
}

/* Volume MAIN goes back to the last snapshot. */
bool op_revert(struct script *sc)
{
        unsigned snap = usable_snapshot(sc, true);
        if (snap == MAIN || sc->busy[MAIN] || sc->resizing || sc->taking || sc->reverting ||
            sc->controlled[MAIN] || sc->owning ||
            sc->history->volumes[MAIN].reserved.start != TIME_NEVER)
                return false;
        history_revert(sc->history, snap);
        sc->reverting = true;
        sc->controlled[snap]++;
        volume_revert(script_handle(sc, MAIN), script_handle(sc, snap), script_control(sc, snap),
                      reverted);
        return true;
}
