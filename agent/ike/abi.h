/*
 * Tells whether the loaded strongSwan is the one we were built for: its libraries carry no version, and layouts change
 * under one SONAME. What they do carry is the list of functions they export.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Hashes of the names that libcharon and libstrongswan export in this process, sorted; the caller frees. NULL if one of
 * them is not loaded. */
uint32_t* strongswan_exports(size_t* count);

/* A security update keeps every function and may add a few; another release removes some and adds dozens. */
enum { kMaxAddedExports = 8 };
int strongswan_matches(const uint32_t* built, size_t built_count);
