//! `fulcrum watch`: a page that shows a run as it goes.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, bail};
use tokio::net::TcpListener;

use super::print;
use crate::{run_folder::RunFolder, watch};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run: its folder, or its name [default: the one that was begun last]
    run: Option<PathBuf>,
    /// Folder of all runs
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs: PathBuf,
    /// Where the page is, an address of the loopback; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4680")]
    listen: SocketAddr,
}

/// Serves the page until it is ended.
///
/// # Errors
/// If there is no such run, or the address is taken.
pub(super) async fn run(args: Args) -> Result<()> {
    if !args.listen.ip().is_loopback() {
        let port = args.listen.port();
        bail!(
            "{} can be reached from other machines, and the page asks nobody who they are: listen on 127.0.0.1:{port}, and \
             watch from elsewhere through ssh -L {port}:127.0.0.1:{port}",
            args.listen
        );
    }
    let folder = RunFolder::named(args.run.as_deref(), &args.runs)?;
    let taken = || format!("cannot listen on {}: choose another --listen", args.listen);
    let listener = TcpListener::bind(args.listen).await.with_context(taken)?;
    print(&format!("{} is shown at http://{}\n", folder.name(), listener.local_addr()?))?;
    watch::serve(folder, listener).await
}
