// One description of a record, and its folds: JSON out and in for both versions of the API, the
// checks on what comes in, and the OpenAPI schema. (The SQL folds are in store/record_sql.hpp.)
//
//   struct Thing {
//     Uuid id; std::string title; std::int64_t size = 0;
//     static constexpr auto describe() {
//       return fields(
//           field("id", &Thing::id),
//           field("title", &Thing::title).length(1, 120).required().writable().doc("In lists."),
//           field("size", &Thing::size).writable().v1({.out = "info.size", .in = "size"}));
//     }
//   };
//
// A dot in an `out` or `in` name means a member of a nested object; fields of one nested object
// stand beside each other. What is not shown in a version has no `out` there, what a client cannot
// set has no `in`. A property is like a field but computed from the record, and set by a function.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include "base/json_writer.hpp"
#include "describe/codec.hpp"
#include "describe/issues.hpp"

namespace subforge::describe {

enum class Api : std::uint8_t { v1, v2 };
enum class Purpose : std::uint8_t { create, update };

// How one version of the API sees a field.
struct View {
  std::string_view out = {};   // Name in answers; empty: not shown.
  std::string_view also = {};  // A second name in answers, for readers of another form.
  std::string_view in = {};    // Name in bodies; empty: not accepted.
  bool create = true;          // Accepted when a record is created ...
  bool update = true;          // ... and when it is changed.

  [[nodiscard]] constexpr bool accepts(Purpose purpose) const {
    return !in.empty() && (purpose == Purpose::create ? create : update);
  }
};

// What fields and properties have in common.
template <class Self>
struct Described {
  std::string_view name;
  View views[2] = {};
  Bounds bounds = {};
  std::string_view text = {};
  bool is_required = false;

  [[nodiscard]] constexpr View const& view(Api api) const {
    return views[static_cast<std::size_t>(api)];
  }
  [[nodiscard]] constexpr Self v1(View view) const { return with_view(Api::v1, view); }
  [[nodiscard]] constexpr Self v2(View view) const { return with_view(Api::v2, view); }
  // Accepted from clients under its own name in both versions.
  [[nodiscard]] constexpr Self writable() const {
    Self copy = self();
    for (auto& view : copy.views) view.in = name;
    return copy;
  }
  // Not shown to clients at all.
  [[nodiscard]] constexpr Self internal() const {
    Self copy = self();
    for (auto& view : copy.views) view = {};
    return copy;
  }
  [[nodiscard]] constexpr Self required() const {
    Self copy = self();
    copy.is_required = true;
    return copy;
  }
  [[nodiscard]] constexpr Self length(std::int64_t least, std::int64_t most) const {
    Self copy = self();
    copy.bounds.length_min = least;
    copy.bounds.length_max = most;
    return copy;
  }
  // Greater than this.
  [[nodiscard]] constexpr Self above(double least) const {
    Self copy = self();
    copy.bounds.above = least;
    return copy;
  }
  [[nodiscard]] constexpr Self range(std::optional<double> least,
                                     std::optional<double> most) const {
    Self copy = self();
    copy.bounds.least = least;
    copy.bounds.most = most;
    return copy;
  }
  [[nodiscard]] constexpr Self doc(std::string_view sentence) const {
    Self copy = self();
    copy.text = sentence;
    return copy;
  }

 private:
  [[nodiscard]] constexpr Self self() const { return static_cast<Self const&>(*this); }
  [[nodiscard]] constexpr Self with_view(Api api, View view) const {
    Self copy = self();
    copy.views[static_cast<std::size_t>(api)] = view;
    return copy;
  }
};

template <class R, class T>
struct Field : Described<Field<R, T>> {
  using Record = R;
  using Type = T;
  static constexpr bool kStored = true;
  T R::* member = nullptr;

  [[nodiscard]] T const& get(R const& record) const { return record.*member; }
  void set(R& record, T value) const { record.*member = std::move(value); }
};

template <class R, class T>
[[nodiscard]] constexpr Field<R, T> field(std::string_view name, T R::* member) {
  Field<R, T> made;
  made.name = name;
  made.views[0].out = made.views[1].out = name;
  made.member = member;
  return made;
}

template <class R, class T>
struct Property : Described<Property<R, T>> {
  using Record = R;
  using Type = T;
  static constexpr bool kStored = false;
  T (*getter)(R const&) = nullptr;
  void (*setter)(R&, T) = nullptr;

