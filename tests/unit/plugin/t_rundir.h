/* A run directory for one test program, shown to the code under test by ZONEPOOL_RUNDIR. */
#ifndef ZONEPOOL_TESTS_UNIT_PLUGIN_T_RUNDIR_H
#define ZONEPOOL_TESTS_UNIT_PLUGIN_T_RUNDIR_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define T_UUID "11111111-2222-4333-8444-555555555555"

static char t_rundir[] = "/tmp/zonepool-test-XXXXXX";

static inline void t_rundir_make(void)
{
        char path[128];

        if (!mkdtemp(t_rundir) || setenv("ZONEPOOL_RUNDIR", t_rundir, 1) < 0)
                abort();
        snprintf(path, sizeof(path), "%s/domains", t_rundir);
        if (mkdir(path, 0755) < 0)
                abort();
}

static inline const char *t_domain_file(void)
{
        static char path[128];

        snprintf(path, sizeof(path), "%s/domains/" T_UUID, t_rundir);
        return path;
}

static inline void t_domain_file_write(void)
{
        FILE *f = fopen(t_domain_file(), "w");

        if (!f || fputs("tank/v1\n", f) < 0 || fclose(f) != 0)
                abort();
}

static inline void t_rundir_remove(void)
{
        char path[128];

        unlink(t_domain_file());
        snprintf(path, sizeof(path), "%s/domains", t_rundir);
        rmdir(path);
        rmdir(t_rundir);
}

#endif
