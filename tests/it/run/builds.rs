//! `--build`: it comes first, its failure is told, a newer change cancels it, and what it writes is no change.

use serde_json::json;

use super::{Bench, Client};
use crate::support::eventually;

#[test]
fn a_build_comes_first_and_its_failure_is_told() {
    let bench = Bench::new();
    std::fs::remove_file(bench.path("server.json")).unwrap();
    bench.write("source.toml", r#"{"name":"one","tools":["add"]}"#);
    // It looks at what it copies: the source may change meanwhile.
    let build = "cp source.toml built\ngrep -q name built || { echo 'error: no name' >&2; exit 3; }\nmv built server.json\n";
    bench.script("build.sh", build);
    let mut client = bench.run(&["--build", "./build.sh"]);
    client.initialize();
    assert_eq!(client.version(), "one", "it was built before it was started");
    bench.write("source.toml", r#"{"name":"two","tools":["add"]}"#);
    assert_eq!(client.version(), "two");
    bench.write("source.toml", "{}");
    let told = client.call("add", json!({}));
    assert_eq!((told.len(), told[0].as_str()), (2, "two"), "{told:?}");
    assert!(told[1].contains("error: no name") && told[1].contains("the build failed"), "{told:?}");
    client.program.stderr("error: no name");
    bench.write("source.toml", r#"{"name":"three","tools":["add"]}"#);
    assert_eq!(client.version(), "three");
}

#[test]
fn a_newer_change_cancels_the_build_with_all_its_processes() {
    let bench = Bench::new();
    // The first build after the start hangs in a process of its own; later ones do not.
    bench.script(
        "build.sh",
        "echo build >>builds.log\nif grep -q slow source.toml; then sleep 600 & echo $! >sleeper.log; wait; fi\ncp source.toml server.json\n",
    );
    bench.write("source.toml", r#"{"name":"one","tools":["add"]}"#);
    let mut client = bench.run(&["--build", "./build.sh", "--hold", "0"]);
    client.initialize();
    bench.write("source.toml", r#"{"name":"slow","tools":["add"]}"#);
    let sleeper = || std::fs::read_to_string(bench.path("sleeper.log")).unwrap_or_default();
    eventually("the build sleeps", || sleeper().ends_with('\n'));
    bench.write("source.toml", r#"{"name":"two","tools":["add"]}"#);
    eventually("the new version answers", || client.call("add", json!({}))[0] == "two");
    assert!(super::is_dead(sleeper().trim()));
}

#[test]
fn a_program_that_only_a_build_brings_is_waited_for() {
    let bench = Bench::new();
    bench.script(
        "build.sh",
        "printf '#!/bin/sh\\nexec python3 child.py server.json\\n' >server.tmp\nchmod +x server.tmp\nmv server.tmp server\n",
    );
    let mut client = Client::new(bench.start(&["--build", "./build.sh"], &["./server"]));
    assert_eq!(client.initialize()["serverInfo"]["name"], "one");
    assert_eq!(client.version(), "one");
}

#[test]
fn a_build_that_writes_into_the_tree_each_time_ends() {
    let bench = Bench::new();
    bench.script("build.sh", "echo build >>builds.log\ndate +%s.%N >generated.json\n");
    let mut client = bench.run(&["--build", "./build.sh", "--hold", "0"]);
    client.initialize();
    bench.write("source.py", "1");
    let said = client.program.stderr("is output");
    assert!(said.contains("generated.json"), "{said}");
    client.program.stderr("reloaded in ");
    let builds = || std::fs::read_to_string(bench.path("builds.log")).unwrap().lines().count();
    let before = builds();
    assert_eq!(bench.ask(&["reload"]).0, Some(0));
    assert!(builds() <= before + 2, "it goes on building");
    // What is no output is watched as before.
    bench.edit("two", &["add"], json!({}));
    eventually("the new version answers", || client.call("add", json!({}))[0] == "two");
}
