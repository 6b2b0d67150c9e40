// What threads ask of the kernel's scheduler. Neither needs a privilege.
#pragma once

namespace subforge {

// For threads that wake often and do little each time, as event loops do: the calling thread gets a
// short slice of its core each time, but gets it at once. Where all cores are busy, it would
// otherwise wait until a thread that hashes a file has had its whole slice, which is some
// milliseconds. The weight stays the same. Linux 6.12 or later; elsewhere nothing happens.
void take_short_slices();

// For threads whose work is long and waited for by nobody in particular: the calling thread, and
// programs that it starts, take a core from nobody when they wake, and weigh kStepsBehind steps of
// niceness less. A loop that has had more than its share, which is what receiving uploads comes to,
// is not let in before the others have caught up, short slice or not: so they must claim less.
inline constexpr int kStepsBehind = 10;
void stay_behind();

// For the same threads, each tenth of a millisecond: a loop that is not let in by itself, as it has
// had more than its share, waits for a tick of the kernel otherwise, which is 4 ms. Where those let
// in keep the core for long, as programs do that take all cores, most calls do nothing.
void let_others_in();

}  // namespace subforge
