//! The built-in server of `mcp-http-transport demo`: a little of everything, to try a client with.

use std::time::Duration;

use serde_json::json;

use crate::handler::{ClientRequest, LogLevel, Session};
use crate::json;
use crate::server::{Args, Prompt, Resource, Server, Tool, ToolError, Type};

pub(crate) fn server() -> Server {
    Server::new("mcp-http-transport demo", env!("CARGO_PKG_VERSION"))
        .title("Demo")
        .instructions("A server to try clients with. Its tools echo, add, take their time, and ask you something.")
        .tool(
            Tool::new("echo", "Says what it is told").param("message", Type::String, "what to say").read_only(true).idempotent(true),
            |args, _session| args.string("message"),
        )
        .tool(
            Tool::new("add", "Adds two numbers")
                .param("a", Type::Number, "first addend")
                .param("b", Type::Number, "second addend")
                .read_only(true)
                .idempotent(true),
            |args, _session| Ok(args.number("a")? + args.number("b")?),
        )
        .tool(
            Tool::new("slow", "Takes its time, says how far it has come, and can be cancelled")
                .optional("seconds", Type::Number, "how long it takes, 2 unless said")
                .optional("steps", Type::Integer, "how often it says how far it has come, 4 times unless said")
                .read_only(true),
            slow,
        )
        .tool(
            Tool::new("ask", "Asks the person behind the client something, and says the answer").param(
                "question",
                Type::String,
                "what to ask",
            ),
            ask,
        )
        .resource(Resource::new("demo://greeting", "greeting").description("A greeting").mime_type("text/plain"), |_uri, _session| {
            Ok("Hello from mcp-http-transport!")
        })
        .prompt(Prompt::new("greet", "Asks for a greeting").argument("name", "whom to greet", true), |args, _session| {
            Ok(format!("Greet {} in one friendly sentence.", args.string("name")?))
        })
}

fn slow(args: &Args<'_>, session: &Session) -> Result<String, ToolError> {
    let seconds = args.opt_number("seconds")?.unwrap_or(2.0);
    let steps = args.opt_integer("steps")?.unwrap_or(4);
    if !(0.0..=3600.0).contains(&seconds) || !(1..=1000).contains(&steps) {
        return Err("seconds must be between 0 and 3600, and steps between 1 and 1000".into());
    }
    let pause = Duration::from_secs_f64(seconds / steps as f64);
    let cancelled = session.cancelled();
    session.log(LogLevel::Info, Some("demo"), json!(format!("slow begins: {steps} steps in {seconds} s")))?;
    for step in 1..=steps {
        if cancelled.recv_timeout(pause).is_err_and(|error| error.is_disconnected()) {
            log::info!("slow was cancelled at step {step} of {steps}");
            return Err("cancelled".into());
        }
        session.progress(step as f64, Some(steps as f64), Some(&format!("step {step} of {steps}")))?;
    }
    session.log(LogLevel::Info, Some("demo"), json!("slow is done"))?;
    Ok(format!("Done: {steps} steps in {seconds} s"))
}

fn ask(args: &Args<'_>, session: &Session) -> Result<String, ToolError> {
    let schema =
        json!({"type": "object", "properties": {"answer": {"type": "string", "description": "your answer"}}, "required": ["answer"]});
    let said = session.ask("answer", ClientRequest::elicitation(&args.string("question")?, schema))?;
    match said.get("action").and_then(json::unquote).as_deref() {
        Some("accept") => {
            let answer = json::path(said.as_str(), &["content", "answer"]).and_then(json::unquote);
            Ok(format!("The answer is: {}", answer.ok_or("the client accepted without an answer")?))
        }
        Some("decline") => Ok("The person would rather not answer.".to_owned()),
        _ => Ok("The person closed the question.".to_owned()),
    }
}

#[cfg(test)]
mod tests;
