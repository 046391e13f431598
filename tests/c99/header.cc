// The C++ header needs no other before it, and may be included twice.
#include <tutti/tutti.hpp>
#include <tutti/tutti.hpp>  // NOLINT(readability-duplicate-include)

static_assert(tutti::datatype_of<const unsigned short>() == TUTTI_UINT16);
static_assert(tutti::datatype_of<long long>() == TUTTI_INT64);
static_assert(!std::is_copy_constructible_v<tutti::Comm> && std::is_nothrow_move_constructible_v<tutti::Comm>);
