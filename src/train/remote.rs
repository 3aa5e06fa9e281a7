//! Devices of other machines, through burn's remote backend: reaching one, serving this one's, and whether it pays.
//! Knows nothing of runs.
//!
//! What is sent is not encrypted. A server listens on this machine alone unless told otherwise; from elsewhere it is best
//! reached through an SSH tunnel. Nothing but the addresses given is connected to: no relays, no discovery.

use crate::backward::{TrainingBatch, backward};
use crate::device::DeviceName;
use crate::net::{ForwardOptions, Net, NormStatistics, Norms};
use crate::proxy::Proxy;
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{Device, Tensor};
use model::{Density, NetSpec, weights};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// The port if none is named.
pub const PORT: u16 = 7171;

/// Where the token is found: itself, or a file that holds it. Never on a command line, which everybody on a machine can read.
pub(crate) const TOKEN: [&str; 2] = ["SECATEUR_TOKEN", "SECATEUR_TOKEN_FILE"];

const SHORTEST: usize = 16;

/// `HOST:PORT` from `HOST[:PORT]`.
///
/// # Errors
/// It is neither.
pub fn address(text: &str) -> Result<String> {
    let (host, port) = match text.rsplit_once(':') {
        // A colon in a bare IPv6 address is not a port's.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let port = port.map_or(Ok(PORT), str::parse);
    match port {
        Ok(port) if !bare.is_empty() && bare.chars().all(plain) && port > 0 => Ok(format!("{host}:{port}")),
        _ => bail!("remote:{text}: expected remote:HOST or remote:HOST:PORT"),
    }
}

/// The token that client and server share, from the environment.
///
/// # Errors
/// There is none, or it is too short to be one.
pub fn token(get: impl Fn(&str) -> Option<String>) -> Result<String> {
    let [value, file] = TOKEN;
    let token = match (get(value), get(file)) {
        (Some(token), _) => token,
        (None, Some(path)) => std::fs::read_to_string(&path).with_context(|| format!("{file}: cannot read {path}"))?,
        (None, None) => bail!("a token is required: set {value}, or {file} to a file that holds it, on both machines"),
    };
    let token = token.trim().to_owned();
    ensure!(
        token.len() >= SHORTEST,
        "the token has {} characters, expected at least {SHORTEST}",
        token.len()
    );
    Ok(token)
}

/// How fast a device is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceSpeed {
    /// Milliseconds until a number sent there is back, median.
    pub(crate) round_trip_ms: f64,
    /// Milliseconds of a training step, the faster of two.
    pub(crate) step_ms: f64,
}

/// Times a device on random images: a round trip, and forward and backward of one batch.
///
/// # Errors
/// The network cannot be built or does not learn.
pub fn pace(spec: &NetSpec, batch: usize, device: &Device) -> Result<DeviceSpeed> {
    let mut trips: Vec<f64> = (0..9)
        .map(|i| {
            let began = Instant::now();
            let back = Tensor::<1>::from_floats([i as f32], device)
                .add_scalar(1.0)
                .into_scalar::<f32>();
            // Read, so that it cannot be left out.
            began.elapsed().as_secs_f64() * 1e3 + f64::from(back) * 0.0
        })
        .collect();
    trips.sort_by(f64::total_cmp);
    let weights = weights::init(spec, 1)?;
    let net = Net::new(spec.clone().into(), &weights, device)?;
    let n = batch * spec.input.iter().product::<usize>();
    // Any numbers of about the right size.
    let pixels: Vec<f32> = (0..n).map(|i| (i * 7919 % 2003) as f32 / 1000.0 - 1.0).collect();
    let labels: Vec<usize> = (0..batch).map(|i| i % 2).collect();
    let groups = [vec![Density::FULL; spec.gates().len()]];
    let step = || -> Result<f64> {
        let lesson = TrainingBatch {
            pixels: pixels.clone(),
            labels: &labels,
            pass: ForwardOptions {
                groups: &groups,
                norms: Norms::Batch(NormStatistics::All),
                dropout: None,
            },
            label_smoothing: 0.0,
            lambda: 0.0,
            check: &|| Ok(()),
        };
        let began = Instant::now();
        backward(&net, &weights, lesson)?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    // The first one pays for what is done once.
    step()?;
    Ok(DeviceSpeed {
        round_trip_ms: trips[trips.len() / 2],
        step_ms: step()?.min(step()?),
    })
}

/// Whether another machine's device pays, in a line.
pub fn verdict(there: DeviceSpeed, here: DeviceSpeed) -> String {
    let times = here.step_ms / there.step_ms;
    let pays = if times >= 1.0 {
        format!("pays: {times:.1} times as fast")
    } else {
        format!("does not pay: {:.1} times slower", 1.0 / times)
    };
    format!(
        "a training step takes {:.1} ms there and {:.1} ms here, a round trip {:.2} ms: the remote device {pays}",
        there.step_ms, here.step_ms, there.round_trip_ms
    )
}

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
        ensure!(cfg!(feature = "remote"), "serving a device is {WITHOUT}");
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

    /// Serves whoever has the token, until the process is told to end. Behind the port stands a gate; burn's server has a
    /// port of this machine alone, and asks for the token.
    ///
    /// # Errors
    /// No port is free.
    pub fn serve(self) -> Result<()> {
        let inner = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
        let gate = Proxy {
            inner: inner.local_addr()?,
            opening: "GET /session ",
            sessions: 16,
            patience: PATIENCE,
        };
        let door = self.listener;
        Builder::new()
            .name("gate".into())
            .spawn(move || drop(gate.serve(&door)))?;
        backend::serve(self.device, inner, &self.token)
    }
}

