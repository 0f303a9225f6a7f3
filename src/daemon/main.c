/* zonepoold: options, signals, exit code.
 *
 * Exit codes: 0 stopped in order; 1 could not start, or was stopped hard; 2 usage.
 */
#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/dpool.h"
#include "daemon/mount.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

enum { EXIT_USAGE = 2 };

struct options {
        const char *config, *rundir, *statedir, *logdir;
        bool foreground;
};

struct signals {
        struct loop_fd w;
        struct daemon *d;
};

static const char usage_text[] =
    "usage: zonepoold [options]\n"
    "\n"
    "Serves zonepool's pools to virtual machines. Does not fork: a service manager keeps it.\n"
    "\n"
    "  -c, --config FILE    settings (" CONFIG_PATH ")\n"
    "      --rundir DIR     sockets, lock, mount (" ZONEPOOL_RUNDIR ")\n"
    "      --statedir DIR   which pools to import, this host's identity (/var/lib/zonepool)\n"
    "      --logdir DIR     the event log (/var/log/zonepool)\n"
    "  -f, --foreground     log with time stamps, for a terminal\n"
    "      --help-config    print every setting, its meaning and default, and exit\n"
    "  -V, --version        print the version and exit\n"
    "  -h, --help           print this and exit\n"
    "\n"
    "Options win over settings. SIGTERM stops in order, a second one at once. See zonepoold(8).\n";

/* Returns -1 to go on, or an exit code. */
static int parse_options(int argc, char **argv, struct options *o)
{
        enum { RUNDIR = 256, STATEDIR, LOGDIR, HELP_CONFIG };
        static const struct option longs[] = {
            {"config", required_argument, NULL, 'c'},
            {"rundir", required_argument, NULL, RUNDIR},
            {"statedir", required_argument, NULL, STATEDIR},
            {"logdir", required_argument, NULL, LOGDIR},
            {"foreground", no_argument, NULL, 'f'},
            {"help-config", no_argument, NULL, HELP_CONFIG},
            {"version", no_argument, NULL, 'V'},
            {"help", no_argument, NULL, 'h'},
            {NULL, 0, NULL, 0},
        };
        int opt;

        while ((opt = getopt_long(argc, argv, "c:fVh", longs, NULL)) != -1) {
                switch (opt) {
                case 'c':
                        o->config = optarg;
                        break;
                case RUNDIR:
                        o->rundir = optarg;
                        break;
                case STATEDIR:
                        o->statedir = optarg;
                        break;
                case LOGDIR:
                        o->logdir = optarg;
                        break;
                case 'f':
                        o->foreground = true;
                        break;
                case HELP_CONFIG:
                        config_describe(stdout);
                        return 0;
                case 'V':
                        printf("zonepoold %s\n", ZONEPOOL_VERSION);
                        return 0;
                case 'h':
                        fputs(usage_text, stdout);
                        return 0;
                default:
                        fputs("Try 'zonepoold --help'.\n", stderr);
                        return EXIT_USAGE;
                }
        }
        if (optind < argc) {
                fprintf(stderr, "zonepoold: unexpected argument '%s'\n", argv[optind]);
                return EXIT_USAGE;
        }
        return -1;
}

static int override_path(char **setting, const char *option, const char *value, struct err *err)
{
        if (!value)
                return 0;
        if (value[0] != '/')
                return err_set(err, EINVAL, "%s must be an absolute path", option);
        return config_set_text(setting, value) < 0 ? err_set(err, ENOMEM, "out of memory") : 0;
}

static int load_settings(const struct options *o, struct config *c, struct err *err)
{
        int rc = config_init(c) < 0 ? err_set(err, ENOMEM, "out of memory") : 0;

        if (rc == 0)
                rc = config_load(c, o->config ? o->config : CONFIG_PATH, o->config != NULL, err);
        if (rc == 0)
                rc = override_path(&c->rundir, "--rundir", o->rundir, err);
        if (rc == 0)
                rc = override_path(&c->statedir, "--statedir", o->statedir, err);
        if (rc == 0)
                rc = override_path(&c->logdir, "--logdir", o->logdir, err);
        return rc;
}

static void signal_ready(struct loop_fd *w, uint32_t events)
{
        struct signals *s = container_of(w, struct signals, w);
        struct signalfd_siginfo info;

        while (read(w->fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
                daemon_stop(s->d);
}

/* Before anything starts a thread: they all inherit the mask. */
static int block_signals(sigset_t *ret_set)
{
        signal(SIGPIPE, SIG_IGN);
        signal(SIGHUP, SIG_IGN); /* a closed terminal does not stop disks */
        sigemptyset(ret_set);
        sigaddset(ret_set, SIGTERM);
        sigaddset(ret_set, SIGINT);
        return sigprocmask(SIG_BLOCK, ret_set, NULL);
}

/* A volume takes a few descriptors, a device some more. */
static void raise_limits(void)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                        log_warn("daemon", "cannot raise the limit of open files: %s",
                                 strerror(errno));
        }
}

static int run(struct daemon *d, struct config *cfg, const sigset_t *set, struct err *err)
{
        struct signals sig = {.d = d};
        int rc = daemon_start(d, cfg, err);

        if (rc < 0)
                return rc;
        sig.w.fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
        sig.w.ready = signal_ready;
        if (sig.w.fd < 0 || loop_fd_add(d->loop, &sig.w, EPOLLIN) < 0)
                return err_set_sys(err, errno, "cannot watch for signals");
        rc = loop_run(d->loop);
        loop_fd_del(&sig.w);
        close(sig.w.fd);
        return rc < 0 ? err_set_sys(err, -rc, "the event loop failed") : 0;
}

int main(int argc, char **argv)
{
        static struct daemon d;
        struct options options = {0};
        struct config cfg;
        struct err err = ERR_INIT;
        sigset_t set;

        int code = parse_options(argc, argv, &options);
        if (code >= 0)
                return code;
        umask(022);
        log_set_stamps(options.foreground);
        int rc = load_settings(&options, &cfg, &err);
        if (rc == 0 && block_signals(&set) < 0)
                rc = err_set_sys(&err, errno, "cannot block signals");
        if (rc == 0) {
                log_set_level(cfg.log_level);
                raise_limits();
                rc = run(&d, &cfg, &set, &err);
        } else {
                config_fini(&cfg);
        }
        if (rc < 0)
                log_error("daemon", "%s", err_text(&err, rc));
        if (d.loop && !d.clean && !list_empty(&d.pools)) {
                /* Requests are in flight into this process's memory: leave it as a kill would. */
                mount_drop(&d);
                _exit(1);
        }
        if (d.loop)
                daemon_fini(&d);
        return rc < 0 ? 1 : d.exit_code;
}
