//! Devices of other machines, through burn's remote backend: connecting to one, and whether it pays.
//! Knows nothing of runs.
//!
//! What is sent is not encrypted. Nothing but the addresses given is connected to: no relays, no discovery.

use crate::backward::{TrainingBatch, backward};
use crate::net::Net;
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::remote::RemoteHost;
use burn::tensor::{Device, Tensor};
use model::{Density, NetSpec, weights};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Where the token is found: itself, or a file that holds it. Never on a command line, which everybody on a machine can read.
const TOKEN: [&str; 2] = ["SECATEUR_TOKEN", "SECATEUR_TOKEN_FILE"];

const MIN_TOKEN_LEN: usize = 16;

/// How long a server may take to answer at all; burn itself would try for a quarter of a minute.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);

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
        token.len() >= MIN_TOKEN_LEN,
        "the token has {} characters, expected at least {MIN_TOKEN_LEN}",
        token.len()
    );
    Ok(token)
}

/// Connects to a device at `HOST:PORT`.
///
/// # Errors
/// Nobody answers there, or not to this token.
pub(crate) fn connect(host: &str) -> Result<Device> {
    let token = token(|name| std::env::var(name).ok())?;
    let mut addresses = host
        .to_socket_addrs()
        .with_context(|| format!("device remote:{host}: no such host"))?;
    ensure!(
        addresses.any(|address| TcpStream::connect_timeout(&address, TIMEOUT).is_ok()),
        "device remote:{host}: nobody answers; is `secateur serve-device` running there?"
    );
    let remote = RemoteHost::websocket(&format!("ws://{host}")).with_credential(token);
    let device = Device::remote_options(&remote).init();
    device.with_context(|| format!("device remote:{host}"))
}

/// Whether training on another machine's device pays, in a line: both are timed.
///
/// # Errors
/// The network cannot be built or does not learn.
pub fn compare(spec: &NetSpec, batch: usize, device: &Device) -> Result<String> {
    let here = speed(spec, batch, &Device::flex())?;
    Ok(verdict(speed(spec, batch, device)?, here))
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct DeviceSpeed {
    /// Milliseconds until a number sent there is back, median.
    round_trip_ms: f64,
    /// Milliseconds of a training step, the faster of two.
    step_ms: f64,
}

/// Times a device on random images: a round trip, and forward and backward of one batch.
fn speed(spec: &NetSpec, batch: usize, device: &Device) -> Result<DeviceSpeed> {
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
        let batch = TrainingBatch::plain(pixels.clone(), &labels, &groups, &|| Ok(()));
        let began = Instant::now();
        backward(&net, &weights, batch)?;
        Ok(began.elapsed().as_secs_f64() * 1e3)
    };
    // The first one pays for what is done once.
    step()?;
    Ok(DeviceSpeed {
        round_trip_ms: trips[trips.len() / 2],
        step_ms: step()?.min(step()?),
    })
}

fn verdict(there: DeviceSpeed, here: DeviceSpeed) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use model::zoo;

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
        let timed = speed(&spec, 4, &Device::flex()).expect("times");
        assert!(timed.round_trip_ms >= 0.0 && timed.step_ms > 0.0);
        let of = |step_ms| DeviceSpeed {
            round_trip_ms: 0.5,
            step_ms,
        };
        assert!(verdict(of(10.0), of(25.0)).ends_with("pays: 2.5 times as fast"));
        assert!(verdict(of(50.0), of(25.0)).ends_with("does not pay: 2.0 times slower"));
    }
}
