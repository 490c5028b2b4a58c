"""The transfer itself, side by side with what one would use without icbd: part by part.

Ours begins when the cache is asked to fetch a version and ends when it says `complete`: verified,
durable, in its place. Theirs begins with its first process and ends with a sync. Both run from cold
caches, in turns, between the same two filesystems. `bench/run transfer --only PART` runs one part.
"""
import transfer_caches
import transfer_links
import transfer_local
import transfer_peers

# Each has a laboratory of its own: nothing is left from the one before.
PARTS = {
    "full": transfer_local.full,
    "incremental": transfer_local.incremental,
    "tree": transfer_local.tree,
    "zstd": transfer_local.zstd,
    "peers": transfer_peers.peers,
    "links": transfer_links.links,
    "caches": transfer_caches.caches,
    "history": transfer_caches.history,
}
