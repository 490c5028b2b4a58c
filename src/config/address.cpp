#include "address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>

namespace icbd::config {
namespace {

// RFC 1035: the longest name of a host.
constexpr std::size_t host_length_max = 253;

struct Parts {
  std::string_view host;  // with its brackets
  std::string_view port;
};

Parts split(std::string_view address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return {address, {}};
  return {address.substr(0, colon), address.substr(colon + 1)};
}

bool is_port(std::string_view text, bool listening) {
  std::uint16_t port = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  return error == std::errc() && stop == end && (listening || port != 0);
}

// The address within the brackets of "[::1]"; empty if there are none.
std::string unbracketed(std::string_view host) {
  if (host.size() < 2 || host.front() != '[' || host.back() != ']') return {};
  return std::string(host.substr(1, host.size() - 2));
}

bool is_host(std::string_view host) {
  if (host.empty() || host.size() > host_length_max) return false;
  if (host.front() == '[') {
    in6_addr parsed{};
    return inet_pton(AF_INET6, unbracketed(host).c_str(), &parsed) == 1;
  }
  return std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  });
}

}  // namespace

std::string_view address_fault(std::string_view address, bool listening) {
  const auto [host, port] = split(address);
  if (!is_host(host) || !is_port(port, listening))
    return "must be host:port, for example 127.0.0.1:5009 or [::1]:5009";
  return {};
}

bool is_loopback(std::string_view address) {
  const std::string host(split(address).host);
  if (host == "localhost") return true;
  in6_addr six{};
  if (inet_pton(AF_INET6, unbracketed(host).c_str(), &six) == 1)
    return IN6_IS_ADDR_LOOPBACK(&six) != 0;
  in_addr four{};
  return inet_pton(AF_INET, host.c_str(), &four) == 1 && ntohl(four.s_addr) >> 24 == 127;
}

}  // namespace icbd::config
