/* The header needs no other before it, and may be included twice (clang-format would take the second away). */
/* clang-format off */
#include <tutti/tutti.h>
#include <tutti/tutti.h>
/* clang-format on */

int header_is_complete(void);
int header_is_complete(void) { return (int)sizeof(tutti_call); }
