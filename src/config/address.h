// Addresses of the form host:port, as far as they can be judged without asking the network.
#pragma once

#include <string_view>

namespace icbd::config {

// Why `address` is not of the form; empty if it is. Port 0 lets the kernel choose: for listening
// only.
std::string_view address_fault(std::string_view address, bool listening);

// True for localhost, 127.0.0.0/8 and [::1]. The address has no fault.
bool is_loopback(std::string_view address);

}  // namespace icbd::config
