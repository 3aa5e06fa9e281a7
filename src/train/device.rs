//! The devices to train on. An absent one is reported with its reason and never a crash.
//! Knows nothing of networks.

use anyhow::{Result, bail};
use burn::tensor::Device;
use serde::Serialize;

/// A device by the name people use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// burn's CPU backend, with our channel-sparse kernels. The default.
    #[default]
    Flex,
    /// burn's older and slower CPU backend; needs the cargo feature `ndarray`.
    Ndarray,
    /// A GPU through burn's wgpu; needs the cargo feature `gpu`.
    Wgpu,
    /// A device of another machine, as `HOST:PORT`; needs the cargo feature `remote`.
    Remote(String),
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flex => f.write_str("flex"),
            Self::Ndarray => f.write_str("ndarray"),
            Self::Wgpu => f.write_str("wgpu"),
            Self::Remote(host) => write!(f, "remote:{host}"),
        }
    }
}

/// A device as the list shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceStatus {
    /// Its name.
    pub device: String,
    /// Whether it can be used.
    pub available: bool,
    /// What it is, or why it is absent.
    pub detail: String,
}

impl DeviceName {
    /// Those of this machine.
    pub const LOCAL: [Self; 3] = [Self::Flex, Self::Ndarray, Self::Wgpu];

    /// From a name on the command line.
    ///
    /// # Errors
    /// An unknown name.
    pub fn parse(name: &str) -> Result<Self> {
        if let Some(host) = name.strip_prefix("remote:") {
            return Ok(Self::Remote(address(host)?));
        }
        match Self::LOCAL.into_iter().find(|d| d.to_string() == name) {
            Some(device) => Ok(device),
            None => bail!("unknown device {name}, expected flex, ndarray, wgpu or remote:HOST"),
        }
    }

    /// Whether it can be used, and what it is.
    pub fn probe(&self) -> DeviceStatus {
        let without = |feature: &str| Err(format!("not built in; build with --features {feature}"));
        let found = match self {
            Self::Flex => {
                let best = kernel::Kernel::best();
                Ok(format!("CPU, {} kernels (int8: {})", best.name(), best.byte_name()))
            }
            Self::Ndarray if cfg!(feature = "ndarray") => Ok("CPU, dense and masked; much slower than flex".to_owned()),
            Self::Ndarray => without("ndarray"),
            #[cfg(feature = "gpu")]
            Self::Wgpu => probe_wgpu(),
            #[cfg(not(feature = "gpu"))]
            Self::Wgpu => without("gpu"),
            Self::Remote(_) if cfg!(feature = "remote") => Ok("another machine's device".to_owned()),
            Self::Remote(_) => without("remote"),
        };
        DeviceStatus {
            device: self.to_string(),
            available: found.is_ok(),
            detail: found.unwrap_or_else(|reason| reason),
        }
    }

    /// The burn device.
    ///
    /// # Errors
    /// It is absent, and why.
    pub fn open(&self) -> Result<Device> {
        match self {
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[expect(deprecated, reason = "deprecated upstream; people ask for it by name")]
            Self::Ndarray => Ok(Device::ndarray()),
            #[cfg(feature = "gpu")]
            Self::Wgpu => open_wgpu(),
            #[cfg(feature = "remote")]
            Self::Remote(host) => crate::remote::connect(host),
            #[cfg(not(all(feature = "ndarray", feature = "gpu", feature = "remote")))]
            _ => bail!("device {self}: {}", self.probe().detail),
        }
    }
}

/// The port of a remote device if none is named.
const PORT: u16 = 7171;

/// `HOST:PORT` from `HOST[:PORT]`.
///
/// # Errors
/// It is neither.
fn address(text: &str) -> Result<String> {
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

#[cfg(feature = "gpu")]
fn first_wgpu() -> Option<Device> {
    use burn::tensor::{DeviceFilter, DeviceType};
    let found = Device::enumerate(DeviceFilter::new().with(DeviceType::Wgpu));
    found.into_vec().into_iter().next()
}

#[cfg(feature = "gpu")]
fn probe_wgpu() -> Result<String, String> {
    let first = first_wgpu().ok_or("no graphics adapter found")?;
    let identity = first.identity();
    let name = identity
        .as_ref()
        .map_or_else(|| "unnamed adapter".to_owned(), |i| i.name.clone());
    let software = identity.is_none_or(|i| i.physical.is_none());
    Ok(if software {
        format!("{name} (software, slow)")
    } else {
        name
    })
}

// Not by burn's options for wgpu: they start the runtime a second time, which it refuses.
#[cfg(feature = "gpu")]
fn open_wgpu() -> Result<Device> {
    first_wgpu().ok_or_else(|| anyhow::anyhow!("device wgpu: no graphics adapter found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_device_is_a_line_with_its_reason() {
        for device in DeviceName::LOCAL {
            let line = device.probe();
            assert!(!line.detail.is_empty());
            assert_eq!(device.open().is_ok(), line.available, "{line:?}");
        }
    }

    #[test]
    fn a_misspelled_device_is_refused_with_the_known_names() {
        assert_eq!(
            DeviceName::parse("gpu").expect_err("unknown").to_string(),
            "unknown device gpu, expected flex, ndarray, wgpu or remote:HOST"
        );
    }

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

    #[cfg(not(feature = "remote"))]
    #[test]
    fn a_device_that_is_not_built_in_says_how_to_get_it() {
        let device = DeviceName::parse("remote:gpu").expect("an address");
        let error = device.open().expect_err("not built in").to_string();
        assert_eq!(
            error,
            "device remote:gpu:7171: not built in; build with --features remote"
        );
    }
}
