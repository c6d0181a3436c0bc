use super::*;
use crate::json::Json;

fn parse(text: &str) -> Result<Message, Malformed> {
    Message::parse(text.to_owned())
}

#[test]
fn what_passes_through_is_kept_byte_for_byte() {
    let text = r#"{"params":{"z":1,"a":123456789012345678901234567890,"f":1.0e+2},"method":"m\u0041","id":-98765432109876543210,"jsonrpc":"2.0","x":[ ]}"#;
    let message = parse(text).unwrap();
    assert_eq!(message.as_str(), text);
    assert_eq!(message.kind(), Kind::Request);
    assert_eq!(message.id(), "-98765432109876543210");
    assert_eq!(message.method(), "mA");
    assert_eq!(message.letter(), Some(r#"{"z":1,"a":123456789012345678901234567890,"f":1.0e+2}"#));
    let renamed = message.with_id("\"s7\"");
    assert_eq!(renamed.as_str(), text.replace("-98765432109876543210", "\"s7\""));
    assert_eq!((renamed.id(), renamed.method().as_ref()), ("\"s7\"", "mA"));
    assert_eq!(renamed.letter(), Some(r#"{"z":1,"a":123456789012345678901234567890,"f":1.0e+2}"#));
}

#[test]
fn replacing_a_part_of_the_letter_moves_what_lies_behind_it() {
    let message = parse(r#"{"jsonrpc":"2.0","method":"p","params":{"t":1,"u":2},"id":5}"#).unwrap();
    let part = json::span(message.as_str(), message.find(&["t"]).unwrap());
    let changed = message.replace(part, "\"long\"");
    assert_eq!(changed.as_str(), r#"{"jsonrpc":"2.0","method":"p","params":{"t":"long","u":2},"id":5}"#);
    assert_eq!((changed.id(), changed.letter()), ("5", Some(r#"{"t":"long","u":2}"#)));
}

#[test]
fn the_meta_of_the_params_is_known_whatever_was_replaced() {
    let message = parse(r#"{"jsonrpc":"2.0","id":5,"method":"p","params":{"x":1,"_meta":{"t":1}}}"#).unwrap();
    assert_eq!(message.meta(), Some(r#"{"t":1}"#));
    let at = |message: &Message, names: &[&str]| json::span(message.as_str(), message.find(names).unwrap());
    let renamed = message.clone().with_id("\"a longer id\"");
    assert_eq!(renamed.meta(), Some(r#"{"t":1}"#));
    let behind = renamed.clone().replace(at(&renamed, &["x"]), "[1, 2]");
    assert_eq!(behind.meta(), Some(r#"{"t":1}"#));
    let within = behind.clone().replace(at(&behind, &["_meta", "t"]), "\"token\"");
    assert_eq!(within.meta(), Some(r#"{"t":"token"}"#));
    let all = within.clone().replace(at(&within, &[]), r#"{"_meta":2,"y":1}"#);
    assert_eq!((all.meta(), all.letter()), (Some("2"), Some(r#"{"_meta":2,"y":1}"#)));
    let gone = all.clone().replace(at(&all, &[]), "{}");
    assert_eq!(gone.meta(), None);
    assert_eq!(Message::request("1", "m", Some(r#"{"_meta":{}}"#)).meta(), Some("{}"));
    assert_eq!(parse(r#"{"jsonrpc":"2.0","id":5,"result":{"_meta":{}},"params":{"_meta":{}}}"#).unwrap().meta(), None);
}

#[test]
fn line_breaks_between_tokens_become_blanks() {
    let message = parse("{\"jsonrpc\":\"2.0\",\r\n\"method\":\"ping\",\n\"id\":0}").unwrap();
    assert_eq!(message.as_str(), "{\"jsonrpc\":\"2.0\",  \"method\":\"ping\", \"id\":0}");
    assert_eq!(message.id(), "0");
}

#[test]
fn kinds_are_told_apart() {
    for (text, kind) in [
        (r#"{"jsonrpc":"2.0","id":"x","method":"m"}"#, Kind::Request),
        (r#"{"jsonrpc":"2.0","method":"m","params":[]}"#, Kind::Notification),
        (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Kind::Result),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#, Kind::Error),
        (r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#, Kind::Error),
        (r#"{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}"#, Kind::Error),
    ] {
        assert_eq!(parse(text).unwrap().kind(), kind, "{text}");
    }
}

#[test]
fn what_is_wrong_gets_the_right_code_and_the_id_where_there_is_one() {
    for (text, code, id) in [
        ("", -32700, None),
        ("{", -32700, None),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"m\"} x", -32700, None),
        ("7", -32600, None),
        ("[]", -32600, None),
        ("{}", -32600, None),
        (r#"{"id":7,"method":"m"}"#, -32600, Some("7")),
        (r#"{"jsonrpc":"1.0","id":"a","method":"m"}"#, -32600, Some("\"a\"")),
        (r#"{"jsonrpc":"2.0","id":7}"#, -32600, Some("7")),
        (r#"{"jsonrpc":"2.0","id":7,"method":1}"#, -32600, Some("7")),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","params":1}"#, -32600, Some("7")),
        (r#"{"jsonrpc":"2.0","id":7,"method":"m","result":1}"#, -32600, Some("7")),
        (r#"{"jsonrpc":"2.0","id":7,"result":1,"error":{}}"#, -32600, Some("7")),
        (r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, -32600, None),
        (r#"{"jsonrpc":"2.0","id":true,"method":"m"}"#, -32600, None),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"m"}"#, -32600, None),
        (r#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, -32600, None),
        (r#"{"jsonrpc":"2.0","id":1.5,"method":"m"}"#, -32600, None),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#, -32600, None),
    ] {
        let malformed = parse(text).unwrap_err();
        assert_eq!(malformed.error.code(), code, "{text}");
        assert_eq!(malformed.id.as_deref(), id, "{text}");
    }
}

#[test]
fn what_is_built_reads_back() {
    for message in [
        Message::request("\"a\"", "tools/call", Some("{\"name\":\"x\"}")),
        Message::notification("notifications/message", None),
        Message::result("0", "{}"),
        Message::error(Some("1"), &RpcError::method_not_found("x\"y").with_data(Json::empty())),
        Message::error(None, &RpcError::parse_error("line 1")),
        Message::error_without_id(&RpcError::parse_error("line 1")),
    ] {
        assert!(parse(message.as_str()).unwrap() == message, "{message:?}");
    }
    assert!(Message::error(None, &RpcError::parse_error("x")).as_str().contains("\"id\":null"));
    let error = RpcError::method_not_found("x").with_data(Json::empty());
    assert_eq!(RpcError::from_json(error.to_json().as_str()), error);
}

#[test]
fn batches_are_taken_apart() {
    let Incoming::Batch(parts) = Incoming::parse(" [{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}, 5]".to_owned()).unwrap() else {
        panic!("an array is a batch");
    };
    assert!(parts[0].is_ok());
    assert_eq!(parts[1].as_ref().unwrap_err().error.code(), -32600);
    assert!(Incoming::parse("[]".to_owned()).is_err());
    let batch = |most: usize| Incoming::parse(format!("[{}5]", "5,".repeat(most - 1)));
    assert!(batch(BATCH).is_ok());
    assert_eq!(batch(BATCH + 1).err().unwrap().error.message(), "Invalid request: a batch has at most 1000 messages");
    assert_eq!(Incoming::parse("[1".to_owned()).err().unwrap().error.code(), -32700);
}

#[test]
fn an_answer_put_around_its_result_is_the_one_that_is_written() {
    for (id, result) in [("1", "{}"), ("\"a\\\"b\"", "{\"content\":[]}"), ("-123456789012345678901234567890", "null")] {
        let answer = Message::answer(id, crate::json::Json::trusted(result));
        assert_eq!(answer, Message::result(id, result));
        assert_eq!((answer.id(), answer.letter()), (id, Some(result)));
    }
}

#[test]
fn a_message_that_is_built_is_as_one_that_is_read() {
    for method in ["tools/call", "", "a\"b", "caf\u{e9}", "line\nbreak"] {
        let built = Message::request("1", method, Some("{}"));
        let read = Message::parse(built.as_str().to_owned()).unwrap();
        assert_eq!((built.method(), &built), (method.into(), &read));
        assert_eq!(read.method(), method);
    }
    let escaped = Message::parse(r#"{"jsonrpc":"2.0","id":1,"method":"\u0061\"b"}"#.to_owned()).unwrap();
    assert_eq!(escaped.method(), "a\"b");
    assert_eq!(escaped.with_id("22").method(), "a\"b");
}
