#include "realtime/messages.hpp"

#include <gtest/gtest.h>

namespace subforge::realtime {
namespace {

std::string schema_of(describe::Shape shape) {
  std::string text;
  JsonWriter json(text);
  describe::write_shape(json, shape);
  return text;
}

TEST(Messages, EveryShapeCanBeWritten) {
  for (auto const& row : client_messages()) EXPECT_NO_THROW(schema_of(row.shape)) << row.type;
  for (auto const& row : server_messages()) EXPECT_NO_THROW(schema_of(row.shape)) << row.type;
}

}  // namespace
}  // namespace subforge::realtime
