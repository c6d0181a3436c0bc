//! The echo tool on rust-mcp-sdk: HTTP+SSE, axum. `peer-rust-mcp-sdk PORT`.

use std::sync::Arc;

use async_trait::async_trait;
use rust_mcp_axum::{AxumServerOptions, create_axum_server};
use rust_mcp_sdk::error::SdkResult;
use rust_mcp_sdk::mcp_server::ServerHandler;
use rust_mcp_sdk::schema::*;
use rust_mcp_sdk::*;

#[macros::mcp_tool(name = "echo", description = "Says what it is told")]
#[derive(Debug, serde::Deserialize, serde::Serialize, macros::JsonSchema)]
pub struct Echo {
    message: String,
}

#[derive(Default)]
struct Handler;

#[async_trait]
impl ServerHandler for Handler {
    async fn handle_list_tools_request(
        &self,
        _request: Option<PaginatedRequestParams>,
        _runtime: Arc<dyn McpServer>,
    ) -> std::result::Result<ListToolsResult, RpcError> {
        Ok(ListToolsResult { tools: vec![Echo::tool()], meta: None, next_cursor: None })
    }

    async fn handle_call_tool_request(
        &self,
        params: CallToolRequestParams,
        _runtime: Arc<dyn McpServer>,
    ) -> std::result::Result<CallToolResult, CallToolError> {
        let arguments = serde_json::Value::Object(params.arguments.unwrap_or_default());
        let echo: Echo = serde_json::from_value(arguments).map_err(CallToolError::new)?;
        Ok(CallToolResult::text_content(vec![echo.message.into()]))
    }
}

#[tokio::main]
async fn main() -> SdkResult<()> {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let details = InitializeResult {
        server_info: Implementation {
            name: "echo".into(),
            version: "1".into(),
            title: None,
            description: None,
            icons: vec![],
            website_url: None,
        },
        capabilities: ServerCapabilities { tools: Some(ServerCapabilitiesTools { list_changed: None }), ..Default::default() },
        protocol_version: ProtocolVersion::V2025_11_25.into(),
        instructions: None,
        meta: None,
    };
    let options = AxumServerOptions { host: "127.0.0.1".to_owned(), port, ..Default::default() };
    create_axum_server(details, Handler.to_mcp_server_handler(), options).start().await
}
