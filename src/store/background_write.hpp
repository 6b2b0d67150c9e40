// Writes that may come late and that nobody misses after a crash, such as the parts of an index
// that whoever asked for it makes again from the start: nobody else is to wait for them.
#pragma once

#include <functional>

#include "store/store.hpp"

namespace subforge::store {

// `write` is as that of Store::write, and publishes no events: these would be told of before they
// are on the disk. It should take a few milliseconds at most.
[[nodiscard]] Task<Result<void>> write_in_background(
    Store& store, std::function<Task<Result<void>>(Transaction&)> write);

}  // namespace subforge::store
