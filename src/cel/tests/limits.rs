//! What hostile expressions and data cannot do: overflow the stack, exhaust memory, run for long.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use cel::{Bindings, Budget, Decl, Environment, EvaluationError, PER_CALL_LIMIT, Type, Value};
use common::{check, evaluate};
use serde_json::json;

/// Runs on a stack as small as the server's workers have.
fn on_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(test).unwrap().join().unwrap();
}

#[test]
fn depth_is_bounded() {
    on_small_stack(|| {
        let limit = "compile: expression recursion limit exceeded: 250";
        for (open, inner, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{1:", "1", "}"),
            ("-(", "1", ")"),
            ("l.map(x, ", "1", ")"),
            ("true ? 1 : ", "1", ""),
            ("size([", "1", "])"),
            ("dyn(1)[", "1", "]"),
            ("", "1", " + 1"),
            ("", "d", ".a"),
            ("", "d", "[0]"),
            ("optional.of(1).optMap(v, ", "v", ")"),
        ] {
            let nested = |depth: usize| format!("{}{inner}{}", open.repeat(depth), close.repeat(depth));
            assert_eq!(evaluate(&nested(2_000)), limit, "{open}{close}");
            // As deep as it may be, whatever comes of it.
            let deepest = (1..250).rev().find(|depth| evaluate(&nested(*depth)) != limit).unwrap();
            assert!(deepest > 45, "{open}{close} {deepest}");
        }
    });
}

#[test]
fn long_conditions_do_not_nest() {
    on_small_stack(|| {
        assert_eq!(evaluate(&vec!["x == 5"; 5_000].join(" && ")), "true");
        assert_eq!(evaluate(&vec!["x == 6"; 5_000].join(" || ")), "false");
        let long = format!("'{}'", "a".repeat(100_000));
        assert!(
            evaluate(&long).starts_with("compile: expression code point size exceeds limit: size: 100002")
        );
    });
}

#[test]
fn types_that_double_are_cut_short() {
    let source = format!("[[1]]{}", ".map(a, [{}].map(m, a in m ? m : {a: a})[0])".repeat(60));
    assert!(evaluate(&source).starts_with("compile: found no matching overload"));
    let source = format!("[1]{} + 1", ".map(a, {a: a})".repeat(60));
    let found = evaluate(&source);
    assert!(found.starts_with("compile: ") || found.starts_with("error: "), "{found}");
}

#[test]
fn cost_and_memory_are_bounded() {
    let limit = "error: operation cancelled: actual cost limit exceeded";
    let doubled = |seed: &str, step: &str, times: usize| format!("{seed}{}.size() > 0", step.repeat(times));
    check(&[
        ("lists.range(1000).all(x, lists.range(1000).all(y, lists.range(1000).all(z, true)))", limit),
        ("lists.range(9000000).size()", limit),
        (&doubled("['0123456789']", ".map(x, x + x)", 40), limit),
        (&doubled("[dyn('0123456789')]", ".map(x, x + x)", 40), limit),
        (&doubled("[[1, 2, 3, 4]]", ".map(x, x + x)", 40), limit),
        (&doubled("['ab']", ".map(x, x.replace('', x))", 40), limit),
        (&doubled("['ab']", ".map(x, [x, x, x].join(x))", 40), limit),
        (&doubled("['ab']", ".map(x, '%s%s%s'.format([x, x, x]))", 40), limit),
        // A value that shares its parts is small, and walking it is not.
        (&format!("[[1]]{}.map(x, x == x)", ".map(x, [x, x])".repeat(40)), limit),
        (&format!("'%s'.format([[1]]{})", ".map(x, [x, x])".repeat(40)), limit),
        ("'a'.matches('(((a{100}){100}){100})')", "compile: invalid matches argument"),
        ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!'.matches('^(a+)+$')", "false"),
    ]);
}

#[test]
fn every_piece_of_garbage_is_an_error() {
    for source in [
        "",
        " ",
        "(",
        ")",
        "1 +",
        "a.",
        "a.1",
        "'unended",
        "\"\"\"",
        "{",
        "{1}",
        "{a:}",
        "[1,,2]",
        "f(",
        "1 2",
        "a b c",
        "$",
        "|",
        "&",
        "=",
        "a = b",
        "a ? b",
        "a ? b :",
        "x.all()",
        "x.map(y)",
        "has()",
        "has(a.b, c)",
        "if",
        "for",
        "a.in",
        "0x",
        "1.",
        "1e",
        "b",
        "r",
        "b'",
        "\u{0}",
        "é",
        "😀",
        "'\\uD800'",
        "'\\x'",
        "\u{feff}1",
        "package",
        "Object{a: }",
        "Object.{",
        "[?]",
        "a.?",
        "a[?",
        "!",
        "-",
        "--",
        "@result",
        "a.@result",
        "`a`",
        "1..2",
        ".",
        "..a",
        "!-1!",
        "cel.bind(1, 2, 3)",
        "x.optMap(1, 2)",
    ] {
        let found = evaluate(source);
        assert!(found.starts_with("compile: "), "{source:?} is {found}");
    }
}

