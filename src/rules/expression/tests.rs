//! Promise: no text does harm, numbers mix as people expect, and each mistake is shown at its place.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::rules::expression::scan::{DEPTH_MAX, SIGNS_MAX};

fn names() -> Vec<Name> {
    let name = |name: &str, kind| Name { name: name.into(), point: format!("d.{name}").into(), kind };
    let words = ["running", "stopped", "fault"].map(str::to_owned).to_vec();
    vec![
        name("x", Kind::Number),
        name("y", Kind::Number),
        name("state", Kind::Words(words)),
        name("label", Kind::Text),
        name("on", Kind::Bool),
        name("any", Kind::Any),
    ]
}

/// With the names that the text has.
fn compile(text: &str) -> Result<Expression, Fault> {
    let has =
        |name: &Name| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name.name);
    let used: Vec<Name> = names().into_iter().filter(has).collect();
    Expression::compile(text, &used)
}

#[test]
fn numbers_mix_and_what_cannot_be_said_is_not_known() {
    let of = |name: &str| match name {
        "x" => Value::Signed(7),
        "y" => Value::Number(0.0),
        "state" => Value::Text("running".into()),
        "label" => Value::Text("水泵 3".into()),
        "on" => Value::Bool(true),
        _ => Value::Text("12.5".into()),
    };
    for (text, expected) in [
        ("x + 1 > 7", Some(true)),
        ("x + 1.0 == 8", Some(true)),
        ("1 / 2 == 0.5 && x > 0", Some(true)),
        ("x % 2 == 1", Some(true)),
        ("x == 7.0", Some(true)),
        ("x == 7u", Some(true)),
        ("y == 0", Some(true)),
        ("-x < -6", Some(true)),
        ("!!on", Some(true)),
        ("- -x == 7", Some(true)),
        ("x / y > 3", None),
        ("x % y == 0", None),
        ("y != 0 && x / y > 3", Some(false)),
        ("x / y > 3 && y != 0", Some(false)),
        ("y == 0 || x / y > 3", Some(true)),
        ("x / y > 3 || y == 0", Some(true)),
        ("x * 1e308 > 0", None),
        ("state == \"running\"", Some(true)),
        ("state in ['stopped', 'fault']", Some(false)),
        ("x in [1, 7.0]", Some(true)),
        ("on ? x > 100 : x > 5", Some(false)),
        ("label.startsWith('水泵') && label.endsWith('3')", Some(true)),
        ("label.contains(' ') && size(label) == 4 && label.size() < 5", Some(true)),
        ("abs(y - x) > 6 && math.abs(y - x) == 7", Some(true)),
        ("max(x, y, 3) == 7 && min(x, y) == 0", Some(true)),
        ("double(any) == 12.5", Some(true)),
        ("int(x / 2) == 3 && round(2.5) == 3 && floor(2.5) + ceil(2.5) == 5", Some(true)),
        ("any > 3", None),
        ("any == '12.5'", Some(true)),
        ("any == 12.5", Some(false)),
        ("any", None),
        ("9007199254740993 == x", Some(false)),
    ] {
        let expression = compile(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        let values: Vec<_> = expression.names.iter().map(|name| Some(of(name))).collect();
        let judged = match expression.tree.value(&values) {
            Some(Value::Bool(flag)) => Some(flag),
            _ => None,
        };
        assert_eq!(judged, expected, "{text}");
    }
}

#[test]
fn whole_numbers_beyond_what_a_float_holds_are_compared_exactly() {
    let expression = compile("x == 9007199254740993").unwrap();
    let says = |v: i64| expression.tree.value(&[Some(Value::Signed(v))]);
    assert_eq!(says(9_007_199_254_740_993), Some(Value::Bool(true)));
    assert_eq!(says(9_007_199_254_740_992), Some(Value::Bool(false)));
}

#[test]
fn each_mistake_is_shown_at_its_place() {
    for (text, marked, what) in [
        ("x > ", " ", "breaks off"),
        ("x > 5 5", "5", "does not fit"),
        ("x = 5", "=", "no sign"),
        ("x > 5 and y < 3", "and", "no sign"),
        ("x > 5 & y < 3", "&", "no sign"),
        ("(x > 5", "(", "never closed"),
        ("x > 5)", ")", "closes nothing"),
        ("label == '水泵' && z > 1", "z", "no name `z`"),
        ("label == '水泵' && x ＞ 1", "＞", "no sign"),
        ("sqrt(x) > 2", "sqrt", "no function `sqrt`"),
        ("label.matches('a')", "matches", "no function `matches`"),
        ("x + 1", "+", "a number where true or false"),
        ("state", "state", "text where true or false"),
        ("state > 3", "state", "text where a number"),
        ("on + 1 > 3", "on", "true or false where a number"),
        ("state == \"runing\"", "\"runing\"", "never `runing`"),
        ("state in ['open']", "'open'", "never `open`"),
        ("x == '5'", "==", "a number is never text"),
        ("label == 'a", "'", "never closed"),
        ("[x].exists(v, v > 3)", "(", "through lists"),
        ("x.y > 3", ".", "no fields"),
        ("x in y", "in", "needs a list"),
        ("abs(x, 1) > 3", "(", "2 arguments"),
        ("x == null", "null", "null"),
    ] {
        let fault = compile(text).expect_err(text);
        assert!(fault.what.contains(what), "{text}: {fault:?}");
        assert_eq!(&text[fault.at..fault.at + fault.length], marked, "{text}: {fault:?}");
    }
    let unused = Expression::compile("x > 1", &names()[..2]).expect_err("y is not used");
    assert!(unused.what.contains("`y`"), "{unused:?}");
}

#[test]
fn what_is_too_long_or_too_deep_never_reaches_the_parser() {
    let deep = |n: usize| format!("{}x > 1{}", "(".repeat(n), ")".repeat(n));
    assert!(compile(&deep(DEPTH_MAX)).is_ok());
    for text in [
        deep(DEPTH_MAX + 1),
        deep(400),
        "[".repeat(11),
        "{1:".repeat(300),
        format!("{}on", "!".repeat(SIGNS_MAX + 1)),
        format!("{}x > 1", "- ".repeat(SIGNS_MAX + 1)),
        "x".repeat(TEXT_MAX + 1),
    ] {
        let fault = compile(&text).expect_err(&text);
        assert!(fault.what.contains("more than") || fault.what.contains("bytes"), "{fault:?}");
    }
    // As much as is allowed at once.
    assert!(compile(&format!("{}on", "!".repeat(SIGNS_MAX))).is_ok());
    assert!(compile(&format!("{}x > 1", "- ".repeat(SIGNS_MAX - 1))).is_ok());
    let sum = format!("x{} > 1", "+1".repeat(SIGNS_MAX - 1));
    assert_eq!(compile(&sum).unwrap().tree.value(&[Some(Value::Signed(0))]), Some(Value::Bool(true)));
    let choices = format!("{}on", "on?on:".repeat(SIGNS_MAX / 2));
    let _ = compile(&choices);
}

/// A generator of its own: the same texts each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

#[test]
fn no_text_makes_it_panic() {
    const PARTS: [&str; 48] = [
        "x",
        "y",
        "state",
        "label",
        "on",
        "any",
        "1",
        "2.5",
        "0",
        "9223372036854775807",
        "18446744073709551615u",
        "1e309",
        "0x",
        "\"running\"",
        "'水'",
        "r'\\'",
        "\"\\u12\"",
        "b'a'",
        "true",
        "null",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "+",
        "-",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ".",
        ",",
        " in ",
        "size(",
        "abs(",
        ".all(v,",
        "//",
        "\n",
    ];
    let values = [
        Some(Value::Signed(i64::MIN)),
        Some(Value::Unsigned(u64::MAX)),
        Some(Value::Text("running".into())),
        Some(Value::Text("水".into())),
        Some(Value::Bool(true)),
        None,
    ];
    let (mut dice, mut good) = (Dice(7), 0);
    for round in 0..100_000 {
        let parts = 1 + dice.roll(if round % 50 == 0 { 300 } else { 8 });
        let text: String = (0..parts).map(|_| PARTS[dice.roll(PARTS.len())]).collect();
        // On the thread itself where it is short, or the test would start a hundred thousand.
        let result = scan::scan(&text, &names()).and_then(|()| match parts {
            0..12 => parse(&text, &names()),
            _ => Expression::compile(&text, &names()).map(|expression| (*expression.tree).clone()),
        });
        match result {
            Ok(tree) => drop(tree.value(&values)),
            Err(fault) => {
                let end = fault.at + fault.length;
                assert!(text.get(fault.at..end).is_some(), "{text:?}: {fault:?}");
                good += usize::from(fault.what.starts_with("the expression does not use"));
            }
        }
    }
    assert!(good > 500, "only {good} were read to their end");
}
