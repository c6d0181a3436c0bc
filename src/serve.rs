//! Serving a handler, or whatever else stands behind a front, as the settings say; and ending in good order.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock;
use crate::config::{Config, TransportMode};
use crate::connection::Back;
use crate::dispatch::Dispatcher;
use crate::error::{Error, Result};
use crate::handler::Handler;
use crate::transport::endpoints::Endpoints;
use crate::transport::http::Listener;
use crate::transport::stdio::{self, Begin, End, Stdio};
use crate::workers::Workers;

/// At the end the event streams get this long to be closed by their clients' reading.
const STREAMS: Duration = Duration::from_secs(1);

/// Exit status after a second Ctrl-C.
const INTERRUPTED: i32 = 130;

/// Serves `handler` as `config` says, until the client on stdio leaves or a signal comes (Ctrl-C, SIGTERM, SIGHUP); then running calls get the grace
/// period, and it returns. A second signal ends the process at once, with status 130.
///
/// ```no_run
/// use mcp_http_transport::{Config, Server, Tool, Type, serve};
///
/// let server = Server::new("clock", "1.0.0").tool(
///     Tool::new("add", "Add two numbers").param("a", Type::Number, "first").param("b", Type::Number, "second"),
///     |args, _session| Ok(args.number("a")? + args.number("b")?),
/// );
/// serve(server, &Config::load()?)?; // MCP_TRANSPORT=stdio (default) or http
/// # Ok::<(), mcp_http_transport::Error>(())
/// ```
///
/// # Errors
/// When the settings make no sense, the port is taken, a signal handler is installed already, or the client on stdio stopped reading.
pub fn serve(handler: impl Handler, config: &Config) -> Result<()> {
    let config = config.effective().check()?;
    let (back, workers) = dispatcher(handler, &config);
    serve_back(back, &config, workers)
}

/// As [`serve`], for any back.
pub(crate) fn serve_back(back: Arc<dyn Back>, config: &Config, workers: Workers) -> Result<()> {
    let signals = signals()?;
    let service = Service::start_back(back, config, workers, Stdin::MayHaveClient)?;
    loop {
        select! {
            recv(signals) -> _ => {
                log::info!("ending: running calls get up to {:?}; a second Ctrl-C ends at once", config.grace);
                service.stop(config.grace);
                return Ok(());
            }
            recv(service.ended) -> end => {
                if let (Ok(End::Deaf(error)), Some(_)) = (&end, &service.http) {
                    log::warn!("the client on stdin takes nothing more ({error}): its session ends, others go on until stdin is closed");
                    service.stdio.iter().for_each(Stdio::leave);
                    continue;
                }
                service.stop(Duration::ZERO);
                return match end {
                    Ok(End::Broken(error) | End::Deaf(error)) => Err(Error::io("the client on stdio is gone", error)),
                    Ok(End::Eof) | Err(_) => Ok(()),
                };
            }
        }
    }
}

/// A server at work in threads of its own, for programs that go on meanwhile. Installs no signal handler.
///
/// ```
/// use mcp_http_transport::{Config, Server, Service, TransportMode};
/// use std::time::Duration;
///
/// let config = Config::new().transport(TransportMode::Http).port(0);
/// let service = Service::start(Server::new("clock", "1.0.0"), &config)?;
/// println!("clients find it at http://{}/sse", service.local_addrs()[0]);
/// service.stop(Duration::from_secs(5));
/// # Ok::<(), mcp_http_transport::Error>(())
/// ```
pub struct Service {
    back: Arc<dyn Back>,
    http: Option<Http>,
    stdio: Option<Stdio>,
    addresses: Vec<SocketAddr>,
    ended: Receiver<End>,
    stopped: (Sender<()>, Receiver<()>),
}

