/* Devices that were lost and come back while the pool is in use. */
#ifndef ZONEPOOL_TESTS_SIM_COMEBACK_H
#define ZONEPOOL_TESTS_SIM_COMEBACK_H

struct sim;

/* Gives one back, if it is time. */
void comeback_act(struct sim *sim);

#endif
