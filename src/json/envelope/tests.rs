use std::collections::HashMap;

use serde_json::value::RawValue;

use super::*;
use crate::random::Random;

#[test]
fn what_is_not_an_object_is_told_from_what_is_not_json() {
    assert!(matches!(envelope("[1]", ["a"]), Err(Unreadable::NotAnObject)));
    assert!(matches!(envelope("{\"a\":1}x", ["a"]), Err(Unreadable::Syntax(_))));
    assert!(matches!(envelope("{\"b\":}", ["a"]), Err(Unreadable::Syntax(_))));
    assert!(matches!(envelope("", ["a"]), Err(Unreadable::Syntax(_))));
    assert!(matches!(envelope("{\"a\":1,\"a\":2}", ["a"]), Err(Unreadable::Twice("a"))));
}

#[test]
fn it_reads_what_another_reader_of_json_reads() {
    let mut random = Random(9);
    let names = ["a", "b", "ax", "c\"", "never"];
    for _ in 0..20_000 {
        let text = format!("{}{}{}", random.space(), random.object(0), random.space());
        let known: HashMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
        let read = envelope(&text, names).unwrap();
        assert_eq!(read.members, names.map(|name| known.get(name).map(|raw| raw.get())), "{text}");
        assert_eq!(read.has_breaks, text.contains('\n'), "{text}");
    }
}

/// One byte is another one: most of what comes out is no JSON, in every way there is.
#[test]
fn it_refuses_what_another_reader_of_json_refuses() {
    let mut random = Random(10);
    let others = b"{}[]\",:\\ u0e1.-+tn\x01\n/\xc3";
    let (mut good, mut bad) = (0, 0);
    for _ in 0..100_000 {
        let mut bytes = random.object(0).into_bytes();
        for _ in 0..=random.below(2) {
            let (at, other) = (random.below(bytes.len()), others[random.below(others.len())]);
            match random.below(3) {
                0 => bytes[at] = other,
                1 => bytes.insert(at, other),
                _ => drop(bytes.remove(at)),
            }
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let is_object = serde_json::from_str::<&RawValue>(&text).is_ok_and(|raw| raw.get().starts_with('{'));
        assert_eq!(envelope(&text, []).is_ok(), is_object, "{text}");
        *(if is_object { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 1000 && bad > 1000, "{good} good, {bad} bad");
}

#[test]
fn numbers_words_and_escapes_are_what_the_grammar_says() {
    for value in [
        "0",
        "-0",
        "10",
        "1.5",
        "1e5",
        "1E+5",
        "-0.1e-2",
        "00",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "-a",
        "0x1",
        "Infinity",
        "true",
        "false",
        "null",
        "tru",
        "nul",
        "fals",
        "True",
        r#""\u00e9""#,
        r#""\ud800""#,
        r#""\u00g0""#,
        r#""\u12""#,
        r#""\x""#,
        r#""\""#,
        "\"\t\"",
        "[1,]",
        "[,1]",
        "{,}",
        "[1 2]",
        "[}",
        "{]",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{a:1}"#,
        "1 2",
        "",
    ] {
        let text = format!(r#"{{"a":{value}}}"#);
        let is_json = serde_json::from_str::<&RawValue>(&text).is_ok();
        assert_eq!(envelope(&text, ["a"]).is_ok(), is_json, "{text}");
    }
}

#[test]
fn brackets_close_in_order_at_every_depth() {
    for depth in [1, 2, 63, 64, 65, 127, 128, 129, 200, 100_000] {
        let mut random = Random(depth as u64);
        let is_object: Vec<bool> = (0..depth).map(|_| random.below(2) == 0).collect();
        let open: String = is_object.iter().map(|is_object| if *is_object { r#"{"k":"# } else { "[" }).collect();
        let close: String = is_object.iter().rev().map(|is_object| if *is_object { '}' } else { ']' }).collect();
        let good = format!(r#"{{"a":{open}1{close},"b":2}}"#);
        assert_eq!(envelope(&good, ["b"]).unwrap().members, [Some("2")], "{depth}");
        for at in [0, depth / 2, depth - 1] {
            let mut wrong = close.clone().into_bytes();
            wrong[at] = if wrong[at] == b']' { b'}' } else { b']' };
            let wrong = format!(r#"{{"a":{open}1{},"b":2}}"#, String::from_utf8(wrong).unwrap());
            assert!(envelope(&wrong, ["b"]).is_err(), "{depth} at {at}");
        }
    }
}

#[test]
fn the_meta_of_params_is_found_in_the_same_pass() {
    let meta = |text: &str| envelope(text, ["params"]).unwrap().inner.map(str::to_owned);
    assert_eq!(meta(r#"{"params":{"a":{"_meta":1},"_meta" : {"t":1} }}"#).as_deref(), Some(r#"{"t":1}"#));
    assert_eq!(meta(r#"{"params":{"\u005fmeta":2}}"#).as_deref(), Some("2"));
    assert_eq!(meta(r#"{"params":[{"_meta":1}],"_meta":1,"result":{"_meta":1}}"#), None);
}
