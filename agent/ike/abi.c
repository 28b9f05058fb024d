/* Reads the exported symbol names of the two libraries from their ELF tables, and compares two lists of them. */
#include "agent/ike/abi.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>

struct exports {
    uint32_t* hashes;
    size_t count;
    unsigned libraries;
};

static uint32_t hash_name(const char* name) { /* FNV-1a */
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

static void add(struct exports* exports, const char* name) {
    if (exports->count % 1024 == 0) {
        uint32_t* larger = realloc(exports->hashes, (exports->count + 1024) * sizeof(*larger));
        if (!larger)
            abort();
        exports->hashes = larger;
    }
    exports->hashes[exports->count++] = hash_name(name);
}

/* DT_GNU_HASH lists exactly the exported symbols: buckets of chains, a chain ends with the low bit set. */
static void add_exports(struct exports* exports, const uint32_t* table, const ElfW(Sym) * symbols,
                        const char* strings) {
    uint32_t bucket_count = table[0], first = table[1], bloom_words = table[2];
    const uint32_t* buckets = &table[4 + bloom_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t))];
    const uint32_t* chains = buckets + bucket_count;
    for (uint32_t b = 0; b < bucket_count; b++) {
        if (buckets[b] < first)
            continue;
        for (uint32_t i = buckets[b];; i++) {
            add(exports, strings + symbols[i].st_name);
            if (chains[i - first] & 1)
                break;
        }
    }
}

static int visit(struct dl_phdr_info* info, size_t size, void* data) {
    struct exports* exports = data;
    const ElfW(Dyn)* dynamic = NULL;
    const ElfW(Sym)* symbols = NULL;
    const char* strings = NULL;
    const uint32_t* hashes = NULL;
    if (!strstr(info->dlpi_name, "/libcharon.so.0") && !strstr(info->dlpi_name, "/libstrongswan.so.0"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            dynamic = (const ElfW(Dyn)*)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB)
            symbols = (const ElfW(Sym)*)dynamic->d_un.d_ptr;
        else if (dynamic->d_tag == DT_STRTAB)
            strings = (const char*)dynamic->d_un.d_ptr;
        else if (dynamic->d_tag == DT_GNU_HASH)
            hashes = (const uint32_t*)dynamic->d_un.d_ptr;
    }
    if (!symbols || !strings || !hashes)
        return 0;
    add_exports(exports, hashes, symbols, strings);
    exports->libraries++;
    return 0;
}

static int compare(const void* a, const void* b) {
    uint32_t left = *(const uint32_t*)a, right = *(const uint32_t*)b;
    return left < right ? -1 : left > right;
}

uint32_t* strongswan_exports(size_t* count) {
    struct exports exports = {};
    dl_iterate_phdr(visit, &exports);
    if (exports.libraries != 2) {
        free(exports.hashes);
        return NULL;
    }
    qsort(exports.hashes, exports.count, sizeof(*exports.hashes), compare);
    *count = exports.count;
    return exports.hashes;
}

int strongswan_matches(const uint32_t* built, size_t built_count) {
    size_t count, i = 0, missing = 0, added = 0;
    uint32_t* now = strongswan_exports(&count);
    if (!now)
        return 0;
    for (size_t b = 0; b < built_count; b++) {
        for (; i < count && now[i] < built[b]; i++)
            added++;
        if (i < count && now[i] == built[b])
            i++;
        else
            missing++;
    }
    added += count - i;
    free(now);
    return missing == 0 && added <= kMaxAddedExports;
}
