//! The text for each client, read again as the client would.

use super::*;

/// A project in a directory of its own, removed at the end.
struct Project(PathBuf);

impl Project {
    fn new(name: &str) -> Project {
        let dir = std::env::temp_dir().join(format!("mht-config-{name}-{}", std::process::id())).join("my tools");
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/main.py"), "").unwrap();
        std::fs::write(dir.join("server.py"), "").unwrap();
        std::fs::write(dir.join("weather.py"), "").unwrap();
        Project(dir)
    }

    fn entry(&self, client: Client, command: &str) -> Entry {
        let own = PathBuf::from("/opt/bin/mcp-http-transport");
        let place = Place { own, cwd: self.0.clone(), home: None, path: Some("/usr/bin:/bin:relative:/bin:/nowhere".as_ref()) };
        Entry::new(client, None, command.split(' ').map(str::to_owned).collect(), &place).unwrap()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        std::fs::remove_dir_all(self.0.parent().unwrap()).ok();
    }
}

#[test]
fn each_client_gets_its_own_keys_and_absolute_paths() {
    let project = Project::new("keys");
    let dir = project.0.to_str().unwrap();
    for (client, root, has_type) in [
        (Client::ClaudeDesktop, "mcpServers", false),
        (Client::VsCode, "servers", true),
        (Client::Cursor, "mcpServers", false),
        (Client::Windsurf, "mcpServers", false),
        (Client::Zed, "context_servers", false),
    ] {
        let entry = project.entry(client, "sh weather.py --level info");
        let value: Value = serde_json::from_str(&entry.text()).unwrap();
        let server = &value[root]["weather"];
        assert_eq!(server["command"], "/opt/bin/mcp-http-transport", "{value}");
        let arguments = server["args"].as_array().unwrap();
        assert_eq!(arguments[..4], [json!("run"), json!("--cwd"), json!(dir), json!("--")]);
        assert!(arguments[4].as_str().unwrap().ends_with("/bin/sh"), "{value}");
        assert_eq!(arguments[5..], [json!(format!("{dir}/weather.py")), json!("--level"), json!("info")]);
        assert_eq!(server["env"]["PATH"], "/usr/bin:/bin");
        assert_eq!(server.get("type"), has_type.then_some(&json!("stdio")));
        assert!(entry.advice().contains("Put this into") && entry.advice().contains("PATH"));
    }
}

#[test]
fn claude_code_gets_a_command_line_that_a_shell_reads() {
    let project = Project::new("line");
    let dir = project.0.to_str().unwrap();
    let text = project.entry(Client::ClaudeCode, "sh ./sub/../weather.py it's").text();
    let sh =
        program("sh", &Place { own: PathBuf::new(), cwd: project.0.clone(), home: None, path: Some("/usr/bin:/bin".as_ref()) }).unwrap();
    let expected = format!(
        "claude mcp add weather -- /opt/bin/mcp-http-transport run --cwd '{dir}' -- {} '{dir}/sub/../weather.py' 'it'\\''s'\n",
        sh.display()
    );
    assert_eq!(text, expected);
}

#[test]
fn only_a_connect_to_https_is_said_to_need_tls() {
    let project = Project::new("tls");
    let says = |client, command: &str| project.entry(client, command).advice().contains("--features tls");
    let without = !cfg!(feature = "tls");
    for client in [Client::Zed, Client::ClaudeCode] {
        assert_eq!(says(client, "https://tools.example.com/mcp"), without);
        assert_eq!(says(client, "HTTPS://tools.example.com/mcp"), without);
        assert!(!says(client, "http://tools.example.com/mcp"));
        assert!(!says(client, "sh weather.py https://api.example.com"));
    }
}

#[test]
fn a_url_is_connected_to_and_our_own_command_stays_as_it_is() {
    let project = Project::new("own");
    let entry = project.entry(Client::Zed, "http://tools.example.com:3000/mcp");
    assert_eq!(
        (entry.name.as_str(), &entry.arguments[..]),
        ("tools-example-com", &["connect".to_owned(), "http://tools.example.com:3000/mcp".to_owned()][..])
    );
    assert_eq!(entry.path, None);
    let entry = project.entry(Client::Zed, "mcp-http-transport run -w weather.py -- sh server.py");
    let dir = project.0.to_str().unwrap();
    let file = |name: &str| format!("{dir}/{name}");
    assert_eq!(entry.arguments, ["run", "-w", &file("weather.py"), "--", "sh", &file("server.py")]);
}

#[test]
fn a_server_is_named_for_what_says_most() {
    let project = Project::new("name");
    let name = |command: &str| name_of(&command.split(' ').map(str::to_owned).collect::<Vec<_>>(), &project.0);
    assert_eq!(name("python weather.py"), "weather");
    assert_eq!(name("python server.py"), "my-tools");
    assert_eq!(name("python sub/main.py"), "sub");
    assert_eq!(name("uv run -m air.quality"), "air-quality");
    assert_eq!(name("target/debug/clock"), "clock");
    assert_eq!(name("npx -y @scope/thing-mcp"), "thing-mcp");
}

#[test]
fn what_does_not_exist_is_said_at_once() {
    let project = Project::new("absent");
    let place = Place { own: PathBuf::new(), cwd: project.0.clone(), home: None, path: Some("/usr/bin:/bin".as_ref()) };
    assert!(Entry::new(Client::Zed, None, vec!["no-such-program".to_owned()], &place).unwrap_err().is_command_not_found());
}
