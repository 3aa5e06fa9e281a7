//! Serves a device of this machine to others, through burn's remote backend.
//!
//! What is sent is not encrypted. A server listens on this machine alone unless told otherwise; from elsewhere it is best
//! reached through an SSH tunnel.

use crate::device::DeviceName;
use crate::proxy::Proxy;
use crate::remote::TIMEOUT;
use anyhow::{Context, Result, ensure};
use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};
use burn::tensor::Device;
use std::net::{SocketAddr, TcpListener};
use std::thread::Builder;

/// A device of this machine with a port to it.
pub struct DeviceServer {
    /// Where it is reached.
    pub address: SocketAddr,
    listener: TcpListener,
    device: Device,
    token: String,
}

impl DeviceServer {
    /// Opens device and port. Nothing is served yet.
    ///
    /// # Errors
    /// No such device here; the address cannot be listened on.
    pub fn open(device: &DeviceName, listen: &str, token: String) -> Result<Self> {
        ensure!(
            !matches!(device, DeviceName::Remote(_)),
            "{device} is another machine's device: it is served there"
        );
        let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            device: device.open()?,
            token,
        })
    }

    /// Serves whoever has the token, until the process is told to end. Behind the port stands a proxy; burn's server has a
    /// port of this machine alone, and asks for the token.
    ///
    /// # Errors
    /// No port is free.
    pub fn serve(self) -> Result<()> {
        let inner = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        let proxy = Proxy {
            inner: inner.local_addr()?,
            opening: "GET /session ",
            sessions: 16,
            timeout: TIMEOUT,
        };
        let listener = self.listener;
        Builder::new()
            .name("proxy".into())
            .spawn(move || drop(proxy.serve(&listener)))?;
        let server = RemoteServer::new([self.device]).with_authorizer(TokenAuthorizer::new(&self.token)?);
        Ok(server.serve(WebSocketTransport::from_listener(inner))?)
    }
}
