#include "builtin/file_to_process.hpp"

#include "builtin/arguments.hpp"
#include "files/processing.hpp"

namespace subforge::builtin {

Task<std::expected<files::FileRecord, jobs::Outcome>> file_to_process(Parts const& parts,
                                                                      jobs::JobContext& context) {
  auto const id = Arguments(context).text(0, "file_id");
  if (!id) co_return std::unexpected(jobs::failed_for_good(id.error().message));
  auto file = co_await files::begin_processing(parts.store, *id, context.job().id,
                                               context.job().created_by.value_or(""));
  if (file) co_return std::move(*file);
  auto const& error = file.error();
  bool const is_gone = error.code == ErrorCode::not_found || error.code == ErrorCode::forbidden;
  co_return std::unexpected(is_gone ? jobs::withdrawn(error.message) : jobs::failed(error.message));
}

}  // namespace subforge::builtin
