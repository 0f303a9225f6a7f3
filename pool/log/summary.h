/* The summary of a sealed group. */
#ifndef ZONEPOOL_POOL_LOG_SUMMARY_H
#define ZONEPOOL_POOL_LOG_SUMMARY_H

#include "pool/log/header.h"
#include "pool/pdev.h"

struct pool;
struct group;

struct summary_read {
        struct pool *pool;
        struct group *group; /* written to its last block */
        unsigned member; /* of it, to be read */
        struct header h;
        uint8_t *buf; /* status 1: all its blocks; the caller's to free */
        uint32_t blocks, got;
        struct pio pio;
        /* status: 1 there is one, in h and buf; 0 none that verifies; -EIO, -ENOMEM. */
        void (*done)(struct summary_read *s, int status);
        void *ctx;
};
void summary_read_start(struct summary_read *s);

#endif
