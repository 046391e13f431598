/* The header needs no other before it, and may be included twice. */
#include <tutti/tutti.h>
#include <tutti/tutti.h>

int header_is_complete(void);
int header_is_complete(void) { return (int)sizeof(tutti_call); }
