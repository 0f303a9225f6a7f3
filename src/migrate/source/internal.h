/* What source.c (life, frames), map.c, log.c, finish.c (suspension, state) and send.c (chunks)
 * share. */
#ifndef ZONEPOOL_MIGRATE_SOURCE_INTERNAL_H
#define ZONEPOOL_MIGRATE_SOURCE_INTERNAL_H

#include "base/bitmap.h"
#include "migrate/internal.h"
#include "migrate/source/change_log.h"

enum { SOURCE_WINDOW = 16, SOURCE_STATE_BUF = 4096, SOURCE_MAP_BYTES = 65536 };

struct source_volume {
        struct source *s;
        struct migrate_volume *mv;
        uint32_t index;
        struct change_log log;
        bool log_running, log_started, log_stopped;
        struct bitmap dirty, sent;
        uint64_t cursor;
        bool mapping, mapped;
        uint8_t *map_buf; /* SOURCE_MAP_BYTES */
        struct engine_cmd map_cmd;
        bool suspending, suspended, drained;
        struct engine_cmd suspend_cmd;
        uint8_t state[PEER_STATE_MAX];
        uint16_t state_len;
        struct engine_cmd state_cmd;
        uint8_t state_buf[SOURCE_STATE_BUF];
};

struct chunk {
        struct list node;
        struct source *s;
        struct source_volume *v;
        uint64_t block;
        uint32_t nblocks;
        uint64_t seq; /* 0: still being read */
        struct peer *peer; /* it was read for */
        struct nvm_request req;
        uint8_t *buf;
};

struct source {
        struct migrate *m;
        struct list node;
        struct owner_group *g; /* NULL: being taken down */
        struct owner_token token;
        struct peer *peer; /* that pulls */
        struct uuid puller; /* its host, and which of its pulls */
        uint64_t session, delta_session; /* the last one that has been told of the delta */
        uint32_t nvolumes;
        struct source_volume *v;
        struct list chunks;
        uint32_t nchunks;
        uint64_t next_chunk;
        uint32_t turn; /* volume that sends next */
        uint64_t inflight_blocks;
        uint32_t commands; /* under way */
        uint64_t want_seq; /* 0: no delta asked for */
        bool states_read, reading_states;
        uint64_t moved_bytes, delta_bytes, suspend_ns, pause_ns;
        uint32_t passes;
        uint64_t pass_left;
        struct loop_timer tick;
        struct loop_defer kick;
};

/* source.c */
/* Gives the token up: the guest goes on here. */
void source_fail(struct source *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Frees what was stopped, once nothing of it is under way. */
void source_maybe_free(struct source *s);
/* Blocks that the target lacks, those in flight included. */
uint64_t source_remaining(const struct source *s);
bool source_all_mapped(const struct source *s);

/* Sends a command of volume index to the management controller; done comes later. */
void source_submit(struct source *s, struct engine_cmd *c, uint32_t index,
                   void (*done)(struct engine_cmd *));
void source_send_progress(struct source *s);

/* map.c */
/* Reads the map from slba on. One reading a volume at a time. */
void source_map(struct source_volume *v, uint64_t slba);

/* log.c */
/* Starts those logs that can be: the controller may still feed a former token's. */
void source_start_logs(struct source *s);
/* All that was sent is lacking. */
void source_mark_sent_dirty(struct source_volume *v);

/* finish.c */
/* Suspends the controllers whose logs run, once a delta is wanted. */
void source_maybe_suspend(struct source *s);
/* Everything up to the suspension is at the target. */
bool source_delta_complete(const struct source *s);
void source_read_states(struct source *s);
void source_send_delta(struct source *s);

/* send.c */
/* Reads and sends the next dirty run of the volume. False: there is none that may be sent now. */
bool source_send_chunk(struct source *s, struct source_volume *v);
void source_chunk_free(struct chunk *c);
/* The target did not get it: its blocks are dirty again. */
void source_chunk_again(struct chunk *c);

#endif
