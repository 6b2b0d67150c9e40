#include "store/store.hpp"

#include "store/database_contract_test.hpp"

namespace subforge::store {
namespace {

TEST_P(EventLogContract, EventIdsAreTextOfThisLogAlone) {
  auto const one = open();
  auto const& store = one->store;
  auto const text = store.event_id_text(42);
  EXPECT_EQ(text, store.epoch() + "-42");
  EXPECT_EQ(store.parse_event_id(text), 42);
  EXPECT_EQ(store.parse_event_id(store.event_id_text(0)), 0);
  for (auto const& other : {std::string(), std::string("42"), store.epoch(), store.epoch() + "-",
                            store.epoch() + "42", store.epoch() + "-4x", "x" + text, text + " ",
                            std::string("00000000-42"), store.epoch() + "--1"}) {
    EXPECT_EQ(store.parse_event_id(other), std::nullopt) << other;
  }
}

}  // namespace
}  // namespace subforge::store
