// What becomes of memory that was freed.
#pragma once

namespace subforge {

// The program keeps up to 4 MiB at the end of each heap for what it needs next, and blocks below
// 2 MiB come from there. Left to itself glibc gives back all but 128 KiB at once, and what works in
// rounds, as a worker that takes tasks by the hundred does, asks the kernel for the same pages in
// each of them. For the whole process; once, before there are other threads.
void keep_freed_memory();

}  // namespace subforge
