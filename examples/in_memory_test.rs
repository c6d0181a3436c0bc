//! Testing a server without any transport: the tests below are the point of it, and `main` does one of their calls and prints its result.
//!
//! ```text
//! $ cargo test --locked --example in_memory_test
//! < ...
//! ```
//!
//! ```text
//! $ cargo run --example in_memory_test
//! ! {"content":[{"type":"text","text":"2.5"}]}
//! ```

use std::time::Duration;

use mcp_http_transport::{Server, Tool, Type, memory};

/// The server under test.
fn server() -> Server {
    Server::new("till", "1.0.0").tool(
        Tool::new("split", "Splits a bill").param("total", Type::Number, "the bill").param("people", Type::Integer, "how many pay"),
        |args, _session| match args.integer("people")? {
            people if people > 0 => Ok(args.number("total")? / people as f64),
            people => Err(format!("{people} people cannot pay").into()),
        },
    )
}

fn split(arguments: &str) -> String {
    let client = memory(server());
    let params = format!(r#"{{"name": "split", "arguments": {arguments}}}"#);
    match client.call(1, "tools/call", &params, Duration::from_secs(5)) {
        Ok(result) => result.to_string(),
        Err(error) => error.to_string(),
    }
}

fn main() {
    eprintln!("{}", split(r#"{"total": 10, "people": 4}"#));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_split() {
        assert_eq!(split(r#"{"total": 10, "people": 4}"#), r#"{"content":[{"type":"text","text":"2.5"}]}"#);
    }

    #[test]
    fn nobody_cannot_pay() {
        assert_eq!(split(r#"{"total": 10, "people": 0}"#), r#"{"content":[{"type":"text","text":"0 people cannot pay"}],"isError":true}"#);
    }

    #[test]
    fn the_bill_must_be_a_number() {
        assert!(split(r#"{"total": "ten", "people": 2}"#).contains("must be a number"));
    }
}
