// Stores that the caller of the C API provides (tutti_store_register), by their addresses.
#pragma once

#include <string>
#include <string_view>

#include "src/base/status.h"
#include "src/membership/store.h"

namespace tutti {

bool is_callback_address(std::string_view address);

// The store at "callback://NAME" for who knows this secret. It lives as long as the process. INVALID: nobody has
// registered the name.
Result<Store*> callback_store(std::string_view address, const std::string& secret);

}  // namespace tutti
