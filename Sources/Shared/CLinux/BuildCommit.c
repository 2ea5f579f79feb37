// The one file that is compiled again when the commit changes: Package.swift defines PT_COMMIT from git.
#include "CLinux.h"

#ifndef PT_COMMIT
#define PT_COMMIT "unknown"
#endif

const char *clinux_build_commit(void) { return PT_COMMIT; }
