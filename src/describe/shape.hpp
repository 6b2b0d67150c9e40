// What a JSON object holds, in one line from which it is validated and its schema is written: for
// what has no record, such as messages and the API's smaller answers.
//
//   shape   ::= [object (";" object)*] | type          ";": one of these
//   object  ::= member*                                separated by a space
//   member  ::= name ["?"] (":" type | "=" text ("|" text)*) ["(" sentence ")"] | "*"
//   type    ::= simple ("|" simple)*
//   simple  ::= "text" | "number" | "integer" | "boolean" | "time" | "id" | "object" | "any" |
//   "null"
//             | Name | "[" type "]" | "{" object "}" | "{*:" type "}"
//
// "?": may be absent. "=": always this text, or one of these. "*": and any others. "{*:type}": an
// object whose members, whatever their names, are all of that type. A sentence describes the member
// in the schema. A Name begins with a capital and is that of a schema of the document.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <boost/json/object.hpp>

#include "base/json_writer.hpp"

namespace subforge::describe {

using Shape = std::string_view;

// One JSON Schema (2020-12) object; Names refer to #/components/schemas.
void write_shape(JsonWriter& json, Shape shape);

struct ShapeFault {
  std::string_view member;
  bool missing = false;
  std::string text = {};  // A sentence.
};
// The first member of `object`, or of an object in it, that is not as a shape of one object says.
// Members that it does not name are not looked at, nor is what lies within a Name.
[[nodiscard]] std::optional<ShapeFault> find_fault(boost::json::object const& object, Shape shape);

}  // namespace subforge::describe
