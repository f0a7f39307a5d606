//! The language itself: literals, operators, macros, optional values, errors.

mod common;

use common::check;

#[test]
fn literals_are_read_as_written() {
    check(&[
        ("1", "1"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "compile: invalid int literal"),
        ("0xff", "255"),
        ("7u", "7u"),
        ("-1u", "compile: invalid uint literal"),
        ("1.5e3", "1500.0"),
        (".5", "0.5"),
        ("1e999", "compile: invalid double literal"),
        (r#"'a\n\t\u00e9\x41\101'"#, r#""a\n\téAA""#),
        (r#"r'a\n'"#, r#""a\\n""#),
        ("'''a\n'b'''", r#""a\n'b""#),
        (r#""it's""#, r#""it's""#),
        ("b'\\xff'", r#""/w==""#),
        ("'\\q'", "compile: unable to unescape string"),
        ("true", "true"),
        ("null", "null"),
        ("[1, 2,]", "[1,2]"),
        ("{'a': 1, 'b': 2}", r#"{"a":1,"b":2}"#),
        ("{1: 'a', 1u: 'b'}[1]", "compile: expected type 'int' but found 'uint'"),
        ("1 // comment", "1"),
    ]);
}

#[test]
fn arithmetic_is_checked() {
    check(&[
        ("1 + 2 * 3 - 4 / 2", "5"),
        ("7 % 3 * 2", "2"),
        ("-7 / 2", "-3"),
        ("--x", "5"),
        ("-x", "-5"),
        ("1.5 + 2.0", "3.5"),
        ("2u * 3u", "6u"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("1u - 2u", "error: unsigned integer overflow"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("-(-9223372036854775808)", "error: integer overflow"),
        ("1.0 / 0.0 > 1e300", "true"),
        ("'a' + 'b'", r#""ab""#),
        ("[1] + [2]", "[1,2]"),
        ("b'a' + b'b'", r#""YWI=""#),
        ("1 + 1.0", "compile: found no matching overload for '_+_' applied to '(int, double)'"),
        ("1 + dyn(1.0)", "error: no such overload: _+_(int, double)"),
    ]);
}

#[test]
fn values_are_compared_across_kinds_of_numbers() {
    check(&[
        ("1 == 1", "true"),
        ("dyn(1) == 1.0", "true"),
        ("dyn(1) == 1u", "true"),
        ("dyn(1) == '1'", "false"),
        ("1 == 1.0", "compile: found no matching overload for '_==_' applied to '(int, double)'"),
        ("1 < 2.5", "true"),
        ("2u >= 2", "true"),
        ("'a' < 'b' && b'a' < b'b' && false < true", "true"),
        ("1 < 'a'", "compile: found no matching overload for '_<_' applied to '(int, string)'"),
        ("9007199254740993 == dyn(9007199254740992.0)", "false"),
        ("[1, 2] == [1, 2]", "true"),
        ("[1, 2] == [2, 1]", "false"),
        ("{'a': [1]} == {'a': [1]}", "true"),
        ("{'a': 1} != {'b': 1}", "true"),
        ("d.a == 1 && d.c == {'d': 'e'}", "true"),
        ("0.0/0.0 == 0.0/0.0", "false"),
        ("null == null", "true"),
        ("d.b[3] == null", "true"),
        ("type(1) == int", "true"),
        ("type(type(1)) == type", "true"),
        ("type([]) == list && type({}) == map", "true"),
        ("type(null)", "type null_type"),
        ("type(t) == google.protobuf.Timestamp", "true"),
    ]);
}

#[test]
fn logic_absorbs_errors_that_do_not_matter() {
    check(&[
        ("true || 1/0 == 1", "true"),
        ("1/0 == 1 || true", "true"),
        ("1/0 == 1 && false", "false"),
        ("1/0 == 1 || false", "error: division by zero"),
        ("!true", "false"),
        ("!!true", "true"),
        ("x > 3 ? 'big' : 'small'", r#""big""#),
        ("false ? 1/0 : 2", "2"),
        ("1 && true", "compile: expected type 'bool' but found 'int'"),
        ("dyn(1) && true", "error: no such overload"),
        ("1 ? 2 : 3", "compile: found no matching overload for '_?_:_' applied to '(int, int, int)'"),
    ]);
}

#[test]
fn members_and_indices_are_found() {
    check(&[
        ("d.c.d", r#""e""#),
        ("d['c']['d']", r#""e""#),
        ("d.missing", "error: no such key: missing"),
        ("m['three']", "error: no such key: three"),
        ("l[0]", "3"),
        ("l[3]", "error: index out of bounds: 3"),
        ("l[-1]", "error: index out of bounds: -1"),
        ("l['a']", "compile: found no matching overload for '_[_]' applied to '(list(int), string)'"),
        ("d.b[dyn(1.0)]", "2.5"),
        ("has(d.a) && !has(d.z) && has(m.one)", "true"),
        ("has(d.z.y)", "error: no such key: z"),
        ("has(x)", "compile: invalid argument to has() macro"),
        ("x.y", "compile: type 'int' does not support field selection"),
        ("1 in l && !(4 in l)", "true"),
        ("'one' in m", "true"),
        ("dyn(1.0) in {1: 'a'}", "true"),
        ("{1u: 'a'}[1u]", r#""a""#),
        ("{'a': 1, 'a': 2}", "error: Failed with repeated key: a"),
        ("size(l) + l.size() + size(s) + size(b'abc') + m.size()", "16"),
        ("y", "compile: undeclared reference to 'y' (in container '')"),
        ("f(1)", "compile: undeclared reference to 'f' (in container '')"),
        ("s.f()", "compile: undeclared reference to 'f' (in container '')"),
        ("s.startsWith(1)", "compile: found no matching overload for 'startsWith' applied to 'string.(int)'"),
    ]);
}

#[test]
fn macros_go_through_lists_and_maps() {
    check(&[
        ("l.all(i, i > 0)", "true"),
        ("l.all(i, i > 1)", "false"),
        ("[1, 0].all(i, 1 / i > 0)", "error: division by zero"),
        ("[1, 0, -1].all(i, 1 / i > 0)", "false"),
        ("l.exists(i, i == 2)", "true"),
        ("[0, 1].exists(i, 1 / i == 1)", "true"),
        ("l.exists_one(i, i > 2) && l.existsOne(i, i > 2)", "true"),
        ("l.exists_one(i, i > 1)", "false"),
        ("l.map(i, i * 2)", "[6,2,4]"),
        ("l.map(i, i > 1, i * 2)", "[6,4]"),
        ("l.filter(i, i > 1)", "[3,2]"),
        ("m.map(k, k)", r#"["one","two"]"#),
        ("m.all(k, m[k] > 0)", "true"),
        ("m.all(k, v, v > 0 && k != '')", "true"),
        ("l.exists(i, v, i == 1 && v == 1)", "true"),
        ("l.existsOne(i, v, v == 3)", "true"),
        ("l.transformList(i, v, i * v)", "[0,1,4]"),
        ("l.transformList(i, v, v > 1, i)", "[0,2]"),
        ("m.transformMap(k, v, v + 1)", r#"{"one":2,"two":3}"#),
        ("m.transformMap(k, v, v > 1, v)", r#"{"two":2}"#),
        ("m.transformMapEntry(k, v, {k + '!': v})", r#"{"one!":1,"two!":2}"#),
        ("m.transformMapEntry(k, v, {'same': v})", "error: insert failed: key same already exists"),
        ("l.map(i, l.map(j, i + j))", "[[6,4,5],[4,2,3],[5,3,4]]"),
        ("l.map(i, l.filter(j, j > i).map(i, i + 1))", "[[],[4,3],[4]]"),
        ("cel.bind(y, x + 1, y * y)", "36"),
        (
            "x.all(i, i)",
            "compile: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
        ("l.all(i + 1, true)", "compile: argument must be a simple name"),
        ("l.all(i, i)", "compile: expected type 'bool' but found 'int'"),
        ("d.b.filter(i, type(i) == string)", r#"["t"]"#),
    ]);
}

#[test]
fn strings_and_conversions() {
    check(&[
        ("s.contains('ll') && s.startsWith('hé') && s.endsWith('lo')", "true"),
        ("s.matches('^h.l+o$') && matches(s, 'l{2}')", "true"),
        ("s.matches('(')", "compile: invalid matches argument"),
        ("s.matches('(' + '')", "error: error parsing regexp: unclosed group: `(`"),
        ("int('42') + int(4.9) + int(3u)", "49"),
        ("int('x')", "error: strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("int(1e30)", "error: integer overflow"),
        ("uint(-1)", "error: unsigned integer overflow"),
        ("double('1.5') + double(2)", "3.5"),
        ("string(1.0) + string(true) + string(7u) + string(1e30) + string(0.00001)", r#""1true71e+301e-05""#),
        ("string(b'ab') + string(t)", r#""ab2024-02-29T12:34:56.789Z""#),
        ("bool('true')", "true"),
        ("bytes('é')", r#""w6k=""#),
        ("dyn(1) + 1", "2"),
    ]);
}

#[test]
fn times_are_added_and_taken_apart() {
    check(&[
        ("t + duration('1h')", r#""2024-02-29T13:34:56.789Z""#),
        ("timestamp('2024-03-01T00:00:00Z') - t", r#""41103.211s""#),
        ("t - duration('24h') < t", "true"),
        ("t.getFullYear() * 10000 + t.getMonth() * 100 + t.getDate()", "20240129"),
        ("t.getDayOfMonth()", "28"),
        ("t.getDayOfYear()", "59"),
        ("t.getDayOfWeek()", "4"),
        ("t.getHours('+02:00')", "14"),
        ("t.getMinutes() + t.getSeconds() + t.getMilliseconds()", "879"),
        ("t.getHours('Nowhere/Land')", "error: unknown time zone Nowhere/Land"),
        ("duration('90m').getHours() + duration('90m').getMinutes()", "91"),
        ("duration('1x')", "compile: invalid duration argument"),
        ("timestamp('yesterday')", "compile: invalid timestamp argument"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "error: timestamp overflow"),
        ("int(timestamp(100))", "100"),
        ("string(duration('1h30m'))", r#""5400s""#),
    ]);
}

#[test]
fn optional_values_are_chained() {
    check(&[
        ("d.?a", "1"),
        ("d.?z", "none"),
        ("d.?z.y.x", "none"),
        ("d.?c.d.orValue('f')", r#""e""#),
        ("d.?z.orValue(7)", "7"),
        ("m[?'one'].hasValue() && !m[?'three'].hasValue()", "true"),
        ("l[?9].orValue(0)", "0"),
        ("optional.of(1).value()", "1"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("optional.ofNonZeroValue('').or(optional.of('x')).value()", r#""x""#),
        ("m[?'one'].optMap(v, v + 1).orValue(0)", "2"),
        ("m[?'three'].optMap(v, v + 1)", "none"),
        ("m[?'one'].optFlatMap(v, m[?'two']).value()", "2"),
        ("[?m[?'one'], ?m[?'three'], 5]", "[1,5]"),
        ("{?'a': m[?'one'], ?'b': m[?'three']}", r#"{"a":1}"#),
        ("[?1]", "compile: expected type 'optional_type(int)' but found 'int'"),
        ("has(d.?c.d)", "true"),
        ("optional.of(1) == optional.of(1) && optional.none() != optional.of(1)", "true"),
        ("l.first().value() + l.last().value()", "5"),
        ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
        (
            "m[?'one'].orValue('a')",
            "compile: found no matching overload for 'orValue' applied to 'optional_type(int).(string)'",
        ),
    ]);
}