/// Why it cannot be done in this build.
const WITHOUT: &str = "not built in; build with --features remote";

/// How long a server may take to answer at all; burn itself would try for a quarter of a minute.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects to a device at `HOST:PORT`.
///
/// # Errors
/// Nobody answers there, or not to this token; not built in.
pub fn open(host: &str) -> Result<Device> {
    ensure!(cfg!(feature = "remote"), "device remote:{host}: {WITHOUT}");
    let token = token(|name| std::env::var(name).ok())?;
    let mut addresses = host
        .to_socket_addrs()
        .with_context(|| format!("device remote:{host}: no such host"))?;
    ensure!(
        addresses.any(|address| TcpStream::connect_timeout(&address, PATIENCE).is_ok()),
        "device remote:{host}: nobody answers; is `secateur serve-device` running there?"
    );
    backend::connect(host, token).with_context(|| format!("device remote:{host}"))
}

#[cfg(not(feature = "remote"))]
mod backend {
    use super::{Device, Result, TcpListener, WITHOUT, bail};

    pub(crate) fn connect(_host: &str, _token: String) -> Result<Device> {
        bail!(WITHOUT)
    }

    pub(super) fn serve(_device: Device, _listener: TcpListener, _token: &str) -> Result<()> {
        bail!(WITHOUT)
    }
}

#[cfg(feature = "remote")]
mod backend {
    use super::{Device, Result, TcpListener};
    use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};
    use burn::tensor::remote::RemoteHost;

    pub(crate) fn connect(host: &str, token: String) -> Result<Device> {
        let remote = RemoteHost::websocket(&format!("ws://{host}")).with_credential(token);
        Ok(Device::remote_options(&remote).init()?)
    }

    pub fn serve(device: Device, listener: TcpListener, token: &str) -> Result<()> {
        let server = RemoteServer::new([device]).with_authorizer(TokenAuthorizer::new(token)?);
        Ok(server.serve(WebSocketTransport::from_listener(listener))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::zoo;

    #[test]
    fn addresses_are_completed_and_nonsense_is_refused() {
        for (text, expected) in [
            ("gpu", "gpu:7171"),
            ("gpu:80", "gpu:80"),
            ("10.0.0.1", "10.0.0.1:7171"),
            ("[::1]:80", "[::1]:80"),
            ("[::1]", "[::1]:7171"),
        ] {
            assert_eq!(address(text).expect(text), expected);
        }
        for text in ["", ":80", "gpu:", "gpu:x", "gpu:99999", "gpu/x", "user@gpu", "a b"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_required_and_has_a_length() {
        let error = token(|_| None).expect_err("none").to_string();
        assert!(error.starts_with("a token is required"), "{error}");
        assert!(token(|_| Some("short".into())).is_err());
        let set = |name: &str| (name == "SECATEUR_TOKEN").then(|| " 0123456789abcdef\n".to_owned());
        assert_eq!(token(set).expect("one"), "0123456789abcdef");
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("token");
        std::fs::write(&path, "fedcba9876543210\n").expect("writes");
        let in_file = |name: &str| (name == "SECATEUR_TOKEN_FILE").then(|| path.to_string_lossy().into_owned());
        assert_eq!(token(in_file).expect("one"), "fedcba9876543210");
    }

    #[test]
    fn a_device_is_timed_and_judged() {
        let spec = zoo::build("lenet5", [1, 28, 28], 2, 0.2).expect("builds");
        let pace = pace(&spec, 4, &Device::flex()).expect("times");
        assert!(pace.round_trip_ms >= 0.0 && pace.step_ms > 0.0);
        let of = |step_ms| DeviceSpeed {
            round_trip_ms: 0.5,
            step_ms,
        };
        assert!(verdict(of(10.0), of(25.0)).ends_with("pays: 2.5 times as fast"));
        assert!(verdict(of(50.0), of(25.0)).ends_with("does not pay: 2.0 times slower"));
    }

    #[cfg(not(feature = "remote"))]
    #[test]
    fn without_the_feature_it_says_how_to_get_it() {
        let error = open("gpu:7171").expect_err("not there").to_string();
        assert_eq!(
            error,
            "device remote:gpu:7171: not built in; build with --features remote"
        );
    }
}
