/* Between the parts of script.c. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_SCRIPT_INTERNAL_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_SCRIPT_INTERNAL_H

#include "tests/sim/exhaustive/script.h"

/* An operation is outstanding, and has been answered. */
void script_begun(struct script *sc);
void script_ended(struct script *sc);
/* Fails the case unless the status is one that such an operation may end with. */
void script_check_status(const struct script *sc, int status, const char *what);
/* The same where a device that is gone may leave too few for its copies. */
void script_check_creation(const struct script *sc, int status, const char *what);
struct volume *script_handle(struct script *sc, unsigned volume);
/* One more of these for an operation on `volume`, which has begun with it. */
struct control *script_control(struct script *sc, unsigned volume);

/* script_control.c */
bool op_create(struct script *sc);
bool op_delete(struct script *sc);
bool op_owner(struct script *sc);
/* script_size.c */
bool op_resize(struct script *sc);
bool op_shrink(struct script *sc);
bool op_reserve(struct script *sc);
/* script_snapshot.c */
bool op_snapshot(struct script *sc);
bool op_clone(struct script *sc);
bool op_delete_parent(struct script *sc);
bool op_revert(struct script *sc);
/* script_pool.c */
bool op_checkpoint(struct script *sc);
bool op_lose(struct script *sc);
bool op_zone_readonly(struct script *sc);
bool op_zone_offline(struct script *sc);
bool op_fail_flush(struct script *sc);
bool op_fail_write(struct script *sc);
bool op_fail_root(struct script *sc);

/* MAIN has, and will have, blocks up to that one. */
bool script_fits(const struct script *sc, uint32_t end);
/* All of the volume is reserved: what is written now does not wait for space. */
bool script_is_promised(const struct script *sc, unsigned volume);
/* It has no room, and that may be so for what is reserved: it did not take place. */
bool script_is_refused(const struct script *sc, int status, const char *what);
/* Whether the volume or snapshot is there and nothing is under way that concerns it as a whole. */
bool script_is_free(const struct script *sc, unsigned volume);
/* Whether nothing has, or is about to take, its name. */
bool script_is_unused(const struct script *sc, unsigned volume);
void script_delete(struct script *sc, unsigned volume);

#endif
