// For threads that wake often and do little each time, as event loops do.
#pragma once

namespace subforge {

// The calling thread gets a short slice of its core each time, but gets it at once. Where all cores
// are busy, it would otherwise wait until a thread that hashes a file has had its whole slice,
// which is some milliseconds. The weight stays the same. Linux 6.12 or later; elsewhere nothing
// happens.
void take_short_slices();

}  // namespace subforge
