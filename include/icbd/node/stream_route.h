// A version as a send stream over HTTP: what `curl … | btrfs receive DIR` reads.
//
//   GET /api/images/IMAGE/versions/VERSION/stream
//       ?parent=V        only the difference from this version of the image
//       &clone=V         which the receiver has, too; may be there several times
//       &proto=N         of the stream; 0: the newest that the kernel knows (1)
//       &compressed_data=1   extents as they lie on the disk; proto is then 2 if it is not said
//       &no_data=1       names and metadata only
//
// V and VERSION: a number, a tag, latest or current; all of them complete here.
// The stream comes from the kernel as the peer takes it; see rest/http.h for how it ends.
#pragma once

#include "icbd/repository/repository.h"
#include "icbd/rest/api.h"

namespace icbd::node {

// The repository must outlive the server.
void add_stream_route(rest::Router& router, const rest::CatalogReader& reader,
                      const repository::Repository& repository);

}  // namespace icbd::node