  [[nodiscard]] T get(R const& record) const { return getter(record); }
  void set(R& record, T value) const { setter(record, std::move(value)); }
};

// Starts out invisible; say with v1() and v2() where it shows and whether it can be set.
template <class R, class T>
[[nodiscard]] constexpr Property<R, T> property(std::string_view name, T (*getter)(R const&),
                                                void (*setter)(R&, T) = nullptr) {
  Property<R, T> made;
  made.name = name;
  made.getter = getter;
  made.setter = setter;
  return made;
}

// The fields of a record, in order. Flat, where std::tuple nests: with forty fields that halves the
// time in which a file that includes the record compiles.
template <std::size_t, class F>
struct FieldAt {
  F value;
};
template <class Indices, class... F>
struct FieldList;
template <std::size_t... I, class... F>
struct FieldList<std::index_sequence<I...>, F...> : FieldAt<I, F>... {
  template <class Visit>
  constexpr void visit_each(Visit& visit) const {
    (visit(static_cast<FieldAt<I, F> const&>(*this).value), ...);
  }
};
template <class... F>
[[nodiscard]] constexpr auto fields(F const&... each) {
  return FieldList<std::index_sequence_for<F...>, F...>{{each}...};
}

template <class R>
concept Record = requires { R::describe(); };

// Made once, by the compiler: making it again at every fold would cost more than the fold.
template <Record R>
inline constexpr auto kFieldsOf = R::describe();

// Calls visit(field) for each field and property in order.
template <Record R, class Visit>
constexpr void for_each_field(Visit&& visit) {
  kFieldsOf<R>.visit_each(visit);
}

[[nodiscard]] constexpr std::string_view group_of(std::string_view path) {
  auto const dot = path.find('.');
  return dot == std::string_view::npos ? std::string_view{} : path.substr(0, dot);
}
[[nodiscard]] constexpr std::string_view leaf_of(std::string_view path) {
  auto const dot = path.find('.');
  return dot == std::string_view::npos ? path : path.substr(dot + 1);
}

// The text around the values of a record: braces, names, commas. It is the same for every record of
// a type, so it is put together once, and writing a record only fills in the values.
class Frame {
 public:
  // Names of one group must follow each other; an empty group is the record itself.
  void add(std::string_view group, std::string_view leaf);
  void finish();

  [[nodiscard]] std::string const* pieces() const { return pieces_.data(); }

 private:
  std::vector<std::string> pieces_;  // What precedes each value; at last what ends the record.
  std::string group_;
};

template <Record R>
[[nodiscard]] Frame const& answer_frame(Api api) {
  static auto const make = [](Api one) {
    Frame frame;
    for_each_field<R>([&](auto const& f) {
      auto const& view = f.view(one);
      if (!view.out.empty()) frame.add(group_of(view.out), leaf_of(view.out));
      if (!view.also.empty()) frame.add({}, view.also);
    });
    frame.finish();
    return frame;
  };
  static std::array const frames{make(Api::v1), make(Api::v2)};
  return frames[static_cast<std::size_t>(api)];
}

template <Record R>
[[nodiscard]] Frame const& stored_frame() {
  static auto const frame = [] {
    Frame made;
    for_each_field<R>([&](auto const& f) {
      if constexpr (std::remove_cvref_t<decltype(f)>::kStored) made.add({}, f.name);
    });
    made.finish();
    return made;
  }();
  return frame;
}

// Fold: the record as JSON in one version of the API.
template <Record R>
void write_record(JsonWriter& json, R const& record, Api api) {
  auto const* piece = answer_frame<R>(api).pieces();
  json.begin_framed();
  for_each_field<R>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    auto const& view = f.view(api);
    if (!view.out.empty()) {
      json.framed(*piece++);
      Codec<T>::write(json, f.get(record));
    }
    if (!view.also.empty()) {
      json.framed(*piece++);
      Codec<T>::write(json, f.get(record));
    }
  });
  json.end_framed(*piece);
}

// Fold: every stored field under its own name; what the event log keeps of a record.
template <Record R>
void write_stored(JsonWriter& json, R const& record) {
  auto const* piece = stored_frame<R>().pieces();
  json.begin_framed();
  for_each_field<R>([&](auto const& f) {
    using F = std::remove_cvref_t<decltype(f)>;
    if constexpr (F::kStored) {
      json.framed(*piece++);
      Codec<typename F::Type>::write(json, f.get(record));
    }
  });
  json.end_framed(*piece);
}

// Fold: the reverse of write_stored. Members that are missing keep their defaults, so that rows
// written before a field existed still read.
template <Record R>
[[nodiscard]] R read_stored(boost::json::object const& object) {
  R record;
  Issues ignored;
  Where const where{};
  for_each_field<R>([&](auto const& f) {
    using F = std::remove_cvref_t<decltype(f)>;
    if constexpr (F::kStored) {
      if (auto const* value = object.if_contains({f.name.data(), f.name.size()})) {
        Codec<typename F::Type>::read(*value, record.*(f.member), {}, where, ignored);
      }
    }
  });
  return record;
}

// The member a dotted name leads to, or null; `where` gets the place for an issue.
[[nodiscard]] boost::json::value const* find_member(boost::json::object const& object,
                                                    std::string_view path);

// Adds the issue that a required member is missing.
void add_missing(boost::json::object const& object, std::string_view path, Where const& where,
                 Issues& issues);
void add_not_object(boost::json::value const& body, Where const& where, Issues& issues);

// A type may be for answers alone; a field of that type has no `in`.
template <class T>
concept Readable = requires(boost::json::value const& in, T& out, Issues& issues) {
  Codec<T>::read(in, out, Bounds{}, Where{}, issues);
};

