//! The program: flags become a configuration, the configuration becomes one of the features.

fn main() -> std::process::ExitCode {
    mcp_http_transport::cli::main()
}
