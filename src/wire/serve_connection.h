// The answering side of one connection.
//
// serve_connection() speaks the protocol on one connected socket until the peer leaves or does
// something wrong: it needs no privilege beyond what the Source does. Requests are looked at in
// order; extents are sent by a thread of their own, so that other answers may come between them.
#pragma once

#include "icbd/wire/server.h"

#include "extent_engine.h"

namespace icbd::wire {

void serve_connection(unique_fd socket, source::Source& source, ExtentEngine& engine,
                      ServerCounters& counters, const Logger& logger);

}  // namespace icbd::wire
