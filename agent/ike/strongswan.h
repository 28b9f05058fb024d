/*
 * The only door to strongSwan's headers: first the defines that decide their layouts, then the headers, then proof.
 *
 * strongSwan's own build makes config.h; Debian ships neither it nor the headers. These are the values of Debian's
 * builds as far as a public header looks at them. ME (mediation) adds members to daemon_t, peer_cfg_t and ike_sa_t.
 *
 * The headers are upstream's; Debian's security updates patch some (6.0.1-6+deb13u3: builder_part_t, see
 * credentials.c). Whoever uses one more type of theirs looks for it in debian/patches first.
 */
#pragma once

#define CONFIG_H_INCLUDED
#define ME 1
#define HAVE_PRINTF_SPECIFIER 1
#define HAVE_STDBOOL_H 1
#define HAVE__BOOL 1
#define HAVE_ALLOCA_H 1
#define HAVE_SYS_PARAM_H 1
#define HAVE_INT128 1
#define HAVE_EXPLICIT_BZERO 1
#define HAVE_MEMRCHR 1
#define HAVE_FMEMOPEN 1
#define HAVE_CLOCK_GETTIME 1
#define HAVE_CONDATTR_CLOCK_MONOTONIC 1
#define HAVE_SIGWAITINFO 1
#define HAVE_CLOSEFROM 1

#include <library.h>

#include <daemon.h>

#include <bus/listeners/listener.h>
#include <bus/listeners/logger.h>
#include <config/backend.h>
#include <credentials/auth_cfg.h>
#include <credentials/sets/mem_cred.h>
#include <encoding/message.h>
#include <encoding/payloads/notify_payload.h>
#include <kernel/kernel_ipsec.h>
#include <networking/tun_device.h>
#include <processing/jobs/callback_job.h>
#include <processing/jobs/rekey_child_sa_job.h>
#include <threading/mutex.h>
#include <threading/rwlock.h>

/* STRONGSWAN_NUMBER (50908 for 5.9.8) and STRONGSWAN_VERSION come from the headers' configure.ac by way of CMake. */
#if STRONGSWAN_NUMBER < 50908 || STRONGSWAN_NUMBER > 60099
#error "penstock-ike knows strongSwan 5.9.8 to 6.0.x"
#endif

#if STRONGSWAN_NUMBER >= 60000
#define CONTROLLER_LEVEL LEVEL_CTRL, /* controller calls gained a log level */
#else
#define CONTROLLER_LEVEL
#endif

/* Measured in Debian's binaries (64 bit). A wrong define or a new release moves these. */
_Static_assert(sizeof(void*) == 8, "offsets below are of 64-bit builds");
_Static_assert(offsetof(daemon_t, bus) == 0x58, "daemon_t");
_Static_assert(offsetof(daemon_t, initialize) == 0x88, "daemon_t: is ME defined?");
_Static_assert(sizeof(bool) == 1, "strongSwan's bool is _Bool");
