// The one place that includes libfuse, so that the API version is the same everywhere.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
