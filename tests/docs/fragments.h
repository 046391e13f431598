/* What the shorter blocks of docs/tutorial.md take for granted: a communicator, buffers, something to compute. */
#ifndef TUTTI_TESTS_DOCS_FRAGMENTS_H
#define TUTTI_TESTS_DOCS_FRAGMENTS_H

#include <stdio.h>

#include "tutti/tutti.h"

extern tutti_comm* comm;
extern float gradients[1000], loss, losses[4];
extern size_t count;
void compute(void);

#endif
