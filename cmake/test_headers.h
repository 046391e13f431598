// What most tests include: precompiled (tutti.cmake). No file relies on it.
#pragma once

#include <gtest/gtest.h>

#include "cmake/library_headers.h"
