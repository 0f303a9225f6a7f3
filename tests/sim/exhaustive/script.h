/* The operations that sequences are made of, and the pools they begin with. */
#ifndef ZONEPOOL_TESTS_SIM_EXHAUSTIVE_SCRIPT_H
#define ZONEPOOL_TESTS_SIM_EXHAUSTIVE_SCRIPT_H

#include "tests/sim/exhaustive/history.h"
#include "tests/sim/exhaustive/stage.h"

enum { NO_WRITE = UINT32_MAX };
enum { MAX_OPS = 4, MAX_REQUESTS = 64, MAX_CONTROLS = 12, REQUEST_BLOCKS = 8 };

/* A pool at rest: every sequence of it begins with an import. */
struct base {
        const char *name;
        uint32_t ndisks;
        struct disk_spec specs[MAX_DISKS];
        uint8_t copies; /* of all volumes; 0: 1 */
        bool family; /* volume MAIN has a snapshot and a clone of it, both older than its data */
        uint32_t data_blocks; /* of volume MAIN, written when the base is made, */
        uint32_t hole_blocks; /* and behind them those that are not */
        unsigned rounds; /* of overwriting, so that there is something to clean */
        bool small_cache; /* of table pages: none stays in RAM that need not */
        bool ring_end; /* the label ring is about to change zones */
        const char *ops; /* letters of the operations that make sense with it */

        struct stage stage; /* made by base_make */
        struct history history;
};

extern struct base bases[];
extern const unsigned nbases;

void base_make(struct base *b);
void base_free(struct base *b);

struct script;

struct request {
        struct volume_io io;
        struct iovec iov;
        struct script *script;
        unsigned volume;
        uint32_t write; /* of the history */
        uint32_t start; /* FLUSH */
        bool cleaning; /* one of those that make the pool clean: others follow */
        bool promised; /* it may not wait for space; */
        bool ended;
        uint8_t buf[REQUEST_BLOCKS * ZP_BLOCK];
};

/* What is not I/O, from question to answer. */
struct control {
        struct script *script;
        unsigned volume;
        uint32_t start;
        uint32_t write; /* of the history; NO_WRITE: none */
};

struct script {
        struct stage *stage;
        struct history *history;
        const struct base *base;
        uint32_t outstanding;
        bool idle; /* nothing is */
        uint32_t cursor; /* of writes to holes */
        uint32_t busy[MAX_VOLUMES]; /* I/O in flight */
        uint32_t controlled[MAX_VOLUMES]; /* operations in flight that need it as it is */
        bool resizing, owning, cloning, reverting; /* MAIN, or a snapshot of it */
        uint32_t taking; /* snapshots of MAIN in flight */
        uint32_t ncontrols;
        struct control controls[MAX_CONTROLS];
        uint32_t cleaned, rounds; /* when a clean began; overwrites since */
        uint32_t nrequests;
        struct request *requests; /* MAX_REQUESTS */
};

/* The stage's pool is imported. */
void script_init(struct script *sc, struct stage *stage, struct history *h, const struct base *b);
void script_fini(struct script *sc);
/* Starts one operation. False: it makes no sense as things are, and so neither does the sequence.
 */
bool script_start(struct script *sc, char op);
const char *script_op_name(char op);
/* Until nothing is outstanding, or all of it waits for space. */
void script_wait(struct script *sc);
/* One write of n blocks from first on; for bases. */
void script_write(struct script *sc, unsigned volume, uint32_t first, uint32_t n, bool fua);

#endif