#[test]
fn errors_are_worded_and_placed_as_cel_go_does() {
    let environment = Environment::builder().variable("a", Type::Int).build();
    for (source, expected) in [
        (
            "1 +",
            "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 +\n | ...^",
        ),
        ("1 2", "ERROR: <input>:1:3: Syntax error: extraneous input '2' expecting <EOF>\n | 1 2\n | ..^"),
        (
            "1 + $",
            "ERROR: <input>:1:5: Syntax error: token recognition error at: '$'\n | 1 + $\n | ....^\nERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 + $\n | .....^",
        ),
        (
            "a.true",
            "ERROR: <input>:1:3: Syntax error: mismatched input 'true' expecting IDENTIFIER\n | a.true\n | ..^",
        ),
        ("'é' ==\n\tb", "ERROR: <input>:2:2: undeclared reference to 'b' (in container '')\n |  b\n | .^"),
        (
            "'é' == b",
            "ERROR: <input>:1:8: undeclared reference to 'b' (in container '')\n | 'é' == b\n | .\u{ff0e}.....^",
        ),
        (
            "b == c",
            "ERROR: <input>:1:1: undeclared reference to 'b' (in container '')\n | b == c\n | ^\nERROR: <input>:1:6: undeclared reference to 'c' (in container '')\n | b == c\n | .....^",
        ),
        ("package", "ERROR: <input>:1:1: reserved identifier: package\n | package\n | ^"),
        (
            "if + [1].all(1, true)",
            "ERROR: <input>:1:1: reserved identifier: if\n | if + [1].all(1, true)\n | ^\nERROR: <input>:1:14: argument must be a simple name\n | if + [1].all(1, true)\n | .............^",
        ),
    ] {
        assert_eq!(environment.compile(source).unwrap_err().to_string(), expected);
    }
}

#[test]
fn budgets_are_shared() {
    let environment = Environment::builder().variable("l", Type::list(Type::Int)).build();
    let program = environment.compile("l.all(x, x > 0)").unwrap();
    let items = json!(vec![1; 100]);
    let decl: Decl = Type::list(Type::Int).into();
    let bindings = || Bindings::new().json("l", &items, &decl).unwrap();
    let mut budget = Budget::default();
    let before = budget.remaining;
    assert!(program.evaluate(&bindings(), &mut budget).is_ok());
    // Name of the list and of the result; each round: condition 2, accumulator 1, item 1, comparison 1.
    assert_eq!(before - budget.remaining, 2 + 100 * 5);
    let mut short = Budget::new(501);
    assert_eq!(program.evaluate(&bindings(), &mut short).unwrap_err(), EvaluationError::Budget);
    assert_eq!(short.remaining, 0);
    let mut each = Budget { remaining: u64::MAX, per_call: 100 };
    assert_eq!(program.evaluate(&bindings(), &mut each).unwrap_err(), EvaluationError::CostLimit);
    assert!(u64::MAX - each.remaining < PER_CALL_LIMIT);
}

#[test]
fn composed_variables_run_once_and_when_needed() {
    let mut builder = Environment::builder().variable("x", Type::Int);
    let mut programs = Vec::new();
    for (name, source) in [("a", "x + 1"), ("b", "variables.a * 2"), ("c", "1 / 0")] {
        let program = builder.clone().build().compile(source).unwrap();
        builder = builder.composed(name, program.output_type().clone());
        programs.push((name, program));
    }
    let environment = builder.build();
    let program = environment.compile("variables.b + variables.a + variables.b").unwrap();
    assert_eq!(environment.compile("variables.z").unwrap_err().0[0].message, "undefined field 'z'");
    assert_eq!(
        environment.compile("variables.a == 'x'").unwrap_err().0[0].message,
        "found no matching overload for '_==_' applied to '(int, string)'"
    );
    let mut bindings = Bindings::new().bind("x", Value::Int(1));
    for (name, program) in &programs {
        bindings = bindings.compose(name, program);
    }
    let mut budget = Budget::default();
    let value = program.evaluate(&bindings, &mut budget).unwrap();
    assert_eq!(value.to_json().unwrap(), json!(10));
    // a: name, addition; b: variables, field, multiplication; the sum: three fields of a name, two additions.
    assert_eq!(Budget::default().remaining - budget.remaining, 2 + 3 + 8);
    let failing = environment.compile("variables.c == 1 || true").unwrap();
    assert_eq!(failing.evaluate(&bindings, &mut budget).unwrap().as_bool(), Some(true));
}