struct Http {
    endpoints: Endpoints,
    listener: Mutex<Option<Listener>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stdin {
    /// In HTTP mode, too, a client may have started us and speak on stdin.
    MayHaveClient,
    IsOthers,
}

impl Service {
    /// Starts serving. In HTTP mode the port is open when this returns; in stdio mode stdin and stdout belong to the protocol from now on.
    ///
    /// # Errors
    /// As [`serve`].
    pub fn start(handler: impl Handler, config: &Config) -> Result<Service> {
        let config = config.effective().check()?;
        let (back, workers) = dispatcher(handler, &config);
        Service::start_back(back, &config, workers, Stdin::IsOthers)
    }

    fn start_back(back: Arc<dyn Back>, config: &Config, workers: Workers, stdin: Stdin) -> Result<Service> {
        let (_, never) = bounded(1);
        let mut service =
            Service { back: Arc::clone(&back), http: None, stdio: None, addresses: Vec::new(), ended: never, stopped: bounded(1) };
        let begin = match config.transport {
            TransportMode::Stdio => {
                if io::stdin().is_terminal() {
                    log::warn!(
                        "this is a server on stdin and stdout, for an MCP client to start; to try it by hand, use --http (MCP_TRANSPORT=http)"
                    );
                }
                Some(Begin::AtOnce)
            }
            TransportMode::Http => {
                service.listen(config, workers.clone())?;
                (stdin == Stdin::MayHaveClient && stdio::may_have_client()).then_some(Begin::WithMessage)
            }
        };
        match begin {
            Some(begin) => {
                let (stdio, ended) = Stdio::start(back, &config.limits, workers, begin)?;
                (service.stdio, service.ended) = (Some(stdio), ended);
            }
            None => service.ended = crossbeam_channel::never(),
        }
        Ok(service)
    }

    fn listen(&mut self, config: &Config, workers: Workers) -> Result<()> {
        let endpoints = Endpoints::over(Arc::clone(&self.back), config, workers);
        let listener = Listener::start(config, endpoints.clone())?;
        self.addresses = listener.addresses().to_vec();
        let places: Vec<String> = self.addresses.iter().map(|address| format!("http://{address}")).collect();
        log::info!("listening on {} ({})", places.join(" and "), endpoints.paths());
        if !config.is_loopback() {
            match config.token {
                Some(_) => log::warn!("other machines can reach this, and need the token"),
                None => log::warn!("other machines can reach this, and need no token (--insecure)"),
            }
        }
        self.http = Some(Http { endpoints, listener: Mutex::new(Some(listener)) });
        Ok(())
    }

    /// The addresses it listens on; none in stdio mode.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Refuses what is new, lets running calls go on for `grace`, ends every stream, and stops. What handlers ask of clients fails at once.
    pub fn stop(&self, grace: Duration) {
        if let Some(stdio) = &self.stdio {
            stdio.end_by(clock::from_now(grace));
        }
        match &self.http {
            Some(http) => {
                http.endpoints.drain(grace);
                let listener = http.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(mut listener) = listener {
                    listener.stop(STREAMS, &http.endpoints);
                }
            }
            None => self.back.drain(grace),
        }
        if let Some(stdio) = &self.stdio {
            stdio.flush();
        }
        self.stopped.0.try_send(()).ok();
    }

    /// Waits until the client on stdio is gone, or somebody [stopped](Service::stop) it.
    pub fn wait(&self) {
        select! {
            recv(self.ended) -> _ => {},
            recv(self.stopped.1) -> _ => {},
        }
    }
}

fn dispatcher(handler: impl Handler, config: &Config) -> (Arc<dyn Back>, Workers) {
    let workers = Workers::of(&config.limits);
    (Arc::new(Dispatcher::new(Arc::new(handler), &config.limits, workers.clone())), workers)
}

/// A channel that gets something at the first signal.
fn signals() -> Result<Receiver<()>> {
    let (sender, receiver) = bounded(1);
    let count = AtomicUsize::new(0);
    let handler = move || {
        if count.fetch_add(1, Ordering::SeqCst) > 0 {
            std::process::exit(INTERRUPTED);
        }
        sender.try_send(()).ok();
    };
    ctrlc::set_handler(handler).map_err(|error| Error::io("cannot handle signals", io::Error::other(error)))?;
    Ok(receiver)
}
