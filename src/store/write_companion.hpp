// Something that is committed together with a write that knows nothing of it, such as the answer
// that is kept for a request with an Idempotency-Key.
#pragma once

#include <typeinfo>

#include "base/result.hpp"
#include "runtime/task.hpp"

namespace subforge::store {

class Transaction;

// Carried by a task (Task::carry), it joins every Store::write that the task or what it awaits
// makes.
class WriteCompanion : public TaskContext {
 public:
  // In the write's transaction, after a success of its own: `result` points to the Result<T> of
  // that `type`. An error undoes the write. On the database's thread; must wait for nothing but the
  // transaction.
  virtual Task<Result<void>> join(Transaction& transaction, std::type_info const& type,
                                  void const* result) = 0;
};

}  // namespace subforge::store
