//! Which devices there are to train on, asked so that an absent one is a line with its reason and never a crash.
//! Knows nothing of networks.

use crate::remote;
use anyhow::{Result, bail};
use burn::tensor::Device;
use serde::Serialize;

/// A device by the name people use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceName {
    /// burn's CPU backend, with our channel-sparse kernels. The default.
    #[default]
    Flex,
    /// burn's older CPU backend: slow, kept because people ask for it; needs the cargo feature `ndarray`.
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

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceStatus {
    /// Its name.
    pub device: String,
    /// Whether it can be used.
    pub available: bool,
    /// What it is, or why it is not there.
    pub detail: String,
}

impl DeviceName {
    /// Those of this machine.
    pub const LOCAL: [Self; 3] = [Self::Flex, Self::Ndarray, Self::Wgpu];

    /// From what people write.
    ///
    /// # Errors
    /// A name that is not known.
    pub fn parse(name: &str) -> Result<Self> {
        if let Some(host) = name.strip_prefix("remote:") {
            return Ok(Self::Remote(remote::address(host)?));
        }
        match Self::LOCAL.into_iter().find(|d| d.to_string() == name) {
            Some(device) => Ok(device),
            None => bail!("unknown device {name}, expected flex, ndarray, wgpu or remote:HOST"),
        }
    }

    /// Whether it can be used, and what it is.
    pub fn probe(&self) -> DeviceStatus {
        let found = match self {
            Self::Flex => Ok(format!("CPU, {} kernels", kernel::Kernel::best().name())),
            Self::Ndarray if cfg!(feature = "ndarray") => Ok("CPU, dense and masked; much slower than flex".to_owned()),
            Self::Ndarray => Err("not built in; build with --features ndarray".to_owned()),
            Self::Wgpu => probe_wgpu(),
            Self::Remote(_) => Ok("another machine's device".to_owned()),
        };
        let available = found.is_ok();
        DeviceStatus {
            device: self.to_string(),
            available,
            detail: found.unwrap_or_else(|reason| reason),
        }
    }

    /// The burn device.
    ///
    /// # Errors
    /// It is not there, and why.
    pub fn open(&self) -> Result<Device> {
        let line = self.probe();
        if !line.available {
            bail!("device {self}: {}", line.detail);
        }
        match self {
            Self::Flex => Ok(Device::flex()),
            Self::Ndarray => open_ndarray(),
            Self::Wgpu => open_wgpu(),
            Self::Remote(host) => remote::open(host),
        }
    }
}

#[cfg(feature = "ndarray")]
#[expect(deprecated, reason = "deprecated upstream; people ask for it by name")]
fn open_ndarray() -> Result<Device> {
    Ok(Device::ndarray())
}

#[cfg(not(feature = "ndarray"))]
fn open_ndarray() -> Result<Device> {
    bail!("device ndarray: not built in; build with --features ndarray")
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

#[cfg(not(feature = "gpu"))]
fn probe_wgpu() -> Result<String, String> {
    Err("not built in; build with --features gpu".into())
}

#[cfg(not(feature = "gpu"))]
fn open_wgpu() -> Result<Device> {
    bail!("device wgpu: not built in; build with --features gpu")
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
}
