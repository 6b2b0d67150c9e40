"""Inputs made from the schemas of /openapi.json: such as they allow, at their bounds too, and such
as have one thing wrong."""

import json
import uuid

TEXTS = ["a", "Zoë", "日本語", "🜁🜂 astral", "e\u0301 combining", "'; DROP TABLE tasks; --",
         "<b>&amp;</b>", "%s%n", "line\nbreak\ttab", "\u202eright to left", " spaces ", "\\\"",
         "null", "0"]
TIMES = ["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678901Z", "2026-01-02T03:04:05+02:00",
         "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
ANYTHING = [None, True, 0, -1, 1.5, 2**53, 1e300, "", "text", [], {}, [1, "a", None],
            {"a": {"b": []}}]
LENGTH_MAX = 2_000  # Of texts where the schema allows longer ones, most of the time.
LONGEST = 100_000  # That fits into a body.
INTEGER_MAX = 2**63 - 1


def parts(schema):
    """The forms of a value that may be one of several, null apart: the form, and whether it may be
    null."""
    if "anyOf" in schema and "type" not in schema:
        forms = [form for form in schema["anyOf"] if form.get("type") != "null"]
        return forms[0], len(forms) < len(schema["anyOf"])
    if isinstance(schema.get("type"), list):
        kinds = [kind for kind in schema["type"] if kind != "null"]
        return {**schema, "type": kinds[0]}, len(kinds) < len(schema["type"])
    return schema, False


class Inputs:
    """`ids` gives a known id, or one of nobody."""

    def __init__(self, chance, ids):
        self.chance, self.ids = chance, ids

    # ---- What is allowed

    def value(self, schema, name=""):
        form, nullable = parts(schema)
        if nullable and self.chance.random() < 0.2:
            return None
        if "enum" in form:
            return self.chance.choice(form["enum"])
        make = getattr(self, "make_" + form.get("type", "anything"))
        return make(form, name)

    def make_anything(self, _form, _name):
        return self.chance.choice(ANYTHING)

    def make_null(self, _form, _name):
        return None

    def make_boolean(self, _form, _name):
        return self.chance.random() < 0.5

    def make_integer(self, form, _name):
        least, most = int(form.get("minimum", -1)), int(form.get("maximum", 2**31))
        return self.chance.choice([least, most, self.chance.randint(least, most),
                                   min(least + 1, most)])

    def make_number(self, form, _name):
        least, most = form.get("minimum", -1e15), form.get("maximum", 1e300)
        if "exclusiveMinimum" in form:
            least = form["exclusiveMinimum"] + 1e-6
        near = [max(least, min(most, number)) for number in (0, 0.1)]
        return self.chance.choice([least, most, *near,
                                   self.chance.uniform(max(least, -1e6), min(most, 1e6))])

    def make_string(self, form, name):
        if form.get("format") == "uuid":
            return self.ids(name)
        if form.get("format") == "date-time":
            return self.chance.choice(TIMES)
        least, most = form.get("minLength", 0), form.get("maxLength", LENGTH_MAX)
        if self.chance.random() < 0.9:
            most = min(most, LENGTH_MAX)
        kind = self.chance.random()
        if kind < 0.1:
            return self.chance.choice("aé日🜁") * least
        if kind < 0.2:
            return self.chance.choice("aé日🜁") * min(most, LONGEST // 4)
        if kind < 0.4 and (name.endswith("_id") or name == "id"):
            return self.ids(name)[:most]
        text = self.chance.choice(TEXTS)
        return (text + "x" * least)[:most]

    def make_array(self, form, name):
        count = max(form.get("minItems", 0), self.chance.choice([0, 1, 2, 5]))
        return [self.value(form.get("items", {}), name.removesuffix("s")) for _ in range(count)]

    def make_object(self, form, _name):
        members = form.get("properties")
        if members is None:
            extra = form.get("additionalProperties", True)
            schema = extra if isinstance(extra, dict) else {}
            return {text: self.value(schema) for text in self.chance.sample(TEXTS, 2)}
        needed = form.get("required", [])
        share = self.chance.choice([0, 0.3, 1])
        return {name: self.value(schema, name) for name, schema in members.items()
                if name in needed or self.chance.random() < share}

    # ---- What is not

    def wrongs(self, schema, name):
        """(what is wrong, the value) for one member."""
        form, nullable = parts(schema)
        kind = form.get("type")
        if kind is None:
            return
        if not nullable:
            yield "null", None
        others = {"object": {"a": 1}, "array": [[]], "string": "\u2603 no such", "boolean": True}
        for other, value in others.items():
            if other != kind and not (other == "boolean" and kind in ("integer", "number")):
                yield f"{other} for {kind}", value
        if kind == "integer":
            yield "a fraction", 1.5
        if kind in ("integer", "number"):
            yield from self.wrong_numbers(form, kind)
        else:
            yield f"number for {kind}", 12
        if kind == "string":
            yield from self.wrong_texts(form)
        if kind == "array":
            if "maxItems" in form:
                items, _ = parts(form.get("items", {}))
                item = {} if items.get("type") == "object" else self.ids(name)
                yield "too many items", [item] * (form["maxItems"] + 1)
            for what, value in self.wrongs(form.get("items", {}), name):
                yield f"an item: {what}", [value]

    @staticmethod
    def wrong_numbers(form, kind):
        if "minimum" in form:
            yield "too small", form["minimum"] - 1
            yield "far too small", -1e308
        if "exclusiveMinimum" in form:
            yield "not above", form["exclusiveMinimum"]
        if "maximum" in form:
            yield "too large", form["maximum"] * 1.001 + 1
            yield "far too large", 1e308
        if kind == "integer":
            for value in (2**63, 2**64, -2**63 - 1, 10**40):
                yield "beyond 64 bits", value

    @staticmethod
    def wrong_texts(form):
        if "enum" in form:
            yield "not in the list", "no-such"
        elif form.get("format") == "uuid":
            for text in ("no-uuid", "", "00000000-0000-0000-0000-00000000000g", "0" * 31):
                yield "no UUID", text
        elif form.get("format") == "date-time":
            for text in ("yesterday", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "",
                         "2026-01-01T25:00:00Z"):
                yield "no time", text
        else:
            if form.get("minLength", 0) > 0:
                yield "too short", "x" * (form["minLength"] - 1)
            if form.get("maxLength", LONGEST) < LONGEST:
                yield "too long", "x" * (form["maxLength"] + 1)

    def wrong_members(self, schema, at=()):
        """(what is wrong, where, a whole input with that alone wrong), for each member of it."""
        form, _ = parts(schema)
        for name, member in form.get("properties", {}).items():
            for what, value in self.wrongs(member, name):
                whole = self.value({**form})
                whole[name] = value
                yield what, (*at, name), whole
            inner, _ = parts(member)
            if inner.get("type") == "object":
                for what, where, value in self.wrong_members(inner, (*at, name)):
                    whole = self.value({**form})
                    whole[name] = value
                    yield what, where, whole
        for name in form.get("required", []):
            whole = self.value({**form})
            whole.pop(name, None)
            yield "missing", (*at, name), whole


def wrong_bodies(good):
    """(what is wrong, bytes) for bodies that are no input at all."""
    text = json.dumps(good)
    yield "cut off", text[:-1].encode() or b"{"
    yield "no JSON", b"<a/>"
    yield "empty", b""
    yield "a list", b"[]"
    yield "a text", b'"x"'
    yield "a number", b"5"
    yield "null", b"null"
    yield "not UTF-8", b'{"name": "\xff\xfe"}'
    yield "half a surrogate", b'{"name": "\\ud800"}'
    yield "NaN", b'{"name": NaN}'
    yield "Infinity", b'{"name": -Infinity}'
    yield "deep", b'{"name": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    yield "a comma too many", b'{"name": "x",}'


def parameter_texts(schema, chance, ids, name):
    """A text that the parameter allows."""
    form, _ = parts(schema)
    if "enum" in form:
        return str(chance.choice(form["enum"]))
    if form.get("type") == "integer":
        least, most = int(form.get("minimum", 0)), int(form.get("maximum", INTEGER_MAX))
        return str(chance.choice([least, most, min(most, least + 3)]))
    if form.get("type") == "boolean":
        return chance.choice(["true", "false", "1", "no"])
    if form.get("format") == "uuid":
        return ids(name)
    if form.get("format") == "date-time":
        return chance.choice(TIMES)
    return chance.choice([*TEXTS, ids(name)])


def wrong_parameters(schema):
    """Texts that it does not."""
    form, _ = parts(schema)
    if "enum" in form:
        return ["no-such", "\u2603"]
    if form.get("type") == "integer":
        texts = ["x", "1.5", "", "1e3", str(2**64), str(-2**63 - 1)]
        texts += [str(int(form["minimum"]) - 1)] if "minimum" in form else []
        return texts + ([str(int(form["maximum"]) + 1)] if "maximum" in form else [])
    if form.get("type") == "boolean":
        return ["maybe", "2", ""]
    if form.get("format") == "uuid":
        return ["no-uuid", "0" * 31]
    if form.get("format") == "date-time":
        return ["yesterday", "2026-13-01T00:00:00Z"]
    return []


def nobody(chance):
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))
