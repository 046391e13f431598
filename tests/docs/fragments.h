/* What the shorter blocks of docs/tutorial.md take for granted: a communicator, a state, buffers, something to do. */
#ifndef TUTTI_TESTS_DOCS_FRAGMENTS_H
#define TUTTI_TESTS_DOCS_FRAGMENTS_H

#include <stdio.h>

#include "tutti/tutti.h"

extern tutti_comm* comm;
extern tutti_state* state;
extern float gradients[1000], loss, losses[4];
extern size_t count;
void compute(void);

#endif
