//! `secateur serve-device`: lets other machines work on this one's device, to whoever has the token.
//! Knows nothing of what they do with it.

use super::failure::{Done, OrFail};
use super::output::Json;

#[derive(clap::Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on; this machine alone unless told otherwise
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7171")]
    listen: String,
    /// flex, ndarray or wgpu
    #[arg(long, default_value = "flex")]
    device: String,
    #[command(flatten)]
    json: Json,
}

#[cfg(not(feature = "remote"))]
pub(crate) fn serve(_: &ServeArgs) -> Done {
    Err(anyhow::anyhow!(
        "serving a device is not built in; build with --features remote"
    ))
    .or_bad_input()
}

#[cfg(feature = "remote")]
pub(crate) fn serve(args: &ServeArgs) -> Done {
    use serde_json::json;
    use train::device::DeviceName;
    use train::{remote, serve};
    let device = DeviceName::parse(&args.device).or_bad_input()?;
    let token = remote::token(|name| std::env::var(name).ok()).or_bad_input()?;
    let served = serve::DeviceServer::open(&device, &args.listen, token).or_bad_input()?;
    let address = served.address;
    if !address.ip().is_loopback() {
        super::output::remark(&format!(
            "secateur: {address} can be reached from other machines, and what is sent is not encrypted"
        ));
    }
    let fact = json!({ "listening": address.to_string(), "device": args.device });
    args.json.say(&fact, || {
        format!(
            "{} on {address}: --device remote:HOST:{} with the same token uses it",
            args.device,
            address.port()
        )
    });
    served.serve().or_failed()?;
    Ok(0)
}