// Fold: sets what the body gives, collecting everything that is wrong; unknown members are ignored.
// For `create` required members must be there; for `update` only what is there counts.
template <Record R>
bool read_record(boost::json::value const& body, R& record, Api api, Purpose purpose,
                 Where const& where, Issues& issues) {
  auto const* object = body.if_object();
  if (object == nullptr) {
    add_not_object(body, where, issues);
    return false;
  }
  bool good = true;
  for_each_field<R>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    auto const& view = f.view(api);
    if (!view.accepts(purpose)) return;
    auto const* value = find_member(*object, view.in);
    if (value == nullptr) {
      if (f.is_required && purpose == Purpose::create) {
        add_missing(*object, view.in, where, issues);
        good = false;
      }
      return;
    }
    auto const group = group_of(view.in);
    Where const outer{&where, group};
    Where const place{group.empty() ? &where : &outer, leaf_of(view.in)};
    if constexpr (Readable<T>) {
      T parsed{};
      if (Codec<T>::read(*value, parsed, f.bounds, place, issues)) {
        f.set(record, std::move(parsed));
      } else {
        good = false;
      }
    }
  });
  return good;
}

// Fold: the schema of the record in answers of one version.
template <Record R>
void write_schema(JsonWriter& json, Api api);
// Fold: the schema of a body that creates or changes the record.
template <Record R>
void write_body_schema(JsonWriter& json, Api api, Purpose purpose);

// A described struct is itself a type a field can have; inside it both versions look alike.
template <Record R>
struct Codec<R> {
  static bool read(boost::json::value const& in, R& out, Bounds const&, Where const& where,
                   Issues& issues) {
    return read_record(in, out, Api::v2, Purpose::create, where, issues);
  }
  static void write(JsonWriter& json, R const& value) { write_record(json, value, Api::v2); }
  static void schema(JsonWriter& json, Bounds const&) {
    write_body_schema<R>(json, Api::v2, Purpose::create);
  }
  static void answer_schema(JsonWriter& json) { write_schema<R>(json, Api::v2); }
};

template <Record R>
struct Codec<std::vector<R>> {
  static bool read(boost::json::value const& in, std::vector<R>& out, Bounds const&,
                   Where const& where, Issues& issues) {
    auto const* list = in.if_array();
    if (list == nullptr || static_cast<std::int64_t>(list->size()) > kListItemsMax) {
      issues.add(where, list == nullptr ? "list_type" : "too_long",
                 list == nullptr ? "Input should be a valid list" : "List has too many items",
                 input_text(in));
      return false;
    }
    bool good = true;
    out.clear();
    for (std::size_t i = 0; i < list->size(); ++i) {
      Where const item{&where, static_cast<std::int64_t>(i)};
      good = Codec<R>::read((*list)[i], out.emplace_back(), {}, item, issues) && good;
    }
    return good;
  }
  static void write(JsonWriter& json, std::vector<R> const& value) {
    json.begin_array();
    for (auto const& item : value) Codec<R>::write(json, item);
    json.end_array();
  }
  static void schema(JsonWriter& json, Bounds const&) {
    json.member("type", "array");
    json.key("items");
    json.begin_object();
    Codec<R>::schema(json, {});
    json.end_object();
  }
  static void answer_schema(JsonWriter& json) {
    json.member("type", "array");
    json.key("items");
    json.begin_object();
    Codec<R>::answer_schema(json);
    json.end_object();
  }
};

// Collects the properties of an object schema, nested ones included, and which are required.
class SchemaWriter {
 public:
  explicit SchemaWriter(JsonWriter& json);
  ~SchemaWriter();
  SchemaWriter(SchemaWriter const&) = delete;
  SchemaWriter& operator=(SchemaWriter const&) = delete;
  // Opens the schema of one property; the caller writes its members and calls end().
  void begin(std::string_view path, bool required);
  void end(std::string_view doc);

 private:
  void close_group();
  void write_required(std::vector<std::string_view> const& names);
  JsonWriter& json_;
  std::string_view group_;
  std::vector<std::string_view> required_;
  std::vector<std::string_view> group_required_;
};

template <Record R>
void write_schema(JsonWriter& json, Api api) {
  SchemaWriter schema(json);
  for_each_field<R>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    for (auto const name : {f.view(api).out, f.view(api).also}) {
      if (name.empty()) continue;
      schema.begin(name, true);
      write_answer_schema<T>(json);
      schema.end(f.text);
    }
  });
}

template <Record R>
void write_body_schema(JsonWriter& json, Api api, Purpose purpose) {
  SchemaWriter schema(json);
  for_each_field<R>([&](auto const& f) {
    using T = typename std::remove_cvref_t<decltype(f)>::Type;
    auto const& view = f.view(api);
    if (!view.accepts(purpose)) return;
    schema.begin(view.in, f.is_required && purpose == Purpose::create);
    Codec<T>::schema(json, f.bounds);
    schema.end(f.text);
  });
}

}  // namespace subforge::describe
